//! The command line: one file per subcommand. Results go to stdout, progress and errors to stderr; exit code 0 is
//! done, 1 failed with a one-line cause, 2 usage, 128 and a signal's number ended by it.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Cancelled, Card, Engine, Opened};
use sluice_core::error::Fault;
use sluice_core::figure::printable;
use sluice_core::files::{There, claim_apart};
use sluice_core::plan::Plan;
use sluice_core::records::Map;
use sluice_core::{Error, Result};

mod batch;
mod bench;
mod evaluate;
mod generate;
mod held;
mod inspect;
mod manual;
mod merge;
mod methods;
mod nearest;
mod progress;
mod prompt;
mod replay;
mod report;
mod run;
mod save;
mod sbatch;
mod score;
mod screenshots;
mod signals;
mod study;
mod tokens;
mod train;
mod whole;
mod window;
mod world;

use held::HeldArgs;
use nearest::nearest;
use prompt::{PromptArgs, one_of};
use sluice_core::method::find;
use whole::{mebibytes, whole};

/// Exit code of arguments that cannot be read.
const USAGE: u8 = 2;

/// Open a transformer checkpoint and steer what flows through it.
#[derive(Parser)]
#[command(name = "sluice", version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Checkpoint folder to open in the window; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Session file to go on with; left out = the last session
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,
    /// Prompt to begin with
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Picture to open with it, for a checkpoint that reads images
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    /// What a run aims at beside the weights; left out = a quarter of the memory that it could have. Past it a run keeps
    /// less and computes again what it did not keep; weights, a pass's widest sublayer and what a study keeps stay as they are
    #[arg(long, value_name = "MIB", global = true, value_parser = mebibytes, allow_negative_numbers = true)]
    memory: Option<u64>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Architecture, tensors, parameters and memory estimate, from headers only
    Inspect(inspect::Inspect),
    /// Ids, texts and positions of a prompt or a text, without the weights
    Tokens(tokens::Tokens),
    /// One forward pass under a plan: next tokens, logits, captured sites
    Run(run::Run),
    /// Continue a prompt under a plan
    Generate(generate::Generate),
    /// Run a method of the list, with its findings as JSON, figures and files
    Study(study::Study),
    /// Many prompts, one load: JSON lines in, JSON lines out
    Batch(batch::BatchArgs),
    /// How well texts are foretold, without and under plans: nats, perplexity, bits per byte, KL, agreement
    Score(score::Score),
    /// Join what shards of a score did, as if one run had done it all
    Merge(merge::Merge),
    /// The model that a plan describes, as a Hugging Face folder that transformers opens
    Save(save::SaveArgs),
    /// A script that has Slurm share a command out, and merges what its tasks did
    Sbatch(sbatch::Sbatch),
    /// The methods that `study` runs, with their parameters
    Methods(methods::Methods),
    /// Every method's figures on a prompt: PNG, SVG, CSV
    Report(report::Report),
    /// A session's steps and studies without a window, to the same findings
    Replay(replay::Replay),
    /// Measurements of engine, studies, memory and window, each with its target
    Bench(bench::Bench),
    /// Pictures of every panel in both themes, from the real window
    Screenshots(screenshots::Screenshots),
    /// Train the checkpoint that ships with Sluice
    Train(train::Train),
    /// Report card of a checkpoint that `train` made
    Evaluate(evaluate::Evaluate),
    /// The world that a checkpoint of `train` knows, as files for others: pictures with questions, facts, text
    World(world::WorldArgs),
    /// Completions of commands and flags, for a shell to read
    Completions(manual::Completions),
    /// The manual as man pages
    Man(manual::Man),
}

/// What to run on.
#[derive(Args)]
#[command(group(one_of(&[])))]
struct Input {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Plan file
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Seed of the sampler's choices; a plan's noise has a seed of its own, in the plan
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>, allow_negative_numbers = true)]
    seed: u64,
}

/// An input, opened.
struct Ready {
    engine: Engine,
    tokens: sluice_core::model::Input,
    plan: Plan,
    card: Card,
    /// The prompt as files name it, with its picture.
    prompt: String,
}

impl Input {
    /// Open it, unless what is to be written would lie among the checkpoint's files.
    fn open(&self, out: Option<&Path>) -> Result<Ready> {
        self.held.apply();
        let checkpoint = checkpoint(self.checkpoint.as_deref())?;
        if let Some(out) = out {
            apart(out, &checkpoint)?;
        }
        // Before the weights: what is wrong with them is known at once.
        let prompt = self.prompt.read(&checkpoint)?;
        let prompt = prompt.ok_or_else(|| Error::Input("there is no prompt".into()))?;
        let plan = self.plan.as_deref().map(Plan::read).transpose()?.unwrap_or_default();
        let Opened { mut engine, card } = opened(&checkpoint, &engine::never)?;
        let tokens = engine.input(&prompt)?;
        let prompt = card.provenance(&prompt, &plan).prompt;
        Ok(Ready { engine, tokens, plan, card, prompt })
    }
}

/// Refuse to write among a checkpoint's files.
fn apart(out: &Path, checkpoint: &Checkpoint) -> Result<()> {
    checkpoint.folder().map_or(Ok(()), |folder| claim_apart(out, folder))
}

/// A checkpoint folder, or the bundled one.
fn checkpoint(path: Option<&Path>) -> Result<Checkpoint> {
    path.map_or_else(engine::bundled, |path| Checkpoint::open(path).map_err(|error| a_file(path, error)))
}

/// The same for what reads no weights: a config.json alone, or a folder with it, will do.
fn headers(path: Option<&Path>) -> Result<Checkpoint> {
    path.map_or_else(engine::bundled, |path| {
        Checkpoint::open_config(path).map_err(|error| a_file(path, error))
    })
}

/// The refusal of a file that lies in no checkpoint's folder: a prompt, a plan or a script in the checkpoint's place.
fn a_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Checkpoint { fault: Fault::NoConfig, .. } if path.is_file() => Error::asked(
            format!("{}: is a file, and no checkpoint lies beside it", path.display()),
            "give the folder that holds config.json and *.safetensors; a prompt goes behind --prompt or --prompt-file, a plan behind --plan",
        ),
        error => error,
    }
}

/// Parse arguments and do what they say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let (None, Some(meant)) = (&cli.command, cli.checkpoint.as_deref().and_then(command_meant)) {
        note(&meant);
        return ExitCode::from(USAGE);
    }
    if let Some(mib) = cli.memory {
        engine::set_budget(mib << 20);
    }
    cli.held.apply();
    let done = match cli.command {
        None => window::open(&window::Asked {
            checkpoint: cli.checkpoint.as_ref(),
            session: cli.session.as_deref(),
            prompt: cli.prompt.as_deref(),
            image: cli.image.as_deref(),
        }),
        Some(Command::Inspect(command)) => command.run(),
        Some(Command::Tokens(command)) => command.run(),
        Some(Command::Run(command)) => command.run(),
        Some(Command::Generate(command)) => command.run(),
        Some(Command::Study(command)) => command.run(),
        Some(Command::Batch(command)) => command.run(),
        Some(Command::Score(command)) => command.run(),
        Some(Command::Merge(command)) => command.run(),
        Some(Command::Save(command)) => command.run(),
        Some(Command::Sbatch(command)) => command.run(),
        Some(Command::Methods(command)) => command.run(),
        Some(Command::Report(command)) => command.run(),
        Some(Command::Replay(command)) => command.run(),
        Some(Command::Bench(command)) => command.run(),
        Some(Command::Screenshots(command)) => command.run(),
        Some(Command::Train(command)) => command.run(),
        Some(Command::Evaluate(command)) => command.run(),
        Some(Command::World(command)) => command.run(),
        Some(Command::Completions(command)) => command.run(),
        Some(Command::Man(command)) => command.run(),
    };
    ended(done)
}

fn ended(done: Result<()>) -> ExitCode {
    match heard(done) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Cancelled) if signals::came() => ExitCode::from(signals::code()),
        Err(error) => {
            note(&format!("{error}; {}", error.next_step()));
            ExitCode::FAILURE
        }
    }
}

/// Say what is wrong with the arguments, or what was asked about them.
fn usage(error: &clap::Error) -> ExitCode {
    let first = std::env::args_os().nth(1).map(PathBuf::from);
    // What follows a mistyped subcommand is all unexpected; the name is what is wrong.
    use clap::error::ErrorKind as Wrong;
    let misread = matches!(error.kind(), Wrong::UnknownArgument | Wrong::ArgumentConflict);
    let meant = first.as_deref().filter(|_| misread).and_then(command_meant);
    match meant {
        Some(meant) => note(&meant),
        // Help is a result, on stdout.
        None if !error.use_stderr() => {
            said(error.print().and_then(|()| io::stdout().flush()));
            return ended(Ok(()));
        }
        None => drop(error.print()),
    }
    ExitCode::from(error.exit_code().try_into().unwrap_or(USAGE))
}

/// The subcommand that may be meant by what was read as a checkpoint folder, which is none.
fn command_meant(folder: &Path) -> Option<String> {
    let name = folder.to_str().filter(|name| !name.starts_with('-') && !folder.exists())?;
    let cli = Cli::command();
    let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    if names.contains(&name) {
        return None;
    }
    // A method's id alone.
    let method = find(name).map(|method| format!("study {}", method.id));
    let near = method.or_else(|| nearest(name, names).map(str::to_owned))?;
    Some(format!("\"{name}\" is no subcommand and no folder; did you mean `sluice {near}`?"))
}

/// Open a checkpoint, and say what it warns of.
fn opened(checkpoint: &Checkpoint, cancelled: Cancelled) -> Result<Opened> {
    let opened = engine::open(checkpoint, &mut |_, _| {}, cancelled)?;
    opened.card.warnings.iter().for_each(|warning| note(warning));
    Ok(opened)
}

/// What --map says; none where it was not given.
fn mapped(pairs: &[String]) -> Result<Option<Map>> {
    Map::parse(pairs).map_err(|cause| Error::asked(cause, "such as --map answer=attribute"))
}

/// What a flag says about files that are there.
fn there(overwrite: bool) -> There {
    if overwrite { There::Replace } else { There::Keep }
}

/// A line for the person, on stderr. Where that is full or closed nobody can be told.
fn note(text: &str) {
    // Names and texts of a stranger's file are in it: no line of theirs may look like one of ours.
    drop(writeln!(io::stderr(), "sluice: {}", printable(text, &[])));
}

/// Whoever reads stdout has closed it.
static HAS_ENOUGH: AtomicBool = AtomicBool::new(false);
/// Why stdout took no more; what is left of the work is done all the same.
static UNSAID: OnceLock<io::Error> = OnceLock::new();

/// A piece of the result, on stdout.
fn out(text: &str) {
    let mut stdout = io::stdout();
    let text = match stdout.is_terminal() {
        true => Cow::Owned(printable(text, &['\n', '\t'])),
        // A file or a program gets the text as it is.
        false => Cow::Borrowed(text),
    };
    said(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

/// Keep the first failure of stdout. A closed pipe is none: its reader has enough.
fn said(done: io::Result<()>) {
    match done {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => HAS_ENOUGH.store(true, Ordering::Relaxed),
        Err(error) => drop(UNSAID.get_or_init(|| error)),
        Ok(()) => {}
    }
}

/// Whether whoever reads stdout has closed it.
fn has_enough() -> bool {
    HAS_ENOUGH.load(Ordering::Relaxed)
}

/// How it ended, and whether stdout took all that was said.
fn heard(done: Result<()>) -> Result<()> {
    let unsaid = UNSAID.get().map(|error| {
        let cause = format!("cannot write to standard output: {error}");
        Error::asked(cause, "write it to a disk with room, or to another program")
    });
    done.and_then(|()| unsaid.map_or(Ok(()), Err))
}

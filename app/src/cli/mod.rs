//! The command line: one file per subcommand. Results go to stdout, progress and errors to stderr; exit code 0 is
//! done, 1 failed with a one-line cause, 2 usage.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sluice_core::Result;
use sluice_core::checkpoint::{Checkpoint, Picture};
use sluice_core::engine::{self, Card, Engine, Opened, Prompt, Words};
use sluice_core::plan::Plan;

mod bench;
mod evaluate;
mod generate;
mod inspect;
mod methods;
mod report;
mod run;
mod screenshots;
mod study;
mod train;
mod window;

/// Open a transformer checkpoint and steer what flows through it.
#[derive(Parser)]
#[command(name = "sluice", version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Checkpoint folder to open in the window; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Picture to open with it, for a checkpoint that reads images
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// What a run may take beside the weights; left out = a quarter of the machine's memory. Past it a run keeps less and
    /// computes again what it did not keep
    #[arg(long, value_name = "MIB", global = true, value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    memory: Option<u64>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Architecture, tensors, parameters and memory estimate, from headers only
    Inspect(inspect::Inspect),
    /// One forward pass under a plan: next tokens, logits, captured sites
    Run(run::Run),
    /// Continue a prompt under a plan
    Generate(generate::Generate),
    /// Run a method of the list, with its findings as JSON, figures and files
    Study(study::Study),
    /// The methods that `study` runs, with their parameters
    Methods(methods::Methods),
    /// Every view's figures on the sample prompt: PNG, SVG, CSV
    Report(report::Report),
    /// Measurements of engine, studies, memory and window, each with its target
    Bench(bench::Bench),
    /// Pictures of every panel in both themes, from the real window
    Screenshots(screenshots::Screenshots),
    /// Train the checkpoint that ships with Sluice
    Train(train::Train),
    /// Report card of a checkpoint that `train` made
    Evaluate(evaluate::Evaluate),
}

/// What to run on.
#[derive(Args)]
struct Input {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Prompt text; BOS is added as the tokenizer does
    #[arg(long, required_unless_present = "tokens", conflicts_with = "tokens")]
    prompt: Option<String>,
    /// Prompt as comma-separated ids; nothing is added
    #[arg(long, value_delimiter = ',', value_parser = token_id)]
    tokens: Option<Vec<u32>>,
    /// Picture for a checkpoint that reads images: stands where the prompt has its image token, else in front
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Plan file
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Seed of what is drawn at random: the sampler's choices, a trace's noise
    #[arg(long, default_value_t = 0)]
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
    fn open(&self) -> Result<Ready> {
        let Opened { mut engine, card } =
            engine::open(&checkpoint(self.checkpoint.as_deref())?, &mut |_, _| {}, &engine::never)?;
        for warning in &card.warnings {
            note(warning);
        }
        let words = match (&self.prompt, &self.tokens) {
            (Some(text), _) => Words::Text(text.clone()),
            (None, tokens) => Words::Tokens(tokens.clone().unwrap_or_default()),
        };
        let image = self.image.as_deref().map(Picture::read).transpose()?;
        let prompt = Prompt { words, image };
        let tokens = engine.input(&prompt)?;
        let plan = self.plan.as_deref().map(Plan::read).transpose()?.unwrap_or_default();
        let prompt = card.provenance(&prompt, &plan).prompt;
        Ok(Ready { engine, tokens, plan, card, prompt })
    }
}

/// An id of a comma-separated list; blanks around it do not matter.
fn token_id(text: &str) -> std::result::Result<u32, String> {
    text.trim().parse().map_err(|_| "token ids are whole numbers, separated by commas".into())
}

/// A checkpoint folder, or the bundled one.
fn checkpoint(path: Option<&Path>) -> Result<Checkpoint> {
    path.map_or_else(engine::bundled, Checkpoint::open)
}

/// Parse arguments and do what they say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(mib) = cli.memory {
        engine::set_budget(mib << 20);
    }
    let done = match cli.command {
        None => window::open(cli.checkpoint.as_ref(), cli.image.as_deref()),
        Some(Command::Inspect(command)) => command.run(),
        Some(Command::Run(command)) => command.run(),
        Some(Command::Generate(command)) => command.run(),
        Some(Command::Study(command)) => command.run(),
        Some(Command::Methods(command)) => command.run(),
        Some(Command::Report(command)) => command.run(),
        Some(Command::Bench(command)) => command.run(),
        Some(Command::Screenshots(command)) => command.run(),
        Some(Command::Train(command)) => command.run(),
        Some(Command::Evaluate(command)) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("{error}; {}", error.next_step()));
            ExitCode::FAILURE
        }
    }
}

/// A line for the person, on stderr.
#[expect(clippy::print_stderr, reason = "stderr is where a command line talks to the person")]
fn note(text: &str) {
    eprintln!("sluice: {text}");
}

/// A piece of the result, on stdout. A closed pipe is not an error of ours.
fn out(text: &str) {
    use std::io::Write as _;
    let mut stdout = std::io::stdout();
    drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

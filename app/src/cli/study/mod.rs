//! `sluice study ID`: any method of the list, asked by flags that its declaration gives.

pub mod list;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, Error as ClapError, FromArgMatches, Subcommand};
use serde_json::Value;
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{Engine, Opened};
use sluice_core::figure::{Cell, Plot, Table};
use sluice_core::files::{Lock, There, claim_file};
use sluice_core::method::over::ListRun;
use sluice_core::method::{
    Ask, Asked, Existing, FINDINGS, Findings, METHODS, Method, Picks, Ready, Record, Steps, Subject,
    SubjectKind, capital, find, positions, prepare,
};
use sluice_core::plan::Plan;
use sluice_core::records::Shard;
use sluice_core::spec::{Field, FieldKind};
use sluice_core::{Error, Result, files};

use super::progress::name_failure;
use super::prompt::{PromptArgs, one_of};
use super::{HeldArgs, apart, checkpoint, note, opened, out, signals};

/// Rows of a table on stdout; findings.json has all.
const ROWS: usize = 64;

/// What is asked, and of which method.
#[derive(clap::Args)]
pub struct Study {
    #[command(subcommand)]
    asked: Chosen,
}

/// A method with its flags.
struct Chosen {
    method: &'static Method,
    flags: ArgMatches,
}

impl Subcommand for Chosen {
    fn augment_subcommands(command: Command) -> Command {
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommands(METHODS.iter().map(|m| of(m)))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        find(name).is_some()
    }
}

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, ClapError> {
        let chosen = matches.subcommand().and_then(|(name, flags)| Some((find(name)?, flags.clone())));
        match chosen {
            Some((method, flags)) => Ok(Self { method, flags }),
            None => Err(ClapError::new(clap::error::ErrorKind::InvalidSubcommand)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), ClapError> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The subcommand of a method.
fn of(method: &'static Method) -> Command {
    let file = || clap::value_parser!(PathBuf);
    let long = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let switch = |name, help| long(name, help).action(ArgAction::SetTrue);
    let about = format!("{} {}", method.title, capital(method.line));
    let checkpoint = Arg::new("checkpoint")
        .value_name("CHECKPOINT")
        .value_parser(file())
        .help("Checkpoint folder; left out = the bundled one");
    let mut command = HeldArgs::augment_args(Command::new(method.id).arg(checkpoint))
        .about(about.clone())
        .aliases(method.aliases);
    match method.subject {
        // The arguments bring what they are as what the command does.
        SubjectKind::Prompt => {
            command = PromptArgs::augment_args(command).about(about);
            command = match method.takes_lists() {
                true => list::flags(command).group(one_of(&[list::LIST])),
                false => command.group(one_of(&[])),
            };
        }
        SubjectKind::Text => {
            let help = "Text file; left out = text of the checkpoint's own world, or the bundled sample";
            command = command.arg(long("text", help).value_parser(file()).value_name("FILE"));
        }
        SubjectKind::None => {}
    }
    for pick in method.picks {
        let help = format!("{}: 5..9,12 or a text that occurs in the prompt", capital(pick.help));
        let required = pick.required && !pick.text_only;
        let arg =
            Arg::new(pick.name).long(pick.name).value_name("WHERE").help(help).allow_hyphen_values(true);
        command = command.arg(match method.takes_lists() {
            true if required => arg.required_unless_present(list::LIST),
            _ => arg.required(required),
        });
    }
    for field in method.fields {
        command = command.args(flags(field));
    }
    if !method.fields.iter().any(|field| field.name == "seed") {
        // Nothing is drawn; scripts may give it to every study.
        command = command.arg(long("seed", "Nothing is drawn at random here").hide(true));
    }
    command
        .arg(long("plan", "Plan file").value_parser(file()).value_name("FILE"))
        .arg(
            long("out", "Folder for findings.json, figures and files")
                .value_parser(file())
                .value_name("DIR")
                .required(true),
        )
        .arg(switch("json", "Print findings.json to stdout"))
        .arg(switch("resume", "Go on with what was begun in the folder"))
        .arg(switch("overwrite", "Begin anew where the folder has findings").conflicts_with("resume"))
}

/// `spare_front` as a flag: `spare-front`.
fn flag(field: &Field) -> String {
    field.name.replace('_', "-")
}

/// The flags of a parameter: one, and for a switch its opposite.
fn flags(field: &'static Field) -> Vec<Arg> {
    let default = (field.default)();
    let unit = if field.unit.is_empty() { String::new() } else { format!(", in {}", field.unit) };
    let shown = match &default {
        Value::Null => String::new(),
        Value::String(text) => format!(" [default: {text}]"),
        other => format!(" [default: {other}]"),
    };
    let help = format!("{}{unit}{shown}", field.help);
    let arg = Arg::new(field.name).long(flag(field)).help(help);
    match field.kind {
        FieldKind::Bool => {
            let no = format!("no-{}", flag(field));
            let not = Arg::new(no.clone()).long(no).action(ArgAction::SetTrue).overrides_with(field.name);
            vec![arg.action(ArgAction::SetTrue), not.hide(true)]
        }
        FieldKind::Enum(names) => vec![arg.value_parser(clap::builder::PossibleValuesParser::new(names))],
        FieldKind::File => vec![arg.value_name("FILE")],
        FieldKind::Answer => {
            let help = format!(
                "{}: a text as it goes on from the prompt (its leading space counts), or id:262",
                field.help
            );
            vec![arg.value_name("ANSWER").help(help).allow_hyphen_values(true)]
        }
        FieldKind::Text => vec![arg.value_name("TEXT").allow_hyphen_values(true)],
        _ => vec![arg.allow_negative_numbers(true)],
    }
}

impl Study {
    pub fn run(&self) -> Result<()> {
        let Chosen { method, flags } = &self.asked;
        let existing = match (flags.get_flag("resume"), flags.get_flag("overwrite")) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        };
        let mut ask = ask(method, flags)?;
        let plan = plan(method, flags)?;
        let folder = folder(method, flags, &mut ask)?;
        // Before any work.
        prepare(&folder, existing)?;
        if let (Existing::Refuse, Some(file)) = (existing, ask.get("file").and_then(Value::as_str)) {
            claim_file(&folder.join(file), There::Keep)?;
        }
        signals::watch()?;
        let _lock = Lock::take(&folder)?;
        HeldArgs::from_arg_matches(flags).map_err(|error| Error::Internal(error.to_string()))?.apply();
        let path = flags.get_one::<PathBuf>("checkpoint").map(PathBuf::as_path);
        let checkpoint = checkpoint(path)?;
        apart(&folder, &checkpoint)?;
        if let Some(file) = ask.get("file").and_then(Value::as_str) {
            apart(&folder.join(file), &checkpoint)?;
        }
        let subject = subject(method, flags, &checkpoint)?;
        let Opened { mut engine, card } = opened(&checkpoint, &signals::came)?;
        let mut asked = Asked::new(method, subject, &plan);
        asked.ask = ask;
        let mut ready = Ready::new(asked, &mut engine)?;
        ready.asked.picks = picks(method, flags, &ready)?;
        let mut record = Record::start(ready, &mut engine, &card, (&folder, existing), &signals::came)?;
        if existing == Existing::Resume && is_done(&folder) {
            note("the folder has whole findings of this question already; --overwrite begins anew");
            if flags.get_flag("json") {
                out_written(&folder)?;
            }
            return list::conclude(failed(&record));
        }
        let mut said = Instant::now();
        loop {
            let done = step(&mut record, &mut engine)?;
            if let Some(cause) = record.failure() {
                name_failure(failed(&record), &cause);
            }
            if done {
                break;
            }
            if said.elapsed().as_secs() >= 2 {
                said = Instant::now();
                say(&record);
            }
        }
        let findings = record.findings(&engine);
        if flags.get_flag("json") {
            out_written(&folder)?;
        } else {
            print(&findings);
            note(&format!("{:.3} s; findings in {}", findings.cost.seconds, folder.display()));
        }
        list::conclude(failed(&record))
    }

    /// The folder of its findings, where its items can be shared out.
    ///
    /// # Errors
    /// Where they cannot.
    pub fn sharded(&self) -> Result<&Path> {
        let Chosen { method, flags } = &self.asked;
        let refuse = |cause: &str| Err(Error::asked(cause, "correct the command behind --"));
        if list::file(method, flags).is_none() {
            return refuse("only a study of a list (--list) has findings that are sums over items");
        }
        if flags.get_one::<Shard>("shard").is_some()
            || ["resume", "overwrite"].iter().any(|flag| flags.get_flag(flag))
        {
            return refuse("--shard, --resume and --overwrite are not for a command that is shared out");
        }
        match flags.get_one::<PathBuf>("out") {
            Some(folder) => Ok(folder),
            None => refuse("it has no --out"),
        }
    }

    /// What it reads.
    pub fn paths(&self) -> Vec<&Path> {
        let Chosen { method, flags } = &self.asked;
        let given = |name: &str| flags.get_one::<PathBuf>(name);
        [given("checkpoint"), list::file(method, flags), given("plan")]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect()
    }
}

/// Items of a list that failed.
fn failed(record: &Record) -> u64 {
    record.running().list().map_or(0, ListRun::failed)
}

/// A small piece. Where a signal came what was found is written, and the run ends.
fn step(record: &mut Record, engine: &mut Engine) -> Result<bool> {
    let done = if signals::came() { Err(Error::Cancelled) } else { record.step(engine, &signals::came) };
    if matches!(done, Err(Error::Cancelled)) {
        let steps = record.running().progress();
        let saved = if record.save(engine)? { "; --resume goes on" } else { "; nothing was found yet" };
        note(&format!("interrupted after {} of {} {}{saved}", steps.done, steps.all, steps.unit));
    }
    done
}

/// Findings as they are written, on stdout.
fn out_written(folder: &Path) -> Result<()> {
    let written = folder.join(FINDINGS);
    out(&std::fs::read_to_string(&written).map_err(|error| Error::write(&written, error))?);
    Ok(())
}

/// The plan, where the method runs under it; what it replaces is said.
fn plan(method: &Method, flags: &ArgMatches) -> Result<Plan> {
    let Some(path) = flags.get_one::<PathBuf>("plan") else { return Ok(Plan::default()) };
    let plan = Plan::read(path)?;
    let replaced = plan.active().len() - (method.plan)(&plan).active().len();
    if replaced > 0 && !method.takes_plans() {
        let cause = format!("{} studies the unmodified model and runs under no plan", method.id);
        return Err(Error::asked(cause, "leave --plan out"));
    }
    if replaced > 0 {
        note(&format!("{replaced} of the plan's items are left out: {} replaces them", method.id));
    }
    Ok(plan)
}

/// Progress with the time that is left.
fn say(record: &Record) {
    let Steps { done, all, unit } = record.running().progress();
    let seconds = record.running().since().elapsed().as_secs_f64();
    // What an earlier run did costs nothing now.
    let now = done.saturating_sub(record.resumed());
    let left = if now > 0 {
        format!(", {:.0} s to go", seconds / now as f64 * (all - done.min(all)) as f64)
    } else {
        String::new()
    };
    note(&format!("{done} of {all} {unit}{left}"));
}

fn is_done(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join(FINDINGS)).unwrap_or_default();
    serde_json::from_str::<Value>(&text).is_ok_and(|findings| findings["done"] == true)
}

/// Parameters that were given.
fn ask(method: &Method, flags: &ArgMatches) -> Result<Ask> {
    let mut ask = Ask::new();
    for field in method.fields {
        let value = match field.kind {
            FieldKind::Bool => {
                let (on, off) = (flags.get_flag(field.name), flags.get_flag(&format!("no-{}", flag(field))));
                (on || off).then_some(Value::Bool(on))
            }
            kind => flags.get_one::<String>(field.name).map(|text| value(field, kind, text)).transpose()?,
        };
        if let Some(value) = value {
            ask.insert(field.name.to_owned(), value);
        }
    }
    Ok(ask)
}

/// A flag's text as its parameter's JSON.
fn value(field: &Field, kind: FieldKind, text: &str) -> Result<Value> {
    let wrong = |want: &str| {
        let next_step = format!("give --{} {}", flag(field), field.wanted());
        Error::asked(format!("--{} {text}: {want}", flag(field)), &next_step)
    };
    Ok(match kind {
        FieldKind::Int => Value::from(text.parse::<u64>().map_err(|_| wrong("a whole number is needed"))?),
        FieldKind::Float => {
            let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            Value::Number(number.ok_or_else(|| wrong("a number is needed"))?)
        }
        _ => Value::from(text),
    })
}

/// The folder for findings. A name that ends in .safetensors names a method's own file, and its folder is meant.
fn folder(method: &Method, flags: &ArgMatches, ask: &mut Ask) -> Result<PathBuf> {
    let path = flags.get_one::<PathBuf>("out").cloned().unwrap_or_default();
    let names_file = path.extension().is_some_and(|end| end == "safetensors");
    if !names_file || !method.fields.iter().any(|field| field.name == "file") {
        return Ok(path);
    }
    let name = path.file_name().ok_or_else(|| Error::write(&path, "not a file name"))?;
    ask.insert("file".into(), Value::from(name.to_string_lossy()));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(parent.unwrap_or(Path::new(".")).to_owned())
}

fn subject(method: &Method, flags: &ArgMatches, checkpoint: &Checkpoint) -> Result<Subject> {
    if let Some(list) = list::read(method, flags)? {
        return Ok(Subject::List(list));
    }
    Ok(match method.subject {
        SubjectKind::Prompt => {
            let flags =
                PromptArgs::from_arg_matches(flags).map_err(|error| Error::Internal(error.to_string()))?;
            let prompt = flags.read(checkpoint)?;
            Subject::Prompt(prompt.ok_or_else(|| Error::Input("there is no prompt".into()))?)
        }
        SubjectKind::Text => {
            let text = flags.get_one::<PathBuf>("text");
            // Before the weights: what cannot be read is known at once.
            if let Some(path) = text {
                files::read_within(path, 1).map_err(|error| Error::read(path, &error))?;
            }
            Subject::Text(text.cloned())
        }
        SubjectKind::None => Subject::Nothing,
    })
}

fn picks(method: &Method, flags: &ArgMatches, ready: &Ready) -> Result<Picks> {
    let mut picks = Picks::new();
    if matches!(ready.asked.subject, Subject::List(_)) {
        // They are marked in every item.
        return Ok(picks);
    }
    for pick in method.picks {
        if let Some(written) = flags.get_one::<String>(pick.name) {
            picks.insert(pick.name.to_owned(), positions(written, &ready.tokens)?);
        }
    }
    Ok(picks)
}

/// Facts, then the tables among the figures.
fn print(findings: &Findings) {
    for fact in findings.facts() {
        out(&format!("{}: {}\n", fact.name, fact.text()));
    }
    for figure in findings.found.figures() {
        if let Plot::Table(table) = &figure.plot {
            out(&format!("\n{}\n{}", figure.title, text(table)));
        }
    }
}

/// Columns that line up.
fn text(table: &Table) -> String {
    let is_whole = |cell: Option<&Cell>| !matches!(cell, Some(Cell::Number(number)) if number.fract() != 0.0);
    // Ids and counts have no decimals; a column is written in one way.
    let whole: Vec<bool> =
        (0..table.columns.len()).map(|at| table.rows.iter().all(|row| is_whole(row.get(at)))).collect();
    let cell = |(at, cell): (usize, &Cell)| match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number(number) if whole.get(at).is_some_and(|whole| *whole) => format!("{number}"),
        Cell::Number(number) => format!("{number:.4}"),
    };
    let rows: Vec<Vec<String>> =
        table.rows.iter().take(ROWS).map(|row| row.iter().enumerate().map(cell).collect()).collect();
    let width = |column: usize, head: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count());
        cells.chain([head.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = table.columns.iter().enumerate().map(|(at, head)| width(at, head)).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(text, &width)| format!("{text:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let more = match table.rows.len().saturating_sub(ROWS) {
        0 => String::new(),
        more => format!("… {more} more rows in {FINDINGS}\n"),
    };
    line(&table.columns) + &rows.iter().map(|row| line(row)).collect::<String>() + &more
}

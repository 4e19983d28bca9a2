//! `sluice score`: how well texts are foretold, and how many items of a list a model gets right, without and under plans.

mod judged;
mod texts;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sluice_core::files::{Lock, There, claim_file, claim_folder, json_line, write};
use sluice_core::plan::Plan;
use sluice_core::records::{Head, RECORDS, Reading, Records, Shard};
use sluice_core::score::judged::{self as judging, Kind, Verdicts};
use sluice_core::score::{Record, Source, Tally};
use sluice_core::{Error, Result};

use super::whole::whole;
use super::{HeldArgs, apart, checkpoint, mapped, note, out, signals, there};

/// Name of the command, in records.
pub const WORK: &str = "score";
/// Flags that only texts have.
const TEXTS_ALONE: [&str; 4] = ["split", "length", "stride", "per_token"];
/// Name of what texts came to, in the folder of their records.
const SCORE: &str = "score.json";
#[derive(Args)]
#[command(group(ArgGroup::new("texts").args(["text", "list", "choices", "last_word"]).required(true)))]
pub struct Score {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    /// Text file, one item; it is tokenised in pieces of at most 1 MiB that end with a line
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// List of items, JSON lines or an array: {"text": ...} or {"tokens": [...]}
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// List of {"prompt": ..., "image"?: ..., "choices": [...], "label": N}: how often the most likely choice is the right one
    #[arg(long, value_name = "FILE", conflicts_with_all = TEXTS_ALONE)]
    choices: Option<PathBuf>,
    /// List of {"text": ...}: how often every token of the last word is the most likely one
    #[arg(long, value_name = "FILE", conflicts_with_all = TEXTS_ALONE)]
    last_word: Option<PathBuf>,
    /// What stands for a field of a list in this one: answer=attribute, or a text with it: 'text={question} {answer}'
    #[arg(long, value_name = "OURS=THEIRS", conflicts_with = "text", allow_hyphen_values = true)]
    map: Vec<String>,
    /// Cut the text file into items at this text
    #[arg(long, value_name = "TEXT", conflicts_with = "list", allow_hyphen_values = true)]
    split: Option<String>,
    /// Items at most; left out = all
    #[arg(long, value_name = "N", value_parser = whole::<u64>, allow_negative_numbers = true)]
    items: Option<u64>,
    /// Tokens of a window, and of an item of several; left out = the context
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    length: Option<usize>,
    /// Tokens from one window to the next; left out = the length
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    stride: Option<usize>,
    /// Plan file; may be given several times, all are scored in one pass over the texts
    #[arg(long, value_name = "FILE")]
    plan: Vec<PathBuf>,
    /// Write every token with its nats, and KL under each plan
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    per_token: Option<PathBuf>,
    /// Folder for a record of every window or item, which --resume and `merge` go on from
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with what was begun in the folder
    #[arg(long, requires = "out")]
    resume: bool,
    /// The K-th of N parts of the items, for `merge`
    #[arg(long, value_name = "K/N", requires = "out", allow_hyphen_values = true)]
    shard: Option<Shard>,
    /// Write over what is there
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Score {
    pub fn run(&self) -> Result<()> {
        self.held.apply();
        let checkpoint = checkpoint(self.checkpoint.as_deref())?;
        for path in self.per_token.iter().chain(&self.out) {
            apart(path, &checkpoint)?;
        }
        let map = mapped(&self.map)?;
        signals::watch()?;
        let source = match (&self.text, &self.list, &self.split) {
            (Some(path), _, Some(marker)) => Source::Split(path.clone(), marker.clone()),
            (Some(path), _, None) => Source::Whole(path.clone()),
            (None, Some(path), _) => Source::List(path.clone(), map),
            (None, None, _) => {
                let (kind, list) = match (&self.choices, &self.last_word) {
                    (Some(list), _) => (Kind::Choices, list),
                    (None, Some(list)) => (Kind::LastWord, list),
                    (None, None) => return Err(Error::Input("there is no text".into())),
                };
                return judged::run(self, kind, list, map, &checkpoint);
            }
        };
        texts::run(self, source, &checkpoint)
    }

    /// The folder of its records, where its items can be shared out.
    ///
    /// # Errors
    /// Where they cannot.
    pub fn sharded(&self) -> Result<&Path> {
        let refuse = |cause: &str| Err(Error::asked(cause, "correct the command behind --"));
        if self.text.is_some() && self.split.is_none() {
            return refuse("a text without --split is one item: it has no shards");
        }
        if self.shard.is_some() || self.resume || self.overwrite || self.per_token.is_some() {
            return refuse(
                "--shard, --resume, --overwrite and --per-token are not for a command that is shared out",
            );
        }
        match &self.out {
            Some(folder) => Ok(folder),
            None => refuse("it has no --out"),
        }
    }

    /// What it reads.
    pub fn paths(&self) -> Vec<&Path> {
        let files = [&self.checkpoint, &self.text, &self.list, &self.choices, &self.last_word];
        files.into_iter().flatten().chain(&self.plan).map(PathBuf::as_path).collect()
    }

    /// The plans, and what they are called.
    fn plans(&self) -> Result<(Vec<Plan>, Vec<String>)> {
        let plans = self.plan.iter().map(|path| Plan::read(path)).collect::<Result<Vec<Plan>>>()?;
        Ok((plans, self.plan.iter().map(|path| path.display().to_string()).collect()))
    }
}

/// Look before the work whether the folder of the records can be written: nothing in it is written over unasked.
fn claim(asked: &Score) -> Result<Option<Lock>> {
    let Some(folder) = &asked.out else { return Ok(None) };
    claim_folder(folder)?;
    let lock = Lock::take(folder)?;
    let is_there = folder.join(RECORDS).exists();
    let there = if asked.resume && is_there { There::Replace } else { there(asked.overwrite) };
    if is_there && there == There::Keep {
        return Err(Error::Exists { path: folder.clone(), what: "records" });
    }
    claim_score(folder, there)?;
    Ok(Some(lock))
}

/// The same of what the records come to.
pub fn claim_score(folder: &Path, there: There) -> Result<()> {
    claim_file(&folder.join(SCORE), there)
}

/// Begin the records or go on with them, where there is a folder for them; `known` hears those that are there. Whether all of
/// them are.
fn begin<T: DeserializeOwned>(
    asked: &Score,
    head: &Head,
    mut known: impl FnMut(T),
) -> Result<(Option<Records>, bool)> {
    let Some(folder) = &asked.out else { return Ok((None, false)) };
    if !asked.resume {
        return Ok((Some(Records::begin(folder, head, there(asked.overwrite))?), false));
    }
    let records = Records::resume(folder, head, |record| {
        known(record);
        Ok(())
    })?;
    let done = records.is_none();
    if done {
        note("the folder has all records of this question already; --overwrite begins anew");
    }
    Ok((records, done))
}

fn interrupted(records: Option<&Records>) {
    note(if records.is_some() { "interrupted; --resume goes on" } else { "interrupted" });
}

/// What came out, on stdout and into the folder of the records. Fails where items did.
fn conclude(
    found: &impl Serialize,
    written: &str,
    folder: Option<&Path>,
    json: bool,
    failed: u64,
) -> Result<()> {
    let text = json_line(found)?;
    if let Some(folder) = folder {
        write(&folder.join(SCORE), text.as_bytes(), There::Replace)?;
    }
    out(if json { &text } else { written });
    match failed {
        0 => Ok(()),
        _ => Err(Error::asked(
            format!("{failed} items could not be read; all others are in"),
            "correct the lines that are named above",
        )),
    }
}

/// What merged records come to.
///
/// # Errors
/// Records of something else, or what [`conclude`] says.
pub fn merged(folder: &Path, json: bool) -> Result<()> {
    let reading = Reading::open(folder)?;
    let reading = reading.ok_or_else(|| Error::Internal("merged records are empty".into()))?;
    let Named { plans } = serde_json::from_str(reading.head.ask.get()).unwrap_or_default();
    let names: Vec<String> = plans.into_iter().map(|plan| plan.name).collect();
    match reading.head.work.as_str() {
        WORK => {
            let mut tally = Tally::default();
            reading.each(|record: Record| {
                tally.add(&record);
                Ok(())
            })?;
            texts::print(&tally, &names, Some(folder), json)
        }
        work if [Kind::Choices, Kind::LastWord].iter().any(|kind| kind.name() == work) => {
            let mut verdicts = Verdicts::default();
            reading.each(|record: judging::Record| {
                verdicts.add(&record);
                Ok(())
            })?;
            judged::print(&verdicts, &names, Some(folder), json)
        }
        work => Err(Error::asked(
            format!("{work}: nothing is known of such records"),
            "merge them with the Sluice that wrote them",
        )),
    }
}

/// What a question says of the plans.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    plans: Vec<NamedPlan>,
}

/// What a plan is called.
#[derive(Deserialize)]
struct NamedPlan {
    name: String,
}

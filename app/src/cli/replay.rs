//! `sluice replay`: a session without a window. Every step's next tokens, then every study to its end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Engine, Opened, Prompt, Words};
use sluice_core::files::{Lock, claim_folder, read_within, write};
use sluice_core::method::view::{NextAsk, Runs, View, ViewData};
use sluice_core::method::{Asked, Existing, FINDINGS, Ready, Record, prepare};
use sluice_core::plan::Plan;
use sluice_core::session::{Answered, Document, Session, Work, beside};
use sluice_core::{Error, Result};

use super::{HeldArgs, apart, note, out, signals, there};

/// Next tokens of every step of the history, and of every pinned variant.
const STEPS: &str = "steps.jsonl";
const VARIANTS: &str = "variants.jsonl";
/// Bytes of kept findings at most.
const MOST: u64 = 1 << 30;

/// Arguments.
#[derive(Args)]
pub struct Replay {
    /// Session file
    session: PathBuf,
    #[command(flatten)]
    held: HeldArgs,
    /// Folder for the findings; one in it for each checkpoint
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with what was begun
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Write over what is there
    #[arg(long)]
    overwrite: bool,
}

impl Replay {
    pub fn run(&self) -> Result<()> {
        self.held.apply();
        let opened = Session::read(&self.session)?;
        opened.missing.iter().for_each(|missing| note(missing));
        claim_folder(&self.out)?;
        let names = folders(&opened.session.works);
        for name in &names {
            self.claim(&self.out.join(name))?;
        }
        signals::watch()?;
        let _lock = Lock::take(&self.out)?;
        let mut unlike = opened.missing.len();
        for (work, name) in opened.session.works.iter().zip(&names) {
            unlike += self.work(work, &self.out.join(name))?;
        }
        match unlike {
            0 => Ok(()),
            _ => Err(Error::asked(
                format!("{unlike} parts of the session are not as they were"),
                "the lines above say which; what could be run is in the folder",
            )),
        }
    }

    /// Look before any work whether a folder can be written into.
    fn claim(&self, folder: &Path) -> Result<()> {
        let taken = [STEPS, VARIANTS].iter().any(|name| folder.join(name).exists());
        if taken && !self.resume && !self.overwrite {
            return Err(Error::Exists { path: folder.to_owned(), what: "a replay" });
        }
        claim_folder(folder)
    }

    /// One checkpoint. How many parts are not as they were.
    fn work(&self, work: &Work, folder: &Path) -> Result<usize> {
        let reference = &work.checkpoint;
        let checkpoint = match &reference.path {
            None => engine::bundled(),
            Some(path) => Checkpoint::open(path),
        };
        let checkpoint = match checkpoint {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                note(&format!("{}: {error}; {}", reference.name, error.next_step()));
                return Ok(1);
            }
        };
        apart(folder, &checkpoint)?;
        let Opened { mut engine, card } = engine::open(&checkpoint, &mut |_, _| {}, &signals::came)?;
        let mut unlike = 0;
        if card.fingerprint != reference.fingerprint {
            let (now, then) = (&card.fingerprint, &reference.fingerprint);
            note(&format!("{} has changed since: it is {now}, was {then}", reference.name));
            unlike += 1;
        }
        let steps = work.history.all().iter().map(|step| (&*step.name, &step.document));
        lines(&mut engine, &card, steps, &folder.join(STEPS), self.resume || self.overwrite)?;
        let variants = work.variants.iter().map(|pinned| (&*pinned.name, &pinned.document));
        lines(&mut engine, &card, variants, &folder.join(VARIANTS), self.resume || self.overwrite)?;
        for found in work.methods.values().filter_map(|inquiry| inquiry.found.as_ref()) {
            unlike += usize::from(!self.study(found, &mut engine, &card, folder)?);
        }
        Ok(unlike)
    }

    /// A study to its end. Whether it finds what the session has of it.
    fn study(
        &self,
        found: &Answered,
        engine: &mut Engine,
        card: &engine::Card,
        folder: &Path,
    ) -> Result<bool> {
        let id = found.asked.method.id;
        let own = folder.join(id);
        let existing = match (self.resume, self.overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        };
        prepare(&own, existing)?;
        let asked: Asked = (*found.asked).clone();
        let run = |engine: &mut Engine| -> Result<()> {
            let ready = Ready::new(asked, engine)?;
            let mut record = Record::start(ready, engine, card, (&own, existing), &signals::came)?;
            while !record.step(engine, &signals::came)? {}
            Ok(())
        };
        match run(engine) {
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                note(&format!("{id}: {error}; {}", error.next_step()));
                return Ok(false);
            }
            Ok(()) => {}
        }
        let kept = findings(&beside(&self.session).join(format!("{}.json", found.reached.stem)));
        let now = findings(&own.join(FINDINGS));
        let same = !found.reached.done || kept.is_none() || kept == now;
        let word = match (&kept, same) {
            (None, _) => "the session has no findings of it to compare with",
            (_, false) => "other findings than the session's",
            _ if !found.reached.done => "done; the session's were partial",
            _ => "the session's findings",
        };
        out(&format!("{id}: {word}, in {}\n", own.display()));
        Ok(same)
    }
}

/// A folder's name for each checkpoint, each its own.
fn folders(works: &[Work]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut name = |work: &Work| {
        let letter = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let own: String = work.checkpoint.name.chars().map(letter).collect();
        let own = own.trim_start_matches('.').to_owned();
        let first = if own.is_empty() { "checkpoint".to_owned() } else { own };
        let numbered = |number: usize| if number == 1 { first.clone() } else { format!("{first}-{number}") };
        let free = (1..).map(numbered).find(|name| !taken.contains(name)).unwrap_or_default();
        taken.insert(free.clone());
        free
    };
    works.iter().map(&mut name).collect()
}

/// Next tokens of documents, a line of JSON each. One that cannot be run says why.
fn lines<'a>(
    engine: &mut Engine,
    card: &engine::Card,
    all: impl Iterator<Item = (&'a str, &'a Document)>,
    path: &Path,
    over: bool,
) -> Result<()> {
    let mut text = String::new();
    for (number, (name, document)) in all.enumerate() {
        if signals::came() {
            return Err(Error::Cancelled);
        }
        let mut line = json!({
            "number": number,
            "name": name,
            "prompt": &*document.words,
            "picture": document.picture.as_ref().map(|picture| picture.name()),
            "plan": &*document.plan,
        });
        let (key, value) = match next(engine, card, document) {
            Ok(data) => ("next", data),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => ("error", Value::from(error.to_string())),
        };
        if let Some(line) = line.as_object_mut() {
            line.insert(key.into(), value);
        }
        text.push_str(&line.to_string());
        text.push('\n');
    }
    write(path, text.as_bytes(), there(over))
}

fn next(engine: &mut Engine, card: &engine::Card, document: &Document) -> Result<Value> {
    let Document { words, picture, plan } = document;
    let words = match card.reads_text() {
        true => Words::Text(words.to_string()),
        false => Words::Tokens(ids(words)?),
    };
    let prompt = Prompt { words, image: picture.clone() };
    let input = engine.input(&prompt)?;
    let plan: Plan = plan.fitted(input.len());
    let base = engine.base(&input, &signals::came)?;
    let provenance = card.provenance(&prompt, &plan);
    let runs = Runs::under(engine, base, plan, provenance, &signals::came)?;
    match View::from(NextAsk::default()).compute(engine, &runs, &signals::came)? {
        ViewData::Next(next) => {
            serde_json::to_value(next).map_err(|error| Error::Internal(error.to_string()))
        }
        _ => Err(Error::Internal("no next tokens".into())),
    }
}

/// A prompt box of a checkpoint without a tokenizer.
fn ids(words: &str) -> Result<Vec<u32>> {
    let parts = words.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| part.parse().map_err(|_| Error::Input(format!("\"{part}\" is not a token id"))))
        .collect()
}

/// Findings less what they cost and the names of their files; none where they cannot be read.
fn findings(path: &Path) -> Option<Value> {
    let (bytes, _) = read_within(path, MOST).ok()?;
    let mut findings: Value = serde_json::from_slice(&bytes).ok()?;
    findings.as_object_mut()?.remove("cost");
    for figure in findings["figures"].as_array_mut().into_iter().flatten() {
        if let Some(figure) = figure.as_object_mut() {
            figure.remove("files");
        }
    }
    Some(findings)
}

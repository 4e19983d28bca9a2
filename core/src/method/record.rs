//! A run that is written to a folder while it goes on: findings, figures, and what a killed run goes on from.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::over::{self, ItemFound, ListRun};
use super::state::{same_question, unusable};
use super::{Findings, Ready, Running, State, Steps, Subject};
use crate::engine::{Cancelled, Card, Engine};
use crate::error::{Error, Result};
use crate::figure::{Figure, Format, Ground, export};
use crate::files::{There, claim_folder, read_within, write_atomic};
use crate::records::{Head, RECORDS, Records};

/// Name of the findings in their folder.
pub const FINDINGS: &str = "findings.json";
/// Name of what a killed run goes on from.
pub const STATE: &str = "state.safetensors";
/// Writing takes one part in this many of the time at most: of steps that are quicker than that not every one is recorded.
const WRITING: u32 = 20;
/// Bytes of findings at most.
const MOST_FINDINGS: u64 = 1 << 30;

/// What to do where the folder has findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing: findings that are there are kept, and nothing is done.
    Refuse,
    /// Go on with what was begun.
    Resume,
    /// Begin anew over it.
    Overwrite,
}

/// A run and its folder.
pub struct Record {
    running: Running,
    question: Value,
    folder: PathBuf,
    /// What became of each item, where it is about a list.
    items: Option<Records>,
    /// Why the last item failed, until it is told.
    failed: Option<String>,
    /// Steps that an earlier run had done.
    resumed: usize,
    /// Steps at the last record, when that was made, and how long it took.
    last: Option<(Steps, Instant, Duration)>,
    /// Whether an earlier study is written over. Its findings stay until there are new ones.
    overwrites: bool,
    /// Figures that it listed; they go after its findings.
    stale: Vec<String>,
}

/// Make a folder that can be written, and look whether it may be. Before any work.
///
/// # Errors
/// [`Error::Write`] where the system refuses, or findings are there and nothing is said about them.
pub fn prepare(folder: &Path, existing: Existing) -> Result<()> {
    if existing == Existing::Refuse
        && [FINDINGS, STATE, RECORDS].iter().any(|name| folder.join(name).exists())
    {
        return Err(Error::Exists { path: folder.to_owned(), what: "findings" });
    }
    claim_folder(folder)
}

impl Record {
    /// Begin in a folder that is prepared, or go on there.
    ///
    /// # Errors
    /// Where the question does not fit, or what is to be resumed belongs to another one.
    pub fn start(
        mut ready: Ready,
        engine: &mut Engine,
        card: &Card,
        (folder, existing): (&Path, Existing),
        cancelled: Cancelled,
    ) -> Result<Self> {
        ready.asked.folder = folder.to_owned();
        let question = ready.question(card)?;
        let state = folder.join(STATE);
        let head = match &ready.asked.subject {
            Subject::List(list) => {
                Some(over::head(&ready.asked, &question, card, &engine.model.spec, list.shard)?)
            }
            _ => None,
        };
        let kept = match existing {
            Existing::Resume if head.is_none() && state.exists() => Some(State::load(&state, &question)?),
            Existing::Resume => {
                answers(&folder.join(FINDINGS), &question)?;
                None
            }
            _ => None,
        };
        let mut running = ready.start(engine, card, kept, cancelled)?;
        let items = match head {
            Some(head) => items(&mut running, &head, folder, existing)?,
            None => None,
        };
        let resumed = running.progress().done;
        let overwrites = existing == Existing::Overwrite;
        Ok(Self {
            running,
            question,
            folder: folder.to_owned(),
            items,
            failed: None,
            resumed,
            last: None,
            overwrites,
            stale: Vec::new(),
        })
    }

    /// Steps that an earlier run had done.
    pub fn resumed(&self) -> usize {
        self.resumed
    }

    /// The run.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Do a small piece, and write what it changed. Whether everything is found and written.
    ///
    /// # Errors
    /// What the run fails with, and [`Error::Write`] where the folder cannot be written.
    pub fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<bool> {
        let done = self.running.step(engine, cancelled)?;
        if let Some(item) = self.running.list_mut().and_then(ListRun::ended) {
            if let Some(items) = &mut self.items {
                items.write(&item)?;
            }
            self.failed = item.failed;
        }
        if done {
            self.finish(engine)?;
            return Ok(true);
        }
        let now = self.running.progress();
        let due = self
            .last
            .is_none_or(|(steps, at, took)| steps.done != now.done && at.elapsed() >= took * WRITING);
        if due {
            self.save(engine)?;
        }
        Ok(false)
    }

    /// Write what was found so far, and what a later run goes on from; nothing where there is none. Whether it was written.
    ///
    /// # Errors
    /// [`Error::Write`] where the system refuses; what was there before is kept.
    pub fn save(&mut self, engine: &Engine) -> Result<bool> {
        let begin = Instant::now();
        // What is about a list goes on behind its records.
        if self.running.list().is_some() {
            if self.running.progress().done == 0 {
                return Ok(false);
            }
            self.find_stale();
        } else {
            let state = self.running.state()?;
            if state.is_empty() {
                return Ok(false);
            }
            self.find_stale();
            state.write(&self.folder.join(STATE), &self.question)?;
        }
        write(&self.running.findings(engine), &|_| Vec::new(), &self.folder)?;
        self.clear(&[])?;
        self.last = Some((self.running.progress(), Instant::now(), begin.elapsed()));
        Ok(true)
    }

    /// Why an item of the list failed since this was last asked.
    pub fn failure(&mut self) -> Option<String> {
        self.failed.take()
    }

    /// Findings so far.
    pub fn findings(&self, engine: &Engine) -> Findings {
        self.running.findings(engine)
    }

    /// Figures, then findings that name them; then there is nothing to go on from.
    fn finish(&mut self, engine: &Engine) -> Result<()> {
        self.find_stale();
        if let (Some(items), Some(run)) = (self.items.take(), self.running.list()) {
            items.finish(run.count())?;
        }
        let names = write_whole(&self.running.findings(engine), &self.folder, There::Replace)?;
        self.clear(&names)?;
        remove(self.folder.join(STATE))
    }

    fn find_stale(&mut self) {
        if std::mem::take(&mut self.overwrites) {
            self.stale = listed(&self.folder);
        }
    }

    /// Take away the figures of an earlier study, but for names that are written anew.
    fn clear(&mut self, anew: &[String]) -> Result<()> {
        for name in self.stale.drain(..).filter(|name| !anew.contains(name)) {
            remove(self.folder.join(name))?;
        }
        Ok(())
    }
}

/// The records of what is about a list, begun or gone on with; none where all of them are there.
fn items(running: &mut Running, head: &Head, folder: &Path, existing: Existing) -> Result<Option<Records>> {
    let there = if existing == Existing::Overwrite { There::Replace } else { There::Keep };
    if existing != Existing::Resume {
        return Records::begin(folder, head, there).map(Some);
    }
    let hear = |item: ItemFound| running.list_mut().map_or(Ok(()), |run| run.hear(&item));
    Records::resume(folder, head, hear)
}

/// Write whole findings into a folder: figures, then findings that name them. `there` is for figures that are there. Their
/// names.
///
/// # Errors
/// [`Error::Write`], and figures that are there and stay.
pub fn write_whole(findings: &Findings, folder: &Path, there: There) -> Result<Vec<String>> {
    let files = |figure: &Figure| Format::OF_A_STUDY.map(|format| export::file_name(figure, format)).to_vec();
    let mut names = Vec::new();
    for figure in findings.found.figures() {
        export::write_all(&figure, Ground::Light, folder, there)?;
        names.extend(files(&figure));
    }
    write(findings, &files, folder)?;
    Ok(names)
}

fn write(findings: &Findings, files: &dyn Fn(&Figure) -> Vec<String>, folder: &Path) -> Result<()> {
    write_atomic(&folder.join(FINDINGS), findings.json(files)?.as_bytes())
}

/// Fails where findings are there and answer another question: they would be lost.
fn answers(path: &Path, question: &Value) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let file = read(path)?;
    let of = json!({
        "method": &file["method"],
        "checkpoint": &file["checkpoint"]["fingerprint"],
        "subject": &file["subject"],
        "picks": &file["picks"],
        "plan": &file["plan"],
        "ask": &file["ask"],
        // Findings of before they were listed have none.
        "files": file.get("files").cloned().unwrap_or_else(|| json!({})),
    });
    same_question(path, &of, question)
}

fn read(path: &Path) -> Result<Value> {
    let (bytes, _) = read_within(path, MOST_FINDINGS).map_err(|error| Error::read(path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| unusable(path, &error.to_string()))
}

fn remove(path: PathBuf) -> Result<()> {
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::write(path, error)),
        _ => Ok(()),
    }
}

/// Figures that the findings of a folder list; findings that cannot be read list nothing.
fn listed(folder: &Path) -> Vec<String> {
    let findings = read(&folder.join(FINDINGS)).unwrap_or_default();
    let figures = findings["figures"].as_array().into_iter().flatten();
    let names = figures.filter_map(|figure| figure["files"].as_array()).flatten().filter_map(Value::as_str);
    names.filter(|name| is_figure(name)).map(str::to_owned).collect()
}

/// Whether a name is that of a figure's file: findings come from anywhere, and may name what is none of theirs.
fn is_figure(name: &str) -> bool {
    let path = Path::new(name);
    let ends = |format: &Format| path.extension().is_some_and(|end| end == format.extension());
    path.file_name().is_some_and(|file| file == name) && Format::OF_A_STUDY.iter().any(ends)
}

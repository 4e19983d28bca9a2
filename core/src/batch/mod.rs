//! Many prompts, one load: questions come line by line and are answered in their order. Short ones that are at hand share a
//! pass, each with the bits that it has alone.

mod captures;
mod line;
mod reply;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub use captures::Archive;
pub use reply::{Failed, Next, Reply, Said};

use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::files::Entries;
use crate::model::{Ask as Asks, Input, Logits, Schedule};
use crate::plan::Plan;
use crate::records::{self, Map};
use crate::site::Site;
use line::{FIELDS, Line, Question};

/// Tokens of a prompt at most that shares a pass: what is longer keeps the cores busy alone.
const SHORT: usize = 128;
/// Prompts of a pass at most.
const MOST: usize = 256;
/// Bytes of logits of a pass at most.
const LOGITS: usize = 24 << 20;

/// What is asked of every line.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The list; `-` is what another program sends.
    pub list: PathBuf,
    /// Which of its fields are meant, where they have other names.
    pub map: Option<Map>,
    /// The plan of lines without one.
    pub plan: Plan,
    /// Sites to keep.
    pub capture: BTreeSet<Site>,
}

/// A list under way.
pub struct Batch {
    ask: Ask,
    entries: Entries,
    /// Where the files that lines name lie.
    folder: PathBuf,
    /// A line that the pass before had no room for.
    next: Option<Asked>,
    /// The last line that was answered earlier.
    behind: Option<Written>,
    ended: bool,
}

/// A line, read or failed.
struct Asked {
    reply: Reply,
    question: Result<Question>,
}

impl Batch {
    /// Nothing read yet.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn new(ask: Ask) -> Result<Self> {
        let entries = Entries::open(&ask.list)?;
        let folder = ask.list.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { ask, entries, folder, next: None, behind: None, ended: false })
    }

    /// Go on behind a line that was answered earlier, if it is a line of this list.
    pub fn go_on_behind(&mut self, last: Written) {
        self.behind = Some(last);
    }

    /// Replies to the next lines, in their order; none at the end. Waits for one line at most: what has come is answered.
    ///
    /// # Errors
    /// What the system says, or [`Error::Cancelled`].
    pub fn next(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<Vec<Reply>> {
        let (rows, vocab) = (engine.rows_at_once(), engine.model.spec.vocab);
        let most = (LOGITS / (4 * vocab).max(1)).clamp(1, MOST);
        let (mut group, mut together, mut epoch): (Vec<Asked>, usize, Option<usize>) = (Vec::new(), 0, None);
        while group.len() < most && together < rows {
            if !group.is_empty() && self.next.is_none() && !self.entries.is_ready() {
                break;
            }
            let Some(asked) = self.read(engine, cancelled)? else { break };
            if let Ok(question) = &asked.question {
                let own = engine.model.epoch(question.input.len());
                let fits = self.shares(engine, question) && epoch.is_none_or(|epoch| epoch == own);
                if !fits && together > 0 {
                    self.next = Some(asked);
                    break;
                }
                together += question.input.len();
                if !fits {
                    group.push(asked);
                    break;
                }
                epoch = Some(own);
            }
            group.push(asked);
        }
        self.answer(engine, group, cancelled)
    }

    /// Whether a question can share a pass.
    fn shares(&self, engine: &Engine, question: &Question) -> bool {
        self.ask.capture.is_empty()
            && question.input.len() <= SHORT
            && engine.fits_beside(&question.input, &question.schedule)
    }

    /// The next line, read; none at the end.
    fn read(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<Option<Asked>> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        while !self.ended {
            let entry = match self.entries.entry() {
                Ok(None) => break,
                Ok(Some(entry)) => Ok(entry),
                Err(error @ Error::Entry { .. }) => Err(error),
                Err(error) => return Err(error),
            };
            let number = self.entries.number();
            let last = self.behind.as_ref().map_or(0, |last| last.line);
            if number < last {
                continue;
            }
            let map = self.ask.map.as_ref();
            let line = entry.and_then(|entry| records::read::<Line>(&self.entries, &entry, map, &FIELDS));
            let id = line.as_ref().ok().and_then(|line| line.id.clone());
            let question = line.and_then(|line| line.ask(engine, &self.folder, &self.ask.plan, cancelled));
            if matches!(question, Err(Error::Cancelled)) {
                return Err(Error::Cancelled);
            }
            if let Some(last) = self.behind.take_if(|last| last.line == number) {
                last.answers(id.as_deref(), question.as_ref().ok())?;
                continue;
            }
            return Ok(Some(Asked { reply: Reply::to(number, id), question }));
        }
        self.ended = true;
        // A list that ends before it is another one.
        self.behind.take().map_or(Ok(None), |last| Err(last.of_another()))
    }

    /// Answer lines, in one pass where there are several.
    fn answer(&self, engine: &Engine, group: Vec<Asked>, cancelled: Cancelled) -> Result<Vec<Reply>> {
        let asked = group.iter().filter_map(|asked| asked.question.as_ref().ok());
        let runs: Vec<_> = asked.map(|question| (&question.input, &question.schedule)).collect();
        let shared = match runs.len() {
            0 | 1 => None,
            _ => shared(engine, &runs, cancelled)?,
        };
        let mut rows = shared.into_iter().flatten();
        let mut replies = Vec::with_capacity(group.len());
        for Asked { mut reply, question } in group {
            let filled = question.and_then(|question| {
                let logits = match rows.next() {
                    Some(row) => row,
                    None => self.alone(engine, &mut reply, &question, cancelled)?,
                };
                reply.fill(engine, &question, &logits, cancelled)
            });
            replies.push(match filled {
                Ok(()) => reply,
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => reply.failed(&error),
            });
        }
        Ok(replies)
    }

    /// Logits after a prompt that has a pass of its own, and what is captured there.
    fn alone(
        &self,
        engine: &Engine,
        reply: &mut Reply,
        question: &Question,
        cancelled: Cancelled,
    ) -> Result<Vec<f32>> {
        let ask = Asks { capture: self.ask.capture.clone(), logits: Logits::Last, ..Asks::default() };
        let (output, _) = engine.pass(&question.input, &question.schedule, ask, cancelled)?;
        reply.captured = output.captures;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }
}

/// Logits of several runs in one pass. None where one of them fails: which one, each says alone.
fn shared(
    engine: &Engine,
    runs: &[(&Input, &Arc<Schedule>)],
    cancelled: Cancelled,
) -> Result<Option<Vec<Vec<f32>>>> {
    let output = engine.side_by_side(runs).and_then(|pass| pass.run(cancelled));
    match output {
        Ok(output) => match output.logits {
            Some(logits) => Ok(Some(logits.to_vec2()?)),
            None => Ok(None),
        },
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(_) => Ok(None),
    }
}

/// What counts of a reply that was written.
#[derive(Clone, Debug, Deserialize)]
pub struct Written {
    /// The line that it answers.
    pub line: u64,
    #[serde(default)]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    tokens: Vec<u32>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

impl Written {
    /// A reply by its JSON; none of what is no reply.
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Whether the line could not be answered.
    pub fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// Fails where it does not answer such a line: one that cannot be read is answered by its failure.
    fn answers(&self, id: Option<&RawValue>, question: Option<&Question>) -> Result<()> {
        let same = match question {
            Some(question) if !self.failed() => question.input.to_vec() == self.tokens,
            Some(_) => true,
            None => self.failed(),
        };
        let named = |id: Option<&RawValue>| id.map(|id| id.get().to_owned());
        if same && named(self.id.as_deref()) == named(id) { Ok(()) } else { Err(self.of_another()) }
    }

    fn of_another(&self) -> Error {
        let cause = format!("the answers that are there are of another list: line {} differs", self.line);
        Error::asked(cause, "give their list, or begin anew with --overwrite")
    }
}

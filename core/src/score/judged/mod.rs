//! Lists whose items a model gets right or wrong: the choice that it finds most likely, the last word of a text.

mod choices;
mod last_word;
mod verdicts;

use std::path::{Path, PathBuf};

pub use verdicts::{Judged, PlanJudged, Record, Verdict, Verdicts};

use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::records::{Items, Map, Taken};

/// What is judged of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{"prompt", "image"?, "choices": […], "label": int}`: the most likely choice is the one at `label`.
    Choices,
    /// `{"text"}`: every token of the last word, with the blank before it, is the most likely one.
    LastWord,
}

impl Kind {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Choices => "choices",
            Self::LastWord => "last-word",
        }
    }
}

/// What is to be judged.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is judged.
    pub kind: Kind,
    /// The list.
    pub list: PathBuf,
    /// Which fields are meant, where they have other names.
    pub map: Option<Map>,
    /// Which items.
    pub taken: Taken,
    /// Plans under which they are judged too.
    pub plans: Vec<Plan>,
}

/// A list under way.
pub struct Judge {
    kind: Kind,
    items: Items,
    /// Where an item's pictures lie.
    folder: PathBuf,
    /// None, then each.
    plans: Vec<Plan>,
}

impl Judge {
    /// Nothing read yet.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn new(ask: Ask) -> Result<Self> {
        let Ask { kind, list, map, taken, plans } = ask;
        let folder = list.parent().unwrap_or(Path::new("")).to_owned();
        let plans = std::iter::once(Plan::default()).chain(plans).collect();
        Ok(Self { kind, items: Items::open(&list, map, taken)?, folder, plans })
    }

    /// Items read so far, also those of other shards.
    pub fn count(&self) -> u64 {
        self.items.count()
    }

    /// Judge the next item; none at the end. One that cannot be judged says why, and the rest goes on.
    ///
    /// # Errors
    /// What the system says, or [`Error::Cancelled`].
    pub fn next(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<Option<Record>> {
        let judged = match self.kind {
            Kind::Choices => {
                let Some((item, read)) = self.items.next::<choices::Item>(&choices::FIELDS)? else {
                    return Ok(None);
                };
                let judge = |read: choices::Item| read.judge(engine, &self.folder, &self.plans, cancelled);
                (item, read.map(judge))
            }
            Kind::LastWord => {
                let Some((item, read)) = self.items.next::<last_word::Item>(&last_word::FIELDS)? else {
                    return Ok(None);
                };
                (item, read.map(|read| read.judge(engine, &self.plans, cancelled)))
            }
        };
        let failed = |item, error: &Error| Record { item, failed: Some(error.to_string()), runs: Vec::new() };
        Ok(Some(match judged {
            (item, Ok(Ok(runs))) => Record { item, failed: None, runs },
            (_, Ok(Err(Error::Cancelled))) => return Err(Error::Cancelled),
            (item, Ok(Err(error))) => failed(item, &self.items.broken(&error)),
            (item, Err(error)) => failed(item, &error),
        }))
    }
}

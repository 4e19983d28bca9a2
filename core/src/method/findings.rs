//! What a method found: one value for the window, the command line, reports and files.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::{Ask, Asked, Content, Measured, Subject, complete};
use crate::engine::{Card, Token};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId};
use crate::model::Work;
use crate::plan::Item;
use crate::records::Shard;

/// Version of findings.json.
pub const VERSION: u32 = 1;

/// Findings of one method, partial while it runs.
pub trait Found: Any + Send + Sync {
    /// Numbers to be read off, the most important first.
    fn facts(&self) -> Vec<Fact>;

    /// Pictures, the most important first.
    fn figures(&self) -> Vec<Arc<Figure>>;

    /// Everything, for scripts: docs/findings.md lists the keys.
    fn data(&self) -> Result<Box<RawValue>>;

    /// What they measure of a prompt whatever its length: values of the method's measures, in their order. Asked of whole
    /// findings alone.
    fn measured(&self) -> Measured {
        Ok(Vec::new())
    }

    /// What can be taken over into the plan.
    fn offers(&self) -> Vec<Offer> {
        Vec::new()
    }

    /// What a cell of one of the maps offers.
    fn offer_at(&self, _figure: FigureId, _row: usize, _col: usize) -> Option<Offer> {
        None
    }

    /// Files that were written, by name in the folder that was asked for.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// JSON of a method's own findings: floats in the shortest form that reads back the same, undefined ones null.
///
/// # Errors
/// A value that JSON cannot hold.
pub fn raw(value: &impl Serialize) -> Result<Box<RawValue>> {
    to_raw_value(value).map_err(|error| Error::Internal(error.to_string()))
}

/// Begins the name of a fact that says why the others may mislead.
pub const WARNING: &str = "warning: ";

/// A number that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// NaN = not defined.
    pub value: f64,
    /// Empty for a number without one.
    pub unit: &'static str,
    /// Lower end of its interval, where it has one.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Fact {
    /// Without an interval.
    pub fn new(name: impl Into<String>, value: impl Into<f64>, unit: &'static str) -> Self {
        Self { name: name.into(), value: value.into(), unit, low: None, high: None }
    }
}

impl Fact {
    /// Value with unit, and its interval where it has one.
    pub fn text(&self) -> String {
        let number = |x: f64| match x.abs() {
            _ if x.is_nan() => "n/a".to_owned(),
            _ if x.fract() == 0.0 && x.abs() < 1e15 => format!("{x}"),
            size if (1e-3..1e6).contains(&size) => format!("{x:.4}"),
            _ => format!("{x:.3e}"),
        };
        let interval = match (self.low, self.high) {
            (Some(low), Some(high)) => format!(" [{}, {}]", number(low), number(high)),
            _ => String::new(),
        };
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        format!("{}{unit}{interval}", number(self.value))
    }
}

/// Plan items that a person can take over.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// On the button.
    pub label: String,
    /// What to know about it.
    pub hint: String,
    /// Added, where the plan does not have them yet.
    pub items: Vec<Item>,
    /// Kinds that leave the plan before.
    pub replaces: &'static [&'static str],
}

impl Offer {
    /// The plan's items with those of the offer.
    pub fn apply(&self, items: &mut Vec<Item>) {
        items.retain(|item| !self.replaces.contains(&item.change.kind()));
        for item in &self.items {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
    }
}

/// Cost of a run: the one part of findings that differs between equal runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Wall time, of all runs that led here.
    pub seconds: f64,
    /// Rows that went through a sublayer, summed over sublayers.
    pub rows: u64,
    /// Floating-point operations.
    pub operations: u64,
}

impl Cost {
    /// Cost of some work that took `seconds`.
    pub fn new(work: Work, seconds: f64) -> Self {
        Self { seconds, rows: work.rows, operations: work.layers + work.unembedding }
    }
}

/// Findings with what they are of.
#[derive(Clone)]
pub struct Findings {
    /// The question.
    pub asked: Arc<Asked>,
    /// Checkpoint name.
    pub checkpoint: String,
    /// Its content.
    pub fingerprint: String,
    /// The prompt's tokens.
    pub tokens: Arc<[Token]>,
    /// Files that it names, as they were when it began.
    pub content: Arc<Content>,
    /// Findings.
    pub found: Arc<dyn Found>,
    /// Of answers of several tokens.
    pub answers: Arc<[Fact]>,
    /// Nothing is missing.
    pub done: bool,
    /// What it cost so far.
    pub cost: Cost,
}

impl std::fmt::Debug for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Findings")
            .field("asked", &self.asked)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl Findings {
    /// The method's own value.
    pub fn value<T: Found>(&self) -> Option<&T> {
        (&*self.found as &dyn Any).downcast_ref()
    }

    /// The method's facts, then those of answers of several tokens.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts = self.found.facts();
        facts.extend(self.answers.iter().cloned());
        facts
    }

    /// Text of findings.json. `files` names those that a figure was written to.
    ///
    /// # Errors
    /// Parameters that do not fit the method.
    pub fn json(&self, files: &dyn Fn(&Figure) -> Vec<String>) -> Result<String> {
        #[derive(Serialize)]
        struct Shown {
            id: String,
            title: String,
            files: Vec<String>,
        }
        #[derive(Serialize)]
        struct File<'a> {
            version: u32,
            sluice: &'static str,
            method: &'static str,
            checkpoint: Value,
            subject: Value,
            #[serde(skip_serializing_if = "Option::is_none")]
            shard: Option<Shard>,
            picks: &'a super::Picks,
            plan: &'a crate::plan::Plan,
            ask: Ask,
            files: &'a std::collections::BTreeMap<String, String>,
            facts: Vec<Fact>,
            figures: Vec<Shown>,
            data: Box<RawValue>,
            done: bool,
            cost: Cost,
        }
        let figures = self.found.figures();
        let shown = |figure: &Arc<Figure>| Shown {
            id: figure.stem(),
            title: figure.title.clone(),
            files: files(figure),
        };
        let file = File {
            version: VERSION,
            sluice: env!("CARGO_PKG_VERSION"),
            method: self.asked.method.id,
            checkpoint: json!({"name": self.checkpoint, "fingerprint": self.fingerprint}),
            subject: subject(&self.asked, &self.tokens, &self.content),
            shard: match &self.asked.subject {
                Subject::List(list) => Some(list.shard).filter(|shard| *shard != Shard::ALL),
                _ => None,
            },
            picks: &self.asked.picks,
            plan: &self.asked.plan,
            ask: complete(self.asked.method.fields, &self.asked.ask)?,
            files: &self.content.files,
            facts: self.facts(),
            figures: figures.iter().map(shown).collect(),
            data: self.found.data()?,
            done: self.done,
            cost: self.cost,
        };
        let text = serde_json::to_string_pretty(&file).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(text + "\n")
    }
}

/// The question as it stands in state files: what must be equal to go on.
///
/// # Errors
/// Parameters that do not fit the method.
pub fn question(asked: &Asked, card: &Card, tokens: &[Token], content: &Content) -> Result<Value> {
    Ok(json!({
        "method": asked.method.id,
        "checkpoint": card.fingerprint,
        "subject": subject(asked, tokens, content),
        "picks": asked.picks,
        "plan": asked.plan,
        "ask": complete(asked.method.fields, &asked.ask)?,
        "files": content.files,
    }))
}

/// The subject as findings name it.
fn subject(asked: &Asked, tokens: &[Token], content: &Content) -> Value {
    match &asked.subject {
        Subject::Prompt(prompt) => {
            let mut subject = json!({
                "prompt": prompt.words.text(),
                "tokens": tokens.iter().map(|token| token.id).collect::<Vec<_>>(),
                "texts": tokens.iter().map(|token| token.exact.as_str()).collect::<Vec<_>>(),
            });
            if let (Some(picture), Some(object)) = (&prompt.image, subject.as_object_mut()) {
                let image = json!({
                    "file": picture.name(),
                    "sha256": picture.sha256(),
                    "fingerprint": format!("{:016x}", picture.fingerprint()),
                });
                object.insert("image".into(), image);
            }
            subject
        }
        Subject::List(list) => {
            let mut subject = json!({
                "file": list.file.file_name().map(|name| name.to_string_lossy()),
                "sha256": content.text,
                "items": content.items,
            });
            let more = [("map", json!(list.map)), ("marks", json!(list.marks))];
            if let Some(subject) = subject.as_object_mut() {
                let given = more.into_iter().filter(|(_, value)| *value != json!([]) && *value != json!({}));
                subject.extend(given.map(|(name, value)| (name.to_owned(), value)));
            }
            subject
        }
        Subject::Text(Some(path)) => json!({
            "file": path.file_name().map(|name| name.to_string_lossy()),
            "sha256": content.text,
        }),
        Subject::Text(None) => json!({"file": null, "sha256": content.text}),
        Subject::Nothing => Value::Null,
    }
}

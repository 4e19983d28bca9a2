//! Sessions: what a person worked on, to be taken up again in the window or run again without one. A session is one JSON file
//! with a version, and a folder beside it for what is no text: states of studies, their findings, pictures.

mod file;
mod history;
mod reading;
mod shapes;
mod variant;
mod writing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use file::{Opened, beside};
pub use history::{Document, History, Step};
pub use shapes::VERSION;
pub use variant::{Pinned, PlanCost};

use crate::method::{Ask, Asked, Findings, Picks, Reached};
use crate::plan::Item;

/// Everything that is kept.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Checkpoints that were worked on.
    pub works: Vec<Work>,
    /// Which of them was open; past the last = none.
    pub open: usize,
    /// What a person wrote down.
    pub notes: String,
    /// What the window alone knows: where its panels are. Of a version of its own.
    pub window: Value,
}

/// A checkpoint by its place and its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its folder; none = compiled in.
    pub path: Option<PathBuf>,
    /// What it is called.
    pub name: String,
    /// Its content.
    pub fingerprint: String,
}

/// What was done with a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Which one.
    pub checkpoint: Reference,
    /// Prompts, pictures and plans.
    pub history: History,
    /// Variants that were pinned.
    pub variants: Vec<Pinned>,
    /// What was asked of methods, by id.
    pub methods: BTreeMap<&'static str, Inquiry>,
    /// What the window alone knows: what is chosen in its panels.
    pub window: Value,
}

/// What was asked of a method and what it found.
#[derive(Clone, Debug, Default)]
pub struct Inquiry {
    /// Parameters that were changed.
    pub ask: Ask,
    /// Marked positions.
    pub picks: Picks,
    /// Text file; none = the checkpoint's own text.
    pub text: Option<PathBuf>,
    /// What was taken over from its findings.
    pub taken: Vec<Item>,
    /// What the window alone knows: which figure is shown.
    pub window: Value,
    /// The newest findings.
    pub found: Option<Answered>,
}

/// A question with what was found.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The question.
    pub asked: Arc<Asked>,
    /// What the run came to.
    pub reached: Arc<Reached>,
    /// The findings; none of a session that was read: they come back from the state.
    pub findings: Option<Arc<Findings>>,
}

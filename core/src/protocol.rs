//! The values a front end and the worker exchange.
//!
//! A front end sends [`Request`]s into one slot per kind, where the newest wins, and polls [`Event`]s, of which only
//! the newest per topic is kept: neither side ever waits for the other, and a slow window costs nothing.
//!
//! | request | answered by |
//! |---|---|
//! | [`Request::Open`] | [`Event::Progress`], then [`Event::Opened`] |
//! | [`Request::Scene`] | [`Event::Tokens`], one [`Event::View`] per view asked, [`Event::SceneDone`] |
//! | [`Request::Generate`] | [`Event::Text`], each with all the text so far |
//! | [`Request::Study`] | [`Event::Progress`], [`Event::Findings`], each with all the findings so far, [`Event::Reached`] |
//! | [`Request::Restore`] | one [`Event::Restored`] or [`Event::Lost`] per study asked |
//! | [`Request::Fold`] | [`Event::Folded`] |
//! | [`Request::Columns`] | one [`Event::Column`] per variant, [`Event::Compared`] of them |
//! | any | [`Event::Failed`] |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

pub use crate::checkpoint::Picture;
pub use crate::engine::{Answer, Card, Patch, Prompt, Token, Words};
use crate::figure::Figure;
use crate::figure::beside::Compared;
pub use crate::method::view::{View, ViewData};
use crate::method::{Asked, Findings, Reached};
pub use crate::plan::Foldable;
use crate::plan::Plan;

/// Number of a request, counted up by the front end's handle; results carry it.
pub type RequestId = u64;

/// One slot per kind of request; the newest request in a slot supersedes older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Opening a checkpoint.
    Open,
    /// What the panels show.
    Scene,
    /// Streaming continuation.
    Generate,
    /// A long study.
    Study,
    /// Findings of earlier studies.
    Restore,
    /// Variants beside each other.
    Columns,
    /// A plan on its way into weights.
    Fold,
}

/// Request of a front end.
#[derive(Clone, Debug)]
pub enum Request {
    /// Open a checkpoint; the open one stays until the new one is ready.
    Open(Target),
    /// Compute views of a prompt under a plan.
    Scene(Scene),
    /// Continue prompts, each under a plan.
    Generate(Generate),
    /// Start a method that takes long.
    Study(Box<Study>),
    /// Bring back what earlier studies found.
    Restore(Vec<Study>),
    /// Run variants and show the same of each.
    Columns(Columns),
    /// Say what a plan comes to in weights; the prompt is whose run it reads.
    Fold(Variant),
}

/// A prompt under a plan.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The prompt.
    pub prompt: Prompt,
    /// The plan.
    pub plan: Arc<Plan>,
}

impl PartialEq for Variant {
    /// Whole plans are compared only where they are not one.
    fn eq(&self, other: &Self) -> bool {
        let same = || Arc::ptr_eq(&self.plan, &other.plan) || self.plan == other.plan;
        self.prompt == other.prompt && same()
    }
}

/// Variants beside each other. Two equal ones are computed once.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// The variants with their names in figures.
    pub variants: Vec<(String, Variant)>,
    /// What is shown of each beside its next tokens and its losses.
    pub view: View,
    /// Index of the one that the others are compared with.
    pub against: usize,
}

/// What is shown of a variant.
#[derive(Clone, Debug)]
pub struct Column {
    /// The prompt's tokens.
    pub tokens: Arc<[Token]>,
    /// The next tokens.
    pub next: Arc<ViewData>,
    /// Losses of the prompt's tokens.
    pub strip: Arc<ViewData>,
    /// The view.
    pub view: Arc<ViewData>,
    /// KL(the one that it is compared with || this) of the next token, nats.
    pub kl: f64,
}

/// A study to be run, or brought back.
#[derive(Clone, Debug)]
pub struct Study {
    /// The question.
    pub asked: Asked,
    /// What an earlier run of it came to; none = from the beginning.
    pub from: Option<Arc<Reached>>,
}

impl From<Asked> for Study {
    fn from(asked: Asked) -> Self {
        Self { asked, from: None }
    }
}

/// Checkpoint to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The checkpoint that ships with Sluice.
    Bundled,
    /// A folder or a file in it.
    Path(PathBuf),
}

/// A prompt under a plan, and the views of it that are visible. Computed in the order given.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The prompt.
    pub prompt: Prompt,
    /// The plan.
    pub plan: Plan,
    /// Asked views.
    pub views: Vec<View>,
}

/// Ask for continuations.
#[derive(Clone, Debug)]
pub struct Generate {
    /// What is continued, each with its name.
    pub streams: Vec<(String, Variant)>,
    /// Longest continuation in tokens.
    pub max_new_tokens: usize,
    /// 0 = greedy.
    pub temperature: f32,
    /// Seed of the sampler.
    pub seed: u64,
}

/// Event that the worker reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// A checkpoint is open.
    Opened(RequestId, Arc<Card>),
    /// Nothing is open any more: what was went to make room for one that could not be opened. Its failure follows.
    Closed(RequestId),
    /// Work over 100 ms is under way.
    Progress(RequestId, Slot, Progress),
    /// The prompt's tokens.
    Tokens(RequestId, Arc<[Token]>),
    /// A view of the scene.
    View(RequestId, View, Arc<ViewData>),
    /// Every view of the scene is there.
    SceneDone(RequestId, Recomputed),
    /// A continuation, whole so far.
    Text(RequestId, Arc<Continuation>),
    /// What a plan comes to in weights.
    Folded(RequestId, Arc<Vec<Foldable>>),
    /// Findings of a method, whole so far.
    Findings(RequestId, Arc<Findings>),
    /// What the study has come to, from time to time and when it ends.
    Reached(RequestId, Arc<Asked>, Arc<Reached>),
    /// Findings of an earlier study; partial where it had not ended.
    Restored(RequestId, Arc<Findings>, Arc<Reached>),
    /// What is shown of a variant, by its index, or why it cannot be run.
    Column(RequestId, usize, std::result::Result<Arc<Column>, Failure>),
    /// Figures of the variants that are there; before the last of their columns, of all.
    Compared(RequestId, Arc<Compared>),
    /// Those of a method that could not be brought back.
    Lost(RequestId, &'static str, Failure),
    /// The scene comes to no finite numbers: what the scene before brought stays. Its failure follows.
    Kept(RequestId),
    /// A request ended with an error.
    Failed(RequestId, Slot, Failure),
    /// A request was cancelled by the person.
    Cancelled(RequestId, Slot),
}

/// An error as shown: once, with cause and next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The cause, one line.
    pub cause: String,
    /// What to do about it.
    pub next_step: String,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub label: String,
    /// Done so far.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Estimated seconds to the end; `None` until there is a rate.
    pub eta_s: Option<f32>,
}

/// What was computed for a scene.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recomputed {
    /// Rows that went through a sublayer, as a share of those of the base run and the run under the plan; 0 when all was kept.
    pub share: f32,
    /// Wall time in milliseconds.
    pub millis: f32,
    /// Milliseconds that the request waited before, for the sublayer of a study or of an older scene under way.
    pub waited: f32,
    /// Estimated memory of one run of the prompt, bytes.
    pub bytes: u64,
}

/// Continuations beside each other.
#[derive(Clone, Debug)]
pub struct Continuation {
    /// Each with its name and how many tokens it has.
    pub texts: Vec<Continued>,
    /// Tokens per second of the slowest stream.
    pub rate: f32,
    /// All have ended.
    pub done: bool,
    /// The texts as a table.
    pub figure: Arc<Figure>,
}

/// One continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continued {
    /// Of which variant.
    pub name: String,
    /// What was written so far.
    pub text: String,
    /// Tokens of it.
    pub tokens: usize,
}

impl Progress {
    /// With the rate since `begin` as the estimate.
    pub fn new(label: String, done: u64, total: u64, begin: Instant) -> Self {
        let elapsed = begin.elapsed().as_secs_f32();
        let eta_s = (done > 0).then(|| elapsed * total.saturating_sub(done) as f32 / done as f32);
        Self { label, done, total, eta_s }
    }
}

impl Request {
    /// The slot it goes to.
    pub fn slot(&self) -> Slot {
        match self {
            Self::Open(_) => Slot::Open,
            Self::Scene(_) => Slot::Scene,
            Self::Generate(_) => Slot::Generate,
            Self::Study(_) => Slot::Study,
            Self::Restore(_) => Slot::Restore,
            Self::Columns(_) => Slot::Columns,
            Self::Fold(_) => Slot::Fold,
        }
    }
}

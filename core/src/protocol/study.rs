//! Long jobs that a front end can ask for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Prompt;
use crate::error::{Error, Result};
use crate::plan::{Plan, Surrogate};
use crate::spec::Lane;

/// Ask for a study.
#[derive(Clone, Debug)]
pub enum Study {
    /// Causal trace.
    Trace(Trace),
    /// Grid of layers and token categories.
    Fcct(Fcct),
    /// Every route of FFN lanes.
    Routes(RouteStudy),
    /// A router to be trained.
    Router(RouterStudy),
}

/// A causal trace: corrupt some tokens, restore one component at one layer and token at a time, and measure how
/// much of the answer's probability comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The prompt.
    pub prompt: Prompt,
    /// The plan under which everything runs.
    pub plan: Plan,
    /// The token whose probability after the prompt is traced.
    pub answer: Answer,
    /// Corrupted prompt positions.
    pub corrupt: Vec<usize>,
    /// Noise in standard deviations of the embeddings.
    pub sigma: f32,
    /// Seed of the noise.
    pub seed: u64,
    /// What is restored.
    pub component: Component,
}

/// An FCCT grid: corrupt the image (or, in a prompt without one, the context that stands for it), restore one component of one
/// layer for one category of tokens at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Fcct {
    /// The prompt.
    pub prompt: Prompt,
    /// The plan under which everything runs.
    pub plan: Plan,
    /// The token whose probability after the prompt is followed.
    pub answer: Answer,
    /// Positions that stand for the image in a prompt without one; empty in a prompt with one.
    pub context: Vec<usize>,
    /// The object's positions among those of the image or the context.
    pub object: Vec<usize>,
    /// The positions of the words that name the object in the question.
    pub words: Vec<usize>,
    /// Noise in standard deviations of the embeddings.
    pub sigma: f32,
    /// Seed of the noise.
    pub seed: u64,
}

/// The oracle: every route of FFN lanes over the layers, and which foresees each token of the prompt best.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteStudy {
    /// The prompt.
    pub prompt: Prompt,
    /// The plan under which everything runs; its routing maps are replaced.
    pub plan: Plan,
    /// What a layer's FFN can be, the big one last.
    pub lanes: Vec<Lane>,
    /// Only routes with so many big layers; none = any.
    pub budget: Option<usize>,
    /// How the routes are gone through.
    pub search: Search,
}

/// How the routes of an oracle are gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// Every route; the whole sequence takes the scored one.
    #[default]
    Every,
    /// Token after token takes its best route and keeps it.
    Greedy,
    /// Good routes are changed in one layer at a time; of any budget.
    Beam,
}

impl Search {
    /// In the order shown.
    pub const ALL: [Self; 3] = [Self::Every, Self::Greedy, Self::Beam];

    /// In the list.
    pub fn name(self) -> &'static str {
        match self {
            Self::Every => "every route",
            Self::Greedy => "token by token",
            Self::Beam => "beam",
        }
    }
}

/// A router to be trained on the open checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterStudy {
    /// Text file; none = text of the checkpoint's own world, or the bundled sample.
    pub text: Option<PathBuf>,
    /// Shares of big, small and skip in percent.
    pub percent: [u8; 3],
    /// Updates.
    pub steps: u64,
    /// Tokens of each.
    pub length: usize,
    /// What stands for the small FFNs of a checkpoint that has none.
    pub surrogate: Surrogate,
    /// The folder that it is written to.
    pub folder: PathBuf,
    /// The file's name; none = by its budgets and its content.
    pub file: Option<String>,
}

/// The token that a trace follows and the next-token table always lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The unmodified model's most likely next token.
    #[default]
    Top,
    /// A token id.
    Id(u32),
    /// The first token of a text; a leading space counts.
    Text(String),
}

/// What a trace restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// The residual stream after the block.
    Residual,
    /// The attention output.
    Attention,
    /// The FFN output.
    Ffn,
}

impl RouterStudy {
    /// What [`super::Progress::label`] calls it.
    pub const JOB: &str = "training a router";
    /// Tokens read of a text without a limit of its own.
    pub const TOKENS: usize = 1 << 15;
}

impl RouteStudy {
    /// What [`super::Progress::label`] calls it.
    pub const JOB: &str = "oracle";
}

impl Trace {
    /// What [`super::Progress::label`] calls it.
    pub const JOB: &str = "causal trace";
}

impl Fcct {
    /// What [`super::Progress::label`] calls it.
    pub const JOB: &str = "FCCT grid";
}

impl Study {
    /// The prompt and the plan that it is about.
    pub fn about(&self) -> Result<(&Prompt, &Plan)> {
        match self {
            Self::Trace(ask) => Ok((&ask.prompt, &ask.plan)),
            Self::Fcct(ask) => Ok((&ask.prompt, &ask.plan)),
            Self::Routes(ask) => Ok((&ask.prompt, &ask.plan)),
            Self::Router(_) => Err(Error::Internal("a router is about no prompt".into())),
        }
    }

    /// With its plan's routing maps cut to the prompt.
    pub(crate) fn fitted(mut self, len: usize) -> Self {
        match &mut self {
            Self::Trace(ask) => ask.plan = ask.plan.fitted(len),
            Self::Fcct(ask) => ask.plan = ask.plan.fitted(len),
            Self::Routes(ask) => ask.plan = ask.plan.fitted(len),
            Self::Router(_) => {}
        }
        self
    }
}

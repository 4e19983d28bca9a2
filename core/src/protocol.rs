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
//! | [`Request::Study`] | [`Event::Progress`], [`Event::Study`], [`Event::Fcct`], [`Event::Routes`] or [`Event::Router`], each with all the findings so far |
//! | any | [`Event::Failed`] |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

pub use crate::checkpoint::Picture;
use crate::checkpoint::Preprocessor;
use crate::figure::Figure;
use crate::model::Spec;
use crate::plan::{Lane, Plan, Route, Router, Surrogate};
use crate::site::Hook;

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
}

/// What a front end can ask.
#[derive(Clone, Debug)]
pub enum Request {
    /// Open a checkpoint; the open one stays until the new one is ready.
    Open(Target),
    /// Compute views of a prompt under a plan.
    Scene(Scene),
    /// Continue the prompt under the plan, and under no plan beside it.
    Generate(Generate),
    /// Start a study.
    Study(Study),
}

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The checkpoint that ships with Sluice.
    Bundled,
    /// A folder or a file in it.
    Path(PathBuf),
}

/// What a model is asked to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prompt {
    /// What was typed.
    pub words: Words,
    /// What it is about, for checkpoints that read images: stands where the words have their image token, else in front.
    pub image: Option<Picture>,
}

/// A prompt's words as typed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// Text, tokenised with the checkpoint's tokenizer (BOS as the tokenizer does).
    Text(String),
    /// Ids, nothing added.
    Tokens(Vec<u32>),
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

/// Which of the two runs a view shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The unmodified model.
    Base,
    /// Under the plan.
    #[default]
    Plan,
}

/// What is shown of experts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExpertShow {
    /// Gate weights, expert x token.
    #[default]
    Gates,
    /// Router logits.
    Logits,
    /// Norms of the outputs.
    Norms,
    /// Load, mean gate weight and saliency by expert.
    Load,
    /// Who is chosen with whom.
    Together,
    /// All blocks: entropy of the router and the chosen, layer x token.
    Blocks,
}

impl ExpertShow {
    /// In the order shown.
    pub const ALL: [Self; 6] =
        [Self::Gates, Self::Logits, Self::Norms, Self::Load, Self::Together, Self::Blocks];

    /// Button text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gates => "gates",
            Self::Logits => "router logits",
            Self::Norms => "output norms",
            Self::Load => "load and saliency",
            Self::Together => "chosen together",
            Self::Blocks => "all blocks",
        }
    }
}

/// A view that the worker computes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// Next-token table, base versus plan, after `position` (`None` = the last).
    Next {
        /// Prompt position.
        position: Option<usize>,
        /// Rows.
        top: usize,
        /// Always listed, whatever its rank.
        answer: Answer,
    },
    /// Per prompt token: surprisal, KL, top predictions.
    Strip,
    /// FFN activations of one layer, neuron x token.
    Activations {
        /// Block index.
        layer: usize,
        /// `MlpPre`, `MlpPreLinear`, `MlpGatePost` or `MlpPost`.
        hook: Hook,
        /// Which run.
        side: Side,
        /// Order neurons by largest magnitude, else by index.
        sort: bool,
        /// Only so many rows; `None` = every neuron.
        top: Option<usize>,
    },
    /// One neuron along the prompt, with the tokens it promotes and suppresses.
    Neuron {
        /// Block index.
        layer: usize,
        /// Neuron index.
        neuron: usize,
    },
    /// Attention pattern of a head (`None` = mean over heads).
    Attention {
        /// Block index.
        layer: usize,
        /// Head index.
        head: Option<usize>,
        /// Which run.
        side: Side,
    },
    /// Logit lens: top token at every layer and position.
    Lens {
        /// Which run.
        side: Side,
    },
    /// Experts of a block, or of all blocks.
    Experts {
        /// Block index.
        layer: usize,
        /// Which run.
        side: Side,
        /// What of them.
        show: ExpertShow,
    },
    /// Routing map of the plan, layer x token, with the `next` column.
    Routing,
    /// Sublayer ladder of the plan: attention and FFN of every layer.
    Ladder,
    /// Two answers after the last token, base versus plan: yes and no, or the followed token and its rival.
    Verdict {
        /// Followed where the prompt is no yes/no question.
        answer: Answer,
    },
}

/// Ask for a continuation.
#[derive(Clone, Debug)]
pub struct Generate {
    /// The prompt.
    pub prompt: Prompt,
    /// The plan of the second stream.
    pub plan: Plan,
    /// Longest continuation in tokens.
    pub max_new_tokens: usize,
    /// 0 = greedy.
    pub temperature: f32,
    /// Seed of the sampler.
    pub seed: u64,
}

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

/// What the worker reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// A checkpoint is open.
    Opened(RequestId, Arc<Card>),
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
    /// A study's findings, whole so far.
    Study(RequestId, Arc<TraceFindings>),
    /// An FCCT grid's findings, whole so far.
    Fcct(RequestId, Arc<FcctFindings>),
    /// An oracle's findings, whole so far.
    Routes(RequestId, Arc<RouteFindings>),
    /// How a router's training goes.
    Router(RequestId, Arc<RouterFindings>),
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

/// An open checkpoint, for the model card.
#[derive(Clone, Debug)]
pub struct Card {
    /// Folder name, or `bundled`.
    pub name: String,
    /// Where it is; none = compiled in.
    pub folder: Option<PathBuf>,
    /// Content fingerprint.
    pub fingerprint: String,
    /// The architecture.
    pub spec: Arc<Spec>,
    /// Parameters, tied ones counted once.
    pub parameters: u64,
    /// Bytes on disk.
    pub bytes_file: u64,
    /// Bytes held in memory.
    pub bytes_resident: u64,
    /// Arithmetic, `f32`.
    pub dtype: &'static str,
    /// `tokenizer.json`, `vocab.json + merges.txt` or `none`.
    pub tokenizer: String,
    /// What to know about it: non-finite weights, ignored fields, ids only.
    pub warnings: Vec<String>,
    /// What `small FFN` means on this checkpoint; says surrogate where it is one.
    pub small_ffn: String,
    /// A prompt to begin with.
    pub sample_prompt: Words,
    /// How pictures are prepared, where it reads any.
    pub preprocessor: Option<Preprocessor>,
}

/// A token of the prompt or of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Id in the vocabulary.
    pub id: u32,
    /// Visible text: marks for spaces and line ends, `<0xE4>` for partial characters.
    pub text: String,
    /// Which part of the picture it is, where it stands for one.
    pub patch: Option<Patch>,
}

/// A part of a picture that has a token of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Patch {
    /// No part: the tower's class token, for checkpoints that pass it on.
    Class,
    /// A cell of the patch grid.
    At {
        /// From the top.
        row: usize,
        /// From the left.
        col: usize,
    },
}

/// The data of a view.
#[derive(Clone, Debug)]
pub enum ViewData {
    /// [`View::Next`]
    Next(NextTokens),
    /// [`View::Strip`]
    Strip(Strip),
    /// [`View::Activations`]
    Activations(Activations),
    /// [`View::Neuron`]
    Neuron(Neuron),
    /// [`View::Verdict`]
    Verdict(Verdict),
    /// [`View::Attention`], [`View::Lens`], [`View::Experts`], [`View::Routing`], [`View::Ladder`]
    Figure(Arc<Figure>),
}

/// Next-token distributions after one position.
#[derive(Clone, Debug)]
pub struct NextTokens {
    /// Prompt position.
    pub position: usize,
    /// Union of both top lists and the answer: by plan probability, then the rest by base probability.
    pub rows: Vec<NextRow>,
    /// The answer's row.
    pub answer: NextRow,
    /// KL(base || plan) in nats.
    pub kl: f64,
    /// The table as a figure.
    pub figure: Arc<Figure>,
}

/// A row of [`NextTokens`].
#[derive(Clone, Debug, PartialEq)]
pub struct NextRow {
    /// The token.
    pub token: Token,
    /// Probability in the unmodified model.
    pub base: f32,
    /// Probability under the plan.
    pub plan: f32,
}

/// Two answers before and after.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The prompt asks for yes or no: the rows are these, else the followed token and its rival.
    pub yes_no: bool,
    /// The two.
    pub rows: [NextRow; 2],
    /// Largest |norm after / norm before - 1| at an injection's targets; `None` without an injection (IRI) in the plan.
    pub drift: Option<f64>,
    /// The table as a figure.
    pub figure: Arc<Figure>,
}

/// Per prompt token, as long as the prompt.
#[derive(Clone, Debug)]
pub struct Strip {
    /// -ln p(token | before) in the unmodified model, nats; NaN for the first and for parts of a picture.
    pub surprisal_base: Vec<f32>,
    /// The same under the plan.
    pub surprisal_plan: Vec<f32>,
    /// KL(base || plan) of the distribution after the token, nats.
    pub kl: Vec<f32>,
    /// Top predictions after the token under the plan, best first.
    pub top: Vec<Vec<(Token, f32)>>,
    /// The four columns as a figure.
    pub figure: Arc<Figure>,
}

/// FFN activations of a layer.
#[derive(Clone, Debug)]
pub struct Activations {
    /// Neuron x token map.
    pub figure: Arc<Figure>,
    /// Neuron index of each map row.
    pub neurons: Vec<u32>,
}

/// One neuron.
#[derive(Clone, Debug)]
pub struct Neuron {
    /// Its values along the prompt, base and plan.
    pub figure: Arc<Figure>,
    /// Tokens whose logits its output direction raises most (W_down column times W_U, final norm not applied).
    pub promoted: Vec<(Token, f32)>,
    /// Tokens it lowers most.
    pub suppressed: Vec<(Token, f32)>,
}

/// Two continuations of one prompt.
#[derive(Clone, Debug)]
pub struct Continuation {
    /// By the unmodified model.
    pub base: String,
    /// Under the plan.
    pub plan: String,
    /// Tokens in each.
    pub tokens: [usize; 2],
    /// Tokens per second of the slower stream.
    pub rate: f32,
    /// Both have ended.
    pub done: bool,
    /// Both texts as a table.
    pub figure: Arc<Figure>,
}

/// Findings of a trace, partial while it runs.
#[derive(Clone, Debug)]
pub struct TraceFindings {
    /// What was asked.
    pub trace: Trace,
    /// The traced token.
    pub answer: Token,
    /// P(answer) of the clean run.
    pub p_clean: f32,
    /// P(answer) of the corrupted run.
    pub p_corrupted: f32,
    /// Normalised recovery, layer x token; NaN = not computed yet, or not defined.
    pub figure: Arc<Figure>,
    /// All cells are there.
    pub done: bool,
}

/// Findings of an FCCT grid, partial while it runs.
#[derive(Clone, Debug)]
pub struct FcctFindings {
    /// What was asked.
    pub fcct: Fcct,
    /// The followed token.
    pub answer: Token,
    /// P(answer) of the clean run.
    pub p_clean: f32,
    /// P(answer) of the corrupted run.
    pub p_corrupted: f32,
    /// Tokens in each category.
    pub tokens: [usize; 7],
    /// Recovery rates, layer x category, of residual, attention and FFN; NaN = not computed yet, or not defined.
    pub figures: [Arc<Figure>; 3],
    /// Recovery rate of the last token's attention output per layer, which IRI ranks and weighs by.
    pub attention: Vec<f32>,
    /// The same of the FFN output.
    pub ffn: Vec<f32>,
    /// All cells are there.
    pub done: bool,
}

/// Findings of an oracle, partial while it runs.
#[derive(Clone, Debug)]
pub struct RouteFindings {
    /// What was asked.
    pub ask: RouteStudy,
    /// The best route of every token so far; big where there is none.
    pub route: Route,
    /// The routes as a map; at the end also the difficulty of the tokens, losses by budget, and their controls.
    pub figures: Arc<[Arc<Figure>]>,
    /// At the end, by position: the loss of the token there with every FFN in the first lane, and what of it the oracle saves.
    /// NaN for what nothing foresees.
    pub difficulty: Option<[Arc<[f32]>; 2]>,
    /// All routes are done.
    pub done: bool,
}

/// How a router's training goes.
#[derive(Clone, Debug)]
pub struct RouterFindings {
    /// Loss and shares by step.
    pub figure: Arc<Figure>,
    /// As a plan names it, once it is saved.
    pub router: Router,
    /// Shares of its lanes with hard choices on text that was held back; empty until it is done.
    pub shares: Vec<f32>,
    /// Nats per token there: of the router, and with every FFN big.
    pub hard: Option<[f32; 2]>,
    /// It is trained, measured and saved.
    pub done: bool,
}

impl RouterStudy {
    /// What [`Progress::label`] calls it.
    pub const JOB: &str = "training a router";
    /// Tokens read of a text without a limit of its own.
    pub const TOKENS: usize = 1 << 15;
}

impl RouteStudy {
    /// What [`Progress::label`] calls it.
    pub const JOB: &str = "oracle";
}

impl Trace {
    /// What [`Progress::label`] calls it.
    pub const JOB: &str = "causal trace";
}

impl Fcct {
    /// What [`Progress::label`] calls it.
    pub const JOB: &str = "FCCT grid";
}

impl Progress {
    /// With the rate since `begin` as the estimate.
    pub fn new(label: String, done: u64, total: u64, begin: Instant) -> Self {
        let elapsed = begin.elapsed().as_secs_f32();
        let eta_s = (done > 0).then(|| elapsed * total.saturating_sub(done) as f32 / done as f32);
        Self { label, done, total, eta_s }
    }
}

impl From<Words> for Prompt {
    fn from(words: Words) -> Self {
        Self { words, image: None }
    }
}

/// As a prompt box holds it.
impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Tokens(ids) => f.write_str(&ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Study {
    /// The prompt and the plan that it is about.
    pub fn about(&self) -> crate::error::Result<(&Prompt, &Plan)> {
        match self {
            Self::Trace(ask) => Ok((&ask.prompt, &ask.plan)),
            Self::Fcct(ask) => Ok((&ask.prompt, &ask.plan)),
            Self::Routes(ask) => Ok((&ask.prompt, &ask.plan)),
            Self::Router(_) => Err(crate::error::Error::Internal("a router is about no prompt".into())),
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

impl Request {
    /// The slot it goes to.
    pub fn slot(&self) -> Slot {
        match self {
            Self::Open(_) => Slot::Open,
            Self::Scene(_) => Slot::Scene,
            Self::Generate(_) => Slot::Generate,
            Self::Study(_) => Slot::Study,
        }
    }
}

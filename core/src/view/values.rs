//! What a front end can ask to see of a prompt, and what it then gets.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::{Answer, Token};
use crate::figure::Figure;
use crate::site::Hook;

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
    Coactivation,
    /// All blocks: entropy of the router and the chosen, layer x token.
    Blocks,
}

impl ExpertShow {
    /// In the order shown.
    pub const ALL: [Self; 6] =
        [Self::Gates, Self::Logits, Self::Norms, Self::Load, Self::Coactivation, Self::Blocks];

    /// Button text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gates => "gates",
            Self::Logits => "router logits",
            Self::Norms => "output norms",
            Self::Load => "load and saliency",
            Self::Coactivation => "chosen together",
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

//! Lanes: where a token goes at one layer (Duo-LLM, arXiv 2410.10846, section 2).

use serde::{Deserialize, Serialize};

/// Where a token goes at one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Attention and the big FFN: the unmodified model.
    #[default]
    Big,
    /// Attention and the small FFN.
    Small,
    /// Attention only.
    SkipFfn,
    /// Neither: the residual passes by.
    SkipLayer,
}

impl Lane {
    /// All lanes, in the order of the legend.
    pub const ALL: [Self; 4] = [Self::Big, Self::Small, Self::SkipFfn, Self::SkipLayer];

    /// Name in legends.
    pub fn name(self) -> &'static str {
        match self {
            Self::Big => "big FFN",
            Self::Small => "small FFN",
            Self::SkipFfn => "skip FFN",
            Self::SkipLayer => "skip layer",
        }
    }
}

/// Lanes of one layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRoute {
    /// Block index from 0.
    pub layer: usize,
    /// Lane per prompt position; positions past the list and inside the prompt go big.
    #[serde(default)]
    pub tokens: Vec<Lane>,
    /// Lane of every position past the prompt.
    #[serde(default)]
    pub next: Lane,
}

impl LayerRoute {
    /// Lane of `position` for a prompt of `prompt_len` tokens.
    pub fn lane(&self, position: usize, prompt_len: usize) -> Lane {
        if position >= prompt_len {
            self.next
        } else {
            self.tokens.get(position).copied().unwrap_or_default()
        }
    }

    /// Take over the lanes of `other` that leave the big one, for a prompt of `prompt_len` tokens.
    pub(crate) fn lay_over(&mut self, other: &Self, prompt_len: usize) {
        self.tokens.resize(prompt_len, Lane::Big);
        for (position, lane) in self.tokens.iter_mut().enumerate() {
            let over = other.lane(position, prompt_len);
            *lane = if over == Lane::Big { *lane } else { over };
        }
        self.next = if other.next == Lane::Big { self.next } else { other.next };
    }

    /// Whether every position goes through the big FFN.
    pub fn is_big(&self) -> bool {
        self.next == Lane::Big && self.tokens.iter().all(|&lane| lane == Lane::Big)
    }
}

/// A learned router (Duo-LLM, section 2, stage 3): per block a linear map from the normalised stream to one number per
/// lane.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterSpec {
    /// Name in the checkpoint and in plans.
    pub name: String,
    /// What it chooses between, in the order of its outputs.
    pub lanes: Vec<Lane>,
    /// Share of each lane that it was trained for, as long as `lanes`.
    pub budget: Vec<f32>,
}

//! Set a site, head or neuron to zero or to its mean.

use serde::{Deserialize, Serialize};

use super::Target;
use crate::spec::Positions;

/// Ablation of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablate {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// Zero or mean.
    #[serde(default)]
    pub to: AblateTo,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

/// What an ablated value becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AblateTo {
    /// Zero.
    #[default]
    Zero,
    /// The mean over the prompt's positions in the unmodified run.
    Mean,
}

impl Ablate {
    /// One line for the plan stack.
    pub fn summary(&self) -> String {
        let to = match self.to {
            AblateTo::Zero => "zero",
            AblateTo::Mean => "its prompt mean",
        };
        format!("set {} to {to}{}", self.target.summary(), self.positions.summary())
    }
}

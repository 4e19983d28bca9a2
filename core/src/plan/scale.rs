//! Multiply a site, head or neuron.

use serde::{Deserialize, Serialize};

use super::Target;
use crate::spec::Positions;

/// x = factor * x at a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// The factor.
    pub factor: f32,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

impl Scale {
    /// One line for the plan stack.
    pub fn summary(&self) -> String {
        format!("scale {} by {}{}", self.target.summary(), self.factor, self.positions.summary())
    }
}

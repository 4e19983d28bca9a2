//! Zero FFN activations whose magnitude does not exceed a threshold (CATS, arXiv 2404.08763; CHESS, arXiv
//! 2409.01366, keeps strictly larger ones).

use serde::{Deserialize, Serialize};

use crate::spec::Positions;

/// Keep where `|x| > value`. Acts at `mlp.hook_gate_post` of a gated FFN, at `mlp.hook_post` of any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Block index from 0; left out = every block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// The threshold, in units of the activation.
    pub value: f32,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

impl Threshold {
    /// One line for the plan stack.
    pub fn summary(&self) -> String {
        let layer = self.layer.map_or_else(|| "all FFNs".into(), |layer| format!("FFN {layer}"));
        format!("threshold {layer} at {}{}", self.value, self.positions.summary())
    }
}

//! What stands for the small FFNs of a checkpoint that has none.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How surrogate small FFNs are chosen (not in the paper). Unused where the checkpoint has small FFNs of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surrogate {
    /// Text file that they are chosen on; left out = the bundled sample text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<PathBuf>,
    /// Share of the neurons that they keep, above 0 and at most 1; left out = 1/16, the ratio of the paper's FFNs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f32>,
}

impl Surrogate {
    /// Share of the neurons that is kept where nothing else is said.
    pub const SHARE: f32 = 1.0 / 16.0;

    /// Share of the neurons.
    pub fn share(&self) -> f32 {
        self.share.unwrap_or(Self::SHARE)
    }

    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

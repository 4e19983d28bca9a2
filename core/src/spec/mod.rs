//! An architecture as data. A family reads config.json into a [`Spec`]; the forward pass, the sites and the plans
//! read nothing else.

mod attention;
mod ffn;
mod field;
mod lane;
mod layer;
mod norm;
mod positions;
mod vision;

pub use attention::{AttnSpec, QkNorm, QkNormOver, RopeScaling, RopeSpec};
pub use ffn::{Activation, Clamp, ExpertsSpec, FfnSpec, Score, SharedSpec};
pub use field::{Field, FieldKind};
pub use lane::{Lane, LayerRoute, RouterSpec};
pub use layer::{LayerSpec, Residual};
pub use norm::{NormKind, NormSpec};
pub use positions::Positions;
pub use vision::VisionSpec;

use crate::error::{Error, Result};

/// Everything that changes the arithmetic of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// `model_type` of config.json.
    pub model_type: String,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Longest sequence.
    pub context: usize,
    /// Token and position embedding.
    pub embed: EmbedSpec,
    /// One entry per block.
    pub layers: Vec<LayerSpec>,
    /// Norm before the unembedding.
    pub ln_final: Option<NormSpec>,
    /// Unembedding.
    pub unembed: UnembedSpec,
    /// Begin-of-sequence id of config.json.
    pub bos: Option<u32>,
    /// End-of-sequence ids of config.json.
    pub eos: Vec<u32>,
    /// Image tower and projector, of a model that reads images.
    pub vision: Option<VisionSpec>,
    /// Learned routers of a Duo model; each has a matrix in every block.
    pub routers: Vec<RouterSpec>,
}

/// Token and position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedSpec {
    /// Width of the table; a projection to `d_model` follows where they differ (OPT-350m).
    pub width: usize,
    /// Factor on the embedding (Gemma: root of `d_model`).
    pub scale: Option<f32>,
    /// Learned positions.
    pub positions: Option<LearnedPositions>,
}

/// A table of learned positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedPositions {
    /// Rows of the table, offset included.
    pub rows: usize,
    /// Row of position 0 (OPT: 2).
    pub offset: usize,
}

/// Unembedding: projection to the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct UnembedSpec {
    /// Shares the embedding's table.
    pub tied: bool,
    /// Has a bias.
    pub bias: bool,
    /// logits = cap * tanh(logits / cap).
    pub soft_cap: Option<f32>,
}

impl Spec {
    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// A learned router by its place.
    pub fn router(&self, index: usize) -> Result<&RouterSpec> {
        self.routers.get(index).ok_or_else(|| Error::Internal(format!("no router {index}")))
    }

    /// Whether any block has experts.
    pub fn has_experts(&self) -> bool {
        self.layers.iter().any(|layer| layer.experts.is_some())
    }

    /// Whether every block has a small FFN of its own.
    pub fn is_duo(&self) -> bool {
        self.layers.iter().all(|layer| layer.small.is_some())
    }
}

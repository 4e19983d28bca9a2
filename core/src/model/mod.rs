//! An architecture as data, its weights, and the one forward pass over them.

use std::sync::Arc;

use candle_core::Tensor;

mod attend;
pub mod cache;
pub mod family;
pub mod fields;
pub mod fused;
mod input;
pub mod layout;
pub mod ops;
pub mod pass;
mod random;
pub mod schedule;
pub mod vision;
pub mod weights;

pub use cache::KvCache;
pub use input::{ImageRows, Input};
pub use pass::{Ask, Branch, Captures, Logits, Mixture, Output, Pass, Work};
pub use random::{initial, random_tensors};
pub use schedule::Schedule;
pub use weights::{Ffn, Weights};
// For users of the library; inside it, `crate::spec`.
pub use crate::spec::{
    Activation, AttnSpec, Clamp, EmbedSpec, ExpertsSpec, FfnSpec, LayerSpec, LearnedPositions, NormKind,
    NormSpec, QkNorm, QkNormOver, Residual, RopeScaling, RopeSpec, RouterSpec, Score, SharedSpec, Spec,
    UnembedSpec, VisionSpec,
};

use crate::error::{Error, Result};
use layout::Layout;
use weights::{LayerWeights, Parts};

/// A spec with its weights, ready to run. A copy shares the weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// The architecture.
    pub spec: Arc<Spec>,
    /// The weights, f32.
    pub weights: Weights,
    /// Distinct rotary specs, and which one each layer uses.
    ropes: Vec<RopeSpec>,
    rope_of: Vec<Option<usize>>,
}

impl Model {
    /// A model from tensors in file shapes.
    pub fn new(spec: Spec, layout: &Layout, parts: Parts) -> Result<Self> {
        let weights = weights::assemble(&spec, layout, parts)?;
        Ok(Self::from_weights(spec, weights))
    }

    /// A model from weights.
    pub fn from_weights(spec: Spec, weights: Weights) -> Self {
        let mut ropes: Vec<RopeSpec> = Vec::new();
        let mut index = |rope: &RopeSpec| {
            ropes.iter().position(|known| known == rope).unwrap_or_else(|| {
                ropes.push(rope.clone());
                ropes.len() - 1
            })
        };
        let rope_of = spec.layers.iter().map(|layer| layer.attn.rope.as_ref().map(&mut index)).collect();
        Self { spec: Arc::new(spec), weights, ropes, rope_of }
    }

    /// The same with its matrices in the order that inference reads them; nothing can be trained any more.
    pub fn packed(self) -> Result<Self> {
        Ok(Self { weights: self.weights.packed()?, ..self })
    }

    /// Spec and weights of a block.
    pub fn layer(&self, index: usize) -> Result<(&LayerSpec, &LayerWeights)> {
        let missing = || Error::Internal(format!("no layer {index}"));
        Ok((
            self.spec.layers.get(index).ok_or_else(missing)?,
            self.weights.layers.get(index).ok_or_else(missing)?,
        ))
    }

    /// Logits of rows after the final norm. `x` `[rows, d]`; returns `[rows, vocab]`.
    pub fn project(&self, x: &Tensor) -> Result<Tensor> {
        let projected = match &self.weights.project_out {
            Some(project) => project.apply(x)?,
            None => x.clone(),
        };
        let logits = self.weights.unembed.apply(&projected)?;
        ops::soft_cap(&logits, self.spec.unembed.soft_cap)
    }

    /// What directions `[rows, d]` of the stream add to the logits: the unembedding's matrix alone, without final norm,
    /// bias or cap.
    pub fn direction_logits(&self, x: &Tensor) -> Result<Tensor> {
        let projected = match &self.weights.project_out {
            Some(project) => project.apply(x)?,
            None => x.clone(),
        };
        self.weights.unembed.matrix.times(&projected, None)
    }

    /// Logits of rows of the residual stream: final norm, then [`Model::project`] (the logit lens).
    pub fn lens(&self, x: &Tensor) -> Result<Tensor> {
        let normed = match &self.spec.ln_final {
            Some(norm) => self.weights.ln_final.apply(&fused::normalized(x, norm)?)?,
            None => x.clone(),
        };
        self.project(&normed)
    }

    /// A number that changes when a longer sequence changes the rotary frequencies: keys of another epoch cannot be
    /// reused.
    pub fn epoch(&self, len: usize) -> usize {
        self.ropes.iter().map(|rope| rope.epoch(len)).sum()
    }
}

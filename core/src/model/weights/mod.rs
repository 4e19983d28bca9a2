//! The weights of a model, in the shapes the forward pass reads.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::layout::{Layout, Role, Slot, WeightPart};
use crate::error::{Error, Result};

mod assemble;
mod matrix;
mod vision;

pub use assemble::assemble;
pub use matrix::{Ffn, Linear, Matrix, NormWeights};
pub(super) use vision::VisionLayer;
pub use vision::VisionWeights;

/// All weights. Matrices are held in the format of the file, everything else as f32.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab, embed width]`
    pub embed: Matrix,
    /// `[rows, d]`
    pub positions: Option<Tensor>,
    /// `[d, embed width]`
    pub project_in: Option<Linear>,
    /// `[embed width, d]`
    pub project_out: Option<Linear>,
    /// One per block.
    pub layers: Vec<LayerWeights>,
    /// Norm before the unembedding.
    pub ln_final: NormWeights,
    /// `[vocab, embed width]`
    pub unembed: Linear,
    /// Image tower and projector.
    pub vision: Option<VisionWeights>,
}

/// Weights of a block.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// Norm before attention.
    pub ln1: NormWeights,
    /// Norm on the attention output.
    pub ln1_post: NormWeights,
    /// Norm before the FFN.
    pub ln2: NormWeights,
    /// Norm on the FFN output.
    pub ln2_post: NormWeights,
    /// `[heads * d_head, d]`
    pub query: Linear,
    /// `[kv_heads * d_head, d]`
    pub key: Linear,
    /// `[kv_heads * d_head, d]`
    pub value: Linear,
    /// `[d, heads * d_head]`
    pub out: Linear,
    /// Norm of queries.
    pub query_norm: NormWeights,
    /// Norm of keys.
    pub key_norm: NormWeights,
    /// The FFN or the experts.
    pub ffn: FfnWeights,
    /// The small FFN of a Duo model.
    pub small: Option<Ffn>,
    /// One `[lanes, d]` per entry of [`crate::spec::Spec::routers`].
    pub routers: Vec<Tensor>,
    /// Scores of the key that is not there, one per head.
    pub sinks: Option<Arc<[f32]>>,
}

/// What stands in a block's FFN sublayer.
#[derive(Clone, Debug)]
pub enum FfnWeights {
    /// One FFN, the big one of a Duo model.
    Dense(Ffn),
    /// Experts.
    Experts(Experts),
}

/// Weights of a block of experts.
#[derive(Clone, Debug)]
pub struct Experts {
    /// `[experts, d]`
    pub router: Linear,
    /// Added to the scores for the choice, `[experts]`.
    pub correction: Option<Vec<f32>>,
    /// The experts.
    pub each: Vec<Ffn>,
    /// What every token goes through.
    pub shared: Option<Ffn>,
    /// Its share before the sigmoid, `[1, d]`.
    pub shared_share: Option<Linear>,
}

/// Tensors by slot, in file shapes; matrices may be packed already.
pub type Parts = HashMap<Slot, Matrix>;

/// A tensor that is never packed, of its declaration's shape `[..]`.
fn plain(parts: &mut Parts, slot: Slot) -> Result<Tensor> {
    match parts.remove(&slot) {
        Some(Matrix::Plain(tensor)) => Ok(tensor),
        _ => Err(Error::Internal(format!("no tensor for {slot:?}"))),
    }
}

/// What becomes of a tensor of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// Into f32.
    Wide,
    /// Into panels, once it is taken apart or turned; in the format that it has.
    Apart,
    /// Into panels, in the format that it has.
    Panels,
}

/// What becomes of the tensor of a slot.
pub fn goes(layout: &Layout, slot: Slot) -> Goes {
    let straight = if layout.transposed { Goes::Apart } else { Goes::Panels };
    match slot.role {
        _ if slot.part == WeightPart::Bias => Goes::Wide,
        Role::Query | Role::Key | Role::Value | Role::Out | Role::Gate | Role::Up | Role::Down => straight,
        Role::SmallGate | Role::SmallUp | Role::SmallDown | Role::ProjectIn | Role::ProjectOut => straight,
        Role::ExpertRouter | Role::ExpertGate(_) | Role::ExpertUp(_) | Role::ExpertDown(_) => straight,
        Role::SharedGate | Role::SharedUp | Role::SharedDown | Role::SharedShare => straight,
        Role::Qkv | Role::GateUp | Role::ExpertsGateUp | Role::ExpertsDown => Goes::Apart,
        Role::Embed | Role::Unembed => Goes::Panels,
        _ => Goes::Wide,
    }
}

impl Weights {
    /// A matrix of a block, by its name in TransformerLens: `blocks.3.attn.W_Q`, `W_K`, `W_V`, `W_O`, `blocks.3.mlp.W_gate`,
    /// `W_in`, `W_out`, or `blocks.3.mlp.experts.5.W_gate`. It is `[out, in]`, all heads stacked along the heads' side.
    pub fn matrix_mut(&mut self, name: &str) -> Option<&mut Matrix> {
        let (layer, rest) = name.strip_prefix("blocks.")?.split_once('.')?;
        let layer = self.layers.get_mut(layer.parse::<usize>().ok()?)?;
        let linear = match rest.split_once('.')? {
            ("attn", "W_Q") => &mut layer.query,
            ("attn", "W_K") => &mut layer.key,
            ("attn", "W_V") => &mut layer.value,
            ("attn", "W_O") => &mut layer.out,
            ("mlp", rest) => {
                let (ffn, which) = match (&mut layer.ffn, rest.strip_prefix("experts.")) {
                    (FfnWeights::Dense(ffn), None) => (ffn, rest),
                    (FfnWeights::Experts(experts), Some(rest)) => {
                        let (expert, which) = rest.split_once('.')?;
                        (experts.each.get_mut(expert.parse::<usize>().ok()?)?, which)
                    }
                    _ => return None,
                };
                match which {
                    "W_gate" => ffn.gate.as_mut()?,
                    "W_in" => &mut ffn.up,
                    "W_out" => &mut ffn.down,
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some(&mut linear.matrix)
    }

    /// The weights with their matrices packed for inference. What is packed is let go of at once: two copies of one matrix or layer exist at a time.
    pub fn packed(self) -> Result<Self> {
        let Self { embed, unembed, project_in, project_out, layers, positions, ln_final, vision } = self;
        let tied = match (&embed, &unembed.matrix) {
            (Matrix::Plain(embed), Matrix::Plain(unembed)) => embed.id() == unembed.id(),
            _ => false,
        };
        // A table that is only looked up stays as it is; a tied one goes with its copy.
        let looked_up = (!tied).then_some(embed);
        let unembed = unembed.packed()?;
        Ok(Self {
            embed: looked_up.unwrap_or_else(|| unembed.matrix.clone()),
            unembed,
            project_in: project_in.map(Linear::packed).transpose()?,
            project_out: project_out.map(Linear::packed).transpose()?,
            layers: layers.into_iter().map(LayerWeights::packed).collect::<Result<_>>()?,
            positions,
            ln_final,
            vision,
        })
    }
}

impl Experts {
    fn packed(self) -> Result<Self> {
        Ok(Self {
            router: self.router.packed()?,
            correction: self.correction,
            each: self.each.into_iter().map(Ffn::packed).collect::<Result<_>>()?,
            shared: self.shared.map(Ffn::packed).transpose()?,
            shared_share: self.shared_share.map(Linear::packed).transpose()?,
        })
    }
}

impl LayerWeights {
    /// The block's one FFN, where it has one.
    pub fn dense(&self) -> Option<&Ffn> {
        match &self.ffn {
            FfnWeights::Dense(ffn) => Some(ffn),
            FfnWeights::Experts(_) => None,
        }
    }

    fn packed(self) -> Result<Self> {
        Ok(Self {
            query: self.query.packed()?,
            key: self.key.packed()?,
            value: self.value.packed()?,
            out: self.out.packed()?,
            ffn: match self.ffn {
                FfnWeights::Dense(ffn) => FfnWeights::Dense(ffn.packed()?),
                FfnWeights::Experts(experts) => FfnWeights::Experts(experts.packed()?),
            },
            small: self.small.map(Ffn::packed).transpose()?,
            ..self
        })
    }
}

/// A tensor `[shape]` of one value: norms that are not stored but implied, ones or zeros.
pub fn constant(shape: &[usize], value: f64) -> Result<Tensor> {
    Ok((Tensor::ones(shape, DType::F32, &Device::Cpu)? * value)?)
}

//! Phi 3: Llama with fused projections and longrope.

use super::super::fields::Fields;
use super::super::layout::{FfnIn, LLAMA, Layout, Qkv};
use super::{Class, Common, Family, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "phi3", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    qkv: Qkv::Stacked("self_attn.qkv_proj"),
    ffn_in: FfnIn::GatedStacked("mlp.gate_up_proj"),
    ..LLAMA
};

const CLASS: Class = Class {
    d_model: 3072,
    heads: 32,
    kv_heads: None,
    n_layers: 32,
    d_mlp: 8192,
    context: 4096,
    window: None,
    vocab: 32_064,
    tied: false,
};

/// `original_max_position_embeddings`
const ORIGINAL: usize = 4096;

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, &CLASS)?;
    let norm = fields.rms("rms_norm_eps", 1e-5)?;
    let mut defaults = rope::Defaults::read(fields, Some(1.0), 10_000.0, common.trained)?;
    // The class has a value of its own, which wins over one inside the object.
    defaults.original = defaults.original.or(Some(ORIGINAL));
    (defaults.long_only, defaults.odd) = (true, true);
    let rope = rope::read(fields, common.d_head, &defaults)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    layer.attn.window = common.window;
    common.spec(fields, "phi3", vec![layer; common.n_layers], norm)
}

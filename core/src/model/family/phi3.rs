//! Phi 3: Llama with fused projections and longrope.

use super::super::fields::Fields;
use super::super::layout::{FfnIn, LLAMA, Layout, Qkv};
use super::super::*;
use super::{Common, Family, rope};
use crate::error::Result;

pub(super) const FAMILY: Family = Family { model_type: "phi3", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    qkv: Qkv::Stacked("self_attn.qkv_proj"),
    ffn_in: FfnIn::GatedStacked("mlp.gate_up_proj"),
    ..LLAMA
};

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, 4096)?;
    let norm = fields.rms("rms_norm_eps", 1e-5)?;
    let rope = rope::read(fields, common.d_head, 1.0, 10_000.0, common.trained)?;
    if let RopeScaling::Yarn { .. } = rope.scaling {
        return Err(fields.bad("rope_scaling", "phi3 has no yarn"));
    }
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    layer.attn.window = common.window;
    common.spec(fields, "phi3", vec![layer; common.n_layers], norm, false)
}

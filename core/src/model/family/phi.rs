//! Phi 1 to 2: attention and FFN in parallel from one layer norm, biases everywhere, part of each head rotated.

use super::super::fields::Fields;
use super::super::layout::{FfnIn, LLAMA, Layout};
use super::{Class, Common, Family, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "phi", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    out: "self_attn.dense",
    qk_norm: ["self_attn.q_layernorm", "self_attn.k_layernorm"],
    ffn_in: FfnIn::Up("mlp.fc1"),
    down: "mlp.fc2",
    ln_final: "final_layernorm",
    ..LLAMA
};

const CLASS: Class = Class {
    d_model: 2048,
    heads: 32,
    kv_heads: None,
    n_layers: 24,
    d_mlp: 8192,
    context: 2048,
    window: None,
    vocab: 51_200,
    tied: false,
};

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, &CLASS)?;
    let norm = fields.layer_norm("layer_norm_eps", 1e-5)?;
    let rope = rope::Defaults::read(fields, Some(0.5), 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::GeluTanh)?, &rope);
    layer.residual = Residual::Parallel;
    layer.ln2 = None;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (true, true);
    (layer.ffn.gated, layer.ffn.in_bias, layer.ffn.out_bias) = (false, true, true);
    if fields.flag_or("qk_layernorm", false)? {
        layer.attn.qk_norm = Some(QkNorm { norm, over: QkNormOver::Head });
    }
    let mut spec = common.spec(fields, "phi", vec![layer; common.n_layers], norm)?;
    spec.unembed.bias = true;
    Ok(spec)
}

//! GPT-NeoX and Pythia: attention and FFN in parallel with a norm each, projections fused head by head.

use super::super::fields::Fields;
use super::super::layout::{FfnIn, LLAMA, Layout, Qkv};
use super::super::*;
use super::{Common, Family, rope};
use crate::error::Result;

pub(super) const FAMILY: Family = Family { model_type: "gpt_neox", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    prefix: "gpt_neox.",
    embed: "embed_in",
    qkv: Qkv::PerHead("attention.query_key_value"),
    out: "attention.dense",
    ffn_in: FfnIn::Up("mlp.dense_h_to_4h"),
    down: "mlp.dense_4h_to_h",
    ln_final: "final_layer_norm",
    unembed: "embed_out",
    ..LLAMA
};

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, 2048)?;
    let norm = fields.layer_norm("layer_norm_eps", 1e-5)?;
    // 4.x names; the 5.x object may hold both inside.
    let partial = fields.positive_or("rotary_pct", 0.25)?;
    let theta = fields.positive_or("rotary_emb_base", 10_000.0)?;
    let rope = rope::read(fields, common.d_head, partial, theta, common.trained)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Gelu)?, &rope);
    if fields.flag_or("use_parallel_residual", true)? {
        layer.residual = Residual::Parallel;
    }
    let bias = fields.flag_or("attention_bias", true)?;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
    (layer.ffn.gated, layer.ffn.in_bias, layer.ffn.out_bias) = (false, true, true);
    common.spec(fields, "gpt_neox", vec![layer; common.n_layers], norm, false)
}

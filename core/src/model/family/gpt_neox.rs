//! GPT-NeoX and Pythia: attention and FFN in parallel with a norm each, projections fused head by head.

use serde_json::json;

use super::super::fields::Fields;
use super::super::layout::{FfnIn, LLAMA, Layout, Qkv};
use super::{Class, Common, Family, heads_divide, rope};
use crate::error::Result;
use crate::spec::*;

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
    // transformers 5 in its own form.
    respelt: &[["embed_out.", "lm_head."]],
    buffers: &["rotary_emb.inv_freq", "attention.bias", "attention.masked_bias"],
    ..LLAMA
};

const CLASS: Class = Class {
    d_model: 6144,
    heads: 64,
    kv_heads: None,
    n_layers: 44,
    d_mlp: 24_576,
    context: 2048,
    window: None,
    vocab: 50_432,
    tied: false,
};

fn spec(fields: &Fields) -> Result<Spec> {
    let mut common = Common::read(fields, &CLASS)?;
    heads_divide(fields, &common)?;
    // The class knows neither grouped heads nor a width of their own.
    common.kv_heads = common.heads;
    fields.only("head_dim", &json!(common.d_model / common.heads))?;
    let norm = fields.layer_norm("layer_norm_eps", 1e-5)?;
    let defaults = rope::Defaults {
        // 4.x has names of its own; the usual ones beside them are not read.
        partial: Some(rope::share(fields, "rotary_pct")?.unwrap_or(0.25)),
        theta: fields.positive_or("rotary_emb_base", 10_000.0)?,
        odd: true,
        ..rope::Defaults::read(fields, Some(0.25), 10_000.0, common.trained)?
    };
    let rope = rope::read(fields, common.d_head, &defaults)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Gelu)?, &rope);
    if fields.flag_or("use_parallel_residual", true)? {
        layer.residual = Residual::Parallel;
    }
    let bias = fields.flag_or("attention_bias", true)?;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
    (layer.ffn.gated, layer.ffn.in_bias, layer.ffn.out_bias) = (false, true, true);
    common.spec(fields, "gpt_neox", vec![layer; common.n_layers], norm)
}

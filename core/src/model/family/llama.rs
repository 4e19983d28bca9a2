//! Llama and Mistral: RMS norm, rotary positions, gated FFN. A Llama config with `sluice.small_intermediate_size`
//! has small FFNs beside the big ones (a Duo model of this repository's trainer).

use super::super::fields::Fields;
use super::super::layout::LLAMA;
use super::{Class, Common, Family, duo, heads_divide, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const LLAMA_FAMILY: Family = Family { model_type: "llama", spec: llama, layout: |_| LLAMA };
pub(super) const MISTRAL: Family = Family { model_type: "mistral", spec: mistral, layout: |_| LLAMA };

const LLAMA_CLASS: Class = Class {
    d_model: 4096,
    heads: 32,
    kv_heads: None,
    n_layers: 32,
    d_mlp: 11_008,
    context: 2048,
    window: None,
    vocab: 32_000,
    tied: false,
};

const MISTRAL_CLASS: Class = Class {
    d_model: 4096,
    heads: 32,
    kv_heads: Some(8),
    n_layers: 32,
    d_mlp: 14_336,
    context: 131_072,
    window: Some(4096),
    vocab: 32_000,
    tied: false,
};

pub(super) fn llama(fields: &Fields) -> Result<Spec> {
    // Llama's class has no window: transformers ignores the field.
    let common = Common { window: None, ..Common::read(fields, &LLAMA_CLASS)? };
    heads_divide(fields, &common)?;
    let norm = fields.rms("rms_norm_eps", 1e-6)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    let bias = fields.flag_or("attention_bias", false)?;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
    let bias = fields.flag_or("mlp_bias", false)?;
    (layer.ffn.in_bias, layer.ffn.out_bias) = (bias, bias);
    let mut spec = common.spec(fields, "llama", vec![layer; common.n_layers], norm)?;
    duo::read(fields, &mut spec)?;
    Ok(spec)
}

fn mistral(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, &MISTRAL_CLASS)?;
    let norm = fields.rms("rms_norm_eps", 1e-6)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    layer.attn.window = common.window;
    common.spec(fields, "mistral", vec![layer; common.n_layers], norm)
}

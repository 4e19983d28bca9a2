//! Qwen2-MoE (a shared expert with a share of its own, biases on queries, keys and values) and Qwen3-MoE (a norm on queries
//! and keys). Some blocks may keep one FFN.

use super::super::fields::{Fields, MAX_LAYERS};
use super::super::layout::LLAMA;
use super::{Class, Common, Family, experts, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const QWEN2_MOE: Family = Family { model_type: "qwen2_moe", spec: qwen2, layout: |_| LLAMA };
pub(super) const QWEN3_MOE: Family = Family { model_type: "qwen3_moe", spec: qwen3, layout: |_| LLAMA };

const QWEN2_CLASS: Class = Class {
    d_model: 2048,
    heads: 16,
    kv_heads: Some(16),
    n_layers: 24,
    d_mlp: 5632,
    context: 32_768,
    window: Some(4096),
    vocab: 151_936,
    tied: false,
};

const QWEN3_CLASS: Class = Class { heads: 32, kv_heads: Some(4), d_mlp: 6144, ..QWEN2_CLASS };

fn qwen2(fields: &Fields) -> Result<Spec> {
    let (mut common, norm, mut layer) = block(fields, &QWEN2_CLASS)?;
    layer.attn.qkv_bias = fields.flag_or("qkv_bias", true)?;
    let counts = experts::counts(fields, ("num_experts", 60), ("num_experts_per_tok", 4))?;
    let shared = SharedSpec { d_mlp: fields.count_or("shared_expert_intermediate_size", 5632)?, gated: true };
    let experts = ExpertsSpec {
        shared: Some(shared),
        ..experts::plain(counts, fields.flag_or("norm_topk_prob", false)?)
    };
    let width = fields.count_or("moe_intermediate_size", 1408)?;
    let from = fields.whole("max_window_layers")?.unwrap_or(28);
    if !fields.flag_or("use_sliding_window", false)? {
        common.window = None;
    }
    // The class gives every other block a window, up to a certain one.
    let by_default = |index: usize| common.window.is_some() && index < from && index.is_multiple_of(2);
    let windowed = common.windowed(fields, by_default)?;
    let mut layers = sparse(fields, &common, &layer, width, experts)?;
    for (layer, windowed) in layers.iter_mut().zip(windowed) {
        layer.attn.window = common.window.filter(|_| windowed);
    }
    common.spec(fields, "qwen2_moe", layers, norm)
}

fn qwen3(fields: &Fields) -> Result<Spec> {
    let (common, norm, mut layer) = block(fields, &QWEN3_CLASS)?;
    let bias = fields.flag_or("attention_bias", false)?;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
    layer.attn.qk_norm = Some(QkNorm { norm, over: QkNormOver::Head });
    let windowed = fields.flag_or("use_sliding_window", false)?;
    layer.attn.window = common.window.filter(|_| windowed);
    let count = fields.alias("num_local_experts", "num_experts");
    let counts = experts::counts(fields, (count, 128), ("num_experts_per_tok", 8))?;
    let experts = experts::plain(counts, fields.flag_or("norm_topk_prob", false)?);
    let width = fields.count_or("moe_intermediate_size", 768)?;
    let layers = sparse(fields, &common, &layer, width, experts)?;
    common.spec(fields, "qwen3_moe", layers, norm)
}

/// What both have in a block with one FFN.
fn block(fields: &Fields, class: &'static Class) -> Result<(Common, NormSpec, LayerSpec)> {
    // Qwen2-MoE's class writes 0 where it uses none.
    let window = match fields.whole("sliding_window")? {
        Some(0) => None,
        _ => fields.count_opt("sliding_window")?,
    };
    let common = Common::with_window(fields, class, window)?;
    let norm = fields.rms("rms_norm_eps", 1e-6)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    Ok((common, norm, layer))
}

/// The blocks: experts of inner width `d_mlp` in every `decoder_sparse_step`-th but those of `mlp_only_layers`.
fn sparse(
    fields: &Fields,
    common: &Common,
    dense: &LayerSpec,
    d_mlp: usize,
    experts: ExpertsSpec,
) -> Result<Vec<LayerSpec>> {
    let step = fields.count_up_to_or("decoder_sparse_step", MAX_LAYERS, 1)?;
    let only = fields.wholes("mlp_only_layers")?.unwrap_or_default();
    let layer = |index: usize| {
        let mut layer = dense.clone();
        if (index + 1).is_multiple_of(step) && !only.contains(&index) {
            layer.ffn.d_mlp = d_mlp;
            layer.experts = Some(experts);
        }
        layer
    };
    Ok((0..common.n_layers).map(layer).collect())
}

//! OLMoE: experts in every block, one norm over all query and key heads.

use super::super::fields::Fields;
use super::super::layout::LLAMA;
use super::{Class, Common, Family, experts, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "olmoe", spec, layout: |_| LLAMA };

const CLASS: Class = Class {
    d_model: 2048,
    heads: 16,
    kv_heads: None,
    n_layers: 16,
    d_mlp: 2048,
    context: 4096,
    window: None,
    vocab: 50_304,
    tied: false,
};

fn spec(fields: &Fields) -> Result<Spec> {
    // The class has no window: transformers ignores the field.
    let common = Common { window: None, ..Common::read(fields, &CLASS)? };
    let norm = fields.rms("rms_norm_eps", 1e-5)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    let bias = fields.flag_or("attention_bias", false)?;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
    layer.attn.clip = fields.bound("clip_qkv")?.map(|bound| bound as f32);
    layer.attn.qk_norm = Some(QkNorm { norm, over: QkNormOver::Full });
    let count = fields.alias("num_local_experts", "num_experts");
    let counts = experts::counts(fields, (count, 64), ("num_experts_per_tok", 8))?;
    layer.experts = Some(experts::plain(counts, fields.flag_or("norm_topk_prob", false)?));
    common.spec(fields, "olmoe", vec![layer; common.n_layers], norm)
}

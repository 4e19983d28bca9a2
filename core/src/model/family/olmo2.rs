//! OLMo 2: norms on the sublayers' outputs only, and one over all query and key heads.

use super::super::fields::Fields;
use super::super::layout::{LLAMA, Layout};
use super::{Class, Common, Family, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "olmo2", spec, layout: |_| LAYOUT };

const LAYOUT: Layout =
    Layout { ln1_post: "post_attention_layernorm", ln2_post: "post_feedforward_layernorm", ..LLAMA };

const CLASS: Class = Class {
    d_model: 4096,
    heads: 32,
    kv_heads: None,
    n_layers: 32,
    d_mlp: 11_008,
    context: 2048,
    window: None,
    vocab: 50_304,
    tied: false,
};

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, &CLASS)?;
    let norm = fields.rms("rms_norm_eps", 1e-5)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    (layer.ln1, layer.ln1_post, layer.ln2, layer.ln2_post) = (None, Some(norm), None, Some(norm));
    let bias = fields.flag_or("attention_bias", false)?;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
    layer.attn.qk_norm = Some(QkNorm { norm, over: QkNormOver::Full });
    common.spec(fields, "olmo2", vec![layer; common.n_layers], norm)
}

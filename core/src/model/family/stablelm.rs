//! StableLM: layer norms with biases, gated FFN, part of each head rotated; optionally parallel, with a norm of its
//! own for every query and key head.

use serde_json::json;

use super::super::fields::Fields;
use super::super::layout::{LLAMA, Layout};
use super::{Class, Common, Family, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "stablelm", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout { qk_norm: ["self_attn.q_layernorm", "self_attn.k_layernorm"], ..LLAMA };

const CLASS: Class = Class {
    d_model: 2560,
    heads: 32,
    kv_heads: Some(32),
    n_layers: 32,
    d_mlp: 6912,
    context: 4096,
    window: None,
    vocab: 50_304,
    tied: false,
};

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, &CLASS)?;
    // The class has no width of its own for heads.
    fields.only("head_dim", &json!(common.d_model / common.heads))?;
    let norm = fields.layer_norm("layer_norm_eps", 1e-5)?;
    let rope = rope::Defaults::read(fields, Some(0.25), 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    layer.attn.qkv_bias = fields.flag_or("use_qkv_bias", false)?;
    if fields.flag_or("use_parallel_residual", false)? {
        layer.residual = Residual::Parallel;
        layer.ln2 = None;
    }
    if fields.flag_or("qk_layernorm", false)? {
        let norm = NormSpec { bias: false, ..norm };
        layer.attn.qk_norm = Some(QkNorm { norm, over: QkNormOver::EachHead });
    }
    common.spec(fields, "stablelm", vec![layer; common.n_layers], norm)
}

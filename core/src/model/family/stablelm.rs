//! StableLM: layer norms with biases, gated FFN, part of each head rotated; optionally parallel, with a norm of its
//! own for every query and key head.

use super::super::fields::Fields;
use super::super::layout::{LLAMA, Layout};
use super::super::*;
use super::{Common, Family, rope};
use crate::error::Result;

pub(super) const FAMILY: Family = Family { model_type: "stablelm", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout { qk_norm: ["self_attn.q_layernorm", "self_attn.k_layernorm"], ..LLAMA };

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, 4096)?;
    let norm = fields.layer_norm("layer_norm_eps", 1e-5)?;
    let rope = rope::read(fields, common.d_head, 0.25, 10_000.0, common.trained)?;
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
    common.spec(fields, "stablelm", vec![layer; common.n_layers], norm, false)
}

//! StarCoder 2: layer norms, ungated FFN, biases, grouped heads, a window.

use super::super::fields::Fields;
use super::super::layout::{FfnIn, LLAMA, Layout};
use super::{Class, Common, Family, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "starcoder2", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout { ffn_in: FfnIn::Up("mlp.c_fc"), down: "mlp.c_proj", ..LLAMA };

const CLASS: Class = Class {
    d_model: 3072,
    heads: 24,
    kv_heads: Some(2),
    n_layers: 30,
    d_mlp: 12_288,
    context: 4096,
    window: None,
    vocab: 49_152,
    tied: true,
};

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, &CLASS)?;
    let norm = fields.layer_norm("norm_epsilon", 1e-5)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::GeluTanh)?, &rope);
    let bias = fields.flag_or("use_bias", true)?;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
    (layer.ffn.gated, layer.ffn.in_bias, layer.ffn.out_bias) = (false, bias, bias);
    layer.attn.window = common.window;
    common.spec(fields, "starcoder2", vec![layer; common.n_layers], norm)
}

//! gpt-oss: experts stored in two tensors with bounded products, sinks in attention, a window in every other block. The
//! published files hold experts in MXFP4, which is refused; the bf16 conversions open.

use serde_json::{Value, json};

use super::super::fields::Fields;
use super::super::layout::{EXPERTS, EachExpert, ExpertsAt, LLAMA, Layout};
use super::{Class, Common, Family, experts, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "gpt_oss", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    experts: ExpertsAt {
        router: "mlp.router",
        each: EachExpert::Stacked(["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
        ..EXPERTS
    },
    ..LLAMA
};

const CLASS: Class = Class {
    d_model: 2880,
    heads: 64,
    kv_heads: Some(8),
    n_layers: 36,
    d_mlp: 2880,
    context: 131_072,
    window: Some(128),
    vocab: 201_088,
    tied: false,
};

/// What the config class says where a file has no rope object.
fn class_rope() -> Value {
    json!({
        "rope_type": "yarn",
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": false,
        "original_max_position_embeddings": 4096
    })
}

fn spec(fields: &Fields) -> Result<Spec> {
    let mut common = Common::read(fields, &CLASS)?;
    if !fields.has("head_dim") {
        // The config class's default does not follow from the other fields.
        common.d_head = 64;
    }
    let norm = fields.rms("rms_norm_eps", 1e-5)?;
    let defaults = rope::Defaults::read(fields, None, 150_000.0, common.trained)?;
    let silent = fields.get("rope_scaling").is_none() && fields.get("rope_parameters").is_none();
    let rope = match silent {
        true => rope::parse(&Fields::new(&class_rope())?, common.d_head, &defaults)?,
        false => rope::read(fields, common.d_head, &defaults)?,
    };
    let mut layer = common.layer(norm, Activation::Silu, &rope);
    // The products are written out in transformers' class, whatever the field says.
    fields.get("hidden_act");
    let bias = fields.flag_or("attention_bias", true)?;
    (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
    layer.attn.sinks = true;
    (layer.ffn.in_bias, layer.ffn.out_bias) = (true, true);
    let count = fields.alias("num_experts", "num_local_experts");
    let counts = experts::counts(fields, (count, 128), ("num_experts_per_tok", 4))?;
    layer.experts = Some(ExpertsSpec {
        // A softmax over the chosen is the one over all, renormalised.
        router_bias: true,
        clamp: Some(Clamp {
            alpha: fields.positive_or("swiglu_alpha", 1.702)? as f32,
            limit: fields.positive_or("swiglu_limit", 7.0)? as f32,
        }),
        ..experts::plain(counts, true)
    });
    let window = common.window;
    let windowed = common.windowed(fields, |index| index.is_multiple_of(2))?;
    let layers = windowed.into_iter().map(|windowed| {
        let mut layer = layer.clone();
        layer.attn.window = window.filter(|_| windowed);
        layer
    });
    common.spec(fields, "gpt_oss", layers.collect(), norm)
}

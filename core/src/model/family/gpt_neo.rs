//! GPT-Neo: learned positions, unscaled attention, windows in some layers.

use serde_json::Value;

use super::super::fields::{Fields, MAX_HEADS, MAX_LAYERS};
use super::super::layout::{FfnIn, LLAMA, Layout, Qkv};
use super::{Family, special_ids};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "gpt_neo", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    prefix: "transformer.",
    embed: "wte",
    positions: "wpe",
    block: "h",
    ln1: "ln_1",
    ln2: "ln_2",
    qkv: Qkv::Split(["attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"]),
    out: "attn.attention.out_proj",
    ffn_in: FfnIn::Up("mlp.c_fc"),
    down: "mlp.c_proj",
    ln_final: "ln_f",
    buffers: &["attn.attention.bias", "attn.attention.masked_bias"],
    ..LLAMA
};

fn spec(fields: &Fields) -> Result<Spec> {
    let d_model = fields.count_or("hidden_size", 2048)?;
    let num_heads = fields.alias("num_attention_heads", "num_heads");
    let heads = fields.count_up_to_or(num_heads, MAX_HEADS, 16)?;
    if !d_model.is_multiple_of(heads) {
        return Err(fields.bad(num_heads, format!("does not divide the width {d_model}")));
    }
    let n_layers = fields.count_up_to_or(fields.alias("num_hidden_layers", "num_layers"), MAX_LAYERS, 24)?;
    let context = fields.context_or("max_position_embeddings", 2048)?;
    let norm = fields.layer_norm("layer_norm_epsilon", 1e-5)?;
    let window = fields.count_or("window_size", 256)?;
    let ffn = FfnSpec {
        d_mlp: fields.count_or("intermediate_size", 4 * d_model)?,
        gated: false,
        act: fields.activation("activation_function", Activation::GeluTanh)?,
        in_bias: true,
        out_bias: true,
    };
    let layer = |local: bool| LayerSpec {
        residual: Residual::Sequential,
        ln1: Some(norm),
        ln1_post: None,
        ln2: Some(norm),
        ln2_post: None,
        attn: AttnSpec {
            heads,
            kv_heads: heads,
            d_head: d_model / heads,
            scale: 1.0,
            qkv_bias: false,
            out_bias: true,
            clip: None,
            qk_norm: None,
            rope: None,
            window: local.then_some(window),
            soft_cap: None,
            sinks: false,
        },
        ffn,
        small: None,
        experts: None,
    };
    let (bos, eos) = special_ids(fields);
    Ok(Spec {
        model_type: "gpt_neo".into(),
        d_model,
        vocab: fields.count_or("vocab_size", 50257)?,
        context,
        embed: EmbedSpec {
            width: d_model,
            scale: None,
            positions: Some(LearnedPositions { rows: context, offset: 0 }),
        },
        layers: local_layers(fields, n_layers)?.into_iter().map(layer).collect(),
        ln_final: Some(norm),
        unembed: UnembedSpec {
            tied: fields.flag_or("tie_word_embeddings", true)?,
            bias: false,
            soft_cap: None,
        },
        bos,
        eos,
        vision: None,
        routers: Vec::new(),
    })
}

/// `attention_types`: a list of (pattern, repetitions); `attention_layers` is the same, written out, and wins.
fn local_layers(fields: &Fields, n_layers: usize) -> Result<Vec<bool>> {
    let local = |name: &str| match name {
        "local" => Ok(true),
        "global" => Ok(false),
        _ => Err(fields.bad("attention_types", format!("\"{name}\" is not supported"))),
    };
    let shape = || fields.bad("attention_types", "must list (pattern, repetitions)");
    let written = fields.texts("attention_layers")?;
    let layers: Vec<bool> = match (fields.get("attention_types"), written) {
        (_, Some(names)) => names.into_iter().map(local).collect::<Result<_>>()?,
        (Some(types), None) => {
            let mut layers = Vec::new();
            for group in types.as_array().ok_or_else(shape)? {
                let (Some(pattern), Some(times)) =
                    (group.get(0).and_then(Value::as_array), group.get(1).and_then(Value::as_u64))
                else {
                    return Err(shape());
                };
                for _ in 0..times.min(n_layers as u64) {
                    for name in pattern {
                        layers.push(local(name.as_str().ok_or_else(shape)?)?);
                    }
                }
            }
            layers
        }
        // The class's default is written for this many layers.
        (None, None) => (0..24).map(|index| index % 2 == 1).collect(),
    };
    if layers.len() == n_layers {
        Ok(layers)
    } else {
        Err(fields.bad("attention_types", format!("describes {} layers of {n_layers}", layers.len())))
    }
}

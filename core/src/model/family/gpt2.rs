//! GPT-2: learned positions, fused queries, keys and values, weights stored `[in, out]`.

use super::super::fields::{Fields, MAX_HEADS, MAX_LAYERS};
use super::super::layout::{FfnIn, LLAMA, Layout, Qkv};
use super::{Family, special_ids};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "gpt2", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    prefix: "transformer.",
    embed: "wte",
    positions: "wpe",
    block: "h",
    ln1: "ln_1",
    ln2: "ln_2",
    qkv: Qkv::Stacked("attn.c_attn"),
    out: "attn.c_proj",
    ffn_in: FfnIn::Up("mlp.c_fc"),
    down: "mlp.c_proj",
    ln_final: "ln_f",
    transposed: true,
    buffers: &["attn.bias", "attn.masked_bias"],
    ..LLAMA
};

fn spec(fields: &Fields) -> Result<Spec> {
    let d_model = fields.count_or(fields.alias("hidden_size", "n_embd"), 768)?;
    let n_head = fields.alias("num_attention_heads", "n_head");
    let heads = fields.count_up_to_or(n_head, MAX_HEADS, 12)?;
    if !d_model.is_multiple_of(heads) {
        return Err(fields.bad(n_head, format!("must divide the width {d_model}")));
    }
    let n_layers = fields.count_up_to_or(fields.alias("num_hidden_layers", "n_layer"), MAX_LAYERS, 12)?;
    let context = fields.context_or(fields.alias("max_position_embeddings", "n_positions"), 1024)?;
    let norm = fields.layer_norm("layer_norm_epsilon", 1e-5)?;
    let ffn = FfnSpec {
        d_mlp: fields.count_or("n_inner", 4 * d_model)?,
        gated: false,
        act: fields.activation("activation_function", Activation::GeluTanh)?,
        in_bias: true,
        out_bias: true,
    };
    let d_head = d_model / heads;
    let scaled = fields.flag_or("scale_attn_weights", true)?;
    let by_layer = fields.flag_or("scale_attn_by_inverse_layer_idx", false)?;
    let base = if scaled { 1.0 / (d_head as f32).sqrt() } else { 1.0 };
    let layer = |index: usize| LayerSpec {
        residual: Residual::Sequential,
        ln1: Some(norm),
        ln1_post: None,
        ln2: Some(norm),
        ln2_post: None,
        attn: AttnSpec {
            heads,
            kv_heads: heads,
            d_head,
            scale: if by_layer { base / (index + 1) as f32 } else { base },
            qkv_bias: true,
            out_bias: true,
            clip: None,
            qk_norm: None,
            rope: None,
            window: None,
            soft_cap: None,
            sinks: false,
        },
        ffn,
        small: None,
        experts: None,
    };
    let (bos, eos) = special_ids(fields);
    Ok(Spec {
        model_type: "gpt2".into(),
        d_model,
        vocab: fields.count_or("vocab_size", 50257)?,
        context,
        embed: EmbedSpec {
            width: d_model,
            scale: None,
            positions: Some(LearnedPositions { rows: context, offset: 0 }),
        },
        layers: (0..n_layers).map(layer).collect(),
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

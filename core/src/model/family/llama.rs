//! Llama: RMS norm, rotary positions, gated FFN; with small FFNs beside the big ones where config.json has
//! `sluice.small_intermediate_size` (a Duo model of this repository's trainer).

use super::super::fields::{Fields, MAX_HEADS, MAX_LAYERS};
use super::super::layout::LLAMA;
use super::super::*;
use super::{Family, d_head, kv_heads, rope, special_ids};
use crate::error::Result;

pub(super) const FAMILY: Family = Family { model_type: "llama", spec, layout: |_| LLAMA };

fn spec(fields: &Fields) -> Result<Spec> {
    let d_model = fields.count("hidden_size")?;
    let heads = fields.count_up_to("num_attention_heads", MAX_HEADS)?;
    let d_head = d_head(fields, d_model, heads)?;
    let n_layers = fields.count_up_to("num_hidden_layers", MAX_LAYERS)?;
    let norm = fields.rms("rms_norm_eps", 1e-6)?;
    let bias = fields.flag_or("attention_bias", false)?;
    let mlp_bias = fields.flag_or("mlp_bias", false)?;
    let trained = fields.context_or("max_position_embeddings", 2048)?;
    let rope = rope::read(fields, d_head, 1.0, 10_000.0, trained)?;
    let ffn = FfnSpec {
        d_mlp: fields.count("intermediate_size")?,
        gated: true,
        act: fields.activation("hidden_act", Activation::Silu)?,
        in_bias: mlp_bias,
        out_bias: mlp_bias,
    };
    let small = match fields.object("sluice")? {
        Some(ours) => ours.count_opt("small_intermediate_size")?,
        None => None,
    };
    let layer = LayerSpec {
        residual: Residual::Sequential,
        ln1: Some(norm),
        ln1_post: None,
        ln2: Some(norm),
        ln2_post: None,
        attn: AttnSpec {
            heads,
            kv_heads: kv_heads(fields, heads, heads)?,
            d_head,
            scale: 1.0 / (d_head as f32).sqrt(),
            qkv_bias: bias,
            out_bias: bias,
            qk_norm: None,
            rope: Some(rope.clone()),
            window: None,
            soft_cap: None,
        },
        ffn,
        small: small.map(|d_mlp| FfnSpec { d_mlp, ..ffn }),
    };
    let (bos, eos) = special_ids(fields)?;
    Ok(Spec {
        model_type: "llama".into(),
        d_model,
        vocab: fields.count("vocab_size")?,
        context: rope.context(trained),
        embed: EmbedSpec { width: d_model, scale: None, positions: None },
        layers: vec![layer; n_layers],
        ln_final: Some(norm),
        unembed: UnembedSpec { tied: fields.flag_or("tie_word_embeddings", false)?, bias: false, soft_cap: None },
        bos,
        eos,
    })
}

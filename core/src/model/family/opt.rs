//! OPT: learned positions from row 2, and two rare forms: norms after the sublayers, an embedding of another width.

use super::super::fields::{Fields, MAX_HEADS, MAX_LAYERS};
use super::super::layout::{FfnIn, LLAMA, Layout, Qkv};
use super::{Family, special_ids};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "opt", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    prefix: "model.decoder.",
    positions: "embed_positions",
    project: ["project_in", "project_out"],
    ln1: "self_attn_layer_norm",
    ln2: "final_layer_norm",
    qkv: Qkv::Split(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    out: "self_attn.out_proj",
    ffn_in: FfnIn::Up("fc1"),
    down: "fc2",
    ln_final: "final_layer_norm",
    ..LLAMA
};

/// The first two rows of the position table are not used.
const OFFSET: usize = 2;

fn spec(fields: &Fields) -> Result<Spec> {
    let d_model = fields.count_or("hidden_size", 768)?;
    let heads = fields.count_up_to_or("num_attention_heads", MAX_HEADS, 12)?;
    if !d_model.is_multiple_of(heads) {
        return Err(fields.bad("num_attention_heads", format!("does not divide the width {d_model}")));
    }
    let n_layers = fields.count_up_to_or("num_hidden_layers", MAX_LAYERS, 12)?;
    let context = fields.context_or("max_position_embeddings", 2048)?;
    let affine = fields.flag_or("layer_norm_elementwise_affine", true)?;
    let norm = NormSpec { weight: affine, bias: affine, ..NormSpec::layer(1e-5) };
    let bias = fields.flag_or("enable_bias", true)?;
    let before = fields.flag_or("do_layer_norm_before", true)?;
    let drop_final = fields.flag_or("_remove_final_layer_norm", false)?;
    let layer = LayerSpec {
        residual: if before { Residual::Sequential } else { Residual::PostNorm },
        ln1: Some(norm),
        ln1_post: None,
        ln2: Some(norm),
        ln2_post: None,
        attn: AttnSpec {
            heads,
            kv_heads: heads,
            d_head: d_model / heads,
            scale: 1.0 / ((d_model / heads) as f32).sqrt(),
            qkv_bias: bias,
            out_bias: bias,
            clip: None,
            qk_norm: None,
            rope: None,
            window: None,
            soft_cap: None,
            sinks: false,
        },
        ffn: FfnSpec {
            d_mlp: fields.count_or("ffn_dim", 3072)?,
            gated: false,
            act: fields.activation("activation_function", Activation::Relu)?,
            in_bias: bias,
            out_bias: bias,
        },
        small: None,
        experts: None,
    };
    let (bos, eos) = special_ids(fields);
    Ok(Spec {
        model_type: "opt".into(),
        d_model,
        vocab: fields.count_or("vocab_size", 50272)?,
        context,
        embed: EmbedSpec {
            width: fields.count_or("word_embed_proj_dim", d_model)?,
            scale: None,
            positions: Some(LearnedPositions { rows: context + OFFSET, offset: OFFSET }),
        },
        layers: vec![layer; n_layers],
        ln_final: (before && !drop_final).then_some(norm),
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

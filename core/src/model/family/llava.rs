//! LLaVA 1.5: a CLIP image tower, a two-layer projector, and a Llama that reads the projected patches as tokens.

use super::super::fields::{Fields, MAX_HEADS, MAX_LAYERS};
use super::super::layout::{LLAMA, Layout};
use super::{Family, llama, special_ids};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family {
    model_type: "llava",
    spec: llava,
    // As files hold them; transformers renames them while it loads.
    layout: |_| Layout {
        prefix: "language_model.model.",
        unembed: "language_model.lm_head",
        vision: ["vision_tower.vision_model.", "multi_modal_projector."],
        // transformers 5 leaves a level out, and in its own form puts all but the unembedding under `model`; the bare model
        // has no `model` inside.
        respelt: &[
            ["vision_tower.vision_model.", "vision_tower."],
            ["vision_tower.vision_model.", "model.vision_tower."],
            ["vision_tower.vision_model.", "model.vision_tower.vision_model."],
            ["multi_modal_projector.", "model.multi_modal_projector."],
            ["language_model.model.", "model.language_model."],
            ["language_model.model.", "language_model."],
            ["language_model.lm_head", "lm_head"],
        ],
        buffers: &[
            "rotary_emb.inv_freq",
            "rotary_emb.cos_cached",
            "rotary_emb.sin_cached",
            "embeddings.position_ids",
        ],
        ..LLAMA
    },
};

fn llava(fields: &Fields) -> Result<Spec> {
    let text = fields.object("text_config")?.ok_or_else(|| fields.bad("text_config", "is required"))?;
    let tower = fields.object("vision_config")?.ok_or_else(|| fields.bad("vision_config", "is required"))?;
    for (part, name, wanted) in
        [(&text, "text_config", "llama"), (&tower, "vision_config", "clip_vision_model")]
    {
        if part.text("model_type")?.is_some_and(|found| found != wanted) {
            return Err(fields.bad(name, format!("its model_type must be {wanted}")));
        }
    }
    let mut spec = llama::llama(&text)?;
    spec.model_type = "llava".into();
    spec.unembed.tied = fields.flag_or("tie_word_embeddings", spec.unembed.tied)?;
    let (bos, eos) = special_ids(fields);
    spec.bos = bos.or(spec.bos);
    spec.eos = if eos.is_empty() { spec.eos } else { eos };
    // The preprocessor makes as many tokens as the tower has patches.
    fields.get("image_seq_length");
    spec.vision = Some(vision(fields, &tower, spec.d_model)?);
    Ok(spec)
}

fn vision(fields: &Fields, tower: &Fields, d_model: usize) -> Result<VisionSpec> {
    let layers = tower.count_up_to_or("num_hidden_layers", MAX_LAYERS, 12)?;
    let (width, heads) =
        (tower.count_or("hidden_size", 768)?, tower.count_up_to_or("num_attention_heads", MAX_HEADS, 12)?);
    let (image_size, patch) = (tower.count_or("image_size", 224)?, tower.count_or("patch_size", 32)?);
    if !width.is_multiple_of(heads) {
        return Err(tower.bad("num_attention_heads", format!("does not divide the width {width}")));
    }
    if !image_size.is_multiple_of(patch) {
        return Err(tower.bad("patch_size", format!("does not divide the image size {image_size}")));
    }
    tower.only("num_channels", &3.into())?;
    let feature = fields.get("vision_feature_layer").map_or(Some(-2), serde_json::Value::as_i64);
    let used = match feature {
        Some(layer) if layer < 0 => (layers as i64 + 1).checked_add(layer),
        Some(layer) => Some(layer),
        None => None,
    };
    let used = used.filter(|used| (0..=layers as i64).contains(used));
    let used =
        used.ok_or_else(|| fields.bad("vision_feature_layer", format!("is not one of the {layers} layers")))?;
    let keep_class = match fields.text("vision_feature_select_strategy")?.unwrap_or("default") {
        "default" => false,
        "full" => true,
        _ => return Err(fields.bad("vision_feature_select_strategy", "is neither default nor full")),
    };
    let image_token = fields.whole(fields.alias("image_token_id", "image_token_index"))?.unwrap_or(32_000);
    let image_token =
        u32::try_from(image_token).map_err(|_| fields.bad("image_token_index", "is no token id"))?;
    Ok(VisionSpec {
        image_size,
        patch,
        width,
        layers,
        used: used as usize,
        heads,
        d_mlp: tower.count_or("intermediate_size", 3072)?,
        act: tower.activation("hidden_act", Activation::QuickGelu)?,
        norm: tower.layer_norm("layer_norm_eps", 1e-5)?,
        keep_class,
        projector_act: fields.activation("projector_hidden_act", Activation::Gelu)?,
        projector_bias: fields.flag_or("multimodal_projector_bias", true)?,
        image_token,
        d_model,
    })
}

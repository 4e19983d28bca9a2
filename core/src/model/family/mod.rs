//! Families: config.json -> [`Spec`] and [`Layout`]. One file each, one line in [`FAMILIES`].

use serde_json::Value;

use super::fields::Fields;
use super::layout::Layout;
use super::Spec;
use crate::error::{Error, Result};

mod gpt2;
mod llama;
pub(crate) mod rope;

/// A family of checkpoints.
pub struct Family {
    /// `model_type` of config.json.
    pub model_type: &'static str,
    /// Reads the architecture.
    pub spec: fn(&Fields) -> Result<Spec>,
    /// Where the tensors are.
    pub layout: fn(&Spec) -> Layout,
}

/// Every family that opens.
pub const FAMILIES: &[Family] = &[gpt2::FAMILY, llama::FAMILY];

/// What config.json says.
#[derive(Debug)]
pub struct Read {
    /// The architecture.
    pub spec: Spec,
    /// Where the tensors are.
    pub layout: Layout,
    /// Fields that nobody read; they change nothing here or in transformers.
    pub ignored: Vec<String>,
}

/// Read a config.
pub fn read(config: &Value) -> Result<Read> {
    let fields = Fields::new(config)?;
    let model_type = fields.text("model_type")?.ok_or_else(|| fields.bad("model_type", "is required"))?;
    let family = FAMILIES.iter().find(|family| family.model_type == model_type).ok_or_else(|| {
        let supported: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
        Error::Family { model_type: model_type.chars().take(60).collect(), supported: supported.join(", ") }
    })?;
    let spec = (family.spec)(&fields)?;
    fields.only("is_encoder_decoder", &Value::Bool(false))?;
    fields.only("add_cross_attention", &Value::Bool(false))?;
    fields.only("quantization_config", &Value::Null)?;
    Ok(Read { layout: (family.layout)(&spec), ignored: fields.ignored(), spec })
}

/// The ids of `bos_token_id` and `eos_token_id`.
pub(crate) fn special_ids(fields: &Fields) -> Result<(Option<u32>, Vec<u32>)> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let bos = fields.get("bos_token_id").and_then(id);
    let eos = match fields.get("eos_token_id") {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    };
    Ok((bos, eos))
}

/// Heads and their width; `d_model` must divide where `head_dim` is left out.
pub(crate) fn d_head(fields: &Fields, d_model: usize, heads: usize) -> Result<usize> {
    if let Some(d_head) = fields.count_opt("head_dim")? {
        return Ok(d_head);
    }
    if d_model.is_multiple_of(heads) {
        Ok(d_model / heads)
    } else {
        Err(Error::config("num_attention_heads", heads, format!("does not divide the width {d_model}")))
    }
}

/// Key and value heads; must divide the query heads.
pub(crate) fn kv_heads(fields: &Fields, heads: usize, default: usize) -> Result<usize> {
    let kv_heads = fields.count_or("num_key_value_heads", default)?;
    if heads.is_multiple_of(kv_heads) {
        Ok(kv_heads)
    } else {
        Err(fields.bad("num_key_value_heads", format!("does not divide the {heads} query heads")))
    }
}

//! `add_prefix_space`: whether a text begins as if a space stood before it.

use serde_json::Value;
use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::class::Class;
use super::settings::Settings;

/// Let the settings decide about the space, where the tokenizer's class reads them.
pub(super) fn set(inner: &mut Tokenizer, settings: &Settings, class: &Class) -> tokenizers::Result<()> {
    match (class.split, settings.prefix_space) {
        (Some(_), asked) => byte_level(inner, asked),
        (None, Some(false)) => sentence_piece(inner),
        (None, _) => Ok(()),
    }
}

/// Classes over bytes: where the settings say nothing there is no space.
fn byte_level(inner: &mut Tokenizer, asked: Option<bool>) -> tokenizers::Result<()> {
    let Some(pre) = inner.get_pre_tokenizer() else { return Ok(()) };
    let mut pre = serde_json::to_value(pre)?;
    let parts = match (kind(&pre), asked) {
        ("ByteLevel", _) => vec![&mut pre],
        ("Sequence", Some(_)) => {
            let parts = pre.get_mut("pretokenizers").and_then(Value::as_array_mut);
            parts.into_iter().flatten().filter(|part| kind(part) == "ByteLevel").collect()
        }
        _ => return Ok(()),
    };
    for part in parts {
        if let Some(part) = part.as_object_mut() {
            part.insert("add_prefix_space".into(), asked.unwrap_or(false).into());
        }
    }
    inner.with_pre_tokenizer(Some(serde_json::from_value::<PreTokenizerWrapper>(pre)?));
    Ok(())
}

/// Llama's classes: no `▁` in front of a text, and no space taken off what is decoded.
fn sentence_piece(inner: &mut Tokenizer) -> tokenizers::Result<()> {
    if let Some(normalizer) = inner.get_normalizer() {
        let mut normalizer = serde_json::to_value(normalizer)?;
        if kind(&normalizer) == "Prepend" {
            inner.with_normalizer(None::<NormalizerWrapper>)?;
        } else if let Some(list) = normalizer.get_mut("normalizers").and_then(Value::as_array_mut) {
            list.retain(|part| kind(part) != "Prepend");
            inner.with_normalizer(Some(serde_json::from_value::<NormalizerWrapper>(normalizer)?))?;
        }
    }
    if let Some(pre) = inner.get_pre_tokenizer() {
        let mut pre = serde_json::to_value(pre)?;
        never(&mut pre);
        inner.with_pre_tokenizer(Some(serde_json::from_value::<PreTokenizerWrapper>(pre)?));
    }
    if let Some(decoder) = inner.get_decoder() {
        let mut decoder = serde_json::to_value(decoder)?;
        never(&mut decoder);
        if let Some(list) = decoder.get_mut("decoders").and_then(Value::as_array_mut) {
            list.retain(|part| kind(part) != "Strip");
        }
        inner.with_decoder(Some(serde_json::from_value::<DecoderWrapper>(decoder)?));
    }
    Ok(())
}

/// Every Metaspace in a part of a tokenizer.json puts nothing in front.
fn never(part: &mut Value) {
    if kind(part) == "Metaspace"
        && let Some(part) = part.as_object_mut()
    {
        part.insert("prepend_scheme".into(), "never".into());
    }
    for list in ["pretokenizers", "decoders"] {
        let parts = part.get_mut(list).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(never);
    }
}

fn kind(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or_default()
}

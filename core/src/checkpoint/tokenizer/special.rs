//! Special and added tokens of a tokenizer, and what stands around a text, as transformers has them.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Tokenizer};

use super::class::{Class, Frame};
use super::settings::Settings;

/// Name special tokens that no file names but the class assumes; `counts` tells which of them.
pub(super) fn assume(settings: &mut Settings, class: &Class, counts: impl Fn(&str) -> bool) {
    for (role, content) in class.specials.iter().filter(|(_, content)| counts(content)) {
        settings.assume(role, content);
    }
}

/// Add the tokens that the settings list or name. One that the vocabulary has keeps its id, others get the next ones.
pub(super) fn add(inner: &mut Tokenizer, settings: &Settings) -> tokenizers::Result<()> {
    let known = inner.get_added_tokens_decoder().into_values().map(|token| token.content);
    let mut known: HashSet<String> =
        known.chain(settings.added.iter().map(|token| token.content.clone())).collect();
    let new = settings.special().filter(|token| known.insert(token.content.clone()));
    let mut tokens: Vec<AddedToken> = settings.added.iter().chain(new).cloned().collect();
    let names = settings.names();
    for token in &mut tokens {
        token.special |= names.contains(token.content.as_str());
    }
    inner.add_tokens(tokens)?;
    inner.set_encode_special_tokens(settings.split_special);
    Ok(())
}

/// Make every special token one that is found in the text as it was typed, as Qwen2's class does.
pub(super) fn find_as_typed(inner: &mut Tokenizer, settings: &Settings) -> tokenizers::Result<()> {
    inner.add_tokens(settings.special().map(|token| AddedToken::from(token.content.as_str(), true)))?;
    Ok(())
}

/// What stands around a text of a tokenizer.json's tokenizer.
pub(super) fn frame_of_file(
    inner: &mut Tokenizer,
    settings: &Settings,
    class: Option<&Class>,
) -> tokenizers::Result<()> {
    match class.map(|class| class.frame) {
        None | Some(Frame::File) => Ok(()),
        Some(Frame::Empty) => put_around(inner, None, None),
        Some(Frame::Roberta) => put_around_as_roberta(inner, settings),
        // Nothing is asked for: transformers 5 leaves such choices in the file alone.
        Some(Frame::Settings)
            if settings.add_bos.is_none() && settings.add_eos.is_none() && has_template(inner) =>
        {
            Ok(())
        }
        Some(Frame::Settings) => {
            let bos = token(inner, settings, "bos_token");
            let eos = token(inner, settings, "eos_token");
            let add_bos = settings.add_bos.unwrap_or(true);
            let add_eos = settings.add_eos.unwrap_or(false);
            // A token that the vocabulary lacks cannot be put anywhere; the file's own template stays.
            if (add_bos && bos.is_none()) || (add_eos && eos.is_none()) {
                return Ok(());
            }
            put_around(inner, bos.filter(|_| add_bos), eos.filter(|_| add_eos))
        }
    }
}

/// Whether a tokenizer.json itself puts tokens around a text.
fn has_template(inner: &Tokenizer) -> bool {
    let described = inner.get_post_processor().and_then(|post| serde_json::to_string(post).ok());
    described.is_some_and(|described| described.contains("TemplateProcessing"))
}

/// What stands around a text of a tokenizer without a tokenizer.json.
pub(super) fn frame_of_settings(
    inner: &mut Tokenizer,
    settings: &Settings,
    class: &Class,
) -> tokenizers::Result<()> {
    if class.frame == Frame::Roberta {
        return put_around_as_roberta(inner, settings);
    }
    let asked = |add: Option<bool>, role: &str| {
        if add.unwrap_or(false) { token(inner, settings, role) } else { None }
    };
    let (bos, eos) = (asked(settings.add_bos, "bos_token"), asked(settings.add_eos, "eos_token"));
    put_around(inner, bos, eos)
}

/// A token's text and id, by its role.
fn token(inner: &Tokenizer, settings: &Settings, role: &str) -> Option<(String, u32)> {
    let content = settings.named(role)?.content.clone();
    let id = inner.token_to_id(&content)?;
    Some((content, id))
}

/// A template: one token in front of every text, and one behind it.
fn put_around(
    inner: &mut Tokenizer,
    before: Option<(String, u32)>,
    behind: Option<(String, u32)>,
) -> tokenizers::Result<()> {
    let mut special_tokens = serde_json::Map::new();
    for (content, id) in before.iter().chain(&behind) {
        let entry = json!({"id": content, "ids": [id], "tokens": [content]});
        special_tokens.insert(content.clone(), entry);
    }
    let piece = |token: &Option<(String, u32)>| {
        token.as_ref().map(|(content, _)| json!({"SpecialToken": {"id": content, "type_id": 0}}))
    };
    let text = |id: &str| Some(json!({"Sequence": {"id": id, "type_id": 0}}));
    let list = |pieces: [Option<Value>; 4]| pieces.into_iter().flatten().collect::<Vec<Value>>();
    let template = json!({
        "type": "TemplateProcessing",
        "single": list([piece(&before), text("A"), piece(&behind), None]),
        "pair": list([piece(&before), text("A"), text("B"), piece(&behind)]),
        "special_tokens": special_tokens,
    });
    set_post_processor(inner, template)
}

fn put_around_as_roberta(inner: &mut Tokenizer, settings: &Settings) -> tokenizers::Result<()> {
    match (token(inner, settings, "sep_token"), token(inner, settings, "cls_token")) {
        (Some(sep), Some(cls)) => set_post_processor(
            inner,
            json!({"type": "RobertaProcessing", "sep": sep, "cls": cls, "trim_offsets": true, "add_prefix_space": false}),
        ),
        _ => Ok(()),
    }
}

fn set_post_processor(inner: &mut Tokenizer, described: Value) -> tokenizers::Result<()> {
    let post: PostProcessorWrapper = serde_json::from_value(described)?;
    inner.with_post_processor(Some(post));
    Ok(())
}

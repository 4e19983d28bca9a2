//! A tokenizer.json as its parts: each is read once, straight into what it becomes, and checked before the next.

use serde::Deserialize;
use serde_json::value::RawValue;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use super::bounds::{Bounds, check_around, check_decoder, check_splitter};
use super::charsmap;

/// The one version there is.
const VERSION: &str = "1.0";

/// The parts as text. Those of whoever trains on batches, truncation and padding, are not read.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(default)]
    version: Option<String>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow, default)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

/// Which model it is.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

/// Build the tokenizer of a text; `more` are tokens that will be added to it.
///
/// # Errors
/// [`super::bounds::Past`] where a part could make too much of a text, and what the library refuses.
pub(super) fn build(text: &str, more: &[AddedToken]) -> tokenizers::Result<Tokenizer> {
    let parts: Parts = serde_json::from_str(text)?;
    if let Some(version) = parts.version.filter(|version| version != VERSION) {
        return Err(format!("unknown tokenizer version '{version}'").into());
    }
    if let Some(raw) = parts.normalizer {
        // Before the library believes it.
        charsmap::check(&serde_json::from_str(raw.get())?)?;
    }
    let normalizer: Option<NormalizerWrapper> = read(parts.normalizer)?;
    let bounds = Bounds::of(normalizer.as_ref())?;
    bounds.check_added(&parts.added_tokens)?;
    bounds.check_added(more)?;
    let splitter: Option<PreTokenizerWrapper> = read(parts.pre_tokenizer)?;
    splitter.as_ref().map_or(Ok(()), check_splitter)?;
    let decoder: Option<DecoderWrapper> = read(parts.decoder)?;
    decoder.as_ref().map_or(Ok(()), check_decoder)?;
    let around: Option<PostProcessorWrapper> = read(parts.post_processor)?;
    around.as_ref().map_or(Ok(()), check_around)?;
    let mut tokenizer: Tokenizer = TokenizerBuilder::new()
        .with_model(model(parts.model)?)
        .with_normalizer(normalizer)
        .with_pre_tokenizer(splitter)
        .with_post_processor(around)
        .with_decoder(decoder)
        .build()?
        .into();
    tokenizer.add_tokens(parts.added_tokens)?;
    Ok(tokenizer)
}

fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> tokenizers::Result<Option<T>> {
    Ok(raw.map(|raw| serde_json::from_str(raw.get())).transpose()?)
}

/// The model. Where it says what it is, it is read without the value in between by which the library tells models apart:
/// that one is several times as large as the text.
fn model(raw: &RawValue) -> tokenizers::Result<ModelWrapper> {
    let text = raw.get();
    Ok(match serde_json::from_str::<Kind>(text)?.kind.as_deref() {
        Some("BPE") => ModelWrapper::BPE(serde_json::from_str::<BPE>(text)?),
        Some("WordPiece") => ModelWrapper::WordPiece(serde_json::from_str::<WordPiece>(text)?),
        Some("WordLevel") => ModelWrapper::WordLevel(serde_json::from_str::<WordLevel>(text)?),
        Some("Unigram") => ModelWrapper::Unigram(serde_json::from_str::<Unigram>(text)?),
        _ => serde_json::from_str(text)?,
    })
}

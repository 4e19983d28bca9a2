//! From a folder's files to a tokenizer of the tokenizers library.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::super::json::{MAX_TOKENIZER, parse, read_text_within};
use super::bounds::{Bounds, Past};
use super::class::{Class, Known, Split};
use super::settings::Settings;
use super::{parts as whole, prefix, special};
use crate::error::{Error, Fault, Result};
use crate::files;

/// A tokenizer of the library, and which files it was built from.
pub(super) type Built = (Tokenizer, &'static str);

/// Files that hold a tokenizer in a form that is not read, with what they are.
const FOREIGN: [(&str, &str); 5] = [
    ("tekken.json", "Mistral's own form"),
    ("tiktoken.model", "a tiktoken file"),
    ("spiece.model", "a SentencePiece file"),
    ("sentencepiece.bpe.model", "a SentencePiece file"),
    ("vocab.txt", "a WordPiece list"),
];

/// What makes a tokenizer.json of whatever transformers reads.
const CONVERT: &str = "make one in that folder: python -c \"from transformers import AutoTokenizer as A; \
                       A.from_pretrained('.').save_pretrained('.')\"";

/// What tells how a vocabulary and merges are read.
const NAME: &str = "put the model's tokenizer.json beside them, or name the class that it was trained with in \
                    tokenizer_config.json, such as {\"tokenizer_class\": \"GPT2Tokenizer\"}";

/// The tokenizer of a folder: tokenizer.json, or vocab.json with merges.txt as its class reads them; none where it has neither.
///
/// # Errors
/// [`Error::Tokenizer`] where there is one that cannot be read, others where its settings cannot.
pub(super) fn folder(folder: &Path, config: Option<&Value>) -> Result<Option<Built>> {
    let mut settings = Settings::read(folder)?;
    let named = settings.class.take();
    let class = Known::of(named.as_deref(), config);
    let path = folder.join("tokenizer.json");
    if files::stands(&path) {
        let text = read_text_within(&path, MAX_TOKENIZER).map_err(unreadable)?;
        let asks = settings.add_bos.is_some() || settings.add_eos.is_some();
        let asked = || Known::asked(named.as_deref(), config).filter(|_| asks);
        let class = class.class().or_else(asked);
        return json(&path, &text, &mut settings, class).map(|inner| Some((inner, "tokenizer.json")));
    }
    let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    if !(files::stands(&vocab) && files::stands(&merges)) {
        return foreign(folder).map_or(Ok(None), Err);
    }
    by_class(folder, &vocab, &merges, &mut settings, class)
        .map(|inner| Some((inner, "vocab.json + merges.txt")))
}

/// From a vocabulary and merges, as a class reads them.
fn by_class(
    folder: &Path,
    vocab: &Path,
    merges: &Path,
    settings: &mut Settings,
    class: Known,
) -> Result<Tokenizer> {
    let not_read = |name: &str, next_step: &str| {
        let cause = format!("has vocab.json and merges.txt, which are not read for the class {name}");
        Error::tokenizer(folder, cause, next_step)
    };
    let (known, split) = match class {
        Known::Class(class) => {
            class.split.map(|split| (class, split)).ok_or_else(|| not_read(class.name, CONVERT))?
        }
        Known::Other(name) => return Err(not_read(name, CONVERT)),
        Known::General(name) => return Err(not_read(name, NAME)),
        Known::Unnamed(model) => {
            let cause = format!(
                "has vocab.json and merges.txt, and no tokenizer_class says how text of a {model} is split into words"
            );
            return Err(Error::tokenizer(folder, cause, NAME));
        }
        Known::Any => (&Class::GPT2, Split::Gpt2),
    };
    let (entries, merges) = parts(vocab, merges).map_err(unreadable)?;
    let guessed = matches!(class, Known::Any);
    if guessed && entries.contains_key("▁") && !entries.contains_key("Ġ") {
        let cause = "holds SentencePiece pieces, and no tokenizer_class says how they are read";
        return Err(Error::tokenizer(vocab, cause, CONVERT));
    }
    guarded(vocab, || {
        Bounds::of(None)?.check_added(&settings.added)?;
        let mut inner = byte_level(entries, merges, split, settings.prefix_space.unwrap_or(false))?;
        // Where nobody names a class, its special tokens count as far as the vocabulary has them.
        special::assume(settings, known, |content| !guessed || inner.token_to_id(content).is_some());
        special::add(&mut inner, settings)?;
        if split == Split::Qwen2 {
            special::find_as_typed(&mut inner, settings)?;
        }
        special::frame_of_settings(&mut inner, settings, known)?;
        Ok(inner)
    })
}

/// From the text of a tokenizer.json. Its own parts stand, whatever the class: they are what the model was trained with.
pub(super) fn json(
    path: &Path,
    text: &str,
    settings: &mut Settings,
    class: Option<&Class>,
) -> Result<Tokenizer> {
    let text = files::unmarked(text);
    guarded(path, || {
        let mut inner = whole::build(text, &settings.added)?;
        if let Some(class) = class {
            special::assume(settings, class, |content| inner.token_to_id(content).is_some());
            prefix::set(&mut inner, settings, class)?;
        }
        special::add(&mut inner, settings)?;
        special::frame_of_file(&mut inner, settings, class)?;
        Ok(inner)
    })
}

/// The refusal of a tokenizer that could make too much of a text.
pub(super) fn past_bounds(path: &Path, past: &Past) -> Error {
    Error::tokenizer(
        path,
        format!("{NO_TOKENIZER}: {past}"),
        "get the model's own tokenizer.json, or give token ids",
    )
}

/// The vocabulary and the merges.
fn parts(vocab: &Path, merges: &Path) -> Result<(Vocab, Merges)> {
    let entries: Vocab = parse(&read_text_within(vocab, MAX_TOKENIZER)?, |text| serde_json::from_str(text))
        .map_err(|error| match error.to_string() {
        cause if cause.contains("expected a map") => Error::checkpoint(vocab, "must hold a JSON object"),
        cause if error.is_data() => Error::checkpoint(vocab, format!("{NO_TOKENIZER}: {cause}")),
        cause => Error::checkpoint(vocab, format!("is not valid JSON: {cause}")),
    })?;
    let text = read_text_within(merges, MAX_TOKENIZER)?;
    let mut pairs = Vec::new();
    for (line, number) in files::unmarked(&text).lines().zip(1..) {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        let pair = line.split_once(' ').filter(|(_, right)| !right.contains(' '));
        let known = |(left, right): &(&str, &str)| {
            [*left, *right, &[*left, *right].concat()].into_iter().all(|entry| entries.contains_key(entry))
        };
        let Some((left, right)) = pair.filter(known) else {
            let cause = format!("line {number} is no merge of two entries of vocab.json");
            return Err(Error::tokenizer(merges, cause, CHECK));
        };
        pairs.push((left.to_owned(), right.to_owned()));
    }
    Ok((entries, pairs))
}

/// A byte-level BPE.
fn byte_level(
    vocab: Vocab,
    merges: Merges,
    split: Split,
    prefix_space: bool,
) -> tokenizers::Result<Tokenizer> {
    let (normalizer, pre_tokenizer) = split.before(prefix_space);
    let decoder =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let mut inner = Tokenizer::new(BPE::builder().vocab_and_merges(vocab, merges).build()?);
    inner.with_normalizer(serde_json::from_value::<Option<NormalizerWrapper>>(normalizer)?)?;
    inner.with_pre_tokenizer(serde_json::from_value::<Option<PreTokenizerWrapper>>(pre_tokenizer)?);
    inner.with_decoder(Some(serde_json::from_value::<DecoderWrapper>(decoder)?));
    Ok(inner)
}

/// Why a folder has no tokenizer that is read, where it has one in another form.
fn foreign(folder: &Path) -> Option<Error> {
    let has = |name: &str| files::stands(&folder.join(name));
    let reads = "Sluice reads tokenizer.json, or vocab.json with merges.txt";
    if has("tokenizer.model") {
        let form = form_of_model(&folder.join("tokenizer.model"));
        let cause = format!("has tokenizer.model alone, {form}; {reads}");
        return Some(Error::tokenizer(folder, cause, CONVERT));
    }
    if let Some((name, form)) = FOREIGN.iter().find(|(name, _)| has(name)) {
        return Some(Error::tokenizer(folder, format!("has {name} alone, {form}; {reads}"), CONVERT));
    }
    if let Some(name) = tiktoken(folder) {
        let cause = format!("has {name} alone, a tiktoken file; {reads}");
        let next_step =
            "put a tokenizer.json beside it: the same model in the layout of transformers has one";
        return Some(Error::tokenizer(folder, cause, next_step));
    }
    let (there, missing) = match (has("vocab.json"), has("merges.txt")) {
        (true, false) => ("vocab.json", "merges.txt"),
        (false, true) => ("merges.txt", "vocab.json"),
        _ => return None,
    };
    let next_step = format!("put {missing} beside it, or a tokenizer.json");
    Some(Error::tokenizer(folder, format!("has {there} without {missing}; {reads}"), next_step))
}

/// A vocabulary of tiktoken's under a name of its maker's, such as qwen.tiktoken: which words it splits text into stands in
/// code alone.
fn tiktoken(folder: &Path) -> Option<String> {
    let names = files::names(folder).ok()?.into_iter();
    names.filter(|name| name == "tiktoken" || name.ends_with(".tiktoken")).min()
}

/// What a tokenizer.model is: SentencePiece's begins with the tag of its first piece, tiktoken's is text.
fn form_of_model(path: &Path) -> &'static str {
    let start = files::read_within(path, 16).map(|(bytes, _)| bytes).unwrap_or_default();
    match start.as_slice() {
        [0x0A, ..] => "a SentencePiece file",
        bytes if !bytes.is_empty() && bytes.is_ascii() => "a tiktoken file",
        _ => "not a file that is known",
    }
}

/// A failure to read a tokenizer's file as one of the tokenizer: the model is usable on ids.
fn unreadable(error: Error) -> Error {
    let next_step = error.next_step();
    match error {
        Error::Checkpoint { path, cause, fault: Fault::Broken } => Error::tokenizer(path, cause, CHECK),
        Error::Checkpoint { path, cause, .. } | Error::Read { path, cause, .. } => {
            Error::tokenizer(path, cause, next_step)
        }
        error => error,
    }
}

const NO_TOKENIZER: &str = "is not a tokenizer that can be read";
const CHECK: &str = "check that its download is complete";

/// Build a tokenizer from outside data. The library may panic on data it did not expect.
fn guarded(path: &Path, build: impl FnOnce() -> tokenizers::Result<Tokenizer>) -> Result<Tokenizer> {
    let cause = NO_TOKENIZER;
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(Ok(tokenizer)) => Ok(tokenizer),
        Ok(Err(error)) => Err(match error.downcast_ref::<Past>() {
            Some(past) => past_bounds(path, past),
            None => Error::tokenizer(path, format!("{cause}: {error}"), CHECK),
        }),
        Err(_) => Err(Error::tokenizer(path, cause, CHECK)),
    }
}

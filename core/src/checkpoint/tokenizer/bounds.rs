//! What a tokenizer may make of a text: bounds on the stages of its tokenizer.json, taken before any of them is built or run.
//!
//! A stage that puts ten letters in the place of one is harmless, twelve of them make a terabyte of a word, and an allocation
//! that fails cannot be caught. So each stage's growth at worst is known beforehand. A text that could become too much at
//! worst is led through the normalizer in small pieces, stage by stage, and refused where it does.

use std::sync::Arc;

use serde_json::Value;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, NormalizedString, Normalizer as _};

use super::charsmap;

/// Most stages of a part, nested ones counted one by one.
const MOST_STAGES: usize = 64;
/// Bytes that a normalizer may make of one at worst; ALBERT's makes 2,178.
const MOST_NORMALIZED: u64 = 1 << 20;
/// Bytes that what splits a text may make of one at worst; a Metaspace before a ByteLevel makes 8.
const MOST_SPLIT: u64 = 16;
/// Bytes that a decoder may make of one at worst.
const MOST_DECODED: u64 = 64;
/// Times that a template may repeat the text, and ids that it may put around it.
const MOST_REPEATED: u64 = 16;
const MOST_AROUND: u64 = 1 << 16;
/// Most added tokens, and bytes of all of them.
const MOST_ADDED: usize = 1 << 17;
const MOST_ADDED_BYTES: usize = 16 << 20;
/// Bytes that any text may become, and those more for each of its own.
const ALLOWED: u64 = 256 << 10;
const ALLOWED_EACH: u64 = 16;
/// Bytes that a piece of a text may become at worst where a stage is tried in pieces.
const PIECE: u64 = 1 << 20;

/// What is past its bound.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Past(String);

type Outcome<T> = std::result::Result<T, Past>;

/// How much longer a stage makes a text at worst: so many times, and so many bytes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grows {
    times: u64,
    more: u64,
}

impl Grows {
    const NOT: Self = Self { times: 1, more: 0 };

    fn times(times: u64) -> Self {
        Self { times, more: 0 }
    }

    /// This and then another.
    fn then(self, next: Self) -> Self {
        let more = self.more.saturating_mul(next.times).saturating_add(next.more);
        Self { times: self.times.saturating_mul(next.times), more }
    }

    fn of(self, len: u64) -> u64 {
        len.saturating_mul(self.times).saturating_add(self.more)
    }

    /// Of a replacement: `content` for every match of a pattern.
    fn replacing(stage: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().len() as u64;
        let content = text(stage.get("content"));
        match text(stage.pointer("/pattern/String")) {
            // An expression may match nothing, before every byte.
            0 => Self { times: content.saturating_add(1), more: content },
            pattern => Self::times(content.div_ceil(pattern).max(1)),
        }
    }
}

/// The stages of a normalizer, with how each makes a text grow.
#[derive(Clone)]
pub(super) struct Bounds {
    stages: Arc<[(NormalizerWrapper, Grows)]>,
    whole: Grows,
}

impl Bounds {
    /// Of a tokenizer's normalizer.
    pub fn of(normalizer: Option<&NormalizerWrapper>) -> Outcome<Self> {
        let mut stages = Vec::new();
        if let Some(normalizer) = normalizer {
            normalizers(normalizer, &mut stages);
        }
        let (count, whole) = grown(&stages.iter().map(|(_, grows)| *grows).collect::<Vec<_>>());
        within("normalizer", count, whole.times, MOST_NORMALIZED)?;
        Ok(Self { stages: stages.into(), whole })
    }

    /// Fails where there are too many added tokens, or one becomes too long.
    pub fn check_added(&self, tokens: &[AddedToken]) -> Outcome<()> {
        let bytes = tokens.iter().map(|token| token.content.len()).sum::<usize>();
        if tokens.len() > MOST_ADDED || bytes > MOST_ADDED_BYTES {
            let (count, kib) = (tokens.len(), bytes >> 10);
            let most = MOST_ADDED_BYTES >> 10;
            let cause =
                format!("{count} added tokens of {kib} KiB; at most {MOST_ADDED} of {most} KiB are read");
            return Err(Past(cause));
        }
        let mut normalized = tokens.iter().filter(|token| token.normalized);
        normalized.try_for_each(|token| self.check(&token.content))
    }

    /// Fails where the normalizer makes too much of a text.
    pub fn check(&self, text: &str) -> Outcome<()> {
        let allowed = ALLOWED.saturating_add(ALLOWED_EACH.saturating_mul(text.len() as u64));
        if self.whole.of(text.len() as u64) <= allowed {
            return Ok(());
        }
        let mut grown = text.to_owned();
        for (stage, grows) in self.stages.iter() {
            let after = tried(stage, *grows, &grown, allowed).map_err(|error| Past(error.to_string()))?;
            let (len, kib) = (text.len(), allowed >> 10);
            let past = || Past(format!("its normalizer makes more than {kib} KiB of {len} bytes"));
            grown = after.ok_or_else(past)?;
        }
        Ok(())
    }
}

/// A text after a stage, which is run on no more at a time than cannot become too much; none where it is more than allowed.
fn tried(
    stage: &NormalizerWrapper,
    grows: Grows,
    text: &str,
    allowed: u64,
) -> tokenizers::Result<Option<String>> {
    let most = match grows.of(text.len() as u64) <= allowed {
        true => text.len(),
        false => (PIECE.saturating_sub(grows.more) / grows.times) as usize,
    };
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= most).last();
        let first = rest.chars().next().map_or(rest.len(), char::len_utf8);
        let (piece, later) = rest.split_at(end.unwrap_or(first));
        rest = later;
        let mut piece = NormalizedString::from(piece);
        stage.normalize(&mut piece)?;
        out.push_str(piece.get());
        if out.len() as u64 > allowed {
            return Ok(None);
        }
    }
    Ok(Some(out))
}

/// Fails where what splits a text could make it too long.
pub(super) fn check_splitter(part: &PreTokenizerWrapper) -> Outcome<()> {
    let mut stages = Vec::new();
    splitters(part, &mut stages);
    let (count, whole) = grown(&stages);
    within("pre_tokenizer", count, whole.times, MOST_SPLIT)
}

/// Fails where a decoder could make a text too long.
pub(super) fn check_decoder(part: &DecoderWrapper) -> Outcome<()> {
    let mut stages = Vec::new();
    decoders(part, &mut stages);
    let (count, whole) = grown(&stages);
    within("decoder", count, whole.times, MOST_DECODED)
}

/// Fails where a template repeats the text too often, or puts too much around it.
pub(super) fn check_around(part: &PostProcessorWrapper) -> Outcome<()> {
    let mut stages = Vec::new();
    surroundings(part, &mut stages);
    let (count, Grows { times, more }) = grown(&stages);
    within("post_processor", count, times, MOST_REPEATED)?;
    if more > MOST_AROUND {
        return Err(Past(format!(
            "post_processor: puts {more} tokens around a text, at most {MOST_AROUND} are read"
        )));
    }
    Ok(())
}

/// How many stages there are, and what they do one after the other.
fn grown(stages: &[Grows]) -> (usize, Grows) {
    (stages.len(), stages.iter().fold(Grows::NOT, |all, stage| all.then(*stage)))
}

fn within(part: &str, stages: usize, times: u64, most: u64) -> Outcome<()> {
    if stages > MOST_STAGES {
        return Err(Past(format!("{part}: has {stages} stages, at most {MOST_STAGES} are read")));
    }
    if times > most {
        let cause =
            format!("{part}: can make a text {times} times as long, at most {most} times are allowed");
        return Err(Past(cause));
    }
    Ok(())
}

/// A stage as JSON; it was JSON.
fn written(stage: &impl serde::Serialize) -> Value {
    serde_json::to_value(stage).unwrap_or_default()
}

/// Single stages of a normalizer.
fn normalizers(part: &NormalizerWrapper, stages: &mut Vec<(NormalizerWrapper, Grows)>) {
    use NormalizerWrapper as N;
    let grows = match part {
        N::Sequence(inner) => return inner.as_ref().iter().for_each(|part| normalizers(part, stages)),
        // U+FDFA: 3 bytes become 33.
        N::NFKC(_) | N::NFKD(_) => Grows::times(11),
        // U+1D160: 4 bytes become 12.
        N::NFC(_) | N::NFD(_) => Grows::times(3),
        // Two spaces beside a character of three bytes, accents apart, lower case.
        N::BertNormalizer(_) => Grows::times(12),
        N::Lowercase(_) | N::ByteLevel(_) => Grows::times(2),
        N::Precompiled(map) => {
            let map = written(map);
            let bytes = map.get("precompiled_charsmap").and_then(Value::as_str).map_or(0, charsmap::longest);
            Grows::times(bytes.max(1))
        }
        N::Replace(stage) => Grows::replacing(&written(stage)),
        N::Prepend(stage) => Grows { times: 1, more: stage.prepend.len() as u64 },
        N::StripNormalizer(_) | N::StripAccents(_) | N::Nmt(_) => Grows::NOT,
    };
    stages.push((part.clone(), grows));
}

/// Single stages of what splits a text.
fn splitters(part: &PreTokenizerWrapper, stages: &mut Vec<Grows>) {
    use PreTokenizerWrapper as P;
    stages.push(match part {
        P::Sequence(inner) => return inner.as_ref().iter().for_each(|part| splitters(part, stages)),
        P::ByteLevel(_) => Grows::times(2),
        // A space becomes a character of up to four bytes.
        P::Metaspace(_) => Grows::times(4),
        P::BertPreTokenizer(_)
        | P::Delimiter(_)
        | P::Whitespace(_)
        | P::Split(_)
        | P::Punctuation(_)
        | P::WhitespaceSplit(_)
        | P::Digits(_)
        | P::UnicodeScripts(_)
        | P::FixedLength(_) => Grows::NOT,
    });
}

/// Single stages of a decoder.
fn decoders(part: &DecoderWrapper, stages: &mut Vec<Grows>) {
    use DecoderWrapper as D;
    stages.push(match part {
        D::Sequence(inner) => return inner.get_decoders().iter().for_each(|part| decoders(part, stages)),
        D::Replace(stage) => Grows::replacing(&written(stage)),
        // A byte that is no character becomes one of three.
        D::ByteLevel(_) => Grows::times(3),
        // An empty suffix or delimiter stands before every character.
        D::BPE(_) | D::CTC(_) => Grows { times: 2, more: 1 },
        D::WordPiece(_) => Grows { times: 1, more: 1 },
        D::Metaspace(_) | D::Fuse(_) | D::Strip(_) | D::ByteFallback(_) => Grows::NOT,
    });
}

/// Single stages of what stands around a text, in ids.
fn surroundings(part: &PostProcessorWrapper, stages: &mut Vec<Grows>) {
    use PostProcessorWrapper as P;
    stages.push(match part {
        P::Sequence(inner) => return inner.as_ref().iter().for_each(|part| surroundings(part, stages)),
        P::Template(template) => {
            let template = written(template);
            let ids = |piece: &Value| {
                let id = piece.pointer("/SpecialToken/id").and_then(Value::as_str)?;
                Some(template.get("special_tokens")?.get(id)?.get("ids")?.as_array()?.len() as u64)
            };
            let pieces = template.get("single").and_then(Value::as_array);
            let pieces: Vec<&Value> = pieces.into_iter().flatten().collect();
            let times = pieces.iter().filter(|piece| piece.get("Sequence").is_some()).count() as u64;
            let more = pieces.iter().filter_map(|piece| ids(piece)).fold(0, u64::saturating_add);
            Grows { times: times.max(1), more }
        }
        P::Roberta(_) | P::Bert(_) => Grows { times: 1, more: 2 },
        P::ByteLevel(_) => Grows::NOT,
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Bounds of a normalizer, or the check of another part.
    fn of(part: &str, value: &Value) -> Result<Bounds, String> {
        let text = value.to_string();
        let checked = match part {
            "normalizer" => Bounds::of(Some(&serde_json::from_str(&text).unwrap())),
            "pre_tokenizer" => check_splitter(&serde_json::from_str(&text).unwrap()).and(Bounds::of(None)),
            "decoder" => check_decoder(&serde_json::from_str(&text).unwrap()).and(Bounds::of(None)),
            _ => check_around(&serde_json::from_str(&text).unwrap()).and(Bounds::of(None)),
        };
        checked.map_err(|past| past.0)
    }

    fn replace(pattern: &str, content: &str) -> Value {
        json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
    }

    fn sequence(stages: &[Value]) -> Value {
        json!({"type": "Sequence", "normalizers": stages, "decoders": stages, "pretokenizers": stages,
               "processors": stages})
    }

    #[test]
    fn stages_that_make_one_many_are_refused() {
        let ten = replace("a", &"a".repeat(10));
        let cause = of("normalizer", &sequence(&vec![ten.clone(); 12])).err().unwrap();
        assert_eq!(
            cause,
            "normalizer: can make a text 1000000000000 times as long, at most 1048576 times are allowed"
        );
        let nested = sequence(&[sequence(&vec![ten.clone(); 4]), sequence(&vec![ten.clone(); 4])]);
        assert!(of("normalizer", &nested).is_err());
        assert!(of("decoder", &sequence(&vec![ten; 2])).is_err());
        assert!(
            of("normalizer", &sequence(&vec![json!({"type": "NFC"}); 65]))
                .is_err_and(|cause| cause.contains("65 stages"))
        );
        let bytes =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        assert!(of("pre_tokenizer", &sequence(&vec![bytes.clone(); 20])).is_err());
        assert!(of("pre_tokenizer", &sequence(&[bytes])).is_ok());
        let space =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
        assert!(of("pre_tokenizer", &sequence(&vec![space; 3])).is_err());
    }

    #[test]
    fn a_template_repeats_neither_text_nor_tokens_without_end() {
        let template = |single: Vec<Value>, ids: usize| {
            json!({"type": "TemplateProcessing", "single": single, "pair": [],
                   "special_tokens": {"x": {"id": "x", "ids": vec![7; ids], "tokens": vec!["x"; ids]}}})
        };
        let text = || json!({"Sequence": {"id": "A", "type_id": 0}});
        let token = || json!({"SpecialToken": {"id": "x", "type_id": 0}});
        assert!(of("post_processor", &template(vec![token(), text(), token()], 3)).is_ok());
        assert!(of("post_processor", &template(vec![text(); 17], 1)).is_err());
        assert!(of("post_processor", &sequence(&vec![template(vec![text(); 2], 1); 5])).is_err());
        let cause = of("post_processor", &template(vec![token(); 300], 300)).err().unwrap();
        assert!(cause.contains("90000 tokens"), "{cause}");
    }

    #[test]
    fn what_grows_within_bounds_is_tried_stage_by_stage() {
        let ten = replace("a", &"a".repeat(10));
        let five = of("normalizer", &sequence(&vec![ten; 5])).unwrap();
        assert!(five.check("bcdefgh bcdefgh bcdefgh").is_ok(), "nothing in it grows");
        assert!(five.check("once").is_ok() && five.check("aa").is_ok());
        let cause = five.check("banana").unwrap_err().to_string();
        assert!(cause.contains("more than 256 KiB of 6 bytes"), "{cause}");
        let long = of("normalizer", &json!({"type": "NFKC"})).unwrap();
        assert!(long.check(&"\u{FDFA}".repeat(100_000)).is_ok(), "33 bytes of 3 are what NFKC is for");
        let around = of("normalizer", &json!({"type": "Prepend", "prepend": "x".repeat(300 << 10)})).unwrap();
        assert!(around.check("a").is_err());
        // Before every character, and once at the end.
        let expression = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "y".repeat(1 << 16)});
        assert!(of("normalizer", &expression).unwrap().check("banana bread").is_err());
    }

    #[test]
    fn added_tokens_are_counted_and_normalized_within_bounds() {
        let ten = of("normalizer", &sequence(&vec![replace("a", &"a".repeat(10)); 6])).unwrap();
        let token = |content: &str, special: bool| [AddedToken::from(content, special)];
        assert!(ten.check_added(&token("a", true)).is_ok() && ten.check_added(&token("b", false)).is_ok());
        assert!(ten.check_added(&token("a", false)).is_err(), "normalized");
        let many: Vec<AddedToken> =
            (0..140_000).map(|number| AddedToken::from(number.to_string(), true)).collect();
        let cause = ten.check_added(&many).unwrap_err().to_string();
        assert!(cause.contains("140000 added tokens"), "{cause}");
        assert!(ten.check_added(&token(&"b".repeat(17 << 20), true)).is_err());
    }
}

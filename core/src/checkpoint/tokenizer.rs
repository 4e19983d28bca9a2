//! Text to ids and back, and tokens as chips that never pretend to be characters they are not.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::json::read_text;
use crate::error::{Error, Result};

/// A tokenizer and how its tokens spell bytes.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    spelling: Spelling,
    kind: &'static str,
    bos: Bos,
}

/// How a vocabulary entry stands for bytes.
#[derive(Clone, Debug)]
enum Spelling {
    /// GPT-2: every byte has a printable character.
    ByteLevel(HashMap<char, u8>),
    /// SentencePiece: `▁` is a space, `<0x0A>` a byte.
    SentencePiece,
}

/// What tokenizer_config.json asks beyond tokenizer.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bos {
    AsTokenizer,
    Always(u32),
    Never(u32),
}

/// A token as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Visible text: `·` for a space, `↵` for a line end, `<0xE4>` for a byte of a partial character.
    pub text: String,
    /// What it stands for; empty for special and unknown tokens.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("kind", &self.kind).field("bos", &self.bos).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// The tokenizer of a folder: tokenizer.json, or vocab.json with merges.txt, or none.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let settings = folder.join("tokenizer_config.json");
        let settings: Option<Value> =
            if settings.is_file() { serde_json::from_str(&read_text(&settings)?).ok() } else { None };
        let json = folder.join("tokenizer.json");
        if json.is_file() {
            return Self::from_json(&json, &read_text(&json)?, settings.as_ref()).map(Some);
        }
        let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
        if !(vocab.is_file() && merges.is_file()) {
            return Ok(None);
        }
        let build = || -> tokenizers::Result<tokenizers::Tokenizer> {
            let (Some(vocab), Some(merges)) = (vocab.to_str(), merges.to_str()) else {
                return Err("the folder's name is not UTF-8".into());
            };
            let mut inner = tokenizers::Tokenizer::new(BPE::from_file(vocab, merges).build()?);
            inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
            inner.with_decoder(Some(ByteLevel::default()));
            Ok(inner)
        };
        let inner = guarded(&vocab, build)?;
        Ok(Some(Self::new(inner, "vocab.json + merges.txt", settings.as_ref())))
    }

    /// From the text of a tokenizer.json.
    pub fn from_json(path: &Path, json: &str, settings: Option<&Value>) -> Result<Self> {
        let inner = guarded(path, || tokenizers::Tokenizer::from_bytes(json))?;
        Ok(Self::new(inner, "tokenizer.json", settings))
    }

    fn new(mut inner: tokenizers::Tokenizer, kind: &'static str, settings: Option<&Value>) -> Self {
        // Settings of whoever trained on batches; a prompt is neither cut nor filled up.
        inner.with_padding(None);
        drop(inner.with_truncation(None));
        let decoder =
            inner.get_decoder().and_then(|decoder| serde_json::to_string(decoder).ok()).unwrap_or_default();
        let spelling = if decoder.contains("ByteLevel") {
            Spelling::ByteLevel(byte_level().map(|(byte, c)| (c, byte)).collect())
        } else {
            Spelling::SentencePiece
        };
        let bos = bos(&inner, settings);
        Self { inner, spelling, kind, bos }
    }

    /// `tokenizer.json` or `vocab.json + merges.txt`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Entries of the vocabulary, added tokens included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Ids of `text`; with `special`, BOS and the like as the tokenizer adds them.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encode = || self.inner.encode(text, special);
        let encoding = catch_unwind(AssertUnwindSafe(encode))
            .map_err(|_| Error::Input("the tokenizer failed on this text".into()))?
            .map_err(|error| Error::Input(format!("the tokenizer refused this text: {error}")))?;
        let mut ids = encoding.get_ids().to_vec();
        if special {
            match self.bos {
                Bos::Always(bos) if ids.first() != Some(&bos) => ids.insert(0, bos),
                Bos::Never(bos) if ids.first() == Some(&bos) => drop(ids.remove(0)),
                _ => {}
            }
        }
        Ok(ids)
    }

    /// Text of `ids`, special tokens left out; bytes that are no character become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        catch_unwind(AssertUnwindSafe(|| self.inner.decode(ids, true)))
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    }

    /// Text that `ids` add after `before`: what a reader sees appended.
    pub fn continuation(&self, before: &[u32], ids: &[u32]) -> String {
        let all: Vec<u32> = before.iter().chain(ids).copied().collect();
        let (start, whole) = (self.decode(before), self.decode(&all));
        match whole.strip_prefix(&start) {
            Some(rest) => rest.to_owned(),
            None => self.decode(ids),
        }
    }

    /// A token as a chip.
    pub fn piece(&self, id: u32) -> Piece {
        let Some(token) = self.inner.id_to_token(id) else {
            return Piece { text: format!("<id {id}>"), bytes: Vec::new() };
        };
        let special = self.inner.get_added_tokens_decoder().get(&id).is_some_and(|added| added.special);
        if special {
            return Piece { text: token, bytes: Vec::new() };
        }
        let bytes = self.bytes(&token);
        Piece { text: visible(&bytes), bytes }
    }

    /// The true text of a token: its bytes as UTF-8, those that are no character as `\xE4`; special tokens by name.
    pub fn exact(&self, id: u32) -> String {
        match self.inner.get_added_tokens_decoder().get(&id) {
            // Added tokens are written as they are, whatever the vocabulary's spelling.
            Some(added) => added.content.clone(),
            None => match self.inner.id_to_token(id) {
                Some(token) => escaped(&self.bytes(&token)),
                None => format!("<id {id}>"),
            },
        }
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        match &self.spelling {
            Spelling::ByteLevel(table) => {
                let bytes: Option<Vec<u8>> = token.chars().map(|c| table.get(&c).copied()).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Spelling::SentencePiece => match hex_byte(token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
        }
    }
}

/// Build a tokenizer from outside data. The library may panic on data it did not expect.
fn guarded(
    path: &Path,
    build: impl FnOnce() -> tokenizers::Result<tokenizers::Tokenizer>,
) -> Result<tokenizers::Tokenizer> {
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(Ok(tokenizer)) => Ok(tokenizer),
        Ok(Err(error)) => {
            Err(Error::checkpoint(path, format!("is not a tokenizer that can be read: {error}")))
        }
        Err(_) => Err(Error::checkpoint(path, "is not a tokenizer that can be read")),
    }
}

/// `add_bos_token` counts for Llama's classes only, whose Python code adds BOS itself.
fn bos(inner: &tokenizers::Tokenizer, settings: Option<&Value>) -> Bos {
    let Some(settings) = settings else { return Bos::AsTokenizer };
    let class = settings.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
    let token = match settings.get("bos_token") {
        Some(Value::String(token)) => Some(token.as_str()),
        Some(Value::Object(token)) => token.get("content").and_then(Value::as_str),
        _ => None,
    };
    let Some(id) = token.and_then(|token| inner.token_to_id(token)) else { return Bos::AsTokenizer };
    match settings.get("add_bos_token").and_then(Value::as_bool) {
        Some(true) => Bos::Always(id),
        Some(false) if class.contains("Llama") => Bos::Never(id),
        None if class.contains("Llama") => Bos::Always(id),
        _ => Bos::AsTokenizer,
    }
}

/// GPT-2's table: printable bytes stand for themselves, the others for U+0100 upwards.
fn byte_level() -> impl Iterator<Item = (u8, char)> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    (0..=255u8).map(move |byte| {
        if printable(byte) {
            return (byte, char::from(byte));
        }
        next += 1;
        (byte, char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER))
    })
}

/// `<0x0A>`
fn hex_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let digits = hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if digits { u8::from_str_radix(hex, 16).ok() } else { None }
}

/// Bytes as visible text.
fn visible(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ' ' => text.push('·'),
                '\n' => text.push('↵'),
                '\t' => text.push('→'),
                c if c.is_control() || is_invisible(c) => text.push_str(&format!("<U+{:04X}>", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("<0x{byte:02X}>"));
        }
    }
    text
}

/// Bytes as text, `\xE4` where they are no character.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

/// Characters without a picture of their own: joiners, direction marks, byte order mark, odd spaces.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00A0}' | '\u{00AD}' | '\u{2000}'..='\u{200F}' | '\u{2028}'..='\u{202F}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{3000}' | '\u{FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_table_is_one_to_one() {
        let chars: std::collections::BTreeSet<char> = byte_level().map(|(_, c)| c).collect();
        assert_eq!(chars.len(), 256);
        assert!(byte_level().any(|pair| pair == (b' ', 'Ġ')));
    }

    #[test]
    fn partial_characters_show_as_bytes() {
        assert_eq!(visible(&[b'a', 0xE4, 0xB8]), "a<0xE4><0xB8>");
        assert_eq!(visible("\n x".as_bytes()), "↵·x");
        assert_eq!(visible("\u{200B}\u{7}".as_bytes()), "<U+200B><U+0007>");
    }

    #[test]
    fn bytes_that_are_no_character_are_escaped() {
        assert_eq!(escaped(&[b' ', b'a', 0xE4, 0xB8, b'\n']), " a\\xE4\\xB8\n");
        assert_eq!(escaped("漢 \u{200D}".as_bytes()), "漢 \u{200D}");
    }

    #[test]
    fn only_two_hex_digits_are_a_byte() {
        assert_eq!(hex_byte("<0x0A>"), Some(10));
        assert_eq!(hex_byte("<0x+A>"), None);
        assert_eq!(hex_byte("<0x0>"), None);
    }
}

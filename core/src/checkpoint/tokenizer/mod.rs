//! Text to ids and back, and tokens as chips that never pretend to be characters they are not.
//!
//! | file | what |
//! |---|---|
//! | `open.rs` | from a folder's files to a tokenizer of the tokenizers library |
//! | `class.rs` | what each tokenizer class of transformers does beyond its files |
//! | `settings.rs` | tokenizer_config.json, special_tokens_map.json, added_tokens.json |
//! | `special.rs` | added and special tokens, and what stands around a text |
//! | `prefix.rs` | the space in front of a text |
//! | `spelling.rs` | vocabulary entries as bytes, bytes as text |

mod class;
mod open;
mod prefix;
mod settings;
mod special;
mod spelling;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use settings::Settings;
pub(crate) use spelling::escaped;
use spelling::{Spelling, visible};
use tokenizers::{Encoding, Token};

use crate::error::{Error, Result};

/// A tokenizer and how its tokens spell bytes.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    spelling: Spelling,
    kind: &'static str,
    front: Vec<u32>,
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
        f.debug_struct("Tokenizer")
            .field("kind", &self.kind)
            .field("front", &self.front)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// The tokenizer of a folder, as transformers reads it: tokenizer.json, or vocab.json with merges.txt by the folder's
    /// tokenizer class; none where it has no tokenizer at all.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where there is one that cannot be read: the model still works on ids. Others where the settings
    /// beside it cannot be read, since text would silently become other ids.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        Ok(open::folder(folder)?.map(|(inner, kind)| Self::new(inner, kind)))
    }

    /// From the text of a tokenizer.json alone.
    pub fn from_json(path: &Path, json: &str) -> Result<Self> {
        Ok(Self::new(open::json(path, json, &mut Settings::default(), None)?, "tokenizer.json"))
    }

    fn new(mut inner: tokenizers::Tokenizer, kind: &'static str) -> Self {
        // Settings of whoever trained on batches; a prompt is neither cut nor filled up.
        inner.with_padding(None);
        drop(inner.with_truncation(None));
        let spelling = Spelling::of(&inner);
        let mut tokenizer = Self { inner, spelling, kind, front: Vec::new() };
        tokenizer.front = tokenizer.in_front();
        tokenizer
    }

    /// What [`Tokenizer::encode`] puts before a text, found on a token that no vocabulary has.
    fn in_front(&self) -> Vec<u32> {
        let text = Encoding::from_tokens(vec![Token::new(u32::MAX, "a".into(), (0, 1))], 0);
        let framed = catch_unwind(AssertUnwindSafe(|| self.inner.post_process(text, None, true)));
        let Ok(Ok(framed)) = framed else { return Vec::new() };
        framed.get_ids().split(|id| *id == u32::MAX).next().unwrap_or_default().to_vec()
    }

    /// Ids that stand before every text: BOS, where the tokenizer adds it.
    pub fn front(&self) -> &[u32] {
        &self.front
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
        Ok(encoding.get_ids().to_vec())
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
        let bytes = self.spelling.bytes(&token);
        Piece { text: visible(&bytes), bytes }
    }

    /// The true text of a token: its bytes as UTF-8, those that are no character as `\xE4`; special tokens by name.
    pub fn exact(&self, id: u32) -> String {
        match self.inner.get_added_tokens_decoder().get(&id) {
            // Added tokens are written as they are, whatever the vocabulary's spelling.
            Some(added) => added.content.clone(),
            None => match self.inner.id_to_token(id) {
                Some(token) => escaped(&self.spelling.bytes(&token)),
                None => format!("<id {id}>"),
            },
        }
    }
}

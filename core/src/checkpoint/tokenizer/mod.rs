//! Text to ids and back, and tokens as chips that never pretend to be characters they are not.
//!
//! | file | what |
//! |---|---|
//! | `bounds.rs` | what the stages may make of a text, checked before they are built or run |
//! | `charsmap.rs` | SentencePiece's precompiled normalizer, as far as its lengths |
//! | `open.rs` | from a folder's files to a tokenizer of the tokenizers library |
//! | `parts.rs` | a tokenizer.json's parts, each read once |
//! | `class.rs` | what each tokenizer class of transformers does beyond its files |
//! | `settings.rs` | tokenizer_config.json, special_tokens_map.json, added_tokens.json |
//! | `special.rs` | added and special tokens, and what stands around a text |
//! | `prefix.rs` | the space in front of a text |
//! | `spelling.rs` | vocabulary entries as bytes, bytes as text |

mod bounds;
mod charsmap;
mod class;
mod open;
mod parts;
mod prefix;
mod settings;
mod special;
mod spelling;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bounds::Bounds;
use serde_json::Value;
use settings::Settings;
pub(crate) use spelling::escaped;
use spelling::{Spelling, visible};
use tokenizers::{Encoding, ModelWrapper, Token};

use super::json::{parse_object, read_text};
use crate::error::{Error, Result};
use crate::files;

/// How long a text may take, and so much more for each [`TEXT`] bytes of it. Real tokenizers take a thousandth of that.
const PATIENCE: Duration = Duration::from_secs(10);
const TEXT: usize = 64 << 10;

/// A tokenizer and how its tokens spell bytes.
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    bounds: Bounds,
    /// Whether a text took too long: nothing more is tried, since it still goes on.
    stuck: AtomicBool,
    /// Whether its decoder searches with expressions.
    searches: bool,
    spelling: Spelling,
    kind: &'static str,
    front: Vec<u32>,
    warnings: Vec<String>,
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
        let config = folder.join("config.json");
        let config =
            if files::stands(&config) { Some(parse_object(&config, &read_text(&config)?)?) } else { None };
        Self::of(folder, config.as_ref())
    }

    /// The same beside a config.json that was read.
    pub(super) fn of(folder: &Path, config: Option<&Value>) -> Result<Option<Self>> {
        open::folder(folder, config)?.map(|(inner, kind)| Self::new(folder, inner, kind)).transpose()
    }

    /// From the text of a tokenizer.json alone.
    pub fn from_json(path: &Path, json: &str) -> Result<Self> {
        Self::new(path, open::json(path, json, &mut Settings::default(), None)?, "tokenizer.json")
    }

    fn new(path: &Path, mut inner: tokenizers::Tokenizer, kind: &'static str) -> Result<Self> {
        // Settings of whoever trained on batches; a prompt is neither cut nor filled up.
        inner.with_padding(None);
        drop(inner.with_truncation(None));
        let warnings = without_draws(&mut inner).into_iter().collect();
        let bounds = Bounds::of(inner.get_normalizer()).map_err(|past| open::past_bounds(path, &past))?;
        let spelling = Spelling::of(&inner);
        let decoder = inner.get_decoder().and_then(|decoder| serde_json::to_string(decoder).ok());
        let mut tokenizer = Self {
            inner: Arc::new(inner),
            bounds,
            stuck: AtomicBool::new(false),
            searches: decoder.is_some_and(|decoder| decoder.contains("\"Regex\"")),
            spelling,
            kind,
            front: Vec::new(),
            warnings,
        };
        tokenizer.front = tokenizer.in_front();
        Ok(tokenizer)
    }

    /// What to know about it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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
    ///
    /// # Errors
    /// A text that the tokenizer fails on, makes too much of, or does not come to an end with.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let (inner, bounds, owned) = (Arc::clone(&self.inner), self.bounds.clone(), text.to_owned());
        let ids = self.in_time(text.len(), move || {
            bounds.check(&owned).map_err(|past| past.to_string())?;
            let encoding = inner.encode(owned.as_str(), special).map_err(|error| error.to_string())?;
            Ok(encoding.get_ids().to_vec())
        })?;
        ids.map_err(|cause: String| Error::Input(format!("the tokenizer refused this text: {cause}")))
    }

    /// Text of `ids`, special tokens left out; bytes that are no character become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        if !self.searches {
            return catch_unwind(AssertUnwindSafe(|| self.inner.decode(ids, true)))
                .ok()
                .and_then(Result::ok)
                .unwrap_or_default();
        }
        let (inner, owned) = (Arc::clone(&self.inner), ids.to_vec());
        let text = self.in_time(ids.len(), move || inner.decode(&owned, true));
        text.ok().and_then(|text| text.ok()).unwrap_or_default()
    }

    /// What the library makes of an input of some length, unless it fails or does not come to an end: expressions of a file
    /// can search for ever.
    fn in_time<T: Send + 'static>(&self, len: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let patience = PATIENCE + Duration::from_secs((len / TEXT) as u64);
        let too_long = || {
            let cause =
                format!("the tokenizer has not come to an end with a text for {} s", patience.as_secs());
            Error::asked(cause, "give token ids, or open a checkpoint with another tokenizer.json")
        };
        if self.stuck.load(Ordering::Acquire) {
            return Err(too_long());
        }
        let deadline = Instant::now() + patience;
        match files::apart(move || catch_unwind(AssertUnwindSafe(work)), &|| Instant::now() >= deadline) {
            Ok(Some(done)) => done.map_err(|_| Error::Input("the tokenizer failed on this text".into())),
            Ok(None) => {
                self.stuck.store(true, Ordering::Release);
                Err(too_long())
            }
            Err(error) => Err(Error::Input(format!("the tokenizer cannot be asked: {error}"))),
        }
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

/// Switch off merges that are left out at random, as is done in training: a prompt has the same ids each time. Says so.
fn without_draws(inner: &mut tokenizers::Tokenizer) -> Option<String> {
    let ModelWrapper::BPE(model) = inner.get_model() else { return None };
    let dropout = model.dropout.filter(|dropout| *dropout != 0.0)?;
    let mut model = model.clone();
    model.dropout = None;
    inner.with_model(ModelWrapper::BPE(model));
    Some(format!("tokenizer.json leaves out merges at random (dropout {dropout}); all of them are done"))
}

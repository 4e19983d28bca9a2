//! A prompt, and how it becomes what the model reads.

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{Engine, memory};
use crate::checkpoint::{Picture, Preprocessor, Tokenizer};
use crate::error::{Error, Load, Result};
use crate::model::{ImageRows, Input, Spec, VisionSpec, vision};

/// Pictures kept.
const MOST_PICTURES: usize = 8;

/// Why a checkpoint takes no picture.
pub(super) const TEXT_ONLY: &str = "this checkpoint reads text only: it has no image tower";

/// What a model is asked to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prompt {
    /// What was typed.
    pub words: Words,
    /// What it is about, for checkpoints that read images: stands where the words have their image token, else in front.
    pub image: Option<Picture>,
}

impl Prompt {
    /// The prompt of a list's entry: a text or ids, and a picture's file in `folder`.
    ///
    /// # Errors
    /// Both or none of the two, and a picture that cannot be read.
    pub fn of_entry(
        text: Option<String>,
        tokens: Option<Vec<u32>>,
        image: Option<&Path>,
        folder: &Path,
    ) -> Result<Self> {
        let words = match (text, tokens) {
            (Some(text), None) => Words::Text(text),
            (None, Some(ids)) => Words::Tokens(ids),
            _ => return Err(Error::Input("it has one of prompt and tokens".into())),
        };
        Ok(Self { words, image: image.map(|path| Picture::read(&folder.join(path))).transpose()? })
    }
}

/// A prompt's words as typed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// Text, tokenised with the checkpoint's tokenizer (BOS as the tokenizer does).
    Text(String),
    /// Text with its special tokens written out, as a chat template gives it: nothing added.
    Written(String),
    /// Ids, nothing added.
    Tokens(Vec<u32>),
}

impl Words {
    /// Their text; `None` of ids.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Written(text) => Some(text),
            Self::Tokens(_) => None,
        }
    }

    /// Their ids. `reader`: the tokenizer, or why there is none, where that is known.
    ///
    /// # Errors
    /// Text without a tokenizer to read it.
    pub(super) fn ids(&self, reader: Result<Option<&Tokenizer>, &Error>) -> Result<Vec<u32>> {
        let (text, special) = match self {
            Self::Text(text) => (text, true),
            Self::Written(text) => (text, false),
            Self::Tokens(ids) => return Ok(ids.clone()),
        };
        match reader {
            Ok(Some(tokenizer)) => tokenizer.encode(text, special),
            Ok(None) => Err(Error::NoTokenizer("it reads token ids such as 1, 2, 3 instead of text")),
            Err(error) => Err(Error::Reported {
                cause: format!("no text without a tokenizer: {error}"),
                next_step: format!("{}; or give token ids such as 1, 2, 3", error.next_step()),
            }),
        }
    }
}

impl From<Words> for Prompt {
    fn from(words: Words) -> Self {
        Self { words, image: None }
    }
}

/// As a prompt box holds it.
impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) | Self::Written(text) => f.write_str(text),
            Self::Tokens(ids) => f.write_str(&ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Pictures as the model reads them, by fingerprint, newest last: the image tower runs once per picture.
#[derive(Default)]
pub(super) struct Pictures(Vec<(u64, Arc<ImageRows>)>);

impl Pictures {
    /// The rows of a picture, taken out; [`Pictures::keep`] puts them back as the newest.
    fn take(&mut self, key: u64) -> Option<Arc<ImageRows>> {
        let index = self.0.iter().position(|(known, _)| *known == key)?;
        Some(self.0.remove(index).1)
    }

    fn keep(&mut self, key: u64, rows: &Arc<ImageRows>) {
        self.0.push((key, Arc::clone(rows)));
        self.0.drain(..self.0.len().saturating_sub(MOST_PICTURES));
    }
}

impl Engine {
    /// What the model reads of a prompt.
    ///
    /// # Errors
    /// Where the checkpoint lacks what the prompt needs: a tokenizer for text, an image tower for a picture.
    pub fn input(&mut self, prompt: &Prompt) -> Result<Input> {
        let ids = self.ids(&prompt.words)?;
        match &prompt.image {
            Some(picture) => {
                let rows = self.rows_of(picture)?;
                self.about(rows, &ids)
            }
            None => Ok(ids.into()),
        }
    }

    /// A picture as the model reads it, kept for the next time.
    fn rows_of(&mut self, picture: &Picture) -> Result<Arc<ImageRows>> {
        let key = picture.fingerprint();
        let rows = match self.pictures.take(key) {
            Some(rows) => rows,
            None => {
                let label = format!("reading {}", picture.name());
                (self.report)(&label, 0, 1);
                let rows = self.look(picture.pixels());
                (self.report)(&label, 1, 1);
                rows?
            }
        };
        self.pictures.keep(key, &rows);
        Ok(rows)
    }

    /// Ids of a text, with BOS as the tokenizer does.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`], or a text that the tokenizer fails on.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.ids(&Words::Text(text.into()))
    }

    /// Ids of a prompt's words.
    pub(super) fn ids(&self, words: &Words) -> Result<Vec<u32>> {
        words.ids(self.no_tokenizer.as_ref().map_or(Ok(self.tokenizer.as_deref()), Err))
    }

    /// A picture as the language model reads it.
    ///
    /// # Errors
    /// [`Error::NoImages`], or a picture that cannot be prepared.
    pub fn look(&self, picture: &RgbImage) -> Result<Arc<ImageRows>> {
        let preprocessor = for_pictures(self.preprocessor.as_ref(), &self.model.spec)?;
        if let Some(vision) = &self.model.spec.vision {
            check_picture(&self.model.spec, vision)?;
        }
        self.see(&preprocessor.pixels(picture)?)
    }

    /// An image as the language model reads it. `pixels` `[1, 3, side, side]`, normalised as the checkpoint says.
    ///
    /// # Errors
    /// [`Error::NoImages`], pixels of another size than the tower's, or more rows than the model reads or than there is
    /// memory for.
    pub fn see(&self, pixels: &Tensor) -> Result<Arc<ImageRows>> {
        let (Some(spec), Some(weights)) = (&self.model.spec.vision, &self.model.weights.vision) else {
            return Err(Error::NoImages(TEXT_ONLY));
        };
        check_picture(&self.model.spec, spec)?;
        let rows = vision::project(spec, weights, &vision::tower(spec, weights, pixels)?)?;
        Ok(Arc::new(ImageRows { rows, token: spec.image_token }))
    }

    /// A prompt about an image: one image token in it makes room for all of the image's rows; without one the image
    /// stands in front of the text, after BOS.
    ///
    /// # Errors
    /// Several image tokens in the prompt that are not as many as the picture has rows.
    pub fn about(&self, image: Arc<ImageRows>, ids: &[u32]) -> Result<Input> {
        let (rows, token) = (image.rows.dim(0)?, image.token);
        let (tokenizer, bos) = (self.tokenizer.as_deref(), self.model.spec.bos);
        Input::with_image(with_room(ids, (tokenizer, bos), token, rows), image)
    }
}

/// Refuse a picture of more rows than the model reads, or than the tower has memory for.
fn check_picture(spec: &Spec, vision: &VisionSpec) -> Result<()> {
    if vision.tokens() > spec.context {
        return Err(Error::Context { tokens: vision.tokens(), context: spec.context });
    }
    memory::check(Load::Picture(vision.rows() as u64), memory::picture_bytes(vision))
}

/// Ids with room for the `rows` of a picture: in the place of their one image token, else where the text begins.
pub(super) fn with_room(
    ids: &[u32],
    (tokenizer, bos): (Option<&Tokenizer>, Option<u32>),
    token: u32,
    rows: usize,
) -> Vec<u32> {
    let mut wide = ids.to_vec();
    let first = wide.iter().position(|&id| id == token);
    if wide.iter().filter(|&&id| id == token).count() < 2 {
        let front = tokenizer.map(Tokenizer::front).unwrap_or_default();
        let place = first.unwrap_or_else(|| text_begins(front, bos, &wide));
        wide.splice(place..place + usize::from(first.is_some()), std::iter::repeat_n(token, rows));
    }
    wide
}

/// Where a text begins in its ids: behind what the tokenizer puts in front, which config.json need not name, or behind BOS.
pub(super) fn text_begins(front: &[u32], bos: Option<u32>, ids: &[u32]) -> usize {
    if !front.is_empty() && ids.starts_with(front) {
        return front.len();
    }
    usize::from(bos.is_some() && ids.first().copied() == bos)
}

/// What prepares pictures, or why there are none to prepare.
pub(super) fn for_pictures<'a>(
    preprocessor: Option<&'a Preprocessor>,
    spec: &Spec,
) -> Result<&'a Preprocessor> {
    let cause = match spec.vision {
        Some(_) => "the preprocessor's config of this checkpoint cannot be used",
        None => TEXT_ONLY,
    };
    preprocessor.ok_or(Error::NoImages(cause))
}

//! Prompts and texts as tokens without a model: config and tokenizer are read, no weight is.

use std::path::Path;
use std::sync::Arc;

use super::prompt::with_room;
use super::text::read_file;
use super::tokens::{Token, shown};
use super::{CalibrationText, Prompt};
use crate::checkpoint::{Checkpoint, Tokenizer};
use crate::error::{Error, Result};
use crate::model::{Spec, family};

/// What turns text into tokens, as an engine of the same checkpoint does.
pub struct Reader {
    spec: Spec,
    tokenizer: Option<Tokenizer>,
    /// Why there is none, where one cannot be read.
    no_tokenizer: Option<Error>,
}

impl Reader {
    /// Read config and tokenizer.
    ///
    /// # Errors
    /// A config or settings of a tokenizer that cannot be used.
    pub fn open(checkpoint: &Checkpoint) -> Result<Self> {
        let spec = family::read(checkpoint.config())?.spec;
        let (tokenizer, no_tokenizer) = match checkpoint.tokenizer() {
            Ok(tokenizer) => (tokenizer, None),
            Err(error @ Error::Tokenizer { .. }) => (None, Some(error)),
            Err(error) => return Err(error),
        };
        Ok(Self { spec, tokenizer, no_tokenizer })
    }

    /// The tokens of a prompt, by position: those that stand for its picture are counted.
    ///
    /// # Errors
    /// Text without a tokenizer, an id past the vocabulary, or a picture for a checkpoint that takes none.
    pub fn tokens(&self, prompt: &Prompt) -> Result<Arc<[Token]>> {
        let ids = prompt.words.ids(self.no_tokenizer.as_ref().map_or(Ok(self.tokenizer.as_ref()), Err))?;
        if prompt.image.is_none() {
            return self.shown(&ids, None);
        }
        let Some(vision) = &self.spec.vision else { return Err(Error::NoImages(super::prompt::TEXT_ONLY)) };
        let image = vision.image_token;
        let ids = with_room(&ids, (self.tokenizer.as_ref(), self.spec.bos), image, vision.tokens());
        let (places, rows) = (ids.iter().filter(|&&id| id == image).count(), vision.tokens());
        if places != rows {
            return Err(Error::Input(format!(
                "the prompt has {places} image tokens, the image becomes {rows}"
            )));
        }
        self.shown(&ids, Some(image))
    }

    /// The tokens of a text file, as studies of a text read it.
    ///
    /// # Errors
    /// A file that cannot be read, or an id that is none.
    pub fn text(&self, file: &Path) -> Result<(CalibrationText, Arc<[Token]>)> {
        let text = read_file(file, 0, self.tokenizer.as_ref())?;
        let tokens = self.shown(&text.ids, None)?;
        Ok((text, tokens))
    }

    fn shown(&self, ids: &[u32], image: Option<u32>) -> Result<Arc<[Token]>> {
        let vocab = self.spec.vocab;
        match ids.iter().find(|&&id| id as usize >= vocab) {
            Some(id) => Err(Error::Input(format!("token id {id} is past the vocabulary of {vocab}"))),
            None => Ok(shown(ids, image, self.tokenizer.as_ref(), &self.spec)),
        }
    }
}

//! What there is to say about an open checkpoint.

use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;

use super::prompt::{for_pictures, text_begins};
use super::{Prompt, Words};
use crate::checkpoint::{Picture, Preprocessor};
use crate::error::{Error, Result};
use crate::figure::Provenance;
use crate::model::Spec;
use crate::plan::Plan;
use crate::rng;

/// An open checkpoint, for the model card.
#[derive(Clone, Debug)]
pub struct Card {
    /// Folder name, or `bundled`.
    pub name: String,
    /// Where it is; none = compiled in.
    pub folder: Option<PathBuf>,
    /// Content fingerprint.
    pub fingerprint: String,
    /// The architecture.
    pub spec: Arc<Spec>,
    /// Parameters, tied ones counted once.
    pub parameters: u64,
    /// Bytes on disk.
    pub bytes_file: u64,
    /// Bytes held in memory.
    pub bytes_resident: u64,
    /// What matrices are held in, `bf16` or `f32, bf16`.
    pub held: String,
    /// Arithmetic, `f32`.
    pub dtype: &'static str,
    /// `tokenizer.json`, `vocab.json + merges.txt` or `none`.
    pub tokenizer: String,
    /// Ids that the tokenizer puts before a text.
    pub front: Vec<u32>,
    /// What to know about it: non-finite weights, ignored fields, ids only.
    pub warnings: Vec<String>,
    /// What `small FFN` means on this checkpoint; says surrogate where it is one.
    pub small_ffn: String,
    /// A prompt to begin with.
    pub sample_prompt: Words,
    /// How pictures are prepared, where it reads any.
    pub preprocessor: Option<Preprocessor>,
}

/// The kind of tokenizer of a checkpoint without one.
pub const NO_TOKENIZER: &str = "none";

impl Card {
    /// Whether it has a tokenizer; prompts are token ids where not.
    pub fn reads_text(&self) -> bool {
        self.tokenizer != NO_TOKENIZER
    }

    /// Where a text begins in its ids: behind BOS, where it has one.
    pub fn text_begins(&self, ids: &[u32]) -> usize {
        text_begins(&self.front, self.spec.bos, ids)
    }

    /// What prepares pictures, or why it reads none.
    ///
    /// # Errors
    /// [`Error::NoImages`], with the reason.
    pub fn preprocessor(&self) -> Result<&Preprocessor> {
        for_pictures(self.preprocessor.as_ref(), &self.spec)
    }

    /// What the image tower sees of a picture, or why it sees none.
    ///
    /// # Errors
    /// [`Error::NoImages`], or a picture that cannot be prepared.
    pub fn view(&self, picture: &Picture) -> Result<RgbImage> {
        self.preprocessor()?.view(picture.pixels()).map_err(|error| Error::image(picture.name(), error))
    }

    /// Where the numbers of a figure come from: this checkpoint, a prompt, and a plan that is told apart from others with
    /// the same summary.
    pub fn provenance(&self, prompt: &Prompt, plan: &Plan) -> Provenance {
        let prompt = match &prompt.image {
            Some(picture) => {
                format!("{} (picture {} {:016x})", prompt.words, picture.name(), picture.fingerprint())
            }
            None => prompt.words.to_string(),
        };
        let plan = match (plan.active().is_empty(), plan.to_json()) {
            (false, Ok(json)) => format!("{} (plan {:08x})", plan.summary(), short_hash(&json)),
            _ => plan.summary(),
        };
        Provenance {
            checkpoint: self.name.clone(),
            fingerprint: self.fingerprint.clone(),
            prompt,
            plan,
            dtype: self.dtype.into(),
            ..Provenance::default()
        }
    }
}

/// Tells plans apart whose summaries read alike.
fn short_hash(text: &str) -> u32 {
    (text.bytes().fold(0, |hash, byte| rng::bits(hash, u64::from(byte), 0)) >> 32) as u32
}

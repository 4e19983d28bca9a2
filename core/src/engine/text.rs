//! Text to calibrate and to train on: a file, a checkpoint's own world or the bundled sample as ids, in pieces of one
//! length.

use std::path::Path;

use super::{Engine, Words};
use crate::checkpoint::Tokenizer;
use crate::error::{Error, Result};
use crate::files;
use crate::model::Input;
use crate::world::Split;

/// The text that is read where none is named and none belongs to the checkpoint.
pub(crate) const SAMPLE: &str = include_str!("../../../assets/sample.txt");

/// Tokens that can be asked for at most.
const MOST: usize = 1 << 22;

/// Bytes read of a file where few tokens are enough.
const FEW: u64 = 4 << 20;

/// Bytes read of a file for each token that is asked for, beyond [`FEW`]. Those of common tokenizers have about 4.
const PER_TOKEN: u64 = 16;

/// Ids of a text.
#[derive(Clone, Debug)]
pub struct CalibrationText {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What was read, for the person: the file, or which text stands for it.
    pub source: String,
    /// It is the beginning of a longer file, as `source` says.
    pub cut: bool,
}

impl Engine {
    /// Ids of a piece of a text; the `first` has in front what the tokenizer puts there. For a checkpoint without a tokenizer
    /// it holds ids between commas or blanks.
    ///
    /// # Errors
    /// A text that the tokenizer fails on, or an id that is none.
    pub fn piece(&self, text: &str, first: bool) -> Result<Vec<u32>> {
        match first {
            _ if self.tokenizer.is_none() && self.no_tokenizer.is_none() => ids(text),
            true => self.ids(&Words::Text(text.to_owned())),
            false => self.ids(&Words::Written(text.to_owned())),
        }
    }

    /// Ids of a text file; without one those of validation text of the checkpoint's own world, where it has one, until
    /// there are `enough`, or of the bundled sample. For a checkpoint without a tokenizer the file holds ids between commas
    /// or blanks.
    ///
    /// Of a file its first 4 MiB are read, or 16 bytes per token of `enough` where that is more, up to the last blank or
    /// comma before; a byte order mark is skipped.
    ///
    /// # Errors
    /// A file that cannot be read or is no text in UTF-8, an id that is none, or more tokens asked for than a study reads.
    pub fn calibration_text(&self, file: Option<&Path>, enough: usize) -> Result<CalibrationText> {
        if enough > MOST {
            return Err(Error::Study(format!("a study reads {MOST} tokens at most, not {enough}")));
        }
        if let Some(path) = file {
            return read_file(path, enough, self.tokenizer.as_deref());
        }
        if self.tokenizer.is_none() {
            return Err(Error::asked(
                "this checkpoint has no tokenizer to read the sample text with",
                "give --text a file of token ids between commas or blanks, or open a checkpoint that has a tokenizer",
            ));
        }
        let (ids, source) = match &self.world {
            None => (self.encode(SAMPLE)?, "the bundled sample text"),
            Some(world) => {
                let mut ids = Vec::new();
                for index in 0.. {
                    let before = ids.len();
                    if before >= enough {
                        break;
                    }
                    ids.extend(self.encode(&world.document(Split::Validation, index / 32, index))?);
                    if ids.len() == before {
                        break;
                    }
                }
                (ids, "validation text of the checkpoint's own world")
            }
        };
        Ok(CalibrationText { ids, source: source.into(), cut: false })
    }
}

/// Ids of the beginning of a text file that has `enough` tokens.
pub(super) fn read_file(
    path: &Path,
    enough: usize,
    tokenizer: Option<&Tokenizer>,
) -> Result<CalibrationText> {
    let limit = FEW.max(enough as u64 * PER_TOKEN);
    let (text, cut) = beginning(path, limit)?;
    let ids = match tokenizer {
        Some(tokenizer) => tokenizer.encode(&text, true)?,
        None => ids(&text)?,
    };
    let part = if cut { format!("the first {} MiB of ", limit >> 20) } else { String::new() };
    Ok(CalibrationText { ids, source: format!("{part}{}", path.display()), cut })
}

/// The text of a file's first `limit` bytes, up to the last blank or comma where it has more, and whether it has.
pub(super) fn beginning(path: &Path, limit: u64) -> Result<(String, bool)> {
    let (bytes, cut) = files::read_within(path, limit).map_err(|error| Error::read(path, &error))?;
    let whole = match std::str::from_utf8(&bytes) {
        // The limit lies within a character.
        Err(error) if cut && error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).unwrap_or_default()
        }
        _ => &bytes,
    };
    let text = files::utf8(whole).map_err(|cause| Error::Read {
        path: path.into(),
        kind: std::io::ErrorKind::InvalidData,
        cause,
    })?;
    Ok((if cut { whole_words(text) } else { text }.to_owned(), cut))
}

fn is_gap(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// Without the word at the end, which may be a part of one.
fn whole_words(text: &str) -> &str {
    text.rfind(is_gap).and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Written ids.
fn ids(text: &str) -> Result<Vec<u32>> {
    let parts = text.split(is_gap).filter(|part| !part.is_empty());
    let id = |part: &str| {
        part.parse().map_err(|_| {
            let part: String = part.chars().take(20).collect();
            Error::asked(
                format!("this checkpoint has no tokenizer, and \"{part}\" is not a token id"),
                "give a file of token ids between commas or blanks, or open a checkpoint that has a tokenizer",
            )
        })
    };
    parts.map(id).collect()
}

/// At most `samples` pieces of at most `len` tokens: as many as there are, or one that is shorter.
///
/// # Errors
/// A text without tokens, or none asked for.
pub fn pieces_at_most(ids: &[u32], samples: usize, len: usize) -> Result<Vec<Input>> {
    let len = len.min(ids.len());
    pieces(ids, samples.min(ids.len() / len.max(1)), len)
}

/// The first `samples` pieces of `len` tokens.
///
/// # Errors
/// Where there are fewer.
pub fn pieces(ids: &[u32], samples: usize, len: usize) -> Result<Vec<Input>> {
    if len == 0 || samples == 0 {
        return Err(Error::Study("0 tokens of text tell nothing".into()));
    }
    let pieces: Vec<Input> = ids.chunks_exact(len).take(samples).map(Input::from).collect();
    if pieces.len() < samples {
        let have = ids.len();
        return Err(Error::asked(
            format!("the text has {have} tokens, not {samples} pieces of {len}"),
            "give a longer text, or ask for fewer or shorter pieces (--samples, --length)",
        ));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_whole_words() {
        assert_eq!(whole_words("12, 345, 6"), "12, 345,");
        assert_eq!(whole_words("one"), "one");
        assert_eq!(ids(whole_words("12, 345, 6")).ok(), Some(vec![12, 345]));
    }
}

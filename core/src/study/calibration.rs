//! Text in pieces of one length, for studies that need many tokens.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::Input;
use crate::train::world::{Split, World};

/// Tokens of a study at most.
const MOST: usize = 1 << 22;

/// Ids of a text (of a checkpoint without a tokenizer: ids between commas or spaces); without one those of validation text
/// of the checkpoint's own world, where it has one, `enough` of them, or of the bundled sample.
pub fn reading(
    engine: &Engine,
    world: Option<&World>,
    text: Option<&str>,
    enough: usize,
) -> Result<Vec<u32>> {
    if enough > MOST {
        return Err(Error::Study(format!("a study reads {MOST} tokens at most, not {enough}")));
    }
    if let Some(text) = text {
        return if engine.tokenizer.is_some() { engine.encode(text) } else { ids(text) };
    }
    let Some(world) = world else {
        return engine.encode(include_str!("../../../assets/sample.txt"));
    };
    let mut ids = Vec::new();
    for index in 0.. {
        if ids.len() >= enough {
            break;
        }
        let before = ids.len();
        ids.extend(engine.encode(&world.document(Split::Validation, index / 32, index))?);
        if ids.len() == before {
            break;
        }
    }
    Ok(ids)
}

/// Written ids.
fn ids(text: &str) -> Result<Vec<u32>> {
    let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    let id = |part: &str| {
        part.parse().map_err(|_| {
            let part: String = part.chars().take(20).collect();
            Error::Study(format!("this checkpoint has no tokenizer, and \"{part}\" is not a token id"))
        })
    };
    parts.map(id).collect()
}

/// At most `samples` pieces of at most `len` tokens: as many as there are, or one that is shorter.
pub fn pieces_at_most(ids: &[u32], samples: usize, len: usize) -> Result<Vec<Input>> {
    let len = len.min(ids.len());
    pieces(ids, samples.min(ids.len() / len.max(1)), len)
}

/// The first `samples` pieces of `len` tokens.
pub fn pieces(ids: &[u32], samples: usize, len: usize) -> Result<Vec<Input>> {
    if len == 0 || samples == 0 {
        return Err(Error::Study("0 tokens of text tell nothing".into()));
    }
    let pieces: Vec<Input> = ids.chunks_exact(len).take(samples).map(Input::from).collect();
    if pieces.len() < samples {
        let have = ids.len();
        return Err(Error::Study(format!("the text has {have} tokens, not {samples} pieces of {len}")));
    }
    Ok(pieces)
}

//! A short name for a checkpoint's content: cheap enough for gigabytes, sensitive to any usual change.

use super::TensorFile;
use crate::rng;

/// Blocks sampled per file, and their size.
const BLOCKS: usize = 64;
const BLOCK: usize = 4096;

/// 64 bits in hexadecimal over the config, every header, every size, and evenly spaced blocks of data. Not
/// cryptographic: it tells checkpoints apart, it does not prove where they come from.
pub(super) fn fingerprint(config: &str, files: &[TensorFile]) -> String {
    let mut state = absorb(0, config.as_bytes());
    for file in files {
        let bytes = file.bytes();
        state = rng::bits(state, bytes.len() as u64, 0);
        let header = bytes.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes) as usize;
        state = absorb(state, bytes.get(8..8 + header).unwrap_or_default());
        let stride = (bytes.len() / BLOCKS).max(BLOCK);
        for start in (0..bytes.len()).step_by(stride) {
            let end = (start + BLOCK).min(bytes.len());
            state = absorb(state, bytes.get(start..end).unwrap_or_default());
        }
    }
    format!("{state:016x}")
}

/// A state with more bytes in it.
pub(super) fn absorb(state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(state, |state, word| rng::bits(state, u64::from_le_bytes(*word), 1));
    rest.iter().fold(state, |state, byte| rng::bits(state, u64::from(*byte), 2))
}

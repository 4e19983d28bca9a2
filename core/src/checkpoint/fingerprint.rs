//! A short name for a checkpoint's content: cheap enough for gigabytes, sensitive to any usual change.

use super::TensorFile;
use crate::error::Result;
use crate::rng;

/// Blocks sampled per file, and their size.
const BLOCKS: u64 = 64;
const BLOCK: u64 = 4096;

/// 64 bits in hexadecimal over the config, every header, every size, and evenly spaced blocks of data. Not
/// cryptographic: it tells checkpoints apart, it does not prove where they come from.
///
/// # Errors
/// Where a file cannot be read.
pub(super) fn fingerprint(config: &str, files: &[TensorFile]) -> Result<String> {
    let mut state = absorb(0, config.as_bytes());
    for file in files {
        let len = file.bytes();
        state = rng::bits(state, len, 0);
        let stride = (len / BLOCKS).max(BLOCK);
        let mut parts = vec![(8, file.header() as usize)];
        let count = len.div_ceil(stride);
        parts.extend((0..count).map(|block| (block * stride, BLOCK.min(len - block * stride) as usize)));
        let bytes = file.parts(parts.clone())?;
        let mut rest = bytes.as_slice();
        for (_, len) in parts {
            let (part, later) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            state = absorb(state, part);
            rest = later;
        }
    }
    Ok(format!("{state:016x}"))
}

/// A state with more bytes in it.
pub(super) fn absorb(state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(state, |state, word| rng::bits(state, u64::from_le_bytes(*word), 1));
    rest.iter().fold(state, |state, byte| rng::bits(state, u64::from(*byte), 2))
}

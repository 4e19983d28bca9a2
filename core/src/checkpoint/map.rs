//! Read-only bytes of a file: mapped, or compiled in.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes of a file.
#[derive(Debug)]
pub(super) enum Bytes {
    /// Mapped from disk.
    Mapped(memmap2::Mmap),
    /// Compiled in.
    Static(&'static [u8]),
}

impl Bytes {
    /// Map a file. Weights are copied out before use, so pages are touched once.
    #[expect(unsafe_code, reason = "mapping a file is unsafe: another process could shorten it")]
    pub(super) fn map(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::checkpoint(path, error))?;
        let length = file.metadata().map_err(|error| Error::checkpoint(path, error))?.len();
        if length == 0 {
            return Err(Error::checkpoint(path, "the file is empty"));
        }
        // SAFETY: the mapping is read-only and its bytes are only ever copied out as plain numbers, so a change by
        // another process yields wrong numbers, not broken references. A file cut short while it is being opened
        // ends the process with SIGBUS, as for every program that maps files; opening takes seconds and nothing
        // stays on the mapping afterwards.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| Error::checkpoint(path, error))?;
        Ok(Self::Mapped(map))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

//! Read-only bytes of a file: mapped, or compiled in.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use crate::error::{Error, Fault, Result};

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
        let file = File::open(path).map_err(|error| Error::read(path, &error))?;
        let length = file.metadata().map_err(|error| Error::read(path, &error))?.len();
        if length == 0 {
            return Err(Error::faulty(path, Fault::Incomplete, "the file is empty"));
        }
        // SAFETY: the mapping is read-only and its bytes are only ever copied out as plain numbers, so a change by
        // another process yields wrong numbers, not broken references. A file cut short while it is being opened
        // ends the process with SIGBUS, as for every program that maps files; opening takes seconds and nothing
        // stays on the mapping afterwards.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| Error::read(path, &error))?;
        Ok(Self::Mapped(map))
    }

    /// Say that a range is not looked at again: its pages no longer count as this process's memory. They are read again if
    /// it is.
    #[cfg_attr(unix, expect(unsafe_code, reason = "dropping pages has no safe form for all mappings"))]
    pub(super) fn release(&self, start: usize, len: usize) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            // SAFETY: the mapping is of a file and read-only, so dropped pages come back with the file's bytes. Failure
            // costs memory only.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len) };
        }
        #[cfg(not(unix))]
        let _ = (start, len);
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

//! Read-only bytes of a file: on disk, or compiled in. Nothing is mapped: a mapped file that is cut short ends the process.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use crate::error::{Error, Fault, Result};
use crate::files::Input;

/// Bytes of a file.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    /// On disk.
    File(Input),
    /// Compiled in.
    Static(&'static [u8]),
}

impl Bytes {
    /// Open a file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = Input::open(path).map_err(|error| Error::read(path, &error))?;
        if file.is_empty() {
            return Err(Error::faulty(path, Fault::Incomplete, "the file is empty"));
        }
        Ok(Self::File(file))
    }

    /// How many.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Static(bytes) => bytes.len() as u64,
        }
    }

    /// `len` bytes from `start` on.
    pub(super) fn read(&self, start: u64, len: usize) -> io::Result<Cow<'static, [u8]>> {
        match self {
            Self::File(file) => file.read(start, len).map(Cow::Owned),
            Self::Static(bytes) => slice(bytes, start, len).map(Cow::Borrowed),
        }
    }

    /// So many bytes from each of some places on.
    pub(super) fn parts(&self, parts: Vec<(u64, usize)>) -> io::Result<Vec<u8>> {
        match self {
            Self::File(file) => file.parts(parts),
            Self::Static(bytes) => {
                let parts = parts.into_iter().map(|(start, len)| slice(bytes, start, len));
                Ok(parts.collect::<io::Result<Vec<_>>>()?.concat())
            }
        }
    }

    /// `len` bytes from `start` on, in `room` where they are not in memory; without a bound on the time.
    pub(super) fn at<'a>(&self, start: u64, len: usize, room: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        match self {
            Self::File(file) => {
                room.resize(len, 0);
                file.fill(room, start)?;
                Ok(room)
            }
            Self::Static(bytes) => slice(bytes, start, len),
        }
    }

    /// Whether nobody has written to it since it was opened.
    pub(super) fn is_unchanged(&self) -> io::Result<bool> {
        match self {
            Self::File(file) => file.is_unchanged(),
            Self::Static(_) => Ok(true),
        }
    }
}

fn slice(bytes: &'static [u8], start: u64, len: usize) -> io::Result<&'static [u8]> {
    let start = usize::try_from(start).ok();
    let part = start.and_then(|start| bytes.get(start..start.checked_add(len)?));
    part.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

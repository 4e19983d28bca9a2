//! Read-only bytes of a file: on disk, or compiled in. Nothing is mapped: a mapped file that is cut short ends the process.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::path::Path;

use crate::error::{Error, Fault, Result};
use crate::files::{Input, Piece};

/// Pieces that are read while another is worked on.
const AHEAD: usize = 2;

/// Bytes of a file.
#[derive(Debug)]
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

    /// Look at `len` bytes from `start` on, in their order, `piece` at a time, the last may be shorter.
    pub(super) fn each(
        &self,
        start: u64,
        len: usize,
        piece: usize,
        mut look: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let piece = piece.max(1);
        let file = match self {
            Self::File(file) => file,
            Self::Static(bytes) => return slice(bytes, start, len)?.chunks(piece).try_for_each(look),
        };
        let mut pieces = (0..len).step_by(piece).map(|at| (start + at as u64, piece.min(len - at)));
        let mut ahead: VecDeque<(Piece, usize)> = VecDeque::new();
        let mut spare = Vec::new();
        loop {
            while ahead.len() < AHEAD
                && let Some((at, len)) = pieces.next()
            {
                ahead.push_back((file.begin(std::mem::take(&mut spare), at, len)?, len));
            }
            let Some((first, len)) = ahead.pop_front() else { return Ok(()) };
            let bytes = first.whole(len)?;
            look(&bytes)?;
            spare = bytes;
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

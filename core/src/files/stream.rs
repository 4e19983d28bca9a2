//! Bytes that come in pieces: a file, or what another program sends.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Input;
use super::text::utf8;
use crate::error::{Error, Result};

/// Bytes that are read at a time.
pub const PIECE: usize = 1 << 20;

/// What a stream reads from.
enum From {
    File(Input),
    Program(Box<dyn Read + Send>),
}

/// A stream under way. A byte order mark in front is left out.
pub struct Stream {
    from: From,
    path: PathBuf,
    /// What was read, and how much of it was taken.
    held: Vec<u8>,
    at: usize,
    begun: bool,
    ended: bool,
}

impl Stream {
    /// A file of which nothing is read yet; `-` is what another program sends.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::new(From::Program(Box::new(io::stdin())), Path::new("stdin")));
        }
        let input = Input::open(path).map_err(|error| Error::read(path, &error))?;
        Ok(Self::new(From::File(input), path))
    }

    fn new(from: From, path: &Path) -> Self {
        Self { from, path: path.into(), held: Vec::new(), at: 0, begun: false, ended: false }
    }

    /// Where it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was read and not taken yet.
    pub fn rest(&self) -> &[u8] {
        self.held.get(self.at..).unwrap_or_default()
    }

    /// Whether nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether reading on waits for nobody: it is a file, or has ended.
    pub fn is_at_hand(&self) -> bool {
        self.ended || matches!(self.from, From::File(_))
    }

    /// Read on; of a program what it has sent.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn fill(&mut self) -> Result<()> {
        let bytes = match &mut self.from {
            From::File(input) => input.next(PIECE),
            From::Program(program) => received(program.as_mut()),
        };
        let bytes = bytes.map_err(|error| Error::read(&self.path, &error))?;
        self.ended = bytes.is_empty();
        self.held.drain(..self.at);
        self.at = 0;
        self.held.extend_from_slice(&bytes);
        // A program may send the mark's bytes one by one.
        const MARK: &[u8] = "\u{feff}".as_bytes();
        if !self.begun && (self.held.len() >= MARK.len() || self.ended) {
            self.begun = true;
            self.at = if self.held.starts_with(MARK) { MARK.len() } else { 0 };
        }
        if !self.begun {
            return self.fill();
        }
        Ok(())
    }

    /// Pass over `len` bytes.
    pub fn pass(&mut self, len: usize) {
        self.at = self.held.len().min(self.at + len);
    }

    /// Take `len` bytes, as text.
    ///
    /// # Errors
    /// [`Error::Read`] of what is no UTF-8.
    pub fn take(&mut self, len: usize) -> Result<String> {
        let len = len.min(self.rest().len());
        let text = utf8(self.rest().get(..len).unwrap_or_default()).map(str::to_owned);
        self.pass(len);
        let path = self.path.clone();
        text.map_err(|cause| Error::Read { path, kind: io::ErrorKind::InvalidData, cause })
    }
}

/// What a program has sent by now, as soon as there is any.
fn received(program: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; PIECE];
    loop {
        match program.read(&mut bytes) {
            Ok(read) => {
                bytes.truncate(read);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte at a time.
    struct Slow(Vec<u8>);

    impl Read for Slow {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            bytes[0] = self.0.remove(0);
            Ok(1)
        }
    }

    #[test]
    fn a_mark_in_front_is_left_out_however_it_comes() {
        for (sent, all) in [("\u{feff}a", "a"), ("a", "a"), ("\u{feff}", ""), ("", "")] {
            let slow = From::Program(Box::new(Slow(sent.as_bytes().to_vec())));
            let mut stream = Stream::new(slow, Path::new("stdin"));
            while !stream.has_ended() {
                stream.fill().unwrap();
            }
            assert_eq!(stream.take(usize::MAX).unwrap(), all);
        }
    }
}

//! Lists that are read entry by entry: JSON lines, or the elements of one JSON array.

use std::path::Path;

use super::stream::Stream;
use crate::error::{Error, Result};

/// Bytes of an entry at most.
const MOST: usize = 16 << 20;

/// What a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Unknown,
    Lines,
    Array,
    /// The array was closed.
    Closed,
    /// Nothing more of it comes.
    Over,
}

/// A list under way.
pub struct Entries {
    stream: Stream,
    shape: Shape,
    scan: Scan,
    /// Bytes of the rest in which the end of the entry is not.
    looked: usize,
    /// What an entry is called.
    what: &'static str,
    /// Lines or elements so far.
    number: u64,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of its line, or of the element of an array; 1 = the first.
    pub number: u64,
    /// Its JSON, without blanks around it.
    pub json: String,
}

/// How far into an array's element bytes have led.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    depth: u64,
    string: bool,
    escaped: bool,
}

impl Scan {
    /// Whether a byte ends the element.
    fn ends(&mut self, byte: u8) -> bool {
        if self.string {
            let escaped = std::mem::take(&mut self.escaped);
            match byte {
                b'"' if !escaped => self.string = false,
                b'\\' => self.escaped = !escaped,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' if self.depth > 0 => self.depth -= 1,
            b']' | b',' if self.depth == 0 => return true,
            _ => {}
        }
        false
    }
}

impl Entries {
    /// A list of which nothing is read yet; `-` is what another program sends.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let stream = Stream::open(path)?;
        let (shape, scan) = (Shape::Unknown, Scan::default());
        Ok(Self { stream, shape, scan, looked: 0, what: "line", number: 0 })
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// [`Error::Entry`] of an entry that is no text or too long, after which the next may be asked for; what the system says.
    pub fn entry(&mut self) -> Result<Option<Entry>> {
        if self.shape == Shape::Unknown {
            self.begin()?;
        }
        while self.shape != Shape::Over {
            self.number += 1;
            if self.shape == Shape::Closed {
                self.shape = Shape::Over;
                return match self.ahead()? {
                    Some(_) => Err(self.broken("something follows the array")),
                    None => Ok(None),
                };
            }
            let len = self.end()?;
            let text = self.stream.take(len);
            self.close();
            let json = text.map_err(|error| self.broken(&error.to_string()))?.trim().to_owned();
            // An empty line, or nothing before the end of an array.
            if !json.is_empty() || self.shape == Shape::Array {
                return Ok(Some(Entry { number: self.number, json }));
            }
        }
        Ok(None)
    }

    /// Whether the next entry, or the end, is known without waiting for whoever sends the list.
    pub fn is_ready(&mut self) -> bool {
        self.stream.is_at_hand() || self.shape == Shape::Over || {
            let mut scan = Scan::default();
            self.stream.rest().iter().any(|byte| match self.shape {
                Shape::Array => scan.ends(*byte),
                _ => *byte == b'\n',
            })
        }
    }

    /// Number of the entry that was read last.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Something is wrong with the entry that was read last.
    pub fn broken(&self, cause: &str) -> Error {
        let (path, what, number) = (self.stream.path().to_owned(), self.what, self.number);
        Error::Entry { path, what, number, cause: cause.into() }
    }

    /// See whether the list is an array.
    fn begin(&mut self) -> Result<()> {
        let first = self.ahead()?;
        self.shape = Shape::Lines;
        if first == Some(b'[') {
            (self.shape, self.what) = (Shape::Array, "element");
            let blanks = self.stream.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.stream.pass(blanks + 1);
        }
        Ok(())
    }

    /// The next byte that is no blank; none where only blanks follow, or very many.
    fn ahead(&mut self) -> Result<Option<u8>> {
        loop {
            let byte = self.stream.rest().iter().find(|byte| !byte.is_ascii_whitespace()).copied();
            if byte.is_some() || self.stream.has_ended() || self.stream.rest().len() > MOST {
                return Ok(byte);
            }
            self.stream.fill()?;
        }
    }

    /// Length of the next entry.
    fn end(&mut self) -> Result<usize> {
        (self.looked, self.scan) = (0, Scan::default());
        loop {
            if let Some(len) = self.look() {
                if len > MOST {
                    self.stream.pass(len);
                    self.close();
                    return Err(self.too_long());
                }
                return Ok(len);
            }
            let rest = self.stream.rest().len();
            if self.stream.has_ended() {
                let array = self.shape == Shape::Array;
                self.shape = Shape::Over;
                return if array {
                    Err(self.broken("the file ends before its array does"))
                } else {
                    Ok(rest)
                };
            }
            if rest > MOST {
                self.skip()?;
                return Err(self.too_long());
            }
            self.stream.fill()?;
        }
    }

    fn too_long(&self) -> Error {
        self.broken(&format!("it is over {} MiB", MOST >> 20))
    }

    /// Where the entry ends, if that was read.
    fn look(&mut self) -> Option<usize> {
        let from = std::mem::replace(&mut self.looked, self.stream.rest().len());
        let rest = self.stream.rest().get(from..).unwrap_or_default();
        let found = match self.shape {
            Shape::Array => rest.iter().position(|byte| self.scan.ends(*byte)),
            _ => rest.iter().position(|byte| *byte == b'\n'),
        };
        found.map(|at| from + at)
    }

    /// Pass over the byte behind an entry.
    fn close(&mut self) {
        let closed = self.shape == Shape::Array && self.stream.rest().first() == Some(&b']');
        self.stream.pass(1);
        if closed {
            self.shape = Shape::Closed;
        }
    }

    /// Pass over the rest of an entry.
    fn skip(&mut self) -> Result<()> {
        loop {
            if let Some(len) = self.look() {
                self.stream.pass(len);
                self.close();
                return Ok(());
            }
            self.stream.pass(usize::MAX);
            self.looked = 0;
            if self.stream.has_ended() {
                self.shape = Shape::Over;
                return Ok(());
            }
            self.stream.fill()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        std::fs::write(&path, bytes).unwrap();
        let mut entries = Entries::open(&path).unwrap();
        let mut found = Vec::new();
        loop {
            found.push(match entries.entry() {
                Ok(Some(entry)) => format!("{} {:.50}", entry.number, entry.json),
                Ok(None) => return found,
                Err(Error::Entry { what, number, cause, .. }) => {
                    format!("{what} {number}: {}", cause.rsplit(": ").next().unwrap_or_default())
                }
                Err(error) => panic!("{error}"),
            });
        }
    }

    #[test]
    fn lines_are_numbered_and_a_broken_one_takes_no_other_with_it() {
        let long = "y".repeat(MOST + 10);
        let list = format!("\u{feff}{{\"a\": 1}}\r\n\n  \nno json\n\"{long}\"\n\"b\"\n\n");
        assert_eq!(
            all(list.as_bytes()),
            ["1 {\"a\": 1}", "4 no json", "line 5: it is over 16 MiB", "6 \"b\""]
        );
        assert_eq!(all(b"1\n\xff\n3"), ["1 1", "line 2: it is no text in UTF-8 from byte 0 on", "3 3"]);
        assert!(all(b"").is_empty() && all(b"\n \r\n").is_empty());
        assert_eq!(all(format!("\"{long}").as_bytes()), ["line 1: it is over 16 MiB"]);
    }

    #[test]
    fn elements_of_an_array_are_entries() {
        let array = b"\n [ {\"a\": [1, \"]\\\"},\"]} ,\n\"x, y\\\\\", [], 4\n]\n ";
        assert_eq!(all(array), ["1 {\"a\": [1, \"]\\\"},\"]}", "2 \"x, y\\\\\"", "3 []", "4 4"]);
        assert!(all(b"[]").is_empty() && all(b" [ ] ").is_empty());
        assert_eq!(all(b"[1,,2]"), ["1 1", "2 ", "3 2"]);
        assert_eq!(all(b"[1, 2"), ["1 1", "element 2: the file ends before its array does"]);
        assert_eq!(all(b"[1] 2"), ["1 1", "element 2: something follows the array"]);
        let long = format!("[1, \"{}\", 3]", ",y".repeat(MOST / 2 + 10));
        assert_eq!(all(long.as_bytes()), ["1 1", "element 2: it is over 16 MiB", "3 3"]);
    }
}

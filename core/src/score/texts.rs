//! Texts to be scored, read piece by piece: a file as one item, a file cut at a marker, or a list of JSON lines.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Error, Result};
use crate::files::{Entries, PIECE, Stream};
use crate::records::{self, Map};

/// Bytes of an item of a text.
const MOST: usize = 16 << 20;

/// Where texts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that is one item.
    Whole(PathBuf),
    /// A file cut at a marker; items are stripped, empty ones dropped.
    Split(PathBuf, String),
    /// A list of `{"text": …}` or `{"tokens": […]}`, `prompt` for `text`; what stands for these fields, where they have other
    /// names.
    List(PathBuf, Option<Map>),
}

impl Source {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Whole(path) | Self::Split(path, _) | Self::List(path, _) => path,
        }
    }
}

/// What an item says, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// Text.
    Text(String),
    /// Ids.
    Tokens(Vec<u32>),
}

/// A piece of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it says.
    pub words: Words,
    /// It begins the item.
    pub first: bool,
    /// It ends the item.
    pub last: bool,
}

/// Texts under way.
pub struct Texts {
    reader: Reader,
    /// Nothing was given yet.
    first: bool,
}

/// How they are read.
enum Reader {
    Whole(Stream),
    Split(Split),
    List(Entries, Option<Map>),
}

/// A text that is cut at a marker.
struct Split {
    stream: Stream,
    marker: String,
    /// Bytes of the rest in which the marker is not.
    looked: usize,
}

/// An entry of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(default, alias = "prompt")]
    text: Option<String>,
    #[serde(default)]
    tokens: Option<Vec<u32>>,
}

impl Texts {
    /// A file of which nothing is read yet.
    ///
    /// # Errors
    /// A file that cannot be opened, or an empty marker.
    pub fn open(source: &Source) -> Result<Self> {
        let reader = match source {
            Source::Whole(path) => Reader::Whole(Stream::open(path)?),
            Source::Split(path, marker) => {
                if marker.is_empty() {
                    return Err(Error::asked(
                        "the text is to be cut at nothing",
                        "give --split a text, or leave it out",
                    ));
                }
                Reader::Split(Split { stream: Stream::open(path)?, marker: marker.clone(), looked: 0 })
            }
            Source::List(path, map) => Reader::List(Entries::open(path)?, map.clone()),
        };
        Ok(Self { reader, first: true })
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// A file that cannot be read or is no text in UTF-8; of a list an entry that cannot be used ([`Error::Entry`]), after
    /// which the next may be asked for.
    pub fn piece(&mut self) -> Result<Option<Piece>> {
        let first = std::mem::replace(&mut self.first, false);
        match &mut self.reader {
            Reader::Whole(stream) => part(stream, first),
            Reader::Split(split) => split.next(),
            Reader::List(entries, map) => entry(entries, map.as_ref()),
        }
    }

    /// What failed with the piece that was read last: of a list its entry, else everything.
    pub fn failed(&self, error: Error) -> Error {
        match &self.reader {
            Reader::List(entries, _) => entries.broken(&error.to_string()),
            _ => error,
        }
    }
}

/// A part of the one item, up to a line's end.
fn part(stream: &mut Stream, first: bool) -> Result<Option<Piece>> {
    while stream.rest().len() <= PIECE && !stream.has_ended() {
        stream.fill()?;
    }
    if stream.rest().len() <= PIECE {
        let text = stream.take(usize::MAX)?;
        let empty = text.is_empty();
        return Ok((!empty || first).then_some(Piece { words: Words::Text(text), first, last: true }));
    }
    let piece = stream.rest().get(..PIECE).unwrap_or_default();
    let line = piece.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    // A line that is longer is cut between two characters.
    let is_start = |byte: &u8| byte & 0xC0 != 0x80;
    let cut = line.unwrap_or_else(|| {
        stream.rest().get(..=PIECE).and_then(|piece| piece.iter().rposition(is_start)).unwrap_or(PIECE)
    });
    Ok(Some(Piece { words: Words::Text(stream.take(cut)?), first, last: false }))
}

impl Split {
    /// What stands before the next marker.
    fn next(&mut self) -> Result<Option<Piece>> {
        let marker = self.marker.as_bytes();
        loop {
            let rest = self.stream.rest();
            let found = rest.get(self.looked..).and_then(|rest| {
                rest.windows(marker.len()).position(|window| window == marker).map(|at| self.looked + at)
            });
            let text = match found {
                Some(at) => {
                    let text = self.stream.take(at)?;
                    self.stream.pass(marker.len());
                    text
                }
                None if self.stream.has_ended() && rest.is_empty() => return Ok(None),
                None if self.stream.has_ended() => self.stream.take(usize::MAX)?,
                None => {
                    if rest.len() > MOST {
                        return Err(Error::asked(
                            format!("{}: an item is over {} MiB", self.stream.path().display(), MOST >> 20),
                            "give --split a text that occurs more often",
                        ));
                    }
                    self.looked = rest.len().saturating_sub(marker.len() - 1);
                    self.stream.fill()?;
                    continue;
                }
            };
            self.looked = 0;
            let text = text.trim();
            if !text.is_empty() {
                return Ok(Some(Piece { words: Words::Text(text.to_owned()), first: true, last: true }));
            }
        }
    }
}

/// The next item of a list.
fn entry(entries: &mut Entries, map: Option<&Map>) -> Result<Option<Piece>> {
    let Some(entry) = entries.entry()? else { return Ok(None) };
    let line: Line = records::read(entries, &entry, map, &["text", "tokens"])?;
    let words = match (line.text, line.tokens) {
        (Some(text), None) => Words::Text(text),
        (None, Some(tokens)) => Words::Tokens(tokens),
        _ => return Err(entries.broken("has one of text and tokens")),
    };
    Ok(Some(Piece { words, first: true, last: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8], source: impl FnOnce(PathBuf) -> Source) -> (tempfile::TempDir, Texts) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, bytes).unwrap();
        (folder, Texts::open(&source(path)).unwrap())
    }

    fn all(texts: &mut Texts) -> Vec<Piece> {
        std::iter::from_fn(|| texts.piece().unwrap()).collect()
    }

    #[test]
    fn a_whole_file_comes_in_pieces_at_line_ends() {
        let line = "Über naïve café\n";
        let text = line.repeat(3 * PIECE / line.len());
        let (_folder, mut whole) = texts(format!("\u{feff}{text}end").as_bytes(), Source::Whole);
        let pieces = all(&mut whole);
        assert!(pieces.len() > 2);
        let mut joined = String::new();
        for (index, piece) in pieces.iter().enumerate() {
            let Words::Text(words) = &piece.words else { panic!("it is text") };
            assert_eq!((piece.first, piece.last), (index == 0, index + 1 == pieces.len()));
            assert!(words.len() <= PIECE && (piece.last || words.ends_with('\n')));
            joined += words;
        }
        assert_eq!(joined, text + "end");
        // One long line is cut between characters.
        let (_folder, mut long) = texts(format!("a{}", "ü".repeat(PIECE)).as_bytes(), Source::Whole);
        assert_eq!(all(&mut long).len(), 3);
        let (_folder, mut empty) = texts(b"", Source::Whole);
        assert_eq!(all(&mut empty), [Piece { words: Words::Text(String::new()), first: true, last: true }]);
        let (_folder, mut binary) = texts(b"\xff\xfe", Source::Whole);
        assert!(matches!(binary.piece(), Err(Error::Read { .. })));
    }

    #[test]
    fn items_stand_between_markers_and_are_stripped() {
        let split = |path| Source::Split(path, "<|end|>".into());
        let big = "x".repeat(PIECE - 3);
        let (_folder, mut cut) =
            texts(format!(" a \r\n<|end|><|end|>\n\n<|end|>{big}<|end|> c").as_bytes(), split);
        let found: Vec<Words> = all(&mut cut).into_iter().map(|piece| piece.words).collect();
        assert_eq!(found, ["a".into(), big, "c".into()].map(Words::Text));
        assert!(Texts::open(&Source::Split("/dev/null".into(), String::new())).is_err());
    }

    #[test]
    fn entries_of_a_list_are_items() {
        let list = b"{\"text\": \"a\"}\nno json\n{\"tokens\": [1, 2], \"id\": 7}\n{\"prompt\": \"b\"}\n{}\n{\"x\": 1}";
        let (_folder, mut list) = texts(list, |path| Source::List(path, None));
        let mut found = Vec::new();
        loop {
            match list.piece() {
                Ok(Some(piece)) => found.push(format!("{:?}", piece.words)),
                Ok(None) => break,
                Err(Error::Entry { number, .. }) => found.push(format!("line {number}")),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(found, ["Text(\"a\")", "line 2", "Tokens([1, 2])", "Text(\"b\")", "line 5", "line 6"]);
    }
}

//! Items of a list, as work over them takes them: some of them, behind those that are done.

use std::path::Path;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::{Map, Shard};
use crate::error::{Error, Result};
use crate::files::{self, Entries, Entry};

/// Which items of a list are taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Items at most; none = all.
    pub most: Option<u64>,
    /// The part that is meant.
    pub shard: Shard,
    /// The last item that is done already.
    pub behind: Option<u64>,
}

impl Default for Taken {
    fn default() -> Self {
        Self { most: None, shard: Shard::ALL, behind: None }
    }
}

/// What the entry that was read last holds. With a `map` its fields have other names, of which `fields` may be ours.
///
/// # Errors
/// [`Error::Entry`] where it holds something else.
pub fn read<T: DeserializeOwned>(
    entries: &Entries,
    entry: &Entry,
    map: Option<&Map>,
    fields: &[&str],
) -> Result<T> {
    let read = match map {
        Some(map) => map.read(&entry.json, fields),
        None => serde_json::from_str(&entry.json).map_err(|error| error.to_string()),
    };
    read.map_err(|cause| entries.broken(&cause))
}

/// SHA-256 of a file that work over its items goes on with later.
///
/// # Errors
/// A file that cannot be read, or one that another program sends: it cannot be read twice.
pub fn content(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let cause = "work that is written down needs a file that can be read again";
        return Err(Error::asked(cause, "write the text or the list to a file first"));
    }
    files::sha256(path).map_err(|error| Error::read(path, &error))
}

/// Items of a list, at most so many; entries that cannot be read count too.
///
/// # Errors
/// What the system says.
pub fn count(path: &Path, most: Option<u64>) -> Result<u64> {
    let mut items = Items::open(path, None, Taken { most, ..Taken::default() })?;
    while items.next::<IgnoredAny>(&[])?.is_some() {}
    Ok(items.count())
}

/// A list under way.
pub struct Items {
    entries: Entries,
    map: Option<Map>,
    taken: Taken,
    next: u64,
}

impl Items {
    /// A list of which nothing is read yet. With a `map` its fields have other names.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: &Path, map: Option<Map>, taken: Taken) -> Result<Self> {
        Ok(Self { entries: Entries::open(path)?, map, taken, next: 0 })
    }

    /// The next item that is taken, with its number from 0: what it holds, or why it cannot be read. `fields` are the names
    /// that it may have. None at the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn next<T: DeserializeOwned>(&mut self, fields: &[&str]) -> Result<Option<(u64, Result<T>)>> {
        while self.taken.most.is_none_or(|most| self.next < most) {
            let entry = match self.entries.entry() {
                Ok(None) => break,
                Ok(Some(entry)) => Ok(entry),
                Err(error @ Error::Entry { .. }) => Err(error),
                Err(error) => return Err(error),
            };
            let number = self.next;
            self.next += 1;
            if !self.taken.shard.has(number) || self.taken.behind.is_some_and(|behind| number <= behind) {
                continue;
            }
            let read = entry.and_then(|entry| read(&self.entries, &entry, self.map.as_ref(), fields));
            return Ok(Some((number, read)));
        }
        Ok(None)
    }

    /// Items so far, those too that are not taken.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// What is wrong with the item that was read last.
    pub fn broken(&self, error: &Error) -> Error {
        self.entries.broken(&error.to_string())
    }
}

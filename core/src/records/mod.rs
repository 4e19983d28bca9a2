//! Records of work over items: one line each as it is done, in a file of their own. What was killed goes on behind the last of
//! them, and what shards did is merged in the order of the items.

mod items;
mod map;
mod merge;
mod shard;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::files::{Entries, Grown, There};

pub use items::{Items, Taken, content, count, read};
pub use map::Map;
pub use merge::merge;
pub use shard::Shard;

/// Name of the records in their folder.
pub const RECORDS: &str = "records.jsonl";
/// Version of the file.
const VERSION: u32 = 1;

/// What records answer: the first line of their file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    version: u32,
    /// What was done, by the name of its command.
    pub work: String,
    /// The checkpoint's content fingerprint.
    pub fingerprint: String,
    /// Everything else that the records depend on.
    pub ask: Box<RawValue>,
    /// Which of the items they are of.
    pub shard: Shard,
}

/// The last line of a file whose work is done.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    /// Items that there are, of all shards.
    done: u64,
}

/// What every record has.
#[derive(Deserialize)]
struct Of {
    item: u64,
}

impl Head {
    /// What work on a checkpoint answers.
    ///
    /// # Errors
    /// A question that JSON cannot hold.
    pub fn new(work: &str, fingerprint: &str, ask: &Value, shard: Shard) -> Result<Self> {
        let ask = serde_json::value::to_raw_value(ask).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self { version: VERSION, work: work.into(), fingerprint: fingerprint.into(), ask, shard })
    }

    /// Fails unless `other` is the same; `path` is where that stands.
    fn same(&self, other: &Self, path: &Path) -> Result<()> {
        let what = [
            (self.version != other.version, "version"),
            (self.work != other.work, "command"),
            (self.fingerprint != other.fingerprint, "checkpoint"),
            (self.shard != other.shard, "shard"),
            (self.ask.get() != other.ask.get(), "question"),
        ];
        let Some((_, what)) = what.iter().find(|(differs, _)| *differs) else { return Ok(()) };
        Err(Error::asked(
            format!("{}: its records are of another {what}", path.display()),
            "take another folder, or --overwrite to begin anew",
        ))
    }
}

/// Records that are being written.
#[derive(Debug)]
pub struct Records {
    lines: Grown,
}

impl Records {
    /// Begin in a folder.
    ///
    /// # Errors
    /// [`Error::Exists`] where records are there that stay, [`Error::Write`].
    pub fn begin(folder: &Path, head: &Head, there: There) -> Result<Self> {
        let lines = Grown::begin(&folder.join(RECORDS), there).map_err(|error| match error {
            Error::Taken { .. } => Error::Exists { path: folder.to_owned(), what: "records" },
            other => other,
        })?;
        let mut records = Self { lines };
        records.write(head)?;
        Ok(records)
    }

    /// Go on in a folder, or begin there. `known` hears every record that is there. None = all of them are.
    ///
    /// # Errors
    /// Records of something else, or that cannot be read, and what `known` fails with.
    pub fn resume<T: DeserializeOwned>(
        folder: &Path,
        head: &Head,
        mut known: impl FnMut(T) -> Result<()>,
    ) -> Result<Option<Self>> {
        let path = folder.join(RECORDS);
        let Some(lines) = Grown::behind_lines(&path)? else {
            return Self::begin(folder, head, There::Keep).map(Some);
        };
        let mut reading = match Reading::open(folder)? {
            Some(reading) => reading,
            // Killed before anything was there.
            None => {
                // Its lock is our own.
                drop(lines);
                return Self::begin(folder, head, There::Replace).map(Some);
            }
        };
        head.same(&reading.head, &path)?;
        while let Some((_, record)) = reading.record()? {
            known(reading.read(&record)?)?;
        }
        Ok(reading.done.is_none().then_some(Self { lines }))
    }

    /// One more record, or the head.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&mut self, record: &impl Serialize) -> Result<()> {
        self.lines.line(record)
    }

    /// All are there; `items` of all shards.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(mut self, items: u64) -> Result<()> {
        self.write(&End { done: items })?;
        self.lines.sync()
    }
}

/// Records that are being read.
pub struct Reading {
    entries: Entries,
    /// What they answer.
    pub head: Head,
    /// Items of all shards, once the end was read; none before, and of work that is not done.
    pub done: Option<u64>,
    path: PathBuf,
}

impl Reading {
    /// The records in a folder; none where their file is empty.
    ///
    /// # Errors
    /// A file that is missing or holds something else.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RECORDS);
        let mut entries = Entries::open(&path)?;
        let Some(first) = entries.entry()? else { return Ok(None) };
        let head: Head = serde_json::from_str(&first.json).map_err(|error| {
            Error::asked(
                format!("{}: its first line is not that of records: {error}", path.display()),
                "name a folder that --out of score or study has written",
            )
        })?;
        if head.version != VERSION {
            return Err(Error::asked(
                format!("{}: records of version {}, not {VERSION}", path.display(), head.version),
                "open them with the Sluice that wrote them",
            ));
        }
        Ok(Some(Self { entries, head, done: None, path }))
    }

    /// The next record, with its item; none at the end.
    ///
    /// # Errors
    /// A line that is no record.
    pub fn record(&mut self) -> Result<Option<(u64, String)>> {
        let Some(entry) = self.entries.entry()? else { return Ok(None) };
        if self.done.is_some() {
            return Err(self.entries.broken("a record behind the last"));
        }
        if let Ok(End { done }) = serde_json::from_str(&entry.json) {
            self.done = Some(done);
            return self.record();
        }
        let Of { item } = self.read(&entry.json)?;
        Ok(Some((item, entry.json)))
    }

    /// A record as what it is.
    ///
    /// # Errors
    /// One that is something else.
    pub fn read<T: DeserializeOwned>(&self, record: &str) -> Result<T> {
        serde_json::from_str(record).map_err(|error| self.entries.broken(&error.to_string()))
    }

    /// All that are left, in turn.
    ///
    /// # Errors
    /// As [`Reading::record`] and [`Reading::read`], and what `hear` fails with.
    pub fn each<T: DeserializeOwned>(mut self, mut hear: impl FnMut(T) -> Result<()>) -> Result<()> {
        while let Some((_, record)) = self.record()? {
            hear(self.read(&record)?)?;
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

//! Records of shards, joined.

use std::path::{Path, PathBuf};

use super::{End, Head, RECORDS, Reading, Shard};
use crate::error::{Error, Result};
use crate::files::{Growing, There, json_line};

/// A shard, and its next record.
struct Part {
    reading: Reading,
    next: Option<(u64, String)>,
}

impl Part {
    fn open(folder: &Path) -> Result<Self> {
        let reading = Reading::open(folder)?.ok_or_else(|| unfinished(folder))?;
        let mut part = Self { reading, next: None };
        part.advance()?;
        Ok(part)
    }

    fn advance(&mut self) -> Result<()> {
        self.next = self.reading.record()?;
        match (&self.next, self.reading.done) {
            (None, None) => Err(unfinished(self.reading.path())),
            (Some((item, _)), _) if !self.reading.head.shard.has(*item) => Err(Error::asked(
                format!("{}: item {item} is of another shard", self.reading.path().display()),
                "run that shard again with --overwrite",
            )),
            _ => Ok(()),
        }
    }
}

/// Write the records of all shards, by item, into `out`. What they answer together.
///
/// # Errors
/// Shards that are missing, named twice, not done, or of different questions; records that cannot be read or written.
pub fn merge(folders: &[PathBuf], out: &Path, there: There) -> Result<Head> {
    let mut parts = folders.iter().map(|folder| Part::open(folder)).collect::<Result<Vec<Part>>>()?;
    let first = parts.first().ok_or_else(|| Error::Input("there are no shards to merge".into()))?;
    let head = Head { shard: Shard::ALL, ..first.reading.head.clone() };
    let of = first.reading.head.shard.of();
    for part in &parts {
        let own = &part.reading.head;
        head.same(&Head { shard: Shard::ALL, ..own.clone() }, part.reading.path())?;
        if own.shard.of() != of {
            let (path, shard) = (part.reading.path().display(), own.shard);
            return Err(refused(format!("{path}: shard {shard}, and others are of {of}")));
        }
    }
    for number in 1..=of {
        let has = |part: &&Part| part.reading.head.shard.number() == number;
        match parts.iter().filter(has).count() {
            0 => return Err(refused(format!("shard {number}/{of} is missing"))),
            1 => {}
            _ => return Err(refused(format!("shard {number}/{of} is named twice"))),
        }
    }
    let mut file = Growing::begin(&out.join(RECORDS), there)?;
    file.write(json_line(&head)?.as_bytes())?;
    loop {
        let item = |part: &Part| part.next.as_ref().map_or(u64::MAX, |(item, _)| *item);
        let Some(part) = parts.iter_mut().min_by_key(|part| item(part)) else { break };
        let Some((_, record)) = part.next.take() else { break };
        file.write(format!("{record}\n").as_bytes())?;
        part.advance()?;
    }
    let items: Vec<u64> = parts.iter().filter_map(|part| part.reading.done).collect();
    match items.as_slice() {
        [first, rest @ ..] if rest.iter().all(|items| items == first) => {
            file.write(json_line(&End { done: *first })?.as_bytes())?;
        }
        _ => return Err(refused(format!("the shards are of lists of {items:?} items"))),
    }
    file.finish()?;
    Ok(head)
}

fn refused(cause: String) -> Error {
    Error::asked(cause, "name each shard's folder once, all of one question")
}

fn unfinished(path: &Path) -> Error {
    Error::asked(format!("{}: that shard is not done", path.display()), "run it again with --resume")
}

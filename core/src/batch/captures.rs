//! Captured sites of many lines: numbered safetensors files of about a GiB each, and an index of which line is where.
//!
//! The file under way is two that grow, its values and their names; it becomes a safetensors file once it is full.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::files::{Entries, Growing, Grown, Input, Lock, PIECE, There, claim_folder, read_within, write};
use crate::model::Captures;

/// Bytes of values of a file at most, but for one line that has more.
const MOST: u64 = 1 << 30;
/// Bytes of an index at most.
const MOST_INDEX: u64 = 1 << 28;
/// Name of the index.
const INDEX: &str = "index.json";

/// Captures that are being written.
pub struct Archive {
    folder: PathBuf,
    /// Where they come from: metadata of every file.
    about: BTreeMap<String, String>,
    index: Index,
    /// Bytes of a file at most.
    most: u64,
    open: Option<Open>,
    _lock: Lock,
}

/// Which line is where.
#[derive(Default, Serialize, Deserialize)]
struct Index {
    version: u32,
    files: Vec<Whole>,
}

/// A file that is done.
#[derive(Serialize, Deserialize)]
struct Whole {
    file: String,
    lines: Vec<u64>,
}

/// The file under way.
struct Open {
    values: Grown,
    names: Grown,
    parts: Vec<Part>,
}

/// A tensor of it.
#[derive(Clone, Serialize, Deserialize)]
struct Part {
    line: u64,
    site: String,
    shape: Vec<usize>,
    /// Bytes up to its end.
    end: u64,
}

impl Archive {
    /// Begin in a folder without captures.
    ///
    /// # Errors
    /// [`Error::Exists`] where it has some that stay, [`Error::Write`].
    pub fn begin(folder: &Path, about: BTreeMap<String, String>, there: There) -> Result<Self> {
        let mut archive = Self::new(folder, about)?;
        if there == There::Keep && (folder.join(INDEX).exists() || !archive.files(0).is_empty()) {
            return Err(Error::Exists { path: folder.to_owned(), what: "captures" });
        }
        archive.begin_anew()?;
        Ok(archive)
    }

    /// Take the files of an earlier batch away, and begin the first.
    fn begin_anew(&mut self) -> Result<()> {
        for number in 0.. {
            let files = self.files(number);
            if files.is_empty() {
                break;
            }
            files.iter().try_for_each(|path| remove(path))?;
        }
        self.begin_file()?;
        self.write_index()
    }

    /// What there is of a file by its number, done or under way.
    fn files(&self, number: usize) -> Vec<PathBuf> {
        let path = self.folder.join(name(number));
        let ends = ["safetensors", "values", "jsonl"].into_iter().map(|end| path.with_extension(end));
        ends.filter(|path| path.exists()).collect()
    }

    fn new(folder: &Path, about: BTreeMap<String, String>) -> Result<Self> {
        claim_folder(folder)?;
        let (lock, index) = (Lock::take(folder)?, Index { version: 1, files: Vec::new() });
        Ok(Self { folder: folder.to_owned(), about, index, most: MOST, open: None, _lock: lock })
    }

    /// Go on in a folder behind a line: what it has of later ones goes.
    ///
    /// # Errors
    /// Files that are not ours, or that cannot be read or written.
    pub fn resume(folder: &Path, about: BTreeMap<String, String>, behind: u64) -> Result<Self> {
        let (path, mut archive) = (folder.join(INDEX), Self::new(folder, about)?);
        if !path.exists() {
            // Killed before anything was kept; a whole file is somebody else's.
            if folder.join(archive.name()).exists() {
                return Err(Error::Exists { path: folder.to_owned(), what: "captures without an index" });
            }
            archive.begin_anew()?;
            return Ok(archive);
        }
        let (bytes, _) = read_within(&path, MOST_INDEX).map_err(|error| Error::read(&path, &error))?;
        archive.index = serde_json::from_slice(&bytes).map_err(|error| {
            Error::asked(format!("{}: {error}", path.display()), "take another folder for captures")
        })?;
        archive.go_on(behind)?;
        Ok(archive)
    }

    /// Open the file under way again.
    fn go_on(&mut self, behind: u64) -> Result<()> {
        let (names, values) = (self.path("jsonl"), self.path("values"));
        if !names.exists() || !values.exists() {
            return self.begin_file();
        }
        drop(Grown::behind_lines(&names)?);
        let mut entries = Entries::open(&names)?;
        let mut parts: Vec<Part> = Vec::new();
        while let Some(entry) = entries.entry()? {
            let part =
                serde_json::from_str(&entry.json).map_err(|error| entries.broken(&error.to_string()))?;
            parts.push(part);
        }
        let len = Input::open(&values).map_err(|error| Error::read(&values, &error))?.len();
        parts.retain(|part| part.line <= behind && part.end <= len);
        let missing = || Error::Internal("the file under way has gone".into());
        let end = parts.last().map_or(0, |part| part.end);
        let values = Grown::behind(&values, end)?.ok_or_else(missing)?;
        let mut written = Grown::begin(&names, There::Replace)?;
        for part in &parts {
            written.line(part)?;
        }
        self.open = Some(Open { values, names: written, parts });
        Ok(())
    }

    fn begin_file(&mut self) -> Result<()> {
        let (names, values, there) = (self.path("jsonl"), self.path("values"), There::Replace);
        let open = Open {
            values: Grown::begin(&values, there)?,
            names: Grown::begin(&names, there)?,
            parts: Vec::new(),
        };
        self.open = Some(open);
        Ok(())
    }

    /// Name of the file under way.
    fn name(&self) -> String {
        name(self.index.files.len())
    }

    fn path(&self, end: &str) -> PathBuf {
        self.folder.join(self.name()).with_extension(end)
    }

    /// Keep what a line captured. The name of its file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn add(&mut self, number: u64, captures: &Captures) -> Result<String> {
        let end = |open: &Open| open.parts.last().map_or(0, |part| part.end);
        // Before, not behind: everything in a file that is done was answered.
        if self.open.as_ref().is_some_and(|open| end(open) >= self.most) {
            self.close()?;
            self.begin_file()?;
        }
        let open = self.open.as_mut().ok_or_else(|| Error::Internal("no file is open".into()))?;
        for (site, value) in captures {
            let values: Vec<f32> = value.flatten_all()?.to_vec1()?;
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            let end = end(open) + bytes.len() as u64;
            open.values.write(&bytes)?;
            let part = Part { line: number, site: site.to_string(), shape: value.dims().to_vec(), end };
            open.names.line(&part)?;
            open.parts.push(part);
        }
        Ok(self.name())
    }

    /// Make a safetensors file of the file under way.
    fn close(&mut self) -> Result<()> {
        let Some(Open { parts, .. }) = self.open.take() else { return Ok(()) };
        if !parts.is_empty() {
            let (file, values) = (self.name(), self.path("values"));
            let mut whole = Growing::begin(&self.folder.join(&file), There::Replace)?;
            let header = header(&self.about, &parts)?;
            whole.write(&(header.len() as u64).to_le_bytes())?;
            whole.write(header.as_bytes())?;
            let fail = |error| Error::read(&values, &error);
            let mut input = Input::open(&values).map_err(fail)?;
            loop {
                let piece = input.next(PIECE).map_err(fail)?;
                if piece.is_empty() {
                    break;
                }
                whole.write(&piece)?;
            }
            whole.finish()?;
            let mut lines: Vec<u64> = parts.iter().map(|part| part.line).collect();
            lines.dedup();
            let under_way = [self.path("values"), self.path("jsonl")];
            self.index.files.push(Whole { file, lines });
            self.write_index()?;
            return under_way.iter().try_for_each(|path| remove(path));
        }
        [self.path("values"), self.path("jsonl")].iter().try_for_each(|path| remove(path))
    }

    fn write_index(&self) -> Result<()> {
        let text =
            serde_json::to_string_pretty(&self.index).map_err(|error| Error::Internal(error.to_string()))?;
        write(&self.folder.join(INDEX), (text + "\n").as_bytes(), There::Replace)
    }

    /// All lines are in.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(mut self) -> Result<()> {
        self.close()
    }
}

fn name(number: usize) -> String {
    format!("captures-{number:05}.safetensors")
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|error| Error::write(path, error))
}

/// Header of a safetensors file with these tensors one behind the other, called LINE/site.
fn header(about: &BTreeMap<String, String>, parts: &[Part]) -> Result<String> {
    let mut fields = Map::new();
    fields.insert("__metadata__".into(), json!(about));
    let mut begin = 0;
    for Part { line, site, shape, end } in parts {
        let tensor = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]});
        fields.insert(format!("{line}/{site}"), tensor);
        begin = *end;
    }
    let mut header =
        serde_json::to_string(&Value::Object(fields)).map_err(|error| Error::Internal(error.to_string()))?;
    // Tensors begin at a multiple of 8.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    Ok(header)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use safetensors::SafeTensors;

    use super::*;
    use crate::site::{Hook, Site};

    fn captures(line: u64) -> Captures {
        let tensor = Tensor::full(line as f32, (2, 3), &Device::Cpu).unwrap();
        [Hook::ResidPre, Hook::ResidPost].map(|hook| (Site::block(0, hook), tensor.clone())).into()
    }

    fn about() -> BTreeMap<String, String> {
        [("kind".to_owned(), "capture".to_owned())].into()
    }

    #[test]
    fn files_are_numbered_and_a_killed_archive_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = Archive::begin(folder.path(), about(), There::Keep).unwrap();
        archive.most = 40;
        for line in 1..=3 {
            let name = archive.add(line, &captures(line)).unwrap();
            assert_eq!(name, format!("captures-{:05}.safetensors", line - 1));
        }
        assert!(Archive::begin(folder.path(), about(), There::Keep).is_err());
        drop(archive);
        // Line 3 was captured, and not answered: it is done again.
        let mut archive = Archive::resume(folder.path(), about(), 2).unwrap();
        archive.most = 40;
        for line in 3..=4 {
            archive.add(line, &captures(line)).unwrap();
        }
        archive.finish().unwrap();
        let names: Vec<String> = crate::files::names(folder.path()).unwrap().into_iter().collect();
        assert_eq!(names.len(), 5, "{names:?}");
        for line in 1..=4u64 {
            let file = folder.path().join(format!("captures-{:05}.safetensors", line - 1));
            let bytes = std::fs::read(file).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(tensors.len(), 2);
            let tensor = tensors.tensor(&format!("{line}/blocks.0.hook_resid_post")).unwrap();
            assert_eq!(
                (tensor.shape(), tensor.data()),
                (&[2, 3][..], [line as f32; 6].map(f32::to_le_bytes).as_flattened())
            );
        }
        let index: Value =
            serde_json::from_slice(&std::fs::read(folder.path().join(INDEX)).unwrap()).unwrap();
        assert_eq!(index["files"][2], json!({"file": "captures-00002.safetensors", "lines": [3]}));
    }
}

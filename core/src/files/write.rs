//! The one door for writing: beside the file, whole, then renamed. What cannot be written is known before the work.
//!
//! A file that is being written is called `.NAME.PROCESS-CHANCE.part` and locked by who writes it. A lock ends with its
//! process, so what nobody holds is a leftover, whatever became of the process's number.

use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::read::kind;
use crate::error::{Error, Result};

/// How the name of an unfinished file ends.
const PART: &str = ".part";
/// Letters of a file's name in that of its unfinished one: names have a limit, and a long one must leave room.
const STEM: usize = 48;
/// Tries for a name of one's own; a second one is rare.
const TRIES: usize = 16;

/// What to do with a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// It stays: writing fails.
    Keep,
    /// It is replaced.
    Replace,
}

/// Write `bytes` to `path` so that a reader sees the old file or the whole new one, also after a crash.
///
/// # Errors
/// [`Error::Write`] where the path names no file or the system refuses, [`Error::Target`] where it is no regular file; what
/// was there before is kept.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, There::Replace)
}

/// The same, and what to do where a file is there.
///
/// # Errors
/// As [`write_atomic`], and [`Error::Taken`] where one is there that stays.
pub fn write(path: &Path, bytes: &[u8], there: There) -> Result<()> {
    let old = look(path, there)?;
    let fail = |error| refused(path, error);
    let mut part = Part::begin(path).map_err(fail)?;
    part.fill(bytes, old.as_ref()).and_then(|()| part.name(path, there)).map_err(fail)
}

/// Why a file was not written.
pub(super) fn refused(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Taken { path: path.to_owned() },
        _ => Error::write(path, error),
    }
}

/// A file that is written piece by piece. It has its name once it is whole; what is dropped before is gone.
pub struct Growing {
    part: Part,
    path: PathBuf,
    there: There,
    old: Option<Metadata>,
    /// Not written yet.
    held: Vec<u8>,
}

/// Bytes that a [`Growing`] holds back.
const HELD: usize = 1 << 16;

impl Growing {
    /// A file of which nothing is written yet.
    ///
    /// # Errors
    /// As [`write()`].
    pub fn begin(path: &Path, there: There) -> Result<Self> {
        let old = look(path, there)?;
        sweep(parent(path));
        let part = Part::begin(path).map_err(|error| Error::write(path, error))?;
        Ok(Self { part, path: path.to_owned(), there, old, held: Vec::new() })
    }

    /// More of it.
    ///
    /// # Errors
    /// [`Error::Write`] where the system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= HELD {
            self.part.file.write_all(&self.held).map_err(|error| Error::write(&self.path, error))?;
            self.held.clear();
        }
        Ok(())
    }

    /// It is whole.
    ///
    /// # Errors
    /// As [`write()`].
    pub fn finish(mut self) -> Result<()> {
        let (path, held) = (&self.path, &self.held);
        let filled = self.part.fill(held, self.old.as_ref());
        filled.and_then(|()| self.part.name(path, self.there)).map_err(|error| refused(path, error))
    }
}

/// Look before the work whether a file can be written; leftovers in its folder go.
///
/// # Errors
/// As [`write()`].
pub fn claim_file(path: &Path, there: There) -> Result<()> {
    look(path, there)?;
    let folder = parent(path);
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => probe(path),
        Ok(_) => Err(Error::write(path, format!("{} is not a folder", folder.display()))),
        Err(error) => Err(Error::write(path, format!("{}: {error}", folder.display()))),
    }
}

/// Make a folder where it is missing, and look before the work whether it can be written; leftovers in it go.
///
/// # Errors
/// [`Error::Write`] where the system refuses, [`Error::Target`] where something else has its name.
pub fn claim_folder(folder: &Path) -> Result<()> {
    if let Ok(metadata) = fs::symlink_metadata(folder)
        && !fs::metadata(folder).is_ok_and(|target| target.is_dir())
    {
        return Err(unfit(folder, &metadata));
    }
    fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    // Of a name that no file has.
    probe(&folder.join("probe")).map_err(|error| match error {
        Error::Write { cause, .. } => Error::write(folder, cause),
        other => other,
    })
}

/// Refuse what would lie among a checkpoint's files, or is one of them by another name.
///
/// # Errors
/// [`Error::Target`].
pub fn claim_apart(path: &Path, checkpoint: &Path) -> Result<()> {
    let whole =
        |path: &Path| fs::canonicalize(if path == Path::new("") { Path::new(".") } else { path }).ok();
    let Some(folder) = whole(checkpoint) else { return Ok(()) };
    let folder = if folder.is_dir() { folder } else { parent(&folder).to_owned() };
    let refuse = |cause: &str| {
        let next_step = "choose a place outside of the checkpoint's folder";
        Err(Error::Target { path: path.to_owned(), cause: cause.into(), next_step: next_step.into() })
    };
    if whole(path).is_some_and(|own| own == folder) {
        return refuse("it is the checkpoint's own folder");
    }
    if !path.is_dir() && whole(parent(path)).is_some_and(|own| own == folder) {
        return refuse("it lies in the checkpoint's folder");
    }
    // A cache's folder holds links to files elsewhere.
    let is_one = |own: &Metadata| {
        let entries = fs::read_dir(&folder).into_iter().flatten().filter_map(io::Result::ok);
        entries.filter_map(|entry| fs::metadata(entry.path()).ok()).any(|file| same(&file, own))
    };
    match fs::metadata(path) {
        Ok(own) if own.is_file() && is_one(&own) => refuse("it is a file of the checkpoint"),
        _ => Ok(()),
    }
}

/// A path that nothing has: this one, else with a number before its extension, from 2 on.
pub fn free(path: &Path) -> PathBuf {
    let name = |number: u64| match number {
        1 => path.to_owned(),
        _ => numbered(path, number),
    };
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    (1..).map(name).find(is_free).unwrap_or_else(|| path.to_owned())
}

/// `plan-2.json`.
pub fn numbered(path: &Path, number: u64) -> PathBuf {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, end) = (part(path.file_stem()), part(path.extension()));
    let dot = if end.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}-{number}{dot}{end}"))
}

/// The folder that a path lies in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `.NAME.PROCESS-CHANCE`, then an ending: nobody guesses it, and everybody sees whose it is. So many letters of the name.
pub(super) fn hidden(path: &Path, letters: usize, end: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("not a file name"))?.to_string_lossy();
    let stem: String = name.chars().take(letters).collect();
    let chance = RandomState::new().hash_one(std::process::id());
    Ok(parent(path).join(format!(".{stem}.{}-{chance:016x}{end}", std::process::id())))
}

/// Whether [`hidden`] makes such names.
pub(super) fn is_hidden(name: &str, end: &str) -> bool {
    let own = name.strip_prefix('.').and_then(|name| name.strip_suffix(end)?.rsplit_once('.'));
    let own = own.and_then(|(_, own)| own.split_once('-'));
    own.is_some_and(|(process, chance)| {
        process.parse::<u32>().is_ok() && chance.len() == 16 && u64::from_str_radix(chance, 16).is_ok()
    })
}

/// Make what was done in a folder last; a system that cannot is not held up by it.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    let Ok(folder) = File::open(folder) else { return Ok(()) };
    match folder.sync_all() {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// What a path names now: nothing, or a file that may be replaced.
pub(super) fn look(path: &Path, there: There) -> Result<Option<Metadata>> {
    if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::write(path, "not a file name"));
    }
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(Error::write(path, error)),
        Ok(metadata) if !metadata.is_file() => Err(unfit(path, &metadata)),
        Ok(_) if there == There::Keep => Err(Error::Taken { path: path.to_owned() }),
        Ok(metadata) if metadata.permissions().readonly() => Err(Error::write(path, "it is read-only")),
        Ok(metadata) => Ok(Some(metadata)),
    }
}

/// What is neither replaced nor written into.
fn unfit(path: &Path, metadata: &Metadata) -> Error {
    let cause = format!("it is {}", kind(metadata.file_type()));
    let next_step = "choose a name that is free; a link's target can be named itself";
    Error::Target { path: path.to_owned(), cause, next_step: next_step.into() }
}

/// Whether a folder takes a new file: what its permissions say is not all that counts.
fn probe(path: &Path) -> Result<()> {
    sweep(parent(path));
    Part::begin(path).map(drop).map_err(|error| Error::write(path, error))
}

/// Take away what killed writers left in a folder.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok) {
        let ours = is_hidden(&entry.file_name().to_string_lossy(), PART);
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = OpenOptions::new().read(true).write(true).open(entry.path()) else { continue };
        if file.try_lock().is_ok() {
            // Under the lock: who has just begun it must not believe that it stays. Where it cannot be removed it harms nobody.
            drop(fs::remove_file(entry.path()));
        }
        drop(file);
    }
}

/// A file that is being written; gone unless it gets its name.
struct Part {
    file: File,
    path: PathBuf,
    named: bool,
}

impl Part {
    fn begin(path: &Path) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            let part = hidden(path, STEM, PART)?;
            match OpenOptions::new().read(true).write(true).create_new(true).open(&part) {
                Ok(file) => {
                    let own = Self { file, path: part, named: false };
                    // Somebody who sweeps may have been quicker than the lock; without locks nobody sweeps.
                    let swept = matches!(own.file.try_lock(), Err(fs::TryLockError::WouldBlock))
                        || fs::symlink_metadata(&own.path).is_err();
                    if !swept {
                        return Ok(own);
                    }
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) => {}
            }
            tries += 1;
            if tries == TRIES {
                return Err(io::Error::other("no temporary file can be kept beside it"));
            }
        }
    }

    /// With the owner and the permissions of the file that it replaces.
    fn fill(&mut self, bytes: &[u8], old: Option<&Metadata>) -> io::Result<()> {
        if let Some(old) = old {
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt as _;
                // Only root may give a file away.
                drop(std::os::unix::fs::fchown(&self.file, Some(old.uid()), Some(old.gid())));
            }
            self.file.set_permissions(old.permissions())?;
        }
        self.file.write_all(bytes)?;
        self.file.sync_all()
    }

    fn name(&mut self, path: &Path, there: There) -> io::Result<()> {
        match there {
            There::Keep => rename_new(&self.path, path)?,
            There::Replace => fs::rename(&self.path, path)?,
        }
        self.named = true;
        sync(parent(path))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.named {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Rename where nothing has the name.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
            Err(error) if cannot(&error) => {}
            done => return done,
        }
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// Whether a file system lacks what was asked of it.
pub(super) fn cannot(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Whether two names are of one file.
fn same(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        false
    }
}

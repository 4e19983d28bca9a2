//! A file that grows while work goes on. What a kill leaves torn is cut off by whoever goes on with it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::write::{There, look, refused};
use crate::error::{Error, Result};

/// Bytes looked at together for the end of the last whole line.
const BLOCK: u64 = 1 << 16;

/// A file that is open for more; no other process of ours writes it meanwhile.
#[derive(Debug)]
pub struct Grown {
    file: File,
    path: PathBuf,
}

impl Grown {
    /// An empty file. One that is there goes, where it may be replaced.
    ///
    /// # Errors
    /// [`Error::Taken`] where one is there that stays, [`Error::Target`] where it is no regular file, [`Error::Write`].
    pub fn begin(path: &Path, there: There) -> Result<Self> {
        if look(path, there)?.is_some() {
            // Whoever writes it would go on with what nobody sees.
            drop(free(path, reopened(path)?)?);
            fs::remove_file(path).map_err(|error| Error::write(path, error))?;
        }
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = free(path, file.map_err(|error| refused(path, error))?)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Go on with a file behind its last whole line; nothing where there is no file.
    ///
    /// # Errors
    /// As [`Grown::begin`].
    pub fn behind_lines(path: &Path) -> Result<Option<Self>> {
        Self::resume(path, whole)
    }

    /// Go on with a file behind its first bytes, as many as `whole` says; nothing where there is no file.
    ///
    /// # Errors
    /// As [`Grown::begin`], and where it has fewer.
    pub fn behind(path: &Path, whole: u64) -> Result<Option<Self>> {
        Self::resume(path, |file| match file.metadata()?.len() {
            len if len < whole => Err(io::Error::other("it is shorter than it was")),
            _ => Ok(whole),
        })
    }

    fn resume(path: &Path, whole: impl FnOnce(&mut File) -> io::Result<u64>) -> Result<Option<Self>> {
        if look(path, There::Replace)?.is_none() {
            return Ok(None);
        }
        let fail = |error: io::Error| Error::write(path, error);
        let mut file = free(path, reopened(path)?)?;
        let whole = whole(&mut file).map_err(fail)?;
        file.set_len(whole).map_err(fail)?;
        Ok(Some(Self { file, path: path.to_owned() }))
    }

    /// More of it. It is the system's once this returns: a kill of the program loses none.
    ///
    /// # Errors
    /// [`Error::Write`]; a part may be there then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::write(&self.path, error))
    }

    /// One more line: a value as JSON.
    ///
    /// # Errors
    /// As [`Grown::write`], and a value that JSON cannot hold.
    pub fn line(&mut self, value: &impl Serialize) -> Result<()> {
        self.write(json_line(value)?.as_bytes())
    }

    /// Wait until everything is on the disk.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| Error::write(&self.path, error))
    }
}

/// A file that is there, for more.
fn reopened(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(path).map_err(|error| Error::write(path, error))
}

/// A file that nobody else writes; the lock ends with it. A system without locks has none to respect.
fn free(path: &Path, file: File) -> Result<File> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let (cause, next_step) =
                ("another process writes it", "wait until it has ended, or choose another name");
            Err(Error::Target { path: path.to_owned(), cause: cause.into(), next_step: next_step.into() })
        }
        _ => Ok(file),
    }
}

/// A value as a line of JSON, with its end.
///
/// # Errors
/// A value that JSON cannot hold.
pub fn json_line(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))? + "\n")
}

/// Bytes up to the end of the last whole line.
fn whole(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_cut_off_and_whole_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        assert!(Grown::behind_lines(&path).unwrap().is_none());
        Grown::begin(&path, There::Keep).unwrap().write(b"one\n").unwrap();
        assert!(matches!(Grown::begin(&path, There::Keep), Err(Error::Taken { .. })));
        for torn in ["tw".to_owned(), "x".repeat(3 * BLOCK as usize), String::new()] {
            let before = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{before}{torn}")).unwrap();
            Grown::behind_lines(&path).unwrap().unwrap().write(b"two\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{before}two\n"));
        }
        fs::write(&path, "torn").unwrap();
        let mut held = Grown::behind_lines(&path).unwrap().unwrap();
        held.write(b"one\n").unwrap();
        assert!(matches!(Grown::behind_lines(&path), Err(Error::Target { .. })));
        assert!(matches!(Grown::begin(&path, There::Replace), Err(Error::Target { .. })));
        drop(held);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        Grown::behind(&path, 2).unwrap().unwrap().write(b"!").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"on!");
        assert!(Grown::behind(&path, 4).is_err());
        Grown::begin(&path, There::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert!(matches!(Grown::begin(folder.path(), There::Replace), Err(Error::Target { .. })));
    }
}

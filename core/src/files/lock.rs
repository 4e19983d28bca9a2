//! The right to write into a folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Name of the file that says who writes into a folder.
pub const LOCK: &str = ".sluice-lock";
/// Digits of a process at most.
const DIGITS: u64 = 20;
/// Tries; a second one is needed where another process has just ended.
const TRIES: usize = 16;

/// The right to write into a folder: while it is held, no other process of ours gets it. It ends with the process, and the
/// file that a killed one leaves is taken over.
#[derive(Debug)]
pub struct Lock {
    pub(super) path: PathBuf,
    // Closing it gives the right back.
    _file: File,
}

impl Lock {
    /// Take it.
    ///
    /// # Errors
    /// [`Error::Busy`] where another process has it, [`Error::Write`] where the system refuses.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let fail = |error: std::io::Error| Error::write(&path, error);
        let mut tries = 0;
        let mut file = loop {
            let mut file = open(&path).map_err(fail)?;
            // A system without locks has none to respect.
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                let mut process = String::new();
                drop((&mut file).take(DIGITS).read_to_string(&mut process));
                return Err(Error::Busy { path: folder.to_owned(), process: process.trim().into() });
            }
            // Who had it may have taken the file's name away between the two.
            if fs::symlink_metadata(&path).is_ok() && is_named(&file, &path) {
                break file;
            }
            tries += 1;
            if tries == TRIES {
                return Err(Error::write(&path, "it does not stay"));
            }
        };
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(fail)?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where it cannot be removed the next one takes it over.
        drop(fs::remove_file(&self.path));
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // Of a link the target would be written over.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(path)
}

fn is_named(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let [own, named] = [file.metadata(), fs::metadata(path)].map(|found| found.ok().map(of));
        own == named
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

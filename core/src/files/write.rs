//! The one door for writing.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Write `bytes` to `path` so that a reader sees the old file or the whole new one, also after a crash.
///
/// # Errors
/// [`Error::Write`] where the path names no file or the system refuses; what was there before is kept.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let stem = path.file_name().ok_or_else(|| Error::write(path, "not a file name"))?.to_string_lossy();
    // Of this process and this call: two writers of one file must not share it.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let partial = folder.join(format!(".{stem}.{}-{call}.part", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| {
        drop(fs::remove_file(&partial));
        Error::write(path, error)
    })
}

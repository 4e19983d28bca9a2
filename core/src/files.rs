//! Files: read within a limit, written atomically.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// The first `limit` bytes of a file, and whether it has more.
pub fn read_within(path: &Path, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    let more = bytes.len() as u64 > limit;
    if more {
        bytes.truncate(limit as usize);
    }
    Ok((bytes, more))
}

/// A text without the byte order mark that some editors put in front.
pub fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}

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

/// SHA-256 of a file, hexadecimal.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(piece.get(..read).unwrap_or_default());
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_cuts_and_says_so() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("text");
        write_atomic(&path, b"sixteen")?;
        assert_eq!(read_within(&path, 7)?, (b"sixteen".to_vec(), false));
        assert_eq!(read_within(&path, 3)?, (b"six".to_vec(), true));
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        write_atomic(&path, b"abc")?;
        assert!(sha256(&path)?.starts_with("ba7816bf8f01cfea"), "FIPS 180-2, appendix B.1");
        Ok(())
    }
}

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

/// Bytes as a text, without the byte order mark that some editors put in front.
///
/// # Errors
/// Why they are no UTF-8, after a file's name and a colon.
pub fn utf8(bytes: &[u8]) -> std::result::Result<&str, String> {
    if let Some(encoding) = wide(bytes) {
        return Err(format!("its text is in {encoding}, not in UTF-8"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("it is no text in UTF-8 from byte {} on", error.valid_up_to()))?;
    Ok(unmarked(text))
}

/// The encoding of a text that is in wider units than bytes, by its byte order mark or its first character.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    Some(match *bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, 1..=127, ..] | [1..=127, 0, 0, 0, ..] => {
            "UTF-32"
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=127, ..] | [1..=127, 0, ..] => "UTF-16",
        _ => return None,
    })
}

/// SHA-256, hexadecimal.
pub fn sha256_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
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
    Ok(hexadecimal(&hash.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

//! Files that stand where others should be, by their first bytes, and files that are not there.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Fault};

/// The refusal of bytes that are plainly something else than a file of a checkpoint.
pub(super) fn stray(path: &Path, bytes: &[u8]) -> Option<Error> {
    let begins =
        |with: &str| bytes.get(..with.len()).is_some_and(|b| b.eq_ignore_ascii_case(with.as_bytes()));
    let (fault, cause) = if begins("version https://git-lfs.github.com/spec/") {
        (Fault::Pointer, "is a Git LFS pointer, not the file itself")
    } else if begins("<!doctype") || begins("<html") {
        (Fault::Broken, "is a web page")
    } else if begins("GGUF") {
        (Fault::Gguf, "is a GGUF file")
    } else if bytes.starts_with(b"PK\x03\x04") {
        (Fault::PyTorch, "is a zip archive, as PyTorch and NumPy write them")
    } else {
        return None;
    };
    Some(Error::faulty(path, fault, cause))
}

/// The failure to read a file that its folder or an index names.
pub(super) fn not_there(path: &Path, error: Error) -> Error {
    let Error::Read { kind: io::ErrorKind::NotFound, .. } = error else { return error };
    let link = fs::symlink_metadata(path).is_ok();
    let cause = if link { "is a link to a file that is not there" } else { "is not there" };
    Error::faulty(path, Fault::Incomplete, cause)
}

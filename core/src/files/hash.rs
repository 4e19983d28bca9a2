//! Content as a short name.

use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::read::{Input, PIECE};

/// SHA-256, hexadecimal.
pub fn sha256_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// As [`Input::open`] and [`Input::read`].
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = Input::open(path)?;
    let mut hash = Sha256::new();
    loop {
        let piece = file.next(PIECE)?;
        if piece.is_empty() {
            return Ok(hexadecimal(&hash.finalize()));
        }
        hash.update(piece);
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Files: one door for reading, one for writing.

mod append;
mod entries;
mod hash;
mod lock;
mod patience;
mod read;
mod stream;
mod swap;
mod text;
mod write;

pub use append::{Grown, json_line};
pub use entries::{Entries, Entry};
pub use hash::{sha256, sha256_of};
pub use lock::{LOCK, Lock};
pub use patience::apart;
pub(crate) use patience::watched;
pub use read::{Input, allow_many, names, read_within, stands};
pub use stream::{PIECE, Stream};
pub use swap::{Own, Scratch, Staged, recover};
pub use text::{is_text, unmarked, utf8};
pub use write::{Growing, There, claim_apart, claim_file, claim_folder, free, numbered, write, write_atomic};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_and_known_by_its_content() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("text");
        write_atomic(&path, b"abc")?;
        assert_eq!(names(folder.path())?, ["text"]);
        assert!(sha256(&path)?.starts_with("ba7816bf8f01cfea"), "FIPS 180-2, appendix B.1");
        assert_eq!(sha256(&path)?, sha256_of(b"abc"));
        Ok(())
    }
}

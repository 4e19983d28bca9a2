//! Session files: written whole, read with what can be read.

use std::path::{Path, PathBuf};

use super::Session;
use super::reading::{Reader, without_steps};
use super::shapes::{File, Head, MOST, VERSION};
use super::writing::Writer;
use crate::checkpoint::check_weight;
use crate::error::{Error, Result};
use crate::files::{self, There, read_within, write};

/// A session that was read, and what could not be read of it.
#[derive(Debug, Default)]
pub struct Opened {
    /// What could.
    pub session: Session,
    /// What could not, a line each.
    pub missing: Vec<String>,
}

/// The folder of a session's other files: `work.files` of `work.json`, else the whole name and `.files`.
pub fn beside(path: &Path) -> PathBuf {
    match path.extension() {
        Some(end) if end == "json" => path.with_extension("files"),
        _ => {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".files");
            path.with_file_name(name)
        }
    }
}

impl Session {
    /// Write it: first what it names, then the file, then what it does not name any longer goes. After a crash there is the old
    /// session or the new one.
    ///
    /// # Errors
    /// [`Error::Write`]; the file that was there before is kept.
    pub fn write(&self, path: &Path, there: There) -> Result<()> {
        let folder = beside(path);
        let mut writer = Writer::new(&folder);
        let text = writer.session(self)?;
        write(path, text.as_bytes(), there)?;
        writer.sweep();
        Ok(())
    }

    /// Read one. Parts that cannot be read are left out and told.
    ///
    /// # Errors
    /// Where it is no session, is cut short, or is of a newer version.
    pub fn read(path: &Path) -> Result<Opened> {
        let (bytes, more) = read_within(path, MOST).map_err(|error| Error::read(path, &error))?;
        let refuse = |cause: &str| no_session(path, cause);
        if more {
            return Err(refuse(&format!("is over {} MiB", MOST >> 20)));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| refuse("is not UTF-8"))?;
        let text = files::unmarked(text);
        check_weight(&without_steps(text)).map_err(|cause| refuse(&cause))?;
        let head: Head = serde_json::from_str(text).map_err(|error| refuse(&cause(&error)))?;
        if head.version != VERSION {
            let (version, sluice) = (head.version, head.sluice);
            return Err(Error::asked(
                format!("{}: is of version {version}, written by Sluice {sluice}", path.display()),
                &format!("open it with that Sluice; this one reads version {VERSION}"),
            ));
        }
        let file: File = serde_json::from_str(text).map_err(|error| refuse(&cause(&error)))?;
        let folder = beside(path);
        let mut reader = Reader::new(&folder);
        let works = file.checkpoints.into_iter().map(|work| reader.work(work)).collect();
        let (notes, window) = (file.notes, file.window);
        let session = Session { works, open: file.open.unwrap_or(usize::MAX), notes, window };
        Ok(Opened { session, missing: reader.missing })
    }
}

fn no_session(path: &Path, cause: &str) -> Error {
    Error::asked(format!("{}: {cause}", path.display()), "choose a file that Sluice saved as a session")
}

/// What is wrong with a text that is no session.
fn cause(error: &serde_json::Error) -> String {
    match error.is_eof() {
        true => format!("is cut short: {error}"),
        false => format!("is no session: {error}"),
    }
}

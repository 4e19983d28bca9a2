//! The one door for reading: regular files alone, in pieces, each of which is waited for within bounds.

use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::patience::begin;

/// Bytes of a piece.
pub(super) const PIECE: usize = 4 << 20;

/// A regular file that is open for reading.
#[derive(Clone, Debug)]
pub struct Input {
    file: Arc<File>,
    state: State,
    at: u64,
}

/// What tells whether a file was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    len: u64,
    modified: Option<SystemTime>,
}

impl State {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { len: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl Input {
    /// Open a file.
    ///
    /// # Errors
    /// What the system says, and [`io::ErrorKind::InvalidInput`] of what is no file: a folder, a pipe, a device.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        begin(move || {
            let file = without_waiting().open(&path)?;
            let metadata = file.metadata()?;
            match kind(metadata.file_type()) {
                FILE => Ok(Self { file: Arc::new(file), state: State::of(&metadata), at: 0 }),
                what => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("is {what}, not a file"))),
            }
        })?
        .wait()
    }

    /// Its length when it was opened.
    pub fn len(&self) -> u64 {
        self.state.len
    }

    /// Whether it was empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nobody has written to it since.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        let (file, state) = (Arc::clone(&self.file), self.state);
        begin(move || Ok(State::of(&file.metadata()?) == state))?.wait()
    }

    /// The next `len` bytes, fewer at its end.
    ///
    /// # Errors
    /// What the system says.
    pub fn next(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let bytes = self.upto(self.at, len)?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    /// `len` bytes from `start` on.
    ///
    /// # Errors
    /// What the system says, and [`io::ErrorKind::UnexpectedEof`] where it has fewer by now.
    pub fn read(&self, start: u64, len: usize) -> io::Result<Vec<u8>> {
        let bytes = self.upto(start, len)?;
        if bytes.len() < len { Err(cut_short()) } else { Ok(bytes) }
    }

    /// So many bytes from each of some places on, one piece of work.
    ///
    /// # Errors
    /// As [`Input::read`].
    pub(crate) fn parts(&self, parts: Vec<(u64, usize)>) -> io::Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        begin(move || {
            let mut all = vec![0; parts.iter().map(|(_, len)| len).sum()];
            let mut rest = all.as_mut_slice();
            for (start, len) in parts {
                let (part, later) = std::mem::take(&mut rest).split_at_mut(len);
                if fill(&file, part, start)? < len {
                    return Err(cut_short());
                }
                rest = later;
            }
            Ok(all)
        })?
        .wait()
    }

    /// Read into `bytes` from `start` on, without a bound on the time: for work that is waited for in bounds itself.
    ///
    /// # Errors
    /// As [`Input::read`].
    pub(crate) fn fill(&self, bytes: &mut [u8], start: u64) -> io::Result<()> {
        if fill(&self.file, bytes, start)? < bytes.len() { Err(cut_short()) } else { Ok(()) }
    }

    /// At most `len` bytes from `start` on.
    fn upto(&self, start: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        begin(move || {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(len)?;
            bytes.resize(len, 0);
            let read = fill(&file, &mut bytes, start)?;
            bytes.truncate(read);
            Ok(bytes)
        })?
        .wait()
    }
}

/// Let the process have as many files open as the system allows it: a checkpoint in shards keeps each of them open, and many
/// systems begin with 256 or 1,024.
pub fn allow_many() {
    /// More than any checkpoint has.
    const MANY: u64 = 1 << 16;
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = maximum.unwrap_or(MANY).min(MANY);
        if current.is_some_and(|current| current < wanted) {
            // Where it is refused, what was allowed stays.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        }
    }
}

/// The first `limit` bytes of a file, and whether it has more.
///
/// # Errors
/// As [`Input::open`] and [`Input::next`].
pub fn read_within(path: &Path, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut file = Input::open(path)?;
    let mut bytes = Vec::new();
    loop {
        let room = limit.saturating_add(1).saturating_sub(bytes.len() as u64);
        let piece = file.next(PIECE.min(usize::try_from(room).unwrap_or(PIECE)))?;
        if piece.is_empty() {
            break;
        }
        bytes.extend(piece);
    }
    let more = bytes.len() as u64 > limit;
    if more {
        bytes.truncate(limit as usize);
    }
    Ok((bytes, more))
}

/// Names in a folder, in the system's order.
///
/// # Errors
/// What the system says.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let folder = folder.to_owned();
    let list = move || -> io::Result<Vec<String>> {
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    begin(list)?.wait()
}

/// Whether anything stands at a path, also a link to nothing: what is there is read, or said to be no file.
pub fn stands(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Opening a pipe waits for who writes to it, unless asked not to.
fn without_waiting() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "was cut short while it was read")
}

/// Read into `bytes` as far as the file goes. How many.
fn fill(file: &File, bytes: &mut [u8], start: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(room) = bytes.get_mut(done..).filter(|room| !room.is_empty()) {
        match read_at(file, room, start.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn read_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, bytes, start);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, bytes, start);
}

const FILE: &str = "a file";

/// What something is.
pub(super) fn kind(kind: FileType) -> &'static str {
    if kind.is_file() {
        return FILE;
    }
    if kind.is_dir() {
        return "a folder";
    }
    if kind.is_symlink() {
        return "a link";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    "something else"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_cuts_and_says_so() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("text");
        fs::write(&path, b"sixteen")?;
        assert_eq!(read_within(&path, 7)?, (b"sixteen".to_vec(), false));
        assert_eq!(read_within(&path, 3)?, (b"six".to_vec(), true));
        assert_eq!(read_within(&path, u64::MAX)?.0, b"sixteen");
        let long = vec![7; 2 * PIECE + 5];
        fs::write(&path, &long)?;
        assert_eq!(read_within(&path, u64::MAX)?, (long, false));
        Ok(())
    }

    #[test]
    fn a_file_that_changes_is_known_to_have_changed() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("weights");
        fs::write(&path, b"sixteen bytes ..")?;
        let file = Input::open(&path)?;
        assert_eq!(file.read(8, 5)?, b"bytes");
        assert!(file.is_unchanged()?);
        fs::write(&path, b"short")?;
        assert!(!file.is_unchanged()?);
        let cut = file.read(8, 5).err().ok_or("it is read past its end")?;
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        // The folder may go: what is open stays.
        fs::remove_file(&path)?;
        assert_eq!(file.read(0, 5)?, b"short");
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_at_once() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let pipe = folder.path().join("pipe");
        std::process::Command::new("mkfifo").arg(&pipe).status()?;
        for (path, what) in
            [(pipe.as_path(), "a pipe"), (Path::new("/dev/zero"), "a device"), (folder.path(), "a folder")]
        {
            let refused = read_within(path, 9).err().ok_or("it is read")?;
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
            assert!(refused.to_string().contains(what), "{refused}");
        }
        Ok(())
    }
}

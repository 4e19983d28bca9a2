//! A folder that takes another one's place as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::lock::{LOCK, Lock};
use super::write::{cannot, hidden, is_hidden, parent, refused, rename_new, sync};
use crate::error::{Error, Result};

/// How the name of a folder ends that is not complete, or was replaced.
const NEW: &str = ".part";
/// How that of an old one ends while its place is empty, where a file system cannot swap.
const OLD: &str = ".old";

/// Whether a file of this name is of what is written: the rest of a folder is somebody else's.
pub type Own<'a> = &'a dyn Fn(&str) -> bool;

/// A folder beside another one, to be filled and to take its place.
pub struct Staged {
    path: PathBuf,
    place: PathBuf,
    lock: Lock,
}

impl Staged {
    /// An empty folder beside `place`, which is a folder or not there.
    ///
    /// # Errors
    /// [`Error::Write`] where the system refuses.
    pub fn beside(place: &Path) -> Result<Self> {
        let fail = |error| Error::write(place, error);
        let path = hidden(place, usize::MAX, NEW).map_err(fail)?;
        fs::create_dir(&path).map_err(fail)?;
        let lock = Lock::take(&path)?;
        Ok(Self { path, place: place.to_owned(), lock })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Take it away again.
    ///
    /// # Errors
    /// [`Error::Write`] where the system refuses.
    pub fn discard(self) -> Result<()> {
        let Self { path, lock, .. } = self;
        drop(lock);
        fs::remove_dir_all(&path).map_err(|error| Error::write(&path, error))
    }

    /// Take a place that nothing has.
    ///
    /// # Errors
    /// [`Error::Taken`] where something has it by now, [`Error::Write`] where the system refuses.
    pub fn appear(self) -> Result<()> {
        let Self { path, place, mut lock } = self;
        if let Err(error) = sync(&path).and_then(|()| rename_new(&path, &place)) {
            drop(lock);
            drop(fs::remove_dir_all(&path));
            return Err(refused(&place, error));
        }
        lock.path = place.join(LOCK);
        drop(lock);
        sync(parent(&place)).map_err(|error| Error::write(&place, error))
    }

    /// Take the place. What the old folder holds beside `own` files moves into the new one, the rest of it goes. `lock` is that
    /// of the place, before and after.
    ///
    /// # Errors
    /// [`Error::Write`] where the system refuses.
    pub fn commit(self, own: Own<'_>, lock: &mut Lock) -> Result<()> {
        let Self { path, place, lock: staged } = self;
        let fail = |error: io::Error| Error::write(&place, error);
        let swap = || -> io::Result<PathBuf> {
            fs::set_permissions(&path, fs::metadata(&place)?.permissions())?;
            sync(&path)?;
            exchange(&path, &place)
        };
        let old = match swap() {
            Ok(old) => old,
            Err(error) => {
                drop(staged);
                drop(fs::remove_dir_all(&path));
                return Err(fail(error));
            }
        };
        let mut before = std::mem::replace(lock, staged);
        lock.path = place.join(LOCK);
        before.path = old.join(LOCK);
        // Before what was there goes.
        sync(parent(&place)).map_err(fail)?;
        settle(&old, &place, own, before).map_err(fail)
    }
}

/// A folder for a while, of this process alone.
pub struct Scratch {
    path: PathBuf,
    lock: Option<Lock>,
}

impl Scratch {
    /// An empty one in the system's folder for such; those that killed processes left there under this name go.
    ///
    /// # Errors
    /// [`Error::Write`] where the system refuses.
    pub fn new(name: &str) -> Result<Self> {
        let place = std::env::temp_dir().join(name);
        for left in beside(&place, NEW) {
            // Another person's stays.
            if Lock::take(&left).map(drop).is_ok() {
                drop(fs::remove_dir_all(left));
            }
        }
        let Staged { path, lock, .. } = Staged::beside(&place)?;
        Ok(Self { path, lock: Some(lock) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.lock.take();
        // What cannot be removed goes at the next start.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Bring to an end what killed processes began at this place.
///
/// # Errors
/// [`Error::Write`] where the system refuses.
pub fn recover(place: &Path, own: Own<'_>) -> Result<()> {
    let fail = |error: io::Error| Error::write(place, error);
    for old in beside(place, OLD) {
        if !place.exists() {
            rename_new(&old, place).map_err(fail)?;
        }
    }
    for left in beside(place, NEW).into_iter().chain(beside(place, OLD)) {
        match Lock::take(&left) {
            Ok(lock) => settle(&left, place, own, lock).map_err(fail)?,
            // Somebody is at it.
            Err(Error::Busy { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The hidden folders of a place.
fn beside(place: &Path, end: &str) -> Vec<PathBuf> {
    let Some(name) = place.file_name().map(|name| name.to_string_lossy()) else { return Vec::new() };
    let ours = |entry: &fs::DirEntry| {
        let other = entry.file_name().to_string_lossy().into_owned();
        let own = other.strip_prefix('.').and_then(|rest| rest.strip_prefix(&*name));
        // One dot before what chance gave it, one before the end: no other place's.
        let own = own.is_some_and(|rest| {
            rest.matches('.').count() == 2 && rest.starts_with('.') && is_hidden(&format!(".{rest}"), end)
        });
        own && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    let entries = fs::read_dir(parent(place)).into_iter().flatten().filter_map(io::Result::ok);
    entries.filter(ours).map(|entry| entry.path()).collect()
}

/// Two folders change places. Where the old one is then.
fn exchange(new: &Path, place: &Path) -> io::Result<PathBuf> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE).map_err(io::Error::from) {
            Err(error) if cannot(&error) => {}
            done => return done.map(|()| new.to_owned()),
        }
    }
    // In two steps: between them the place is empty, and `recover` puts the old folder back.
    let old = hidden(place, usize::MAX, OLD)?;
    fs::rename(place, &old)?;
    if let Err(error) = fs::rename(new, place) {
        fs::rename(&old, place)?;
        return Err(error);
    }
    Ok(old)
}

/// Take away a folder of which only what is not ours counts: that moves into the place.
fn settle(folder: &Path, place: &Path, own: Own<'_>, lock: Lock) -> io::Result<()> {
    let entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    for entry in entries {
        let name = entry.file_name();
        let written = name.to_string_lossy();
        if written == LOCK {
            continue;
        }
        let unfinished = is_hidden(&written, NEW) && entry.file_type()?.is_file();
        if own(&written) || unfinished {
            fs::remove_file(entry.path())?;
        } else if rename_new(&entry.path(), &place.join(&name)).is_err() {
            // The place has one of this name: both stay.
            return Ok(());
        }
    }
    sync(place)?;
    drop(lock);
    fs::remove_dir(folder)
}

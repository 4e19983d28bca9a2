//! Where sessions and settings are kept on this machine: a folder of its own for each window's session, so that windows beside
//! each other do not write over each other's.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use eframe::storage_dir;
use sluice_core::files::{Lock, claim_folder, names};
use sluice_core::{Error, Result};

use crate::paths::SESSION;

/// Where the window keeps what outlives it, under the system's folder for that.
pub const APP: &str = "sluice";
/// What egui remembers: widths, scrolled places.
pub const MEMORY: &str = "memory.json";
/// Folders of sessions that no window has, at most: the oldest go.
const MOST: usize = 16;

/// The folder of everything.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

/// A window's place in it.
#[derive(Debug)]
pub struct Place {
    /// Where its session is kept.
    pub folder: PathBuf,
    /// It is the first window: it goes on with the session of the last one, if there is one.
    pub goes_on: bool,
    /// For as long as the window lives: that it is first, and that its folder is its own.
    locks: Vec<Lock>,
}

impl Drop for Place {
    /// One in which nothing was kept goes.
    fn drop(&mut self) {
        self.locks.clear();
        drop(std::fs::remove_dir(&self.folder));
    }
}

impl Home {
    /// The system's folder for such data; none where it has none.
    pub fn of_the_system() -> Option<Self> {
        Some(Self { root: storage_dir(APP)? })
    }

    /// Any folder.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The settings file.
    pub fn settings(&self) -> PathBuf {
        self.root.join("settings.json")
    }

    fn sessions(&self) -> PathBuf {
        self.root.join("sessions")
    }

    /// Sessions that are kept, the one that was written last first.
    pub fn kept(&self) -> Vec<PathBuf> {
        folders(&self.sessions()).into_iter().map(|folder| folder.join(SESSION)).collect()
    }

    /// A place for a window. The first goes on in the folder that was written last, unless `anew`; any other has a new one.
    ///
    /// # Errors
    /// A folder that cannot be made or written.
    pub fn begin(&self, anew: bool) -> Result<Place> {
        let sessions = self.sessions();
        claim_folder(&sessions)?;
        let first = Lock::take(&sessions).ok();
        let mut old = folders(&sessions);
        if first.is_some() {
            for gone in old.split_off(MOST.min(old.len())) {
                // Whose window lives, or that cannot be removed, stays.
                if Lock::take(&gone).is_ok() {
                    drop(std::fs::remove_dir_all(gone));
                }
            }
        }
        let newest = old.first().filter(|_| first.is_some() && !anew);
        if let Some((folder, lock)) = newest.and_then(|folder| Some((folder, Lock::take(folder).ok()?))) {
            let locks = first.into_iter().chain([lock]).collect();
            return Ok(Place { folder: folder.clone(), goes_on: true, locks });
        }
        let folder = own_folder(&sessions)?;
        let locks = first.into_iter().chain(Lock::take(&folder).ok()).collect();
        Ok(Place { folder, goes_on: false, locks })
    }
}

impl Place {
    /// The session file.
    pub fn session(&self) -> PathBuf {
        self.folder.join(SESSION)
    }

    /// What egui remembers.
    pub fn memory(&self) -> PathBuf {
        self.folder.join(MEMORY)
    }
}

/// A folder that no other window has, called by the time and the process.
fn own_folder(sessions: &Path) -> Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut later = 0;
    loop {
        let folder = sessions.join(format!("{}-{}", since + later, std::process::id()));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => later += 1,
            Err(error) => return Err(Error::write(folder, error)),
        }
    }
}

/// Folders of ours that hold a session, the one that was written last first.
fn folders(sessions: &Path) -> Vec<PathBuf> {
    let numbers = |name: &String| name.split('-').all(|part| part.parse::<u64>().is_ok());
    let of = |name: String| {
        let folder = sessions.join(name);
        let written = std::fs::metadata(folder.join(SESSION)).and_then(|metadata| metadata.modified());
        Some((written.ok()?, folder))
    };
    let all = names(sessions).unwrap_or_default().into_iter().filter(numbers);
    let mut all: Vec<(SystemTime, PathBuf)> = all.filter_map(of).collect();
    all.sort_by(|one, other| other.cmp(one));
    all.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_window_goes_on_and_another_begins() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let first = home.begin(false).unwrap();
        assert!(!first.goes_on);
        std::fs::write(first.session(), "1").unwrap();
        let second = home.begin(false).unwrap();
        assert!(!second.goes_on && second.folder != first.folder);
        std::fs::write(second.session(), "2").unwrap();
        let folder = first.folder.clone();
        drop(first);
        let third = home.begin(false).unwrap();
        assert!(!third.goes_on, "the newest is the second's, which lives");
        drop(third);
        drop(second);
        let fourth = home.begin(false).unwrap();
        assert!(fourth.goes_on && fourth.folder != folder, "the second's was written last");
        drop(fourth);
        assert!(!home.begin(true).unwrap().goes_on);
    }

    #[test]
    fn few_are_kept_and_nothing_else_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let sessions = home.sessions();
        for number in 0..MOST + 3 {
            let folder = sessions.join(format!("{number}-7"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(SESSION), "").unwrap();
        }
        std::fs::create_dir(sessions.join("mine")).unwrap();
        std::fs::write(sessions.join("mine").join(SESSION), "").unwrap();
        assert!(home.begin(false).unwrap().goes_on);
        let left = names(&sessions).unwrap();
        assert!(left.len() == MOST + 1 && left.contains(&"mine".to_owned()), "{left:?}");
    }
}

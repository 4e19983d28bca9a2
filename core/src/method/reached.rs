//! What a study has come to, on its way to a disk: what a session brings its findings back from.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{Asked, Ready, Running, State, Steps};
use crate::engine::{Cancelled, Card, Engine};
use crate::error::{Error, Result};
use crate::files::{read_within, sha256_of, stands, write_atomic};

/// How the name of a state file ends.
const END: &str = "safetensors";
/// Letters of the question's hash in a name.
const HASH: usize = 16;
/// Bytes of a state file at most, to be copied.
const MOST: u64 = 4 << 30;

/// State of a study with its question. In memory until it is written, then by its file's name.
#[derive(Debug)]
pub struct Reached {
    /// Stem of its files' names: the method, its question by its hash, how far it is.
    pub stem: String,
    /// Nothing is missing.
    pub done: bool,
    question: Value,
    held: Mutex<Held>,
    /// The folder that it was read from.
    folder: Option<PathBuf>,
}

#[derive(Debug)]
enum Held {
    /// Nothing to go on from: it is done anew.
    Nothing,
    Memory(Box<State>),
    File(PathBuf),
}

impl Reached {
    /// What a run has come to.
    ///
    /// # Errors
    /// Values that the method cannot write down.
    pub fn of(run: &Running, card: &Card) -> Result<Self> {
        let question = run.question(card)?;
        let state = run.state()?;
        let held = if state.is_empty() { Held::Nothing } else { Held::Memory(Box::new(state)) };
        Ok(Self::new(run.asked().method.id, run.progress(), run.is_done(), question, held))
    }

    fn new(method: &str, steps: Steps, done: bool, question: Value, held: Held) -> Self {
        let hash = sha256_of(question.to_string().as_bytes());
        let hash = hash.get(..HASH).unwrap_or_default();
        let stem = format!("{method}-{hash}-{}", steps.done);
        Self { stem, done, question, held: Mutex::new(held), folder: None }
    }

    /// One that was written into a folder; without a `state` file it is done anew.
    pub fn written(stem: String, done: bool, folder: &Path, state: Option<&str>) -> Self {
        let held = state.map_or(Held::Nothing, |name| Held::File(folder.join(name)));
        Self { stem, done, question: Value::Null, held: Mutex::new(held), folder: Some(folder.to_owned()) }
    }

    /// A run that goes on from it. One that was done is done.
    ///
    /// # Errors
    /// As [`Running::start`] and [`Reached::state`].
    pub fn restore(
        &self,
        asked: Asked,
        engine: &mut Engine,
        card: &Card,
        cancelled: Cancelled,
    ) -> Result<Running> {
        let ready = Ready::new(asked, engine)?;
        let state = self.state(&ready.question(card)?)?;
        ready.start(engine, card, state, cancelled)
    }

    /// The state, for the same question; none where there is nothing to go on from.
    ///
    /// # Errors
    /// As [`State::load`], and where it belongs to another question.
    pub fn state(&self, question: &Value) -> Result<Option<State>> {
        let file = match &*self.held() {
            Held::Nothing => return Ok(None),
            Held::Memory(state) if self.question == *question => return Ok(Some((**state).clone())),
            Held::Memory(_) => return Err(Error::Study("what was kept belongs to another question".into())),
            Held::File(path) => path.clone(),
        };
        State::load(&file, question).map(Some)
    }

    /// Write it into a folder, or copy its file there. The name; none where there is nothing to go on from.
    ///
    /// # Errors
    /// [`Error::Write`], and [`Error::Read`] of a file that has gone.
    pub fn write_into(&self, folder: &Path) -> Result<Option<String>> {
        let name = format!("{}.{END}", self.stem);
        let path = folder.join(&name);
        let mut held = self.held();
        match &*held {
            Held::Nothing => return Ok(None),
            Held::File(file) if *file == path => {}
            // Equal names are of equal questions that are as far.
            Held::File(file) if stands(&path) && stands(file) => {}
            _ if stands(&path) => *held = Held::File(path),
            Held::Memory(state) => {
                state.write(&path, &self.question)?;
                *held = Held::File(path);
            }
            Held::File(file) => {
                write_atomic(&path, &whole(file)?)?;
            }
        }
        Ok(Some(name))
    }

    /// Copy the findings that lie beside its state; nothing where there are none.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn copy_findings(&self, to: &Path) -> Result<()> {
        let from = self.folder.as_ref().map(|folder| folder.join(format!("{}.json", self.stem)));
        match from.map(|from| whole(&from)) {
            Some(Ok(bytes)) => write_atomic(to, &bytes),
            _ => Ok(()),
        }
    }

    /// Whether a name is that of a file of such a study: only those are ever taken away.
    pub fn is_name(name: &str) -> bool {
        let Some((stem, end)) = name.rsplit_once('.') else { return false };
        let mut parts = stem.rsplitn(3, '-');
        let steps = parts.next().is_some_and(|steps| steps.parse::<u64>().is_ok());
        let hash = parts
            .next()
            .is_some_and(|hash| hash.len() == HASH && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        steps
            && hash
            && parts.next().is_some_and(|method| super::find(method).is_some())
            && [END, "json"].contains(&end)
    }

    /// No code of others runs while it is locked.
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file to be copied.
fn whole(file: &Path) -> Result<Vec<u8>> {
    match read_within(file, MOST) {
        Ok((bytes, false)) => Ok(bytes),
        Ok((_, true)) => Err(Error::read(file, &std::io::ErrorKind::FileTooLarge.into())),
        Err(error) => Err(Error::read(file, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_once_and_copied_then() {
        let state = State::new(&7).unwrap();
        let steps = Steps { done: 12, ..Steps::default() };
        let reached =
            Reached::new("trace", steps, true, serde_json::json!({"a": 1}), Held::Memory(Box::new(state)));
        let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (own, other) = (serde_json::json!({"a": 1}), serde_json::json!({"a": 2}));
        assert_eq!(reached.state(&own).unwrap().unwrap().read::<u32>().unwrap(), 7, "from memory");
        assert!(reached.state(&other).is_err());
        let name = reached.write_into(one.path()).unwrap().unwrap();
        assert!(Reached::is_name(&name), "{name}");
        assert_eq!(reached.state(&own).unwrap().unwrap().read::<u32>().unwrap(), 7, "from its file");
        assert!(reached.state(&other).is_err());
        assert_eq!(reached.write_into(two.path()).unwrap().as_deref(), Some(name.as_str()));
        assert_eq!(
            std::fs::read(one.path().join(&name)).unwrap(),
            std::fs::read(two.path().join(&name)).unwrap()
        );
        std::fs::remove_file(one.path().join(&name)).unwrap();
        reached.write_into(two.path()).unwrap();
        assert!(reached.state(&own).is_ok(), "the copy that is left is its file");
        std::fs::remove_file(two.path().join(&name)).unwrap();
        let three = tempfile::tempdir().unwrap();
        assert!(reached.write_into(three.path()).is_err(), "its file has gone");
        for other in [
            "notes.json",
            "trace-12.json",
            "trace-0123456789abcdef-x.json",
            "../trace-0123456789abcdef-1.json",
        ] {
            assert!(!Reached::is_name(other), "{other}");
        }
    }
}

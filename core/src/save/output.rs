//! The folder of a saved model: it is there whole, or as it was.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::SIDE_FILES;
use crate::error::{Error, Result};
use crate::files::{Lock, Staged, There, claim_folder, names, recover};

/// What was made of what.
pub(super) const ABOUT: &str = "sluice.json";
/// What else a saved model has beside its side files and shards.
const OWN: [&str; 5] =
    [ABOUT, "README.md", "config.json", "model.safetensors", "model.safetensors.index.json"];

/// Whether a saved model has a file of this name.
fn is_own(name: &str) -> bool {
    OWN.contains(&name) || SIDE_FILES.contains(&name) || is_shard(name)
}

fn is_shard(name: &str) -> bool {
    let middle = name.strip_prefix("model-").and_then(|name| name.strip_suffix(".safetensors"));
    middle.is_some_and(|middle| middle.chars().all(|c| c.is_ascii_digit() || "-of".contains(c)))
}

/// The place of a saved model, looked at before the work.
pub(super) struct Place {
    path: PathBuf,
    /// The right to write into the folder that is there.
    lock: Option<Lock>,
}

impl Place {
    /// Look whether a model can be saved there.
    ///
    /// # Errors
    /// [`Error::Taken`] where something is there that stays, [`Error::Target`] where it is of somebody else, and what the
    /// system refuses.
    pub(super) fn claim(out: &Path, there: There) -> Result<Self> {
        let path = std::path::absolute(out).map_err(|error| Error::write(out, error))?;
        let path = fs::canonicalize(&path).unwrap_or(path);
        recover(&path, &is_own)?;
        if fs::symlink_metadata(&path).is_err() {
            // Whether the folder around it takes one.
            Staged::beside(&path)?.discard()?;
            return Ok(Self { path, lock: None });
        }
        let held = names(&path).unwrap_or_default();
        if !held.is_empty() && there == There::Keep {
            return Err(Error::Taken { path: out.to_owned() });
        }
        // What would go with the old folder, or beside which a model would be a mixture.
        let foreign = |name: &&String| is_own(name) || name.ends_with(".safetensors");
        if let (false, Some(name)) = (held.iter().any(|name| name == ABOUT), held.iter().find(foreign)) {
            let cause = "it is of a folder that `sluice save` did not make".into();
            let next_step = "choose another folder".into();
            return Err(Error::Target { path: path.join(name), cause, next_step });
        }
        claim_folder(&path)?;
        let lock = Some(Lock::take(&path)?);
        Staged::beside(&path)?.discard()?;
        Ok(Self { path, lock })
    }

    /// Fill a folder beside it, then put it in its place.
    ///
    /// # Errors
    /// What `fill` fails with, and what the system refuses; what was there before stays then.
    pub(super) fn fill(mut self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let staged = Staged::beside(&self.path)?;
        match (fill(staged.path()), &mut self.lock) {
            (Err(error), _) => staged.discard().and(Err(error)),
            (Ok(()), Some(lock)) => staged.commit(&is_own, lock),
            (Ok(()), None) => staged.appear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_known_by_their_names() {
        assert!(is_own("model-00001-of-00002.safetensors") && is_own("vocab.json"));
        assert!(!is_own("model-notes.safetensors") && !is_own("notes.md"));
    }
}

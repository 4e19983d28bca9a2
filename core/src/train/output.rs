//! The folder of a run: a checkpoint and the state that goes on from it, always of one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Serialize;
use serde_json::Value;

use crate::checkpoint::{NumberFormat, safetensors_bytes};
use crate::error::{Error, Result};
use crate::files::{Lock, Staged, claim_folder, names, read_within, recover, write_atomic};
use crate::method::Existing;

/// What a run goes on from.
pub const STATE: &str = "training-state.safetensors";
const CONFIG: &str = "config.json";
const MODEL: &str = "model.safetensors";
/// Everything that a run writes.
const OWN: [&str; 6] = [CONFIG, "tokenizer.json", "preprocessor_config.json", MODEL, STATE, "training.json"];
/// How the names of weights end.
const WEIGHTS: [&str; 6] = [".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json"];
/// Bytes of a config at most, to look whose it is.
const MOST: u64 = 64 << 20;

fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// The folder, while this process has the right to write into it.
pub(super) struct Output {
    folder: PathBuf,
    lock: Lock,
    /// What does not change while a run goes on.
    fixed: Vec<(&'static str, Vec<u8>)>,
}

impl Output {
    /// Look whether a run may be written, before any work. `fixed` is what does not change while it goes on.
    pub(super) fn open(out: &Path, existing: Existing, fixed: Vec<(&'static str, Vec<u8>)>) -> Result<Self> {
        // A link's folder is swapped, not the link. Of a run that was killed while its folder was swapped the place may be empty.
        let place = std::path::absolute(out).map_err(|error| Error::write(out, error))?;
        let place = fs::canonicalize(&place).unwrap_or(place);
        recover(&place, &is_own)?;
        let begun = is_run(&place)?;
        if begun && existing == Existing::Refuse {
            return Err(Error::Exists { path: out.to_owned(), what: "a run" });
        }
        claim_folder(&place)?;
        let folder = fs::canonicalize(&place).map_err(|error| Error::write(&place, error))?;
        let lock = Lock::take(&folder)?;
        let own = Self { folder, lock, fixed };
        if !(existing == Existing::Resume && own.is_of_this_run()) {
            own.claim_swap()?;
        }
        Ok(own)
    }

    /// The state to go on from.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join(STATE)
    }

    /// Save the run so far. What is of another run, or of none, is replaced as a whole; else the model goes first: a state that is
    /// older than the model comes to the same model again, one that is newer would leave it behind.
    pub(super) fn save(
        &mut self,
        weights: &BTreeMap<String, Tensor>,
        state: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        let model = safetensors_bytes(weights, NumberFormat::Bf16)?;
        let state = safetensors_bytes(state, NumberFormat::F32)?;
        if self.is_of_this_run() {
            write_atomic(&self.folder.join(MODEL), &model)?;
            return write_atomic(&self.folder.join(STATE), &state);
        }
        let staged = Staged::beside(&self.folder)?;
        let write = |name: &str, bytes: &[u8]| write_atomic(&staged.path().join(name), bytes);
        let all = || {
            self.fixed.iter().try_for_each(|(name, bytes)| write(name, bytes))?;
            write(MODEL, &model)?;
            write(STATE, &state)
        };
        match all() {
            Ok(()) => staged.commit(&is_own, &mut self.lock),
            Err(error) => staged.discard().and(Err(error)),
        }
    }

    /// Say what was made, at the end.
    pub(super) fn report(&self, report: &impl Serialize) -> Result<()> {
        write_atomic(&self.folder.join("training.json"), &json(report)?)
    }

    /// Whether the folder holds a checkpoint of this run.
    fn is_of_this_run(&self) -> bool {
        let holds = |(name, bytes): &(&str, Vec<u8>)| {
            fs::read(self.folder.join(name)).is_ok_and(|written| written == *bytes)
        };
        self.folder.join(MODEL).is_file() && self.state().is_file() && self.fixed.iter().all(holds)
    }

    /// Whether the folder can be swapped for another one.
    fn claim_swap(&self) -> Result<()> {
        let refuse = |cause: &str, next_step: &str| {
            let (cause, next_step) = (cause.into(), next_step.into());
            Err(Error::Target { path: self.folder.clone(), cause, next_step })
        };
        if std::env::current_dir().is_ok_and(|here| here.starts_with(&self.folder)) {
            // Who is in it would be left in a folder that is gone.
            return refuse(
                "a run replaces its folder, and you are in it",
                "start it from outside of the folder",
            );
        }
        if is_mounted(&self.folder) {
            return refuse("a run replaces its folder, and this one is mounted", "choose a folder inside it");
        }
        Staged::beside(&self.folder)?.discard()
    }
}

/// A file's JSON.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Internal(error.to_string()))?;
    Ok((text + "\n").into_bytes())
}

/// Whether a folder holds a run; one that holds anything of somebody else's checkpoint is refused.
fn is_run(folder: &Path) -> Result<bool> {
    let Ok(names) = names(folder) else { return Ok(false) };
    let foreign = |name: &str| {
        let path = folder.join(name);
        let cause = "it is of a checkpoint that `sluice train` did not make";
        Err(Error::Target { path, cause: cause.into(), next_step: "choose another folder".into() })
    };
    if names.iter().any(|name| name == CONFIG) {
        let config = read_within(&folder.join(CONFIG), MOST).ok();
        let config = config.and_then(|(bytes, _)| serde_json::from_slice::<Value>(&bytes).ok());
        let ours = config.is_some_and(|config| config.get("sluice").is_some());
        return if ours { Ok(true) } else { foreign(CONFIG) };
    }
    let of_checkpoint = |name: &&String| {
        let weights = WEIGHTS.iter().any(|end| name.ends_with(end));
        name.as_str() != STATE && (weights || OWN.contains(&name.as_str()))
    };
    match names.iter().find(of_checkpoint) {
        Some(name) => foreign(name),
        None => Ok(names.iter().any(|name| name == STATE)),
    }
}

/// Whether another file system begins here: it cannot be renamed.
fn is_mounted(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
        folder.parent().is_none_or(|parent| device(parent) != device(folder))
    }
    #[cfg(not(unix))]
    {
        folder.parent().is_none()
    }
}

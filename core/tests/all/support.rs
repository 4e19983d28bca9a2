//! What the tests share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Engine, never};
use sluice_core::method::FINDINGS;
use sluice_core::model::{Ask, Logits, Output, Schedule};
use sluice_core::plan::Plan;

/// Committed fixtures.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A file of the shared test data. `None`, said aloud, where `SLUICE_DATA` is not set; with it set, a missing file
/// fails.
pub fn data(path: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("SLUICE_DATA") else {
        println!("skipped: SLUICE_DATA is not set");
        return None;
    };
    let root = PathBuf::from(root);
    // A relative path is meant from the workspace's root.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(root);
    let path = root.join(path);
    assert!(path.exists(), "{} is missing", path.display());
    Some(path)
}

pub fn open(folder: &Path) -> Engine {
    engine::open(&Checkpoint::open(folder).unwrap(), &mut |_, _| {}, &never).unwrap().engine
}

pub fn run(engine: &Engine, tokens: &[u32], schedule: &Arc<Schedule>, ask: Ask) -> Output {
    engine.pass(&tokens.into(), schedule, ask, &never).unwrap().0
}

/// All logits under a plan, flat.
pub fn logits(engine: &mut Engine, tokens: &[u32], plan: &Plan) -> Vec<f32> {
    let schedule = engine.schedule(plan, &tokens.into(), &never).unwrap();
    let ask = Ask { logits: Logits::All, ..Ask::default() };
    run(engine, tokens, &schedule, ask).logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// A copy of a committed checkpoint.
pub fn copy_of(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden().join(case).join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// A committed checkpoint with NaN in a tensor's first row.
pub fn poisoned(family: &str, tensor: &str) -> tempfile::TempDir {
    let folder = copy_of(family);
    let path = folder.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    let value = tensors.get(tensor).unwrap_or_else(|| panic!("{tensor}: {:?}", tensors.keys()));
    let broken = (value.narrow(0, 0, 1).unwrap() * f64::NAN).unwrap();
    let rest = value.narrow(0, 1, value.dim(0).unwrap() - 1).unwrap();
    let value = candle_core::Tensor::cat(&[broken, rest], 0).unwrap();
    tensors.insert(tensor.into(), value);
    candle_core::safetensors::save(&tensors, &path).unwrap();
    folder
}

/// findings.json of a folder less what it cost, and every file beside it.
pub fn findings_of(folder: &Path) -> (Value, BTreeMap<String, Vec<u8>>) {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap());
    }
    let mut json: Value = serde_json::from_slice(&files.remove(FINDINGS).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("cost").unwrap();
    (json, files)
}

//! The trainer, a few steps of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sluice_core::Error;
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine;
use sluice_core::files::Lock;
use sluice_core::train::{Diet, Options, train};

const DIET: Diet = Diet { pictures: 2, facts: 1, stories: 1 };

/// A step of the tower, ten of the modules, one of a router.
fn options(out: &Path, resume: bool, limit: Option<Duration>) -> Options {
    Options {
        out: out.to_owned(),
        seed: 3,
        steps: 12,
        diet: DIET,
        save_every: 3,
        resume,
        overwrite: false,
        limit,
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "training is slow without optimisation")]
fn an_interrupted_run_ends_at_the_same_bytes() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = train(&options(whole.path(), false, None), &engine::never, &mut |_| {}).unwrap().unwrap();
    assert_eq!((report.tower_steps, report.router_steps, report.pictures), (1, 1, 22));
    // A limit is looked at before every step: each sitting does at least the steps that fit into it, the first none.
    let mut sittings = 0;
    let mut limit = Some(Duration::ZERO);
    while train(&options(parts.path(), sittings > 0, limit), &engine::never, &mut |_| {}).unwrap().is_none() {
        sittings += 1;
        limit = Some(Duration::from_millis(900));
        if sittings > 20 {
            limit = None;
        }
    }
    assert!(sittings > 1, "never interrupted");
    for name in ["model.safetensors", "config.json", "preprocessor_config.json", "tokenizer.json"] {
        let bytes = |folder: &Path| fs::read(folder.join(name)).unwrap();
        assert_eq!(bytes(whole.path()), bytes(parts.path()), "{name}");
    }
    // What was written opens, with its routers and its image tower.
    let checkpoint = Checkpoint::open(whole.path()).unwrap();
    let opened = engine::open(&checkpoint, &mut |_, _| {}, &engine::never).unwrap();
    assert_eq!(opened.card.warnings, [""; 0]);
    let spec = &opened.engine.model.spec;
    assert!(spec.is_duo() && spec.vision.is_some() && spec.routers.len() == 5);
}

#[test]
fn a_state_of_another_run_is_refused() {
    let out = tempfile::tempdir().unwrap();
    assert!(
        train(&options(out.path(), false, Some(Duration::ZERO)), &engine::never, &mut |_| {})
            .unwrap()
            .is_none()
    );
    for other in [
        Options { seed: 4, ..options(out.path(), true, None) },
        Options { steps: 13, ..options(out.path(), true, None) },
        Options { diet: Diet { pictures: 3, ..DIET }, ..options(out.path(), true, None) },
    ] {
        let error = train(&other, &engine::never, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("another seed, length or mix"), "{error}");
    }
}

/// A run that ends before its first step.
fn begun(options: &Options) -> sluice_core::Result<()> {
    train(options, &|| true, &mut |_| {}).map(|report| assert!(report.is_none()))
}

/// Names and bytes of everything in a folder.
fn all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (name(&entry), fs::read(entry.path()).unwrap_or_default())).collect()
}

#[test]
fn a_run_is_replaced_as_a_whole_and_only_where_that_is_asked() {
    let around = tempfile::tempdir().unwrap();
    let out = around.path().join("run");
    begun(&options(&out, false, None)).unwrap();
    let first = all(&out);
    let whole = [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "training-state.safetensors",
    ];
    assert_eq!(first.keys().collect::<Vec<_>>(), whole);
    Checkpoint::open(&out).unwrap();
    let other = Options { seed: 4, ..options(&out, false, None) };
    let error = begun(&other).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }) && error.next_step().contains("--overwrite"), "{error}");
    assert_eq!(all(&out), first);
    // What is no part of a run stays beside the next one.
    fs::write(out.join("report-card.md"), "kept").unwrap();
    fs::write(out.join("training.json"), "of the first run").unwrap();
    begun(&Options { overwrite: true, ..other.clone() }).unwrap();
    let second = all(&out);
    for name in ["config.json", "model.safetensors", "training-state.safetensors"] {
        assert_ne!(first[name], second[name], "{name}");
    }
    assert!(second.contains_key("report-card.md") && !second.contains_key("training.json"));
    assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1, "leftovers");
    // Gone on with, under files that another version of the program would make.
    fs::write(out.join("tokenizer.json"), "{}").unwrap();
    begun(&Options { resume: true, ..other }).unwrap();
    assert_eq!(all(&out), second);
}

#[test]
fn a_folder_with_anything_of_another_checkpoint_is_refused() {
    let around = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8]); 8] = [
        ("config.json", b"{\"model_type\": \"llama\"}"),
        ("config.json", b"\xFF\xFE not text"),
        ("config.json", b"{"),
        ("model.safetensors", b"weights"),
        ("model-00001-of-00002.safetensors", b"weights"),
        ("pytorch_model.bin", b"weights"),
        ("q4.gguf", b"weights"),
        ("tokenizer.json", b"{}"),
    ];
    for (number, (name, bytes)) in cases.into_iter().enumerate() {
        let out = around.path().join(number.to_string());
        fs::create_dir(&out).unwrap();
        fs::write(out.join(name), bytes).unwrap();
        for (resume, overwrite) in [(false, false), (false, true), (true, false)] {
            let error = begun(&Options { overwrite, ..options(&out, resume, None) }).unwrap_err();
            assert!(matches!(error, Error::Target { .. }) && error.to_string().contains(name), "{error}");
        }
        assert_eq!(all(&out), BTreeMap::from([(name.to_owned(), bytes.to_vec())]));
    }
}

#[test]
fn a_folder_that_another_process_trains_into_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let lock = Lock::take(out.path()).unwrap();
    let error = begun(&options(out.path(), false, None)).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(lock);
    begun(&options(out.path(), false, None)).unwrap();
}

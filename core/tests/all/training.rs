//! The trainer, a few steps of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine;
use sluice_core::train::{Diet, Options, train};

const DIET: Diet = Diet { pictures: 2, facts: 1, stories: 1 };

/// A step of the tower, ten of the modules, one of a router.
fn options(out: &Path, resume: bool, limit: Option<Duration>) -> Options {
    Options { out: out.to_owned(), seed: 3, steps: 12, diet: DIET, save_every: 3, resume, limit }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "training is slow without optimisation")]
fn an_interrupted_run_ends_at_the_same_bytes() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = train(&options(whole.path(), false, None), &mut |_| {}).unwrap().unwrap();
    assert_eq!((report.tower_steps, report.router_steps, report.pictures), (1, 1, 22));
    // A limit is looked at before every step: each sitting does at least the steps that fit into it, the first none.
    let mut sittings = 0;
    let mut limit = Some(Duration::ZERO);
    while train(&options(parts.path(), sittings > 0, limit), &mut |_| {}).unwrap().is_none() {
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
    assert!(train(&options(out.path(), false, Some(Duration::ZERO)), &mut |_| {}).unwrap().is_none());
    for other in [
        Options { seed: 4, ..options(out.path(), true, None) },
        Options { steps: 13, ..options(out.path(), true, None) },
        Options { diet: Diet { pictures: 3, ..DIET }, ..options(out.path(), true, None) },
    ] {
        let error = train(&other, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("another seed, length or mix"), "{error}");
    }
}

//! The trainer, a few steps of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sluice_core::train::{Options, train};

fn options(out: &Path, resume: bool, limit: Option<Duration>) -> Options {
    Options { out: out.to_owned(), seed: 3, steps: 4, resume, limit }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "training is slow without optimisation")]
fn an_interrupted_run_ends_at_the_same_bytes() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = train(&options(whole.path(), false, None), &mut |_| {}).unwrap().unwrap();
    assert!(report.all_big.is_finite() && report.all_small.is_finite());
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
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        assert_eq!(
            fs::read(whole.path().join(name)).unwrap(),
            fs::read(parts.path().join(name)).unwrap(),
            "{name}"
        );
    }
    assert!(!parts.path().join("training-state.safetensors").exists());
}

#[test]
fn a_state_of_another_run_is_refused() {
    let out = tempfile::tempdir().unwrap();
    assert!(train(&options(out.path(), false, Some(Duration::ZERO)), &mut |_| {}).unwrap().is_none());
    let other = Options { seed: 4, ..options(out.path(), true, None) };
    let error = train(&other, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("seed 3"), "{error}");
}

//! A session without a window: the same findings.

use std::fs;
use std::path::Path;

use serde_json::Value;
use sluice::command::Command;
use sluice_core::files::There;
use sluice_core::method::head_sweep::HEAD_SWEEP;
use sluice_core::method::plan_cost::PLAN_COST;
use sluice_core::method::trace::TRACE;
use sluice_core::session::Session;

use crate::support::{Window, bits, golden, sluice, text};

/// A session of two checkpoints in a file; the next tokens of its newest steps as bits.
fn session(path: &Path) -> Vec<(u32, u32, u32)> {
    let home = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    window.apply(Command::RunSample(&TRACE));
    window.found(&TRACE);
    window.apply(Command::Show("sublayers"));
    window.click("FFN 3");
    window.apply(Command::Run(&HEAD_SWEEP));
    window.found(&HEAD_SWEEP);
    window.apply(Command::PinVariant);
    window.apply(Command::RunSample(&PLAN_COST));
    window.found(&PLAN_COST);
    window.apply(Command::Sample(0));
    let next = bits(&window.next());
    window.apply(Command::Open(golden("llama")));
    window.until("llama", |state| state.card.as_ref().is_some_and(|card| card.name == "llama"));
    window.settle();
    window.type_prompt("3, 14, 15");
    window.settle();
    let app = window.app();
    sluice::keep::session(&app.state, &app.layout).write(path, There::Keep).unwrap();
    next
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_session_replays_to_the_same_findings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.json");
    let next = session(&path);
    let replay =
        |more: &[&str]| sluice(folder.path(), &[&["replay", "work.json", "--out", "again"], more].concat());
    let output = replay(&[]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for method in ["trace", "head-sweep", "plan-cost"] {
        assert!(
            said.contains(&format!("{method}: the session's findings, in again/bundled/{method}")),
            "{said}"
        );
        assert!(folder.path().join("again/bundled").join(method).join("findings.json").is_file());
    }
    let steps = lines(&folder.path().join("again/bundled/steps.jsonl"));
    let history = Session::read(&path)
        .unwrap()
        .session
        .works
        .into_iter()
        .find(|work| work.checkpoint.name == "bundled");
    assert_eq!(steps.len(), history.unwrap().history.all().len());
    let rows = steps.last().unwrap()["next"]["rows"].as_array().unwrap().clone();
    for (row, (id, base, plan)) in rows.iter().zip(next) {
        let number = |key: &str| (row[key].as_f64().unwrap() as f32).to_bits();
        assert_eq!((row["id"].as_u64().unwrap() as u32, number("base"), number("plan")), (id, base, plan));
    }
    assert_eq!(lines(&folder.path().join("again/bundled/variants.jsonl")).len(), 1);
    assert_eq!(lines(&folder.path().join("again/llama/steps.jsonl")).len(), 2);
    // Written over only where that is asked for.
    let refused = replay(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("holds a replay already"), "{}", text(&refused.stderr));
    for flag in ["--resume", "--overwrite"] {
        assert!(replay(&[flag]).status.success(), "{flag}");
    }
}

#[test]
fn what_is_not_as_it_was_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.json");
    session(&path);
    let text_of = fs::read_to_string(&path).unwrap();
    let replay = |out: &str| {
        let output = sluice(folder.path(), &["replay", "work.json", "--out", out]);
        (output.status.code(), text(&output.stderr), text(&output.stdout))
    };
    // Findings that somebody changed.
    let files = folder.path().join("work.files");
    let kept = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept
        .into_iter()
        .find(|path| path.to_string_lossy().contains("head-sweep") && path.extension().unwrap() == "json");
    let kept = kept.unwrap();
    let whole = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, whole.replacen("\"value\": ", "\"value\": 1", 1)).unwrap();
    let (code, _, said) = replay("one");
    assert!(code == Some(1) && said.contains("head-sweep: other findings than the session's"), "{said}");
    fs::write(&kept, whole).unwrap();
    // A checkpoint that is gone: the others are run.
    fs::write(&path, text_of.replace(&golden("llama").display().to_string(), "/gone/llama")).unwrap();
    let (code, said, found) = replay("two");
    assert!(
        code == Some(1) && said.contains("/gone/llama") && found.contains("trace: the session's findings"),
        "{said}"
    );
    let missing = sluice(folder.path(), &["replay", "none.json", "--out", "three"]);
    assert!(missing.status.code() == Some(1) && !folder.path().join("three").exists());
}

//! Models saved from the command line and from the window, also by processes that are killed.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crossbeam_channel::after;
use eframe::egui::Role;
use serde_json::Value;
use sluice::command::Command;
use sluice::errands::Dialog;
use sluice_core::checkpoint::Checkpoint;
use sluice_core::plan::{Part, Sublayer};
use sluice_core::spec::Lane;

use crate::browser::wait;
use crate::support::{Window, command, json, sluice, text};

const PLAN: &str = r#"{"version": 1, "items": [{"kind": "skip", "layer": 1, "part": "ffn"},
    {"kind": "skip", "layer": 1, "part": "attn"}, {"kind": "ablate", "site": "blocks.0.attn.hook_z", "unit": 1}]}"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plan.json"), PLAN).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_saved_model_runs_as_the_plan_does() {
    let folder = folder();
    let folder = folder.path();
    let prompt = ["--prompt", "Vosil lives in Dunmere. Zavik feeds the", "--json"];
    let output = sluice(folder, &["save", "--plan", "plan.json", "--out", "model", "--dtype", "f32"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("left out with its block"), "{said}");
    assert!(names(&folder.join("model")).iter().any(|name| name == "tokenizer.json"));
    let planned = json(&sluice(folder, &[&["run", "--plan", "plan.json"], &prompt[..]].concat()));
    let saved = json(&sluice(folder, &[&["run", "model"], &prompt[..]].concat()));
    let next = |run: &Value| {
        let next = run["next"].as_array().unwrap().iter();
        next.map(|next| (next["id"].clone(), next["logit"].as_f64().unwrap())).collect::<Vec<_>>()
    };
    let (planned, saved) = (next(&planned), next(&saved));
    assert!(planned.len() > 5);
    for ((id, logit), (own, other)) in planned.iter().zip(&saved) {
        assert!(id == own && (logit - other).abs() < 1e-4, "{id} {logit}, {own} {other}");
    }
    // Nothing is written over, and what cannot be written is named.
    let again = sluice(folder, &["save", "--plan", "plan.json", "--out", "model"]);
    assert!(again.status.code() == Some(1) && text(&again.stderr).contains("--overwrite"));
    fs::write(folder.join("bad.json"), r#"{"version": 1, "items": [{"kind": "threshold", "value": 0.1}]}"#)
        .unwrap();
    let refused = sluice(folder, &["save", "--plan", "bad.json", "--out", "none"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("plan.items[0] (threshold"), "{}", text(&refused.stderr));
    assert_eq!(names(folder), ["bad.json", "model", "plan.json"]);
}

#[test]
fn a_kill_leaves_the_old_model_or_nothing_and_the_next_run_clears_up() {
    let folder = folder();
    let folder = folder.path();
    let weights = |name: &str| fs::read(folder.join(name).join("model.safetensors")).ok();
    for (plan, out) in [(&[][..], "old"), (&["--plan", "plan.json"], "new")] {
        let done = sluice(folder, &[&["save", "--dtype", "f32", "--out", out], plan].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    let (old, new) = (weights("old"), weights("new"));
    assert!(old.is_some() && new.is_some() && old != new);
    let killed = |out: &str, millis: u64| {
        let arguments = ["save", "--dtype", "f32", "--overwrite", "--plan", "plan.json", "--out", out];
        let mut child = command(folder, &arguments).stdout(Stdio::null()).spawn().unwrap();
        let _ = after(Duration::from_millis(millis)).recv();
        drop(child.kill());
        child.wait().unwrap();
    };
    for millis in (0..60).step_by(2) {
        killed("old", millis);
        let now = weights("old");
        assert!(now == old || now == new, "after {millis} ms");
        drop(Checkpoint::open(&folder.join("old")).unwrap());
        killed("fresh", millis);
        let now = weights("fresh");
        assert!(now.is_none() || now == new, "after {millis} ms");
        if folder.join("fresh").exists() {
            drop(Checkpoint::open(&folder.join("fresh")).unwrap());
            fs::remove_dir_all(folder.join("fresh")).unwrap();
        }
    }
    for out in ["old", "fresh"] {
        let done =
            sluice(folder, &["save", "--dtype", "f32", "--overwrite", "--plan", "plan.json", "--out", out]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert_eq!(weights(out), new);
    }
    assert_eq!(names(folder), ["fresh", "new", "old", "plan.json"]);
}

#[test]
fn the_window_saves_the_model_that_the_plan_on_screen_describes() {
    let mut window = Window::bundled();
    for part in [Part::Attn, Part::Ffn] {
        window.apply(Command::Toggle(Sublayer { layer: 2, part }));
    }
    let folder = window.folder.path().join("models");
    fs::create_dir(&folder).unwrap();
    let save = |window: &mut Window, ends: &str| {
        window.apply(Command::Ask(Dialog::ModelFolder));
        wait(window, "Path", true);
        window.fill(Role::TextInput, "Path", &format!("{}/", folder.display()));
        window.harness.run_steps(3);
        window.click("Choose this folder");
        window.until("the message", |state| {
            state.said().starts_with("saved the changed model") && state.said().ends_with(ends)
        });
    };
    save(&mut window, "bundled-changed");
    let saved = Checkpoint::open(&folder.join("bundled-changed")).unwrap();
    let layers = window.state().card.as_ref().unwrap().spec.n_layers();
    let said = window.state().said();
    assert!(said.contains(&format!("{} of {layers} blocks", layers - 1)), "{said}");
    drop(saved);
    // A second one takes another name.
    save(&mut window, "bundled-changed-2");
    assert_eq!(names(&folder), ["bundled-changed", "bundled-changed-2"]);
    // What weights cannot do is said, and nothing is written.
    window.apply(Command::Paint(0, Some(1), Lane::SkipFfn));
    window.apply(Command::Ask(Dialog::ModelFolder));
    wait(&mut window, "Path", true);
    window.fill(Role::TextInput, "Path", &format!("{}/", folder.display()));
    window.harness.run_steps(3);
    window.click("Choose this folder");
    window.until("the refusal", |state| {
        state.results.failure.as_ref().is_some_and(|(_, failure)| failure.cause.contains("plan.items["))
    });
    assert_eq!(names(&folder), ["bundled-changed", "bundled-changed-2"]);
}

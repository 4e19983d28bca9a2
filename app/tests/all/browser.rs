//! Our own file browser, which asks where the desktop has no dialog; as it is here.

use eframe::egui::{Key, Role};
use egui_kittest::kittest::Queryable as _;
use sluice::command::Command;
use sluice::errands::Dialog;
use sluice_core::plan::{Part, Plan, Sublayer};

use crate::support::{Window, golden};

fn ask(window: &mut Window, dialog: Dialog) {
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::Ask(dialog));
    wait(window, "Path", true);
}

/// Frames until something is on screen, or gone.
pub fn wait(window: &mut Window, label: &str, there: bool) {
    for _ in 0..2000 {
        window.harness.step();
        if window.harness.query_by_label(label).is_some() == there {
            return;
        }
        let _ = crossbeam_channel::after(std::time::Duration::from_millis(5)).recv();
    }
    panic!("{label}: {there} did not come");
}

#[test]
fn a_checkpoint_is_found_by_keys_alone() {
    let root = tempfile::tempdir().unwrap();
    let models = root.path().join("models");
    std::fs::create_dir_all(models.join("llama")).unwrap();
    std::fs::create_dir(models.join(".cache")).unwrap();
    std::fs::write(models.join("notes.txt"), "").unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("llama").join(name), models.join("llama").join(name)).unwrap();
    }
    let mut window = Window::bundled();
    ask(&mut window, Dialog::Checkpoint);
    // The last part of what is typed is what names must have in them.
    let typed = format!("\"{}/ODE", root.path().display());
    window.fill(Role::TextInput, "Path", typed.trim_start_matches('"'));
    wait(&mut window, "models", true);
    window.harness.key_press(Key::Enter);
    wait(&mut window, "llama", true);
    assert!(window.harness.query_by_label(".cache").is_none(), "hidden");
    assert!(window.harness.query_by_label("notes.txt").is_none(), "a folder is asked for");
    window.click("hidden names");
    assert!(window.harness.query_by_label(".cache").is_some());
    window.harness.key_press(Key::ArrowDown);
    window.harness.run_steps(2);
    window.harness.key_press(Key::Enter);
    window.until("the checkpoint", |state| {
        state.card.as_ref().is_some_and(|card| card.spec.model_type == "llama")
    });
    assert!(window.harness.query_by_label("Path").is_none());
    // What was opened before stands over the list.
    ask(&mut window, Dialog::Checkpoint);
    assert!(window.harness.query_by_label(&models.join("llama").display().to_string()).is_some());
    window.harness.key_press(Key::Escape);
    wait(&mut window, "Path", false);
}

#[test]
fn a_plan_is_saved_and_none_that_is_there_is_lost() {
    let mut window = Window::bundled();
    let ctx = window.harness.ctx.clone();
    let toggle = Command::Toggle(Sublayer { layer: 2, part: Part::Ffn });
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, toggle);
    let folder = window.folder.path().join("new");
    for name in ["my.json", "my-2.json"] {
        ask(&mut window, Dialog::SavePlan);
        window.fill(Role::TextInput, "Path", &format!("{}/my.json", folder.display()));
        window.harness.run_steps(3);
        window.click("Save");
        window.until("the message", |state| state.said().starts_with("wrote "));
        assert_eq!(Plan::read(&folder.join(name)).unwrap(), *window.state().history.plan());
        assert!(window.state().said().contains(name), "{}", window.state().said());
        window.harness.state_mut().as_mut().unwrap().state.message = None;
    }
    // A folder that is not there says so.
    ask(&mut window, Dialog::OpenPlan);
    window.fill(Role::TextInput, "Path", "/no/such/folder/");
    for _ in 0..200 {
        window.harness.step();
        let _ = crossbeam_channel::after(std::time::Duration::from_millis(5)).recv();
    }
    assert!(window.harness.query_by_label_contains("/no/such/folder: No such file").is_some());
}

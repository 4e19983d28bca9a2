//! What the window shows when something is broken, long, or not there.

use std::fs;

use eframe::egui::{Key, Role};
use egui_kittest::kittest::Queryable as _;
use sluice::command::Command;
use sluice::panels::text;
use sluice_core::method::trace::TRACE;
use sluice_core::plan::Plan;
use sluice_core::worker::{Slot, Target};

use crate::support::{Window, bits, golden};

#[test]
fn a_broken_checkpoint_shows_its_cause_and_keeps_the_open_one() {
    let mut window = Window::bundled();
    window.choose("Fill", "All small");
    let before = bits(&window.next());
    let broken = tempfile::tempdir().unwrap();
    fs::copy(golden("llama/config.json"), broken.path().join("config.json")).unwrap();
    let whole = fs::read(golden("llama/model.safetensors")).unwrap();
    fs::write(broken.path().join("model.safetensors"), &whole[..whole.len() / 2]).unwrap();
    window.type_folder(&broken.path().display().to_string());
    window.harness.key_press(Key::Enter);
    window.until("the failure", |state| state.results.failure.is_some());
    assert!(window.harness.query_by_label_contains("model.safetensors").is_some());
    assert!(window.harness.query_by_label_contains("check that the download is complete").is_some());
    assert_eq!(window.state().card.as_ref().unwrap().name, "bundled");
    assert_eq!(bits(&window.next()), before);
    assert_eq!(window.state().history.plan().items.len(), 1, "nothing is lost");
    window.click("Close message");
    assert!(window.harness.query_by_label_contains("check that the download").is_none());
}

#[test]
fn without_a_checkpoint_the_centre_says_what_to_do() {
    let mut window = Window::new(None);
    window.harness.run_steps(3);
    assert!(window.harness.query_by_label("No checkpoint is open").is_some());
    window.type_folder("/nowhere/at/all");
    window.harness.key_press(Key::Enter);
    window.until("the failure", |state| state.results.failure.is_some());
    assert!(window.harness.query_by_label_contains("/nowhere/at/all").is_some());
}

#[test]
fn a_long_job_is_cancelled() {
    let mut window = Window::bundled();
    window.click("Text panel");
    // More than the context holds: it would run to its end.
    let choices = &mut window.harness.state_mut().as_mut().unwrap().state.choices;
    choices.set(text::Choice { max_new_tokens: 4000, ..choices.of() });
    window.click("Trace panel");
    window.click("token 2: ·call");
    let long = "Once upon a time there was a fisher named Taren. ".repeat(8);
    window.type_prompt(long.trim());
    window.until("the long prompt", |state| state.results.tokens.len() > 80);
    window.settle();
    window.click("token 2: ·upon");
    window.harness.get_by_label("Run trace").click();
    window.until("a part of the trace", |state| {
        state.studies.findings(TRACE.id).is_some_and(|found| !found.done)
            && state.results.progress.contains_key(&Slot::Study)
    });
    window.harness.get_by_label("Stop trace").click();
    window.until("the end", |state| !state.results.progress.contains_key(&Slot::Study));
    window.harness.run_steps(20);
    assert!(!window.state().studies.findings(TRACE.id).unwrap().done, "what was found stays, and is partial");
}

#[test]
fn a_text_that_fills_the_context_says_so() {
    let mut window = Window::bundled();
    window.click("Text panel");
    let choices = &mut window.harness.state_mut().as_mut().unwrap().state.choices;
    choices.set(text::Choice { max_new_tokens: 4000, ..choices.of() });
    window.harness.run_steps(2);
    window.click_role(Role::Button, "Continue the prompt");
    window.until("the whole text", |state| state.results.text.as_ref().is_some_and(|text| text.done));
    window.settle();
    let context = window.state().card.as_ref().unwrap().spec.context;
    let said = format!("the context of {context} is full");
    assert!(window.harness.query_all_by_label_contains(&said).next().is_some());
}

#[test]
fn a_prompt_past_the_context_is_refused_and_can_be_mended() {
    let mut window = Window::bundled();
    let context = window.state().card.as_ref().unwrap().spec.context;
    let long = "Once upon a time. ".repeat(context);
    window.type_prompt(&long);
    window.until("the failure", |state| state.results.failure.is_some());
    assert!(window.harness.query_all_by_label_contains(&format!("context of {context}")).next().is_some());
    window.type_prompt("Once upon");
    window.until("the tokens", |state| state.results.tokens.len() == 3);
    window.settle();
    assert!(window.state().results.failure.is_none());
}

#[test]
fn a_plan_that_leaves_no_numbers_keeps_the_figures_and_says_so() {
    let mut window = Window::bundled();
    let before = bits(&window.next());
    let json = r#"{"version":1,"items":[{"kind":"ablate","site":"ln_final.hook_scale"}]}"#;
    let items = Plan::from_json(json).unwrap().items;
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::AddAll(items));
    window.until("the failure", |state| state.results.failure.is_some());
    let (_, failure) = window.state().results.failure.clone().unwrap();
    assert!(failure.cause.contains("first at ln_final.hook_normalized"), "{failure:?}");
    assert!(failure.cause.contains("figures are those of before"), "{failure:?}");
    assert!(failure.next_step.contains("plan.items[0]"), "{failure:?}");
    assert_eq!(bits(&window.next()), before);
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::Clear);
    window.settle();
    assert!(window.state().results.failure.is_none());
}

#[test]
fn an_export_folder_that_cannot_be_written_is_named() {
    let mut window = Window::bundled();
    let file = window.folder.path().join("file");
    fs::write(&file, "kept").unwrap();
    window.harness.state_mut().as_mut().unwrap().state.settings.export_folder = file.join("inside");
    window.harness.get_by_label("Export next-tokens").click();
    window.harness.run_steps(3);
    window.harness.get_by_role_and_label(Role::Button, "Export").click();
    window.until("the failure", |state| state.results.failure.is_some());
    assert!(window.harness.query_by_label_contains("inside").is_some());
    assert!(window.harness.query_by_label_contains("choose a folder that you can write to").is_some());
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn an_idle_window_asks_for_no_repaint() {
    let mut window = Window::bundled();
    window.harness.remove_cursor();
    window.harness.run_steps(30);
    let quiet = |window: &mut Window| {
        window.harness.step();
        window
            .harness
            .output()
            .viewport_output
            .values()
            .all(|viewport| viewport.repaint_delay.as_secs() > 3600)
    };
    assert!((0..5).all(|_| quiet(&mut window)));
}

#[test]
fn dropping_a_checkpoint_twice_remembers_it_once() {
    let mut window = Window::bundled();
    for _ in 0..2 {
        let ctx = window.harness.ctx.clone();
        let app = window.harness.state_mut().as_mut().unwrap();
        app.apply(&ctx, Command::Open(golden("llama")));
        window.until("the checkpoint", |state| state.card.as_ref().is_some_and(|card| card.name == "llama"));
        window.settle();
    }
    assert_eq!(window.state().settings.recent, [golden("llama")]);
    let target = Target::Path(golden("llama"));
    assert_eq!(window.state().path, golden("llama").display().to_string(), "{target:?}");
}

//! The examples of the first screen, one click each.

use eframe::egui::vec2;
use egui_kittest::kittest::Queryable as _;
use sluice::panels::examples::EXAMPLES;
use sluice_core::method::prune::PRUNE;
use sluice_core::method::trace::{TRACE, TraceFound};

use crate::support::Window;

/// Click an example and wait for what it finds.
fn click(window: &mut Window, index: usize) {
    if !window.state().visible.contains(&"lens") {
        window.click("Lens panel");
    }
    let label = format!("Example: {}", EXAMPLES[index].title);
    window.harness.get_by_label(&label).click();
    // What it found before goes when it starts.
    let id = EXAMPLES[index].method.id;
    window.until("its start", |state| state.studies.get(id).is_some_and(|study| study.awaited));
}

#[test]
fn every_example_answers_with_one_click() {
    let mut window = Window::bundled();
    click(&mut window, 0);
    let pruned = window.found(&PRUNE);
    assert!(!pruned.facts().is_empty());
    click(&mut window, 1);
    let traced = window.found(&TRACE);
    let traced = traced.value::<TraceFound>().unwrap();
    assert!(traced.corrupted.prob < 0.5 * traced.clean.prob, "the name matters");
    let words = window.state().results.tokens.len();
    click(&mut window, 2);
    assert!(window.state().image.is_some() && window.state().results.tokens.len() > words);
    let seen = window.found(&TRACE);
    let seen = seen.value::<TraceFound>().unwrap();
    assert_eq!(window.marked(&TRACE, "corrupt").len(), 4, "the red square's patches");
    assert!(seen.corrupted.prob < 0.5 * seen.clean.prob, "{:?} {:?}", seen.corrupted.prob, seen.clean.prob);
    // Another one on words takes the picture away again.
    click(&mut window, 1);
    assert!(window.state().image.is_none() && window.state().results.tokens.len() == words);
    window.found(&TRACE);
    // A prompt that was typed comes back by undo.
    window.type_prompt("Moren lives in");
    window.settle();
    click(&mut window, 1);
    assert_ne!(window.state().prompt, "Moren lives in");
    window.found(&TRACE);
    window.click("Undo");
    assert_eq!(window.state().prompt, "Moren lives in");
}

#[test]
fn examples_hide_and_come_back() {
    let mut window = Window::bundled();
    window.click("Hide examples");
    assert!(window.harness.query_by_label_contains("Example: ").is_none());
    assert!(window.state().settings.examples_hidden);
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, sluice::command::Command::Examples(true));
    window.settle();
    window.harness.set_size(vec2(1280.0, 720.0));
    window.harness.run_steps(3);
    assert_eq!(window.harness.query_all_by_label_contains("Example: ").count(), EXAMPLES.len());
}

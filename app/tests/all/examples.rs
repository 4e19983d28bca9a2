//! The examples of the first screen, one click each.

use eframe::egui::vec2;
use egui_kittest::kittest::Queryable as _;
use sluice::command::Command;
use sluice::gallery::SAMPLES;
use sluice::panels;
use sluice::panels::examples::EXAMPLES;
use sluice_core::figure::Plot;
use sluice_core::method::fcct::{FCCT, FcctFound};
use sluice_core::method::prune::PRUNE;
use sluice_core::method::trace::{TRACE, TraceFound};
use sluice_core::worker::ViewData;

use crate::support::{Window, golden};

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

/// An example that has no card, as the palette chooses it.
fn choose(window: &mut Window, index: usize) {
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::Example(index));
    let id = EXAMPLES[index].method.id;
    window.until("its start", |state| state.studies.get(id).is_some_and(|study| study.awaited));
}

#[test]
fn every_card_answers_with_one_click() {
    let mut window = Window::bundled();
    let words = window.state().results.tokens.len();
    click(&mut window, 0);
    let pruned = window.found(&PRUNE);
    assert!(!pruned.facts().is_empty());
    // A quarter is out, and the answer stays.
    assert_eq!(window.state().history.plan().items.len(), window.state().layers() / 2);
    let next = window.next();
    assert!(next.answer.plan > 0.5 * next.answer.base && next.kl > 0.0, "{next:?}");
    click(&mut window, 1);
    let traced = window.found(&TRACE);
    let traced = traced.value::<TraceFound>().unwrap();
    assert!(window.state().history.plan().items.is_empty(), "of the unmodified model");
    assert!(traced.corrupted.prob < 0.5 * traced.clean.prob, "the name matters");
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
fn a_prune_that_breaks_the_answer_and_a_picture_trace_that_is_not_flat() {
    let mut window = Window::bundled();
    choose(&mut window, 3);
    window.found(&PRUNE);
    let next = window.next();
    assert!(next.answer.plan < 0.5 * next.answer.base, "{:?}", next.answer);
    choose(&mut window, 4);
    let found = window.found(&FCCT);
    let found = found.value::<FcctFound>().unwrap();
    assert!(found.corrupted.prob < 0.5 * found.clean.prob);
    for figure in &found.figures {
        let Plot::Map(map) = &figure.plot else { panic!("not a map") };
        let most = map.values.iter().copied().filter(|x| x.is_finite()).fold(0.0, f32::max);
        assert!(most > 0.3, "{}: {most}", figure.title);
    }
}

#[test]
fn an_injection_repairs_the_wrong_answer_of_its_example() {
    let mut window = Window::bundled();
    choose(&mut window, 5);
    window.found(&FCCT);
    assert_eq!(window.state().visible, ["iri"]);
    let view = panels::find("iri").unwrap().view(window.state()).unwrap();
    let Some(ViewData::AnswerPair(pair)) = window.state().data(&view) else { panic!("no answers") };
    // The followed answer, and its rival.
    let [no, yes] = &pair.rows;
    assert_eq!([&*no.token.text, &*yes.token.text], ["·No", "·Yes"]);
    assert!(yes.base > 0.9 && no.base < 0.1, "it says yes: {pair:?}");
    assert!(no.plan > 0.9 && yes.plan < 0.1, "{pair:?}");
    assert!(SAMPLES[4].object.is_none(), "there is no orange circle");
}

#[test]
fn the_example_of_a_panel_leaves_a_picture_of_ones_own() {
    let mut window = Window::bundled();
    let picture = golden("pictures").join("exact.png");
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::OpenPicture(picture));
    window.until("the picture", |state| state.image.is_some());
    window.settle();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::Pose("trace"));
    window.found(&TRACE);
    assert_eq!(window.state().image.as_ref().unwrap().picture.name(), "exact.png");
}

#[test]
fn examples_hide_and_come_back() {
    let mut window = Window::bundled();
    window.click("Hide examples");
    assert!(window.harness.query_by_label_contains("Example: ").is_none());
    assert!(window.state().settings.examples_hidden);
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::Examples(true));
    window.settle();
    window.harness.set_size(vec2(1280.0, 720.0));
    window.harness.run_steps(3);
    let cards = EXAMPLES.iter().filter(|example| example.card).count();
    assert_eq!(window.harness.query_all_by_label_contains("Example: ").count(), cards);
}

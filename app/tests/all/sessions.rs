//! What outlives the window: everything comes back, what cannot is told.

use std::fs;
use std::path::{Path, PathBuf};

use eframe::egui::{Key, Modifiers, Role};
use egui_kittest::kittest::Queryable as _;
use sluice::command::Command;
use sluice::state::ChipColour;
use sluice_core::checkpoint::{NumberFormat, save};
use sluice_core::figure::csv;
use sluice_core::files::There;
use sluice_core::method::trace::TRACE;
use sluice_core::method::view::Side;
use sluice_core::session::{PlanCost, Session};
use sluice_core::worker::Answer;

use crate::support::{Window, bits, golden};

/// What is on screen and what led to it, as text.
fn seen(window: &Window) -> Vec<String> {
    let state = window.state();
    let mut all = vec![
        format!("{:?} {} {:?}", state.card.as_ref().map(|card| &card.fingerprint), state.prompt, state.image),
        format!("{} of {:?}", state.history.at(), state.history.all()),
        format!("{:?} {:?}", state.choices, state.answer),
        format!("{:?} {:?}", state.settings, state.notes),
        format!("{:?}", window.app().layout.save()),
        format!("{:?}", bits(&window.next())),
    ];
    all.extend(sluice::panels::figures(state).iter().map(|figure| csv::to_csv(figure)));
    let mut studies: Vec<String> = Vec::new();
    for (id, study) in state.studies.all() {
        let found = study.findings.as_ref().map(|found| {
            let figures: Vec<String> =
                found.found.figures().iter().map(|figure| csv::to_csv(figure)).collect();
            format!("{} {:?} {figures:?}", found.done, found.facts())
        });
        studies.push(format!(
            "{id} {:?} {:?} {:?} {:?} {found:?}",
            study.ask, study.picks, study.taken, study.shown
        ));
    }
    all.extend(studies);
    all
}

/// Do a bit of everything that a session keeps.
fn work(window: &mut Window) {
    window.apply(Command::Show("trace"));
    window.apply(Command::RunSample(&TRACE));
    window.found(&TRACE);
    window.apply(Command::Pin("trace"));
    window.type_prompt("Vosil lives in Dunmere. Zavik feeds the");
    window.settle();
    window.choose("Fill", "All small");
    window.apply(Command::Show("sublayers"));
    window.click("FFN 3");
    window.apply(Command::Undo);
    window.apply(Command::Follow(Answer::Text(" otter".into())));
    window.apply(Command::Sample(0));
    let app = window.harness.state_mut().as_mut().unwrap();
    app.state.notes = "a line\nand another".into();
    app.state.choices.colour = ChipColour::Kl;
    app.state.choices.side = Side::Base;
    window.apply(Command::Show("lens"));
}

#[test]
fn quit_and_start_shows_the_same() {
    let home = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    assert!(window.state().results.failure.is_none());
    work(&mut window);
    // Work on another checkpoint waits with it.
    window.apply(Command::Open(golden("llama")));
    window.until("llama", |state| state.card.as_ref().is_some_and(|card| card.name == "llama"));
    window.settle();
    window.type_prompt("3, 14, 15");
    window.settle();
    window.apply(Command::OpenBundled);
    window.until("bundled", |state| state.card.as_ref().is_some_and(|card| card.name == "bundled"));
    window.settle();
    window.apply(Command::DismissMessage);
    let before = seen(&window);
    window.quit();
    let mut window = Window::kept(home.path(), None);
    window.until("the findings", |state| state.studies.findings(TRACE.id).is_some());
    window.settle();
    assert_eq!(window.state().results.failure, None);
    for (after, before) in seen(&window).iter().zip(&before) {
        assert_eq!(after, before);
    }
    window.apply(Command::Jump(0));
    assert!(window.state().image.is_none() && window.state().history.plan().items.is_empty());
    window.apply(Command::Open(golden("llama")));
    window.until("llama", |state| state.card.as_ref().is_some_and(|card| card.name == "llama"));
    window.settle();
    assert_eq!(window.state().prompt, "3, 14, 15");
    window.quit();
    let window = Window::kept(home.path(), None);
    assert_eq!(window.state().card.as_ref().unwrap().name, "llama", "what was open last");
}

#[test]
fn a_killed_window_loses_nothing_that_rested() {
    let home = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    work(&mut window);
    let before = seen(&window);
    // Two seconds of frames, and the disk's own time.
    let session = fs::read_dir(home.path().join("sessions")).unwrap();
    let folder = session.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let whole = |folder: &Path| {
        let read = Session::read(&folder.join("session.json")).ok();
        read.is_some_and(|opened| opened.session.notes.contains("another"))
    };
    window.until("the session", |_| whole(&folder));
    // Dropped without a word, as a kill leaves it: only its locks go.
    drop(window);
    let mut window = Window::kept(home.path(), None);
    window.until("the findings", |state| state.studies.findings(TRACE.id).is_some());
    window.settle();
    for (after, before) in seen(&window).iter().zip(&before) {
        assert_eq!(after, before);
    }
}

#[test]
fn a_study_that_was_stopped_goes_on_after_a_start() {
    let home = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    let whole = {
        window.apply(Command::RunSample(&TRACE));
        window.found(&TRACE)
    };
    let ctx = window.harness.ctx.clone();
    let app = window.harness.state_mut().as_mut().unwrap();
    app.state.studies.get_mut(TRACE.id).ask.insert("seeds".into(), 200.into());
    app.apply(&ctx, Command::Run(&TRACE));
    window.until("some of it", |state| {
        state.studies.findings(TRACE.id).is_some_and(|found| found.cost.rows > 10 * whole.cost.rows)
    });
    window.apply(Command::CancelAll);
    window.quit();
    let mut window = Window::kept(home.path(), None);
    window.until("the findings", |state| state.studies.findings(TRACE.id).is_some());
    let partial = window.state().studies.findings(TRACE.id).unwrap().clone();
    assert!(!partial.done && partial.cost.rows > 0);
    window.apply(Command::Run(&TRACE));
    let done = window.found(&TRACE);
    assert!(done.done && done.cost.rows > partial.cost.rows);
    assert!(done.cost.seconds > partial.cost.seconds);
}

#[test]
fn a_session_is_saved_sent_and_opened() {
    let home = tempfile::tempdir().unwrap();
    let sent = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    work(&mut window);
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::S);
    window.harness.run_steps(3);
    // Without a dialog of the desktop our own browser asks.
    window.until("the browser", |_| true);
    let path = sent.path().join("my work.json");
    let saved = |window: &mut Window, path: &PathBuf| {
        window.fill(Role::TextInput, "Path", &path.display().to_string());
        window.harness.key_press(Key::Enter);
        window.until("the session", |state| state.said().starts_with("session saved"));
    };
    window.harness.run_steps(20);
    saved(&mut window, &path);
    let before = seen(&window);
    assert!(path.is_file() && sent.path().join("my work.files").is_dir());
    // Changed, and saved again without a question.
    window.apply(Command::DismissMessage);
    window.click_role(Role::Button, "Undo");
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::S);
    window.until("the session", |state| state.said().starts_with("session saved"));
    window.click_role(Role::Button, "Redo");
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::S);
    window.until("the session", |state| state.said().starts_with("session saved"));
    window.quit();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut window = Window::kept(elsewhere.path(), Some(&path));
    window.until("the findings", |state| state.studies.findings(TRACE.id).is_some());
    window.settle();
    let same = |all: &[String]| [0, 2, 4, 5].map(|part| all[part].clone());
    assert_eq!(same(&seen(&window)), same(&before));
    // Another session takes its place, and it stays where it was kept.
    window.type_prompt("Moren lives in");
    window.settle();
    window.apply(Command::OpenSession(path));
    window.until("the session", |state| state.prompt != "Moren lives in" && state.card.is_some());
    window.settle();
    let kept = window.state().kept.first().unwrap().clone();
    window.apply(Command::OpenSession(kept));
    window.until("the one before", |state| state.prompt == "Moren lives in");
}

#[test]
fn windows_beside_each_other_have_sessions_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let mut first = Window::kept(home.path(), None);
    first.type_prompt("Moren lives in");
    first.settle();
    let mut second = Window::kept(home.path(), None);
    assert_ne!(second.state().prompt, "Moren lives in");
    second.type_prompt("Zavik feeds the");
    second.settle();
    second.quit();
    first.quit();
    let mut third = Window::kept(home.path(), None);
    assert_eq!(third.state().prompt, "Moren lives in", "what was closed last");
    // The other is there to be opened.
    let kept = third.state().kept.clone();
    assert_eq!(kept.len(), 1);
    third.apply(Command::OpenSession(kept[0].clone()));
    third.until("the other", |state| state.prompt == "Zavik feeds the");
    assert!(third.state().session_file.is_none(), "nothing of a person's own is written over");
}

#[test]
fn a_checkpoint_that_changed_while_another_was_open_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let here = place.path().join("here");
    checkpoint(&here, 1);
    let mut window = Window::kept(home.path(), None);
    let open = |window: &mut Window| {
        window.apply(Command::Open(here.clone()));
        window.until("here", |state| state.card.as_ref().is_some_and(|card| card.name == "here"));
        window.settle();
    };
    open(&mut window);
    window.type_prompt("3, 14, 15");
    window.settle();
    window.apply(Command::PinVariant);
    let state = &mut window.harness.state_mut().as_mut().unwrap().state;
    state.variants[0].cost =
        Some(PlanCost { text: "text".into(), loss: 1.0, difference: [0.0; 3], kl: 0.0, same: 1.0 });
    window.apply(Command::OpenBundled);
    window.until("bundled", |state| state.card.as_ref().is_some_and(|card| card.name == "bundled"));
    window.settle();
    checkpoint(&here, 2);
    open(&mut window);
    assert_eq!(window.state().prompt, "3, 14, 15");
    assert!(window.state().variants[0].cost.is_none());
    let failure = window.state().results.failure.clone().unwrap().1;
    assert!(failure.cause.contains("costs of pinned plans"), "{failure:?}");
}

/// A llama of random weights.
fn checkpoint(folder: &Path, seed: u64) {
    let text = fs::read_to_string(golden("llama/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tensors = sluice_core::model::random_tensors(&config, seed).unwrap();
    fs::create_dir_all(folder).unwrap();
    save(folder, &config, &tensors, NumberFormat::Bf16, None).unwrap();
}

#[test]
fn a_checkpoint_that_changed_or_moved_is_told() {
    let home = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| place.path().join(name));
    checkpoint(&here, 1);
    let mut window = Window::kept(home.path(), None);
    window.apply(Command::Open(here.clone()));
    window.until("here", |state| state.card.as_ref().is_some_and(|card| card.name == "here"));
    window.settle();
    window.type_prompt("3, 14, 15");
    window.settle();
    window.apply(Command::RunSample(&TRACE));
    window.found(&TRACE);
    window.apply(Command::Show("sublayers"));
    window.click("FFN 1");
    window.quit();
    // Other weights under the same name: prompt and plan go on, the findings were of others.
    checkpoint(&here, 2);
    let window = Window::kept(home.path(), None);
    let failure = window.state().results.failure.clone().unwrap().1;
    assert!(
        failure.cause.contains("here has changed since; left out, as of before: findings of Trace"),
        "{failure:?}"
    );
    assert_eq!(window.state().history.plan().items.len(), 1);
    assert!(window.state().studies.findings(TRACE.id).is_none());
    assert_eq!(window.state().prompt, "3, 14, 15");
    window.quit();
    // Gone: it is said, and what was done with it waits for where it is found again.
    fs::rename(&here, &there).unwrap();
    let mut window = Window::kept(home.path(), None);
    let failure = window.state().results.failure.clone().unwrap().1;
    assert!(window.state().card.is_none() && failure.cause.contains("here"), "{failure:?}");
    window.apply(Command::Open(there));
    window.until("there", |state| state.card.as_ref().is_some_and(|card| card.name == "there"));
    window.settle();
    assert_eq!((window.state().prompt.as_str(), window.state().history.plan().items.len()), ("3, 14, 15", 1));
}

#[test]
fn what_cannot_be_read_is_told_and_kept() {
    let home = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    window.type_prompt("Moren lives in");
    window.settle();
    window.quit();
    let folder = fs::read_dir(home.path().join("sessions")).unwrap().next().unwrap().unwrap().path();
    let file = folder.join("session.json");
    let text = fs::read_to_string(&file).unwrap();
    for broken in
        [text[..text.len() / 2].to_owned(), text.replace("\"version\":1", "\"version\":99"), String::new()]
    {
        fs::write(&file, &broken).unwrap();
        let window = Window::kept(home.path(), None);
        let failure = window.state().results.failure.clone().unwrap().1;
        assert!(failure.cause.contains("the last session"), "{failure:?}");
        assert_eq!(window.state().card.as_ref().unwrap().name, "bundled");
        window.quit();
        assert_eq!(fs::read_to_string(&file).unwrap(), broken, "it stays for who can read it");
        for entry in fs::read_dir(home.path().join("sessions")).unwrap() {
            let path = entry.unwrap().path();
            if path != folder {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }
    assert!(sluice::keep::Begin::new(None, Some(&file)).is_err(), "one that was named is an error");
}

#[test]
fn a_plan_that_no_longer_fits_is_told_and_can_be_undone() {
    let home = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    window.apply(Command::Show("sublayers"));
    window.click("FFN 3");
    window.quit();
    let folder = fs::read_dir(home.path().join("sessions")).unwrap().next().unwrap().unwrap().path();
    let file = folder.join("session.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"layer\":3"), "{text}");
    fs::write(&file, text.replace("\"layer\":3", "\"layer\":99")).unwrap();
    let mut window = Window::kept(home.path(), None);
    let failure = window.state().results.failure.clone().unwrap().1;
    assert!(failure.cause.contains("99"), "{failure:?}");
    assert_eq!(window.state().history.plan().items.len(), 1, "it is there to be changed");
    window.apply(Command::Undo);
    assert!(window.state().results.failure.is_none() && window.next().kl == 0.0);
}

#[test]
fn a_disk_that_takes_nothing_is_told_until_it_does() {
    let home = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    let folder = fs::read_dir(home.path().join("sessions")).unwrap();
    let folder = folder.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    // A folder where the file belongs: no write succeeds.
    let file = folder.join("session.json");
    drop(fs::remove_file(&file));
    fs::create_dir_all(file.join("inside")).unwrap();
    window.type_prompt("Moren lives in");
    window.until("that it is not saved", |state| state.unsaved.is_some());
    assert!(window.state().results.failure.as_ref().unwrap().1.cause.contains("the session is not saved"));
    window.harness.run_steps(2);
    assert!(window.harness.query_by_label("not saved").is_some());
    window.apply(Command::Dismiss);
    // Another session is not opened over it unasked.
    let other = home.path().join("other.json");
    Session::default().write(&other, There::Keep).unwrap();
    window.apply(Command::OpenSession(other));
    window.until("a warning", |state| state.results.failure.is_some());
    assert!(window.state().results.failure.as_ref().unwrap().1.next_step.contains("Ctrl+Shift+S"));
    assert_eq!(window.state().prompt, "Moren lives in");
    window.apply(Command::Dismiss);
    fs::remove_dir_all(&file).unwrap();
    window.until("that it is saved", |state| state.unsaved.is_none());
    assert!(window.state().results.failure.is_none() && file.is_file());
}

#[test]
fn every_step_is_listed_and_gone_to() {
    let mut window = Window::bundled();
    window.type_prompt("Moren lives in");
    window.settle();
    window.apply(Command::Show("sublayers"));
    window.click("FFN 3");
    window.click("attention 2");
    let names: Vec<String> = window.state().history.all().iter().map(|step| step.name.to_string()).collect();
    assert_eq!(names, ["opened", "prompt: Moren lives in", "FFN 3 taken out", "attention 2 taken out"]);
    window.harness.get_by_label("History").click();
    window.harness.run_steps(3);
    window.harness.get_by_label("prompt: Moren lives in").click();
    window.settle();
    assert!(window.state().history.plan().items.is_empty() && window.state().history.at() == 1);
    window.harness.get_by_label("opened").click();
    window.settle();
    assert_ne!(window.state().prompt, "Moren lives in");
    window.apply(Command::Redo);
    assert_eq!(window.state().prompt, "Moren lives in");
}

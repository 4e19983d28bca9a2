//! What belongs to no panel: messages, plan rows, the list at the left, palette, help, keys; and that nothing moves.

use std::collections::{BTreeMap, BTreeSet};

use eframe::egui::{Key, Modifiers, Rect, Role, pos2, vec2};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use sluice::command::Command;
use sluice::panels::panels;
use sluice::state::Help;
use sluice::widgets::area;
use sluice_core::method::fcct::FCCT;
use sluice_core::plan::edits::Preset;
use sluice_core::plan::{Part, Sublayer};

use crate::support::Window;

fn apply(window: &mut Window, command: Command) {
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, command);
    window.settle();
}

fn toggle(window: &mut Window, layer: usize) {
    apply(window, Command::Toggle(Sublayer { layer, part: Part::Ffn }));
}

/// What the plan says, row by row.
fn summaries(window: &Window) -> Vec<String> {
    window.state().history.plan().items.iter().map(|item| item.change.summary()).collect()
}

/// Whether a pointer presses or writes into what has a role.
pub fn is_pressed(role: Role) -> bool {
    use Role::{Button, CheckBox, ComboBox, Link, RadioButton, Slider, SpinButton, TextInput};
    matches!(role, Button | CheckBox | ComboBox | Link | RadioButton | Slider | SpinButton | TextInput)
}

/// The widgets on screen by role, label and how many of these come before, with where they are.
fn widgets(window: &Window) -> BTreeMap<(String, String, usize), Rect> {
    let mut all: BTreeMap<(String, String, usize), Rect> = BTreeMap::new();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for node in window.harness.root().children_recursive() {
        let access = node.accesskit_node();
        if !is_pressed(access.role()) {
            continue;
        }
        let key = (format!("{:?}", access.role()), access.label().unwrap_or_default());
        let count = counts.entry(key.clone()).or_default();
        all.insert((key.0, key.1, *count), node.rect());
        *count += 1;
    }
    all
}

/// Where widgets are before and after; those that are there both times must not have moved.
fn assert_still(window: &mut Window, what: &str, change: impl FnOnce(&mut Window)) {
    window.settle();
    let before = widgets(window);
    change(window);
    window.harness.run_steps(4);
    let after = widgets(window);
    assert!(before.len() > 40, "{}", before.len());
    let moved: Vec<_> = before
        .iter()
        .filter_map(|(name, rect)| Some((name, rect, after.get(name)?)))
        .filter(|(_, before, after)| before.min.distance(after.min) > 0.6)
        .collect();
    assert!(moved.is_empty(), "{what}: {moved:#?}");
}

#[test]
fn nothing_moves_when_messages_failures_and_findings_come_and_go() {
    let mut window = Window::bundled();
    window.click("Routing panel");
    assert_still(&mut window, "message", |window| {
        window.harness.state_mut().as_mut().unwrap().state.say("something happened");
    });
    assert_still(&mut window, "failure", |window| {
        let ctx = window.harness.ctx.clone();
        let missing = Command::Open("no-such-checkpoint".into());
        window.harness.state_mut().as_mut().unwrap().apply(&ctx, missing);
        window.until("the failure", |state| state.results.failure.is_some());
    });
    assert_still(&mut window, "no failure", |window| apply(window, Command::Dismiss));
    window.click("Picture trace panel");
    assert_still(&mut window, "findings", |window| {
        let ctx = window.harness.ctx.clone();
        window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::RunSample(&FCCT));
        window.found(&FCCT);
    });
    // Of an earlier question: the note and its button have a room of their own.
    assert_still(&mut window, "an earlier marking", |window| {
        window.harness.get_by_label("token 8: ·comes").click();
        window.settle();
    });
    window.click("Routing panel");
    assert_still(&mut window, "the first stroke of a brush", |window| {
        let map = window.harness.get_by_role_and_label(Role::Image, "Routing map map").rect();
        window.harness.drag_at(pos2(map.left() + 4.0, map.top() + 4.0));
        window.harness.step();
        window.harness.drop_at(pos2(map.left() + 4.0, map.top() + 4.0));
        window.settle();
        assert_eq!(window.state().history.plan().items.len(), 1);
        // Their rows and columns are there under a plan only.
        apply(window, Command::Undo);
    });
}

#[test]
fn a_message_offers_undo_and_goes() {
    let mut window = Window::bundled();
    toggle(&mut window, 2);
    toggle(&mut window, 3);
    window.click("Clear plan");
    assert_eq!(window.state().said(), "plan cleared of 2 changes");
    window.click("Undo: plan cleared of 2 changes");
    assert_eq!(summaries(&window), ["take out FFN 2", "take out FFN 3"]);
    assert_eq!(window.state().said(), "", "what it offered is done");
    window.click("Clear plan");
    toggle(&mut window, 1);
    assert_eq!(window.state().said(), "", "undo would now take back something else");
    apply(&mut window, Command::Fill(Preset::AllSmall));
    assert_ne!(window.state().said(), "");
    window.harness.run_steps(60);
    assert_eq!(window.state().said(), "", "after its time");
}

#[test]
fn plan_rows_move_by_their_grip_and_removals_are_one_row() {
    let mut window = Window::bundled();
    toggle(&mut window, 2);
    apply(&mut window, Command::Fill(Preset::AllSmall));
    toggle(&mut window, 3);
    let route = summaries(&window)[1].clone();
    assert!(route.starts_with("route"), "{route}");
    window.harness.get_by_label(&format!("Move: {route}")).focus();
    window.harness.run_steps(2);
    for key in [Key::ArrowUp, Key::ArrowDown, Key::ArrowDown] {
        window.harness.key_press(key);
        window.settle();
    }
    assert_eq!(summaries(&window)[2], route, "the focus went with it");
    // Both removals stand together now, and fold.
    window.click("unfold: take out FFN 2, 3");
    let grip = window.harness.get_by_label("Move: take out FFN 3").rect().center();
    let first = window.harness.get_by_label("Move: take out FFN 2").rect();
    window.harness.drag_at(grip);
    window.harness.step();
    window.harness.hover_at(first.center_top());
    window.harness.run_steps(2);
    window.harness.drop_at(first.center_top());
    window.settle();
    assert_eq!(summaries(&window)[..2], ["take out FFN 3", "take out FFN 2"]);
    window.click("Remove all: take out FFN 3, 2");
    assert_eq!(summaries(&window), [route]);
    window.click("Undo: removed 2 changes");
    assert_eq!(summaries(&window).len(), 3);
}

#[test]
fn the_list_filters_by_paper_and_pins_take_the_number_keys() {
    let mut window = Window::bundled();
    window.harness.key_press(Key::Slash);
    window.harness.run_steps(2);
    window.harness.get_by_role_and_label(Role::TextInput, "Filter methods").type_text("fcct");
    window.harness.run_steps(2);
    assert!(window.harness.query_by_label("Picture trace panel").is_some());
    assert!(window.harness.query_by_label("Lens panel").is_none());
    window.harness.key_press(Key::Enter);
    window.settle();
    assert_eq!(window.state().visible, ["fcct"]);
    assert!(window.harness.query_by_label("Lens panel").is_some(), "the whole list again");
    window.click("Pin: Trace");
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::Num1);
    window.settle();
    assert_eq!(window.state().visible, ["trace"]);
    assert_eq!(window.harness.query_all_by_label("Trace panel").count(), 2, "pinned, and in its group");
    window.harness.get_all_by_label("Unpin: Trace").next().unwrap().click();
    window.settle();
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::Num1);
    window.settle();
    assert_eq!(window.state().visible, ["lens"]);
    window.click("Look methods");
    assert!(window.harness.query_by_label("Lens panel").is_none(), "folded");
}

#[test]
fn the_palette_reaches_sublayers_papers_and_words() {
    let mut window = Window::bundled();
    let choose = |window: &mut Window, text: &str| {
        window.harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
        window.harness.run_steps(3);
        window.harness.get_by_role_and_label(Role::TextInput, "Command").type_text(text);
        window.harness.run_steps(3);
        window.harness.key_press(Key::Enter);
        window.settle();
    };
    choose(&mut window, "take out ffn 5");
    assert_eq!(summaries(&window), ["take out FFN 5"]);
    choose(&mut window, "put ffn 5");
    assert!(summaries(&window).is_empty());
    choose(&mut window, "prun");
    assert_eq!(window.state().visible, ["sublayers"]);
    choose(&mut window, "reap");
    assert_eq!(window.state().visible, ["experts"]);
    choose(&mut window, "surprisal");
    assert_eq!(window.state().help, Some(Help::Words));
    assert!(window.harness.query_by_label_contains("how little it was expected").is_some());
    window.harness.key_press(Key::Escape);
    window.harness.run_steps(3);
    assert_eq!(window.state().help, None);
}

#[test]
fn the_tour_points_at_five_parts_of_the_window() {
    let mut window = Window::bundled();
    window.click("Help");
    assert!(window.harness.query_by_label_contains("Trace: Where does an answer").is_some());
    window.click("Tour of the window");
    let all = Rect::from_min_size(pos2(0.0, 0.0), vec2(1440.0, 900.0));
    let mut seen = BTreeSet::new();
    for step in 0..5 {
        assert_eq!(window.state().help, Some(Help::Tour(step)));
        let next = window.harness.get_by_label(if step == 4 { "Done" } else { "Next" });
        assert!(all.contains_rect(next.rect()), "{step}");
        seen.insert(format!("{:?}", next.rect()));
        next.click();
        window.harness.run_steps(3);
    }
    assert_eq!((window.state().help, seen.len()), (None, 5), "each in a place of its own");
}

/// Everything in a panel that a pointer can press is reached by Tab.
#[test]
fn every_panel_is_walked_by_keys_alone() {
    let mut window = Window::bundled();
    for panel in panels().iter().rev() {
        let info = panel.info();
        if panel.unavailable(window.state()).is_some() {
            continue;
        }
        for command in panel.pose(window.state()) {
            apply(&mut window, command);
        }
        window.until(info.id, |state| panel.is_posed(state));
        window.settle();
        let pane = area::of(&window.harness.ctx, area::PANE).unwrap();
        let mut missed: Vec<(String, Rect)> = Vec::new();
        for node in window.harness.root().children_recursive() {
            let access = node.accesskit_node();
            let pressed = is_pressed(access.role()) || access.role() == Role::Image;
            if pressed && !access.is_disabled() && pane.contains(node.rect().center()) {
                missed.push((format!("{:?} {:?}", access.role(), access.label()), node.rect()));
            }
        }
        let count = missed.len();
        for _ in 0..300 {
            window.harness.key_press(Key::Tab);
            window.harness.step();
            let root = window.harness.root();
            let focused = root.children_recursive().find(|node| node.accesskit_node().is_focused());
            // A field that is written into has another width.
            let focused = focused.map(|node| node.rect().min);
            missed.retain(|(_, rect)| focused.is_none_or(|at| at.distance(rect.min) > 6.0));
            if missed.is_empty() {
                break;
            }
        }
        assert!(count > 0 && missed.is_empty(), "{}: {missed:?} of {count}", info.id);
        window.harness.key_press(Key::Escape);
        window.harness.run_steps(2);
    }
}

#[test]
fn the_tab_of_a_panel_that_is_shown_is_in_sight() {
    let mut window = Window::bundled();
    let panels: Vec<_> = sluice::panels::panels().iter().map(|panel| panel.info()).collect();
    for info in &panels {
        window.apply(Command::Show(info.id));
    }
    // More tabs than there is room for, shown from both ends.
    for info in panels.iter().rev().chain(&panels) {
        window.apply(Command::Show(info.id));
        if window.harness.query_by_label("Scroll tabs right").is_none() {
            assert!(
                window.harness.query_by_label("Scroll tabs left").is_some(),
                "there is room for all tabs"
            );
        }
        let tabs = window.harness.query_all_by_role_and_label(Role::Button, info.name);
        let centre = 200.0..1130.0;
        let seen = |rect: eframe::egui::Rect| rect.left() >= centre.start && rect.right() <= centre.end;
        assert!(tabs.map(|tab| tab.rect()).any(seen), "{}", info.name);
    }
}

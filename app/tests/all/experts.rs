//! The expert panel on tiny checkpoints with experts.

use eframe::egui::Role;
use egui_kittest::kittest::Queryable as _;
use sluice_core::figure::{Format, Plot};
use sluice_core::plan::{Change, Positions};
use sluice_core::worker::Target;

use crate::support::{Window, bits, golden, name};

fn window(case: &str) -> Window {
    let mut window = Window::new(Some(Target::Path(golden(case))));
    window.until("the checkpoint", |state| state.card.is_some());
    window.settle();
    window.click("Choose experts panel");
    window
}

/// The values of the map on screen.
fn values(window: &Window) -> Vec<f32> {
    match &window.figure("experts-view").plot {
        Plot::Map(map) => map.values.to_vec(),
        _ => panic!("no map"),
    }
}

/// Press and release on a cell of the map on screen.
fn click_cell(window: &mut Window, title: &str, (row, rows): (usize, usize), (col, cols): (usize, usize)) {
    let map = window.harness.get_by_role_and_label(Role::Image, &format!("{title} map")).rect();
    let share = |index: usize, of: usize| (index as f32 + 0.5) / of as f32;
    let at =
        map.left_top() + eframe::egui::vec2(share(col, cols) * map.width(), share(row, rows) * map.height());
    window.harness.drag_at(at);
    window.harness.drop_at(at);
    window.settle();
}

#[test]
fn a_click_knocks_an_expert_out_for_a_token_and_a_second_one_takes_it_back() {
    let mut window = window("mixtral");
    let before = bits(&window.next());
    let (experts, tokens) = (4, window.state().results.tokens.len());
    let gates = values(&window);
    assert_eq!(gates.len(), experts * tokens);
    // Whom the last token goes through.
    let chosen = (0..experts).find(|row| gates[row * tokens + tokens - 1] > 0.0).unwrap();
    let title = "Experts: gates, layer 0";
    click_cell(&mut window, title, (chosen, experts), (tokens - 1, tokens));
    let item = window.state().history.plan().items[0].clone();
    let Change::Experts(rule) = &item.change else { panic!("{item:?}") };
    assert_eq!((rule.layer, rule.knock_out.as_slice()), (Some(0), [chosen].as_slice()));
    assert_eq!(rule.positions, Positions::At(vec![tokens - 1]));
    assert_ne!(bits(&window.next()), before);
    assert!(window.next().kl > 0.0);
    assert_eq!(values(&window)[chosen * tokens + tokens - 1], 0.0);
    click_cell(&mut window, title, (chosen, experts), (tokens - 1, tokens));
    assert!(window.state().history.plan().items.is_empty());
    assert_eq!(bits(&window.next()), before);
    // Forced for every token: the others with it come to k.
    window.click("forces it");
    window.click("for every token");
    click_cell(&mut window, title, (chosen, experts), (0, tokens));
    let gates = values(&window);
    assert!((0..tokens).all(|col| gates[chosen * tokens + col] > 0.0));
    window.click("Undo");
    assert!(window.state().history.plan().items.is_empty());
}

#[test]
fn every_figure_of_the_experts_is_drawn_and_exports() {
    let mut window = window("qwen2_moe");
    for show in
        ["gates", "router logits", "output norms", "load and saliency", "chosen together", "all blocks"]
    {
        window.click(show);
        let figure = window.figure("experts-view");
        assert_eq!(name(&figure), "experts");
        assert!(figure.title.contains(show), "{}", figure.title);
        assert!(window.state().results.failure.is_none(), "{show}");
    }
    window.export("experts", &Format::ALL);
}

#[test]
fn a_checkpoint_without_experts_says_so() {
    let mut window = Window::bundled();
    window.click("Choose experts panel");
    assert!(window.harness.query_by_label_contains("has no experts").is_some());
    assert!(window.state().results.failure.is_none());
}

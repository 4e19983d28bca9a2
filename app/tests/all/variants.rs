//! Variants beside each other: pinned, compared, continued, measured, kept.

use eframe::egui::Role;
use egui_kittest::kittest::Queryable as _;
use sluice::command::Command;
use sluice::state::State;
use sluice_core::figure::{Plot, csv};
use sluice_core::method::plan_cost::{PLAN_COST, PlanCostFound};
use sluice_core::plan::{Part, Sublayer};
use sluice_core::worker::{Column, ViewData};

use crate::support::{Window, bits};

/// Every column is there.
fn whole(state: &State) -> bool {
    state.results.beside.is_whole()
}

fn columns(window: &mut Window) -> Vec<std::sync::Arc<Column>> {
    window.until("the columns", whole);
    window.settle();
    window.until("the columns", whole);
    window.state().results.beside.columns.iter().filter_map(|own| own.column.clone()).collect()
}

fn next(column: &Column) -> sluice_core::method::view::NextTokens {
    match &*column.next {
        ViewData::Next(next) => next.clone(),
        _ => panic!("no next tokens"),
    }
}

/// Two pins of plans, and one of another prompt.
fn pinned() -> Window {
    let mut window = Window::bundled();
    window.apply(Command::Show("sublayers"));
    window.click("FFN 3");
    window.apply(Command::PinVariant);
    window.click("attention 2");
    window.apply(Command::PinVariant);
    window.apply(Command::PinVariant);
    assert!(window.state().said().starts_with("already pinned"), "the same twice is one");
    window.type_prompt("Moren lives in");
    window.settle();
    window.apply(Command::PinVariant);
    assert_eq!(window.state().variants.len(), 3);
    window.apply(Command::Show("variants"));
    window
}

#[test]
fn columns_show_what_runs_of_their_own_show() {
    let mut window = pinned();
    let all = columns(&mut window);
    assert_eq!(all.len(), 5, "the model, the plan now and three pins");
    assert_eq!(bits(&next(&all[1])), bits(&window.next()));
    assert_eq!(all[0].kl, 0.0);
    assert!(all[1].kl > 0.0 && all[1].kl.to_bits() == window.next().kl.to_bits());
    // A pin taken over is the scene.
    for index in 0..3 {
        window.apply(Command::TakeVariant(index));
        assert_eq!(bits(&next(&all[2 + index])), bits(&window.next()), "{index}");
    }
    window.apply(Command::Undo);
    window.apply(Command::Undo);
    window.apply(Command::Undo);
    assert_eq!(window.state().prompt, "Moren lives in");
    // All about the prompt as it is.
    window.click("on this prompt");
    let now = columns(&mut window);
    assert_eq!(now[2].tokens.len(), now[0].tokens.len());
    assert_ne!(bits(&next(&now[2])), bits(&next(&all[2])));
}

#[test]
fn figures_lie_on_one_scale_with_differences() {
    let mut window = pinned();
    window.click("on this prompt");
    columns(&mut window);
    let figures = sluice::panels::find("variants").unwrap().figures(window.state());
    // Five lenses, four differences, the losses.
    assert_eq!(figures.len(), 10);
    let maps: Vec<_> = figures
        .iter()
        .filter_map(|figure| match &figure.plot {
            Plot::Map(map) => Some((figure.title.clone(), map.clone())),
            _ => None,
        })
        .collect();
    assert!(maps[..5].iter().all(|(_, map)| map.scale == maps[0].1.scale));
    assert!(maps[5..].iter().all(|(title, map)| map.scale == maps[5].1.scale && title.contains("− A: ")));
    for (index, (_, difference)) in maps[5..].iter().enumerate() {
        for (at, value) in difference.values.iter().enumerate() {
            let own = maps[1 + index].1.values[at] - maps[0].1.values[at];
            assert_eq!(value.to_bits(), own.to_bits());
        }
    }
    let stems: std::collections::BTreeSet<String> = figures.iter().map(|figure| figure.stem()).collect();
    assert_eq!(stems.len(), figures.len(), "files of their own: {stems:?}");
    let losses = figures.last().unwrap();
    let Plot::Bars(bars) = &losses.plot else { panic!("losses are bars") };
    assert_eq!(bars.series.len(), 5);
    let text = csv::to_csv(losses);
    assert!(text.contains("A,B,C,D,E"), "{text}");
    // Another figure, and compared with another column.
    window.harness.get_by_role_and_label(Role::ComboBox, "Against").click();
    window.harness.run_steps(3);
    window.harness.get_by_label_contains("B the plan now").click();
    let all = columns(&mut window);
    assert!(all[1].kl == 0.0 && all[0].kl > 0.0);
}

#[test]
fn a_toggle_computes_the_live_column_alone() {
    let mut window = pinned();
    let before = columns(&mut window);
    window.apply(Command::Undo);
    let after = columns(&mut window);
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let same = std::sync::Arc::ptr_eq(&before.view, &after.view);
        // The prompt of the model and of the plan as they are is another now.
        assert_eq!(same, index >= 2, "{index}");
    }
}

#[test]
fn what_was_there_before_is_not_shown_as_new() {
    let mut window = pinned();
    columns(&mut window);
    let before = window.state().heads(false)[1].variant.clone().unwrap();
    assert!(window.state().results.beside.of(1, &before).unwrap().1.fresh);
    let ctx = window.harness.ctx.clone();
    let app = window.harness.state_mut().as_mut().unwrap();
    app.apply(&ctx, Command::Undo);
    app.apply(&ctx, Command::Undo);
    // Not asked yet: heads are of the plan as it is.
    let heads = window.state().heads(false);
    let own = |place: usize| {
        let variant = heads[place].variant.as_ref().unwrap();
        window.state().results.beside.of(place, variant).unwrap().1
    };
    assert!(!own(0).fresh && !own(0).drawn, "the model's prompt is another");
    // A pin is found wherever it stands.
    assert!(own(heads.len() - 1).fresh);
    columns(&mut window);
    window.state().heads(false).iter().enumerate().for_each(|(place, head)| {
        let (_, own) = window.state().results.beside.of(place, head.variant.as_ref().unwrap()).unwrap();
        assert!(own.fresh && own.drawn, "{place}");
    });
}

#[test]
fn a_variant_that_cannot_be_run_says_why_and_takes_no_other_with_it() {
    let mut window = pinned();
    let context = window.state().card.as_ref().unwrap().spec.context;
    let document = window.state().variants[2].document.clone();
    let words = "Moren lives in ".repeat(context).into();
    let long = sluice_core::session::Document { words, ..document };
    let state = &mut window.harness.state_mut().as_mut().unwrap().state;
    state.variants[0].document = long;
    columns(&mut window);
    let beside = &window.state().results.beside;
    assert!(beside.columns[2].failure.as_ref().unwrap().cause.contains("tokens"));
    assert_eq!(beside.columns.iter().filter(|own| own.drawn).count(), 4);
    assert!(window.state().results.failure.is_none());
    window.harness.run_steps(2);
    assert!(window.harness.query_by_label_contains("shorten the prompt").is_some());
}

#[test]
fn a_pin_is_taken_away_and_put_back() {
    let mut window = pinned();
    columns(&mut window);
    let names: Vec<String> = window.state().variants.iter().map(|pinned| pinned.name.to_string()).collect();
    window.harness.get_by_label(&format!("Unpin {}", names[0])).click();
    window.settle();
    assert_eq!(window.state().variants.len(), 2);
    window.click(&format!("Undo: unpinned: {}", names[0]));
    let again: Vec<String> = window.state().variants.iter().map(|pinned| pinned.name.to_string()).collect();
    assert_eq!(again, names);
}

#[test]
fn continuations_mark_other_words() {
    let mut window = pinned();
    columns(&mut window);
    window.click("Continue each");
    window.until("the texts", |state| state.results.beside.text.as_ref().is_some_and(|text| text.done));
    let text = window.state().results.beside.text.clone().unwrap();
    assert_eq!(text.texts.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(), ["A", "B", "C", "D", "E"]);
    window.harness.run_steps(3);
    window.apply(Command::Undo);
    window.harness.run_steps(3);
    assert!(window.harness.query_all_by_label_contains("continue again").next().is_some());
}

#[test]
fn plans_are_measured_on_a_text_and_kept_with_their_cost() {
    let home = tempfile::tempdir().unwrap();
    let mut window = Window::kept(home.path(), None);
    window.apply(Command::Show("sublayers"));
    window.click("FFN 3");
    window.apply(Command::PinVariant);
    window.click("attention 2");
    window.apply(Command::PinVariant);
    window.apply(Command::Show("variants"));
    window.click("Table");
    let app = window.harness.state_mut().as_mut().unwrap();
    app.state.studies.get_mut(PLAN_COST.id).ask.insert("samples".into(), 4.into());
    window.click("Measure on a text");
    window.until("the costs", |state| state.variants.iter().all(|pinned| pinned.cost.is_some()));
    window.settle();
    let costs: Vec<_> = window.state().variants.iter().map(|pinned| pinned.cost.clone().unwrap()).collect();
    assert!(costs[0].difference[0] > 0.0 && costs[0] != costs[1] && costs[0].kl > 0.0);
    // The same that the method finds of the plan on its own.
    window.apply(Command::Run(&PLAN_COST));
    let alone = window.found(&PLAN_COST);
    let fact = alone.facts().into_iter().find(|fact| fact.name == "difference").unwrap();
    assert_eq!((fact.value, fact.low), (costs[1].difference[0], Some(costs[1].difference[1])));
    let pins = window.state().variants.clone();
    window.quit();
    let mut window = Window::kept(home.path(), None);
    assert_eq!(window.state().variants, pins);
    window.apply(Command::Show("variants"));
    columns(&mut window);
    assert!(window.harness.query_by_label_contains("not measured").is_none());
}

#[test]
fn the_loss_on_a_text_follows_the_plan() {
    let mut window = Window::bundled();
    let app = window.harness.state_mut().as_mut().unwrap();
    app.state.studies.get_mut(PLAN_COST.id).ask.insert("samples".into(), 4.into());
    window.click("Loss on a text");
    window.settle();
    assert!(window.state().studies.findings(PLAN_COST.id).is_none(), "nothing is changed yet");
    let measured = |state: &State, items: usize| {
        let findings = state.studies.findings(PLAN_COST.id);
        findings.is_some_and(|found| found.done && found.asked.plan.items.len() == items)
    };
    window.apply(Command::Toggle(Sublayer { layer: 2, part: Part::Ffn }));
    window.until("the cost", |state| measured(state, 1));
    window.apply(Command::Toggle(Sublayer { layer: 3, part: Part::Ffn }));
    window.until("the cost of both", |state| measured(state, 2));
    window.settle();
    let found = window.found(&PLAN_COST);
    let found = found.value::<PlanCostFound>().unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let shown = format!("{:.3} → {:.3} nats", mean(&found.base), mean(&found.plan));
    window.click(&shown);
    assert!(window.state().visible.contains(&PLAN_COST.id));
}

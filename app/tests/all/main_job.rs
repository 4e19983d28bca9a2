//! The main job by label: open, type, take out a sublayer, see the distribution answer, undo, export.

use std::fs;

use eframe::egui::{Key, Modifiers, Role};
use egui_kittest::kittest::Queryable as _;
use sluice::command::Command;
use sluice_core::checkpoint::{NumberFormat, save};
use sluice_core::figure::{Format, Plot};
use sluice_core::method::view::RoutingAsk;
use sluice_core::model::random_tensors;
use sluice_core::worker::{Target, ViewData};

use crate::support::{Window, bits, golden, svg_texts};

#[test]
fn open_type_take_out_undo_export() {
    let mut window = Window::new(None);
    window.harness.run_steps(2);
    window.click("Open the bundled checkpoint");
    window.until("the checkpoint", |state| state.card.is_some());
    window.settle();
    window.type_prompt("Moren lives in");
    window.until("the tokens", |state| state.results.tokens.last().is_some_and(|token| token.text == "·in"));
    window.settle();
    assert!(window.harness.query_by_label("token 0: <s>").is_some());
    let before = window.next();
    assert_eq!(before.kl, 0.0);

    window.click("Pruning panel");
    window.click("FFN 3");
    let changed = window.next();
    assert!(changed.kl > 0.0);
    assert_ne!(bits(&before), bits(&changed));
    assert!(window.harness.query_by_label("take out FFN 3").is_some(), "the plan lists it");

    window.click("Undo");
    assert_eq!(bits(&window.next()), bits(&before));
    window.click("Redo");
    assert_eq!(bits(&window.next()), bits(&changed));

    window.export("next-tokens", &Format::ALL);
    check_table(&window);
    window.export("sublayers", &Format::ALL);
    check_ladder(&window);
    assert!(fs::read(window.file("sublayers.png")).unwrap().starts_with(b"\x89PNG"));
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(window.file("sublayers.json")).unwrap()).unwrap();
    assert!(json["provenance"]["plan"].as_str().unwrap().contains("FFN 3"), "{}", json["provenance"]);
    // What is there stays; one file in the way is enough for a number.
    let [csv, svg] = ["csv", "svg"].map(|end| window.file(&format!("sublayers.{end}")));
    assert!(csv.file_name().unwrap().to_string_lossy().starts_with("bundled-moren-lives-in-sublayers-"));
    fs::write(&csv, "kept").unwrap();
    fs::remove_file(&svg).unwrap();
    window.export("sublayers", &Format::OF_A_STUDY);
    let stem = csv.file_stem().unwrap().to_string_lossy().into_owned();
    assert!(
        window.state().said().contains(&format!("wrote {stem}-2 as PNG, SVG and CSV")),
        "{}",
        window.state().said()
    );
    assert_eq!(fs::read_to_string(&csv).unwrap(), "kept");
    let numbered = ["png", "svg", "csv"].map(|end| csv.with_file_name(format!("{stem}-2.{end}")).is_file());
    assert_eq!((numbered, svg.exists()), ([true; 3], false));
}

#[test]
fn everything_on_screen_is_one_page() {
    let mut window = Window::bundled();
    window.harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::E);
    window.until("the page", |state| state.said().starts_with("wrote "));
    let page = fs::read_dir(window.folder.path().join("figures")).unwrap().next().unwrap().unwrap().path();
    assert!(page.to_string_lossy().ends_with("-page.html"));
    let text = fs::read_to_string(&page).unwrap();
    let figures = sluice::panels::figures(window.state());
    assert!(figures.len() > 2 && text.matches("<svg ").count() == figures.len());
    assert!(text.contains("<h1>bundled: People call Taren the sailor. Taren comes from</h1>"));
    let next = window.next();
    assert!(text.contains(&format!("<td>{}</td>", next.rows[0].token.text)));
}

/// The exported next-token table holds the numbers on screen.
fn check_table(window: &Window) {
    let next = window.next();
    let csv = crate::support::records(&window.file("next-tokens.csv"));
    let lines: Vec<&str> = csv.lines().skip(1).take(next.rows.len()).collect();
    assert_eq!(lines.len(), next.rows.len());
    for (line, row) in lines.iter().zip(&next.rows) {
        let mut cells = line.rsplitn(3, ',');
        let plan: f64 = cells.next().unwrap().parse().unwrap();
        let base: f64 = cells.next().unwrap().parse().unwrap();
        assert_eq!((base, plan), (100.0 * f64::from(row.base), 100.0 * f64::from(row.plan)), "{line}");
    }
    let texts = svg_texts(&window.file("next-tokens.svg"), "text");
    for row in &next.rows {
        assert!(texts.contains(&row.token.text), "{} is not in the SVG", row.token.text);
    }
    // Numbers are rounded on paper: the largest one has at least three digits in common.
    let largest = next.rows.iter().map(|row| 100.0 * row.plan).fold(0.0, f32::max);
    let numbers: Vec<f32> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    assert!(numbers.iter().any(|x| (x - largest).abs() <= 0.005 * largest), "{largest} in {numbers:?}");
    let note = format!("KL(base || plan) = {:.4} nats", next.kl);
    assert!(texts.iter().any(|text| text.contains(&note)), "{note}");
}

/// The exported ladder says what is out.
fn check_ladder(window: &Window) {
    let layers = window.state().layers();
    let csv = fs::read_to_string(window.file("sublayers.csv")).unwrap();
    assert!(csv.contains("taken out"), "{csv}");
    let titles = svg_texts(&window.file("sublayers.svg"), "title");
    let out = titles.iter().filter(|title| title.contains("taken out")).count();
    assert!(out >= 1 && titles.len() >= 2 * layers, "{titles:?}");
}

#[test]
fn keys_do_what_the_menu_says() {
    let mut window = Window::bundled();
    let before = bits(&window.next());
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::Num6);
    window.settle();
    assert_eq!(window.state().visible, ["sublayers"], "as the list at the left counts");
    window.click("attention 1");
    assert_ne!(bits(&window.next()), before);
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    window.settle();
    assert_eq!(bits(&window.next()), before);
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::E);
    window.until("the export", |state| state.said().starts_with("wrote "));
    assert!(window.file("sublayers.svg").is_file() && window.file("next-tokens.csv").is_file());
}

#[test]
fn each_checkpoint_has_a_plan_and_a_history_of_its_own() {
    let mut window = Window::bundled();
    window.choose("Fill", "All small");
    let plan = window.state().history.plan().clone();
    window.type_folder(&golden("llama").display().to_string());
    window.click("Open");
    window.until("the checkpoint", |state| state.card.as_ref().is_some_and(|card| card.name == "llama"));
    window.settle();
    assert!(window.state().history.plan().items.is_empty());
    assert_eq!(window.state().history.steps(), (false, false), "nothing of another model comes back");
    let ctx = window.harness.ctx.clone();
    window.harness.state_mut().as_mut().unwrap().apply(&ctx, Command::OpenBundled);
    window.until("the checkpoint", |state| state.card.as_ref().is_some_and(|card| card.name == "bundled"));
    window.settle();
    assert_eq!(*window.state().history.plan(), plan, "it waited for its model");
    window.click("Undo");
    assert!(window.state().history.plan().items.is_empty());
}

#[test]
fn undo_in_a_text_box_is_the_texts_own() {
    let mut window = Window::bundled();
    window.choose("Fill", "All small");
    let plan = window.state().history.plan().clone();
    window.harness.get_by_label("Edit prompt").click();
    window.harness.run_steps(2);
    window.fill(Role::MultilineTextInput, "Prompt", "Moren");
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    window.settle();
    assert_eq!(*window.state().history.plan(), plan);
}

#[test]
fn the_palette_finds_and_runs_a_command() {
    let mut window = Window::bundled();
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    window.harness.run_steps(3);
    window.harness.get_by_role_and_label(Role::TextInput, "Command").type_text("lens");
    window.harness.run_steps(3);
    window.harness.key_press(Key::Enter);
    window.settle();
    assert!(window.state().palette.is_none());
    assert_eq!(window.state().visible, ["lens"]);
    // The arrow keys reach the entries below.
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    window.harness.run_steps(3);
    window.harness.get_by_role_and_label(Role::TextInput, "Command").type_text("t");
    window.harness.run_steps(2);
    window.harness.key_press(Key::ArrowDown);
    window.harness.run_steps(2);
    window.harness.key_press(Key::Enter);
    window.settle();
    assert!(window.state().palette.is_none());
}

#[test]
fn a_checkpoint_without_tokenizer_works_on_ids() {
    let mut window = Window::new(Some(Target::Path(golden("gpt2"))));
    window.until("the checkpoint", |state| state.card.is_some());
    window.settle();
    window.type_prompt("3, 14, 15");
    window.until("the tokens", |state| state.results.tokens.len() == 3);
    window.type_prompt("3, x");
    window.until("the cause", |state| state.results.failure.is_some());
    assert!(window.harness.query_by_label_contains("\"x\" is not a token id").is_some());
    window.type_prompt("3, 14");
    window.until("the tokens", |state| state.results.tokens.len() == 2);
    window.settle();
    window.choose("Fill", "All small");
    // No small FFN of its own: the panel says surrogate, and what it was chosen on.
    assert!(window.harness.query_all_by_label_contains("surrogate").next().is_some());
    let Some(figure) = window.state().data(&RoutingAsk {}.into()).map(ViewData::figure) else {
        panic!("no routing map")
    };
    assert!(figure.notes.iter().any(|note| note.contains("surrogate") && note.contains("seeded random ids")));
    let Plot::Map(map) = &figure.plot else { panic!("not a map") };
    assert_eq!(map.cols.labels.last().map(String::as_str), Some("next"));
}

/// SmolLM2-135M's true shape with random weights: opened, run and steered like any other checkpoint.
#[test]
#[cfg_attr(debug_assertions, ignore = "135 million random numbers take minutes without optimisation")]
fn a_real_shape_is_steered_in_the_window() {
    let text = fs::read_to_string(golden("configs/smollm2-135m.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tensors = random_tensors(&config, 135).unwrap();
    save(folder.path(), &config, &tensors, NumberFormat::Bf16, None).unwrap();
    drop(tensors);
    let mut window = Window::new(Some(Target::Path(folder.path().to_owned())));
    window.until("the checkpoint", |state| state.card.is_some());
    assert_eq!(window.state().layers(), 30);
    assert_eq!(window.state().card.as_ref().unwrap().parameters, 134_515_008);
    window.type_prompt("1, 504, 3, 49151, 28, 0, 1042, 17");
    window.until("the tokens", |state| state.results.tokens.len() == 8 && state.results.tokens[1].id == 504);
    window.settle();
    let before = window.next();
    window.click("Pruning panel");
    window.click("FFN 3");
    let changed = window.next();
    assert!(changed.kl > 0.0 && changed.rows.iter().all(|row| row.plan.is_finite()));
    window.click("Undo");
    assert_eq!(bits(&window.next()), bits(&before));
}

//! Every plot kind on screen, by pointer and by keys.

use std::sync::Arc;

use eframe::egui::{Key, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use sluice::command::Command;
use sluice::theme;
use sluice::widgets::{Cell, Touch, figure};
use sluice_core::figure::{
    Axis, BarSeries, Bars, Cell as Value, Class, Figure, FigureId, Format, Ground, Lines, Map, Plot,
    Provenance, Scale, Series, Table,
};

/// A figure on screen, what was done to it last, and what it asked for.
struct Shown {
    figure: Arc<Figure>,
    /// The theme has its fonts: from the second frame on.
    dressed: bool,
    selected: Option<Cell>,
    touch: Touch,
    commands: Vec<Command>,
}

fn show(title: &str, plot: Plot) -> Harness<'static, Shown> {
    let figure = Arc::new(Figure {
        id: FigureId("sample"),
        name: "sample".into(),
        detail: String::new(),
        short: title.into(),
        title: title.into(),
        plot,
        notes: vec!["a note".into()],
        provenance: Provenance::default(),
    });
    let shown =
        Shown { figure, dressed: false, selected: None, touch: Touch::default(), commands: Vec::new() };
    let mut harness = Harness::builder().with_size(vec2(640.0, 480.0)).build_ui_state(
        |ui, shown: &mut Shown| {
            if !std::mem::replace(&mut shown.dressed, true) {
                return theme::install(ui.ctx());
            }
            let touch = figure::show(ui, &shown.figure, shown.selected, "a fact", &mut shown.commands);
            if touch != Touch::default() {
                shown.touch = touch;
            }
        },
        shown,
    );
    harness.run_steps(4);
    harness
}

fn axis(name: &str, count: usize) -> Axis {
    Axis::new(name, (0..count).map(|index| format!("{name} {index}")))
}

/// 3 x 4 cells, one missing.
fn map() -> Plot {
    let values = (0..12).map(|cell| if cell == 5 { f32::NAN } else { cell as f32 / 11.0 });
    Plot::Map(Map {
        rows: Axis::counted("Layer", 3),
        cols: axis("Token", 4),
        values: values.collect(),
        scale: Scale::Sequential { min: 0.0, max: 1.0 },
        quantity: "share".into(),
        text: None,
    })
}

fn bars(rows: usize) -> Plot {
    let series =
        |name: &str, values: Vec<f32>, text| BarSeries { name: name.into(), values: values.into(), text };
    let one = (0..rows).map(|row| if row == 2 { f32::NAN } else { 0.01 * row as f32 - 0.03 }).collect();
    let two = (0..rows).map(|row| -0.05 + 0.02 * row as f32).collect();
    let words = (0..rows).map(|row| if row == 1 { "source".to_owned() } else { String::new() }).collect();
    Plot::Bars(Bars {
        rows: Axis::counted("Layer", rows),
        quantity: "rate".into(),
        span: [-0.1, 0.1],
        series: vec![series("attention", one, Some(words)), series("FFN", two, None)],
    })
}

fn table(rows: usize) -> Plot {
    let row = |row: usize| {
        let x = if row == 1 { f64::NAN } else { row as f64 / 4.0 };
        vec![Value::Text(format!("word {row}")), Value::Number(x)]
    };
    Plot::Table(Table { columns: vec!["Token".into(), "p (%)".into()], rows: (0..rows).map(row).collect() })
}

fn lines() -> Plot {
    let series = |name: &str, y: Vec<f32>| Series { name: name.into(), y: y.into() };
    Plot::Lines(Lines {
        x_name: "Layer".into(),
        y_name: "KL (nats)".into(),
        x_labels: (0..12).map(|layer| layer.to_string()).collect(),
        series: vec![series("base", (0..12).map(|x| x as f32).collect()), series("plan", vec![f32::NAN; 12])],
    })
}

#[test]
fn every_kind_has_an_export_its_fact_and_its_name() {
    for (plot, name) in [
        (map(), Some("Sample map")),
        (lines(), Some("Sample curves")),
        (bars(8), Some("Sample bars")),
        (table(3), None),
    ] {
        let harness = show("Sample", plot);
        assert!(harness.query_by_label("Export sample").is_some());
        assert!(harness.query_by_label("a fact").is_some());
        if let Some(name) = name {
            assert!(harness.query_by_role_and_label(Role::Image, name).is_some(), "{name}");
        }
        // Maps alone can be turned.
        assert_eq!(harness.query_by_label("Transpose").is_some(), name == Some("Sample map"));
    }
}

#[test]
fn figures_of_nothing_say_so() {
    let empty = |plot: Plot| show("Empty", plot).query_by_label("No data").is_some();
    assert!(empty(bars(0)));
    assert!(empty(table(0)));
    assert!(empty(Plot::Lines(Lines {
        x_name: "x".into(),
        y_name: "y".into(),
        x_labels: Arc::new([]),
        series: vec![]
    })));
    let Plot::Map(mut none) = map() else { panic!("not a map") };
    (none.rows, none.values) = (axis("Layer", 0), Arc::new([]));
    assert!(empty(Plot::Map(none)));
}

#[test]
fn curves_fill_the_height_that_is_left() {
    let harness = show("Sample", lines());
    let plot = harness.get_by_role_and_label(Role::Image, "Sample curves").rect();
    assert!(plot.height() > 280.0, "{plot:?}");
}

#[test]
fn arrows_move_the_cursor_of_a_map_and_enter_clicks_its_cell() {
    let mut harness = show("Sample", map());
    harness.get_by_role_and_label(Role::Image, "Sample map").focus();
    harness.run_steps(3);
    let here = |harness: &Harness<'_, Shown>, label: &str| {
        assert!(harness.query_by_role_and_label(Role::Image, label).is_some(), "{label}");
    };
    here(&harness, "Sample map, Layer 0, Token 0 Token 0, share 0.0000");
    for key in [Key::ArrowRight, Key::ArrowDown, Key::ArrowLeft, Key::ArrowRight] {
        harness.key_press(key);
        harness.run_steps(2);
    }
    here(&harness, "Sample map, Layer 1, Token 1 Token 1, n/a");
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    let cell = Cell { row: 1, col: 1 };
    assert_eq!(harness.state().touch, Touch { clicked: Some(cell), stroke: vec![cell] });
    // The edges hold; the space bar clicks as well.
    for _ in 0..9 {
        harness.key_press(Key::ArrowDown);
        harness.key_press(Key::ArrowRight);
    }
    harness.run_steps(3);
    harness.key_press(Key::Space);
    harness.run_steps(2);
    assert_eq!(harness.state().touch.clicked, Some(Cell { row: 2, col: 3 }));
    here(&harness, "Sample map, Layer 2, Token 3 Token 3, share 1.0000");
}

#[test]
fn the_cursor_of_a_turned_map_reports_cells_of_the_figure() {
    let mut harness = show("Sample", map());
    harness.get_by_label("Transpose").click();
    harness.run_steps(4);
    harness.get_by_role_and_label(Role::Image, "Sample map").focus();
    harness.run_steps(3);
    harness.key_press(Key::ArrowDown);
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    assert_eq!(harness.state().touch.clicked, Some(Cell { row: 0, col: 1 }));
}

#[test]
fn a_zoomed_map_follows_its_cursor() {
    let Plot::Map(map) = map() else { panic!("not a map") };
    let classes = ["a", "b"].map(|name| Class { name: name.into(), rgb: None, strokes: 0 });
    let wide = Map {
        cols: Axis::counted("Token", 40),
        values: (0..120).map(|cell| (cell % 2) as f32).collect(),
        scale: Scale::classes(classes),
        ..map
    };
    let mut harness = show("Sample", Plot::Map(wide));
    let rect = harness.get_by_role_and_label(Role::Image, "Sample map").rect();
    harness.hover_at(rect.left_center() + vec2(4.0, 0.0));
    harness.run_steps(2);
    for _ in 0..4 {
        harness.event(eframe::egui::Event::Zoom(1.5));
        harness.run_steps(2);
    }
    harness.remove_cursor();
    harness.get_by_role_and_label(Role::Image, "Sample map").focus();
    harness.run_steps(3);
    for _ in 0..30 {
        harness.key_press(Key::ArrowRight);
        harness.run_steps(1);
    }
    harness.run_steps(2);
    // What is on screen now ends with the cursor's column: a click at the right edge is on it.
    harness.drag_at(rect.right_center() - vec2(3.0, 0.0));
    harness.drop_at(rect.right_center() - vec2(3.0, 0.0));
    harness.run_steps(3);
    assert_eq!(harness.state().touch.clicked.map(|cell| cell.col), Some(30));
}

#[test]
fn bars_report_row_and_series_by_pointer_and_keys() {
    let mut harness = show("Sample", bars(8));
    let rect = harness.get_by_role_and_label(Role::Image, "Sample bars").rect();
    let at = rect.left_top() + vec2(rect.width() / 2.0, rect.height() * 3.75 / 8.0);
    harness.drag_at(at);
    harness.drop_at(at);
    harness.run_steps(3);
    assert_eq!(harness.state().touch.clicked, Some(Cell { row: 3, col: 1 }));
    harness.remove_cursor();
    harness.get_by_role_and_label(Role::Image, "Sample bars").focus();
    harness.run_steps(3);
    harness.key_press(Key::ArrowDown);
    harness.run_steps(2);
    // From the bar that was clicked.
    assert!(harness.query_by_label_contains("Sample bars, Layer 4, FFN, rate").is_some());
    for key in [Key::ArrowUp, Key::ArrowUp, Key::ArrowUp, Key::ArrowLeft] {
        harness.key_press(key);
        harness.run_steps(2);
    }
    let name = "Sample bars, Layer 1, attention, rate -0.0200, source";
    assert!(harness.query_by_role_and_label(Role::Image, name).is_some());
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    assert_eq!(harness.state().touch.clicked, Some(Cell { row: 1, col: 1 }));
}

#[test]
fn bars_that_do_not_fit_scroll_to_the_cursor() {
    let mut harness = show("Sample", bars(200));
    harness.get_by_role_and_label(Role::Image, "Sample bars").focus();
    harness.run_steps(3);
    for _ in 0..150 {
        harness.key_press(Key::ArrowDown);
        harness.run_steps(1);
    }
    harness.run_steps(30);
    let rect =
        harness.get_by_role_and_label(Role::Image, "Sample bars, Layer 150, attention, rate 1.47").rect();
    let row = rect.top() + 150.5 * rect.height() / 200.0;
    assert!((0.0..480.0).contains(&row), "{rect:?}, {row}");
}

#[test]
fn a_table_draws_the_rows_in_sight_and_reports_the_clicked_one() {
    let mut harness = show("Sample", table(10_000));
    assert!(harness.query_by_label_contains("Token word 0,").is_some());
    assert!(harness.query_by_label("Token word 1, p (%) missing").is_some());
    assert!(harness.query_by_label_contains("word 9000").is_none(), "far out of sight");
    harness.get_by_label_contains("Token word 2,").click();
    harness.run_steps(3);
    let row = Cell { row: 2, col: 0 };
    assert_eq!(harness.state().touch.clicked, Some(row));
    harness.state_mut().selected = Some(row);
    harness.run_steps(2);
    harness.get_by_label_contains("Token word 3,").focus();
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    assert_eq!(harness.state().touch.clicked, Some(Cell { row: 3, col: 0 }));
}

#[test]
fn any_figure_exports_from_its_menu() {
    let mut harness = show("Sample", bars(4));
    harness.get_by_label("Export sample").click();
    harness.run_steps(3);
    for label in ["JSON", "dark"] {
        harness.get_by_label(label).click();
        harness.run_steps(2);
        let commands = &harness.state().commands;
        let chosen = commands.iter().any(|command| match command {
            Command::ExportAs(choice) if label == "JSON" => choice.formats == Format::ALL,
            Command::ExportAs(choice) => choice.sheet.ground == Ground::Dark,
            _ => false,
        });
        assert!(chosen, "{label}: {commands:?}");
    }
    harness.get_by_role_and_label(Role::Button, "Export").click();
    harness.run_steps(2);
    let commands = &harness.state().commands;
    let exported =
        |command: &Command| matches!(command, Command::Export(figure) if figure.id == FigureId("sample"));
    assert!(commands.iter().any(exported), "{commands:?}");
}

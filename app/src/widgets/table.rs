//! Rows of text and numbers: only those in sight are drawn, numbers in monospace to the right with one count of decimals
//! per column, as in files. A click on a row reports it, in column 0.

use std::sync::Arc;

use eframe::egui::{
    Align2, FontId, Id, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, TextStyle, Ui, WidgetInfo, pos2,
    vec2,
};
use sluice_core::figure::{Cell as Value, Figure, Table, number};

use super::marks::hatch;
use super::touch::{Cell, Touch};
use crate::theme;

/// Characters of a cell; the whole text is shown on hover.
const LONGEST: usize = 64;
/// Between columns, in points.
const GUTTER: f32 = 6.0 * theme::UNIT;
/// A missing number.
const MISSING: [f32; 2] = [24.0, 10.0];

/// A column as it is drawn.
struct Column {
    head: String,
    texts: Vec<String>,
    /// Numbers stand to the right.
    right: bool,
    width: f32,
}

/// The texts of a figure's columns, until the figure changes.
type Kept = (Arc<Figure>, Arc<Vec<Column>>);

/// Draw the table; `selected` is a row.
pub fn ui(ui: &mut Ui, figure: &Arc<Figure>, table: &Table, selected: Option<Cell>) -> Touch {
    if table.columns.is_empty() || table.rows.is_empty() {
        ui.weak("No data");
        return Touch::default();
    }
    let columns = columns(ui, figure, table);
    let wide = columns.iter().map(|column| column.width + GUTTER).sum::<f32>();
    let scroll = ScrollArea::horizontal().id_salt(("table", figure.id)).auto_shrink([false, true]);
    let clicked = scroll.show(ui, |ui| {
        head(ui, &columns, wide);
        let mut clicked = None;
        ScrollArea::vertical().id_salt("rows").auto_shrink([false, true]).show_rows(
            ui,
            theme::ROW,
            table.rows.len(),
            |ui, shown| {
                for row in shown {
                    if entry(ui, &columns, table, row, wide, selected.is_some_and(|cell| cell.row == row)) {
                        clicked = Some(Cell { row, col: 0 });
                    }
                }
            },
        );
        clicked
    });
    Touch { clicked: clicked.inner, stroke: Vec::new() }
}

/// Columns laid out once per figure: a long table has more cells than a frame has time for.
fn columns(ui: &Ui, figure: &Arc<Figure>, table: &Table) -> Arc<Vec<Column>> {
    let id = Id::unique(("table", figure.id));
    let kept: Option<Kept> = ui.data(|data| data.get_temp(id));
    if let Some((_, columns)) = kept.filter(|(of, _)| Arc::ptr_eq(of, figure)) {
        return columns;
    }
    let advance = ui.fonts_mut(|fonts| fonts.glyph_width(&font(), '0'));
    let column = |(index, head): (usize, &String)| {
        let cells = || table.rows.iter().map(move |row| row.get(index));
        let right = cells().flatten().any(|cell| matches!(cell, Value::Number(_)));
        let values: Vec<f64> = cells()
            .map(|cell| if let Some(Value::Number(value)) = cell { *value } else { f64::NAN })
            .collect();
        let texts: Vec<String> = cells()
            .zip(number::column(&values))
            .map(|(cell, number)| if let Some(Value::Text(text)) = cell { text.clone() } else { number })
            .collect();
        let longest = texts.iter().map(|text| text.chars().take(LONGEST).count()).max().unwrap_or(0);
        let width = advance * longest.max(head.chars().count()) as f32;
        Column { head: head.clone(), texts, right, width: width.max(MISSING[0]) }
    };
    let columns = Arc::new(table.columns.iter().enumerate().map(column).collect::<Vec<_>>());
    ui.data_mut(|data| data.insert_temp::<Kept>(id, (Arc::clone(figure), Arc::clone(&columns))));
    columns
}

fn font() -> FontId {
    FontId::monospace(12.5)
}

fn head(ui: &mut Ui, columns: &[Column], wide: f32) {
    let (rect, _) = ui.allocate_exact_size(vec2(wide, theme::ROW), Sense::hover());
    let (quiet, font) = (ui.visuals().weak_text_color(), TextStyle::Small.resolve(ui.style()));
    for (column, place) in columns.iter().zip(places(columns, rect)) {
        let (at, anchor) = anchored(column, place);
        ui.painter().text(at, anchor, &column.head, font.clone(), quiet);
    }
    let line = ui.visuals().widgets.noninteractive.bg_stroke;
    ui.painter().hline(rect.x_range(), rect.bottom(), line);
}

/// One row. True when it was clicked.
fn entry(ui: &mut Ui, columns: &[Column], table: &Table, row: usize, wide: f32, selected: bool) -> bool {
    let (rect, response) = ui.allocate_exact_size(vec2(wide, theme::ROW), Sense::click());
    let visuals = ui.visuals();
    let (text, quiet) = (visuals.text_color(), visuals.weak_text_color());
    let painter = ui.painter();
    if response.hovered() || response.has_focus() {
        painter.rect_filled(rect, 2.0, visuals.faint_bg_color);
    }
    if selected {
        let stroke = Stroke::new(1.0, theme::accent(ui.ctx()));
        painter.rect_stroke(rect, 2.0, stroke, StrokeKind::Inside);
    }
    let mut shapes = Vec::new();
    let (mut name, mut cut) = (Vec::new(), Vec::new());
    for (index, (column, place)) in columns.iter().zip(places(columns, rect)).enumerate() {
        let whole = column.texts.get(row).map_or("", String::as_str);
        let missing = matches!(table.rows.get(row).and_then(|row| row.get(index)), Some(Value::Number(x)) if x.is_nan());
        let (at, anchor) = anchored(column, place);
        if missing {
            let stub = Rect::from_center_size(at - vec2(MISSING[0] / 2.0, 0.0), MISSING.into());
            hatch(stub, Stroke::new(1.0, quiet.gamma_multiply(0.6)), &mut shapes);
        }
        let shown = theme::short(whole, LONGEST);
        if shown != whole {
            cut.push(whole);
        }
        painter.text(at, anchor, shown, font(), text);
        name.push(format!("{} {}", column.head, if missing { "missing" } else { whole }));
    }
    painter.extend(shapes);
    let name = name.join(", ");
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, &name));
    if response.gained_focus() {
        response.scroll_to_me(None);
    }
    let clicked = response.clicked();
    if !cut.is_empty() {
        response.on_hover_text(cut.join("\n"));
    }
    clicked
}

/// Where the cells of a row are.
fn places(columns: &[Column], rect: Rect) -> impl Iterator<Item = Rect> {
    let mut left = rect.left() + GUTTER / 2.0;
    columns.iter().map(move |column| {
        let place = Rect::from_min_size(pos2(left, rect.top()), vec2(column.width, rect.height()));
        left += column.width + GUTTER;
        place
    })
}

fn anchored(column: &Column, place: Rect) -> (eframe::egui::Pos2, Align2) {
    if column.right {
        (place.right_center(), Align2::RIGHT_CENTER)
    } else {
        (place.left_center(), Align2::LEFT_CENTER)
    }
}

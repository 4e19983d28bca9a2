//! The picture of a map: one texture in a plot that zooms (Ctrl and wheel, or a box with the right button) and pans (middle
//! button; double click resets), with labels around it and text in its cells where there is room. With the keyboard focus
//! it has a cursor: arrows move it, Enter and the space bar choose its cell.

mod paint;

use std::sync::Arc;

use eframe::egui::{
    Align2, Color32, CursorIcon, FontId, Id, PointerButton, Pos2, Rect, Response, Role, Sense, Stroke,
    StrokeKind, TextStyle, Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};
use egui_plot::{Plot, PlotImage, PlotPoint, PlotTransform, PlotUi};
use sluice_core::figure::{Figure, Map, Scale};

use super::marks::widest;
use super::texture;
use super::touch::{self, Cell, Touch};
use crate::theme;

/// Characters of a row label and of a column label.
const ROW_LABEL: usize = 14;
const COL_LABEL: usize = 10;
/// Columns narrower than this in points are hard to hit: the map then says how to zoom.
const CROWDED: f32 = 12.0;

/// Everything the painting of one frame needs.
struct Canvas<'a> {
    map: &'a Map,
    transform: PlotTransform,
    /// Size of a cell on screen.
    cell: Vec2,
    /// Cells on screen: first and last row, first and last column.
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    font: FontId,
    quiet: Color32,
}

/// Draw the map into the space that is left.
pub fn ui(ui: &mut Ui, figure: &Arc<Figure>, map: &Map, selected: Option<Cell>) -> Touch {
    let (rows, cols) = map.shape();
    if rows == 0 || cols == 0 {
        ui.weak("No data");
        return Touch::default();
    }
    let font = TextStyle::Small.resolve(ui.style());
    // The name of the rows stands upright beside their labels.
    let left = widest(ui, &map.rows.labels, ROW_LABEL) + theme::ROW;
    let label = widest(ui, &map.cols.labels, COL_LABEL);
    let free = ui.available_size() - vec2(left + theme::UNIT, 0.0);
    let [most_wide, most_high] = theme::CELL;
    let width = (free.x / cols as f32).min(most_wide);
    let turned = width < label + theme::UNIT;
    let below = theme::ROW + if turned { label + theme::UNIT } else { theme::ROW };
    let height = ((free.y - below).max(96.0) / rows as f32).min(most_high);
    let size = vec2((width * cols as f32).max(8.0), (height * rows as f32).max(8.0));
    let (outer, _) = ui.allocate_exact_size(size + vec2(left, below), Sense::hover());
    let cells = Rect::from_min_size(outer.min + vec2(left, 0.0), size);
    let texture = texture::of(ui.ctx(), figure, map);
    let (w, h) = (cols as f64, rows as f64);
    let plot = Plot::new(Id::unique(("map", figure.id)))
        .width(size.x)
        .height(size.y)
        .show_axes(false)
        .show_grid(false)
        .show_x(false)
        .show_y(false)
        .show_background(false)
        .set_margin_fraction(Vec2::ZERO)
        .default_x_bounds(0.0, w)
        .default_y_bounds(0.0, h)
        .include_x(0.0)
        .include_x(w)
        .include_y(0.0)
        .include_y(h)
        .auto_bounds(true)
        .allow_drag(true)
        .pan_pointer_button(PointerButton::Middle)
        .allow_scroll(false)
        .label_formatter(|_| None)
        .sense(Sense::click_and_drag());
    // An id of its own, whatever is above: the keyboard focus stays.
    let place = UiBuilder::new().max_rect(cells).scope_id(Id::unique(("cells", figure.id)));
    let shown = plot.show(&mut ui.new_child(place), |plot| {
        if let Some(texture) = &texture {
            let middle = PlotPoint::new(w / 2.0, h / 2.0);
            let image = PlotImage::new(&figure.title, texture.id(), middle, [w as f32, h as f32]);
            plot.image(image.allow_hover(false));
        }
        let cursor = touch::cursor(plot.response(), (rows, cols), selected.unwrap_or_default());
        if let Some(cursor) = cursor.filter(|cursor| cursor.moved) {
            bring_into_sight(plot, cursor.cell, rows);
        }
        cursor
    });
    let (transform, response, cursor) = (shown.transform, shown.response, shown.inner);
    let bounds = *transform.bounds();
    let span = |low: f64, high: f64, count: usize| {
        (low.floor().max(0.0) as usize).min(count)..(high.ceil().max(0.0) as usize).min(count)
    };
    let canvas = Canvas {
        map,
        cell: vec2(
            transform.frame().width() / bounds.width().max(1e-9) as f32,
            transform.frame().height() / bounds.height().max(1e-9) as f32,
        ),
        rows: span(h - bounds.max()[1], h - bounds.min()[1], rows),
        cols: span(bounds.min()[0], bounds.max()[0], cols),
        transform,
        font: theme::small_mono(),
        quiet: ui.visuals().weak_text_color(),
    };
    let accent = Stroke::new(2.0, theme::accent(ui.ctx()));
    let edge = if cursor.is_some() { accent } else { ui.visuals().widgets.noninteractive.bg_stroke };
    ui.painter().rect_stroke(cells, 0.0, edge, StrokeKind::Outside);
    canvas.marks(ui, cells);
    canvas.row_labels(ui, cells);
    canvas.col_labels(ui, cells, turned);
    if let Some(cell) = selected {
        canvas.outline(ui, cells, cell, accent);
    }
    let hint =
        if width < CROWDED { " (Ctrl+wheel zooms, the middle button pans, double click resets)" } else { "" };
    let mut line = format!("{}{hint}", map.cols.name.to_lowercase());
    let mut name = format!("{} map", figure.title);
    if let Some(cursor) = cursor {
        canvas.cursor(ui, cells, cursor.cell);
        line = canvas.describe(cursor.cell).join(", ");
        name = format!("{name}, {line}");
    }
    let line_at = pos2(cells.center().x, outer.bottom() - theme::ROW / 2.0);
    ui.painter().text(line_at, Align2::CENTER_CENTER, line, font.clone(), canvas.quiet);
    let rows_at = pos2(outer.left() + theme::ROW / 4.0, cells.center().y);
    paint::upright(ui, rows_at, &map.rows.name.to_lowercase(), font, canvas.quiet);
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
    let touch = canvas.touch(ui, cells, &response, Id::unique(("stroke", figure.id)));
    match cursor.filter(|cursor| cursor.chosen) {
        Some(cursor) => Touch { clicked: Some(cursor.cell), stroke: vec![cursor.cell] },
        None => touch,
    }
}

/// Move a zoomed map so far that the cell is on it.
fn bring_into_sight(plot: &mut PlotUi<'_>, cell: Cell, rows: usize) {
    let bounds = plot.plot_bounds();
    // How far the cell's ends are out, on either side.
    let out = |low: f64, high: f64, at: f64| (at - low).min(0.0) + (at + 1.0 - high).max(0.0);
    let x = out(bounds.min()[0], bounds.max()[0], cell.col as f64);
    let y = out(bounds.min()[1], bounds.max()[1], rows.saturating_sub(cell.row + 1) as f64);
    if x.abs() > 1e-6 || y.abs() > 1e-6 {
        plot.translate_bounds(vec2(x as f32, y as f32));
    }
}

impl Canvas<'_> {
    fn rect(&self, row: usize, col: usize) -> Rect {
        let top = self.map.rows.labels.len() as f64 - row as f64;
        let min = self.transform.position_from_point(&PlotPoint::new(col as f64, top));
        Rect::from_min_size(min, self.cell)
    }

    fn touch(&self, ui: &Ui, cells: Rect, response: &Response, id: Id) -> Touch {
        let pressed = response.is_pointer_button_down_on() && ui.input(|input| input.pointer.primary_down());
        let before: Option<Cell> = ui.data(|data| data.get_temp(id)).filter(|_| pressed);
        let at = response.hover_pos().or(response.interact_pointer_pos()).filter(|at| cells.contains(*at));
        let Some(cell) = at.and_then(|at| self.cell_at(at)) else {
            ui.data_mut(|data| data.remove_temp::<Cell>(id));
            return Touch::default();
        };
        if !response.dragged() {
            let text = self.describe(cell).join("\n");
            response.clone().on_hover_text_at_pointer(text);
        }
        ui.set_cursor_icon(CursorIcon::Crosshair);
        let stroke = if pressed {
            ui.data_mut(|data| data.insert_temp(id, cell));
            touch::between(before.unwrap_or(cell), cell)
        } else {
            ui.data_mut(|data| data.remove_temp::<Cell>(id));
            Vec::new()
        };
        Touch { clicked: touch::by_pointer(response).then_some(cell), stroke }
    }

    fn cell_at(&self, at: Pos2) -> Option<Cell> {
        let (rows, cols) = self.map.shape();
        let point = self.transform.value_from_position(at);
        let (x, y) = (point.x, rows as f64 - point.y);
        let inside = (0.0..cols as f64).contains(&x) && (0.0..rows as f64).contains(&y);
        inside.then_some(Cell { row: y as usize, col: x as usize })
    }

    /// Row, column, value, and the text inside.
    fn describe(&self, Cell { row, col }: Cell) -> Vec<String> {
        let map = self.map;
        let value = map.value(row, col);
        let value = match &map.scale {
            Scale::Classes(_) => map.scale.class(value).map_or_else(String::new, |class| class.name.clone()),
            _ if value.is_nan() => "n/a".into(),
            _ => format!("{} {value:.4}", map.quantity),
        };
        let label = |labels: &[String], index: usize| labels.get(index).cloned().unwrap_or_default();
        let (rows, cols) = (&map.rows, &map.cols);
        // Where labels are not numbers, the column's index tells equal tokens apart.
        let col_label = label(&cols.labels, col);
        let index = if col_label.parse::<usize>().is_ok() { String::new() } else { format!("{col} ") };
        let mut lines = vec![
            format!("{} {}", rows.name, label(&rows.labels, row)),
            format!("{} {index}{col_label}", cols.name),
            value,
        ];
        lines.extend(map.text(row, col).map(str::to_owned));
        lines
    }
}

//! The picture of a map: one texture in a plot that zooms (Ctrl and wheel, or a box with the right button) and pans (middle
//! button; double click resets), with labels around it and text in its cells where there is room.

use std::sync::Arc;

use eframe::egui::epaint::TextShape;
use eframe::egui::{
    Align2, Color32, CursorIcon, FontId, Id, PointerButton, Pos2, Rect, Response, Role, Sense, Shape, Stroke,
    StrokeKind, TextStyle, Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};
use egui_plot::{Plot, PlotImage, PlotPoint, PlotTransform};
use sluice_core::figure::{Figure, Map, Scale, colour};

use super::texture;
use crate::theme;

/// Characters of a row label and of a column label.
const ROW_LABEL: usize = 14;
const COL_LABEL: usize = 10;
/// Columns narrower than this in points are hard to hit: the map then says how to zoom.
const CROWDED: f32 = 12.0;
/// Cells that get marks or text of their own.
const MARKED: usize = 1500;

/// A cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Row from the top.
    pub row: usize,
    /// Column from the left.
    pub col: usize,
}

/// What the pointer does.
#[derive(Clone, Debug, Default)]
pub struct Touch {
    /// The cell that was clicked.
    pub clicked: Option<Cell>,
    /// The cells that the pressed pointer came over since the frame before.
    pub stroke: Vec<Cell>,
}

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
        return Touch::default();
    }
    let font = TextStyle::Small.resolve(ui.style());
    let advance = ui.fonts_mut(|fonts| fonts.glyph_width(&theme::small_mono(), '0'));
    let left = advance * longest(&map.rows.labels, ROW_LABEL) as f32 + 3.0 * theme::UNIT;
    let label = advance * longest(&map.cols.labels, COL_LABEL) as f32;
    let free = ui.available_size() - vec2(left + theme::UNIT, 0.0);
    let widest = if map.text.is_some() { 2.0 * theme::CELL } else { 1.5 * theme::CELL };
    let width = (free.x / cols as f32).min(widest);
    let upright = width < label + theme::UNIT;
    let below = theme::ROW + if upright { label + theme::UNIT } else { theme::ROW };
    let height = ((free.y - below).max(96.0) / rows as f32).min(theme::CELL);
    let size = vec2((width * cols as f32).max(8.0), (height * rows as f32).max(8.0));
    let (outer, _) = ui.allocate_exact_size(size + vec2(left, below), Sense::hover());
    let cells = Rect::from_min_size(outer.min + vec2(left, 0.0), size);
    let texture = texture::of(ui.ctx(), figure, map);
    let (w, h) = (cols as f64, rows as f64);
    let plot = Plot::new(Id::unique(("map", &figure.name)))
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
    let mut inside = ui.new_child(UiBuilder::new().max_rect(cells));
    let shown = plot.show(&mut inside, |plot| {
        if let Some(texture) = &texture {
            let image = PlotImage::new(
                &figure.name,
                texture.id(),
                PlotPoint::new(w / 2.0, h / 2.0),
                [w as f32, h as f32],
            );
            plot.image(image.allow_hover(false));
        }
    });
    let (transform, response) = (shown.transform, shown.response);
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
    let edge = ui.visuals().widgets.noninteractive.bg_stroke;
    ui.painter().rect_stroke(cells, 0.0, edge, StrokeKind::Outside);
    canvas.marks(ui, cells);
    canvas.row_labels(ui, cells);
    canvas.col_labels(ui, cells, upright);
    let name_at = pos2(cells.left(), outer.bottom() - theme::ROW / 2.0);
    let hint = if width < CROWDED {
        "   (Ctrl+wheel zooms, the middle button pans, double click resets)"
    } else {
        ""
    };
    let names = format!("{} →   {} ↓{hint}", map.cols.name, map.rows.name);
    ui.painter().text(name_at, Align2::LEFT_CENTER, names, font, canvas.quiet);
    if let Some(cell) = selected {
        canvas.outline(ui, cells, cell);
    }
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("{} map", figure.title)));
    canvas.touch(ui, cells, &response, Id::unique(("stroke", &figure.name)))
}

impl Canvas<'_> {
    fn rect(&self, row: usize, col: usize) -> Rect {
        let top = self.map.rows.labels.len() as f64 - row as f64;
        let min = self.transform.position_from_point(&PlotPoint::new(col as f64, top));
        Rect::from_min_size(min, self.cell)
    }

    /// Diagonals, strikes, hatches and texts of the cells, where they are few enough to be told apart.
    fn marks(&self, ui: &Ui, clip: Rect) {
        if !has_marks(self.map) {
            return;
        }
        let painter = ui.painter().with_clip_rect(clip);
        let ground = theme::ground(ui.ctx());
        let line = Stroke::new(1.0, self.quiet.gamma_multiply(0.6));
        let grid = Stroke::new(1.0, ui.visuals().panel_fill);
        let room = if self.cell.y < 11.0 { 0 } else { ((self.cell.x - 4.0) / 6.6) as usize };
        let classes = matches!(self.map.scale, Scale::Classes(_));
        let mut shapes = Vec::new();
        for row in self.rows.clone() {
            for col in self.cols.clone() {
                let (rect, value) = (self.rect(row, col), self.map.value(row, col));
                if classes && self.cell.min_elem() > 6.0 {
                    shapes.push(Shape::rect_stroke(rect, 0.0, grid, StrokeKind::Middle));
                }
                let class = self.map.scale.class(value);
                if class.is_some_and(|class| class.rgb.is_none()) {
                    shapes.push(Shape::line_segment([rect.left_bottom(), rect.right_top()], line));
                }
                if class.is_some_and(|class| class.struck) {
                    shapes.push(Shape::line_segment([rect.left_center(), rect.right_center()], line));
                }
                if self.map.scale.misses(value) {
                    hatch(rect, line, &mut shapes);
                }
                if let Some(text) = self.map.text(row, col).filter(|_| room >= 2) {
                    let ink = colour::rgb(&self.map.scale, value, ground).map(colour::ink);
                    let ink = ink.map_or(self.quiet, theme::colour);
                    let text = theme::short(text, room);
                    painter.text(rect.center(), Align2::CENTER_CENTER, text, self.font.clone(), ink);
                }
            }
        }
        painter.extend(shapes);
    }

    fn row_labels(&self, ui: &Ui, cells: Rect) {
        for row in self.rows.clone().step_by(thinning(self.cell.y, 13.0)) {
            let rect = self.rect(row, 0);
            let at = pos2(cells.left() - theme::UNIT, rect.center().y);
            if let Some(label) = self.map.rows.labels.get(row).filter(|_| cells.y_range().contains(at.y)) {
                let text = theme::short(label, ROW_LABEL);
                ui.painter().text(at, Align2::RIGHT_CENTER, text, self.font.clone(), self.quiet);
            }
        }
    }

    /// Under the columns, upright where a column is narrower than its label.
    fn col_labels(&self, ui: &Ui, cells: Rect, upright: bool) {
        let every = if upright { thinning(self.cell.x, 13.0) } else { 1 };
        for col in self.cols.clone().step_by(every) {
            let at = pos2(self.rect(0, col).center().x, cells.bottom() + theme::UNIT);
            let Some(label) = self.map.cols.labels.get(col).filter(|_| cells.x_range().contains(at.x)) else {
                continue;
            };
            let text = theme::short(label, COL_LABEL);
            if upright {
                let galley = ui.painter().layout_no_wrap(text, self.font.clone(), self.quiet);
                let shape = TextShape::new(Pos2::ZERO, Arc::clone(&galley), self.quiet);
                // Turned by a quarter to the left, its end under the column.
                let place = at + vec2(-galley.size().y / 2.0, galley.size().x);
                ui.painter().add(TextShape { pos: place, ..shape }.with_angle(-std::f32::consts::FRAC_PI_2));
            } else {
                ui.painter().text(at, Align2::CENTER_TOP, text, self.font.clone(), self.quiet);
            }
        }
    }

    fn outline(&self, ui: &Ui, clip: Rect, cell: Cell) {
        let (rows, cols) = self.map.shape();
        if cell.row < rows && cell.col < cols {
            let stroke = Stroke::new(2.0, theme::accent(ui.ctx()));
            ui.painter().with_clip_rect(clip).rect_stroke(
                self.rect(cell.row, cell.col),
                1.0,
                stroke,
                StrokeKind::Outside,
            );
        }
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
            let text = self.describe(cell);
            response.clone().on_hover_text_at_pointer(text);
        }
        ui.set_cursor_icon(CursorIcon::Crosshair);
        let stroke = if pressed {
            ui.data_mut(|data| data.insert_temp(id, cell));
            between(before.unwrap_or(cell), cell)
        } else {
            ui.data_mut(|data| data.remove_temp::<Cell>(id));
            Vec::new()
        };
        Touch { clicked: response.clicked().then_some(cell), stroke }
    }

    fn cell_at(&self, at: Pos2) -> Option<Cell> {
        let (rows, cols) = self.map.shape();
        let point = self.transform.value_from_position(at);
        let (x, y) = (point.x, rows as f64 - point.y);
        let inside = (0.0..cols as f64).contains(&x) && (0.0..rows as f64).contains(&y);
        inside.then_some(Cell { row: y as usize, col: x as usize })
    }

    fn describe(&self, Cell { row, col }: Cell) -> String {
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
        let mut text =
            format!("{} {}\n{} {index}{col_label}\n{value}", rows.name, label(&rows.labels, row), cols.name);
        if let Some(inside) = map.text(row, col) {
            text = format!("{text}\n{inside}");
        }
        text
    }
}

/// The cells on a line from one to another, both ends included.
pub(super) fn between(from: Cell, to: Cell) -> Vec<Cell> {
    let steps = from.row.abs_diff(to.row).max(from.col.abs_diff(to.col));
    let along = |a: usize, b: usize, step: usize| {
        let share = step as f32 / steps.max(1) as f32;
        (a as f32 + share * (b as f32 - a as f32)).round() as usize
    };
    (0..=steps).map(|i| Cell { row: along(from.row, to.row, i), col: along(from.col, to.col, i) }).collect()
}

/// Whether the cells are few enough to be marked one by one; the texture of others is striped instead.
pub fn has_marks(map: &Map) -> bool {
    map.values.len() <= MARKED
}

/// Three strokes across a missing cell.
fn hatch(rect: Rect, line: Stroke, shapes: &mut Vec<Shape>) {
    let (middle, bottom_right) = (rect.center(), rect.right_bottom());
    for [from, to] in [
        [rect.left_bottom(), rect.right_top()],
        [rect.left_center(), pos2(middle.x, rect.top())],
        [pos2(middle.x, bottom_right.y), rect.right_center()],
    ] {
        shapes.push(Shape::line_segment([from, to], line));
    }
}

/// Every how many labels of `need` points fit a pitch of `pitch`.
fn thinning(pitch: f32, need: f32) -> usize {
    ((need / pitch.max(1e-3)).ceil() as usize).max(1)
}

/// Characters of the longest label, at most `most`. Looks at a sample of long axes.
fn longest(labels: &[String], most: usize) -> usize {
    let step = (labels.len() / 512).max(1);
    labels.iter().step_by(step).map(|label| label.chars().take(most).count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Cell, between};

    #[test]
    fn a_fast_stroke_skips_no_cell() {
        let cell = |row, col| Cell { row, col };
        assert_eq!(between(cell(2, 3), cell(2, 3)), [cell(2, 3)]);
        assert_eq!(between(cell(0, 5), cell(1, 2)), [cell(0, 5), cell(0, 4), cell(1, 3), cell(1, 2)]);
    }
}

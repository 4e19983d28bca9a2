//! Bars from zero, row by row; rows that do not fit scroll. With the keyboard focus it has a cursor: arrows move it, Enter
//! and the space bar choose its bar.

use std::sync::Arc;

use eframe::egui::{
    Align2, FontId, Id, Pos2, Rangef, Rect, Role, ScrollArea, Sense, Shape, Stroke, StrokeKind, TextStyle,
    Ui, WidgetInfo, pos2, vec2,
};
use sluice_core::figure::{Bars, Figure, number};

use super::legend;
use super::marks::{hatch, thinning, widest};
use super::touch::{self, Cell, Cursor, Touch};
use crate::theme;

/// Least pitch of the bars of a row in points, and what is between rows.
const BAR: f32 = 12.0;
const GAP: f32 = 4.0;
/// Greatest pitch.
const WIDEST: f32 = 56.0;
/// Characters of a row label, and of the word beside a bar.
const LABEL: usize = 20;
/// A missing value.
const STUB: f32 = 14.0;
/// Points between the ticks of the value axis.
const SPACING: f32 = 72.0;

/// Everything the painting of one frame needs.
struct Canvas<'a> {
    bars: &'a Bars,
    /// Of the rows, scrolled; wider than the value axis by labels and words.
    rows: Rect,
    /// The value axis.
    axis: Rangef,
    range: (f64, f64),
    pitch: f32,
    font: FontId,
}

/// Draw the bars into the space that is left; a cell is a row and a series.
pub fn ui(ui: &mut Ui, figure: &Arc<Figure>, bars: &Bars, selected: Option<Cell>) -> Touch {
    let (rows, series) = bars.shape();
    if rows == 0 || series == 0 {
        ui.weak("No data");
        return Touch::default();
    }
    let left = widest(ui, &bars.rows.labels, LABEL) + 3.0 * theme::UNIT;
    let words = bars.series.iter().filter_map(|series| series.text.as_ref());
    let right = words.map(|words| widest(ui, words, LABEL)).fold(0.0, f32::max) + 3.0 * theme::UNIT;
    // The scroll bar lies over what it scrolls: leave it room.
    let width = ui.available_width() - ui.spacing().scroll.bar_width;
    let below = 2.0 * theme::ROW;
    let least = series as f32 * BAR + GAP;
    let free = ui.available_height() - below;
    let pitch = if free.is_finite() { (free / rows as f32).clamp(least, WIDEST.max(least)) } else { least };
    let height = if free.is_finite() { free.max(3.0 * least) } else { f32::INFINITY };
    let size = vec2(width, pitch * rows as f32);
    let scroll = ScrollArea::vertical().id_salt(("bars", figure.id)).max_height(height);
    let shown = scroll.auto_shrink([false, true]).show(ui, |ui| {
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        // An id of its own, whatever is above: the keyboard focus stays.
        let response = ui.interact(rect, Id::unique(("bars", figure.id)), Sense::click());
        let canvas = Canvas {
            bars,
            rows: rect,
            axis: Rangef::new(rect.left() + left, (rect.right() - right).max(rect.left() + left + STUB)),
            range: bars.range(),
            pitch,
            font: theme::small_mono(),
        };
        let cursor = touch::cursor(&response, (rows, series), selected.unwrap_or_default());
        canvas.paint(ui, selected, cursor);
        if let Some(cursor) = cursor.filter(|cursor| cursor.moved) {
            ui.scroll_to_rect(canvas.row(cursor.cell.row), None);
        }
        let mut name = format!("{} bars", figure.title);
        if let Some(cursor) = cursor {
            name = format!("{name}, {}", canvas.describe(cursor.cell).join(", "));
        }
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
        let under = response.hover_pos().and_then(|at| canvas.cell_at(at));
        let clicked = under.filter(|_| touch::by_pointer(&response));
        if let Some(cell) = under {
            response.on_hover_text_at_pointer(canvas.describe(cell).join("\n"));
        }
        let keyed = cursor.filter(|cursor| cursor.chosen).map(|cursor| cursor.cell);
        let line = cursor.map(|cursor| canvas.describe(cursor.cell).join(", "));
        (Touch { clicked: clicked.or(keyed), stroke: Vec::new() }, canvas.axis, line)
    });
    let (touch, axis, line) = shown.inner;
    let (foot, _) = ui.allocate_exact_size(vec2(width, below), Sense::hover());
    ticks(
        ui,
        bars,
        axis,
        foot,
        &line.unwrap_or_else(|| format!("{} →   {} ↓", bars.quantity, bars.rows.name)),
    );
    touch
}

/// The labels of the value axis, and a line of text under them.
fn ticks(ui: &Ui, bars: &Bars, axis: Rangef, foot: Rect, line: &str) {
    let (quiet, small) = (ui.visuals().weak_text_color(), TextStyle::Small.resolve(ui.style()));
    for (value, text) in tick_values(bars, axis) {
        let at = pos2(x(bars.range(), axis, value), foot.top() + theme::UNIT);
        ui.painter().text(at, Align2::CENTER_TOP, text, theme::small_mono(), quiet);
    }
    let at = pos2(axis.min, foot.bottom() - theme::ROW / 2.0);
    ui.painter().text(at, Align2::LEFT_CENTER, line, small, quiet);
}

fn tick_values(bars: &Bars, axis: Rangef) -> Vec<(f64, String)> {
    let (low, high) = bars.range();
    number::ticks(low, high, (axis.span() / SPACING) as usize)
}

/// Where a value is on the axis; past the ends, at the end.
fn x((low, high): (f64, f64), axis: Rangef, value: f64) -> f32 {
    axis.min + ((value.clamp(low, high) - low) / (high - low)) as f32 * axis.span()
}

impl Canvas<'_> {
    fn row(&self, row: usize) -> Rect {
        let top = self.rows.top() + row as f32 * self.pitch;
        Rect::from_min_size(pos2(self.rows.left(), top), vec2(self.rows.width(), self.pitch))
    }

    /// The stripe of a bar, as wide as the axis.
    fn stripe(&self, Cell { row, col }: Cell) -> Rect {
        let thick = (self.pitch - GAP) / self.bars.series.len().max(1) as f32;
        let top = self.row(row).top() + GAP / 2.0 + col as f32 * thick;
        Rect::from_x_y_ranges(self.axis, top..=top + thick - 1.0)
    }

    fn paint(&self, ui: &Ui, selected: Option<Cell>, cursor: Option<Cursor>) {
        let (rows, series) = self.bars.shape();
        let visuals = ui.visuals();
        let (quiet, line) = (visuals.weak_text_color(), visuals.widgets.noninteractive.bg_stroke);
        let accent = Stroke::new(2.0, theme::accent(ui.ctx()));
        let (painter, clip) = (ui.painter(), ui.clip_rect());
        for (value, _) in tick_values(self.bars, self.axis) {
            let stroke = if value == 0.0 { Stroke::new(1.0, quiet) } else { line };
            painter.vline(x(self.range, self.axis, value), self.rows.y_range(), stroke);
        }
        let every = thinning(self.pitch, 13.0);
        for row in (0..rows).filter(|&row| clip.intersects(self.row(row))) {
            if let Some(label) = self.bars.rows.labels.get(row).filter(|_| row % every == 0) {
                let at = pos2(self.axis.min - 2.0 * theme::UNIT, self.row(row).center().y);
                painter.text(at, Align2::RIGHT_CENTER, theme::short(label, LABEL), self.font.clone(), quiet);
            }
            for col in 0..series {
                self.bar(ui, Cell { row, col });
            }
        }
        if let Some(cell) = selected {
            painter.rect_stroke(self.row(cell.row), 1.0, accent, StrokeKind::Inside);
        }
        if let Some(cursor) = cursor {
            painter.rect_stroke(self.rows, 0.0, accent, StrokeKind::Outside);
            let ink = Stroke::new(2.0, visuals.text_color());
            painter.rect_stroke(self.stripe(cursor.cell), 0.0, ink, StrokeKind::Outside);
        }
    }

    fn bar(&self, ui: &Ui, cell: Cell) {
        let (stripe, value) = (self.stripe(cell), self.bars.value(cell.row, cell.col));
        let (painter, quiet) = (ui.painter(), ui.visuals().weak_text_color());
        let zero = x(self.range, self.axis, 0.0);
        if value.is_nan() {
            let stub = Rect::from_x_y_ranges(zero..=zero + STUB, stripe.y_range());
            let mut shapes: Vec<Shape> = Vec::new();
            hatch(stub, Stroke::new(1.0, quiet.gamma_multiply(0.6)), &mut shapes);
            painter.extend(shapes);
        } else {
            let end = x(self.range, self.axis, f64::from(value));
            let bar = Rect::from_x_y_ranges(zero.min(end)..=zero.max(end), stripe.y_range());
            let palette = theme::ground(ui.ctx()).palette();
            painter.rect_filled(bar, 1.0, theme::colour(palette.series(cell.col)));
        }
        let word = theme::short(self.bars.text(cell.row, cell.col), LABEL);
        let at = pos2(self.axis.max + 2.0 * theme::UNIT, stripe.center().y);
        painter.text(at, Align2::LEFT_CENTER, word, self.font.clone(), quiet);
    }

    fn cell_at(&self, at: Pos2) -> Option<Cell> {
        let (rows, series) = self.bars.shape();
        let row = ((at.y - self.rows.top()) / self.pitch).max(0.0) as usize;
        let inside = (at.y - self.row(row).top() - GAP / 2.0).max(0.0) * series as f32;
        let col = ((inside / (self.pitch - GAP)) as usize).min(series.saturating_sub(1));
        (row < rows).then_some(Cell { row, col })
    }

    /// Row, value, and the word beside the bar.
    fn describe(&self, Cell { row, col }: Cell) -> Vec<String> {
        let bars = self.bars;
        let label = bars.rows.labels.get(row).map_or("", String::as_str);
        let name = bars.series.get(col).map_or("", |series| series.name.as_str());
        let value = match bars.value(row, col) {
            value if value.is_nan() => "n/a".to_owned(),
            value => legend::number(value),
        };
        let mut lines =
            vec![format!("{} {label}", bars.rows.name), format!("{name}, {} {value}", bars.quantity)];
        let word = bars.text(row, col);
        if !word.is_empty() {
            lines.push(word.to_owned());
        }
        lines
    }
}

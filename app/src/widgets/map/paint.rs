//! What is drawn over the texture of a map: marks and texts of its cells, labels around it, outlines.

use std::sync::Arc;

use eframe::egui::epaint::TextShape;
use eframe::egui::{Align2, Color32, FontId, Pos2, Rect, Shape, Stroke, StrokeKind, Ui, pos2, vec2};
use sluice_core::figure::{Scale, colour};

use super::{COL_LABEL, Canvas, ROW_LABEL};
use crate::theme;
use crate::widgets::marks::{diagonals, hatch, thinning};
use crate::widgets::texture::has_marks;
use crate::widgets::touch::Cell;

/// Letters that tell something of a longer text: in cells with less room it is left out.
const WHOLE: usize = 4;

/// A text turned by a quarter to the left, its middle at a place.
pub fn upright(ui: &Ui, middle: Pos2, text: &str, font: FontId, ink: Color32) {
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, ink);
    let shape = TextShape::new(Pos2::ZERO, Arc::clone(&galley), ink);
    let place = middle + vec2(-galley.size().y / 2.0, galley.size().x / 2.0);
    ui.painter().add(TextShape { pos: place, ..shape }.with_angle(-std::f32::consts::FRAC_PI_2));
}

impl Canvas<'_> {
    /// Diagonals, strikes, hatches and texts of the cells, where they are few enough to be told apart.
    pub fn marks(&self, ui: &Ui, clip: Rect) {
        if !has_marks(self.map) {
            return;
        }
        let painter = ui.painter().with_clip_rect(clip);
        let ground = theme::ground(ui.ctx());
        let line = Stroke::new(1.0, self.quiet.gamma_multiply(0.6));
        let grid = Stroke::new(3.0, ui.visuals().extreme_bg_color);
        let outline = Stroke::new(1.0, theme::cell(ui.ctx()));
        let room = if self.cell.y < 11.0 { 0 } else { ((self.cell.x - 4.0) / 6.6) as usize };
        let classes = matches!(self.map.scale, Scale::Classes(_));
        let mut shapes = Vec::new();
        for row in self.rows.clone() {
            for col in self.cols.clone() {
                let (rect, value) = (self.rect(row, col), self.map.value(row, col));
                let class = self.map.scale.class(value);
                if classes && self.cell.min_elem() > 6.0 {
                    // A lane of ground around each cell, and an outline where nothing fills it.
                    shapes.push(Shape::rect_stroke(rect, 0.0, grid, StrokeKind::Middle));
                    if class.is_some_and(|class| class.rgb.is_none()) {
                        shapes.push(Shape::rect_stroke(rect.shrink(1.5), 0.0, outline, StrokeKind::Inside));
                    }
                }
                let strokes = class.map_or(0, |class| class.strokes);
                for ends in diagonals(rect).into_iter().take(strokes.into()) {
                    shapes.push(Shape::line_segment(ends, line));
                }
                if self.map.scale.misses(value) {
                    hatch(rect, line, &mut shapes);
                }
                if let Some(text) =
                    self.map.text(row, col).filter(|text| room >= WHOLE.min(text.chars().count()))
                {
                    let ink = colour::rgb(&self.map.scale, value, ground).map(colour::ink);
                    let ink = ink.map_or(self.quiet, theme::colour);
                    let text = theme::short(text, room);
                    painter.text(rect.center(), Align2::CENTER_CENTER, text, self.font.clone(), ink);
                }
            }
        }
        painter.extend(shapes);
    }

    /// Left of the rows.
    pub fn row_labels(&self, ui: &Ui, cells: Rect) {
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
    pub fn col_labels(&self, ui: &Ui, cells: Rect, turned: bool) {
        let every = if turned { thinning(self.cell.x, 13.0) } else { 1 };
        for col in self.cols.clone().step_by(every) {
            let at = pos2(self.rect(0, col).center().x, cells.bottom() + theme::UNIT);
            let Some(label) = self.map.cols.labels.get(col).filter(|_| cells.x_range().contains(at.x)) else {
                continue;
            };
            let text = theme::short(label, COL_LABEL);
            if turned {
                // Its end under the column.
                let room =
                    ui.fonts_mut(|fonts| fonts.glyph_width(&self.font, '0')) * text.chars().count() as f32;
                upright(ui, at + vec2(0.0, room / 2.0), &text, self.font.clone(), self.quiet);
            } else {
                ui.painter().text(at, Align2::CENTER_TOP, text, self.font.clone(), self.quiet);
            }
        }
    }

    /// A frame around a cell.
    pub fn outline(&self, ui: &Ui, clip: Rect, Cell { row, col }: Cell, stroke: Stroke) {
        let (rows, cols) = self.map.shape();
        if row < rows && col < cols {
            let painter = ui.painter().with_clip_rect(clip.expand(2.0));
            painter.rect_stroke(self.rect(row, col), 1.0, stroke, StrokeKind::Outside);
        }
    }

    /// Where the arrow keys are: a frame that is seen on any colour.
    pub fn cursor(&self, ui: &Ui, clip: Rect, cell: Cell) {
        self.outline(ui, clip, cell, Stroke::new(4.0, ui.visuals().panel_fill));
        let rect = self.rect(cell.row, cell.col).expand(1.0);
        let [a, b, c, d] = [rect.left_top(), rect.right_top(), rect.right_bottom(), rect.left_bottom()];
        // Dashed: what is chosen has a whole frame.
        let ink = Stroke::new(2.0, ui.visuals().text_color());
        let painter = ui.painter().with_clip_rect(clip.expand(2.0));
        painter.extend(Shape::dashed_line(&[a, b, c, d, a], ink, 5.0, 3.0));
    }
}

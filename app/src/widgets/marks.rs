//! Marks and labels that several plots draw.

use eframe::egui::{Pos2, Rect, Shape, Stroke, Ui, pos2};

use crate::theme;

/// Strokes across something missing.
pub fn hatch(rect: Rect, line: Stroke, shapes: &mut Vec<Shape>) {
    let (middle, bottom_right) = (rect.center(), rect.right_bottom());
    for [from, to] in [
        [rect.left_bottom(), rect.right_top()],
        [rect.left_center(), pos2(middle.x, rect.top())],
        [pos2(middle.x, bottom_right.y), rect.right_center()],
    ] {
        shapes.push(Shape::line_segment([from, to], line));
    }
}

/// The diagonals of what is out: one of a sublayer, both of a layer.
pub fn diagonals(rect: Rect) -> [[Pos2; 2]; 2] {
    [[rect.left_bottom(), rect.right_top()], [rect.left_top(), rect.right_bottom()]]
}

/// Every how many labels of `need` points fit a pitch of `pitch`.
pub fn thinning(pitch: f32, need: f32) -> usize {
    ((need / pitch.max(1e-3)).ceil() as usize).max(1)
}

/// Width in points of the longest label, each cut to `most` characters. Looks at a sample of long axes.
pub fn widest(ui: &Ui, labels: &[String], most: usize) -> f32 {
    let step = (labels.len() / 512).max(1);
    let longest = labels.iter().step_by(step).map(|label| label.chars().take(most).count()).max();
    ui.fonts_mut(|fonts| fonts.glyph_width(&theme::small_mono(), '0')) * longest.unwrap_or(0) as f32
}

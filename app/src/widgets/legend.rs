//! Legends: a ramp with its ends, the classes of a map, the names of curves and bars.

use eframe::egui::{Color32, Mesh, Painter, Rect, RichText, Sense, Shape, Stroke, Ui, pos2, vec2};
use sluice_core::figure::{Map, Scale, colour};

use super::marks::diagonals;
use crate::theme;

/// Room under which a map's quantity is left to its note.
const NARROW: f32 = 260.0;

/// Of a map, in one row.
pub fn map(ui: &mut Ui, map: &Map) {
    match &map.scale {
        Scale::Classes(classes) => {
            for (index, class) in classes.iter().enumerate() {
                let (rect, _) = ui.allocate_exact_size(vec2(14.0, 14.0), Sense::hover());
                swatch(ui, rect, &map.scale, index as f32, class.strokes);
                ui.label(RichText::new(&class.name).small());
                ui.add_space(2.0 * theme::UNIT);
            }
        }
        // Where there is little room the colours alone.
        scale if ui.available_width() < NARROW => ramp(ui, scale, 40.0),
        scale => {
            ui.label(RichText::new(&map.quantity).small().weak());
            ui.add_space(2.0 * theme::UNIT);
            ramp(ui, scale, 120.0);
        }
    }
}

/// A piece of each curve and its name. `dash` is the length of its dashes and of the gaps between them.
pub fn curves<'a>(
    ui: &mut Ui,
    names: impl Iterator<Item = &'a str>,
    dash: impl Fn(usize) -> Option<[f32; 2]>,
) {
    series(ui, names, 24.0, |painter, rect, index, colour| {
        let (ends, stroke) = ([rect.left_center(), rect.right_center()], Stroke::new(2.0, colour));
        match dash(index) {
            Some([length, gap]) => painter.extend(Shape::dashed_line(&ends, stroke, length, gap)),
            None => {
                painter.line_segment(ends, stroke);
            }
        }
    });
}

/// A piece of the bars of each series and its name.
pub fn bars<'a>(ui: &mut Ui, names: impl Iterator<Item = &'a str>) {
    series(ui, names, 14.0, |painter, rect, _, colour| {
        painter.rect_filled(rect.shrink2(vec2(0.0, 2.0)), 1.0, colour);
    });
}

fn series<'a>(
    ui: &mut Ui,
    names: impl Iterator<Item = &'a str>,
    width: f32,
    sample: impl Fn(&Painter, Rect, usize, Color32),
) {
    let palette = theme::ground(ui.ctx()).palette();
    for (index, name) in names.enumerate() {
        let (rect, _) = ui.allocate_exact_size(vec2(width, 14.0), Sense::hover());
        sample(ui.painter(), rect, index, theme::colour(palette.series(index)));
        ui.label(RichText::new(name).small());
        ui.add_space(2.0 * theme::UNIT);
    }
}

/// One class: its colour or an outline, with the diagonals of what is out.
fn swatch(ui: &Ui, rect: Rect, scale: &Scale, value: f32, strokes: u8) {
    let ground = theme::ground(ui.ctx());
    let line = Stroke::new(1.0, ui.visuals().weak_text_color());
    match colour::rgb(scale, value, ground) {
        Some(rgb) => drop(ui.painter().rect_filled(rect, 2.0, theme::colour(rgb))),
        None => {
            let edge = Stroke::new(1.0, theme::cell(ui.ctx()));
            ui.painter().rect_stroke(rect, 2.0, edge, eframe::egui::StrokeKind::Inside);
        }
    }
    for ends in diagonals(rect).into_iter().take(strokes.into()) {
        ui.painter().line_segment(ends, line);
    }
}

/// The colours of a scale in so many points, between its ends.
pub fn ramp(ui: &mut Ui, scale: &Scale, width: f32) {
    let (low, high) = scale.range().unwrap_or((0.0, 1.0));
    ui.label(RichText::new(number(low)).small().monospace());
    let (rect, _) = ui.allocate_exact_size(vec2(width, 8.0), Sense::hover());
    let ground = theme::ground(ui.ctx());
    let mut mesh = Mesh::default();
    const STEPS: u32 = 32;
    for step in 0..=STEPS {
        let t = step as f32 / STEPS as f32;
        let rgb = colour::rgb(scale, low + t * (high - low), ground);
        let colour = rgb.map_or(Color32::TRANSPARENT, theme::colour);
        let x = rect.left() + t * rect.width();
        mesh.colored_vertex(pos2(x, rect.top()), colour);
        mesh.colored_vertex(pos2(x, rect.bottom()), colour);
        if step > 0 {
            let next = 2 * step;
            mesh.add_triangle(next - 2, next - 1, next);
            mesh.add_triangle(next - 1, next, next + 1);
        }
    }
    ui.painter().add(Shape::mesh(mesh));
    ui.label(RichText::new(number(high)).small().monospace());
}

/// Three significant digits.
pub fn number(value: f32) -> String {
    match value.abs() {
        _ if value.is_nan() => "n/a".into(),
        0.0 => "0".into(),
        size if (1e-3..1e4).contains(&size) => {
            let digits = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
            format!("{value:.digits$}")
        }
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn three_digits() {
        let cases = [
            (0.0, "0"),
            (1.0, "1.00"),
            (-12.345, "-12.3"),
            (0.01234, "0.0123"),
            (1e-9, "1.00e-9"),
            (4321.0, "4321"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}

//! Buttons with a drawn sign, quiet until something points at them.

use eframe::egui::{
    Align2, Color32, FontId, Id, Pos2, Rect, Response, Role, Sense, Shape, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use crate::theme;

/// A sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    /// What must be known.
    About,
    /// Rows and columns swapped.
    Transpose,
    /// Out of the program.
    Export,
    /// Away with it.
    Remove,
    /// Take it elsewhere.
    Grip,
    /// Write here.
    Edit,
    /// Explain.
    Help,
    /// Take back.
    Undo,
    /// Do again.
    Redo,
    /// What was done, step by step.
    History,
    /// Keep it at hand; filled where it is.
    Star(bool),
}

/// Side of a button in points.
pub const SIDE: f32 = 22.0;

/// A button; `name` is what a screen reader says and what is shown on hover.
pub fn button(ui: &mut Ui, icon: Icon, name: &str, enabled: bool, selected: bool) -> Response {
    let sense = if enabled { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(SIDE), sense);
    if selected {
        ui.painter().rect_filled(rect, 3.0, theme::soft(ui.ctx()));
    }
    let ink = if enabled { None } else { Some(ui.visuals().widgets.noninteractive.bg_stroke.color) };
    finish(ui, response, icon, name, (enabled, selected), ink)
}

/// A button of a row, drawn while `seen` or in reach; its room is always kept. It may be dragged.
pub fn of_row(ui: &mut Ui, id: Id, icon: Icon, name: &str, seen: bool) -> Response {
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(SIDE), Sense::hover());
    at(ui, rect, id, icon, name, seen)
}

/// The same in a place of its own.
pub fn at(ui: &Ui, rect: Rect, id: Id, icon: Icon, name: &str, seen: bool) -> Response {
    let sense = if icon == Icon::Grip { Sense::click_and_drag() } else { Sense::click() };
    let response = ui.interact(rect, id, sense);
    let seen = seen || response.hovered() || response.has_focus() || response.dragged();
    let ink = if seen { None } else { Some(Color32::TRANSPARENT) };
    finish(ui, response, icon, name, (true, false), ink)
}

fn finish(
    ui: &Ui,
    response: Response,
    icon: Icon,
    name: &str,
    (enabled, selected): (bool, bool),
    ink: Option<Color32>,
) -> Response {
    let (visuals, rect) = (ui.visuals(), response.rect);
    let pointed = response.hovered() || response.has_focus() || selected;
    let own = if pointed { visuals.text_color() } else { visuals.weak_text_color() };
    if response.has_focus() {
        let ring = Stroke::new(2.0, theme::accent(ui.ctx()));
        ui.painter().rect_stroke(rect, 3.0, ring, StrokeKind::Inside);
    }
    paint(ui, rect, icon, ink.unwrap_or(own));
    let name = name.to_owned();
    response.widget_info(|| match icon {
        Icon::Transpose | Icon::Edit => WidgetInfo::selected(Role::Button, enabled, selected, &name),
        _ => WidgetInfo::labeled(Role::Button, enabled, &name),
    });
    response.on_hover_text(name)
}

/// The sign of a button that something else made.
pub fn over(ui: &Ui, response: &Response, icon: Icon) {
    let visuals = ui.visuals();
    let pointed = response.hovered() || response.has_focus();
    let ink = if pointed { visuals.text_color() } else { visuals.weak_text_color() };
    paint(ui, response.rect, icon, ink);
}

fn paint(ui: &Ui, rect: Rect, icon: Icon, ink: Color32) {
    let (painter, stroke, c) = (ui.painter(), Stroke::new(1.2, ink), rect.center());
    let at = |x: f32, y: f32| pos2(c.x + x, c.y + y);
    let line = |from: Pos2, to: Pos2| {
        painter.line_segment([from, to], stroke);
    };
    match icon {
        Icon::About => {
            painter.circle_stroke(c, 6.0, stroke);
            line(at(0.0, -0.5), at(0.0, 3.2));
            painter.circle_filled(at(0.0, -2.8), 0.9, ink);
        }
        Icon::Transpose => {
            for (y, x) in [(-2.6, 5.0), (2.6, -5.0)] {
                let back = vec2(-x * 0.5, 0.0);
                line(at(-x, y), at(x, y));
                line(at(x, y), at(x, y) + back + vec2(0.0, -2.4));
                line(at(x, y), at(x, y) + back + vec2(0.0, 2.4));
            }
        }
        Icon::Export => {
            line(at(0.0, -6.0), at(0.0, 2.5));
            line(at(0.0, -6.0), at(-2.8, -3.0));
            line(at(0.0, -6.0), at(2.8, -3.0));
            for (from, to) in
                [((-4.5, 0.5), (-4.5, 5.5)), ((-4.5, 5.5), (4.5, 5.5)), ((4.5, 5.5), (4.5, 0.5))]
            {
                line(at(from.0, from.1), at(to.0, to.1));
            }
        }
        Icon::Remove => {
            line(at(-3.5, -3.5), at(3.5, 3.5));
            line(at(-3.5, 3.5), at(3.5, -3.5));
        }
        Icon::Grip => {
            for (x, y) in [-1.8, 1.8].into_iter().flat_map(|x| [-4.0, 0.0, 4.0].map(|y| (x, y))) {
                painter.circle_filled(at(x, y), 0.9, ink);
            }
        }
        Icon::Help => {
            painter.text(c, Align2::CENTER_CENTER, "?", FontId::proportional(17.0), ink);
        }
        Icon::Undo | Icon::Redo => {
            let side = if icon == Icon::Undo { 1.0 } else { -1.0 };
            // A half turn that ends in an arrow.
            let turn = |i: usize| {
                let angle = std::f32::consts::PI * (i as f32 / 10.0 - 0.5);
                at(side * (1.0 + 4.0 * angle.cos()), 1.0 + 4.0 * angle.sin())
            };
            let mut path = vec![at(-5.0 * side, -3.0)];
            path.extend((0..=10).map(turn));
            path.push(at(-2.0 * side, 5.0));
            painter.add(Shape::line(path, stroke));
            line(at(-5.0 * side, -3.0), at(-2.0 * side, -6.0));
            line(at(-5.0 * side, -3.0), at(-2.0 * side, 0.0));
        }
        Icon::History => {
            // A clock.
            painter.circle_stroke(c, 6.0, stroke);
            line(at(0.0, -3.6), at(0.0, 0.4));
            line(at(0.0, 0.4), at(2.8, 1.8));
        }
        Icon::Star(filled) => {
            let point = |i: usize| {
                let radius = if i.is_multiple_of(2) { 6.0 } else { 2.6 };
                let turn = std::f32::consts::PI * i as f32 / 5.0;
                at(radius * turn.sin(), -radius * turn.cos())
            };
            let star: Vec<Pos2> = (0..10).map(point).collect();
            if filled {
                // A star is no convex shape: a triangle to each point, and its middle.
                for i in (0..10).step_by(2) {
                    let corners = [(i + 9) % 10, i, (i + 1) % 10].map(point);
                    painter.add(Shape::convex_polygon(corners.to_vec(), ink, Stroke::NONE));
                }
                let middle = (1..10).step_by(2).map(point).collect();
                painter.add(Shape::convex_polygon(middle, ink, Stroke::NONE));
            } else {
                painter.add(Shape::closed_line(star, stroke));
            }
        }
        Icon::Edit => {
            line(at(-4.5, 4.5), at(3.0, -3.0));
            line(at(-4.5, 4.5), at(-1.8, 3.8));
            line(at(2.0, -4.0), at(4.0, -2.0));
        }
    }
}

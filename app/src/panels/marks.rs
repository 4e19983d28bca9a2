//! Marks of positions: which of a method's picks a click sets, and how they look on the strip, told apart without colour.

use eframe::egui::{Button, Color32, Painter, Pos2, Rect, Stroke, Ui, pos2, vec2};
use sluice_core::method::{Gesture, Method, Pick};

use crate::command::Command;
use crate::state::State;
use crate::theme;

/// A row narrower than this says less.
const ROOM: f32 = 640.0;

/// How a mark is drawn under a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A wave.
    Wave,
    /// A line.
    Line,
    /// Two lines.
    Double,
    /// Dots.
    Dots,
}

/// Looks in the order of a method's picks; a lone pick has the wave.
const LOOKS: [Look; 4] = [Look::Line, Look::Double, Look::Dots, Look::Wave];

/// How a method's pick is drawn.
fn look(method: &Method, pick: &Pick) -> Look {
    if method.picks.len() == 1 {
        return Look::Wave;
    }
    let index = method.picks.iter().position(|known| known.name == pick.name).unwrap_or(0);
    LOOKS.get(index % LOOKS.len()).copied().unwrap_or(Look::Wave)
}

/// The look of a position that is marked; the last of the method's picks that holds it counts.
pub fn of(state: &State, method: &'static Method, position: usize) -> Option<Look> {
    let picks = &state.studies.get(method.id)?.picks;
    let holds = |pick: &&Pick| picks.get(pick.name).is_some_and(|at| at.contains(&position));
    method.picks.iter().rev().find(holds).map(|pick| look(method, pick))
}

/// The pick that a click marks.
pub fn brush(state: &State, method: &'static Method) -> Option<&'static Pick> {
    let chosen = state.studies.get(method.id).map_or(0, |study| study.brush);
    let picks: Vec<&'static Pick> = state.picks_of(method).collect();
    picks.get(chosen.min(picks.len().saturating_sub(1))).copied()
}

/// Which pick a click marks, how many are marked, and what marks many at once.
pub fn controls(ui: &mut Ui, state: &mut State, method: &'static Method, commands: &mut Vec<Command>) {
    let picks: Vec<&'static Pick> = state.picks_of(method).collect();
    if picks.is_empty() {
        return;
    }
    let patches = state.image_positions();
    ui.horizontal(|ui| {
        ui.set_height(theme::PARAMETERS);
        // Where there is little room the buttons speak for themselves.
        let text = match (patches.is_empty(), picks.len()) {
            _ if ui.available_width() < ROOM => "marks",
            (true, 1) => "click tokens above to mark what is",
            (false, 1) => "click tokens above, or draw over patches, to mark what is",
            _ => "a click on a token above marks",
        };
        ui.weak(text);
        let study = state.studies.get_mut(method.id);
        study.brush = study.brush.min(picks.len() - 1);
        for (index, pick) in picks.iter().enumerate() {
            let count = study.picks.get(pick.name).map_or(0, Vec::len);
            let button = ui.selectable_value(&mut study.brush, index, pick.label).on_hover_text(pick.help);
            let under = button.rect.shrink2(vec2(4.0, 0.0));
            draw(ui.painter(), under, look(method, pick), theme::warning(ui.ctx()));
            ui.weak(format!("{count}"));
        }
        if ui.button("Clear marks").clicked() {
            study.picks.clear();
        }
        whole(ui, state, method, &patches, commands);
    });
}

/// Marks every patch, for what is marked one by one.
fn whole(
    ui: &mut Ui,
    state: &State,
    method: &'static Method,
    patches: &[usize],
    commands: &mut Vec<Command>,
) {
    let pick = brush(state, method).filter(|pick| pick.gesture == Gesture::Each && !patches.is_empty());
    let Some(pick) = pick else { return };
    let marked = state.studies.get(method.id).and_then(|study| study.picks.get(pick.name));
    let whole = marked.is_some_and(|marked| patches.iter().all(|at| marked.contains(at)));
    let button = ui.add(Button::new("Whole image").selected(whole));
    if button.on_hover_text("mark every patch, or take the marks away").clicked() {
        commands.push(Command::Mark(method, pick, patches.to_vec(), Some(!whole)));
    }
}

/// Draw a mark at the lower edge of a chip.
pub fn draw(painter: &Painter, rect: Rect, look: Look, ink: Color32) {
    let stroke = Stroke::new(1.5, ink);
    let y = rect.bottom() - 1.5;
    let line = |y: f32| {
        painter.hline(rect.x_range(), y, stroke);
    };
    match look {
        Look::Line => line(y),
        Look::Double => {
            line(y);
            line(y - 3.0);
        }
        Look::Dots => {
            for i in 0..=(rect.width() / 4.0) as usize {
                painter.circle_filled(pos2(rect.left() + 4.0 * i as f32, y), 1.2, ink);
            }
        }
        Look::Wave => {
            let point = |i: usize| {
                let up = if i.is_multiple_of(2) { -1.5 } else { 1.5 };
                Pos2::new(rect.left() + 3.0 * i as f32, y - 1.0 + up)
            };
            let wave: Vec<Pos2> = (0..=(rect.width() / 3.0) as usize).map(point).collect();
            painter.line(wave, stroke);
        }
    }
}

//! Controls of what several panels let choose: run, layer, position, the token to follow.

use std::ops::RangeInclusive;

use eframe::egui::{Align2, ComboBox, DragValue, Slider, TextEdit, Ui};
use sluice_core::method::view::Side;
use sluice_core::worker::{Answer, ViewData};

use crate::command::Command;
use crate::state::State;

/// Choose between the two runs and what is different.
pub fn side_picker(ui: &mut Ui, side: &mut Side) {
    ui.selectable_value(side, Side::Base, "unmodified");
    ui.selectable_value(side, Side::Plan, "under the plan");
    ui.selectable_value(side, Side::Change, "change")
        .on_hover_text("under the plan, less the unmodified model");
}

/// Choose a number by a slider, its name before it.
pub fn slider(ui: &mut Ui, name: &str, value: &mut f32, range: RangeInclusive<f32>) {
    let label = ui.label(name);
    ui.spacing_mut().slider_width = 90.0;
    ui.add(Slider::new(value, range)).labelled_by(label.id);
}

/// Choose a layer.
pub fn layer_picker(ui: &mut Ui, name: &str, layer: &mut usize, layers: usize) {
    let label = ui.label(name);
    ui.add(DragValue::new(layer).range(0..=layers.saturating_sub(1)).speed(0.05)).labelled_by(label.id);
}

/// Choose a prompt position, or what `none` says.
pub fn position_picker(ui: &mut Ui, state: &State, name: &str, none: &str, position: &mut Option<usize>) {
    let label = ui.label(name);
    let tokens = &state.results.tokens;
    let text =
        |at: usize| tokens.get(at).map_or_else(|| at.to_string(), |token| format!("{at} {}", token.text));
    let shown = position.map_or_else(|| none.to_owned(), text);
    let combo = ComboBox::from_id_salt(name).selected_text(shown).show_ui(ui, |ui| {
        ui.selectable_value(position, None, none);
        for at in 0..tokens.len() {
            ui.selectable_value(position, Some(at), text(at));
        }
    });
    combo.response.labelled_by(label.id);
}

/// The token to follow: typed, or a click in the next-token table.
pub fn answer_box(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let label = ui.label("Answer");
    // What is followed is after the last token, wherever the table on the right is locked.
    let followed = match state.data(&state.next_view()) {
        Some(ViewData::Next(next)) if state.choices.position.is_none() => next.answer.token.text.clone(),
        _ => "most likely".to_owned(),
    };
    let edit = TextEdit::singleline(&mut state.answer)
        .align(Align2::LEFT_CENTER)
        .desired_width(96.0)
        .hint_text(followed);
    let edit = ui.add(edit).labelled_by(label.id);
    if edit.on_hover_text("a text's first token, or an id; empty follows the most likely token").changed() {
        let text = state.answer.as_str();
        commands.push(Command::Follow(match text.trim().parse() {
            _ if text.is_empty() => Answer::Top,
            Ok(id) if state.ids_only() => Answer::Id(id),
            _ => Answer::Text(text.to_owned()),
        }));
    }
}

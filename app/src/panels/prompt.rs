//! Prompt box, with the image well beside it for checkpoints that read images, and the token strip below.

use eframe::egui::{ComboBox, Id, ScrollArea, TextEdit, Ui};
use sluice_core::method::view::StripAsk;
use sluice_core::worker::ViewData;

use super::{picture, strip};
use crate::command::Command;
use crate::state::{ChipColour, State};
use crate::widgets::figure;

/// Id of the prompt box.
pub const PROMPT: &str = "prompt-box";

/// Height of the prompt box in points; more scrolls.
const PROMPT_HEIGHT: f32 = 38.0;

/// Draw the box and the strip.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let mut hovered = None;
    if state.patches().is_none() {
        words(ui, state, commands);
        tokens(ui, state, commands, &mut hovered);
    } else {
        ui.horizontal_top(|ui| {
            picture::well(ui, state, commands, &mut hovered);
            ui.vertical(|ui| {
                words(ui, state, commands);
                picture::tools(ui, state, commands);
                tokens(ui, state, commands, &mut hovered);
            });
        });
    }
    // What one of strip and picture says of the pointer, the other shows in the next frame.
    if state.hovered != hovered {
        state.hovered = hovered;
        ui.ctx().request_repaint();
    }
}

fn tokens(ui: &mut Ui, state: &State, commands: &mut Vec<Command>, hovered: &mut Option<usize>) {
    if state.results.tokens.is_empty() {
        ui.weak("type a prompt: its tokens appear here");
    } else {
        strip::ui(ui, state, commands, hovered);
    }
}

/// The prompt box and what colours the tokens.
fn words(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let ids_only = state.ids_only();
    ui.horizontal_top(|ui| {
        let label = ui.label(if ids_only { "Prompt, token ids" } else { "Prompt" });
        let colours = ui.available_width() - 214.0;
        // A long prompt scrolls: the panels below keep their room.
        let area = ScrollArea::vertical().id_salt("prompt").max_height(PROMPT_HEIGHT).max_width(colours);
        let area = area.min_scrolled_height(PROMPT_HEIGHT);
        area.show(ui, |ui| {
            let edit = TextEdit::multiline(&mut state.prompt).id(Id::unique(PROMPT)).desired_rows(2);
            ui.add(edit.desired_width(colours)).labelled_by(label.id);
        });
        let label =
            ui.label("Colour").on_hover_text("from dark blue at 0 to yellow at the largest of the prompt");
        let chosen = state.choices.colour.name();
        let combo =
            ComboBox::from_id_salt("chip-colour").width(90.0).selected_text(chosen).show_ui(ui, |ui| {
                for colour in ChipColour::ALL {
                    ui.selectable_value(&mut state.choices.colour, colour, colour.name());
                }
            });
        combo.response.labelled_by(label.id).on_hover_text("what colours the tokens");
        if let Some(ViewData::Strip(strip)) = state.data(&StripAsk {}.into()) {
            figure::menu(ui, &strip.figure, commands);
        }
    });
}

//! The prompt: its tokens are the chips, which a pencil turns into a text box; beside them what colours them, and a picture
//! for checkpoints that read images.

use eframe::egui::{
    Align, ComboBox, Id, Key, KeyboardShortcut, Layout, Modifiers, RichText, ScrollArea, TextEdit, Ui, vec2,
};
use sluice_core::method::view::StripAsk;
use sluice_core::worker::ViewData;

use super::{picture, strip};
use crate::command::Command;
use crate::state::{ChipColour, Keep, State};
use crate::theme;
use crate::widgets::figure;
use crate::widgets::icon::{self, Icon};

/// Id of the prompt box.
pub const PROMPT: &str = "prompt-box";

/// Height of the row in points.
const ROW: f32 = 40.0;
/// Height of the prompt box; more scrolls.
const BOX: f32 = 34.0;

/// Draw the row, and the picture where there is one; a long one takes the height that there is.
pub fn ui(ui: &mut Ui, state: &mut State, long: bool, commands: &mut Vec<Command>) {
    let mut hovered = None;
    if state.image.is_none() {
        let height = if long { ui.available_height().max(ROW) } else { ROW };
        row(ui, state, height, commands, &mut hovered);
    } else {
        ui.horizontal_top(|ui| {
            picture::well(ui, state, commands, &mut hovered);
            ui.vertical(|ui| {
                row(ui, state, ROW, commands, &mut hovered);
                picture::tools(ui, state, commands);
            });
        });
    }
    // What one of strip and picture says of the pointer, the other shows in the next frame.
    if state.hovered != hovered {
        state.hovered = hovered;
        ui.ctx().request_repaint();
    }
}

fn row(
    ui: &mut Ui,
    state: &mut State,
    height: f32,
    commands: &mut Vec<Command>,
    hovered: &mut Option<usize>,
) {
    let size = vec2(ui.available_width(), height);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        ui.set_min_size(size);
        colours(ui, state, commands);
        if let Some(card) = &state.card {
            let (tokens, context) = (state.results.tokens.len(), card.spec.context);
            let count = RichText::new(format!("{tokens} / {context}")).monospace();
            let long = tokens > context;
            let count = if long { count.color(theme::warning(ui.ctx())) } else { count.weak() };
            ui.label(count).on_hover_text("tokens of the prompt, and the context");
            for (keep, name) in [(Keep::Last, "last"), (Keep::First, "first")] {
                if long && ui.button(format!("Keep {name} {context}")).clicked() {
                    commands.push(Command::Shorten(keep));
                }
            }
        }
        if state.patches().is_some() && state.image.is_none() {
            ui.menu_button("Add image", |ui| picture::tools(ui, state, commands));
        }
        let editing = state.editing || state.results.tokens.is_empty();
        if icon::button(ui, Icon::Edit, "Edit prompt", true, editing).clicked() {
            commands.push(Command::EditPrompt);
        }
        let words = Layout::left_to_right(Align::Center);
        ui.with_layout(words, |ui| match editing {
            true => words_box(ui, state),
            false => strip::ui(ui, state, commands, hovered),
        });
    });
}

/// The prompt as text. Enter, Escape and a click elsewhere end it; Shift and Enter begin a line.
fn words_box(ui: &mut Ui, state: &mut State) {
    let name = if state.ids_only() { "Prompt, token ids" } else { "Prompt" };
    let label = ui.label(RichText::new(name).weak());
    let width = ui.available_width() - 4.0;
    // A long prompt scrolls: the panels below keep their room.
    let area = ScrollArea::vertical().id_salt("prompt").max_height(BOX).max_width(width);
    let done = area.show(ui, |ui| {
        let line = KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter);
        let edit = TextEdit::multiline(&mut state.prompt).id(Id::unique(PROMPT)).desired_rows(1);
        let edit = edit.return_key(line).hint_text("type a prompt: its tokens appear here");
        let edit = ui.add(edit.desired_width(width)).labelled_by(label.id);
        let entered =
            edit.has_focus() && ui.input(|input| input.key_pressed(Key::Enter) && !input.modifiers.shift);
        if entered {
            edit.surrender_focus();
        }
        edit.lost_focus() || entered
    });
    if done.inner {
        state.editing = false;
        state.take_typed();
    }
}

/// What colours the tokens, with its scale and the numbers as a file.
fn colours(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    if let Some(ViewData::Strip(strip)) = state.data(&StripAsk {}.into()) {
        figure::menu(ui, &strip.figure, commands);
    }
    strip::scale(ui, state);
    let chosen = state.choices.colour.name();
    let combo = ComboBox::from_id_salt("chip-colour").width(90.0).selected_text(chosen).show_ui(ui, |ui| {
        for colour in ChipColour::ALL {
            ui.selectable_value(&mut state.choices.colour, colour, colour.name());
        }
    });
    let label = ui.label(RichText::new("Colour").weak());
    combo.response.labelled_by(label.id).on_hover_text("what colours the tokens");
}

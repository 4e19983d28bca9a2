//! Prompt box and token strip: click a token to see what follows it.

use eframe::egui::{Button, RichText, ScrollArea, TextEdit, Ui};

use crate::command::Command;
use crate::state::{State, Tab};

/// Chips drawn at once; longer prompts are cut on screen, never in the run.
const MAX_CHIPS: usize = 512;

/// Draw the box and the strip.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let ids_only = state.card.as_ref().is_some_and(|card| card.tokenizer == "none");
    let label = ui.label(if ids_only { "Prompt, token ids" } else { "Prompt" });
    ui.add(TextEdit::multiline(&mut state.prompt).desired_rows(2).desired_width(f32::INFINITY))
        .labelled_by(label.id);
    let tracing = state.choices.tab == Tab::Trace;
    ScrollArea::vertical().id_salt("strip").max_height(72.0).show(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            for (position, token) in state.results.tokens.iter().enumerate().take(MAX_CHIPS) {
                let chosen = if tracing {
                    state.choices.corrupt.contains(&position)
                } else {
                    state.choices.position == Some(position)
                };
                let chip = Button::new(RichText::new(&token.text).monospace()).selected(chosen).small();
                let chip = ui.add(chip).on_hover_text(format!("position {position}, id {}", token.id));
                if chip.clicked() {
                    commands.push(match (tracing, chosen) {
                        (true, _) => Command::Corrupt(position),
                        (false, true) => Command::Select(None),
                        (false, false) => Command::Select(Some(position)),
                    });
                }
            }
            let hidden = state.results.tokens.len().saturating_sub(MAX_CHIPS);
            if hidden > 0 {
                ui.weak(format!("and {hidden} more"));
            }
        });
    });
}

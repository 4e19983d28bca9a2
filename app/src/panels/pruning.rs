//! Sublayer ladder: click an attention or FFN sublayer to take it out.

use eframe::egui::{Button, RichText, ScrollArea, Ui};
use sluice_core::plan::Sublayer;
use sluice_core::worker::{View, ViewData};

use super::data;
use crate::command::Command;
use crate::state::{State, parts};
use crate::widgets::{figure, states};

/// Draw the ladder.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(card) = &state.card else {
        return states::empty(ui, "No checkpoint is open", "type its folder above and press Open");
    };
    if let Some(ViewData::Figure(figure)) = data(state, &View::Ladder) {
        figure::head(ui, figure, commands);
    }
    ui.weak("click a sublayer to take it out of the model, click again to put it back");
    ScrollArea::vertical().id_salt("ladder").show(ui, |ui| {
        for layer in 0..card.spec.n_layers() {
            ui.horizontal(|ui| {
                ui.monospace(format!("{layer:>3}"));
                for part in parts() {
                    let sublayer = Sublayer { layer, part };
                    let out = state.is_out(sublayer);
                    let text = RichText::new(sublayer.to_string());
                    let text = if out { text.strikethrough().weak() } else { text };
                    if ui.add(Button::new(text).min_size([120.0, 0.0].into()).selected(!out)).clicked() {
                        commands.push(Command::Toggle(sublayer));
                    }
                }
            });
        }
    });
}

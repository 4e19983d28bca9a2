//! The centre while no checkpoint is open.

use eframe::egui::{RichText, Ui};
use sluice_core::worker::Slot;

use crate::command::Command;
use crate::errands::Dialog;
use crate::state::State;
use crate::theme;
use crate::widgets::states;

/// What can be opened, and what was opened before.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    if let Some(progress) = state.results.progress.get(&Slot::Open) {
        return states::loading(ui, &progress.label);
    }
    ui.add_space(ui.available_height() * 0.25);
    ui.vertical_centered(|ui| {
        ui.label(RichText::new("No checkpoint is open").heading());
        ui.weak("drop a Hugging Face folder here, type its path under Open a checkpoint, or");
        ui.add_space(2.0 * theme::UNIT);
        if ui.button("Open checkpoint folder…").clicked() {
            commands.push(Command::Ask(Dialog::Checkpoint));
        }
        if ui.button("Open the bundled checkpoint").clicked() {
            commands.push(Command::OpenBundled);
        }
        if !state.settings.recent.is_empty() {
            ui.add_space(4.0 * theme::UNIT);
            ui.weak("opened before");
            for path in &state.settings.recent {
                if ui.link(path.display().to_string()).clicked() {
                    commands.push(Command::Open(path.clone()));
                }
            }
        }
    });
}

//! Logit lens: the top token at every layer and position. Click a cell to lock the inspector on its position.

use eframe::egui::Ui;
use sluice_core::worker::{View, ViewData};

use super::side_picker;
use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

/// Draw the lens.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| side_picker(ui, &mut state.choices.side));
    let view = View::Lens { side: state.choices.side };
    let Some(ViewData::Figure(figure)) = state.data(&view) else {
        return states::pending(ui, state, "Logit lens");
    };
    figure::head(ui, figure, commands);
    if let Some(cell) = figure::map(ui, figure, None).clicked {
        commands.push(Command::Select(Some(cell.col)));
    }
}

//! Logit lens: the top token at every layer and position.

use eframe::egui::Ui;
use sluice_core::worker::{View, ViewData};

use super::{data, side_picker};
use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

/// Draw the lens.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| side_picker(ui, &mut state.choices.side));
    let view = View::Lens { side: state.choices.side };
    let Some(ViewData::Figure(figure)) = data(state, &view) else { return states::loading(ui, "Logit lens") };
    figure::head(ui, figure, commands);
    figure::map(ui, figure);
}

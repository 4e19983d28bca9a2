//! Routing map: paint tokens into lanes, layer by layer.

use eframe::egui::Ui;
use sluice_core::plan::Lane;
use sluice_core::worker::{View, ViewData};

use super::data;
use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

/// Draw the map and its brush.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        ui.label("Brush");
        for lane in Lane::ALL {
            ui.selectable_value(&mut state.choices.lane, lane, lane.name());
        }
        ui.separator();
        if ui.button("All big").clicked() {
            commands.push(Command::PaintAll(Lane::Big));
        }
        if ui.button("All small").clicked() {
            commands.push(Command::PaintAll(Lane::Small));
        }
    });
    let Some(ViewData::Figure(figure)) = data(state, &View::Routing) else {
        return states::loading(ui, "Routing map");
    };
    figure::head(ui, figure, commands);
    if let Some(hit) = figure::map(ui, figure) {
        // The last column stands for everything past the prompt.
        let position = (hit.col < state.results.tokens.len()).then_some(hit.col);
        if state.lane(hit.row, position) != state.choices.lane {
            commands.push(Command::Paint(hit.row, position, state.choices.lane));
        }
    }
}

//! Routing map: paint tokens into lanes, layer by layer.

use eframe::egui::Ui;
use sluice_core::figure::Plot;
use sluice_core::plan::Lane;
use sluice_core::worker::{View, ViewData};

use crate::command::Command;
use crate::state::State;
use crate::state::edits::Preset;
use crate::widgets::{figure, states};

/// Draw the map and its brush.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        ui.label("Brush");
        for lane in Lane::ALL {
            ui.selectable_value(&mut state.choices.lane, lane, lane.name());
        }
        ui.separator();
        ui.label("Fill");
        for preset in Preset::ALL {
            if ui.button(preset.name()).clicked() {
                commands.push(Command::Fill(preset));
            }
        }
    });
    let Some(ViewData::Figure(figure)) = state.data(&View::Routing) else {
        return states::pending(ui, state, "Routing map");
    };
    figure::head(ui, figure, commands);
    let (Plot::Map(map), tokens) = (&figure.plot, state.results.tokens.len()) else { return };
    // While the map of a new prompt is on its way, strokes would meet the columns of the old one.
    let current = map.cols.labels.len() == tokens + 1;
    for cell in figure::map(ui, figure, None).stroke.into_iter().filter(|_| current) {
        // The last column stands for everything past the prompt.
        let position = (cell.col < tokens).then_some(cell.col);
        if state.lane(cell.row, position) != state.choices.lane {
            commands.push(Command::Paint(cell.row, position, state.choices.lane));
        }
    }
}

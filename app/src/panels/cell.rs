//! Inspector of the cell that was chosen in a figure on screen: what it stands for and its value, live.

use eframe::egui::{Align, Label, Layout, RichText, Ui, vec2};

use super::figures;
use crate::state::State;
use crate::theme;
use crate::widgets::figure;

/// Draw it, where a cell of a figure on screen is chosen. A neuron that is looked into has the room.
pub fn ui(ui: &mut Ui, state: &State) {
    let Some((id, cell)) = figure::chosen(ui.ctx()).filter(|_| state.choices.neuron.is_none()) else {
        return;
    };
    let Some(figure) = figures(state).into_iter().find(|figure| figure.id.0 == id) else { return };
    let lines = figure::described(&figure, cell);
    if lines.is_empty() {
        return;
    }
    ui.separator();
    ui.label(RichText::new(&figure.title).small().weak());
    for (name, value) in lines {
        let size = vec2(ui.available_width(), theme::ROW);
        ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
            ui.set_min_size(size);
            let value = Label::new(RichText::new(&value).monospace()).truncate();
            ui.add(value);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| ui.weak(name));
        });
    }
}

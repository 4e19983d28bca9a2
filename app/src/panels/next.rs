//! Next-token table, base versus plan, with KL.

use eframe::egui::{Grid, RichText, Ui};
use sluice_core::worker::ViewData;

use super::data;
use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

/// Draw the table.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let view = state.wanted().into_iter().next();
    let next = view.as_ref().and_then(|view| data(state, view));
    let Some(ViewData::Next(next)) = next else {
        if state.card.is_none() {
            states::empty(ui, "No checkpoint is open", "type its folder above and press Open");
        } else {
            states::loading(ui, "Next tokens");
        }
        return;
    };
    figure::head(ui, &next.figure, commands);
    ui.label(RichText::new(format!("KL {:.4} nats", next.kl)).monospace());
    Grid::new("next").num_columns(3).striped(true).show(ui, |ui| {
        ui.weak("token");
        ui.weak("base");
        ui.weak("plan");
        ui.end_row();
        for row in &next.rows {
            ui.label(RichText::new(&row.token.text).monospace());
            ui.label(RichText::new(format!("{:>6.2} %", 100.0 * row.base)).monospace());
            ui.label(RichText::new(format!("{:>6.2} %", 100.0 * row.plan)).monospace());
            ui.end_row();
        }
    });
}

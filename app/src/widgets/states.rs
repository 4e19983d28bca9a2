//! Empty and loading, looking alike everywhere.

use eframe::egui::{Spinner, Ui};
use sluice_core::worker::Slot;

use crate::state::State;
use crate::theme;

/// Nothing is here yet, and what to do about it.
pub fn empty(ui: &mut Ui, what: &str, next_step: &str) {
    ui.add_space(8.0 * theme::UNIT);
    ui.vertical_centered(|ui| {
        ui.label(what);
        ui.weak(next_step);
    });
}

/// What a panel shows while its data is not there: that it is computed, or that it cannot be.
pub fn pending(ui: &mut Ui, state: &State, what: &str) {
    match &state.results.failure {
        // Which cause is said once, at the bottom.
        Some((Slot::Scene, _)) => {
            empty(ui, "Nothing can be shown of this prompt", "the line at the bottom says why");
        }
        _ => loading(ui, what),
    }
}

/// Something is being computed.
pub fn loading(ui: &mut Ui, what: &str) {
    ui.add_space(8.0 * theme::UNIT);
    ui.vertical_centered(|ui| {
        ui.add(Spinner::new().size(16.0));
        ui.label(format!("{what} …"));
        ui.weak("it appears here as soon as it is there");
    });
}

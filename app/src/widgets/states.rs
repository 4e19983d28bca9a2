//! Empty, loading and failed, looking alike everywhere.

use eframe::egui::{RichText, Ui};
use sluice_core::worker::Failure;

use crate::theme;

/// Nothing is here yet, and what to do about it.
pub fn empty(ui: &mut Ui, what: &str, next_step: &str) {
    ui.add_space(4.0 * theme::UNIT);
    ui.vertical_centered(|ui| {
        ui.label(what);
        ui.weak(next_step);
    });
}

/// Something is being computed.
pub fn loading(ui: &mut Ui, what: &str) {
    empty(ui, &format!("{what} …"), "it appears here as soon as it is there");
}

/// A failure with its cause and next step. True when it was closed.
pub fn failure(ui: &mut Ui, failure: &Failure) -> bool {
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(&failure.cause).color(theme::WARNING));
        ui.weak(&failure.next_step);
        ui.button("Close message").clicked()
    })
    .inner
}

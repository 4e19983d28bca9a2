//! One file per panel. A panel reads the state, lets choices be changed, and pushes commands.

pub mod activations;
pub mod attention;
pub mod experts;
pub mod fcct;
pub mod inject;
pub mod iri;
pub mod lens;
pub mod neuron;
pub mod next;
pub mod palette;
pub mod picture;
pub mod plan;
pub mod prompt;
pub mod pruning;
pub mod router;
pub mod routing;
pub mod status;
pub mod strip;
pub mod text;
pub mod top;
pub mod trace;
pub mod welcome;

use eframe::egui::{ComboBox, DragValue, Ui};
use sluice_core::worker::Side;

use crate::state::State;

/// Choose between the two runs.
fn side_picker(ui: &mut Ui, side: &mut Side) {
    ui.selectable_value(side, Side::Base, "unmodified");
    ui.selectable_value(side, Side::Plan, "under the plan");
}

/// Choose a layer.
fn layer_picker(ui: &mut Ui, name: &str, layer: &mut usize, layers: usize) {
    let label = ui.label(name);
    ui.add(DragValue::new(layer).range(0..=layers.saturating_sub(1)).speed(0.05)).labelled_by(label.id);
}

/// Choose a prompt position, or what `none` says.
fn position_picker(ui: &mut Ui, state: &State, name: &str, none: &str, position: &mut Option<usize>) {
    let label = ui.label(name);
    let tokens = &state.results.tokens;
    let text =
        |at: usize| tokens.get(at).map_or_else(|| at.to_string(), |token| format!("{at} {}", token.text));
    let shown = position.map_or_else(|| none.to_owned(), text);
    let combo = ComboBox::from_id_salt(name).selected_text(shown).show_ui(ui, |ui| {
        ui.selectable_value(position, None, none);
        for at in 0..tokens.len() {
            ui.selectable_value(position, Some(at), text(at));
        }
    });
    combo.response.labelled_by(label.id);
}

//! One file per panel. A panel reads the state, lets choices be changed, and pushes commands.

pub mod activations;
pub mod attention;
pub mod lens;
pub mod next;
pub mod plan;
pub mod prompt;
pub mod pruning;
pub mod routing;
pub mod text;
pub mod top;
pub mod trace;

use eframe::egui::{DragValue, Ui};
use sluice_core::worker::{Side, View, ViewData};

use crate::state::State;

/// The newest data of a view.
fn data<'a>(state: &'a State, view: &View) -> Option<&'a ViewData> {
    state.results.views.get(view).map(|data| &**data)
}

/// Choose between the two runs.
fn side_picker(ui: &mut Ui, side: &mut Side) {
    ui.selectable_value(side, Side::Base, "unmodified");
    ui.selectable_value(side, Side::Plan, "under the plan");
}

/// Choose a layer.
fn layer_picker(ui: &mut Ui, layer: &mut usize, layers: usize) {
    let label = ui.label("Layer");
    ui.add(DragValue::new(layer).range(0..=layers.saturating_sub(1)).speed(0.1)).labelled_by(label.id);
}

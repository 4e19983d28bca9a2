//! FFN activations, neuron x token; click a row to look into its neuron.

use eframe::egui::{RichText, Ui};
use sluice_core::site::Hook;
use sluice_core::worker::{Token, View, ViewData};

use super::{data, layer_picker, side_picker};
use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

/// Draw the map.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let layers = state.card.as_ref().map_or(0, |card| card.spec.n_layers());
    ui.horizontal_wrapped(|ui| {
        layer_picker(ui, &mut state.choices.layer, layers);
        side_picker(ui, &mut state.choices.side);
        ui.checkbox(&mut state.choices.sort, "largest first");
    });
    let choices = &state.choices;
    let (layer, side, sort) = (choices.layer, choices.side, choices.sort);
    if let Some(neuron) = choices.neuron
        && let Some(ViewData::Neuron(found)) = data(state, &View::Neuron { layer, neuron })
    {
        figure::head(ui, &found.figure, commands);
        let list = |tokens: &[(Token, f32)]| {
            tokens.iter().map(|(token, x)| format!("{} {x:+.2}", token.text)).collect::<Vec<_>>().join("   ")
        };
        ui.label(RichText::new(format!("promotes  {}", list(&found.promoted))).monospace());
        ui.label(RichText::new(format!("suppresses  {}", list(&found.suppressed))).monospace());
        ui.separator();
    }
    let view = View::Activations { layer, hook: Hook::MlpPost, side, sort };
    let Some(ViewData::Activations(found)) = data(state, &view) else {
        return states::loading(ui, "Activations");
    };
    let (map, neurons) = (std::sync::Arc::clone(&found.figure), found.neurons.clone());
    figure::head(ui, &map, commands);
    if let Some(hit) = figure::map(ui, &map) {
        state.choices.neuron = neurons.get(hit.row).map(|&neuron| neuron as usize);
    }
}

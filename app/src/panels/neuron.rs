//! Inspector of the clicked neuron: its values along the prompt, and the vocabulary its output promotes and suppresses.

use eframe::egui::{RichText, Ui, vec2};
use sluice_core::method::view::NeuronAsk;
use sluice_core::plan::{Ablate, AblateTo, Change, Positions, Target};
use sluice_core::site::{Hook, Site};
use sluice_core::worker::{Token, ViewData};

use crate::command::Command;
use crate::state::State;
use crate::widgets::figure;

/// Height of its values along the prompt, title and legend included.
const CURVE: f32 = 150.0;

/// Draw it, where a neuron is chosen.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some((layer, neuron)) = state.choices.neuron else { return };
    ui.separator();
    let Some(ViewData::Neuron(found)) = state.data(&NeuronAsk { layer, neuron }.into()) else {
        ui.weak("computing the neuron …");
        return;
    };
    ui.horizontal(|ui| {
        if ui.small_button("Set to zero").clicked() {
            let target = Target::unit(Site::block(layer, Hook::MlpPost), neuron);
            let ablate = Ablate { target, to: AblateTo::Zero, positions: Positions::All };
            commands.push(Command::Add(Box::new(Change::Ablate(ablate).into())));
        }
        if ui.small_button("Close neuron").clicked() {
            commands.push(Command::Inspect(None));
        }
    });
    ui.allocate_ui(vec2(ui.available_width(), CURVE), |ui| drop(figure::small(ui, &found.figure, commands)));
    ui.columns(2, |columns| {
        for (ui, (name, tokens)) in
            columns.iter_mut().zip([("promotes", &found.promoted), ("suppresses", &found.suppressed)])
        {
            list(ui, name, tokens);
        }
    });
    ui.label(RichText::new("W_down column times W_U; final norm not applied").small().weak());
}

fn list(ui: &mut Ui, name: &str, tokens: &[(Token, f32)]) {
    ui.weak(name);
    for (token, x) in tokens {
        let text = crate::theme::short(&token.text, 9);
        ui.label(RichText::new(format!("{x:+.2} {text}")).font(crate::theme::small_mono()));
    }
}

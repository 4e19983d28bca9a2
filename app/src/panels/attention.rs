//! Attention pattern of a head, or the mean over heads.

use eframe::egui::{DragValue, Ui};
use sluice_core::worker::{View, ViewData};

use super::{data, layer_picker, side_picker};
use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

/// Draw the pattern.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let spec = state.card.as_ref().map(|card| std::sync::Arc::clone(&card.spec));
    let layers = spec.as_ref().map_or(0, |spec| spec.n_layers());
    let choices = &mut state.choices;
    let heads =
        spec.as_ref().and_then(|spec| spec.layers.get(choices.layer)).map_or(1, |layer| layer.attn.heads);
    ui.horizontal_wrapped(|ui| {
        layer_picker(ui, &mut choices.layer, layers);
        let mut mean = choices.head.is_none();
        ui.checkbox(&mut mean, "mean over heads");
        let mut head = choices.head.unwrap_or(0).min(heads.saturating_sub(1));
        if !mean {
            let label = ui.label("Head");
            ui.add(DragValue::new(&mut head).range(0..=heads.saturating_sub(1)).speed(0.1))
                .labelled_by(label.id);
        }
        choices.head = (!mean).then_some(head);
        side_picker(ui, &mut choices.side);
    });
    let view = View::Attention { layer: choices.layer, head: choices.head, side: choices.side };
    let Some(ViewData::Figure(figure)) = data(state, &view) else { return states::loading(ui, "Attention") };
    figure::head(ui, figure, commands);
    figure::map(ui, figure);
}

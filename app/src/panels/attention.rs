//! Attention pattern of a head, or the mean over heads.

use eframe::egui::{DragValue, Ui};
use sluice_core::plan::{Ablate, AblateTo, Change, Positions, Target};
use sluice_core::site::{Hook, Site};
use sluice_core::worker::ViewData;

use super::{layer_picker, side_picker};
use crate::command::Command;
use crate::state::{State, Tab};
use crate::widgets::{figure, states};

/// Draw the pattern.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let layers = state.layers();
    let spec = state.card.as_ref().map(|card| std::sync::Arc::clone(&card.spec));
    let choices = &mut state.choices;
    let heads =
        spec.as_ref().and_then(|spec| spec.layers.get(choices.layer)).map_or(1, |layer| layer.attn.heads);
    ui.horizontal_wrapped(|ui| {
        layer_picker(ui, "Layer", &mut choices.layer, layers);
        let mut mean = choices.head.is_none();
        ui.checkbox(&mut mean, "mean over heads");
        let mut head = choices.head.unwrap_or(0).min(heads.saturating_sub(1));
        if !mean {
            let label = ui.label("Head");
            ui.add(DragValue::new(&mut head).range(0..=heads.saturating_sub(1)).speed(0.05))
                .labelled_by(label.id);
            if ui.button("Set head to zero").on_hover_text("adds an ablation of hook_z to the plan").clicked()
            {
                let target = Target { site: Site::block(choices.layer, Hook::Z), unit: Some(head) };
                let ablate = Ablate { target, to: AblateTo::Zero, positions: Positions::All };
                commands.push(Command::Add(Box::new(Change::Ablate(ablate).into())));
            }
        }
        choices.head = (!mean).then_some(head);
        side_picker(ui, &mut choices.side);
    });
    let view = state.view(Tab::Attention);
    let Some(ViewData::Figure(figure)) = view.as_ref().and_then(|view| state.data(view)) else {
        return states::pending(ui, state, "Attention");
    };
    figure::head(ui, figure, commands);
    if let Some(cell) = figure::map(ui, figure, None).clicked {
        commands.push(Command::Select(Some(cell.row)));
    }
}

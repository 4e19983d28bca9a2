//! Attention pattern of a head, or the mean over heads.

use eframe::egui::{DragValue, Ui};
use sluice_core::method::view::{ATTENTION, AttentionAsk};
use sluice_core::method::{Group, Method};
use sluice_core::plan::{Ablate, AblateTo, Change, Positions, Target};
use sluice_core::site::{Hook, Site};
use sluice_core::worker::{View, ViewData};

use super::Panel;
use crate::command::Command;
use crate::state::{PanelInfo, State};
use crate::widgets::pickers::{layer_picker, side_picker};
use crate::widgets::{figure, states};

/// Which head is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// None = the mean.
    pub head: Option<usize>,
}

/// The panel.
pub struct Attention;

impl Panel for Attention {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: "attention",
            name: "Attention",
            hint: "patterns of a layer",
            group: Group::Look,
            open: true,
        }
    }

    fn view(&self, state: &State) -> Option<View> {
        let choices = &state.choices;
        Some(
            AttentionAsk { layer: choices.layer, head: choices.of::<Choice>().head, side: choices.side }
                .into(),
        )
    }

    fn shows(&self) -> Option<&'static Method> {
        Some(&ATTENTION)
    }

    fn pose(&self, _: &State) -> Vec<Command> {
        vec![Command::Inspect(None), Command::Show(self.info().id)]
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// Draw the pattern.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let layers = state.layers();
    let spec = state.card.as_ref().map(|card| std::sync::Arc::clone(&card.spec));
    let Choice { head: mut chosen } = state.choices.of();
    let choices = &mut state.choices;
    let heads =
        spec.as_ref().and_then(|spec| spec.layers.get(choices.layer)).map_or(1, |layer| layer.attn.heads);
    ui.horizontal_wrapped(|ui| {
        layer_picker(ui, "Layer", &mut choices.layer, layers);
        let mut mean = chosen.is_none();
        ui.checkbox(&mut mean, "mean over heads");
        let mut head = chosen.unwrap_or(0).min(heads.saturating_sub(1));
        if !mean {
            let label = ui.label("Head");
            ui.add(DragValue::new(&mut head).range(0..=heads.saturating_sub(1)).speed(0.05))
                .labelled_by(label.id);
            if ui.button("Set head to zero").on_hover_text("adds an ablation of hook_z to the plan").clicked()
            {
                let target = Target::unit(Site::block(choices.layer, Hook::Z), head);
                let ablate = Ablate { target, to: AblateTo::Zero, positions: Positions::All };
                commands.push(Command::Add(Box::new(Change::Ablate(ablate).into())));
            }
        }
        chosen = (!mean).then_some(head);
        side_picker(ui, &mut choices.side);
    });
    state.choices.set(Choice { head: chosen });
    let view = Attention.view(state);
    let Some(figure) = view.and_then(|view| state.data(&view).map(ViewData::figure)) else {
        return states::pending(ui, state, "Attention");
    };
    if let Some(cell) = figure::show(ui, figure, None, commands).clicked {
        commands.push(Command::Select(Some(cell.row)));
    }
}

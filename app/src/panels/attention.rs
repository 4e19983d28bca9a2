//! Attention pattern of a head, or the mean over heads.

use eframe::egui::{DragValue, Ui};
use serde::{Deserialize, Serialize};
use sluice_core::method::view::{ATTENTION, AttentionAsk};
use sluice_core::method::{Group, Method};
use sluice_core::plan::{Ablate, AblateTo, Change, Positions, Target};
use sluice_core::site::{Hook, Site};
use sluice_core::worker::View;

use super::Panel;
use crate::command::Command;
use crate::state::{PanelChoice, PanelInfo, State};
use crate::theme;
use crate::widgets::head::Head;
use crate::widgets::pickers::{layer_picker, side_picker};
use crate::widgets::{figure, head, states};

/// Which head is shown.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Choice {
    /// None = the mean.
    pub head: Option<usize>,
    /// Colours by the square root.
    pub root: bool,
}

impl PanelChoice for Choice {
    const PANEL: &'static str = "attention";
}

/// The panel.
pub struct Attention;

impl Panel for Attention {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: "attention",
            name: "Attention",
            tag: "",
            hint: "patterns of a layer",
            group: Group::Look,
            open: false,
        }
    }

    fn view(&self, state: &State) -> Option<View> {
        let choices = &state.choices;
        let Choice { head, root } = choices.of();
        Some(AttentionAsk { layer: choices.layer, head, side: choices.side, root }.into())
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
    let Choice { head: mut chosen, mut root } = state.choices.of();
    let view = Attention.view(state);
    let figure = view.and_then(|view| state.figure(&view));
    let choices = &mut state.choices;
    let heads =
        spec.as_ref().and_then(|spec| spec.layers.get(choices.layer)).map_or(1, |layer| layer.attn.heads);
    head::head(ui, Head::of(&ATTENTION, "attention", figure.as_ref()), commands, |ui, commands| {
        let Some(head) = chosen else { return };
        let zero = ui.add(theme::filled(ui.ctx(), "Set head to zero"));
        if zero.on_hover_text("adds an ablation of hook_z to the plan").clicked() {
            let target = Target::unit(Site::block(choices.layer, Hook::Z), head);
            let ablate = Ablate { target, to: AblateTo::Zero, positions: Positions::All };
            commands.push(Command::Add(Box::new(Change::Ablate(ablate).into())));
        }
    });
    head::parameters(ui, "attention", 5, |ui, index| match index {
        0 => layer_picker(ui, "Layer", &mut choices.layer, layers),
        1 => {
            let mut mean = chosen.is_none();
            ui.checkbox(&mut mean, "mean over heads");
            let head = chosen.unwrap_or(0).min(heads.saturating_sub(1));
            chosen = (!mean).then_some(head);
        }
        2 => {
            let mut head = chosen.unwrap_or(0);
            let label = ui.label("Head");
            let last = heads.saturating_sub(1);
            let picker = DragValue::new(&mut head).range(0..=last).speed(0.05);
            if ui.add_enabled(chosen.is_some(), picker).labelled_by(label.id).changed() {
                chosen = Some(head);
            }
        }
        3 => side_picker(ui, &mut choices.side),
        _ => {
            let root = ui.checkbox(&mut root, "square root");
            root.on_hover_text("colours by the square root: small weights are told apart");
        }
    });
    choices.set(Choice { head: chosen, root });
    let Some(figure) = figure else { return states::pending(ui, state, "Attention") };
    if let Some(cell) = figure::show(ui, &figure, None, "", commands).clicked {
        commands.push(Command::Select(Some(cell.row)));
    }
}

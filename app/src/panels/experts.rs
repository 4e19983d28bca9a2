//! Experts: whom the tokens go through, and what changes when somebody is knocked out, forced, or k is another.

use eframe::egui::{Button, DragValue, Ui};
use serde::{Deserialize, Serialize};
use sluice_core::method::view::{EXPERTS_VIEW, ExpertShow, ExpertsViewAsk, NextRow};
use sluice_core::method::{Group, Method};
use sluice_core::plan::Positions;
use sluice_core::worker::{View, ViewData};

use super::Panel;
use crate::command::Command;
use crate::state::{PanelChoice, PanelInfo, State};
use crate::widgets::head::Head;
use crate::widgets::pickers::side_picker;
use crate::widgets::{figure, head, states};
use sluice_core::plan::edits::{ExpertChange, expert_rule};

/// What is shown of a block, and what a click does.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Choice {
    /// The block.
    pub layer: usize,
    /// What is shown of it.
    pub show: ExpertShow,
    /// What a click does.
    pub change: ExpertChange,
    /// For every token, else for the one that is clicked.
    pub everywhere: bool,
}

impl PanelChoice for Choice {
    const PANEL: &'static str = "experts-view";
}

/// The panel.
pub struct Experts;

impl Panel for Experts {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: "experts-view",
            name: "Choose experts",
            tag: "REAP",
            hint: "whom tokens go through, in models with experts",
            group: Group::Change,
            open: false,
        }
    }

    fn view(&self, state: &State) -> Option<View> {
        let Choice { layer, show, .. } = state.choices.of();
        // Nothing to ask of a block without experts.
        state.card.as_ref()?.spec.layers.get(layer)?.experts?;
        Some(ExpertsViewAsk { layer, side: state.choices.side, show }.into())
    }

    fn shows(&self) -> Option<&'static Method> {
        Some(&EXPERTS_VIEW)
    }

    fn unavailable(&self, state: &State) -> Option<&'static str> {
        EXPERTS_VIEW.unavailable(&state.card.as_ref()?.spec)
    }

    fn pose(&self, state: &State) -> Vec<Command> {
        // The first one knocked out for every token, where there are experts.
        let block =
            state.card.as_ref().and_then(|card| card.spec.layers.iter().position(|l| l.experts.is_some()));
        let out = block.map(|layer| Command::Choose(layer, Positions::All, 0, ExpertChange::KnockOut));
        [Command::Clear, Command::Show(self.info().id)].into_iter().chain(out).collect()
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// Draw a block's experts and the controls that change their choice.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let Some(spec) = state.card.as_ref().map(|card| std::sync::Arc::clone(&card.spec)) else { return };
    let blocks: Vec<usize> =
        (0..spec.n_layers()).filter(|&l| spec.layers.get(l).is_some_and(|l| l.experts.is_some())).collect();
    let Some(first) = blocks.first().copied() else {
        return states::empty(
            ui,
            "This checkpoint has no experts.",
            "Open a Mixtral, Qwen-MoE, OLMoE, dots1 or gpt-oss checkpoint to see whom its routers choose.",
        );
    };
    let mut choice: Choice = state.choices.of();
    if !blocks.contains(&choice.layer) {
        choice.layer = first;
    }
    let view = Experts.view(state);
    let figure = view.as_ref().and_then(|view| state.figure(view));
    head::head(ui, Head::of(&EXPERTS_VIEW, "experts-view", figure.as_ref()), commands, |ui, _| {
        for &show in ExpertShow::ALL.iter().rev() {
            ui.selectable_value(&mut choice.show, show, show.phrase());
        }
    });
    head::parameters(ui, "experts", 4, |ui, index| match index {
        0 => layer(ui, &blocks, &mut choice),
        1 => side_picker(ui, &mut state.choices.side),
        2 => clicks(ui, &mut choice),
        _ => per_token(ui, state, choice.layer, commands),
    });
    state.choices.set(choice);
    let Some(figure) = figure else { return states::pending(ui, state, "Experts") };
    let outcome = outcome(state);
    let Some(cell) = figure::show(ui, &figure, None, &outcome, commands).clicked else { return };
    match choice.show {
        ExpertShow::Blocks => {
            let layer = blocks.get(cell.row).copied().unwrap_or(first);
            state.choices.set(Choice { layer, show: ExpertShow::Gates, ..choice });
        }
        ExpertShow::Load | ExpertShow::Coactivation => {}
        ExpertShow::Gates | ExpertShow::Logits | ExpertShow::Norms => {
            if view.as_ref().is_some_and(|view| state.is_exact(view)) {
                let positions =
                    if choice.everywhere { Positions::All } else { Positions::At(vec![cell.col]) };
                commands.push(Command::Choose(choice.layer, positions, cell.row, choice.change));
            }
        }
    }
}

/// A block among those that have experts.
fn layer(ui: &mut Ui, blocks: &[usize], choice: &mut Choice) {
    let label = ui.label("Layer");
    let mut index = blocks.iter().position(|&layer| layer == choice.layer).unwrap_or(0);
    let shown = blocks.to_vec();
    let picker = DragValue::new(&mut index).range(0..=blocks.len().saturating_sub(1)).speed(0.05);
    let picker = picker.custom_formatter(move |index, _| {
        shown.get(index as usize).map_or_else(String::new, usize::to_string)
    });
    let typed = blocks.to_vec();
    let picker = picker.custom_parser(move |text| {
        let layer: usize = text.trim().parse().ok()?;
        typed.iter().position(|&known| known == layer).map(|index| index as f64)
    });
    ui.add(picker).labelled_by(label.id);
    choice.layer = blocks.get(index).copied().unwrap_or(choice.layer);
}

/// What a click on an expert does.
fn clicks(ui: &mut Ui, choice: &mut Choice) {
    ui.label("A click");
    for change in ExpertChange::ALL {
        ui.selectable_value(&mut choice.change, change, change.name());
    }
    ui.checkbox(&mut choice.everywhere, "for every token")
        .on_hover_text("else for the token that is clicked");
}

fn per_token(ui: &mut Ui, state: &State, layer: usize, commands: &mut Vec<Command>) {
    let experts = state.card.as_ref().and_then(|card| card.spec.layers.get(layer)?.experts);
    let Some(experts) = experts else { return };
    let label = ui.label("Experts a token");
    let rule = expert_rule(state.history.plan(), layer, &Positions::All);
    let now = rule.and_then(|rule| rule.k).unwrap_or(experts.top_k);
    let mut k = now;
    let picker = ui.add(DragValue::new(&mut k).range(1..=experts.count).speed(0.05)).labelled_by(label.id);
    if picker.changed() && k != now {
        commands.push(Command::ExpertsPerToken(layer, (k != experts.top_k).then_some(k)));
    }
    if ui.add_enabled(now != experts.top_k, Button::new("As trained").small()).clicked() {
        commands.push(Command::ExpertsPerToken(layer, None));
    }
}

/// What follows the token of the table at the right, without and with the plan.
fn outcome(state: &State) -> String {
    let Some(ViewData::Next(next)) = state.data(&state.next_view()) else { return String::new() };
    let top = |side: fn(&NextRow) -> f32| {
        let best = next.rows.iter().max_by(|a, b| side(a).total_cmp(&side(b)));
        best.map_or_else(String::new, |row| format!("{} {:.1} %", row.token.text, 100.0 * side(row)))
    };
    format!("{} → {}, KL {:.4} nats", top(|row| row.base), top(|row| row.plan), next.kl)
}

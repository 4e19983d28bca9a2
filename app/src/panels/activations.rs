//! FFN activations, neuron x token; click a row to look into its neuron.

use eframe::egui::{ComboBox, Ui};
use serde::{Deserialize, Serialize};
use sluice_core::method::view::{ACTIVATIONS, ActivationsAsk, FfnSite};
use sluice_core::method::{Group, Method};
use sluice_core::plan::{Change, Positions, Threshold};
use sluice_core::worker::{View, ViewData};

use super::Panel;
use crate::command::Command;
use crate::state::{PanelChoice, PanelInfo, State};
use crate::theme;
use crate::widgets::head::Head;
use crate::widgets::pickers::{layer_picker, side_picker};
use crate::widgets::{Cell, figure, head, states};

/// Numbers of rows on offer; none = every neuron.
const ROWS: [(Option<usize>, &str); 4] =
    [(Some(32), "32 rows"), (Some(64), "64 rows"), (Some(256), "256 rows"), (None, "all neurons")];

/// What is shown of a layer's FFN.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// The site.
    pub hook: FfnSite,
    /// Order neurons by magnitude.
    pub sort: bool,
    /// Neurons shown; none = all.
    pub rows: Option<usize>,
}

impl PanelChoice for Choice {
    const PANEL: &'static str = "activations";
}

impl Default for Choice {
    fn default() -> Self {
        Self { hook: FfnSite::Post, sort: true, rows: Some(64) }
    }
}

/// The panel.
pub struct Activations;

impl Panel for Activations {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: "activations",
            name: "Activations",
            tag: "",
            hint: "FFN neurons along the prompt",
            group: Group::Look,
            open: false,
        }
    }

    fn view(&self, state: &State) -> Option<View> {
        let (layer, side) = (state.choices.layer, state.choices.side);
        let Choice { hook, sort, rows: top } = state.choices.of();
        // Experts have no row of neurons.
        state.card.as_ref()?.spec.layers.get(layer).filter(|layer| layer.experts.is_none())?;
        Some(ActivationsAsk { layer, hook, side, sort, top }.into())
    }

    fn shows(&self) -> Option<&'static Method> {
        Some(&ACTIVATIONS)
    }

    fn pose(&self, _: &State) -> Vec<Command> {
        vec![Command::Clear, Command::Show(self.info().id), Command::Inspect(Some((0, 3)))]
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// Draw the map.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let layers = state.layers();
    let gated = state
        .card
        .as_ref()
        .and_then(|card| card.spec.layers.get(state.choices.layer))
        .is_some_and(|layer| layer.ffn.gated);
    let mut choice: Choice = state.choices.of();
    let view = Activations.view(state);
    let figure = view.as_ref().and_then(|view| state.figure(view));
    let choices = &mut state.choices;
    head::head(ui, Head::of(&ACTIVATIONS, "activations", figure.as_ref()), commands, |ui, commands| {
        let add = ui.add(theme::filled(ui.ctx(), "Threshold this FFN"));
        if add.on_hover_text("adds a threshold to the plan, set by its slider").clicked() {
            let threshold = Threshold { layer: Some(choices.layer), value: 0.1, positions: Positions::All };
            commands.push(Command::Add(Box::new(Change::Threshold(threshold).into())));
        }
    });
    head::parameters(ui, "activations", 5, |ui, index| match index {
        0 => layer_picker(ui, "Layer", &mut choices.layer, layers),
        1 => {
            let label = ui.label("Site");
            let shown = choice.hook.name();
            let combo = ComboBox::from_id_salt("ffn-site").selected_text(shown).show_ui(ui, |ui| {
                for site in FfnSite::ALL.iter().filter(|site| gated || site.is_ungated()) {
                    ui.selectable_value(&mut choice.hook, *site, site.name());
                }
            });
            combo.response.labelled_by(label.id);
        }
        2 => side_picker(ui, &mut choices.side),
        3 => drop(ui.checkbox(&mut choice.sort, "largest first")),
        _ => {
            let label = ui.label("Show");
            let chosen = ROWS.iter().find(|(rows, _)| *rows == choice.rows).map_or("", |(_, name)| name);
            let combo = ComboBox::from_id_salt("rows").selected_text(chosen).show_ui(ui, |ui| {
                for (rows, name) in ROWS {
                    ui.selectable_value(&mut choice.rows, rows, name);
                }
            });
            combo.response.labelled_by(label.id);
        }
    });
    choices.set(choice);
    if view.is_none() {
        return states::empty(
            ui,
            "The FFN of this layer is made of experts.",
            "The Experts panel shows whom its tokens go through; other layers may have neurons.",
        );
    }
    let Some(ViewData::Activations(found)) = view.as_ref().and_then(|view| state.data(view)) else {
        return states::pending(ui, state, "Activations");
    };
    let layer = state.choices.layer;
    let row_of = |neuron: usize| found.neurons.iter().position(|&known| known as usize == neuron);
    let selected = state.choices.neuron.filter(|(of, _)| *of == layer).and_then(|(_, neuron)| row_of(neuron));
    let clicked =
        figure::chosen(ui.ctx()).filter(|(id, _)| id == found.figure.id.0).map(|(_, cell)| cell.col);
    let position = clicked.or(state.choices.position);
    let position = position.unwrap_or(state.results.tokens.len().saturating_sub(1));
    let selected = selected.map(|row| Cell { row, col: position });
    let exact = view.as_ref().is_some_and(|view| state.is_exact(view));
    if let Some(cell) = figure::show(ui, &found.figure, selected, "", commands).clicked.filter(|_| exact)
        && let Some(&neuron) = found.neurons.get(cell.row)
    {
        commands.push(Command::Inspect(Some((layer, neuron as usize))));
    }
}

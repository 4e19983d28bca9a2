//! Routing map: paint tokens into lanes, layer by layer, or let a learned router choose.

use eframe::egui::{Button, ComboBox, DragValue, Ui};
use serde::{Deserialize, Serialize};
use sluice_core::method::oracle::ORACLE;
use sluice_core::method::router::{ROUTER, RouterFound};
use sluice_core::method::view::{ROUTING_MAP, RoutingAsk};
use sluice_core::method::{Group, Method};
use sluice_core::plan::{Change, Lane, Router};
use sluice_core::worker::{View, ViewData};

use super::Panel;
use crate::command::Command;
use crate::state::{PanelChoice, PanelInfo, State};
use crate::theme;
use crate::widgets::head::Head;
use crate::widgets::{figure, head, states};
use sluice_core::plan::edits::Preset;

/// What a touch of the brush paints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Brush {
    /// The cell.
    #[default]
    Cell,
    /// Its whole layer.
    Layer,
    /// Its whole token.
    Token,
}

impl Brush {
    /// In the order shown.
    pub const ALL: [Self; 3] = [Self::Cell, Self::Layer, Self::Token];

    /// Button text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cell => "cells",
            Self::Layer => "layers",
            Self::Token => "tokens",
        }
    }
}

/// The brush, and the numbers of presets.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// Lane that the brush paints.
    pub lane: Lane,
    /// What a touch of it paints.
    pub brush: Brush,
    /// Percent of big cells of the random preset.
    pub chance: u8,
    /// Big layers of the presets with a budget.
    pub big: usize,
}

impl PanelChoice for Choice {
    const PANEL: &'static str = "routing";
}

impl Default for Choice {
    fn default() -> Self {
        Self { lane: Lane::Small, brush: Brush::Cell, chance: 50, big: 4 }
    }
}

/// The panel.
pub struct Routing;

impl Panel for Routing {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: "routing",
            name: "Routing",
            tag: "Duo-LLM",
            hint: "which token goes through which FFN",
            group: Group::Change,
            open: true,
        }
    }

    fn view(&self, _: &State) -> Option<View> {
        Some(RoutingAsk {}.into())
    }

    fn shows(&self) -> Option<&'static Method> {
        Some(&ROUTING_MAP)
    }

    fn pose(&self, _: &State) -> Vec<Command> {
        vec![Command::Clear, Command::Show(self.info().id), Command::Fill(Preset::Coin)]
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// Draw the map and its brush.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let mut choice: Choice = state.choices.of();
    // No small FFN stands beside experts.
    let experts = state.card.as_ref().is_some_and(|card| card.spec.has_experts());
    if experts && choice.lane == Lane::Small {
        choice.lane = Lane::SkipFfn;
    }
    let figure = state.figure(&RoutingAsk {}.into());
    head::head(ui, Head::of(&ROUTING_MAP, "routing", figure.as_ref()), commands, |ui, commands| {
        if ui.add(theme::filled(ui.ctx(), "Find best routes")).on_hover_text(ORACLE.title).clicked() {
            commands.push(Command::Show(ORACLE.id));
        }
    });
    let layers = state.layers();
    head::parameters(ui, "routing", 4, |ui, index| match index {
        0 => {
            ui.label("Brush");
            for lane in Lane::ALL.into_iter().filter(|lane| !experts || *lane != Lane::Small) {
                ui.selectable_value(&mut choice.lane, lane, lane.name());
            }
        }
        1 => {
            let label = ui.label("paints");
            let brush = &mut choice.brush;
            let combo = ComboBox::from_id_salt("brush").width(60.0).selected_text(brush.name());
            let combo = combo.show_ui(ui, |ui| {
                for shape in Brush::ALL {
                    ui.selectable_value(brush, shape, shape.name());
                }
            });
            combo.response.labelled_by(label.id);
        }
        2 => fill(ui, &mut choice, experts, layers, commands),
        _ => router(ui, state, commands),
    });
    state.choices.set(choice);
    painted(ui, state, commands);
}

/// Presets of the whole map.
fn fill(ui: &mut Ui, choice: &mut Choice, experts: bool, layers: usize, commands: &mut Vec<Command>) {
    head::menu(Button::new("Fill")).ui(ui, |ui| {
        let mut offer = |ui: &mut Ui, preset: Preset| {
            if ui.button(preset.name()).on_hover_text(hint(preset)).clicked() {
                commands.push(Command::Fill(preset));
                ui.close();
            }
        };
        if experts {
            return offer(ui, Preset::AllBig);
        }
        for preset in Preset::ALL {
            offer(ui, preset);
        }
        ui.separator();
        let big = &mut choice.big;
        *big = (*big).min(layers);
        ui.add(DragValue::new(big).range(0..=layers).suffix(" big layers"));
        for preset in [Preset::Exactly(*big), Preset::Ramp(*big)] {
            offer(ui, preset);
        }
        ui.separator();
        ui.add(DragValue::new(&mut choice.chance).range(0..=100).suffix(" % big cells"));
        offer(ui, Preset::Chance(choice.chance));
    });
}

/// Choose a learned router for the plan; what else chooses routes.
fn router(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let label = ui.label("Router");
    let now = state.history.plan().items.iter().find_map(|item| match &item.change {
        Change::Router(router) if item.on => Some(router.clone()),
        _ => None,
    });
    let title = |router: &Router| match &router.file {
        Some(_) => format!("{} (trained here)", router.name),
        None => router.name.clone(),
    };
    let text = now.as_ref().map_or_else(|| "none".to_owned(), title);
    let mut offered: Vec<Router> = Vec::new();
    if let Some(card) = &state.card {
        let own = card.spec.routers.iter().map(|router| Router { name: router.name.clone(), file: None });
        offered.extend(own);
    }
    let trained = state.studies.findings(ROUTER.id).filter(|findings| findings.done);
    offered.extend(trained.and_then(|findings| Some(findings.value::<RouterFound>()?.router.clone())));
    offered.extend(now.clone().filter(|now| !offered.contains(now)));
    let combo = ComboBox::from_id_salt("router").selected_text(text).show_ui(ui, |ui| {
        if ui.selectable_label(now.is_none(), "none").clicked() {
            commands.push(Command::RouteBy(None));
        }
        for router in offered {
            if ui.selectable_label(now.as_ref() == Some(&router), title(&router)).clicked() {
                commands.push(Command::RouteBy(Some(Box::new(router))));
            }
        }
    });
    combo
        .response
        .labelled_by(label.id)
        .on_hover_text("sends every token, generated ones too, where it finds best");
}

fn hint(preset: Preset) -> &'static str {
    match preset {
        Preset::Ramp(_) => {
            "the budget falls along the prompt from one and a half times as many to half as many"
        }
        Preset::Chance(_) => "each cell big with this chance, drawn with a seed; the others small",
        Preset::Exactly(_) => "so many big layers for every token, drawn with a seed; the others small",
        _ => "the whole map at once",
    }
}

fn painted(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(ViewData::Routing(found)) = state.data(&RoutingAsk {}.into()) else {
        return states::pending(ui, state, "Routing map");
    };
    let figure = &found.figure;
    let work = format!("FFN work {:.1} %", 100.0 * found.ffn_flops);
    let (choice, tokens): (Choice, _) = (state.choices.of(), state.results.tokens.len());
    // While the map of a new prompt is on its way, strokes would meet the columns of the old one.
    let current = figure.shape().1 == tokens + 1;
    for cell in figure::show(ui, figure, None, &work, commands).stroke.into_iter().filter(|_| current) {
        let (rows, cols) = match choice.brush {
            Brush::Cell => (cell.row..cell.row + 1, cell.col..cell.col + 1),
            Brush::Layer => (cell.row..cell.row + 1, 0..tokens + 1),
            Brush::Token => (0..state.layers(), cell.col..cell.col + 1),
        };
        for (row, col) in rows.flat_map(|row| cols.clone().map(move |col| (row, col))) {
            // The last column stands for everything past the prompt.
            let position = (col < tokens).then_some(col);
            if state.lane(row, position) != choice.lane {
                commands.push(Command::Paint(row, position, choice.lane));
            }
        }
    }
}

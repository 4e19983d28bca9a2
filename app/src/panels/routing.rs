//! Routing map: paint tokens into lanes, layer by layer; and the oracle, which tries every route.

use std::sync::Arc;

use eframe::egui::{Button, ComboBox, DragValue, Ui};
use sluice_core::figure::{Figure, Plot};
use sluice_core::plan::{Change, Lane, Plan};
use sluice_core::worker::{RouteFindings, RouteStudy, Slot, View, ViewData};

use crate::command::Command;
use crate::state::State;
use crate::state::edits::Preset;
use crate::state::{Cheap, OracleChoice};
use crate::widgets::{figure, states};

/// The oracle as the panel asks for it; none where the prompt has no token to foresee.
pub fn request(state: &State) -> Option<RouteStudy> {
    let OracleChoice { cheap, budget, .. } = state.choices.oracle;
    Some(RouteStudy {
        prompt: state.request_prompt().ok().filter(|_| state.results.tokens.len() > 1)?,
        plan: plan(state),
        lanes: cheap.lanes(),
        budget: budget.filter(|&budget| budget <= state.layers()),
    })
}

/// The plan that routes are tried under: without its own.
fn plan(state: &State) -> Plan {
    let mut plan = state.history.plan().clone();
    plan.items.retain(|item| !matches!(item.change, Change::Route(_)));
    plan
}

/// Draw the map and its brush, or what the oracle found.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        ui.label("Brush");
        for lane in Lane::ALL {
            ui.selectable_value(&mut state.choices.lane, lane, lane.name());
        }
        ui.separator();
        ui.label("Fill");
        for preset in Preset::ALL {
            if ui.button(preset.name()).clicked() {
                commands.push(Command::Fill(preset));
            }
        }
        let layers = state.layers();
        let big = &mut state.choices.big;
        *big = (*big).min(layers);
        for preset in [Preset::Exactly(*big), Preset::Ramp(*big)] {
            if ui.button(preset.name()).on_hover_text(hint(preset)).clicked() {
                commands.push(Command::Fill(preset));
            }
        }
        ui.add(DragValue::new(big).range(0..=layers).suffix(" big"));
    });
    ui.horizontal_wrapped(|ui| controls(ui, state, commands));
    let findings = state.results.routes.clone();
    if let Some(findings) = &findings {
        ui.horizontal_wrapped(|ui| {
            let shown = &mut state.choices.oracle.shown;
            ui.selectable_value(shown, None, "Plan");
            for (index, figure) in findings.figures.iter().enumerate() {
                ui.selectable_value(shown, Some(index), tab(figure));
            }
        });
    }
    let shown = state.choices.oracle.shown.and_then(|index| findings.as_ref()?.figures.get(index).cloned());
    match (shown, findings) {
        (Some(shown), Some(findings)) => found(ui, state, &findings, &shown, commands),
        _ if state.choices.oracle.shown.is_some() && state.results.routing => states::loading(ui, "Routes"),
        _ => painted(ui, state, commands),
    }
}

fn controls(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let layers = state.layers();
    let label = ui.label("Oracle");
    let choice = &mut state.choices.oracle;
    let lanes = ComboBox::from_id_salt("oracle-lanes").selected_text(choice.cheap.name()).show_ui(ui, |ui| {
        for cheap in Cheap::ALL {
            ui.selectable_value(&mut choice.cheap, cheap, cheap.name());
        }
    });
    lanes.response.labelled_by(label.id);
    let label = ui.label("Budget");
    let name = |budget: Option<usize>| match budget {
        Some(budget) => format!("{budget} of {layers} big"),
        None => "any budget".into(),
    };
    let budgets =
        ComboBox::from_id_salt("oracle-budget").selected_text(name(choice.budget)).show_ui(ui, |ui| {
            for budget in std::iter::once(None).chain((0..=layers).map(Some)) {
                ui.selectable_value(&mut choice.budget, budget, name(budget));
            }
        });
    budgets.response.labelled_by(label.id);
    let ready = state.results.tokens.len() > 1;
    if ui.add_enabled(ready, Button::new("Run oracle")).clicked() {
        commands.push(Command::Oracle(request(state).map(Box::new)));
    }
    let running = state.results.routing || state.is_studying(RouteStudy::JOB);
    if running && ui.button("Cancel oracle").clicked() {
        commands.push(Command::Cancel(Slot::Study));
    }
    if let Some((Slot::Study, failure)) = state.results.failure.as_ref().filter(|_| !running) {
        ui.colored_label(
            crate::theme::warning(ui.ctx()),
            format!("{}; {}", failure.cause, failure.next_step),
        );
    }
}

fn hint(preset: Preset) -> &'static str {
    match preset {
        Preset::Ramp(_) => {
            "the budget falls along the prompt from one and a half times as many to half as many"
        }
        _ => "so many big layers for every token, drawn with a seed; the others small",
    }
}

/// A figure in the row of choices.
fn tab(figure: &Figure) -> &str {
    match figure.detail.as_str() {
        "map" => "Oracle",
        "difficulty" => "Difficulty",
        "budgets" => "Budgets",
        "controls" => "Controls",
        "best-of" => "Best of K",
        _ => &figure.title,
    }
}

fn found(
    ui: &mut Ui,
    state: &State,
    findings: &RouteFindings,
    shown: &Arc<Figure>,
    commands: &mut Vec<Command>,
) {
    let current = state.request_prompt().is_ok_and(|prompt| prompt == findings.ask.prompt);
    if !current || plan(state) != findings.ask.plan {
        let what = if current { "plan" } else { "prompt" };
        ui.colored_label(
            crate::theme::warning(ui.ctx()),
            format!("of an earlier {what}: run the oracle again"),
        );
    }
    figure::head(ui, shown, commands);
    match &shown.plot {
        Plot::Lines(_) => figure::lines(ui, shown),
        _ => {
            if shown.detail == "map" {
                into_plan(ui, current && findings.done, findings, commands);
            }
            figure::map(ui, shown, None);
        }
    }
}

/// Every token takes its own best route.
fn into_plan(ui: &mut Ui, ready: bool, findings: &RouteFindings, commands: &mut Vec<Command>) {
    let paint = ui.add_enabled(ready, Button::new("Routes into the plan"));
    let hint = "every token takes its own best route at once: not what each was scored under";
    if paint.on_hover_text(hint).clicked() {
        commands.push(Command::Reroute(Box::new(findings.route.clone())));
    }
}

fn painted(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(ViewData::Figure(figure)) = state.data(&View::Routing) else {
        return states::pending(ui, state, "Routing map");
    };
    figure::head(ui, figure, commands);
    let (Plot::Map(map), tokens) = (&figure.plot, state.results.tokens.len()) else { return };
    // While the map of a new prompt is on its way, strokes would meet the columns of the old one.
    let current = map.cols.labels.len() == tokens + 1;
    for cell in figure::map(ui, figure, None).stroke.into_iter().filter(|_| current) {
        // The last column stands for everything past the prompt.
        let position = (cell.col < tokens).then_some(cell.col);
        if state.lane(cell.row, position) != state.choices.lane {
            commands.push(Command::Paint(cell.row, position, state.choices.lane));
        }
    }
}

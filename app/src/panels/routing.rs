//! Routing map: paint tokens into lanes, layer by layer; and the oracle, which tries every route.

use std::sync::Arc;

use eframe::egui::{Button, ComboBox, DragValue, Ui};
use sluice_core::figure::{Figure, Plot};
use sluice_core::plan::{Change, Lane, Plan, Route};
use sluice_core::study::MOST_PATTERNS;
use sluice_core::worker::{RouteFindings, RouteStudy, Search, Slot, View, ViewData};

use crate::command::Command;
use crate::state::State;
use crate::state::edits::Preset;
use crate::state::{Brush, Cheap, OracleChoice};
use crate::widgets::{figure, states};

/// The oracle as the panel asks for it; none where the prompt has no token to foresee.
pub fn request(state: &State) -> Option<RouteStudy> {
    let OracleChoice { cheap, budget, search, .. } = state.choices.oracle;
    Some(RouteStudy {
        prompt: state.request_prompt().ok().filter(|_| state.results.tokens.len() > 1)?,
        plan: plan(state),
        lanes: cheap.lanes(),
        budget: budget.filter(|&budget| budget <= state.layers() && search != Search::Beam),
        search,
    })
}

/// The plan that routes are tried under: without its own.
fn plan(state: &State) -> Plan {
    let mut plan = state.history.plan().clone();
    let surrogate = plan.surrogate();
    plan.items.retain(|item| !matches!(item.change, Change::Route(_) | Change::Router(_)));
    if !surrogate.is_default() {
        // A map that routes nothing still says what small stands for.
        plan.items.push(Change::Route(Route { layers: Vec::new(), surrogate }).into());
    }
    plan
}

/// Draw the map and its brush, or what the oracle found.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        ui.label("Brush");
        // No small FFN stands beside experts.
        let experts = state.card.as_ref().is_some_and(|card| card.spec.has_experts());
        if experts && state.choices.lane == Lane::Small {
            state.choices.lane = Lane::SkipFfn;
        }
        for lane in Lane::ALL.into_iter().filter(|lane| !experts || *lane != Lane::Small) {
            ui.selectable_value(&mut state.choices.lane, lane, lane.name());
        }
        let label = ui.label("paints");
        let brush = &mut state.choices.brush;
        let combo =
            ComboBox::from_id_salt("brush").width(60.0).selected_text(brush.name()).show_ui(ui, |ui| {
                for shape in Brush::ALL {
                    ui.selectable_value(brush, shape, shape.name());
                }
            });
        combo.response.labelled_by(label.id);
        ui.separator();
        ui.label("Fill");
        if experts {
            if ui.button(Preset::AllBig.name()).clicked() {
                commands.push(Command::Fill(Preset::AllBig));
            }
            return;
        }
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
        let random = Preset::Chance(state.choices.chance);
        if ui.button(random.name()).on_hover_text(hint(random)).clicked() {
            commands.push(Command::Fill(random));
        }
        ui.add(DragValue::new(&mut state.choices.chance).range(0..=100).suffix(" % big"));
    });
    super::router::ui(ui, state, commands);
    ui.horizontal_wrapped(|ui| controls(ui, state, commands));
    let findings = state.results.routes.clone();
    let trained = state.results.router.clone();
    if findings.is_some() || trained.is_some() {
        ui.horizontal_wrapped(|ui| {
            let (shown, router) = (&mut state.choices.oracle.shown, &mut state.choices.router.shown);
            let mut choose = |index: Option<usize>, name: &str, of_router: bool| {
                let on = *router == of_router && (of_router || *shown == index);
                if ui.selectable_label(on, name).clicked() {
                    (*shown, *router) = (index, of_router);
                }
            };
            choose(None, "Plan", false);
            for (index, figure) in findings.iter().flat_map(|findings| findings.figures.iter().enumerate()) {
                choose(Some(index), tab(figure), false);
            }
            if trained.is_some() {
                choose(None, "Router", true);
            }
        });
    }
    if let Some(figure) = super::router::figure(state) {
        figure::head(ui, &figure, commands);
        return figure::lines(ui, &figure);
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
    let experts = state.card.as_ref().is_some_and(|card| card.spec.has_experts());
    let choice = &mut state.choices.oracle;
    if experts {
        // No small FFN stands beside experts.
        choice.cheap = Cheap::Skip;
    }
    let lanes = ComboBox::from_id_salt("oracle-lanes").selected_text(choice.cheap.name()).show_ui(ui, |ui| {
        for cheap in Cheap::ALL.into_iter().filter(|cheap| !experts || *cheap == Cheap::Skip) {
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
    let label = ui.label("Search");
    let searches =
        ComboBox::from_id_salt("oracle-search").selected_text(choice.search.name()).show_ui(ui, |ui| {
            for search in Search::ALL {
                ui.selectable_value(&mut choice.search, search, search.name());
            }
        });
    searches.response.labelled_by(label.id).on_hover_text(
        "every route, with the whole sequence on the scored one; or each token keeps the route it took; or, for deep models, a \
         beam that changes good routes in one layer at a time",
    );
    if let Some(size) = size(state) {
        ui.label(size);
    }
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

/// How many routes an oracle would go through, and how long at the pace of the last computation.
fn size(state: &State) -> Option<String> {
    let choice = state.choices.oracle;
    let (lanes, layers) = (choice.cheap.lanes().len() as f64, state.layers() as f64);
    let routes = match choice.search {
        Search::Beam => return Some("up to 4096 routes".into()),
        _ => lanes.powf(layers),
    };
    if routes > MOST_PATTERNS as f64 {
        return Some(format!("{routes:.1e} routes are too many: search with a beam"));
    }
    // As a tree, the routes cost as much as so many passes through all layers; logits come with every route.
    let card = state.card.as_ref()?;
    let passes = (lanes / (lanes - 1.0)) * routes / layers.max(1.0);
    let unembedding = (card.spec.vocab * card.spec.d_model) as f64 * routes;
    let cost = passes * card.parameters as f64 + unembedding;
    let done = state.results.recomputed.filter(|done| done.share > 0.2)?;
    let pace = f64::from(done.share) * card.parameters as f64 / f64::from(done.millis).max(0.1);
    Some(format!("{routes:.0} routes, up to {:.1} s", cost / pace / 1000.0))
}

fn hint(preset: Preset) -> &'static str {
    match preset {
        Preset::Ramp(_) => {
            "the budget falls along the prompt from one and a half times as many to half as many"
        }
        Preset::Chance(_) => "each cell big with this chance, drawn with a seed; the others small",
        _ => "so many big layers for every token, drawn with a seed; the others small",
    }
}

/// A figure in the row of choices.
fn tab(figure: &Figure) -> &str {
    match figure.detail.as_str() {
        "map" => "Oracle",
        "difficulty" => "Difficulty",
        "along" => "Along",
        "choice" => "Choice",
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
        let (rows, cols) = match state.choices.brush {
            Brush::Cell => (cell.row..cell.row + 1, cell.col..cell.col + 1),
            Brush::Layer => (cell.row..cell.row + 1, 0..tokens + 1),
            Brush::Token => (0..state.layers(), cell.col..cell.col + 1),
        };
        for (row, col) in rows.flat_map(|row| cols.clone().map(move |col| (row, col))) {
            // The last column stands for everything past the prompt.
            let position = (col < tokens).then_some(col);
            if state.lane(row, position) != state.choices.lane {
                commands.push(Command::Paint(row, position, state.choices.lane));
            }
        }
    }
}

//! Learned routers of the routing panel: route by one, or train one on the open checkpoint.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{Button, ComboBox, DragValue, Slider, Ui};
use sluice_core::figure::Figure;
use sluice_core::plan::{Change, Router};
use sluice_core::worker::{RouterStudy, Slot};

use crate::command::Command;
use crate::errands::Dialog;
use crate::state::State;

/// Tokens of a step.
const LENGTH: usize = 128;

/// The training as the panel asks for it; none where the budgets are those of no router.
pub fn request(state: &State) -> Option<RouterStudy> {
    let choice = &state.choices.router;
    let [big, small] = choice.percent;
    let skip = 100u8.checked_sub(big)?.checked_sub(small)?;
    let ask = RouterStudy {
        text: choice.text.clone(),
        percent: [big, small, skip],
        steps: choice.steps,
        length: state.card.as_ref().map_or(LENGTH, |card| LENGTH.min(card.spec.context)),
        surrogate: state.history.plan().surrogate(),
        folder: beside(state),
        file: None,
    };
    ask.lanes().is_ok().then_some(ask)
}

/// A folder in the open checkpoint's; of the one that ships with Sluice, among the exports.
fn beside(state: &State) -> PathBuf {
    let own = state.card.as_ref().and_then(|card| card.folder.as_ref());
    own.unwrap_or(&state.settings.export_folder).join("routers")
}

/// The curve of the newest training, where it is to be shown.
pub fn figure(state: &State) -> Option<Arc<Figure>> {
    let findings = state.results.router.as_ref().filter(|_| state.choices.router.shown)?;
    Some(Arc::clone(&findings.figure))
}

/// Choose a router for the plan, and open the controls of training.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        let label = ui.label("Learned router");
        let now = current(state).cloned();
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
        let trained = state.results.router.as_ref().filter(|findings| findings.done);
        offered.extend(trained.map(|findings| findings.router.clone()));
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
        ui.toggle_value(&mut state.choices.router.open, "Train a router…");
    });
    if state.choices.router.open {
        ui.horizontal_wrapped(|ui| training(ui, state, commands));
    }
}

fn training(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let experts = state.card.as_ref().is_some_and(|card| card.spec.has_experts());
    let choice = &mut state.choices.router;
    ui.spacing_mut().slider_width = 90.0;
    let [big, small] = &mut choice.percent;
    if experts {
        // No small FFN stands beside experts.
        *small = 0;
    }
    ui.add(Slider::new(big, 0..=100).suffix(" % big"));
    *small = (*small).min(100 - *big);
    if !experts {
        ui.add(Slider::new(small, 0..=100 - *big).suffix(" % small"));
    }
    ui.label(format!("{} % skip", 100 - *big - *small));
    let label = ui.label("Steps");
    ui.add(DragValue::new(&mut choice.steps).range(1..=100_000)).labelled_by(label.id);
    let text = choice
        .text
        .as_ref()
        .and_then(|path| path.file_name())
        .map(|name| name.to_string_lossy().into_owned());
    let text = text.unwrap_or_else(|| "the checkpoint's own text".into());
    if ui.button(text).on_hover_text("choose a text file to train on").clicked() {
        commands.push(Command::Ask(Dialog::RouterText));
    }
    let asked = request(state);
    if ui.add_enabled(asked.is_some(), Button::new("Train")).clicked() {
        commands.push(Command::TrainRouter(asked.map(Box::new)));
    }
    if state.is_studying(RouterStudy::JOB) && ui.button("Cancel training").clicked() {
        commands.push(Command::Cancel(Slot::Study));
    }
}

/// The router of the plan.
fn current(state: &State) -> Option<&Router> {
    state.history.plan().items.iter().find_map(|item| match &item.change {
        Change::Router(router) if item.on => Some(router),
        _ => None,
    })
}

//! Causal trace: corrupt tokens, restore one component at a time, see what brings the answer back. Corruption and
//! restoration go into the plan on request.

use eframe::egui::{Align2, Button, DragValue, Slider, TextEdit, Ui};
use sluice_core::plan::{Change, Corrupt, Noise, Patch, Positions, Source, Target};
use sluice_core::site::{Hook, Site};
use sluice_core::worker::{Answer, Component, Slot, Trace, TraceFindings, ViewData};

use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

const COMPONENTS: [(Component, &str); 3] =
    [(Component::Residual, "residual"), (Component::Attention, "attention"), (Component::Ffn, "FFN")];

/// The trace as the panel says; `None` where no token is marked or the prompt is no prompt.
pub fn request(state: &State) -> Option<Trace> {
    let choices = &state.choices;
    if choices.corrupt.is_empty() {
        return None;
    }
    Some(Trace {
        prompt: state.request_prompt().ok()?,
        plan: state.history.plan().clone(),
        answer: choices.answer.clone(),
        corrupt: choices.corrupt.clone(),
        sigma: choices.sigma,
        seed: choices.seed,
        component: choices.component,
    })
}

/// Draw the controls and the grid.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.weak("click tokens of the strip above to mark what is corrupted, then run the trace");
    ui.horizontal_wrapped(|ui| {
        answer_box(ui, state, commands);
        ui.label("restore");
        for (component, name) in COMPONENTS {
            ui.selectable_value(&mut state.choices.component, component, name);
        }
        ui.add(Slider::new(&mut state.choices.sigma, 0.0..=10.0).text("noise (σ)"));
        let label = ui.label("Seed");
        ui.add(DragValue::new(&mut state.choices.seed)).labelled_by(label.id);
        let ready = !state.choices.corrupt.is_empty();
        if ui.add_enabled(ready, Button::new("Run trace")).clicked() {
            commands.push(Command::Trace(request(state).map(Box::new)));
        }
        let running = state.results.tracing || state.results.progress.contains_key(&Slot::Study);
        if running && ui.button("Cancel trace").clicked() {
            commands.push(Command::Cancel(Slot::Study));
        }
        if ui.add_enabled(ready, Button::new("Corruption into the plan")).clicked() {
            let noise = Noise::Noise { sigma: state.choices.sigma, seed: state.choices.seed };
            let positions = Positions::At(state.choices.corrupt.clone());
            let corrupt = Corrupt { site: Site::Embed, noise, positions };
            commands.push(Command::Add(Box::new(Change::Corrupt(corrupt).into())));
        }
    });
    let Some(findings) = &state.results.trace else {
        if let Some((Slot::Study, failure)) = &state.results.failure {
            return states::empty(ui, &failure.cause, &failure.next_step);
        }
        if state.results.tracing {
            return states::loading(ui, "Clean and corrupted run");
        }
        return states::empty(ui, "No trace yet", "mark at least one token and run it");
    };
    let current = state.request_prompt().is_ok_and(|prompt| prompt == findings.trace.prompt);
    if !current || findings.trace.plan != *state.history.plan() {
        let what = if current { "plan" } else { "prompt" };
        let text = format!("of an earlier {what}: run the trace again to compare");
        ui.colored_label(crate::theme::warning(ui.ctx()), text);
    }
    figure::head(ui, &findings.figure, commands);
    ui.weak("click a cell to restore it in the plan, on top of the corruption");
    if let Some(cell) = figure::map(ui, &findings.figure, None).clicked.filter(|_| current) {
        commands.push(Command::Add(Box::new(restore(findings, cell.row, cell.col).into())));
    }
}

/// The token to follow: typed, or a click in the next-token table.
pub(super) fn answer_box(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let label = ui.label("Answer");
    let followed = match state.data(&state.next_view()) {
        Some(ViewData::Next(next)) => next.answer.token.text.clone(),
        _ => String::new(),
    };
    let edit = TextEdit::singleline(&mut state.answer)
        .align(Align2::LEFT_CENTER)
        .desired_width(96.0)
        .hint_text(followed);
    let edit = ui.add(edit).labelled_by(label.id);
    if edit.on_hover_text("a text's first token, or an id; empty follows the most likely token").changed() {
        let text = state.answer.as_str();
        commands.push(Command::Follow(match text.trim().parse() {
            _ if text.is_empty() => Answer::Top,
            Ok(id) if state.ids_only() => Answer::Id(id),
            _ => Answer::Text(text.to_owned()),
        }));
    }
}

/// One cell of the grid as an intervention: the unmodified run's value at its layer and token.
fn restore(findings: &TraceFindings, layer: usize, position: usize) -> Change {
    let hook = match findings.trace.component {
        Component::Residual => Hook::ResidPost,
        Component::Attention => Hook::AttnOut,
        Component::Ffn => Hook::MlpOut,
    };
    Change::Patch(Patch {
        target: Target::site(Site::block(layer, hook)),
        positions: Positions::At(vec![position]),
        source: Source::Base,
    })
}

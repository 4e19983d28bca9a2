//! Causal trace: corrupt tokens, restore one component at a time, see what brings the answer back. Corruption and
//! restoration go into the plan on request.

use eframe::egui::{Align2, Button, DragValue, Slider, TextEdit, Ui};
use sluice_core::plan::{Change, Corrupt, Item, Noise, Patch, Plan, Positions, Source, Target};
use sluice_core::site::{Hook, Site};
use sluice_core::study::PATCH_NOISE;
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
    let patches = state.image_positions();
    ui.weak(if patches.is_empty() {
        "click tokens of the strip above to mark what is corrupted, then run the trace; it follows the answer after the last token"
    } else {
        "click tokens of the strip above, or draw over patches of the image, to mark what is corrupted, then run the trace; it follows the answer after the last token"
    });
    ui.horizontal_wrapped(|ui| {
        answer_box(ui, state, commands);
        ui.label("restore");
        for (component, name) in COMPONENTS {
            ui.selectable_value(&mut state.choices.component, component, name);
        }
        ui.add(Slider::new(&mut state.choices.sigma, 0.0..=10.0).text("noise (σ)"));
        let label = ui.label("Seed");
        ui.add(DragValue::new(&mut state.choices.seed)).labelled_by(label.id);
        if !patches.is_empty() {
            let marked = &state.choices.corrupt;
            let whole = marked.len() >= patches.len() && patches.iter().all(|at| marked.contains(at));
            let button = ui.add(Button::new("Whole image").selected(whole));
            if button.on_hover_text("mark every patch, or take the marks away").clicked() {
                commands.push(Command::Mark(patches.clone(), !whole));
            }
        }
        let ready = !state.choices.corrupt.is_empty();
        if ui.add_enabled(ready, Button::new("Run trace")).clicked() {
            commands.push(Command::Trace(request(state).map(Box::new)));
        }
        let running = state.results.tracing || state.is_studying(Trace::JOB);
        if running && ui.button("Cancel trace").clicked() {
            commands.push(Command::Cancel(Slot::Study));
        }
        if ui.add_enabled(ready, Button::new("Corruption into the plan")).clicked() {
            commands.extend(request(state).map(|trace| Command::Add(Box::new(corruption(&trace).into()))));
        }
    });
    // Once there are findings, their notes say it.
    if state.results.trace.is_none()
        && patches.iter().any(|position| state.choices.corrupt.contains(position))
    {
        ui.weak(PATCH_NOISE);
    }
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
    let earlier = if !current {
        Some("prompt")
    } else if findings.trace.component != state.choices.component {
        Some("choice of what to restore")
    } else if !is_of_plan(&findings.trace, state.history.plan()) {
        Some("plan")
    } else {
        None
    };
    if let Some(what) = earlier {
        let text = format!("of an earlier {what}: run the trace again");
        ui.colored_label(crate::theme::warning(ui.ctx()), text);
    }
    figure::head(ui, &findings.figure, commands);
    // A plan's patch takes the unmodified run: the same as the trace's clean run only without a plan.
    let clickable = current && findings.trace.plan.active().is_empty();
    ui.weak(if clickable {
        "click a cell to put the corruption and its restoration into the plan"
    } else {
        "cells can be put into the plan after a trace of this prompt without a plan"
    });
    if let Some(cell) = figure::map(ui, &findings.figure, None).clicked.filter(|_| clickable) {
        let corrupted: Item = corruption(&findings.trace).into();
        let mut items = vec![restore(findings, cell.row, cell.col).into()];
        if !state.history.plan().items.contains(&corrupted) {
            items.insert(0, corrupted);
        }
        commands.push(Command::AddAll(items));
    }
}

/// The noise of a trace as an intervention.
fn corruption(trace: &Trace) -> Change {
    Change::Corrupt(Corrupt {
        site: Site::Embed,
        noise: Noise::Noise { sigma: trace.sigma, seed: trace.seed },
        positions: Positions::At(trace.corrupt.clone()),
    })
}

/// Whether a trace ran under this plan, less what clicks on its cells put there.
fn is_of_plan(trace: &Trace, plan: &Plan) -> bool {
    let corrupted: Item = corruption(trace).into();
    let of_trace = |item: &Item| {
        *item == corrupted || matches!(&item.change, Change::Patch(patch) if patch.source == Source::Base)
    };
    plan.items.iter().filter(|item| !of_trace(item)).eq(&trace.plan.items)
}

/// The token to follow: typed, or a click in the next-token table.
pub(super) fn answer_box(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let label = ui.label("Answer");
    // What a trace follows is after the last token, wherever the table on the right is locked.
    let followed = match state.data(&state.next_view()) {
        Some(ViewData::Next(next)) if state.choices.position.is_none() => next.answer.token.text.clone(),
        _ => "most likely".to_owned(),
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

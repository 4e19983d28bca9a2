//! FCCT: corrupt the image (or the context that stands for it), restore one component of one layer for one category of
//! tokens at a time. What is corrupted and what is the object is marked on the token strip.

use eframe::egui::{
    Align, Button, DragValue, Layout, Painter, Rect, RichText, Slider, Stroke, Ui, pos2, vec2,
};
use sluice_core::plan::{Change, Plan};
use sluice_core::worker::{Fcct, FcctFindings, Slot};

use super::trace::answer_box;
use crate::command::Command;
use crate::state::{Mark, State};
use crate::theme;
use crate::widgets::{figure, states};

/// The grid as the panel says; `None` where nothing is marked or the prompt is no prompt.
pub fn request(state: &State) -> Option<Fcct> {
    let (choices, marks) = (&state.choices, &state.choices.marks);
    if marks.context.is_empty() && state.image_positions().is_empty() {
        return None;
    }
    Some(Fcct {
        prompt: state.request_prompt().ok()?,
        plan: plan(state),
        answer: choices.answer.clone(),
        context: marks.context.clone(),
        object: marks.object.clone(),
        words: marks.words.clone(),
        sigma: choices.sigma,
        seed: choices.seed,
    })
}

/// The plan that rates are measured under: without the injections that they feed.
pub(super) fn plan(state: &State) -> Plan {
    let mut plan = state.history.plan().clone();
    plan.items.retain(|item| !matches!(item.change, Change::Iri(_)));
    plan
}

/// Draw the controls and the maps.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let picture = !state.image_positions().is_empty();
    ui.weak(if picture {
        "click the object's patches and words on the strip above, then run: the whole picture is corrupted"
    } else {
        "text surrogate of FCCT: mark the context that stands for an image on the strip above, then run: all of it is corrupted"
    });
    controls(ui, state, picture, commands);
    let Some(findings) = state.results.fcct.clone() else {
        if let Some((Slot::Study, failure)) = &state.results.failure {
            return states::empty(ui, &failure.cause, &failure.next_step);
        }
        if state.results.gridding {
            return states::loading(ui, "Clean and corrupted run");
        }
        let next_step = if picture {
            "mark the object's patches and words, and run it"
        } else {
            "mark the context, the object in it and the words that name it after it, and run it"
        };
        return states::empty(ui, "No grid yet", next_step);
    };
    if let Some(what) = earlier(state, &findings) {
        let text = format!("of an earlier {what}: run FCCT again");
        ui.colored_label(theme::warning(ui.ctx()), text);
    }
    let [residual, ..] = &findings.figures;
    for note in &residual.notes {
        ui.label(RichText::new(note).small().weak());
    }
    ui.add_space(theme::UNIT);
    ui.columns(3, |columns| {
        for (ui, figure) in columns.iter_mut().zip(&findings.figures) {
            ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
                figure::title(ui, figure, commands);
                figure::map(ui, figure, None);
            });
        }
    });
}

fn controls(ui: &mut Ui, state: &mut State, picture: bool, commands: &mut Vec<Command>) {
    let marks = &mut state.choices.marks;
    if picture && marks.brush == Mark::Context {
        marks.brush = Mark::Object;
    }
    ui.horizontal_wrapped(|ui| {
        ui.label("a click marks");
        let object = if picture { "object patches" } else { "object in it" };
        let brushes =
            [(Mark::Context, "context up to here"), (Mark::Object, object), (Mark::Word, "object words")];
        for (brush, name) in brushes.into_iter().filter(|(brush, _)| !picture || *brush != Mark::Context) {
            let button = ui.selectable_value(&mut marks.brush, brush, name);
            underline(ui.painter(), button.rect.shrink2(vec2(4.0, 0.0)), brush, theme::warning(ui.ctx()));
        }
        if ui.button("Clear marks").clicked() {
            marks.clear();
        }
        let context = if picture { String::new() } else { format!("context {}, ", marks.context.len()) };
        ui.weak(format!("{context}object {}, words {} tokens", marks.object.len(), marks.words.len()));
    });
    ui.horizontal_wrapped(|ui| {
        answer_box(ui, state, commands);
        ui.add(Slider::new(&mut state.choices.sigma, 0.0..=10.0).text("noise (σ)"));
        let label = ui.label("Seed");
        ui.add(DragValue::new(&mut state.choices.seed)).labelled_by(label.id);
        let ready = picture || !state.choices.marks.context.is_empty();
        let run = ui.add_enabled(ready, Button::new("Run FCCT"));
        if run.on_disabled_hover_text("mark the context first").clicked() {
            commands.push(Command::Fcct(request(state).map(Box::new)));
        }
        if (state.results.gridding || state.is_studying(Fcct::JOB)) && ui.button("Cancel FCCT").clicked() {
            commands.push(Command::Cancel(Slot::Study));
        }
    });
}

/// What the findings are of, where it is not what the panel says now.
pub(super) fn earlier(state: &State, findings: &FcctFindings) -> Option<&'static str> {
    let of = &findings.fcct;
    let marks = &state.choices.marks;
    if state.request_prompt().is_ok_and(|prompt| prompt != of.prompt) {
        Some("prompt")
    } else if of.plan != plan(state) {
        Some("plan")
    } else if (&of.context, &of.object, &of.words) != (&marks.context, &marks.object, &marks.words) {
        Some("marking")
    } else {
        None
    }
}

/// The mark of a token: told apart without colour.
pub(super) fn underline(painter: &Painter, rect: Rect, mark: Mark, ink: eframe::egui::Color32) {
    let stroke = Stroke::new(1.5, ink);
    let line = |y: f32| painter.hline(rect.x_range(), y, stroke);
    let y = rect.bottom() - 1.5;
    match mark {
        Mark::Context => drop(line(y)),
        Mark::Object => {
            line(y);
            line(y - 3.0);
        }
        Mark::Word => {
            let dots = (rect.width() / 4.0) as usize;
            for i in 0..=dots {
                painter.circle_filled(pos2(rect.left() + 4.0 * i as f32, y), 1.2, ink);
            }
        }
    }
}

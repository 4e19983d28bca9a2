//! The bar at the bottom: jobs and the cost of the last change at the left; a message or a failure, and where the numbers
//! come from, at the right. What comes and goes at one end moves nothing at the other.

use std::time::Duration;

use eframe::egui::{
    Align, Frame, Label, Layout, Margin, ProgressBar, Response, RichText, Role, Spinner, Ui, UiBuilder,
    WidgetInfo,
};
use sluice_core::worker::Failure;

use crate::command::Command;
use crate::state::{Message, Remedy, State};
use crate::theme;
use crate::widgets::icon::{self, Icon};

/// Seconds that a message stays.
const STAYS: f64 = 6.0;

/// Draw it in one row.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.set_height(theme::ROW);
        jobs(ui, state, commands);
        if state.results.progress.is_empty() {
            cost(ui, state);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Some(card) = state.card.as_ref().filter(|_| ui.available_width() > 260.0) {
                let line =
                    format!("{} · {} · Sluice {}", card.fingerprint, card.dtype, env!("CARGO_PKG_VERSION"));
                ui.label(RichText::new(line).weak().monospace().small());
            }
            if let Some(failure) = &state.unsaved {
                let label = RichText::new("not saved").color(theme::warning(ui.ctx()));
                ui.label(label).on_hover_text(format!("{}\n{}", failure.cause, failure.next_step));
            }
            if let Some((_, failure)) = &state.results.failure {
                failed(ui, failure, commands);
            } else if let Some(message) = &mut state.message
                && said(ui, message, commands)
            {
                state.message = None;
            }
        });
    });
}

fn jobs(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let mut jobs: Vec<_> = state.results.progress.iter().collect();
    jobs.sort_by_key(|(slot, _)| **slot);
    for (slot, progress) in jobs {
        let share = progress.done as f32 / progress.total.max(1) as f32;
        let eta = progress.eta_s.map_or_else(String::new, |eta| format!(", {eta:.0} s left"));
        let text = RichText::new(format!("{} {:.0} %{eta}", progress.label, 100.0 * share)).small();
        ui.add(ProgressBar::new(share).desired_width(280.0).text(text));
        if ui.button("Cancel").on_hover_text(format!("stop {}", progress.label)).clicked() {
            commands.push(Command::Cancel(*slot));
        }
    }
}

/// What the newest change took to answer.
fn cost(ui: &mut Ui, state: &State) {
    if state.busy {
        ui.add(Spinner::new().size(12.0));
        ui.weak("computing …");
    } else if let Some(recomputed) = state.results.recomputed {
        let (share, millis) = (100.0 * recomputed.share, recomputed.millis);
        let memory = recomputed.bytes as f64 / f64::from(1 << 20);
        let text = format!("recomputed {share:.0} % of the model in {millis:.1} ms");
        ui.weak(text)
            .on_hover_text(format!("a run of this prompt takes about {memory:.0} MiB beside the weights"));
    }
}

/// On a soft ground, from the right end inwards.
fn soft<R>(ui: &mut Ui, draw: impl FnOnce(&mut Ui) -> R) -> (Response, R) {
    let frame = Frame::new().fill(theme::soft(ui.ctx())).inner_margin(Margin::symmetric(8, 0));
    let shown = frame.show(ui, draw);
    (shown.response, shown.inner)
}

/// A message with its remedy. True when it is over.
fn said(ui: &mut Ui, message: &mut Message, commands: &mut Vec<Command>) -> bool {
    let now = ui.input(|input| input.time);
    let since = *message.since.get_or_insert(now);
    let (response, closed) = soft(ui, |ui| {
        let closed = icon::button(ui, Icon::Remove, "Close message", true, false).clicked();
        match &message.remedy {
            Some(Remedy::Undo) => {
                let undo = ui.link("Undo").on_hover_text("Ctrl+Z");
                undo.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Undo: {}", message.text)));
                if undo.clicked() {
                    commands.push(Command::Undo);
                }
            }
            Some(Remedy::Pin(index, pinned)) => {
                let undo = ui.link("Undo");
                undo.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Undo: {}", message.text)));
                commands.extend(undo.clicked().then(|| Command::Repin(*index, pinned.clone())));
            }
            Some(Remedy::Folder(folder)) => {
                let shown = ui.link("Show in folder").clicked();
                commands.extend(shown.then(|| Command::OpenFolder(folder.clone())));
            }
            None => {}
        }
        ui.add(Label::new(&message.text).truncate()).on_hover_text(&message.text);
        closed
    });
    if response.contains_pointer() {
        message.since = Some(now);
        return closed;
    }
    let left = STAYS - (now - since);
    ui.ctx().request_repaint_after(Duration::from_secs_f64(left.max(0.0)));
    closed || left <= 0.0
}

/// A failure: its cause, what to do, and the button that puts it away.
fn failed(ui: &mut Ui, failure: &Failure, commands: &mut Vec<Command>) {
    let whole = format!("{}\n{}", failure.cause, failure.next_step);
    soft(ui, |ui| {
        if icon::button(ui, Icon::Remove, "Close message", true, false).clicked() {
            commands.push(Command::Dismiss);
        }
        // Both in a row from the left, cut where there is no room.
        let line = Layout::left_to_right(Align::Center);
        ui.scope_builder(UiBuilder::new().layout(line), |ui| {
            let cause = RichText::new(&failure.cause).color(theme::warning(ui.ctx()));
            ui.scope(|ui| {
                ui.set_max_width(0.6 * ui.available_width());
                ui.add(Label::new(cause).truncate()).on_hover_text(&whole);
            });
            ui.add(Label::new(&failure.next_step).truncate()).on_hover_text(&whole);
        });
    });
}

//! The bar at the bottom: jobs, cost of the last change, exports, where the numbers come from.

use eframe::egui::{Align, Label, Layout, ProgressBar, RichText, Spinner, Ui};
use sluice_core::worker::Failure;

use crate::command::Command;
use crate::state::State;
use crate::theme;

/// Draw it in one row.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.set_height(theme::ROW);
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
        if let Some((_, failure)) = &state.results.failure {
            return message(ui, failure, commands);
        }
        if state.busy {
            ui.add(Spinner::new().size(12.0));
            ui.weak("computing …");
        } else if let Some(recomputed) = state.results.recomputed {
            let (share, millis) = (100.0 * recomputed.share, recomputed.millis);
            let memory = recomputed.bytes as f64 / f64::from(1 << 20);
            ui.weak(format!("recomputed {share:.0} % of the model in {millis:.1} ms")).on_hover_text(
                format!("a run of this prompt takes about {memory:.0} MiB beside the weights"),
            );
        }
        ui.weak(&state.status);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Some(card) = state.card.as_ref().filter(|_| ui.available_width() > 260.0) {
                let line =
                    format!("{} · {} · Sluice {}", card.fingerprint, card.dtype, env!("CARGO_PKG_VERSION"));
                ui.label(RichText::new(line).weak().monospace().small());
            }
        });
    });
}

/// A failure in the line's place, beside jobs: its cause, what to do, and the button that puts it away. Nothing else moves.
fn message(ui: &mut Ui, failure: &Failure, commands: &mut Vec<Command>) {
    ui.painter().rect_filled(ui.available_rect_before_wrap(), 3.0, theme::soft(ui.ctx()));
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        if ui.small_button("Close message").clicked() {
            commands.push(Command::Dismiss);
        }
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            let cause = RichText::new(&failure.cause).color(theme::warning(ui.ctx()));
            let whole = format!("{}\n{}", failure.cause, failure.next_step);
            ui.scope(|ui| {
                ui.set_max_width(0.6 * ui.available_width());
                ui.add(Label::new(cause).truncate()).on_hover_text(&whole);
            });
            ui.add(Label::new(&failure.next_step).truncate()).on_hover_text(&whole);
        });
    });
}

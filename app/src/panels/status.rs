//! The bar at the bottom: jobs, cost of the last change, exports, where the numbers come from.

use eframe::egui::{Align, Layout, ProgressBar, RichText, Spinner, Ui};

use crate::command::Command;
use crate::state::State;

/// Draw it in one row.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
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

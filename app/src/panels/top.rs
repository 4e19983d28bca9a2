//! Top bar: open, undo, redo, model card, failures.

use eframe::egui::{TextEdit, Ui};

use crate::command::Command;
use crate::state::State;
use crate::widgets::states;

/// Draw the bar.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        let label = ui.label("Checkpoint folder");
        let edit =
            TextEdit::singleline(&mut state.path).desired_width(320.0).hint_text("a Hugging Face folder");
        let edit = ui.add(edit).labelled_by(label.id);
        let entered = edit.lost_focus() && ui.input(|input| input.key_pressed(eframe::egui::Key::Enter));
        if (ui.button("Open").clicked() || entered) && !state.path.trim().is_empty() {
            commands.push(Command::Open(state.path.trim().into()));
        }
        ui.separator();
        let (undo, redo) = state.history.steps();
        if ui.add_enabled(undo, eframe::egui::Button::new("Undo")).clicked() {
            commands.push(Command::Undo);
        }
        if ui.add_enabled(redo, eframe::egui::Button::new("Redo")).clicked() {
            commands.push(Command::Redo);
        }
        ui.separator();
        eframe::egui::widgets::global_theme_preference_buttons(ui);
    });
    if let Some(card) = &state.card {
        let millions = card.parameters as f64 / 1e6;
        let mib = card.bytes_resident >> 20;
        let spec = &card.spec;
        ui.horizontal_wrapped(|ui| {
            ui.strong(&card.name);
            ui.weak(format!(
                "{} · {millions:.2} M parameters · {} layers · width {} · {} in memory, {mib} MiB · tokenizer: {}",
                spec.model_type,
                spec.n_layers(),
                spec.d_model,
                card.dtype,
                card.tokenizer
            ));
        });
        for warning in &card.warnings {
            ui.colored_label(crate::theme::WARNING, warning);
        }
    }
    if let Some(failure) = &state.results.failure
        && states::failure(ui, failure)
    {
        commands.push(Command::Dismiss);
    }
}

//! Causal trace: corrupt tokens, restore one component at a time, see what brings the answer back.

use eframe::egui::{Slider, Ui};
use sluice_core::worker::{Component, Slot, Trace};

use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

/// Draw the controls and the grid.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.weak("click tokens of the strip above to mark what is corrupted");
    let prompt = state.request_prompt();
    let plan = state.history.plan().clone();
    let choices = &mut state.choices;
    ui.horizontal_wrapped(|ui| {
        for (component, name) in
            [(Component::Residual, "residual"), (Component::Attention, "attention"), (Component::Ffn, "FFN")]
        {
            ui.selectable_value(&mut choices.component, component, name);
        }
        ui.add(Slider::new(&mut choices.sigma, 0.0..=10.0).text("noise, σ of the embeddings"));
        let ready = !choices.corrupt.is_empty();
        if ui.add_enabled(ready, eframe::egui::Button::new("Run trace")).clicked()
            && let Ok(prompt) = prompt
        {
            commands.push(Command::Trace(Box::new(Trace {
                prompt,
                plan,
                answer: None,
                corrupt: choices.corrupt.clone(),
                sigma: choices.sigma,
                seed: 0,
                component: choices.component,
            })));
        }
        if state.results.progress.contains_key(&Slot::Study) && ui.button("Cancel trace").clicked() {
            commands.push(Command::Cancel(Slot::Study));
        }
    });
    match &state.results.trace {
        Some(findings) => {
            figure::head(ui, &findings.figure, commands);
            figure::map(ui, &findings.figure);
        }
        None => states::empty(ui, "No trace yet", "mark at least one token and run it"),
    }
}

//! Continuation under the plan beside the unmodified model's, streaming.

use eframe::egui::{Align, DragValue, Layout, Slider, Ui};
use sluice_core::worker::Slot;

use crate::command::Command;
use crate::state::State;
use crate::widgets::{figure, states};

/// Draw both texts.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().slider_width = 120.0;
        ui.add(Slider::new(&mut state.choices.temperature, 0.0..=2.0).text("temperature"));
        let label = ui.label("Tokens");
        ui.add(DragValue::new(&mut state.choices.max_new_tokens).range(1..=4096)).labelled_by(label.id);
        let label = ui.label("Seed");
        ui.add(DragValue::new(&mut state.choices.seed)).labelled_by(label.id);
        if ui.button("Continue the prompt").clicked() {
            commands.push(Command::Generate);
        }
        if ui.button("Stop").clicked() {
            commands.push(Command::Cancel(Slot::Generate));
        }
    });
    let Some(text) = &state.results.text else {
        return states::empty(ui, "No continuation yet", "press Continue the prompt");
    };
    figure::head(ui, &text.figure, commands);
    let asked = state.results.text_of.as_ref();
    let earlier = |prompt| asked.is_none_or(|(of, plan)| *of != prompt || plan != state.history.plan());
    if state.request_prompt().is_ok_and(earlier) {
        let text = "of an earlier prompt or plan: continue again to compare";
        ui.colored_label(crate::theme::warning(ui.ctx()), text);
    }
    ui.add_space(crate::theme::UNIT);
    ui.spacing_mut().item_spacing.x = 24.0;
    ui.columns(2, |columns| {
        let sides =
            [("Unmodified", &text.base, text.tokens[0]), ("Under the plan", &text.plan, text.tokens[1])];
        for (ui, (name, text, tokens)) in columns.iter_mut().zip(sides) {
            // Columns justify their text: fine for prose, not for tokens.
            ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
                ui.strong(name);
                ui.weak(format!("{tokens} tokens"));
                ui.label(text);
            });
        }
    });
    ui.weak(format!("{:.1} tokens per second in each stream", text.rate));
}

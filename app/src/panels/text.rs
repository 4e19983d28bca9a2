//! Continuation under the plan beside the unmodified model's, streaming.

use std::sync::Arc;

use eframe::egui::{Align, DragValue, Layout, Slider, Ui};
use sluice_core::figure::Figure;
use sluice_core::method::Group;
use sluice_core::worker::{Generate, Slot};

use super::Panel;
use crate::command::Command;
use crate::state::{PanelInfo, State};
use crate::widgets::{figure, states};
use sluice_core::plan::edits::Preset;

/// How a prompt is continued.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Sampling temperature.
    pub temperature: f32,
    /// Seed of the sampler.
    pub seed: u64,
    /// Length of continuations.
    pub max_new_tokens: usize,
}

impl Default for Choice {
    fn default() -> Self {
        Self { temperature: 0.0, seed: 0, max_new_tokens: 48 }
    }
}

/// The continuation as the panel says; none where the prompt is no prompt.
pub fn request(state: &State) -> Option<Generate> {
    let Choice { temperature, seed, max_new_tokens } = state.choices.of();
    let (prompt, plan) = (state.request_prompt().ok()?, state.history.plan().clone());
    Some(Generate { prompt, plan, max_new_tokens, temperature, seed })
}

/// Its id.
pub const ID: &str = "text";

/// The panel.
pub struct Text;

impl Panel for Text {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: ID,
            name: "Text",
            hint: "continuations with and without the plan",
            group: Group::Compare,
            open: true,
        }
    }

    fn figures(&self, state: &State) -> Vec<Arc<Figure>> {
        state.results.text.iter().map(|text| Arc::clone(&text.figure)).collect()
    }

    fn pose(&self, _: &State) -> Vec<Command> {
        vec![
            Command::Clear,
            Command::Show(self.info().id),
            Command::Fill(Preset::LateSmall),
            Command::Generate,
        ]
    }

    fn is_posed(&self, state: &State) -> bool {
        state.results.text.as_ref().is_some_and(|text| text.done)
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// Draw both texts.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let mut choice: Choice = state.choices.of();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().slider_width = 120.0;
        ui.add(Slider::new(&mut choice.temperature, 0.0..=2.0).text("temperature"));
        let label = ui.label("Tokens");
        ui.add(DragValue::new(&mut choice.max_new_tokens).range(1..=4096)).labelled_by(label.id);
        let label = ui.label("Seed");
        ui.add(DragValue::new(&mut choice.seed)).labelled_by(label.id);
        if ui.button("Continue the prompt").clicked() {
            commands.push(Command::Generate);
        }
        if ui.button("Stop").clicked() {
            commands.push(Command::Cancel(Slot::Generate));
        }
    });
    state.choices.set(choice);
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

//! Continuation under the plan beside the unmodified model's, streaming.

use std::sync::Arc;

use eframe::egui::{Align, DragValue, Layout, Ui};
use serde::{Deserialize, Serialize};
use sluice_core::figure::Figure;
use sluice_core::method::{Group, capital};
use sluice_core::plan::Plan;
use sluice_core::worker::{Continued, Generate, Slot, Variant};

use super::Panel;
use crate::command::Command;
use crate::state::{PanelChoice, PanelInfo, State};
use crate::theme;
use crate::widgets::head::{self, Head};
use crate::widgets::pickers::slider;
use crate::widgets::{area, figure, states};
use sluice_core::plan::edits::Preset;

/// How a prompt is continued.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// Sampling temperature.
    pub temperature: f32,
    /// Seed of the sampler.
    pub seed: u64,
    /// Length of continuations.
    pub max_new_tokens: usize,
}

impl PanelChoice for Choice {
    const PANEL: &'static str = ID;
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
    let model = Variant { prompt: prompt.clone(), plan: Plan::default().into() };
    let streams =
        vec![("unmodified".into(), model), ("under the plan".into(), Variant { prompt, plan: plan.into() })];
    Some(Generate { streams, max_new_tokens, temperature, seed })
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
            tag: "",
            hint: "continuations with and without the plan",
            group: Group::Compare,
            open: false,
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

/// What it says of itself.
const HEAD: Head<'static> = Head {
    title: "What would it write?",
    line: "Continues the prompt twice, with the plan and without, from the same seed",
    reading: "",
    source: None,
    notes: &[],
    panel: ID,
};

/// Draw both texts.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let mut choice: Choice = state.choices.of();
    let running = state.results.progress.contains_key(&Slot::Generate);
    let notes = state.results.text.as_ref().map_or(&[][..], |text| &text.figure.notes);
    head::head(ui, Head { notes, ..HEAD }, commands, |ui, commands| {
        if running {
            if ui.button("Stop the continuation").clicked() {
                commands.push(Command::Cancel(Slot::Generate));
            }
        } else if ui.add(theme::filled(ui.ctx(), "Continue the prompt")).clicked() {
            commands.push(Command::Generate);
        }
    });
    head::parameters(ui, "text", 3, |ui, index| match index {
        0 => {
            slider(ui, "temperature", &mut choice.temperature, 0.0..=2.0);
        }
        1 => {
            let label = ui.label("Tokens");
            ui.add(DragValue::new(&mut choice.max_new_tokens).range(1..=4096)).labelled_by(label.id);
        }
        _ => {
            let label = ui.label("Seed");
            ui.add(DragValue::new(&mut choice.seed)).labelled_by(label.id);
        }
    });
    state.choices.set(choice);
    let Some(text) = &state.results.text else {
        return states::empty(ui, "No continuation yet", "press Continue the prompt");
    };
    let asked = state.results.text_of.as_ref();
    let earlier = |prompt| asked.is_none_or(|(of, plan)| *of != prompt || plan != state.history.plan());
    let earlier = state.request_prompt().is_ok_and(earlier);
    let rate = format!("{:.1} tokens per second in each stream", text.rate);
    figure::row(ui, &text.figure, &rate, commands, |ui| {
        if earlier {
            let text = "of an earlier prompt or plan: continue again to compare";
            ui.colored_label(theme::warning(ui.ctx()), text);
        }
    });
    ui.spacing_mut().item_spacing.x = 24.0;
    let context = state.card.as_ref().map_or(usize::MAX, |card| card.spec.context);
    let prompt = state.results.tokens.len();
    area::keep(ui, area::FIGURE, ui.available_rect_before_wrap());
    ui.columns(text.texts.len().max(1), |columns| {
        for (ui, Continued { name, text, tokens }) in columns.iter_mut().zip(&text.texts) {
            // Columns justify their text: fine for prose, not for tokens.
            ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
                ui.strong(capital(name));
                let full = prompt + tokens >= context;
                let why = if full { format!(": the context of {context} is full") } else { String::new() };
                ui.weak(format!("{tokens} tokens{why}"));
                ui.label(text);
            });
        }
    });
}

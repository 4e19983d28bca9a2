//! The plan stack: switch, scale and remove interventions.

use eframe::egui::{Slider, Ui};

use crate::command::Command;
use crate::state::State;
use crate::widgets::states;

/// Draw the stack.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.strong("Plan");
        let some = !state.history.plan().items.is_empty();
        if ui.add_enabled(some, eframe::egui::Button::new("Clear plan")).clicked() {
            commands.push(Command::Clear);
        }
    });
    if state.history.plan().items.is_empty() {
        states::empty(ui, "The model is unmodified", "paint the routing map or take out a sublayer");
        return;
    }
    for (index, item) in state.history.plan().items.iter().enumerate() {
        let mut edited = item.clone();
        ui.push_id(index, |ui| {
            ui.separator();
            ui.checkbox(&mut edited.on, item.change.summary());
            ui.horizontal(|ui| {
                ui.add(Slider::new(&mut edited.strength, 0.0..=1.0).text("strength"));
                if ui.button("Remove").clicked() {
                    commands.push(Command::Remove(index));
                }
            });
        });
        if edited != *item {
            commands.push(Command::Edit(index, Box::new(edited)));
        }
    }
}

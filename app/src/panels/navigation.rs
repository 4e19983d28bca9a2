//! All panels by group: what is open is marked, what the open checkpoint cannot do says why.

use eframe::egui::{Button, RichText, Role, Ui, WidgetInfo};
use sluice_core::method::Group;

use super::panels;
use crate::command::Command;
use crate::state::State;

/// Draw the list.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    for group in Group::ALL {
        let mut here = panels().iter().filter(|panel| panel.info().group == group).peekable();
        if here.peek().is_none() {
            continue;
        }
        ui.label(RichText::new(group.name()).small().weak());
        ui.horizontal_wrapped(|ui| {
            for panel in here {
                let info = panel.info();
                let cause = panel.unavailable(state);
                let shown = state.visible.contains(&info.id);
                let button = Button::new(info.name).small().selected(shown);
                let button = ui.add_enabled(cause.is_none(), button);
                let name = format!("{} panel", info.name);
                button.widget_info(|| WidgetInfo::selected(Role::Button, cause.is_none(), shown, &name));
                if button.on_hover_text(info.hint).on_disabled_hover_text(cause.unwrap_or_default()).clicked()
                {
                    commands.push(Command::Show(info.id));
                }
            }
        });
    }
}

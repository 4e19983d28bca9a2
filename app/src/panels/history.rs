//! The steps that led to what is on screen, to go to any of them.

use eframe::egui::{Align, Button, Layout, RichText, Role, ScrollArea, Ui, WidgetInfo};

use crate::command::Command;
use crate::state::State;
use crate::theme;
use crate::widgets::head;
use crate::widgets::icon::{self, Icon};

/// Size of the list in points.
const WIDTH: f32 = 320.0;
const HEIGHT: f32 = 360.0;

/// Draw the button, and the list while it is open: the newest step first.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let button = Button::new("").min_size([icon::SIDE; 2].into()).frame(false);
    let (response, _) = head::menu(button).ui(ui, |ui| {
        ui.set_width(WIDTH);
        let history = &state.history;
        let steps = history.all();
        let row = theme::ROW;
        let list = ScrollArea::vertical().max_height(HEIGHT);
        ui.spacing_mut().item_spacing.y = 0.0;
        list.show_rows(ui, row, steps.len(), |ui, rows| {
            // Only what is in sight is drawn: a day's work has thousands.
            let newest = steps.len() - 1;
            for number in rows.map(|row| newest - row.min(newest)) {
                let Some(step) = steps.get(number) else { continue };
                let (here, undone) = (number == history.at(), number > history.at());
                let name = RichText::new(theme::short(&step.name, 52));
                let name = if undone { name.weak() } else { name };
                let size = [ui.available_width(), row];
                let of = Layout::left_to_right(Align::Center);
                let button = Button::selectable(here, name).truncate();
                let clicked =
                    ui.allocate_ui_with_layout(size.into(), of, |ui| ui.add(button).clicked()).inner;
                if clicked {
                    commands.push(Command::Jump(number));
                }
            }
        });
    });
    icon::over(ui, &response, Icon::History);
    let response = response.on_hover_text("History: every step, to go to any of them");
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "History"));
}

//! What a person writes down. It belongs to the session.

use eframe::egui::{RichText, ScrollArea, TextEdit, Ui};
use sluice_core::method::Group;

use super::Panel;
use crate::command::Command;
use crate::state::{PanelId, PanelInfo, State};
use crate::widgets::area;
use crate::widgets::head::{self, Head};

/// Its id.
const ID: PanelId = "notes";

/// The panel.
pub struct Notes;

impl Panel for Notes {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: ID,
            name: "Notes",
            tag: "",
            hint: "what you write down, kept with the session",
            group: Group::Compare,
            open: false,
        }
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        head::head(ui, HEAD, commands, |_, _| {});
        let label = ui.label(RichText::new("Notes").weak());
        area::keep(ui, area::FIGURE, ui.available_rect_before_wrap());
        ScrollArea::vertical().show(ui, |ui| {
            let size = ui.available_size();
            let text = TextEdit::multiline(&mut state.notes).hint_text("nothing is written down yet");
            ui.add_sized(size, text).labelled_by(label.id);
        });
    }
}

/// What it says of itself.
const HEAD: Head<'static> = Head {
    title: "What do you want to remember?",
    line: "A text of yours, kept and saved with the session",
    reading: "",
    source: None,
    notes: &[],
    panel: ID,
};

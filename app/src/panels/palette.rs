//! The command palette: type a few letters, press Enter.

use eframe::egui::{Align2, Id, Key, Modal, ScrollArea, TextEdit, Ui};

use crate::command::{Action, Command};
use crate::state::State;
use crate::theme;

/// Width in points.
const WIDTH: f32 = 420.0;

/// Draw it while it is open.
pub fn ui(ui: &mut Ui, state: &mut State, actions: &[Action], commands: &mut Vec<Command>) {
    let Some(query) = &mut state.palette else { return };
    let mut chosen = None;
    let modal = Modal::new(Id::unique("palette")).show(ui.ctx(), |ui| {
        ui.set_width(WIDTH);
        let label = ui.label("Command");
        let edit = ui.add(
            TextEdit::singleline(query)
                .align(Align2::LEFT_CENTER)
                .desired_width(f32::INFINITY)
                .hint_text("what to do"),
        );
        edit.labelled_by(label.id).request_focus();
        let found: Vec<&Action> = ranked(actions, query);
        let marked = marked(ui, query, found.len());
        if ui.input(|input| input.key_pressed(Key::Enter)) {
            chosen = found.get(marked).map(|action| action.command.clone());
        }
        ScrollArea::vertical().max_height(12.0 * theme::ROW).show(ui, |ui| {
            for (index, action) in found.iter().enumerate() {
                let keys = action.keys.map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
                let button =
                    eframe::egui::Button::new(&*action.text).shortcut_text(keys).selected(index == marked);
                let button =
                    ui.add_sized([ui.available_width(), theme::ROW], button.frame_when_inactive(false));
                if button.on_hover_text(&*action.tooltip).clicked() {
                    chosen = Some(action.command.clone());
                }
            }
            if found.is_empty() {
                ui.weak("no command has these letters in this order");
            }
        });
    });
    if modal.should_close() || chosen.is_some() {
        state.palette = None;
    }
    commands.extend(chosen);
}

/// Index of the entry that Enter chooses: the first, until the arrow keys move it. A new query starts over.
fn marked(ui: &Ui, query: &str, count: usize) -> usize {
    let id = Id::unique("palette-mark");
    let (of, before): (String, usize) = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    let pressed = |key| usize::from(ui.input(|input| input.key_pressed(key)));
    let start = if of == query { before } else { 0 };
    let moved = (start + pressed(Key::ArrowDown)).saturating_sub(pressed(Key::ArrowUp));
    let marked = moved.min(count.saturating_sub(1));
    ui.data_mut(|data| data.insert_temp(id, (query.to_owned(), marked)));
    marked
}

/// The actions whose text holds the query's letters in order, closest first.
fn ranked<'a>(actions: &'a [Action], query: &str) -> Vec<&'a Action> {
    let mut found: Vec<(usize, &Action)> =
        actions.iter().filter_map(|action| Some((spread(query, &action.text)?, action))).collect();
    found.sort_by_key(|(spread, _)| *spread);
    found.into_iter().map(|(_, action)| action).collect()
}

/// How far apart the letters of `query` lie in `text`, a late start included; `None` where they are not all there.
fn spread(query: &str, text: &str) -> Option<usize> {
    let mut letters = text.chars().flat_map(char::to_lowercase).enumerate();
    let mut last = 0;
    for wanted in query.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase) {
        last = letters.find(|(_, letter)| *letter == wanted)?.0;
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_in_order_find_a_command() {
        let actions = crate::command::actions(&[], crate::panels::asked(), &[]);
        assert_eq!(ranked(&actions, "undo")[0].text, "Undo");
        assert_eq!(ranked(&actions, "rtr")[0].text, "Run trace");
        assert_eq!(ranked(&actions, "").len(), actions.len());
        assert!(ranked(&actions, "zzzz").is_empty());
    }
}

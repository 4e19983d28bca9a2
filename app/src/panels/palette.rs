//! The command palette over everything: methods, examples, commands, sublayers, samples, checkpoints, words. Type a few
//! letters, press Enter.

use eframe::egui::{
    Align2, FontId, Id, Key, Modal, RichText, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo, pos2, vec2,
};
use sluice_core::plan::Sublayer;
use sluice_core::plan::edits::PARTS;

use super::examples::{self, EXAMPLES};
use super::find;
use crate::command::{Action, Command};
use crate::gallery::SAMPLES;
use crate::glossary::WORDS;
use crate::paths::session_name;
use crate::state::{Help, State};
use crate::theme;

/// Width in points, rows at most, and rows of a section at most.
const WIDTH: f32 = 560.0;
const ROWS: f32 = 16.0;
const EACH: usize = 8;

/// Something that can be chosen.
struct Entry {
    section: &'static str,
    text: String,
    /// What stands quietly after it.
    note: String,
    /// What else finds it: a paper.
    also: String,
    keys: String,
    command: Command,
}

/// Draw it while it is open.
pub fn ui(ui: &mut Ui, state: &mut State, actions: &[Action], commands: &mut Vec<Command>) {
    let Some(query) = state.palette.clone() else { return };
    let mut query = query;
    let mut chosen = None;
    let modal = Modal::new(Id::unique("palette")).show(ui.ctx(), |ui| {
        ui.set_width(WIDTH.min(ui.ctx().content_rect().width() - 48.0));
        let edit = TextEdit::singleline(&mut query)
            .align(Align2::LEFT_CENTER)
            .desired_width(f32::INFINITY)
            .hint_text("methods, commands, sublayers, words");
        let edit = ui.add(edit);
        edit.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Command"));
        edit.request_focus();
        let entries = entries(ui, state, actions, &query);
        let found = ranked(&entries, &query);
        let marked = marked(ui, &query, found.len());
        if ui.input(|input| input.key_pressed(Key::Enter)) {
            chosen = found.get(marked).map(|entry| entry.command.clone());
        }
        ScrollArea::vertical().max_height(ROWS * theme::ROW).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            let mut section = "";
            for (index, entry) in found.iter().enumerate() {
                if entry.section != section {
                    section = entry.section;
                    ui.add_space(theme::UNIT);
                    ui.label(RichText::new(section).small().weak());
                }
                if row(ui, entry, index == marked) {
                    chosen = Some(entry.command.clone());
                }
            }
            if found.is_empty() {
                ui.weak("nothing has these letters in this order");
            }
        });
    });
    state.palette = (!modal.should_close() && chosen.is_none()).then_some(query);
    commands.extend(chosen);
}

/// A row. True when it was clicked.
fn row(ui: &mut Ui, entry: &Entry, marked: bool) -> bool {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::click());
    let visuals = ui.visuals();
    let (text, quiet) = (visuals.text_color(), visuals.weak_text_color());
    let painter = ui.painter().with_clip_rect(rect);
    if marked {
        painter.rect_filled(rect, 3.0, theme::soft(ui.ctx()));
        response.scroll_to_me(None);
    } else if response.hovered() {
        painter.rect_filled(rect, 3.0, visuals.faint_bg_color);
    }
    let (body, small) = (FontId::proportional(13.5), FontId::proportional(12.5));
    let quiet = if marked { text } else { quiet };
    let at = pos2(rect.left() + 8.0, rect.center().y);
    let name = painter.text(at, Align2::LEFT_CENTER, &entry.text, body, text);
    let keys = if marked && entry.keys.is_empty() { "Enter" } else { &entry.keys };
    let at = pos2(rect.right() - 8.0, rect.center().y);
    let keys = painter.text(at, Align2::RIGHT_CENTER, keys, theme::small_mono(), quiet);
    let note = painter.layout_no_wrap(entry.note.clone(), small, quiet);
    let at = pos2(name.right() + 8.0, rect.center().y - note.size().y / 2.0);
    let room = eframe::egui::Rect::from_min_max(at, pos2(keys.left() - 8.0, rect.bottom()));
    painter.with_clip_rect(room).galley(at, note, quiet);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, marked, &entry.text));
    response.on_hover_text(&entry.note).clicked()
}

/// Everything that can be chosen now; of the sublayers those of the layer that the query names, else the first.
fn entries(ui: &Ui, state: &State, actions: &[Action], query: &str) -> Vec<Entry> {
    let entry = |section, text: &str, note: &str, command| Entry {
        section,
        text: text.to_owned(),
        note: note.to_owned(),
        also: String::new(),
        keys: String::new(),
        command,
    };
    let mut all = Vec::new();
    let shows = |action: &&Action| matches!(action.command, Command::Show(_));
    for action in actions.iter().filter(shows).chain(actions.iter().filter(|action| !shows(action))) {
        let panel = match action.command {
            Command::Show(id) => find(id),
            _ => None,
        };
        let method = panel.and_then(|panel| panel.method().or(panel.shows()));
        let note = method.map_or(&*action.tooltip, |method| method.title);
        let section = if panel.is_some() { "Methods" } else { "Commands" };
        let keys = action.keys.map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
        let paper = method.map_or("", |method| method.source.paper);
        let also = format!("{} {paper}", panel.map_or("", |panel| panel.info().tag));
        all.push(Entry { keys, also, ..entry(section, &action.text, note, action.command.clone()) });
    }
    for index in examples::here(state) {
        if let Some(example) = EXAMPLES.get(index) {
            all.push(entry("Examples", example.title, example.line, Command::Example(index)));
        }
    }
    let numbers = query.split(|c: char| !c.is_ascii_digit());
    let named = numbers.filter_map(|number| number.parse::<usize>().ok()).next();
    let layers = named.map_or(0..EACH / PARTS.len(), |layer| layer..layer.saturating_add(1));
    for sublayer in layers
        .take_while(|layer| *layer < state.layers())
        .flat_map(|layer| PARTS.map(|part| Sublayer { layer, part }))
    {
        let text = if state.is_out(sublayer) {
            format!("Put {sublayer} back")
        } else {
            format!("Take out {sublayer}")
        };
        all.push(entry("Sublayers", &text, &sublayer.output().to_string(), Command::Toggle(sublayer)));
    }
    if state.patches().is_some() {
        for (index, sample) in SAMPLES.iter().enumerate() {
            all.push(entry(
                "Pictures",
                &format!("Picture: {}", sample.name),
                sample.prompt,
                Command::Sample(index),
            ));
        }
    }
    for path in &state.settings.recent {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = path.display().to_string();
        all.push(entry("Opened before", &format!("Open {name}"), &place, Command::Open(path.clone())));
    }
    for path in state.earlier_sessions() {
        let name = format!("Open session {}", session_name(path));
        let place = path.display().to_string();
        all.push(entry("Opened before", &name, &place, Command::OpenSession(path.clone())));
    }
    for word in WORDS {
        all.push(entry("Words", word.name, word.text, Command::Help(Some(Help::Words))));
    }
    all
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

/// The entries that a query finds, closest first, those of a section together.
fn ranked<'a>(entries: &'a [Entry], query: &str) -> Vec<&'a Entry> {
    let query = query.trim().to_lowercase();
    let mut found: Vec<(usize, &Entry)> =
        entries.iter().filter_map(|entry| Some((distance(&query, entry)?, entry))).collect();
    found.sort_by_key(|(distance, _)| *distance);
    let mut sections: Vec<&str> = Vec::new();
    for (_, entry) in &found {
        if !sections.contains(&entry.section) {
            sections.push(entry.section);
        }
    }
    let of = |section: &'_ str| {
        let here = found.iter().map(|(_, entry)| *entry).filter(move |entry| entry.section == section);
        here.take(EACH).collect::<Vec<_>>()
    };
    sections.into_iter().flat_map(of).collect()
}

/// How far a query is from an entry: its name begins with it, a word does, it is inside, its paper or note has it, or only
/// its letters stand in this order. `None` where it is not there.
fn distance(query: &str, entry: &Entry) -> Option<usize> {
    let name = entry.text.to_lowercase();
    let begins = |text: &str| text.split(|c: char| !c.is_alphanumeric()).any(|word| word.starts_with(query));
    Some(match () {
        () if name.starts_with(query) => 0,
        () if begins(&name) || name.contains(&format!(" {query}")) => 1,
        () if begins(&entry.also.to_lowercase()) => 2,
        () if name.contains(query) => 3,
        () if query.len() > 2 && entry.note.to_lowercase().contains(query) => 4,
        () => 8 + spread(query, &name)?,
    })
}

/// How far apart the letters of `query` lie in `text`, a late start included; `None` where they are not all there.
fn spread(query: &str, text: &str) -> Option<usize> {
    let mut letters = text.chars().enumerate();
    let mut last = 0;
    for wanted in query.chars().filter(|c| !c.is_whitespace()) {
        last = letters.find(|(_, letter)| *letter == wanted)?.0;
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, also: &str) -> Entry {
        let (section, note, keys) = ("Methods", String::new(), String::new());
        Entry { section, text: text.into(), note, also: also.into(), keys, command: Command::Undo }
    }

    #[test]
    fn letters_in_order_find_a_command() {
        let entries =
            [named("Redo", ""), named("Undo", ""), named("Run trace", ""), named("Pruning", "FinerCut")];
        let first =
            |query| ranked(&entries, query).first().map(|entry| entry.text.clone()).unwrap_or_default();
        assert_eq!(
            [first("undo"), first("rtr"), first("finer"), first("prun")],
            ["Undo", "Run trace", "Pruning", "Pruning"]
        );
        assert_eq!(ranked(&entries, "").len(), entries.len());
        assert!(ranked(&entries, "zzzz").is_empty());
    }
}

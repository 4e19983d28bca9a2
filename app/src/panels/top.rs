//! Top bar: menu, checkpoint, palette, undo and redo.

use eframe::egui::{
    Align, Align2, Area, Button, FontId, Grid, Id, Key, Layout, Order, RichText, Role, Stroke, TextEdit, Ui,
    WidgetInfo, vec2,
};
use sluice_core::worker::Card;

use super::history;
use crate::command::{Action, Command, Menu};
use crate::errands::{Dialog, is_picture};
use crate::paths::{session_name, typed};
use crate::state::{Help, State};
use crate::theme;
use crate::widgets::head;
use crate::widgets::icon::{self, Icon};

/// Draw the bar: menu and checkpoint at the left, the palette in the middle, undo and redo at the right.
pub fn ui(ui: &mut Ui, state: &mut State, actions: &[Action], commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.set_height(theme::ROW);
        let busy = !state.results.progress.is_empty() || state.studies.running.is_some();
        ui.menu_button("Menu", |ui| {
            for (menu, name) in [
                (Menu::File, "File"),
                (Menu::Edit, "Edit"),
                (Menu::View, "View"),
                (Menu::Run, "Run"),
                (Menu::Help, "Help"),
            ] {
                ui.menu_button(name, |ui| {
                    entries(ui, menu, busy, actions, commands);
                    if menu == Menu::File && state.earlier_sessions().next().is_some() {
                        ui.menu_button("Earlier sessions", |ui| sessions(ui, state, commands));
                    }
                });
            }
        });
        checkpoint(ui, state, commands);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let (undo, redo) = state.history.steps();
            if icon::button(ui, Icon::Help, "Help", true, false).on_hover_text("F1").clicked() {
                commands.push(Command::Help(Some(Help::Methods)));
            }
            history::ui(ui, state, commands);
            if icon::button(ui, Icon::Redo, "Redo", redo, false).on_hover_text("Ctrl+Shift+Z").clicked() {
                commands.push(Command::Redo);
            }
            if icon::button(ui, Icon::Undo, "Undo", undo, false).on_hover_text("Ctrl+Z").clicked() {
                commands.push(Command::Undo);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let free = ui.available_width();
                let box_width = SEARCH.min(free - 2.0 * theme::UNIT).max(40.0);
                // In the middle of the window, where there is room.
                let middle = ui.ctx().content_rect().center().x;
                let left = middle - box_width / 2.0 - ui.cursor().left();
                ui.add_space(left.clamp(0.0, (free - box_width).max(0.0)));
                let edge = Stroke::new(1.0, theme::edge(ui.ctx()));
                let search = Button::new(RichText::new("Search methods, commands, sites").weak())
                    .shortcut_text("Ctrl K")
                    .stroke(edge)
                    .truncate()
                    .min_size(vec2(box_width, theme::ROW));
                if ui.add_sized(vec2(box_width, theme::ROW), search).clicked() {
                    commands.push(Command::Palette);
                }
            });
        });
    });
}

/// Width of the palette's button.
const SEARCH: f32 = 320.0;

/// The open checkpoint, a click on which says more and opens another.
fn checkpoint(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let card = state.card.clone();
    let text = card.as_ref().map_or_else(|| "Open a checkpoint".to_owned(), |card| line(card));
    let warned = card.as_ref().is_some_and(|card| !card.warnings.is_empty());
    let text = RichText::new(theme::short(&text, 64));
    let text = if warned { text.color(theme::warning(ui.ctx())) } else { text };
    let (response, _) = head::menu(Button::new(text)).ui(ui, |ui| {
        ui.set_width(420.0);
        let label = ui.label("Checkpoint folder");
        ui.horizontal(|ui| {
            let edit = TextEdit::singleline(&mut state.path)
                .align(Align2::LEFT_CENTER)
                .desired_width(300.0)
                .hint_text("a Hugging Face folder");
            let edit = ui.add(edit).labelled_by(label.id);
            let entered = edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            if (ui.button("Open").clicked() || entered) && !state.path.trim().is_empty() {
                commands.push(Command::Open(typed(&state.path)));
                ui.close();
            }
        });
        ui.horizontal(|ui| {
            if ui.button("Browse…").clicked() {
                commands.push(Command::Ask(Dialog::Checkpoint));
                ui.close();
            }
            if ui.button("The bundled checkpoint").clicked() {
                commands.push(Command::OpenBundled);
                ui.close();
            }
        });
        for path in &state.settings.recent {
            if ui.link(path.display().to_string()).clicked() {
                commands.push(Command::Open(path.clone()));
                ui.close();
            }
        }
        if let Some(card) = &card {
            ui.separator();
            for warning in &card.warnings {
                ui.label(RichText::new(warning).small().color(theme::warning(ui.ctx())));
            }
            details(ui, card);
        }
    });
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Checkpoint"));
}

/// The entries of a menu; what stops jobs only while there are some.
fn entries(ui: &mut Ui, menu: Menu, busy: bool, actions: &[Action], commands: &mut Vec<Command>) {
    for action in actions.iter().filter(|action| action.menu == menu) {
        let keys = action.keys.map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
        let enabled = busy || !matches!(action.command, Command::CancelAll);
        let button = ui.add_enabled(enabled, Button::new(&*action.text).shortcut_text(keys));
        let button = if action.tooltip.is_empty() { button } else { button.on_hover_text(&*action.tooltip) };
        if button.clicked() {
            commands.push(action.command.clone());
        }
    }
}

/// Sessions of before: files of a person's own, then what is kept.
fn sessions(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    for path in state.earlier_sessions() {
        let entry = ui.button(session_name(path)).on_hover_text(path.display().to_string());
        if entry.clicked() {
            commands.push(Command::OpenSession(path.clone()));
        }
    }
}

/// Name, family and size.
fn line(card: &Card) -> String {
    let spec = &card.spec;
    format!("{}  {} · {} layers · {}", card.name, spec.model_type, spec.n_layers(), count(card.parameters),)
}

fn details(ui: &mut Ui, card: &Card) {
    let spec = &card.spec;
    let layer = spec.layers.first();
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let details = [
        ("width", spec.d_model.to_string()),
        ("FFN width", layer.map_or_else(String::new, |layer| layer.ffn.d_mlp.to_string())),
        ("heads", layer.map_or_else(String::new, |layer| layer.attn.heads.to_string())),
        ("K/V heads", layer.map_or_else(String::new, |layer| layer.attn.kv_heads.to_string())),
        ("vocabulary", spec.vocab.to_string()),
        ("context", spec.context.to_string()),
        ("tokenizer", card.tokenizer.clone()),
        ("on disk", mib(card.bytes_file)),
        ("in memory", format!("{}, {}", mib(card.bytes_resident), card.held)),
        ("fingerprint", card.fingerprint.clone()),
        ("small FFN", card.small_ffn.clone()),
    ];
    Grid::new("card").num_columns(2).show(ui, |ui| {
        for (name, value) in &details {
            ui.weak(*name);
            ui.monospace(value);
            ui.end_row();
        }
    });
}

/// `124 M`
fn count(parameters: u64) -> String {
    let x = parameters as f64;
    match x {
        _ if x >= 1e9 => format!("{:.2} B", x / 1e9),
        _ if x >= 1e6 => format!("{:.1} M", x / 1e6),
        _ => format!("{:.0} k", x / 1e3),
    }
}

/// Says what dropping does while a file hovers over the window.
pub fn drop_target(ui: &Ui) {
    if ui.input(|input| input.raw.hovered_files.is_empty()) {
        return;
    }
    let picture = ui.input(|input| {
        let mut paths = input.raw.hovered_files.iter().filter_map(|file| file.path.as_ref());
        paths.any(|path| is_picture(path))
    });
    let text = if picture { "drop to take the image" } else { "drop to open the checkpoint" };
    let ctx = ui.ctx();
    let rect = ctx.content_rect();
    Area::new(Id::unique("drop")).order(Order::Foreground).fixed_pos(rect.min).show(ctx, |ui| {
        let painter = ui.ctx().layer_painter(ui.layer_id());
        painter.rect_filled(rect, 0.0, ui.visuals().panel_fill.gamma_multiply(0.85));
        let colour = theme::accent(ui.ctx());
        painter.text(rect.center(), Align2::CENTER_CENTER, text, FontId::proportional(22.0), colour);
    });
}

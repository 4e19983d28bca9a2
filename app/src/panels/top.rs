//! Top bar: menus, path box, undo, redo, model card, failures.

use eframe::egui::{Align2, Area, Button, FontId, Id, Key, Label, MenuBar, Order, RichText, TextEdit, Ui};
use sluice_core::worker::Card;

use crate::command::{Action, Command, Menu};
use crate::errands::is_picture;
use crate::state::State;
use crate::theme;
use crate::widgets::states;

/// Draw the bar.
pub fn ui(ui: &mut Ui, state: &mut State, actions: &[Action], commands: &mut Vec<Command>) {
    MenuBar::new().ui(ui, |ui| {
        menu(ui, "File", (Menu::File, actions), state, commands);
        menu(ui, "Edit", (Menu::Edit, actions), state, commands);
        menu(ui, "View", (Menu::View, actions), state, commands);
        menu(ui, "Run", (Menu::Run, actions), state, commands);
        ui.separator();
        let label = ui.label("Checkpoint folder");
        let edit = TextEdit::singleline(&mut state.path)
            .align(Align2::LEFT_CENTER)
            .desired_width((0.2 * ui.available_width()).clamp(90.0, 300.0))
            .hint_text("a Hugging Face folder");
        let edit = ui.add(edit).labelled_by(label.id);
        let entered = edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        if (ui.button("Open").clicked() || entered) && !state.path.trim().is_empty() {
            commands.push(Command::Open(state.path.trim().into()));
        }
        ui.separator();
        let (undo, redo) = state.history.steps();
        if ui.add_enabled(undo, Button::new("Undo")).on_hover_text("Ctrl+Z").clicked() {
            commands.push(Command::Undo);
        }
        if ui.add_enabled(redo, Button::new("Redo")).on_hover_text("Ctrl+Shift+Z").clicked() {
            commands.push(Command::Redo);
        }
        if let Some(card) = &state.card {
            ui.separator();
            model_card(ui, card);
        }
    });
    if let Some(card) = &state.card {
        for warning in &card.warnings {
            ui.label(RichText::new(warning).small().color(theme::warning(ui.ctx())));
        }
    }
    if let Some((_, failure)) = &state.results.failure
        && states::failure(ui, failure)
    {
        commands.push(Command::Dismiss);
    }
}

fn menu(
    ui: &mut Ui,
    name: &str,
    (menu, actions): (Menu, &[Action]),
    state: &State,
    commands: &mut Vec<Command>,
) {
    ui.menu_button(name, |ui| {
        for action in actions.iter().filter(|action| action.menu == menu) {
            let keys = action.keys.map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
            let button = ui.add(Button::new(&*action.text).shortcut_text(keys));
            let button =
                if action.tooltip.is_empty() { button } else { button.on_hover_text(&*action.tooltip) };
            if button.clicked() {
                commands.push(action.command.clone());
            }
        }
        if menu == Menu::File && !state.settings.recent.is_empty() {
            ui.separator();
            ui.weak("Recent");
            for path in &state.settings.recent {
                if ui.button(path.display().to_string()).clicked() {
                    commands.push(Command::Open(path.clone()));
                }
            }
        }
    });
}

/// One line, the rest on hover.
fn model_card(ui: &mut Ui, card: &Card) {
    let spec = &card.spec;
    let mib = card.bytes_resident as f64 / f64::from(1 << 20);
    let line = format!(
        "{} · {} · {} · {} layers · {} {mib:.0} MiB",
        card.name,
        spec.model_type,
        count(card.parameters),
        spec.n_layers(),
        card.dtype
    );
    let layer = spec.layers.first();
    let details = [
        ("width", spec.d_model.to_string()),
        ("FFN width", layer.map_or_else(String::new, |layer| layer.ffn.d_mlp.to_string())),
        ("heads", layer.map_or_else(String::new, |layer| layer.attn.heads.to_string())),
        ("K/V heads", layer.map_or_else(String::new, |layer| layer.attn.kv_heads.to_string())),
        ("vocabulary", spec.vocab.to_string()),
        ("context", spec.context.to_string()),
        ("tokenizer", card.tokenizer.clone()),
        ("on disk", format!("{:.1} MiB", card.bytes_file as f64 / f64::from(1 << 20))),
        ("fingerprint", card.fingerprint.clone()),
        ("small FFN", card.small_ffn.clone()),
    ];
    ui.add(Label::new(RichText::new(line).strong()).truncate()).on_hover_ui(|ui| {
        eframe::egui::Grid::new("card").num_columns(2).show(ui, |ui| {
            for (name, value) in &details {
                ui.weak(*name);
                ui.monospace(value);
                ui.end_row();
            }
        });
    });
}

/// `124 M`
fn count(parameters: u64) -> String {
    let x = parameters as f64;
    match x {
        _ if x >= 1e9 => format!("{:.2} B parameters", x / 1e9),
        _ if x >= 1e6 => format!("{:.1} M parameters", x / 1e6),
        _ => format!("{:.0} k parameters", x / 1e3),
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

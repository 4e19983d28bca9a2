//! The first rows of every panel: its title as a question with what is known of it, the filled button at the right end, and
//! one row of parameters, of which those that have no room fold into Options.

use std::sync::Arc;

use eframe::egui::containers::menu::{MenuButton, MenuConfig};
use eframe::egui::{
    Align, Button, Id, Label, Layout, PopupCloseBehavior, RichText, Role, ScrollArea, Ui, WidgetInfo, vec2,
};
use sluice_core::figure::Figure;
use sluice_core::method::{Method, Source, sentence};

use super::icon::{self, Icon};
use crate::command::Command;
use crate::state::{Help, PanelId};
use crate::theme;

/// Width of what lies over a panel.
const NOTE: f32 = 400.0;
/// Width of a parameter that was not drawn before.
const UNKNOWN: f32 = 140.0;
/// Room that Options takes.
const OPTIONS: f32 = 88.0;

/// What a panel says of itself.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// As a question.
    pub title: &'a str,
    /// What it does, in one line.
    pub line: &'a str,
    /// Where it comes from; none = ours.
    pub source: Option<Source>,
    /// How its figure is read, in one line; empty where that is in the notes.
    pub reading: &'a str,
    /// What must be known to read the figure.
    pub notes: &'a [String],
    /// The panel that it is of.
    pub panel: PanelId,
}

impl<'a> Head<'a> {
    /// Of a method and its figure.
    pub fn of(method: &'a Method, panel: PanelId, figure: Option<&'a Arc<Figure>>) -> Self {
        let notes = figure.map_or(&[][..], |figure| &figure.notes);
        let Method { title, line, reading, source, .. } = *method;
        Self { title, line, reading, source: Some(source), notes, panel }
    }
}

/// Title and note at the left, `right` from the right end inwards: the filled button first.
pub fn head(
    ui: &mut Ui,
    head: Head<'_>,
    commands: &mut Vec<Command>,
    right: impl FnOnce(&mut Ui, &mut Vec<Command>),
) {
    let size = vec2(ui.available_width(), theme::HEAD);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        ui.set_min_size(size);
        right(ui, commands);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            let title = Label::new(RichText::new(head.title).size(theme::TITLE)).truncate();
            let room = ui.available_width() - 32.0;
            ui.scope(|ui| {
                ui.set_max_width(room.max(40.0));
                ui.add(title);
            });
            about(ui, head, commands);
        });
    });
}

/// What must be known: the method in a sentence, its paper, and the notes of the figure.
fn about(ui: &mut Ui, head: Head<'_>, commands: &mut Vec<Command>) {
    let button = Button::new("").min_size(vec2(22.0, 22.0)).frame(false);
    let (response, _) = menu(button).ui(ui, |ui| {
        ui.set_width(NOTE);
        ScrollArea::vertical().max_height(420.0).show(ui, |ui| {
            ui.label(sentence(head.line));
            if !head.reading.is_empty() {
                ui.label(sentence(head.reading));
            }
            if let Some(source) = head.source {
                let line = RichText::new(source.line()).small();
                match source.url() {
                    Some(url) => drop(ui.hyperlink_to(line, url)),
                    None => drop(ui.label(line.weak())),
                }
            }
            ui.horizontal(|ui| {
                let example = ui.button("Run the example");
                if example.on_hover_text("marks and asks what shows something here").clicked() {
                    commands.push(Command::Pose(head.panel));
                    ui.close();
                }
                if ui.button("Glossary").clicked() {
                    commands.push(Command::Help(Some(Help::Words)));
                    ui.close();
                }
            });
            if !head.notes.is_empty() {
                ui.separator();
            }
            for note in head.notes {
                ui.label(RichText::new(note).small());
            }
        });
    });
    icon::over(ui, &response, Icon::About);
    let name = format!("About: {}", head.title);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
}

/// A menu that stays open while something in it is changed.
pub fn menu(button: Button<'_>) -> MenuButton<'_> {
    let config = MenuConfig::new().close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    MenuButton::from_button(button).config(config)
}

/// A row of `count` parameters; `draw` draws the one of an index. What has no room is in Options at the right end.
pub fn parameters(ui: &mut Ui, id: &'static str, count: usize, mut draw: impl FnMut(&mut Ui, usize)) {
    let key = Id::unique(("parameters", id));
    let mut widths: Vec<f32> = ui.data(|data| data.get_temp(key)).unwrap_or_default();
    let known = widths.clone();
    widths.resize(count, UNKNOWN);
    let gap = 2.0 * theme::UNIT;
    let all: f32 = widths.iter().map(|width| width + gap).sum();
    let room = ui.available_width();
    let fits = if all <= room {
        count
    } else {
        let mut used = OPTIONS;
        widths
            .iter()
            .take_while(|width| {
                used += **width + gap;
                used <= room
            })
            .count()
    };
    let size = vec2(room, theme::PARAMETERS);
    ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_size(size);
        ui.spacing_mut().item_spacing.x = gap;
        theme::fields(ui);
        for index in 0..fits {
            let unit = ui.scope(|ui| draw(ui, index)).response.rect.width();
            if let Some(width) = widths.get_mut(index) {
                *width = unit;
            }
        }
        if fits < count {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                menu(Button::new("Options…")).ui(ui, |ui| {
                    theme::fields(ui);
                    for index in fits..count {
                        ui.horizontal(|ui| {
                            ui.set_min_height(theme::ROW);
                            let unit = ui.scope(|ui| draw(ui, index)).response.rect.width();
                            if let Some(width) = widths.get_mut(index) {
                                *width = unit;
                            }
                        });
                    }
                });
            });
        }
    });
    if known != widths {
        ui.data_mut(|data| data.insert_temp(key, widths));
        ui.ctx().request_repaint();
    }
}

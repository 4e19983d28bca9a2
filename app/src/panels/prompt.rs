//! Prompt box and token strip: hover a token for what was expected after it, click it to lock the inspector on it.

use std::ops::Range;
use std::sync::Arc;

use eframe::egui::{
    Color32, ComboBox, Id, Pos2, RichText, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo, vec2,
};
use sluice_core::figure::{Scale, colour};
use sluice_core::worker::{Strip, Token, View, ViewData};

use crate::command::Command;
use crate::state::{ChipColour, State, Tab};
use crate::theme;
use crate::widgets::figure;

/// Id of the prompt box.
pub const PROMPT: &str = "prompt-box";

/// Height of the prompt box in points; more scrolls.
const PROMPT_HEIGHT: f32 = 38.0;
/// Rows of the strip on screen; more scroll.
const ROWS: f32 = 3.0;
/// Space between chips, and between a chip's edge and its text.
const GAP: f32 = 3.0;
const INSET: f32 = 5.0;

/// Draw the box and the strip.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let ids_only = state.ids_only();
    ui.horizontal_top(|ui| {
        let label = ui.label(if ids_only { "Prompt, token ids" } else { "Prompt" });
        let colours = ui.available_width() - 214.0;
        // A long prompt scrolls: the panels below keep their room.
        let area = ScrollArea::vertical().id_salt("prompt").max_height(PROMPT_HEIGHT).max_width(colours);
        let area = area.min_scrolled_height(PROMPT_HEIGHT);
        area.show(ui, |ui| {
            let edit = TextEdit::multiline(&mut state.prompt).id(Id::unique(PROMPT)).desired_rows(2);
            ui.add(edit.desired_width(colours)).labelled_by(label.id);
        });
        let label =
            ui.label("Colour").on_hover_text("from dark blue at 0 to yellow at the largest of the prompt");
        let names =
            [(ChipColour::Plain, "none"), (ChipColour::Surprisal, "surprisal"), (ChipColour::Kl, "KL")];
        let chosen =
            names.iter().find(|(colour, _)| *colour == state.choices.colour).map_or("", |(_, name)| name);
        let combo =
            ComboBox::from_id_salt("chip-colour").width(90.0).selected_text(chosen).show_ui(ui, |ui| {
                for (colour, name) in names {
                    ui.selectable_value(&mut state.choices.colour, colour, name);
                }
            });
        combo.response.labelled_by(label.id).on_hover_text("what colours the tokens");
        if let Some(ViewData::Strip(strip)) = state.data(&View::Strip) {
            figure::menu(ui, &strip.figure, commands);
        }
    });
    if state.results.tokens.is_empty() {
        ui.weak("type a prompt: its tokens appear here");
    } else {
        strip(ui, state, commands);
    }
}

/// The chips, row by row; rows off screen cost nothing.
fn strip(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let tokens = &state.results.tokens;
    let advance = ui.fonts_mut(|fonts| fonts.glyph_width(&font(), '0'));
    let rows = rows(ui, tokens, advance);
    let height = theme::ROW - 2.0;
    let strip = match state.data(&View::Strip) {
        Some(ViewData::Strip(strip)) if strip.kl.len() == tokens.len() => Some(strip),
        _ => None,
    };
    let colours = Colours::new(state.choices.colour, strip);
    let area = ScrollArea::vertical().id_salt("strip").max_height(ROWS * (height + GAP));
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing = vec2(GAP, GAP);
        area.show_rows(ui, height, rows.len(), |ui, shown| {
            for row in rows.get(shown).unwrap_or_default() {
                ui.horizontal(|ui| {
                    for position in row.clone() {
                        chip(ui, state, strip, &colours, position, vec2(advance, height), commands);
                    }
                });
            }
        });
    });
}

fn chip(
    ui: &mut Ui,
    state: &State,
    strip: Option<&Strip>,
    colours: &Colours,
    position: usize,
    size: eframe::egui::Vec2,
    commands: &mut Vec<Command>,
) {
    let Some(token) = state.results.tokens.get(position) else { return };
    let tracing = state.visible.contains(&Tab::Trace);
    let corrupted = tracing && state.choices.corrupt.contains(&position);
    let marking = state.visible.contains(&Tab::Fcct);
    let mark = state.choices.marks.of(position).filter(|_| marking);
    let locked = state.choices.position == Some(position);
    let (rect, response) = ui.allocate_exact_size(vec2(width(token, size.x), size.y), Sense::click());
    let visuals = ui.visuals();
    let (fill, ink) = colours
        .of(position, theme::ground(ui.ctx()))
        .unwrap_or((visuals.faint_bg_color, visuals.text_color()));
    ui.painter().rect_filled(rect, 3.0, fill);
    let galley = ui.painter().layout_no_wrap(token.text.clone(), font(), ink);
    ui.painter().galley(rect.center() - galley.size() / 2.0, galley, ink);
    let accent = theme::accent(ui.ctx());
    if locked || response.hovered() || response.has_focus() {
        let stroke = eframe::egui::Stroke::new(if locked { 2.0 } else { 1.0 }, accent);
        ui.painter().rect_stroke(rect, 3.0, stroke, eframe::egui::StrokeKind::Inside);
    }
    if corrupted {
        // A wave under the token: told apart without colour.
        let y = rect.bottom() - 2.5;
        let steps = (rect.width() / 3.0) as usize;
        let point = |i: usize| {
            Pos2::new(rect.left() + 3.0 * i as f32, y + if i.is_multiple_of(2) { -1.5 } else { 1.5 })
        };
        let wave: Vec<Pos2> = (0..=steps).map(point).collect();
        ui.painter().line(wave, eframe::egui::Stroke::new(1.5, theme::warning(ui.ctx())));
    }
    if let Some(mark) = mark {
        super::fcct::underline(ui.painter(), rect, mark, theme::warning(ui.ctx()));
    }
    let name = format!("token {position}: {}", token.text);
    response.widget_info(|| {
        WidgetInfo::selected(Role::Button, true, locked || corrupted || mark.is_some(), &name)
    });
    if response.clicked() {
        commands.push(match (tracing, locked) {
            _ if marking => Command::Mark(state.choices.marks.brush, position),
            (true, _) => Command::Corrupt(position),
            (false, true) => Command::Select(None),
            (false, false) => Command::Select(Some(position)),
        });
    }
    response.on_hover_ui(|ui| expected(ui, token, position, strip));
}

/// The tooltip of a chip.
fn expected(ui: &mut Ui, token: &Token, position: usize, strip: Option<&Strip>) {
    ui.label(RichText::new(format!("{} · position {position} · id {}", token.text, token.id)).monospace());
    let Some(strip) = strip else { return };
    let at = |values: &[f32]| values.get(position).copied().unwrap_or(f32::NAN);
    let (base, plan) = (at(&strip.surprisal_base), at(&strip.surprisal_plan));
    if base.is_finite() {
        ui.weak(format!("surprisal {base:.2} nats, under the plan {plan:.2}"));
    }
    ui.weak(format!("KL of what follows {:.4} nats", at(&strip.kl)));
    ui.separator();
    ui.weak("expected next, under the plan");
    for (token, p) in strip.top.get(position).into_iter().flatten() {
        ui.label(RichText::new(format!("{:>5.1} %  {}", 100.0 * p, token.text)).monospace());
    }
}

/// The scalar that colours the chips.
struct Colours<'a> {
    values: &'a [f32],
    scale: Scale,
}

impl<'a> Colours<'a> {
    fn new(choice: ChipColour, strip: Option<&'a Strip>) -> Self {
        let values: &[f32] = match (choice, strip) {
            (ChipColour::Surprisal, Some(strip)) => &strip.surprisal_base,
            (ChipColour::Kl, Some(strip)) => &strip.kl,
            _ => &[],
        };
        let largest = values.iter().copied().filter(|x| x.is_finite()).fold(0.0, f32::max);
        Self { values, scale: Scale::Sequential { min: 0.0, max: largest.max(1e-6) } }
    }

    /// Fill and ink of a chip.
    fn of(&self, position: usize, ground: sluice_core::figure::Ground) -> Option<(Color32, Color32)> {
        let rgb = colour::rgb(&self.scale, *self.values.get(position)?, ground)?;
        Some((theme::colour(rgb), theme::colour(colour::ink(rgb))))
    }
}

fn font() -> eframe::egui::FontId {
    eframe::egui::FontId::monospace(12.5)
}

/// Width of a chip; wide characters are given the room of two.
fn width(token: &Token, advance: f32) -> f32 {
    let columns: usize = token.text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    let narrow = token.text.chars().all(|c| c.is_ascii() || "·↵→▁".contains(c));
    let columns = if narrow { token.text.chars().count() } else { columns };
    advance * columns.max(1) as f32 + 2.0 * INSET
}

/// Which chips share a row; kept until the tokens or the width change.
fn rows(ui: &Ui, tokens: &Arc<[Token]>, advance: f32) -> Arc<[Range<usize>]> {
    type Kept = (Arc<[Token]>, u32, Arc<[Range<usize>]>);
    let room = ui.available_width() - 16.0;
    let id = Id::unique("strip-rows");
    let kept: Option<Kept> = ui.data(|data| data.get_temp(id));
    if let Some((_, _, rows)) = kept.filter(|(of, at, _)| Arc::ptr_eq(of, tokens) && *at == room as u32) {
        return rows;
    }
    let (mut rows, mut start, mut used) = (Vec::new(), 0, 0.0);
    for (position, token) in tokens.iter().enumerate() {
        let width = width(token, advance) + GAP;
        if used + width > room && position > start {
            rows.push(start..position);
            (start, used) = (position, 0.0);
        }
        used += width;
    }
    rows.push(start..tokens.len());
    let rows: Arc<[Range<usize>]> = rows.into();
    ui.data_mut(|data| data.insert_temp::<Kept>(id, (Arc::clone(tokens), room as u32, Arc::clone(&rows))));
    rows
}

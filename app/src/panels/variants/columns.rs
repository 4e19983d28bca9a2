//! Columns side by side.

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{
    Align2, FontId, Label, Layout, Rect, RichText, ScrollArea, Sense, TextStyle, Ui, UiBuilder, pos2, vec2,
};
use sluice_core::worker::{Column, Failure, ViewData};

use crate::command::Command;
use crate::state::{Beside, Head, Own, Source, State};
use crate::theme;
use crate::widgets::icon::{self, Icon};
use crate::widgets::{area, figure, states, words};

/// A column is at least so wide; more of them scroll.
const LEAST: f32 = 220.0;
const GAP: f32 = 12.0;
/// Next tokens of a column.
const NEXT: usize = 3;
/// How strong a column is drawn that shows what was before.
const STALE: f32 = 0.6;
/// Height of a continuation in points.
const TEXT: f32 = 34.0;

/// Draw them.
pub fn ui(ui: &mut Ui, state: &State, heads: &[Head], commands: &mut Vec<Command>) {
    let beside = &state.results.beside;
    let room = ui.available_size();
    let count = heads.len().max(1) as f32;
    let width = ((room.x - GAP * (count - 1.0)) / count).max(LEAST);
    let runs = || heads.iter().filter_map(|head| Some((head, head.variant.as_ref().ok()?)));
    // The one that others were compared with, else the first.
    let asked = beside.asked.as_ref().and_then(|asked| asked.variants.get(asked.against));
    let base = asked.and_then(|(letter, of)| runs().find(|(head, own)| head.letter == *letter && *own == of));
    let base = base.or(runs().next()).map(|(head, _)| head);
    let earlier = beside.text.is_some() && !runs().map(|(_, own)| own).eq(&beside.text_of);
    area::keep(ui, area::FIGURE, ui.available_rect_before_wrap());
    ScrollArea::horizontal().auto_shrink(false).show(ui, |ui| {
        let top = ui.max_rect().left_top();
        let mut index = 0;
        for (place, head) in heads.iter().enumerate() {
            let rect =
                Rect::from_min_size(pos2(top.x + place as f32 * (width + GAP), top.y), vec2(width, room.y));
            let builder = UiBuilder::new().max_rect(rect).layout(Layout::top_down(eframe::egui::Align::Min));
            ui.scope_builder(builder.id_salt(("column", place)), |ui| {
                ui.spacing_mut().item_spacing.y = theme::UNIT / 2.0;
                let is_base = base.is_some_and(|base| base.letter == head.letter);
                let variant = match &head.variant {
                    Ok(variant) => variant,
                    Err(why) => {
                        title(ui, head, None, false, commands);
                        return states::empty(ui, "It cannot be run", why);
                    }
                };
                let own = beside.of(index, variant).map_or_else(Own::default, |(_, own)| own);
                index += 1;
                title(ui, head, own.column.as_deref().filter(|_| own.fresh), is_base, commands);
                if let Some(Failure { cause, next_step }) = &own.failure {
                    return states::empty(ui, cause, next_step);
                }
                let Some(column) = own.column.as_deref() else { return states::loading(ui, "This variant") };
                let strength = |fresh: bool| if fresh { 1.0 } else { STALE };
                ui.scope(|ui| {
                    ui.multiply_opacity(strength(own.fresh));
                    next(ui, column);
                });
                text(ui, beside, head, base, earlier);
                ui.multiply_opacity(strength(own.drawn));
                let each = (ui.available_height() - GAP) / 2.0;
                if let Some(figure) = &own.figure {
                    boxed(ui, each, |ui| drop(figure::small(ui, figure, commands)));
                }
                match if is_base { &beside.losses } else { &own.difference } {
                    Some(figure) => boxed(ui, each, |ui| drop(figure::small(ui, figure, commands))),
                    None if is_base || !own.drawn => {}
                    None => drop(ui.weak("no difference: other rows, columns or classes")),
                }
            });
        }
        let whole = vec2(count * (width + GAP) - GAP, room.y);
        ui.allocate_space(whole);
    });
}

/// So much room for a figure, whatever it takes.
fn boxed(ui: &mut Ui, height: f32, draw: impl FnOnce(&mut Ui)) {
    let size = vec2(ui.available_width(), height.max(80.0));
    ui.allocate_ui(size, |ui| {
        ui.set_min_size(size);
        draw(ui);
    });
}

/// Letter and name, what it costs, and the button that takes it away.
fn title(ui: &mut Ui, head: &Head, own: Option<&Column>, base: bool, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.set_height(theme::ROW);
        let (rect, _) = ui.allocate_exact_size(vec2(theme::ROW, theme::ROW), Sense::hover());
        ui.painter().rect_filled(rect, 2.0, theme::soft(ui.ctx()));
        let font = FontId::monospace(14.0);
        ui.painter().text(
            rect.center(),
            Align2::CENTER_CENTER,
            &head.letter,
            font,
            ui.visuals().text_color(),
        );
        let right = Layout::right_to_left(eframe::egui::Align::Center);
        ui.with_layout(right, |ui| {
            if let Source::Pinned(index) = head.source {
                let name = format!("Unpin {}", head.name);
                if icon::button(ui, Icon::Remove, &name, true, false).clicked() {
                    commands.push(Command::Unpin(index));
                }
                if ui
                    .small_button("Take")
                    .on_hover_text("this prompt and plan in place of those on screen")
                    .clicked()
                {
                    commands.push(Command::TakeVariant(index));
                }
            }
            if let Some(own) = own {
                let loss = loss(own);
                let text = if base {
                    format!("loss {loss:.3}")
                } else {
                    format!("KL {:.3}  loss {loss:.3}", own.kl)
                };
                ui.label(RichText::new(text).monospace().small());
            }
            let left = Layout::left_to_right(eframe::egui::Align::Center);
            ui.with_layout(left, |ui| ui.add(Label::new(&*head.name).truncate()));
        });
    });
}

/// Mean surprisal of the prompt's tokens, of those that are foretold.
pub fn loss(column: &Column) -> f64 {
    let ViewData::Strip(strip) = &*column.strip else { return f64::NAN };
    let known = strip.surprisal_plan.iter().filter(|x| !x.is_nan());
    let (sum, count) = known.fold((0.0, 0.0), |(sum, count), x| (sum + f64::from(*x), count + 1.0));
    sum / count
}

/// The most likely next tokens, with bars.
fn next(ui: &mut Ui, column: &Column) {
    let ViewData::Next(next) = &*column.next else { return };
    for row in next.rows.iter().take(NEXT) {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
        let (text, quiet) = (ui.visuals().text_color(), ui.visuals().weak_text_color());
        let font = FontId::monospace(12.5);
        let painter = ui.painter();
        let name = theme::short(&row.token.text, 14);
        painter.text(rect.left_center(), Align2::LEFT_CENTER, name, font.clone(), text);
        let (from, whole) = (rect.left() + 116.0, (rect.width() - 180.0).max(10.0));
        let bar = vec2((whole * row.plan.clamp(0.0, 1.0)).max(1.0), 6.0);
        painter.rect_filled(Rect::from_min_size(pos2(from, rect.center().y - 3.0), bar), 0.0, quiet);
        let percent = format!("{:.2}", 100.0 * row.plan);
        painter.text(rect.right_center(), Align2::RIGHT_CENTER, percent, font, text);
    }
}

/// The continuation, with the words that the other does not have.
fn text(ui: &mut Ui, beside: &Beside, head: &Head, base: Option<&Head>, earlier: bool) {
    let of = |head: &Head| {
        beside
            .text
            .as_ref()?
            .texts
            .iter()
            .find(|text| text.name == head.letter)
            .map(|text| text.text.as_str())
    };
    let size = vec2(ui.available_width(), TEXT);
    ui.allocate_ui(size, |ui| {
        ui.set_min_size(size);
        let Some(own) = of(head).filter(|_| !earlier) else {
            let hint = if earlier { "of earlier variants: continue again" } else { "not continued yet" };
            ui.weak(hint);
            return;
        };
        let other = base.and_then(of).unwrap_or(own);
        let font = TextStyle::Small.resolve(ui.style());
        let (quiet, strong) = (ui.visuals().weak_text_color(), ui.visuals().text_color());
        let mut job = LayoutJob::default();
        for (word, different) in words::marked(own, other) {
            let background =
                if different { theme::soft(ui.ctx()) } else { eframe::egui::Color32::TRANSPARENT };
            let color = if different { strong } else { quiet };
            job.append(
                word,
                0.0,
                TextFormat { font_id: font.clone(), color, background, ..TextFormat::default() },
            );
        }
        job.wrap.max_rows = 2;
        ui.add(Label::new(job).wrap()).on_hover_text(own);
    });
}

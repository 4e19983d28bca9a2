//! The list of variants: named, shown or not, with what each costs on the prompt and on a text.

use eframe::egui::{Align2, Grid, RichText, ScrollArea, TextEdit, Ui};
use sluice_core::method::plan_cost::PLAN_COST;
use sluice_core::worker::ViewData;

use super::columns::loss;
use crate::command::Command;
use crate::errands::Dialog;
use crate::state::{Head, Source, State};
use crate::theme;
use crate::widgets::icon::{self, Icon};
use crate::widgets::{area, states};

/// Width of a name in points.
const NAME: f32 = 160.0;

/// Draw it.
pub fn ui(ui: &mut Ui, state: &mut State, heads: &[Head], commands: &mut Vec<Command>) {
    if state.variants.is_empty() {
        return states::empty(ui, "Nothing is pinned yet", "press Pin the current plan");
    }
    let text = state.studies.get(PLAN_COST.id).and_then(|study| study.text.clone());
    let named = text.as_ref().and_then(|path| path.file_name());
    let named =
        named.map_or_else(|| "the checkpoint's own text".into(), |name| name.to_string_lossy().into_owned());
    ui.horizontal(|ui| {
        ui.set_height(theme::ROW);
        let busy = state.studies.running == Some(PLAN_COST.id);
        let measure = ui.add_enabled(!busy, eframe::egui::Button::new("Measure on a text"));
        if measure
            .on_hover_text("loss of each plan, one after the other, as the panel Cost of a plan says")
            .clicked()
        {
            commands.push(Command::MeasureVariants);
        }
        if ui.button(named).on_hover_text("choose a text").clicked() {
            commands.push(Command::Ask(Dialog::Text(PLAN_COST.id)));
        }
    });
    area::keep(ui, area::FIGURE, ui.available_rect_before_wrap());
    ScrollArea::both().auto_shrink(false).show(ui, |ui| {
        Grid::new("variants")
            .num_columns(9)
            .min_col_width(0.0)
            .striped(false)
            .min_row_height(theme::ROW)
            .spacing([12.0, 4.0])
            .show(ui, |ui| {
                for head in ["", "name", "plan", "next", "KL", "loss", "on a text", "same", ""] {
                    ui.label(RichText::new(head).weak().small());
                }
                ui.end_row();
                for index in 0..state.variants.len() {
                    row(ui, state, heads, index, commands);
                    ui.end_row();
                }
            });
    });
}

fn row(ui: &mut Ui, state: &mut State, heads: &[Head], index: usize, commands: &mut Vec<Command>) {
    let runs = heads.iter().filter(|head| head.variant.is_ok());
    let place = runs.clone().position(|head| head.source == Source::Pinned(index));
    let letter = place.and_then(|place| runs.clone().nth(place)).map(|head| head.letter.clone());
    // What stood there before is no answer.
    let own = place.zip(runs.clone().find(|head| head.source == Source::Pinned(index)));
    let own = own.and_then(|(place, head)| state.results.beside.of(place, head.variant.as_ref().ok()?));
    let column = own.and_then(|(_, own)| own.column.filter(|_| own.fresh));
    let Some(pinned) = state.variants.get_mut(index) else { return };
    let name = format!("Show {}", pinned.name);
    let shown = ui.checkbox(&mut pinned.shown, letter.unwrap_or_default());
    shown.widget_info(|| {
        eframe::egui::WidgetInfo::selected(eframe::egui::Role::CheckBox, true, pinned.shown, &name)
    });
    let mut text = pinned.name.to_string();
    let edit = TextEdit::singleline(&mut text).align(Align2::LEFT_CENTER).id_salt(("variant", index));
    if ui.add_sized([NAME, theme::ROW], edit).on_hover_text("its name").changed() {
        pinned.name = text.into();
    }
    let summary = pinned.document.plan.summary();
    ui.label(theme::short(&summary, 28)).on_hover_text(&summary);
    let mono = |text: String| RichText::new(text).monospace();
    match &column {
        Some(column) => {
            let next = match &*column.next {
                ViewData::Next(next) => next.rows.first().cloned(),
                _ => None,
            };
            let next =
                next.map_or_else(String::new, |row| format!("{} {:.2} %", row.token.text, 100.0 * row.plan));
            ui.label(mono(next));
            ui.label(mono(format!("{:.3}", column.kl)));
            ui.label(mono(format!("{:.3}", loss(column))));
        }
        None => ["", "", ""].into_iter().for_each(|text| drop(ui.label(text))),
    }
    match &pinned.cost {
        Some(cost) => {
            let [difference, low, high] = cost.difference;
            ui.label(mono(format!("{:.3} ({difference:+.3})", cost.loss))).on_hover_text(format!(
                "nats a token over {}; difference {difference:+.3} [{low:+.3}, {high:+.3}], KL {:.3} nats",
                cost.text, cost.kl
            ));
            ui.label(mono(format!("{:.1} %", 100.0 * cost.same)));
        }
        None => ["not measured", ""].into_iter().for_each(|text| drop(ui.weak(text))),
    }
    let name = pinned.name.to_string();
    ui.horizontal(|ui| {
        if ui.button("Take").on_hover_text("this prompt and plan in place of those on screen").clicked() {
            commands.push(Command::TakeVariant(index));
        }
        if icon::button(ui, Icon::Remove, &format!("Unpin {name}"), true, false).clicked() {
            commands.push(Command::Unpin(index));
        }
    });
}

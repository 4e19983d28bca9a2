//! The plan stack: switch, scale, reorder and remove interventions.

use std::ops::Range;

use eframe::egui::{
    Align, Button, Checkbox, CollapsingHeader, Label, Layout, RichText, Role, Sense, Slider, SliderClamping,
    TextEdit, Ui, WidgetInfo, vec2,
};
use serde_json::Value;
use sluice_core::engine::describe_small;
use sluice_core::plan::{Change, Item, Plan, order};
use sluice_core::spec::{Field, FieldKind};

use crate::command::Command;
use crate::errands::Dialog;
use crate::state::State;
use crate::theme;
use crate::widgets::icon::{self, Icon};

/// Shown in the empty box.
const EXAMPLE: &str = r#"{"kind": "ablate", "site": "blocks.1.attn.hook_z", "unit": 0, "to": "mean"}"#;

/// Which rows are open.
#[derive(Clone, Debug, Default)]
struct Choice {
    /// The item whose details are shown.
    selected: Option<usize>,
    /// First items of runs of one kind that are unfolded.
    unfolded: Vec<usize>,
}

/// Items of one kind in a row, as many as this, fold into one.
const RUN: usize = 3;

/// Draw the stack.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let mut choice: Choice = state.choices.of();
    let items = &state.history.plan().items;
    ui.horizontal(|ui| {
        ui.set_height(theme::ROW);
        ui.label("Plan");
        ui.weak(match items.len() {
            0 => "unmodified".to_owned(),
            1 => "1 change".to_owned(),
            count => format!("{count} changes"),
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.add_enabled(!items.is_empty(), Button::new("Clear plan").small()).clicked() {
                commands.push(Command::Clear);
            }
        });
    });
    if items.is_empty() {
        ui.label(
            RichText::new(
                "Nothing is changed. Methods under Change put their changes here; each can be switched off, scaled and undone.",
            )
            .small()
            .weak(),
        );
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    for run in runs(items) {
        let folds = run.len() >= RUN;
        let open = !folds || choice.unfolded.contains(&run.start);
        if folds {
            ui.push_id(("run", run.start), |ui| folded(ui, items, run.clone(), open, &mut choice, commands));
        }
        for index in run.filter(|_| open) {
            let Some(item) = items.get(index) else { continue };
            ui.push_id(index, |ui| {
                if row(ui, index, item, choice.selected == Some(index), commands) {
                    choice.selected = (choice.selected != Some(index)).then_some(index);
                }
                if choice.selected == Some(index) {
                    ui.indent("details", |ui| {
                        ui.spacing_mut().item_spacing.y = theme::UNIT;
                        details(ui, state, index, item, commands);
                    });
                }
            });
        }
    }
    ui.spacing_mut().item_spacing.y = theme::UNIT;
    if items.len() > 1 {
        ui.label(RichText::new("order of effects").small().weak().underline())
            .on_hover_text(format!("applied in this order: {}", order()));
    }
    state.choices.set(choice);
    as_json(ui, &mut state.item, commands);
}

/// Stretches of items of one kind.
fn runs(items: &[Item]) -> Vec<Range<usize>> {
    let mut start = 0;
    let same = |a: &Item, b: &Item| a.change.kind() == b.change.kind();
    items
        .chunk_by(same)
        .map(|run| {
            start += run.len();
            start - run.len()..start
        })
        .collect()
}

/// One row for a stretch of items of one kind: a switch of all of them, and how many.
fn folded(
    ui: &mut Ui,
    items: &[Item],
    run: Range<usize>,
    open: bool,
    choice: &mut Choice,
    commands: &mut Vec<Command>,
) {
    let here = items.get(run.clone()).unwrap_or_default();
    let kind = here.first().map_or("", |item| item.change.kind());
    let all = here.iter().all(|item| item.on);
    ui.horizontal(|ui| {
        ui.set_height(theme::ROW);
        let mut on = all;
        let name = format!("{} × {kind}", here.len());
        let switch = ui.add(Checkbox::without_text(&mut on));
        switch.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, all, &name));
        if switch.changed() {
            commands.extend(
                run.clone()
                    .zip(here)
                    .map(|(index, item)| Command::Edit(index, Box::new(Item { on, ..item.clone() }))),
            );
        }
        let listed: Vec<String> = here.iter().map(|item| item.change.summary()).collect();
        let label = ui.selectable_label(open, &name).on_hover_text(listed.join("\n"));
        if label.clicked() {
            match open {
                true => choice.unfolded.retain(|start| *start != run.start),
                false => choice.unfolded.push(run.start),
            }
        }
    });
}

/// An item in a row: its switch, what it does, and what moves or removes it. True when it was clicked.
fn row(ui: &mut Ui, index: usize, item: &Item, selected: bool, commands: &mut Vec<Command>) -> bool {
    let summary = item.change.summary();
    let size = vec2(ui.available_width(), theme::ROW);
    let mut clicked = false;
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        ui.set_min_size(size);
        if selected {
            ui.painter().rect_filled(ui.max_rect(), 2.0, theme::soft(ui.ctx()));
        }
        ui.spacing_mut().item_spacing.x = 0.0;
        if icon::button(ui, Icon::Remove, &format!("Remove: {summary}"), true, false).clicked() {
            commands.push(Command::Remove(index));
        }
        if icon::button(ui, Icon::Raise, &format!("Move up: {summary}"), index > 0, false).clicked() {
            commands.push(Command::Raise(index));
        }
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 1.5 * theme::UNIT;
            let mut on = item.on;
            let switch = ui.add(Checkbox::without_text(&mut on));
            switch.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, item.on, &summary));
            if switch.changed() {
                commands.push(Command::Edit(index, Box::new(Item { on, ..item.clone() })));
            }
            let strength =
                if item.strength == 1.0 { String::new() } else { format!(" × {:.2}", item.strength) };
            let text = RichText::new(format!("{summary}{strength}"));
            let text = if item.on { text } else { text.weak() };
            let label = ui.add(Label::new(text).truncate().sense(Sense::click()));
            let name = format!("details: {summary}");
            label.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, &name));
            clicked = label.on_hover_text(&summary).clicked();
        });
    });
    clicked
}

/// Any kind at any site, as in a plan file: patches, mean ablations, thresholds …
fn as_json(ui: &mut Ui, written: &mut String, commands: &mut Vec<Command>) {
    CollapsingHeader::new("Add a change as JSON").show(ui, |ui| {
        let label = ui.label(
            RichText::new("one item of a plan; docs/plan.md has an example of each kind").small().weak(),
        );
        let edit = TextEdit::multiline(written).code_editor().desired_rows(3).hint_text(EXAMPLE);
        ui.add(edit.desired_width(f32::INFINITY)).labelled_by(label.id);
        if written.trim().is_empty() {
            return;
        }
        let text = format!("{{\"version\": 1, \"items\": [{written}]}}");
        match Plan::from_json(&text) {
            Ok(plan) if plan.items.is_empty() => {}
            Ok(plan) => {
                if ui.small_button("Add to the plan").clicked() {
                    commands.push(Command::AddAll(plan.items));
                    written.clear();
                }
            }
            Err(error) => {
                let text = RichText::new(error.to_string()).small().color(crate::theme::warning(ui.ctx()));
                ui.label(text);
            }
        }
    });
}

/// What can be changed of the item that is selected.
fn details(ui: &mut Ui, state: &State, index: usize, item: &Item, commands: &mut Vec<Command>) {
    let mut edited = item.clone();
    if let Change::Route(route) = &item.change
        && route.needs_small()
        && let Some(card) = &state.card
    {
        // Of the whole plan: all its maps share one.
        let surrogate = state.history.plan().surrogate();
        let text = describe_small(&card.spec, !state.ids_only(), &surrogate);
        ui.label(RichText::new(format!("small FFN: {text}")).small().weak());
        if !card.spec.is_duo() && !card.spec.has_experts() {
            let mut percent = 100.0 * surrogate.share();
            let slider = Slider::new(&mut percent, 0.5..=100.0).logarithmic(true).max_decimals(2);
            let size = ui.add(slider.suffix(" %").text("surrogate size"));
            if size
                .on_hover_text("share of the FFN's neurons that small stands for; not in the paper")
                .changed()
                && let Change::Route(route) = &mut edited.change
            {
                route.surrogate.share = Some(percent / 100.0);
            }
            if ui.small_button("Choose sample text…").clicked() {
                commands.push(Command::Ask(Dialog::Sample));
            }
        }
    }
    let next = format!("next tokens: {}", item.change.past_the_prompt());
    ui.label(RichText::new(next).small().weak());
    if let Some(change) = sliders(ui, &edited.change) {
        edited.change = change;
    }
    ui.horizontal(|ui| {
        ui.spacing_mut().slider_width = 90.0;
        ui.add(Slider::new(&mut edited.strength, 0.0..=1.0).text("strength"));
    });
    if edited != *item {
        commands.push(Command::Edit(index, Box::new(edited)));
    }
}

/// A slider for each number of an intervention that has a range; what they change it to.
fn sliders(ui: &mut Ui, change: &Change) -> Option<Change> {
    let ranged = |field: &&Field| {
        matches!(field.kind, FieldKind::Int | FieldKind::Float) && field.min.and(field.max).is_some()
    };
    let mut fields = change.fields().iter().filter(ranged).peekable();
    // A routing map is long, and has none.
    fields.peek()?;
    let written = change.to_value().ok()?;
    let mut changed = Vec::new();
    for field in fields {
        let (Some(min), Some(max)) = (field.min, field.max) else { continue };
        let Some(mut value) = field.of(&written).and_then(Value::as_f64) else { continue };
        // What a plan file has outside the range stays until it is moved.
        let mut slider = Slider::new(&mut value, min..=max).clamping(SliderClamping::Edits);
        if field.kind == FieldKind::Int {
            slider = slider.integer();
        }
        let slider = ui.add(slider.suffix(suffix(field)).text(field.name));
        if slider.on_hover_text(field.help).changed() {
            let whole = field.kind == FieldKind::Int;
            changed.push((field, if whole { (value as i64).into() } else { value.into() }));
        }
    }
    if changed.is_empty() { None } else { change.with(&changed).ok() }
}

fn suffix(field: &Field) -> String {
    if field.unit.is_empty() { String::new() } else { format!(" {}", field.unit) }
}

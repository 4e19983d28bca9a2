//! The plan stack: switch, scale, reorder and remove interventions.

use eframe::egui::{
    Button, CollapsingHeader, Response, RichText, Role, Slider, SliderClamping, TextEdit, Ui, WidgetInfo,
};
use serde_json::Value;
use sluice_core::engine::describe_small;
use sluice_core::plan::{Change, Item, Plan, order};
use sluice_core::spec::{Field, FieldKind};

use crate::command::Command;
use crate::errands::Dialog;
use crate::state::State;
use crate::widgets::states;

/// Shown in the empty box.
const EXAMPLE: &str = r#"{"kind": "ablate", "site": "blocks.1.attn.hook_z", "unit": 0, "to": "mean"}"#;

/// Draw the stack.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let items = &state.history.plan().items;
    ui.horizontal(|ui| {
        ui.strong("Plan");
        if ui.add_enabled(!items.is_empty(), Button::new("Clear plan").small()).clicked() {
            commands.push(Command::Clear);
        }
    });
    if items.is_empty() {
        let next_step = "paint the routing map, take out a sublayer, or inject a vector";
        states::empty(ui, "The model is unmodified", next_step);
        ui.add_space(4.0 * crate::theme::UNIT);
        return as_json(ui, &mut state.item, commands);
    }
    for (index, item) in items.iter().enumerate() {
        ui.push_id(index, |ui| entry(ui, state, index, item, commands));
    }
    ui.separator();
    ui.label(RichText::new(format!("applied in this order: {}", order())).small().weak());
    as_json(ui, &mut state.item, commands);
}

/// Any kind at any site, as in a plan file: patches, mean ablations, thresholds …
fn as_json(ui: &mut Ui, written: &mut String, commands: &mut Vec<Command>) {
    CollapsingHeader::new("Add as JSON").show(ui, |ui| {
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

fn entry(ui: &mut Ui, state: &State, index: usize, item: &Item, commands: &mut Vec<Command>) {
    let mut edited = item.clone();
    ui.separator();
    ui.checkbox(&mut edited.on, item.change.summary());
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
    ui.horizontal(|ui| {
        let up = ui.add_enabled(index > 0, Button::new("Up").small());
        name(&up, "Move up", item);
        if up.on_hover_text("before the one above; counts among items of one kind").clicked() {
            commands.push(Command::Raise(index));
        }
        let remove = ui.add(Button::new("Remove").small());
        name(&remove, "Remove", item);
        if remove.clicked() {
            commands.push(Command::Remove(index));
        }
    });
    if edited != *item {
        commands.push(Command::Edit(index, Box::new(edited)));
    }
}

/// What a screen reader says of a button that every item has.
fn name(button: &Response, what: &str, item: &Item) {
    let (enabled, text) = (button.enabled(), format!("{what}: {}", item.change.summary()));
    button.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, &text));
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

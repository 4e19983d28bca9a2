//! The plan stack: switch, scale, reorder and remove interventions.

use eframe::egui::{Button, CollapsingHeader, Response, RichText, Role, Slider, TextEdit, Ui, WidgetInfo};
use sluice_core::engine::describe_small;
use sluice_core::plan::{Change, Item, Plan};

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
    ui.label(
        RichText::new(
            "applied in this order: routing, experts, thresholds, removal, corruption, patches, ablation, scaling, injection",
        )
        .small()
        .weak(),
    );
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
    ui.label(RichText::new(past_the_prompt(&item.change)).small().weak());
    match &mut edited.change {
        Change::Add(add) => {
            ui.add(Slider::new(&mut add.scale, -4.0..=4.0).text("vector scale"));
        }
        Change::Threshold(threshold) => {
            ui.add(Slider::new(&mut threshold.value, 0.0..=4.0).text("threshold"));
        }
        Change::Scale(scale) => {
            ui.add(Slider::new(&mut scale.factor, -2.0..=4.0).text("factor"));
        }
        _ => {}
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

/// What positions past the prompt do.
fn past_the_prompt(change: &Change) -> String {
    use sluice_core::plan::Positions;
    let positions = match change {
        Change::Route(route) => {
            let next = route.layers.iter().filter(|layer| layer.next != sluice_core::plan::Lane::Big).count();
            return if next == 0 {
                "next tokens: big everywhere".into()
            } else {
                format!("next tokens: not big in {next} layers")
            };
        }
        Change::Experts(change) => &change.positions,
        Change::Router(_) => &Positions::All,
        Change::Threshold(change) => &change.positions,
        Change::Skip(change) => &change.positions,
        Change::Corrupt(change) => &change.positions,
        Change::Patch(change) => &change.positions,
        Change::Ablate(change) => &change.positions,
        Change::Scale(change) => &change.positions,
        Change::Add(change) => &change.positions,
        Change::Iri(_) => &Positions::Last,
    };
    match (change, positions) {
        (Change::Patch(_), _) => "next tokens: unmodified past the source's end".into(),
        (_, Positions::All | Positions::Last) => "next tokens: changed too".into(),
        (_, Positions::Prompt | Positions::At(_)) => "next tokens: unmodified".into(),
    }
}

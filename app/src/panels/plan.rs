//! The plan stack: switch, scale, reorder and remove interventions.

use std::ops::Range;

use eframe::egui::{
    Align, Button, Checkbox, CollapsingHeader, CursorIcon, EventFilter, Id, InnerResponse, Key, Label,
    Layout, Rect, RichText, Role, Sense, Slider, SliderClamping, Stroke, TextEdit, Ui, WidgetInfo, vec2,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_core::engine::describe_small;
use sluice_core::method::plan_cost::{PLAN_COST, PlanCostFound};
use sluice_core::plan::edits::together;
use sluice_core::plan::{Change, Item, Plan, order};
use sluice_core::spec::{Field, FieldKind};

use crate::command::Command;
use crate::errands::Dialog;
use crate::state::{PanelChoice, State};
use crate::theme;
use crate::widgets::icon::{self, Icon};

/// Shown in the empty box.
const EXAMPLE: &str = r#"{"kind": "ablate", "site": "blocks.1.attn.hook_z", "unit": 0, "to": "mean"}"#;

/// Which rows are open.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Choice {
    /// The item whose details are shown.
    selected: Option<usize>,
    /// First items of runs of one kind that are unfolded.
    unfolded: Vec<usize>,
}

impl PanelChoice for Choice {
    const PANEL: &'static str = "plan";
}

/// Items of one kind in a row, as many as this, fold into one; fewer where they can be said in one line.
const RUN: usize = 3;

/// Rows as they were drawn, with the items that each stands for.
type Rows = Vec<(Range<usize>, Rect)>;

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
            if items.len() > 1 {
                let order = format!("applied in this order, whatever the rows': {}", order());
                let about = icon::button(ui, Icon::About, "Order of effects", true, false);
                about.on_hover_text(order);
            }
        });
    });
    cost(ui, state, commands);
    let items = &state.history.plan().items;
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
    let (mut rows, mut moved): (Rows, Option<Moved>) = (Vec::new(), None);
    for run in runs(items) {
        let here = items.get(run.clone()).unwrap_or_default();
        let said = if here.len() > 1 { together(here) } else { None };
        let folds = here.len() >= RUN || said.is_some();
        let open = !folds || choice.unfolded.contains(&run.start);
        if folds {
            let said = said.unwrap_or_else(|| format!("{} × {}", here.len(), kind(here)));
            let rect = folded(ui, here, run.clone(), (&said, open), &mut choice, commands);
            if !open {
                rows.push((run.clone(), rect));
            }
        }
        for index in run.filter(|_| open) {
            let Some(item) = items.get(index) else { continue };
            ui.push_id(index, |ui| {
                let drawn = row(ui, index, item, choice.selected == Some(index), commands);
                if drawn.clicked {
                    choice.selected = (choice.selected != Some(index)).then_some(index);
                }
                moved = drawn.moved.or(moved);
                rows.push((index..index + 1, drawn.rect));
                if choice.selected == Some(index) {
                    ui.indent("details", |ui| {
                        ui.spacing_mut().item_spacing.y = theme::UNIT;
                        details(ui, state, index, item, commands);
                    });
                }
            });
        }
    }
    if let Some((from, to)) = moved.and_then(|moved| place(ui, &rows, items.len(), moved)) {
        commands.push(Command::Move(from, to));
        choice.selected = choice.selected.map(|at| if at == from { to } else { at });
    }
    ui.spacing_mut().item_spacing.y = theme::UNIT;
    state.choices.set(choice);
    as_json(ui, &mut state.item, commands);
}

/// What the plan costs on a text, where a person wants to see it after each change.
fn cost(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        theme::fields(ui);
        let live = ui.checkbox(&mut state.settings.live_cost, "Loss on a text");
        live.on_hover_text(
            "measured after each change, on the text that Cost of a plan has; other studies are not stopped for it",
        );
        if !state.settings.live_cost || state.history.plan().active().is_empty() {
            return;
        }
        let findings = state.studies.findings(PLAN_COST.id).cloned();
        let found = findings.as_ref().and_then(|findings| findings.value::<PlanCostFound>());
        let found = found.filter(|found| !found.base.is_empty());
        let (Some(findings), Some(found)) = (&findings, found) else {
            ui.weak("measuring …");
            return;
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let now = findings.done && state.earlier(findings).is_none();
        let (base, plan, kl) = (mean(&found.base), mean(&found.plan), mean(&found.kl));
        let text = RichText::new(format!("{base:.3} → {plan:.3} nats")).monospace();
        let about = format!(
            "{:+.4} nats a token, KL {kl:.4}, over {} pieces of {} tokens{}; Cost of a plan has the interval",
            plan - base,
            found.base.len(),
            found.tokens,
            if now { "" } else { "; being measured again" }
        );
        let shown = ui.add(Button::new(if now { text } else { text.weak() }).frame(false));
        if shown.on_hover_text(about).clicked() {
            commands.push(Command::Show(PLAN_COST.id));
        }
    });
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

fn kind(items: &[Item]) -> &'static str {
    items.first().map_or("", |item| item.change.kind())
}

/// One row for a stretch of items: a switch of all of them, what they do, and how many they are.
fn folded(
    ui: &mut Ui,
    here: &[Item],
    run: Range<usize>,
    (said, open): (&str, bool),
    choice: &mut Choice,
    commands: &mut Vec<Command>,
) -> Rect {
    let all = here.iter().all(|item| item.on);
    let drawn = frame(ui, |ui, seen| {
        let id = Id::unique(("remove run", run.start));
        if icon::of_row(ui, id, Icon::Remove, &format!("Remove all: {said}"), seen).clicked() {
            commands.push(Command::RemoveAll(run.clone()));
        }
        ui.label(RichText::new(here.len().to_string()).monospace().weak());
        ui.add_space(2.0 * theme::UNIT);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 1.5 * theme::UNIT;
            // Where others have their grip.
            ui.add_space(icon::SIDE - 1.5 * theme::UNIT);
            let mut on = all;
            let switch = ui.add(Checkbox::without_text(&mut on));
            switch.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, all, said));
            if switch.changed() {
                let items = run.clone().zip(here);
                commands.extend(
                    items.map(|(index, item)| Command::Edit(index, Box::new(Item { on, ..item.clone() }))),
                );
            }
            let text = if all { RichText::new(said) } else { RichText::new(said).weak() };
            let label = ui.add(Label::new(text).truncate().sense(Sense::click()));
            let name = format!("unfold: {said}");
            label.widget_info(|| WidgetInfo::selected(Role::Button, true, open, &name));
            let each = |ui: &mut Ui| here.iter().for_each(|item| drop(ui.label(item.change.summary())));
            label.on_hover_ui(each).clicked()
        })
        .inner
    });
    if drawn.inner {
        match open {
            true => choice.unfolded.retain(|start| *start != run.start),
            false => choice.unfolded.push(run.start),
        }
    }
    drawn.response.rect
}

/// The ground of a row, and its contents from the right end inwards; they know whether the pointer is on the row.
fn frame<R>(ui: &mut Ui, contents: impl FnOnce(&mut Ui, bool) -> R) -> InnerResponse<R> {
    let size = vec2(ui.available_width(), theme::ROW);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        ui.set_min_size(size);
        ui.spacing_mut().item_spacing.x = 0.0;
        let seen = ui.rect_contains_pointer(ui.max_rect());
        if seen {
            ui.painter().rect_filled(ui.max_rect(), 2.0, ui.visuals().faint_bg_color);
        }
        contents(ui, seen)
    })
}

/// An item on its way: its index, and where it is let go or which way a key moves it.
#[derive(Clone, Copy, Debug)]
enum Moved {
    Up(usize),
    Down(usize),
    /// Held by the pointer; let go or not yet.
    Held(usize, bool),
}

/// What was done to a row.
struct Drawn {
    rect: Rect,
    clicked: bool,
    moved: Option<Moved>,
}

/// An item in a row: its grip, its switch, what it does, and what removes it.
fn row(ui: &mut Ui, index: usize, item: &Item, selected: bool, commands: &mut Vec<Command>) -> Drawn {
    let summary = item.change.summary();
    let mut moved = None;
    let drawn = frame(ui, |ui, seen| {
        if selected {
            ui.painter().rect_filled(ui.max_rect(), 2.0, theme::soft(ui.ctx()));
        }
        let seen = seen || selected;
        let id = Id::unique(("remove item", index));
        if icon::of_row(ui, id, Icon::Remove, &format!("Remove: {summary}"), seen).clicked() {
            commands.push(Command::Remove(index));
        }
        if item.strength != 1.0 {
            ui.label(RichText::new(format!("{:.2}", item.strength)).monospace().weak());
            ui.add_space(2.0 * theme::UNIT);
        }
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            moved = grip(ui, index, &summary, seen);
            ui.spacing_mut().item_spacing.x = 1.5 * theme::UNIT;
            let mut on = item.on;
            let switch = ui.add(Checkbox::without_text(&mut on));
            switch.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, item.on, &summary));
            if switch.changed() {
                commands.push(Command::Edit(index, Box::new(Item { on, ..item.clone() })));
            }
            let text = RichText::new(&summary);
            let text = if item.on { text } else { text.weak() };
            let label = ui.add(Label::new(text).truncate().sense(Sense::click()));
            let name = format!("details: {summary}");
            label.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, &name));
            label.on_hover_text(&summary).clicked()
        })
        .inner
    });
    Drawn { rect: drawn.response.rect, clicked: drawn.inner, moved }
}

/// What takes an item elsewhere: the pointer drags it, the arrow keys move it.
fn grip(ui: &mut Ui, index: usize, summary: &str, seen: bool) -> Option<Moved> {
    let id = grip_id(index);
    let name = format!("Move: {summary}");
    let response = icon::of_row(ui, id, Icon::Grip, &name, seen).on_hover_cursor(CursorIcon::Grab);
    if response.dragged() || response.drag_stopped() {
        return Some(Moved::Held(index, response.drag_stopped()));
    }
    if !response.has_focus() {
        return None;
    }
    let filter = EventFilter { vertical_arrows: true, ..EventFilter::default() };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(id, filter));
    let pressed = |key| ui.input(|input| input.key_pressed(key));
    if pressed(Key::ArrowUp) {
        Some(Moved::Up(index))
    } else if pressed(Key::ArrowDown) {
        Some(Moved::Down(index))
    } else {
        None
    }
}

fn grip_id(index: usize) -> Id {
    Id::unique(("grip", index))
}

/// From where to where an item goes, once it does; until then a line says where it would.
fn place(ui: &Ui, rows: &Rows, count: usize, moved: Moved) -> Option<(usize, usize)> {
    let (from, to) = match moved {
        Moved::Up(from) => (from, from.checked_sub(1)?),
        Moved::Down(from) => (from, from + 1),
        Moved::Held(from, done) => {
            let y = ui.input(|input| input.pointer.latest_pos())?.y;
            let after = rows.iter().find(|(_, rect)| rect.center().y > y);
            let before = after.map_or(count, |(range, _)| range.start);
            if !done {
                let line =
                    after.map(|(_, rect)| rect.top()).or(rows.last().map(|(_, rect)| rect.bottom()))?;
                let stroke = Stroke::new(2.0, theme::accent(ui.ctx()));
                ui.painter().hline(ui.max_rect().x_range(), line, stroke);
                return None;
            }
            (from, if before > from { before - 1 } else { before })
        }
    };
    if to >= count || from == to {
        return None;
    }
    if !matches!(moved, Moved::Held(..)) {
        // The focus goes with the item.
        ui.memory_mut(|memory| memory.request_focus(grip_id(to)));
    }
    Some((from, to))
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

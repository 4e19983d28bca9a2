//! Controls of a method's parameters, made from their declaration.

use eframe::egui::{ComboBox, DragValue, Response, Slider, TextEdit, Ui};
use serde_json::Value;
use sluice_core::method::{ListOf, Method, SubjectKind};
use sluice_core::spec::{Field, FieldKind};

use super::head;
use super::pickers::answer_box;
use crate::command::Command;
use crate::errands::Dialog;
use crate::state::State;

/// What a parameter without a value is called.
const AUTO: &str = "auto";
/// A range that a slider shows well.
const SLIDER: f64 = 1000.0;

/// The text that a method reads, and its parameters, in one row.
pub fn controls(ui: &mut Ui, state: &mut State, method: &'static Method, commands: &mut Vec<Command>) {
    let text = method.subject == SubjectKind::Text;
    let before = usize::from(text || method.takes_lists());
    let count = before + method.fields.len();
    if count == 0 {
        return;
    }
    head::parameters(ui, method.id, count, |ui, index| {
        ui.spacing_mut().slider_width = 90.0;
        match index.checked_sub(before).and_then(|index| method.fields.get(index)) {
            None if text => source(ui, state, method, commands),
            None => about(ui, state, method, commands),
            Some(field) if field.kind == FieldKind::Answer => answer_box(ui, state, commands),
            Some(field) => {
                let mut value = state.parameter(method, field.name);
                let before = value.clone();
                control(ui, method.id, field, &mut value, commands);
                if value != before {
                    state.studies.get_mut(method.id).ask.insert(field.name.to_owned(), value);
                }
            }
        }
    });
}

/// The text file that a method reads.
fn source(ui: &mut Ui, state: &State, method: &'static Method, commands: &mut Vec<Command>) {
    let text = state.studies.get(method.id).and_then(|study| study.text.as_ref());
    let name = text.and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let button = ui.button(name.unwrap_or_else(|| "the checkpoint's own text".into()));
    if button.on_hover_text("choose a text file").clicked() {
        commands.push(Command::Ask(Dialog::Text(method.id)));
    }
}

/// What a method is asked about: the prompt that is there, or a list, with what stands for our fields in it.
fn about(ui: &mut Ui, state: &mut State, method: &'static Method, commands: &mut Vec<Command>) {
    let known = state.studies.get(method.id).and_then(|study| study.list.clone());
    let mut list = known.clone();
    let name =
        list.as_ref().and_then(|list| list.file.file_name()).map(|name| name.to_string_lossy().into_owned());
    ui.label("about");
    let button = ui.button(name.unwrap_or_else(|| "this prompt".into()));
    if button
        .on_hover_text("choose a list of prompts (JSON lines) in its place; findings are means over it")
        .clicked()
    {
        commands.push(Command::Ask(Dialog::List(method.id)));
    }
    if let Some(of) = &mut list {
        fields_of_list(ui, of);
        if ui.small_button("×").on_hover_text("about this prompt again").clicked() {
            list = None;
        }
    }
    if list != known {
        state.studies.get_mut(method.id).list = list;
    }
}

/// What stands for our fields in a list, and how many items are taken.
fn fields_of_list(ui: &mut Ui, of: &mut ListOf) {
    let mut map = of.map.join("; ");
    let hint = "answer= {attribute}; subject=name";
    let field = TextEdit::singleline(&mut map).desired_width(150.0).hint_text(hint);
    let label = ui.label("fields");
    let field = ui.add(field).labelled_by(label.id);
    if field
        .on_hover_text(
            "what stands in the list for prompt, subject, answer …: OURS=THEIRS; OURS=TEXT {THEIRS}",
        )
        .changed()
    {
        // As typed: one that is not begun yet is empty.
        of.map = map.split("; ").map(str::to_owned).collect();
    }
    let mut given = of.most.is_some();
    if ui.checkbox(&mut given, "at most").on_hover_text("items of the list at most").changed() {
        of.most = given.then_some(100);
    }
    if let Some(most) = &mut of.most {
        ui.add(DragValue::new(most).range(1..=u64::MAX).suffix(" items"));
    }
}

/// One parameter. What may be left out has a switch before it.
fn control(
    ui: &mut Ui,
    method: &'static str,
    field: &'static Field,
    value: &mut Value,
    commands: &mut Vec<Command>,
) {
    let nullable = (field.default)().is_null();
    let label = label(field);
    if nullable && matches!(field.kind, FieldKind::Int | FieldKind::Float | FieldKind::Text) {
        let mut given = !value.is_null();
        if ui.checkbox(&mut given, &label).on_hover_text(field.help).changed() {
            *value = if given { least(field) } else { Value::Null };
        }
        if given {
            ui.push_id(field.name, |ui| bare(ui, field, value).on_hover_text(field.help));
        }
        return;
    }
    match field.kind {
        FieldKind::Bool if !nullable => {
            let mut on = value.as_bool().unwrap_or_default();
            if ui.checkbox(&mut on, label).on_hover_text(field.help).changed() {
                *value = Value::Bool(on);
            }
        }
        FieldKind::Bool => {
            choice(ui, (field, &label), value, &[("yes", Value::Bool(true)), ("no", Value::Bool(false))]);
        }
        FieldKind::Enum(names) => {
            let names: Vec<(&str, Value)> = names.iter().map(|&name| (name, Value::from(name))).collect();
            choice(ui, (field, &label), value, &names);
        }
        FieldKind::File => {
            let name = value.as_str().map_or("none", |path| path.rsplit('/').next().unwrap_or(path));
            if ui.button(format!("{label}: {name}")).on_hover_text(field.help).clicked() {
                commands.push(Command::Ask(Dialog::Parameter(method, field.name)));
            }
            if !value.is_null() && ui.small_button("×").on_hover_text("no file").clicked() {
                *value = Value::Null;
            }
        }
        _ => {
            let named = ui.label(label);
            bare(ui, field, value).labelled_by(named.id).on_hover_text(field.help);
        }
    }
}

/// One of a few; none of them = decided when the method starts.
fn choice(ui: &mut Ui, (field, label): (&Field, &str), value: &mut Value, names: &[(&str, Value)]) {
    let named = ui.label(label);
    let shown = names.iter().find(|(_, known)| known == value).map_or(AUTO, |(name, _)| name);
    let combo = ComboBox::from_id_salt(field.name).width(72.0).selected_text(shown).show_ui(ui, |ui| {
        if (field.default)().is_null() {
            ui.selectable_value(value, Value::Null, AUTO);
        }
        for (name, known) in names {
            ui.selectable_value(value, known.clone(), *name);
        }
    });
    combo.response.labelled_by(named.id).on_hover_text(field.help);
}

/// A number or a text, without its label.
fn bare(ui: &mut Ui, field: &Field, value: &mut Value) -> Response {
    let (min, max) = (field.min.unwrap_or(0.0), field.max.unwrap_or(f64::from(u32::MAX)));
    let suffix = if field.unit.is_empty() { String::new() } else { format!(" {}", field.unit) };
    match field.kind {
        FieldKind::Float => {
            let mut number = value.as_f64().unwrap_or(min);
            let response = if max - min <= SLIDER {
                ui.add(Slider::new(&mut number, min..=max).suffix(suffix).max_decimals(3))
            } else {
                ui.add(DragValue::new(&mut number).range(min..=max).suffix(suffix))
            };
            if response.changed() {
                *value = Value::from(number);
            }
            response
        }
        FieldKind::Int => {
            let mut number = value.as_u64().unwrap_or(min as u64);
            let speed = if max - min > SLIDER { 1.0 } else { 0.1 };
            let response = ui
                .add(DragValue::new(&mut number).range(min as u64..=max as u64).speed(speed).suffix(suffix));
            if response.changed() {
                *value = Value::from(number);
            }
            response
        }
        _ => {
            let mut text = value.as_str().unwrap_or_default().to_owned();
            let response = ui.add(TextEdit::singleline(&mut text).desired_width(120.0));
            if response.changed() {
                *value = Value::from(text);
            }
            response
        }
    }
}

fn least(field: &Field) -> Value {
    match field.kind {
        FieldKind::Int => Value::from(field.min.unwrap_or(0.0) as u64),
        FieldKind::Float => Value::from(field.min.unwrap_or(0.0)),
        _ => Value::from(""),
    }
}

/// `spare_front` as words.
fn label(field: &Field) -> String {
    field.name.replace('_', " ")
}

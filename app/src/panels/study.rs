//! The panel of a method: what it asks for, run and cancel, what it found, and what can be taken over into the plan. Made
//! from the method alone.

use std::sync::Arc;

use eframe::egui::{Align, Button, ComboBox, Label, Layout, RichText, ScrollArea, Ui, vec2};
use sluice_core::figure::{Figure, FigureId};
use sluice_core::method::{Fact, Findings, Method};
use sluice_core::worker::Slot;

use super::{Panel, examples, marks};
use crate::command::{Command, run_label};
use crate::state::{PanelInfo, State};
use crate::theme;
use crate::widgets::head::Head;
use crate::widgets::{Cell, figure, head, parameters, states};

/// Facts on the line; the others unfold.
const FACTS: usize = 4;

/// How much is seen of a figure that is of an earlier question.
const STALE: f32 = 0.45;

/// Names of figures that stand beside each other; more are a list.
const SIDE_BY_SIDE: usize = 3;

/// Longest name of a paper that stands beside a method, bytes.
const TAG: usize = 9;

/// A method's panel.
pub struct Study(pub &'static Method);

impl Panel for Study {
    fn info(&self) -> PanelInfo {
        let Method { id, name, title, group, source, .. } = *self.0;
        // A paper's name is a word, and what follows it another method's.
        let word = source.paper.split(" and ").next().unwrap_or_default();
        let tag = if word.len() <= TAG && word != name { word } else { "" };
        PanelInfo { id, name, tag, hint: title, group, open: false }
    }

    fn figures(&self, state: &State) -> Vec<Arc<Figure>> {
        state.studies.findings(self.0.id).map_or_else(Vec::new, |findings| findings.found.figures())
    }

    fn method(&self) -> Option<&'static Method> {
        Some(self.0)
    }

    fn unavailable(&self, state: &State) -> Option<&'static str> {
        self.0.unavailable(&state.card.as_ref()?.spec)
    }

    fn pose(&self, state: &State) -> Vec<Command> {
        match examples::of_panel(state, self.0.id) {
            Some(example) => vec![Command::Example(example)],
            None => vec![Command::Clear, Command::Show(self.0.id), Command::RunSample(self.0)],
        }
    }

    fn is_posed(&self, state: &State) -> bool {
        let done = state.studies.findings(self.0.id).is_some_and(|findings| findings.done);
        done || self.unavailable(state).is_some()
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        let method = self.0;
        let findings = state.studies.findings(method.id).cloned();
        let figures = findings.as_ref().map_or_else(Vec::new, |findings| findings.found.figures());
        let shown = shown(state, method, &figures);
        let notes = notes(&figures, shown.as_ref());
        let unavailable = self.unavailable(state);
        head::head(
            ui,
            Head { notes: &notes, ..Head::of(method, method.id, None) },
            commands,
            |ui, commands| {
                if unavailable.is_none() {
                    run(ui, state, method, commands);
                    switch(ui, state, method, &figures, shown.as_ref());
                }
            },
        );
        if let Some(cause) = unavailable {
            return states::empty(ui, cause, "open a checkpoint that has what this method needs");
        }
        marks::controls(ui, state, method, commands);
        parameters::controls(ui, state, method, commands);
        let Some(findings) = findings else { return nothing(ui, state, method, commands) };
        let earlier = state.earlier(&findings);
        said(ui, state, method, &findings, earlier, commands);
        if let Some(figure) = &shown {
            if earlier.is_some() {
                ui.multiply_opacity(STALE);
            }
            pictures(ui, (method, &findings, figure), &figures, earlier.is_none(), commands);
        }
    }
}

/// The filled button; while the method runs, the one that stops it stands in its place.
fn run(ui: &mut Ui, state: &State, method: &'static Method, commands: &mut Vec<Command>) {
    let label = run_label(method);
    if state.studies.running == Some(method.id) {
        let stop = label.replacen("Run", "Stop", 1);
        if ui.add(Button::new(stop)).clicked() {
            commands.push(Command::Cancel(Slot::Study));
        }
        return;
    }
    let ready = state.ask_of(method);
    let button = ui.add_enabled(ready.is_ok(), theme::filled(ui.ctx(), &label));
    if button.on_disabled_hover_text(ready.err().unwrap_or_default()).clicked() {
        commands.push(Command::Run(method));
    }
}

/// The notes of what is on screen, each once.
fn notes(figures: &[Arc<Figure>], shown: Option<&Arc<Figure>>) -> Vec<String> {
    if !beside(figures) {
        return shown.map_or_else(Vec::new, |figure| figure.notes.clone());
    }
    let mut notes: Vec<String> = Vec::new();
    for note in figures.iter().flat_map(|figure| &figure.notes) {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    notes
}

/// The figure on screen: the chosen one, else the first.
fn shown(state: &State, method: &'static Method, figures: &[Arc<Figure>]) -> Option<Arc<Figure>> {
    let chosen = state.studies.get(method.id).and_then(|study| study.shown.as_ref());
    let named = chosen.and_then(|(id, nth)| figures.iter().filter(|figure| figure.id.0 == id).nth(*nth));
    named.or(figures.first()).cloned()
}

/// Which of several figures is on screen; those that stand side by side need no choice.
fn switch(
    ui: &mut Ui,
    state: &mut State,
    method: &'static Method,
    figures: &[Arc<Figure>],
    shown: Option<&Arc<Figure>>,
) {
    if figures.len() < 2 || beside(figures) {
        return;
    }
    let mut chosen = None;
    let mut offer = |ui: &mut Ui, at: usize, figure: &Arc<Figure>| {
        let now = shown.is_some_and(|shown| Arc::ptr_eq(shown, figure));
        if ui.selectable_label(now, &figure.short).clicked() {
            let before = figures.iter().take(at).filter(|before| before.id == figure.id).count();
            chosen = Some((figure.id.0.to_owned(), before));
        }
    };
    if figures.len() <= SIDE_BY_SIDE {
        // From the right end inwards.
        for (at, figure) in figures.iter().enumerate().rev() {
            offer(ui, at, figure);
        }
    } else {
        let name = shown.map_or("", |shown| &shown.short);
        let combo = ComboBox::from_id_salt("figure").selected_text(name).show_ui(ui, |ui| {
            for (at, figure) in figures.iter().enumerate() {
                offer(ui, at, figure);
            }
        });
        let label = ui.label(RichText::new("Figure").weak());
        combo.response.labelled_by(label.id);
    }
    if chosen.is_some() {
        state.studies.get_mut(method.id).shown = chosen;
    }
}

/// Nothing was found yet: why, or what to do.
fn nothing(ui: &mut Ui, state: &State, method: &'static Method, commands: &mut Vec<Command>) {
    if let Some(failure) = state.failure_of(method) {
        return states::empty(ui, &failure.cause, &failure.next_step);
    }
    if state.studies.get(method.id).is_some_and(|study| study.awaited) {
        return states::loading(ui, method.name);
    }
    let next_step = state.ask_of(method).err().unwrap_or_else(|| format!("press {}", run_label(method)));
    states::empty(ui, method.line, &next_step);
    ui.add_space(2.0 * theme::UNIT);
    ui.vertical_centered(|ui| {
        let example = "Run the example";
        // The one filled button, where Run cannot be pressed yet.
        let example = match state.ask_of(method) {
            Ok(_) => Button::new(example),
            Err(_) => theme::filled(ui.ctx(), example),
        };
        if ui.add(example).on_hover_text("marks and asks what shows something here").clicked() {
            commands.push(Command::Pose(method.id));
        }
    });
}

/// One row of what the findings say: what they are of where that is not what is asked now, or a failure, else the first
/// facts; all facts, and what can be taken over, at its right end.
fn said(
    ui: &mut Ui,
    state: &State,
    method: &'static Method,
    findings: &Findings,
    earlier: Option<&'static str>,
    commands: &mut Vec<Command>,
) {
    let size = vec2(ui.available_width(), theme::ROW);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        ui.set_min_size(size);
        let facts = findings.facts();
        all(ui, &facts);
        offers(ui, method, findings, earlier.is_none(), commands);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            let warning = match (state.failure_of(method), earlier) {
                (Some(failure), _) => Some(format!("{}; {}", failure.cause, failure.next_step)),
                (None, Some(what)) => {
                    let again = ui.add_enabled(state.ask_of(method).is_ok(), Button::new("Run again"));
                    if again.clicked() {
                        commands.push(Command::Run(method));
                    }
                    Some(format!("of an earlier {what}"))
                }
                (None, None) => None,
            };
            let text = match &warning {
                Some(warning) => RichText::new(warning).small().color(theme::warning(ui.ctx())),
                None => {
                    let first = facts.iter().take(FACTS);
                    let first: Vec<String> =
                        first.map(|fact| format!("{} {}", fact.name, fact.text())).collect();
                    RichText::new(first.join("   ")).small()
                }
            };
            ui.add(Label::new(text).truncate());
        });
    });
}

/// All facts, on demand.
fn all(ui: &mut Ui, facts: &[Fact]) {
    if facts.is_empty() {
        return;
    }
    ui.menu_button(RichText::new("all facts").small(), |ui| {
        ScrollArea::vertical().show(ui, |ui| {
            for fact in facts {
                ui.label(RichText::new(format!("{} {}", fact.name, fact.text())).small().monospace());
            }
        });
    });
}

fn offers(
    ui: &mut Ui,
    method: &'static Method,
    findings: &Findings,
    current: bool,
    commands: &mut Vec<Command>,
) {
    // From the right end inwards.
    for offer in findings.found.offers().into_iter().rev() {
        let button = ui.add_enabled(current, Button::new(RichText::new(&offer.label).small()));
        if button.on_hover_text(&offer.hint).clicked() {
            commands.push(Command::Take(method, Box::new(offer)));
        }
    }
}

/// One figure, or some side by side; a cell may offer something.
fn pictures(
    ui: &mut Ui,
    (method, findings, shown): (&'static Method, &Findings, &Arc<Figure>),
    figures: &[Arc<Figure>],
    current: bool,
    commands: &mut Vec<Command>,
) {
    if beside(figures) {
        ui.columns(figures.len(), |columns| {
            for (ui, figure) in columns.iter_mut().zip(figures) {
                ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
                    let touch = figure::show(ui, figure, None, &figure.short, commands);
                    take(method, findings, figure.id, touch.clicked.filter(|_| current), commands);
                });
            }
        });
        return;
    }
    let fact = match findings.found.offer_at(shown.id, 0, 0).map(|_| current) {
        Some(true) => "click a cell to put what it stands for into the plan",
        Some(false) => "cells can be put into the plan once the findings are of what is asked now",
        None => "",
    };
    let touch = figure::show(ui, shown, None, fact, commands);
    take(method, findings, shown.id, touch.clicked.filter(|_| current), commands);
}

/// Take over what a cell offers.
fn take(
    method: &'static Method,
    findings: &Findings,
    figure: FigureId,
    cell: Option<Cell>,
    commands: &mut Vec<Command>,
) {
    let offer = cell.and_then(|cell| findings.found.offer_at(figure, cell.row, cell.col));
    commands.extend(offer.map(|offer| Command::Take(method, Box::new(offer))));
}

/// Whether maps stand side by side: two or three of one narrow shape.
fn beside(figures: &[Arc<Figure>]) -> bool {
    const WIDEST: usize = 12;
    let shape =
        |figure: &Figure| Some(figure.shape()).filter(|(_, cols)| figure.transposes() && *cols <= WIDEST);
    let first = figures.first().and_then(|figure| shape(figure));
    (2..=3).contains(&figures.len()) && first.is_some() && figures.iter().all(|figure| shape(figure) == first)
}

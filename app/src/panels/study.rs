//! The panel of a method: what it asks for, run and cancel, what it found, and what can be taken over into the plan. Made
//! from the method alone.

use std::sync::Arc;

use eframe::egui::{Align, Button, Layout, RichText, ScrollArea, Ui};
use sluice_core::figure::{Figure, FigureId};
use sluice_core::method::{Fact, Findings, Method};
use sluice_core::worker::Slot;

use super::{Panel, marks};
use crate::command::{Command, run_label};
use crate::state::{PanelInfo, State};
use crate::theme;
use crate::widgets::{Cell, figure, parameters, states};

/// Facts on one line; the others unfold.
const FACTS: usize = 4;

/// A method's panel.
pub struct Study(pub &'static Method);

impl Panel for Study {
    fn info(&self) -> PanelInfo {
        let Method { id, name, title, group, .. } = *self.0;
        PanelInfo { id, name, hint: title, group, open: false }
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

    fn pose(&self, _: &State) -> Vec<Command> {
        vec![Command::Clear, Command::Show(self.0.id), Command::RunSample(self.0)]
    }

    fn is_posed(&self, state: &State) -> bool {
        let done = state.studies.findings(self.0.id).is_some_and(|findings| findings.done);
        done || self.unavailable(state).is_some()
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        let method = self.0;
        ui.horizontal(|ui| {
            ui.strong(method.title);
            let source = method.source;
            let arxiv =
                if source.arxiv.is_empty() { String::new() } else { format!(", arXiv {}", source.arxiv) };
            let about = format!("{}\n{}{arxiv}, {}", method.line, source.paper, source.section);
            ui.weak("about").on_hover_text(about);
        });
        if let Some(cause) = self.unavailable(state) {
            return states::empty(ui, cause, "open a checkpoint that has what this method needs");
        }
        marks::controls(ui, state, method, commands);
        ui.horizontal_wrapped(|ui| {
            parameters::controls(ui, state, method, commands);
            run(ui, state, method, commands);
        });
        let Some(findings) = state.studies.findings(method.id).cloned() else {
            return nothing(ui, state, method);
        };
        let earlier = state.earlier(&findings);
        if let Some(what) = earlier {
            let text = format!("of an earlier {what}: {} again", run_label(method).to_lowercase());
            ui.colored_label(theme::warning(ui.ctx()), text);
        }
        let failure = state.results.failure.as_ref();
        if let Some((Slot::Study, failure)) = failure.filter(|_| state.studies.running.is_none()) {
            let text = format!("{}; {}", failure.cause, failure.next_step);
            ui.colored_label(theme::warning(ui.ctx()), text);
        }
        facts(ui, &findings.facts());
        offers(ui, method, &findings, earlier.is_none(), commands);
        figures(ui, state, method, &findings, earlier.is_none(), commands);
    }
}

fn run(ui: &mut Ui, state: &State, method: &'static Method, commands: &mut Vec<Command>) {
    let ready = state.ask_of(method);
    let button = ui.add_enabled(ready.is_ok(), Button::new(run_label(method)));
    let cause = ready.err().unwrap_or_default();
    if button.on_disabled_hover_text(cause).clicked() {
        commands.push(Command::Run(method));
    }
    if state.studies.running == Some(method.id) {
        let label = run_label(method).replacen("Run", "Cancel", 1);
        if ui.button(label).clicked() {
            commands.push(Command::Cancel(Slot::Study));
        }
    }
}

/// Nothing was found yet: why, or what to do.
fn nothing(ui: &mut Ui, state: &State, method: &'static Method) {
    if let Some((Slot::Study, failure)) = &state.results.failure {
        return states::empty(ui, &failure.cause, &failure.next_step);
    }
    if state.studies.get(method.id).is_some_and(|study| study.awaited) {
        return states::loading(ui, method.name);
    }
    let next_step = state.ask_of(method).err().unwrap_or_else(|| format!("press {}", run_label(method)));
    states::empty(ui, method.line, &next_step);
}

/// The first facts in a row, all of them on demand.
fn facts(ui: &mut Ui, facts: &[Fact]) {
    if facts.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        for fact in facts.iter().take(FACTS) {
            ui.label(RichText::new(format!("{} {}", fact.name, fact.text())).small());
            ui.add_space(2.0 * theme::UNIT);
        }
        if facts.len() > FACTS {
            ui.menu_button("all facts", |ui| {
                ScrollArea::vertical().show(ui, |ui| {
                    for fact in facts {
                        ui.label(RichText::new(format!("{} {}", fact.name, fact.text())).small().monospace());
                    }
                });
            });
        }
    });
}

fn offers(
    ui: &mut Ui,
    method: &'static Method,
    findings: &Findings,
    current: bool,
    commands: &mut Vec<Command>,
) {
    let offers = findings.found.offers();
    if offers.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        for offer in offers {
            let button = ui.add_enabled(current, Button::new(&offer.label));
            if button.on_hover_text(&offer.hint).clicked() {
                commands.push(Command::Take(method, Box::new(offer)));
            }
        }
    });
}

/// One figure at a time; a cell may offer something.
fn figures(
    ui: &mut Ui,
    state: &mut State,
    method: &'static Method,
    findings: &Findings,
    current: bool,
    commands: &mut Vec<Command>,
) {
    let figures = findings.found.figures();
    if beside(&figures) {
        let common = |note: &&String| figures.iter().all(|figure| figure.notes.contains(note));
        figure::notes(ui, figures.iter().take(1).flat_map(|figure| &figure.notes).filter(common));
        ui.columns(figures.len(), |columns| {
            for (ui, figure) in columns.iter_mut().zip(&figures) {
                ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
                    figure::title(ui, figure, commands);
                    figure::notes(ui, figure.notes.iter().filter(|note| !common(note)));
                    let touch = figure::plot(ui, figure, None);
                    take(method, findings, figure.id, touch.clicked.filter(|_| current), commands);
                });
            }
        });
        return;
    }
    let study = state.studies.get_mut(method.id);
    let known = study.shown.and_then(|(id, nth)| id.among(nth, &figures)).or(figures.first());
    let Some(figure) = known else { return };
    if figures.len() > 1 {
        ui.horizontal_wrapped(|ui| {
            for (at, other) in figures.iter().enumerate() {
                if ui.selectable_label(Arc::ptr_eq(other, figure), &other.short).clicked() {
                    let before = figures.iter().take(at).filter(|before| before.id == other.id).count();
                    study.shown = Some((other.id, before));
                }
            }
        });
    }
    if findings.found.offer_at(figure.id, 0, 0).is_some() {
        ui.weak(match current {
            true => "click a cell to put what it stands for into the plan",
            false => "cells can be put into the plan once the findings are of what is asked now",
        });
    }
    let touch = figure::show(ui, figure, None, commands);
    take(method, findings, figure.id, touch.clicked.filter(|_| current), commands);
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

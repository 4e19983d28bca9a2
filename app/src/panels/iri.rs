//! IRI: inject what the layers of the highest recovery rates wrote at the last token, and watch the two answers. Takes the
//! rates of the newest FCCT grid; builds one item of the plan, which the controls then change live.

use std::sync::Arc;

use eframe::egui::{
    Align, Align2, Checkbox, DragValue, Layout, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2,
};
use serde::{Deserialize, Serialize};
use sluice_core::figure::Figure;
use sluice_core::method::fcct::{FCCT, FcctFound, iri_rates, past_every_share};
use sluice_core::method::view::{ANSWER_PAIR, AnswerPair, AnswerPairAsk, NextRow, Side};
use sluice_core::method::{Group, Method};
use sluice_core::plan::{Change, InjectedVector, Iri, Item};
use sluice_core::worker::{View, ViewData};

use super::{Panel, examples};
use crate::command::Command;
use crate::state::{PanelChoice, PanelInfo, State};
use crate::theme;
use crate::widgets::head::{self, Head};
use crate::widgets::pickers::{answer_box, slider};
use crate::widgets::{figure, states};

/// Height of the answers in points, and of the rates at least.
const ANSWERS: f32 = 112.0;
const LEAST: f32 = 160.0;

/// The rates of the injection on screen.
pub fn layers(state: &State) -> Option<Arc<Figure>> {
    let (iri, _) = shown(state)?;
    let rates = state.studies.found::<FcctFound>(&FCCT);
    let of = rates.and_then(|rates| rates.figures.first()).map(|figure| figure.provenance.clone());
    Some(Arc::new(iri_rates(&iri, of.unwrap_or_default())))
}

/// The injection of the plan with its index, else the one that the newest rates make.
fn shown(state: &State) -> Option<(Iri, Option<usize>)> {
    let items = &state.history.plan().items;
    let held = items.iter().enumerate().rev().find_map(|(index, item)| match &item.change {
        Change::Iri(iri) => Some((iri.clone(), Some(index))),
        _ => None,
    });
    held.or_else(|| newest(state).map(|iri| (iri, None)))
}

/// The panel's settings with the rates of the newest grid, where it is whole and its rates are defined.
fn newest(state: &State) -> Option<Iri> {
    let findings = state.studies.findings(FCCT.id).filter(|findings| findings.done)?;
    let measured = findings.value::<FcctFound>()?.iri();
    let (attn, ffn) = (measured.attn.recovery, measured.ffn.recovery);
    let defined = attn.iter().chain(&ffn).all(|rate| rate.is_finite());
    let Choice(mut iri) = state.choices.of();
    (iri.attn.recovery, iri.ffn.recovery) = (attn, ffn);
    defined.then_some(iri)
}

/// Settings of the next injection; its rates are of the newest grid.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Choice(Iri);

impl PanelChoice for Choice {
    const PANEL: &'static str = ID;
}

impl Default for Choice {
    fn default() -> Self {
        Self(Iri::new(Vec::new(), Vec::new()))
    }
}

/// Its id.
pub const ID: &str = "iri";

/// The panel.
pub struct IriPanel;

impl Panel for IriPanel {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: ID,
            name: "Repair an answer",
            tag: "IRI",
            hint: "inject what the layers of the highest recovery rates wrote",
            group: Group::Change,
            open: false,
        }
    }

    fn view(&self, state: &State) -> Option<View> {
        Some(AnswerPairAsk { answer: state.choices.answer.clone() }.into())
    }

    fn shows(&self) -> Option<&'static Method> {
        Some(&ANSWER_PAIR)
    }

    fn figures(&self, state: &State) -> Vec<Arc<Figure>> {
        let pair = self.view(state).and_then(|view| state.figure(&view));
        pair.into_iter().chain(layers(state)).collect()
    }

    fn pose(&self, state: &State) -> Vec<Command> {
        if let Some(example) = examples::of_panel(state, ID) {
            return vec![Command::Example(example)];
        }
        let rates = state.studies.found::<FcctFound>(&FCCT);
        let add = rates.map(|rates| Command::Add(Box::new(Change::Iri(rates.iri()).into())));
        [Command::Clear, Command::Show(self.info().id)].into_iter().chain(add).collect()
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// What it says of itself.
const HEAD: Head<'static> = Head {
    title: "Can the answer be repaired from inside?",
    line: "Each target layer adds what the source layers before it wrote at the last token of the unmodified run, so before \
           any injection (our reading), and keeps its norm; generated tokens too",
    reading: "",
    source: None,
    notes: &[],
    panel: ID,
};

/// Draw the controls, the rates and the answers.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let shown = shown(state);
    let figure = layers(state);
    let notes = figure.as_ref().map_or(&[][..], |figure| &figure.notes);
    head::head(
        ui,
        Head { source: Some(FCCT.source), notes, ..HEAD },
        commands,
        |ui, commands| match &shown {
            Some((iri, held)) => {
                let item = held.and_then(|index| state.history.plan().items.get(index));
                switch(ui, state, iri, held.zip(item), commands);
            }
            None => {
                if ui.add(theme::filled(ui.ctx(), "Open Picture trace")).clicked() {
                    commands.push(Command::Show(FCCT.id));
                }
            }
        },
    );
    let Some((mut iri, held)) = shown else {
        let (what, next_step) = match state.studies.findings(FCCT.id) {
            Some(findings) if findings.done => (
                "The recovery rates are not defined",
                "the corruption changed nothing: raise the noise or mark more, and run Picture trace again",
            ),
            _ if state.studies.running == Some(FCCT.id) => {
                ("No recovery rates yet", "they come when the running grid is whole")
            }
            _ => ("No recovery rates yet", "run Picture trace: the last token's rates rank the layers"),
        };
        return states::empty(ui, what, next_step);
    };
    let before = iri.clone();
    let item = held.and_then(|index| state.history.plan().items.get(index)).cloned();
    controls(ui, state, &mut iri, commands);
    if iri != before {
        state.choices.set(Choice(iri.clone()));
        if let (Some(index), Some(item)) = (held, item) {
            let changed = Item { change: Change::Iri(iri.clone()), ..item };
            commands.push(Command::Edit(index, Box::new(changed)));
        }
    }
    if let Some(figure) = figure {
        // What is left below them is for the answers.
        let height = (ui.available_height() - ANSWERS).max(LEAST);
        let fact = match state.studies.findings(FCCT.id).and_then(|findings| state.earlier(findings)) {
            Some(what @ ("prompt" | "plan")) => format!("the newest rates are of an earlier {what}"),
            _ => strong(&iri),
        };
        ui.scope(|ui| {
            ui.set_max_height(height);
            figure::show(ui, &figure, None, &fact, commands);
        });
    }
    match IriPanel.view(state).and_then(|view| state.data(&view)) {
        Some(ViewData::AnswerPair(pair)) => answers(ui, pair, commands),
        _ => states::pending(ui, state, "Answers"),
    }
}

/// Rates past every share make a strong injection: that is said.
fn strong(iri: &Iri) -> String {
    past_every_share(iri).map_or_else(String::new, |most| {
        format!(
            "rates up to {most:.1}: the corruption took little from the answer, and λ weighs as much more"
        )
    })
}

/// In the plan or not, on or off, and of which rates; from the right end inwards.
fn switch(ui: &mut Ui, state: &State, iri: &Iri, held: Option<(usize, &Item)>, commands: &mut Vec<Command>) {
    let Some((index, item)) = held else {
        let add = ui.add(theme::filled(ui.ctx(), "Add IRI"));
        if add.on_hover_text("adds it to the plan; the controls then change it live").clicked() {
            commands.push(Command::Add(Box::new(Change::Iri(iri.clone()).into())));
        }
        return;
    };
    if ui.button("Remove IRI").clicked() {
        commands.push(Command::Remove(index));
    }
    let mut on = item.on;
    if ui.add(Checkbox::new(&mut on, "IRI on")).changed() {
        commands.push(Command::Edit(index, Box::new(Item { on, ..item.clone() })));
    }
    let newer = newest(state).filter(|newest| {
        newest.attn.recovery != iri.attn.recovery || newest.ffn.recovery != iri.ffn.recovery
    });
    if let Some(newer) = newer
        && ui.button("Take the newest rates").clicked()
    {
        let mut changed = iri.clone();
        changed.attn.recovery = newer.attn.recovery;
        changed.ffn.recovery = newer.ffn.recovery;
        let item = Item { change: Change::Iri(changed), ..item.clone() };
        commands.push(Command::Edit(index, Box::new(item)));
    }
}

fn controls(ui: &mut Ui, state: &mut State, iri: &mut Iri, commands: &mut Vec<Command>) {
    let layers = state.layers();
    let count = |ui: &mut Ui, name: &str, hint: &str, value: usize| {
        let label = ui.label(name).on_hover_text(hint);
        let mut count = value.min(layers);
        let edit = ui.add(DragValue::new(&mut count).range(0..=layers).speed(0.05));
        edit.labelled_by(label.id).changed().then_some(count)
    };
    head::parameters(ui, "iri", 7, |ui, index| match index {
        0 => {
            let sources = "layers of the highest rates that are injected from; at first 3 of 32, as a share";
            if let Some(k1) = count(ui, "k1 sources", sources, iri.attn.k1()) {
                (iri.attn.sources, iri.ffn.sources) = (Some(k1), Some(k1));
            }
        }
        1 => {
            let targets = "layers of the highest rates that are injected into; at first 10 of 32, as a share";
            if let Some(k2) = count(ui, "k2 targets", targets, iri.attn.k2()) {
                (iri.attn.targets, iri.ffn.targets) = (Some(k2), Some(k2));
            }
        }
        2 => slider(ui, "λ attention", &mut iri.attn.lambda, 0.0..=2.0),
        3 => slider(ui, "λ FFN", &mut iri.ffn.lambda, 0.0..=2.0),
        4 => answer_box(ui, state, commands),
        5 => {
            ui.label("Generated tokens get the vector of").on_hover_text("our readings: the paper is silent");
            let vectors = [
                (InjectedVector::Prompt, "the prompt's last token"),
                (InjectedVector::Current, "the token itself"),
            ];
            for (vector, name) in vectors {
                ui.radio_value(&mut iri.vector, vector, name);
            }
        }
        _ => {
            ui.checkbox(&mut iri.all, "Rates of 0 and below too").on_hover_text(
                "the paper's rule ranks by rate alone; left out, such layers are neither sources nor targets",
            );
        }
    });
}

/// Both answers' probabilities without and with the plan, side by side.
fn answers(ui: &mut Ui, pair: &AnswerPair, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        figure::menu(ui, &pair.figure, commands);
        ui.weak(if pair.yes_no {
            "after the last token: yes and no"
        } else {
            "after the last token: the followed token and its rival in the unmodified model"
        });
        match pair.drift {
            Some(drift) if drift < 1e-5 => drop(ui.weak(format!("· norms kept to {drift:.0e}"))),
            Some(drift) => drop(ui.weak(format!("· norms change by up to {:.2} %", 100.0 * drift))),
            None => {}
        }
    });
    ui.columns(2, |columns| {
        for (ui, (name, side)) in
            columns.iter_mut().zip([("Unmodified", Side::Base), ("Under the plan", Side::Plan)])
        {
            ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
                ui.strong(name);
                for row in &pair.rows {
                    answer(ui, row, side);
                }
            });
        }
    });
}

/// A token, its probability, and a bar.
fn answer(ui: &mut Ui, row: &NextRow, side: Side) {
    let (p, colour) = match side {
        Side::Base => (row.base, ui.visuals().weak_text_color()),
        Side::Plan | Side::Change => (row.plan, theme::accent(ui.ctx())),
    };
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width().min(360.0), theme::ROW), Sense::hover());
    let percent = format!("{:>8.3} %", 100.0 * p);
    let painter = ui.painter();
    let ink = ui.visuals().text_color();
    let font = eframe::egui::FontId::monospace(12.5);
    let middle = rect.center().y - 2.0;
    painter.text(
        pos2(rect.left(), middle),
        Align2::LEFT_CENTER,
        theme::short(&row.token.text, 16),
        font.clone(),
        ink,
    );
    painter.text(pos2(rect.right(), middle), Align2::RIGHT_CENTER, &percent, font, ink);
    let width = rect.width() * p.clamp(0.0, 1.0);
    let bar = Rect::from_min_size(pos2(rect.left(), rect.bottom() - 4.0), vec2(width, 3.0));
    painter.rect_filled(bar, 1.0, colour);
    let name = format!(
        "P of {} {}: {}",
        row.token.text,
        if side == Side::Base { "unmodified" } else { "under the plan" },
        percent.trim()
    );
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &name));
}

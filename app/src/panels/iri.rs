//! IRI: inject what the layers of the highest recovery rates wrote at the last token, and watch the two answers. Takes the
//! rates of the newest FCCT grid; builds one item of the plan, which the controls then change live.

use std::sync::Arc;

use eframe::egui::{
    Align, Align2, Checkbox, DragValue, Layout, Rect, RichText, Role, Sense, Slider, Stroke, Ui, WidgetInfo,
    pos2, vec2,
};
use sluice_core::figure::Figure;
use sluice_core::plan::{Change, Injected, Iri, Item};
use sluice_core::study::iri_table;
use sluice_core::worker::{NextRow, Side, Verdict, View, ViewData};

use super::fcct;
use super::trace::answer_box;
use crate::command::Command;
use crate::state::{State, Tab};
use crate::theme;
use crate::widgets::{figure, states};

/// Height of the bars in points, and of the marks and labels under them.
const BARS: f32 = 110.0;
const UNDER: f32 = 30.0;
/// Bars narrower than this in points carry no number.
const CROWDED: f32 = 14.0;

/// The layers of the injection on screen as a figure.
pub fn layers(state: &State) -> Option<Arc<Figure>> {
    let (iri, _) = shown(state)?;
    let of = state.results.fcct.as_ref().map(|findings| findings.figures[0].provenance.clone());
    Some(Arc::new(iri_table(&iri, of.unwrap_or_default())))
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
    let findings = state.results.fcct.as_ref().filter(|findings| findings.done)?;
    let defined = findings.attention.iter().chain(&findings.ffn).all(|rate| rate.is_finite());
    let mut iri = state.choices.iri.clone();
    iri.attn.recovery.clone_from(&findings.attention);
    iri.ffn.recovery.clone_from(&findings.ffn);
    defined.then_some(iri)
}

/// Draw the controls, the rates and the answers.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.weak(
        "each target layer adds what the source layers before it wrote at the last token of the unmodified run, so before any \
         injection (our reading), and keeps its norm; generated tokens too",
    );
    let Some((mut iri, held)) = shown(state) else {
        let (what, next_step) = match &state.results.fcct {
            Some(findings) if findings.done => (
                "The recovery rates are not defined",
                "the corruption changed nothing: raise the noise or mark more, and run FCCT again",
            ),
            _ if state.is_gridding() => {
                ("No recovery rates yet", "they come when the running FCCT grid is whole")
            }
            _ => ("No recovery rates yet", "run FCCT: the last token's rates rank the layers"),
        };
        states::empty(ui, what, next_step);
        ui.vertical_centered(|ui| {
            if ui.button("Open FCCT").clicked() {
                commands.push(Command::Show(Tab::Fcct));
            }
        });
        return;
    };
    let before = iri.clone();
    let item = held.and_then(|index| state.history.plan().items.get(index)).cloned();
    switch(ui, state, &iri, held.zip(item.as_ref()), commands);
    controls(ui, &mut iri, state.layers());
    if iri != before {
        state.choices.iri = iri.clone();
        if let (Some(index), Some(item)) = (held, item) {
            let changed = Item { change: Change::Iri(iri.clone()), ..item };
            commands.push(Command::Edit(index, Box::new(changed)));
        }
    }
    ui.separator();
    ui.horizontal(|ui| {
        ui.strong("Recovery rates of the last token");
        if let Some(figure) = layers(state) {
            figure::menu(ui, &figure, commands);
        }
        ui.weak("filled dot: source, ring: target");
    });
    ui.columns(2, |columns| {
        let parts = [("attention", &iri.attn), ("FFN", &iri.ffn)];
        for (ui, (name, part)) in columns.iter_mut().zip(parts) {
            ui.with_layout(Layout::top_down(Align::LEFT), |ui| bars(ui, name, part));
        }
    });
    ui.separator();
    ui.horizontal_wrapped(|ui| {
        ui.strong("Answer before and after");
        answer_box(ui, state, commands);
    });
    let view = View::Verdict { answer: state.choices.answer.clone() };
    match state.data(&view) {
        Some(ViewData::Verdict(verdict)) => answers(ui, verdict, commands),
        _ => states::pending(ui, state, "Answers"),
    }
}

/// In the plan or not, on or off, and of which rates.
fn switch(ui: &mut Ui, state: &State, iri: &Iri, held: Option<(usize, &Item)>, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        match held {
            None => {
                let add = ui.button("Add IRI");
                if add.on_hover_text("adds it to the plan; the controls then change it live").clicked() {
                    commands.push(Command::Add(Box::new(Change::Iri(iri.clone()).into())));
                }
            }
            Some((index, item)) => {
                let mut on = item.on;
                if ui.add(Checkbox::new(&mut on, "IRI on")).changed() {
                    commands.push(Command::Edit(index, Box::new(Item { on, ..item.clone() })));
                }
                if ui.button("Remove IRI").clicked() {
                    commands.push(Command::Remove(index));
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
        }
        if let Some(findings) = &state.results.fcct
            && let Some(what @ ("prompt" | "plan")) = fcct::earlier(state, findings)
        {
            ui.colored_label(theme::warning(ui.ctx()), format!("the newest rates are of an earlier {what}"));
        }
    });
}

fn controls(ui: &mut Ui, iri: &mut Iri, layers: usize) {
    let count = |ui: &mut Ui, name: &str, hint: &str, value: usize| {
        let label = ui.label(name).on_hover_text(hint);
        let mut count = value.min(layers);
        let edit = ui.add(DragValue::new(&mut count).range(0..=layers).speed(0.05));
        edit.labelled_by(label.id).changed().then_some(count)
    };
    ui.horizontal_wrapped(|ui| {
        let sources = "layers of the highest rates that are injected from";
        if let Some(k1) = count(ui, "k1 sources", sources, iri.attn.sources) {
            (iri.attn.sources, iri.ffn.sources) = (k1, k1);
        }
        let targets = "layers of the highest rates that are injected into";
        if let Some(k2) = count(ui, "k2 targets", targets, iri.attn.targets) {
            (iri.attn.targets, iri.ffn.targets) = (k2, k2);
        }
        ui.add(Slider::new(&mut iri.attn.lambda, 0.0..=2.0).text("λ attention"));
        ui.add(Slider::new(&mut iri.ffn.lambda, 0.0..=2.0).text("λ FFN"));
    });
}

/// A bar per layer from zero, sources and targets marked under it.
fn bars(ui: &mut Ui, name: &str, part: &Injected) {
    let largest = part.recovery.iter().fold(0f32, |m, rate| m.max(rate.abs())).max(1e-6);
    ui.label(RichText::new(format!("{name}, largest |rate| {largest:.3}")).small().weak());
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), BARS + UNDER), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("recovery bars, {name}")));
    let count = part.recovery.len().max(1) as f32;
    let pitch = (rect.width() / count).min(theme::CELL);
    let lowest = part.recovery.iter().fold(0f32, |m, &rate| m.min(rate));
    let highest = part.recovery.iter().fold(0f32, |m, &rate| m.max(rate));
    let scale = BARS / (highest - lowest).max(1e-6);
    let zero = rect.top() + highest * scale;
    let (sources, targets) = (part.source_layers(), part.target_layers());
    let (accent, quiet) = (theme::accent(ui.ctx()), ui.visuals().weak_text_color());
    let painter = ui.painter();
    painter.hline(
        rect.left()..=rect.left() + pitch * count,
        zero,
        Stroke::new(1.0, quiet.gamma_multiply(0.5)),
    );
    for (layer, &rate) in part.recovery.iter().enumerate() {
        let left = rect.left() + pitch * layer as f32;
        let middle = left + pitch / 2.0;
        let bar = Rect::from_two_pos(
            pos2(left + 0.15 * pitch, zero),
            pos2(left + 0.85 * pitch, zero - rate * scale),
        );
        let source = sources.contains(&layer);
        painter.rect_filled(bar, 1.0, if source { accent } else { quiet.gamma_multiply(0.7) });
        let marks = rect.top() + BARS + 7.0;
        let radius = (0.3 * pitch).min(3.0);
        if source {
            painter.circle_filled(pos2(middle, marks), radius, accent);
        }
        if targets.contains(&layer) {
            painter.circle_stroke(
                pos2(middle, marks),
                radius + 2.0,
                Stroke::new(1.2, ui.visuals().text_color()),
            );
        }
        if pitch >= CROWDED || layer % 5 == 0 {
            let at = pos2(middle, rect.bottom());
            painter.text(at, Align2::CENTER_BOTTOM, layer.to_string(), theme::small_mono(), quiet);
        }
    }
    let hovered = response.hover_pos().map(|at| ((at.x - rect.left()) / pitch) as usize);
    if let Some((layer, rate)) = hovered.and_then(|layer| Some((layer, part.recovery.get(layer)?))) {
        let role = match (sources.contains(&layer), targets.contains(&layer)) {
            (true, true) => "source and target",
            (true, false) => "source",
            (false, true) => "target",
            (false, false) => "neither source nor target",
        };
        response.on_hover_text_at_pointer(format!("layer {layer}\nrecovery rate {rate:.4}\n{role}"));
    }
}

/// Both answers' probabilities without and with the plan, side by side.
fn answers(ui: &mut Ui, verdict: &Verdict, commands: &mut Vec<Command>) {
    ui.horizontal_wrapped(|ui| {
        figure::menu(ui, &verdict.figure, commands);
        ui.weak(if verdict.yes_no {
            "after the last token: yes and no"
        } else {
            "after the last token; no yes/no question: the followed token and its rival in the unmodified model"
        });
        match verdict.drift {
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
                for row in &verdict.rows {
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
        Side::Plan => (row.plan, theme::accent(ui.ctx())),
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

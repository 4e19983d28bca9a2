//! Inspector: the next-token table, base versus plan, with KL. Click a row to follow its token.

use eframe::egui::{Align2, FontId, Rect, RichText, Role, Sense, TextStyle, Ui, WidgetInfo, pos2, vec2};
use sluice_core::method::view::{NextRow, NextTokens};
use sluice_core::worker::{Answer, ViewData};

use crate::command::Command;
use crate::state::State;
use crate::theme;
use crate::widgets::{figure, states};

/// Draw the answer and the table.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(ViewData::Next(next)) = state.data(&state.next_view()) else {
        if state.results.failure.is_none() {
            states::pending(ui, state, "Next tokens");
        }
        return;
    };
    let planned = !state.history.plan().items.is_empty();
    answer(ui, next, planned);
    ui.separator();
    header(ui, planned);
    for row in listed(next) {
        entry(ui, next, row, planned, commands);
    }
    let token = state.results.tokens.get(next.position).map_or("", |token| token.text.as_str());
    let after = format!("after {}, position {}", theme::short(token, 14), next.position);
    let (locked, followed) = (state.choices.position.is_some(), state.choices.answer != Answer::Top);
    let mut asked = None;
    figure::row(ui, &next.figure, "", commands, |ui| {
        ui.label(RichText::new(after).small().weak());
        if locked && ui.small_button("Unlock").on_hover_text("back to the last token").clicked() {
            asked = Some(Command::Select(None));
        }
        if followed {
            let back = ui.small_button("Follow the top");
            if back.on_hover_text("follow the most likely token again").clicked() {
                asked = Some(Command::Follow(Answer::Top));
            }
        }
    });
    commands.extend(asked);
}

/// Rows of the table: those that are likely in either run, and the answer; the figure's file has all.
const ROWS: usize = 10;

fn listed(next: &NextTokens) -> impl Iterator<Item = &NextRow> {
    let most = |row: &NextRow| row.base.max(row.plan);
    let mut largest: Vec<f32> = next.rows.iter().map(most).collect();
    largest.sort_by(|a, b| b.total_cmp(a));
    let least = largest.get(ROWS - 1).copied().unwrap_or(0.0);
    next.rows.iter().filter(move |row| most(row) >= least || row.token == next.answer.token)
}

/// What the model answers, in words: what becomes of it under a plan.
fn answer(ui: &mut Ui, next: &NextTokens, planned: bool) {
    let row = &next.answer;
    let name = theme::short(row.token.text.trim_start_matches('·'), 18);
    let big = |text: String| RichText::new(text).size(theme::ANSWER);
    ui.horizontal(|ui| {
        ui.set_height(theme::ROW);
        ui.spacing_mut().item_spacing.x = theme::UNIT;
        ui.label(big(name));
        let change = match planned {
            true => format!("{} → {} %", percent(row.base), percent(row.plan)),
            false => format!("{} %", percent(row.base)),
        };
        ui.label(RichText::new(change).monospace().size(16.0));
    });
    let mut others: Vec<&NextRow> = next.rows.iter().filter(|other| other.token != row.token).collect();
    let of = |row: &NextRow| if planned { row.plan } else { row.base };
    others.sort_by(|a, b| of(b).total_cmp(&of(a)));
    let others: Vec<String> = others
        .iter()
        .take(2)
        .map(|other| {
            let name = theme::short(other.token.text.trim_start_matches('·'), 10);
            format!("{name} {} %", percent(of(other)))
        })
        .collect();
    let then = if planned { "now" } else { "then" };
    ui.label(RichText::new(format!("{then} {}", others.join(", "))).small());
    let kl = if planned { format!("KL {:.4} nats", next.kl) } else { " ".to_owned() };
    ui.label(RichText::new(kl).small().weak().monospace());
}

fn font() -> FontId {
    FontId::monospace(12.5)
}

/// Right ends of the columns of the table, from its right edge: model, plan, change.
fn ends(planned: bool) -> &'static [(f32, &'static str)] {
    if planned { &[(120.0, "model %"), (62.0, "plan %"), (4.0, "change")] } else { &[(4.0, "model %")] }
}

fn header(ui: &mut Ui, planned: bool) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 16.0), Sense::hover());
    let quiet = ui.visuals().weak_text_color();
    let small = TextStyle::Small.resolve(ui.style());
    let at = rect.left_center() + vec2(4.0, 0.0);
    ui.painter().text(at, Align2::LEFT_CENTER, "next token", small.clone(), quiet);
    for (end, text) in ends(planned) {
        let at = pos2(rect.right() - end, rect.center().y);
        ui.painter().text(at, Align2::RIGHT_CENTER, text, small.clone(), quiet);
    }
}

/// A row: token, a bar of each probability, and the numbers.
fn entry(ui: &mut Ui, next: &NextTokens, row: &NextRow, planned: bool, commands: &mut Vec<Command>) {
    /// Where the bars begin and how long a whole one is.
    const BARS: [f32; 2] = [88.0, 56.0];
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::click());
    let followed = row.token == next.answer.token;
    let visuals = ui.visuals();
    let (text, quiet, accent) = (visuals.text_color(), visuals.weak_text_color(), theme::accent(ui.ctx()));
    let painter = ui.painter();
    if followed {
        painter.rect_filled(rect, 2.0, theme::soft(ui.ctx()));
    } else if response.hovered() || response.has_focus() {
        painter.rect_filled(rect, 2.0, visuals.faint_bg_color);
    }
    let [from, whole] = BARS;
    let whole = if planned { whole * 0.5 } else { whole };
    let bar = |y: f32, p: f32, colour| {
        let width = (whole * p.clamp(0.0, 1.0)).max(1.0);
        let at = pos2(rect.left() + from, rect.center().y + y);
        painter.rect_filled(Rect::from_min_size(at, vec2(width, 3.0)), 0.0, colour);
    };
    match planned {
        true => {
            bar(-3.5, row.base, quiet);
            bar(0.5, row.plan, accent);
        }
        false => bar(-1.5, row.base, quiet),
    }
    let at = rect.left_center() + vec2(4.0, 0.0);
    painter.text(at, Align2::LEFT_CENTER, theme::short(&row.token.text, 11), font(), text);
    let numbers = match planned {
        true => [percent(row.base), percent(row.plan), signed(row.plan - row.base)],
        false => [percent(row.base), String::new(), String::new()],
    };
    for ((end, _), number) in ends(planned).iter().zip(numbers) {
        let at = pos2(rect.right() - end, rect.center().y);
        painter.text(at, Align2::RIGHT_CENTER, number, font(), if followed { text } else { quiet });
    }
    let name = format!("next {}", row.token.text);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, followed, &name));
    let hint = format!("id {}: click to follow it in trace and injection", row.token.id);
    if response.on_hover_text(hint).clicked() {
        commands.push(Command::Follow(Answer::Id(row.token.id)));
    }
}

/// Percent to the hundredth; what is smaller says so.
fn percent(p: f32) -> String {
    let x = 100.0 * p;
    if x > 0.0 && x < 0.005 { "<0.01".into() } else { format!("{x:.2}") }
}

/// A change in points of percent, with a true minus.
fn signed(p: f32) -> String {
    let text = format!("{:+.2}", 100.0 * p);
    if text.trim_start_matches(['+', '-']) == "0.00" { "0.00".into() } else { text.replace('-', "\u{2212}") }
}

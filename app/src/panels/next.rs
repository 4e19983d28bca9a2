//! Inspector: the next-token table, base versus plan, with KL. Click a row to follow its token.

use eframe::egui::{Align2, FontId, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use sluice_core::method::view::{NextRow, NextTokens};
use sluice_core::worker::{Answer, ViewData};

use crate::command::Command;
use crate::state::State;
use crate::theme;
use crate::widgets::{figure, states};

/// Draw the table.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(ViewData::Next(next)) = state.data(&state.next_view()) else {
        return states::pending(ui, state, "Next tokens");
    };
    figure::title(ui, &next.figure, commands);
    let token = state.results.tokens.get(next.position).map_or("", |token| token.text.as_str());
    ui.horizontal(|ui| {
        ui.label(RichText::new(format!("after {token}, position {}", next.position)).small().weak());
        if state.choices.position.is_some()
            && ui.small_button("Unlock").on_hover_text("back to the last token").clicked()
        {
            commands.push(Command::Select(None));
        }
    });
    ui.label(RichText::new(format!("KL {:.4} nats", next.kl)).monospace());
    header(ui);
    for row in &next.rows {
        entry(ui, next, row, commands);
    }
    ui.label(RichText::new("click a token to follow it in trace and injection").small().weak());
    if state.choices.answer != Answer::Top && ui.small_button("Follow the most likely token").clicked() {
        commands.push(Command::Follow(Answer::Top));
    }
}

fn font() -> FontId {
    FontId::monospace(12.5)
}

fn header(ui: &mut Ui) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 16.0), Sense::hover());
    let quiet = ui.visuals().weak_text_color();
    let small = theme::small_mono();
    ui.painter().text(rect.left_center(), Align2::LEFT_CENTER, "token", small.clone(), quiet);
    for (x, text) in [(rect.right() - 84.0, "base %"), (rect.right() - 4.0, "plan %")] {
        ui.painter().text(pos2(x, rect.center().y), Align2::RIGHT_CENTER, text, small.clone(), quiet);
    }
}

/// A row: token, both probabilities, and a bar each.
fn entry(ui: &mut Ui, next: &NextTokens, row: &NextRow, commands: &mut Vec<Command>) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::click());
    let followed = row.token == next.answer.token;
    let visuals = ui.visuals();
    let (text, quiet, accent) = (visuals.text_color(), visuals.weak_text_color(), theme::accent(ui.ctx()));
    let painter = ui.painter();
    if response.hovered() || response.has_focus() {
        painter.rect_filled(rect, 2.0, visuals.faint_bg_color);
    }
    let bar = |right: f32, p: f32, colour| {
        let full = 72.0;
        let width = full * p.clamp(0.0, 1.0);
        if width < 0.5 {
            return;
        }
        let left = right - full;
        let area = eframe::egui::Rect::from_min_size(pos2(left, rect.bottom() - 4.0), vec2(width, 2.5));
        painter.rect_filled(area, 1.0, colour);
    };
    painter.text(
        rect.left_center() + vec2(4.0, 0.0),
        Align2::LEFT_CENTER,
        theme::short(&row.token.text, 14),
        font(),
        text,
    );
    for (right, p, ink, colour) in
        [(rect.right() - 84.0, row.base, quiet, quiet), (rect.right() - 4.0, row.plan, text, accent)]
    {
        let at = pos2(right, rect.center().y - 1.0);
        painter.text(at, Align2::RIGHT_CENTER, percent(p), font(), ink);
        bar(right, p, colour);
    }
    if followed {
        painter.rect_stroke(rect, 2.0, Stroke::new(1.0, accent), StrokeKind::Inside);
    }
    let name = format!("next {}", row.token.text);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, followed, &name));
    if response.on_hover_text(format!("id {}", row.token.id)).clicked() {
        commands.push(Command::Follow(Answer::Id(row.token.id)));
    }
}

/// Percent to the hundredth; what is smaller keeps two digits.
fn percent(p: f32) -> String {
    let x = 100.0 * p;
    if x >= 0.1 || x == 0.0 { format!("{x:.2}") } else { format!("{x:.1e}") }
}

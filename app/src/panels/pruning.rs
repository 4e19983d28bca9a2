//! Sublayer ladder: click an attention or FFN sublayer to take it out.

use eframe::egui::{Align2, FontId, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, vec2};
use sluice_core::method::prune::PRUNE;
use sluice_core::method::view::{LadderAsk, SUBLAYERS};
use sluice_core::method::{Group, Method};
use sluice_core::plan::Sublayer;
use sluice_core::worker::View;

use super::Panel;
use crate::command::Command;
use crate::state::{PanelInfo, State};
use crate::theme;
use crate::widgets::head::Head;
use crate::widgets::marks::diagonals;
use crate::widgets::{area, figure, head, states};
use sluice_core::plan::edits::PARTS;

/// The panel.
pub struct Pruning;

impl Panel for Pruning {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: "sublayers",
            name: "Pruning",
            tag: "FinerCut",
            hint: "take attention and FFN sublayers out",
            group: Group::Change,
            open: true,
        }
    }

    fn view(&self, _: &State) -> Option<View> {
        Some(LadderAsk {}.into())
    }

    fn shows(&self) -> Option<&'static Method> {
        Some(&SUBLAYERS)
    }

    fn pose(&self, state: &State) -> Vec<Command> {
        let out = |part| Command::Toggle(Sublayer { layer: state.layers().saturating_sub(1) / 2, part });
        [Command::Clear, Command::Show(self.info().id)].into_iter().chain(PARTS.map(out)).collect()
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// Height of a rung at most, and the room beside both of a layer.
const RUNG: f32 = 80.0;
const MARGIN: f32 = 64.0;

/// Draw the ladder.
fn draw(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(figure) = state.figure(&LadderAsk {}.into()) else {
        return states::pending(ui, state, "Sublayers");
    };
    head::head(ui, Head::of(&SUBLAYERS, "sublayers", Some(&figure)), commands, |ui, commands| {
        if ui.add(theme::filled(ui.ctx(), "Find an order")).on_hover_text(PRUNE.title).clicked() {
            commands.push(Command::Show(PRUNE.id));
        }
    });
    let layers = state.layers();
    let all = (0..layers).flat_map(|layer| PARTS.map(|part| Sublayer { layer, part }));
    let out = all.filter(|&sublayer| state.is_out(sublayer)).count();
    let fact = format!("{out} of {} are out", 2 * layers);
    figure::row(ui, &figure, &fact, commands, |ui| {
        ui.weak("click a sublayer to take it out, again to put it back");
    });
    ui.add_space(theme::UNIT);
    let spacing = ui.spacing().item_spacing.y;
    let height = (ui.available_height() / layers.max(1) as f32 - spacing).clamp(theme::ROW, RUNG);
    let size = vec2((ui.available_width() - MARGIN) / 2.0, height);
    area::keep(ui, area::FIGURE, ui.available_rect_before_wrap());
    ScrollArea::vertical().id_salt("ladder").auto_shrink(false).show_rows(ui, height, layers, |ui, shown| {
        for layer in shown {
            ui.horizontal(|ui| {
                ui.monospace(format!("{layer:>3}"));
                for part in PARTS {
                    rung(ui, state, Sublayer { layer, part }, size, commands);
                }
            });
        }
    });
}

/// A sublayer: an outline as in the model, a stroke across it where it is out.
fn rung(ui: &mut Ui, state: &State, sublayer: Sublayer, size: Vec2, commands: &mut Vec<Command>) {
    let out = state.is_out(sublayer);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let visuals = ui.visuals();
    let (text, quiet) = (visuals.text_color(), visuals.weak_text_color());
    let pointed = response.hovered() || response.has_focus();
    let edge = if pointed { theme::accent(ui.ctx()) } else { theme::cell(ui.ctx()) };
    let painter = ui.painter();
    painter.rect_stroke(rect, 3.0, Stroke::new(1.0, edge), StrokeKind::Inside);
    if out {
        let [ends, _] = diagonals(rect.shrink(1.0));
        painter.line_segment(ends, Stroke::new(1.0, quiet));
    }
    let ink = if out { quiet } else { text };
    let name = sublayer.to_string();
    painter.text(
        rect.left_center() + vec2(12.0, 0.0),
        Align2::LEFT_CENTER,
        &name,
        FontId::proportional(13.5),
        ink,
    );
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, !out, &name));
    let hint = if out { "put it back" } else { "take it out: it adds nothing to the residual stream" };
    if response.on_hover_text(hint).clicked() {
        commands.push(Command::Toggle(sublayer));
    }
}

//! Sublayer ladder: click an attention or FFN sublayer to take it out.

use eframe::egui::{
    Align2, Button, FontId, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2,
    vec2,
};
use sluice_core::method::leave_one_out::{LEAVE_ONE_OUT, LeaveOneOutFound, LeftOut};
use sluice_core::method::prune::{PRUNE, PruneFound};
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

/// Its id.
const ID: &str = SUBLAYERS.id;

/// The panel.
pub struct Pruning;

impl Panel for Pruning {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: ID,
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
        // What each is worth, and the two of a layer in the middle out.
        let out = |part| Command::Toggle(Sublayer { layer: state.layers().saturating_sub(1) / 2, part });
        let begin = [Command::Clear, Command::Run(&LEAVE_ONE_OUT), Command::Show(ID)];
        begin.into_iter().chain(PARTS.map(out)).collect()
    }

    fn is_posed(&self, state: &State) -> bool {
        state.studies.findings(LEAVE_ONE_OUT.id).is_some_and(|findings| findings.done)
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// Height of a rung at most, and the room beside both of a layer.
const RUNG: f32 = 80.0;
const MARGIN: f32 = 64.0;
/// Length of the longest bar in a rung, and the KL that has none: bars are on a log scale.
const BAR: f32 = 72.0;
const LEAST: f64 = 1e-4;

/// What methods found about the sublayers.
struct Known<'a> {
    /// KL without each alone.
    alone: &'a [LeftOut],
    largest: f64,
    /// What they are of, where that is not what is asked now.
    earlier: Option<&'static str>,
    /// In the order of their removal.
    order: Vec<Sublayer>,
}

impl<'a> Known<'a> {
    fn new(state: &'a State) -> Self {
        let alone = state.studies.found::<LeaveOneOutFound>(&LEAVE_ONE_OUT);
        let alone = alone.map_or(&[][..], |found| &found.sublayers);
        let findings = state.studies.findings(LEAVE_ONE_OUT.id);
        let order = state.studies.found::<PruneFound>(&PRUNE);
        Self {
            largest: alone.iter().map(|out| out.kl).filter(|kl| kl.is_finite()).fold(10.0 * LEAST, f64::max),
            alone,
            earlier: findings.and_then(|findings| state.earlier(findings)),
            order: order.map_or_else(Vec::new, |found| found.steps.iter().map(|step| step.removed).collect()),
        }
    }

    fn alone(&self, Sublayer { layer, part }: Sublayer) -> Option<f64> {
        // In the order of the model.
        let here = self.alone.get(2 * layer..).unwrap_or_default().iter().take(2);
        here.filter(|out| out.layer == layer && out.kind == part).map(|out| out.kl).next()
    }

    fn place(&self, sublayer: Sublayer) -> Option<usize> {
        self.order.iter().position(|known| *known == sublayer)
    }
}

/// Draw the ladder.
fn draw(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(figure) = state.figure(&LadderAsk {}.into()) else {
        return states::pending(ui, state, "Sublayers");
    };
    head::head(ui, Head::of(&SUBLAYERS, ID, Some(&figure)), commands, |ui, commands| {
        if ui.add(theme::filled(ui.ctx(), "Find an order")).on_hover_text(PRUNE.title).clicked() {
            commands.push(Command::Show(PRUNE.id));
        }
        let measure = ui.add_enabled(state.studies.running.is_none(), Button::new("Measure each alone"));
        if measure.on_hover_text(LEAVE_ONE_OUT.line).clicked() {
            commands.extend([Command::Run(&LEAVE_ONE_OUT), Command::Show(ID)]);
        }
    });
    let layers = state.layers();
    let all = (0..layers).flat_map(|layer| PARTS.map(|part| Sublayer { layer, part }));
    let out = all.filter(|&sublayer| state.is_out(sublayer)).count();
    let fact = format!("{out} of {} are out", 2 * layers);
    let known = Known::new(state);
    figure::row(ui, &figure, &fact, commands, |ui| {
        let said = match (known.alone.is_empty(), known.order.is_empty()) {
            (true, true) => "click a sublayer to take it out, again to put it back",
            (false, true) => "bars: KL without it, nats, on a log scale",
            (true, false) => "numbers: its place in the order of removal",
            (false, false) => {
                "bars: KL without it, nats, on a log scale; numbers: its place in the order of removal"
            }
        };
        let earlier = known.earlier.map_or_else(String::new, |what| format!(" · KL under an earlier {what}"));
        ui.weak(format!("{said}{earlier}"));
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
                    rung(ui, state, &known, Sublayer { layer, part }, size, commands);
                }
            });
        }
    });
}

/// A sublayer: an outline as in the model, a stroke across it where it is out, and what is known of it at its right end.
fn rung(
    ui: &mut Ui,
    state: &State,
    known: &Known<'_>,
    sublayer: Sublayer,
    size: Vec2,
    commands: &mut Vec<Command>,
) {
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
    let (left, y) = (rect.left() + 12.0, rect.center().y);
    painter.text(pos2(left, y), Align2::LEFT_CENTER, &name, FontId::proportional(13.5), ink);
    let (mut right, mut said) = (rect.right() - 12.0, Vec::new());
    if let Some(place) = known.place(sublayer) {
        let number = (place + 1).to_string();
        painter.text(pos2(right, y), Align2::RIGHT_CENTER, &number, theme::small_mono(), ink);
        said.push(format!("{number} in the order of removal"));
    }
    right -= if known.order.is_empty() { 0.0 } else { 32.0 };
    if let Some(kl) = known.alone(sublayer) {
        // Sublayers that go change the plan, and the others' worth is still that in the model.
        let earlier = known.earlier.is_some_and(|what| what != "plan");
        let colour = if earlier || out { quiet } else { text };
        painter.text(pos2(right, y), Align2::RIGHT_CENTER, format!("{kl:.3}"), theme::small_mono(), colour);
        let share = ((kl / LEAST).ln() / (known.largest / LEAST).ln()).clamp(0.0, 1.0) as f32;
        let at = pos2(right - 56.0 - BAR, y - 4.0);
        let bar = Rect::from_min_size(at, vec2((BAR * share).max(1.0), 8.0));
        let fill = if earlier { quiet } else { theme::accent(ui.ctx()) };
        painter.rect_filled(bar, 1.0, fill);
        said.push(format!("KL without it {kl:.4} nats"));
    }
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, !out, &name));
    said.push(
        (if out { "put it back" } else { "take it out: it adds nothing to the residual stream" }).into(),
    );
    if response.on_hover_text(said.join("\n")).clicked() {
        commands.push(Command::Toggle(sublayer));
    }
}

//! Sublayer ladder: click an attention or FFN sublayer to take it out.

use eframe::egui::{Button, RichText, ScrollArea, Ui};
use sluice_core::method::view::{LadderAsk, SUBLAYERS};
use sluice_core::method::{Group, Method};
use sluice_core::plan::Sublayer;
use sluice_core::worker::View;

use super::Panel;
use crate::command::Command;
use crate::state::{PanelInfo, State};
use crate::theme;
use crate::widgets::{figure, states};
use sluice_core::plan::edits::PARTS;

/// The panel.
pub struct Pruning;

impl Panel for Pruning {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: "sublayers",
            name: "Pruning",
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

/// Draw the ladder.
fn draw(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    match state.data(&LadderAsk {}.into()) {
        Some(ladder) => figure::head(ui, ladder.figure(), commands),
        None => return states::pending(ui, state, "Sublayers"),
    }
    let layers = state.layers();
    let all = (0..layers).flat_map(|layer| PARTS.map(|part| Sublayer { layer, part }));
    let out = all.filter(|&sublayer| state.is_out(sublayer)).count();
    ui.weak(format!(
        "click a sublayer to take it out, again to put it back; {out} of {} are out",
        2 * layers
    ));
    ui.add_space(theme::UNIT);
    ScrollArea::vertical().id_salt("ladder").auto_shrink(false).show_rows(
        ui,
        theme::ROW,
        layers,
        |ui, shown| {
            for layer in shown {
                ui.horizontal(|ui| {
                    ui.monospace(format!("{layer:>3}"));
                    for part in PARTS {
                        rung(ui, state, Sublayer { layer, part }, commands);
                    }
                });
            }
        },
    );
}

fn rung(ui: &mut Ui, state: &State, sublayer: Sublayer, commands: &mut Vec<Command>) {
    let out = state.is_out(sublayer);
    let text = RichText::new(sublayer.to_string());
    let text = if out { text.strikethrough().weak() } else { text };
    let button = Button::new(text).min_size([140.0, theme::ROW].into()).selected(!out);
    let hint = if out { "put it back" } else { "take it out: it adds nothing to the residual stream" };
    if ui.add(button).on_hover_text(hint).clicked() {
        commands.push(Command::Toggle(sublayer));
    }
}

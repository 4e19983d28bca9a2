//! Logit lens: the top token at every layer and position. Click a cell to lock the inspector on its position.

use eframe::egui::Ui;
use sluice_core::method::view::{LENS, LensAsk};
use sluice_core::method::{Group, Method};
use sluice_core::worker::View;

use super::{Panel, examples};
use crate::command::Command;
use crate::state::{PanelInfo, State};
use crate::widgets::head::Head;
use crate::widgets::pickers::side_picker;
use crate::widgets::{figure, head, states};

/// Its id.
pub const ID: &str = "lens";

/// The panel.
pub struct Lens;

impl Panel for Lens {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: ID,
            name: "Lens",
            tag: "",
            hint: "what each layer would predict",
            group: Group::Look,
            open: true,
        }
    }

    fn view(&self, state: &State) -> Option<View> {
        Some(LensAsk { side: state.choices.side }.into())
    }

    fn shows(&self) -> Option<&'static Method> {
        Some(&LENS)
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// Draw the lens.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let view = Lens.view(state);
    let figure = view.and_then(|view| state.figure(&view));
    examples::ui(ui, state, commands);
    head::head(ui, Head::of(&LENS, ID, figure.as_ref()), commands, |_, _| {});
    head::parameters(ui, "lens", 1, |ui, _| side_picker(ui, &mut state.choices.side));
    let Some(figure) = figure else { return states::pending(ui, state, "Logit lens") };
    if let Some(cell) = figure::show(ui, &figure, None, "", commands).clicked {
        commands.push(Command::Select(Some(cell.col)));
    }
}

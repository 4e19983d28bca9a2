//! Variants beside each other: what each would say next, what it costs, the same figure of each on one scale and what is
//! different.

mod columns;
mod list;

use std::sync::Arc;

use eframe::egui::{ComboBox, RichText, Ui};
use serde::{Deserialize, Serialize};
use sluice_core::figure::Figure;
use sluice_core::method::Group;
use sluice_core::worker::{Columns, Generate, Slot, View};

use super::{Panel, panels, text};
use crate::command::Command;
use crate::state::{Head as Column, PanelChoice, PanelId, PanelInfo, Source, State};
use crate::theme;
use crate::widgets::head::{self, Head};
use crate::widgets::{figure, legend, states};

/// Its id.
pub const ID: PanelId = "variants";

/// What is shown of the variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Show {
    /// Columns.
    #[default]
    Beside,
    /// Losses of each token.
    Losses,
    /// The list with what each costs.
    List,
}

/// How they are compared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Choice {
    show: Show,
    /// The figure, by its method.
    figure: String,
    /// The column that others are compared with.
    against: Source,
    /// All are about the prompt as it is.
    of_now: bool,
}

impl PanelChoice for Choice {
    const PANEL: &'static str = ID;
}

/// The panel.
pub struct Variants;

impl Panel for Variants {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: ID,
            name: "Variants",
            tag: "",
            hint: "prompts and plans side by side, and what each costs",
            group: Group::Compare,
            open: false,
        }
    }

    fn figures(&self, state: &State) -> Vec<Arc<Figure>> {
        state.results.beside.figures().all()
    }

    fn pose(&self, _: &State) -> Vec<Command> {
        use sluice_core::plan::{Part, Sublayer};
        let out = |layer| Command::Toggle(Sublayer { layer, part: Part::Ffn });
        vec![
            Command::Clear,
            Command::Show(ID),
            out(0),
            Command::PinVariant,
            out(1),
            Command::ContinueVariants,
            Command::DismissMessage,
        ]
    }

    fn is_posed(&self, state: &State) -> bool {
        let text = state.results.beside.text.as_ref();
        state.results.beside.is_whole() && text.is_some_and(|text| text.done)
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// What it says of itself.
const HEAD: Head<'static> = Head {
    title: "What does each variant change?",
    line: "The model, the plan as it is and what was pinned, side by side on one scale; differences are of the column that they are compared with",
    reading: "KL is from that column to this one after the last token; loss is the mean surprisal of the prompt's tokens",
    source: None,
    notes: &[],
    panel: ID,
};

/// The columns.
fn heads(state: &State) -> Vec<Column> {
    let Choice { of_now, .. } = state.choices.of();
    state.heads(of_now)
}

/// What can be shown of each.
fn views(state: &State) -> Vec<View> {
    let shown = panels().iter().filter(|panel| panel.shows().is_some() && panel.unavailable(state).is_none());
    state.comparable(shown.filter_map(|panel| panel.view(state)).collect())
}

/// What is asked of the worker while the panel is on screen.
pub fn request(state: &State) -> Option<Columns> {
    if !state.visible.contains(&ID) {
        return None;
    }
    let choice: Choice = state.choices.of();
    let view = State::compared(&views(state), &choice.figure)?;
    let heads: Vec<_> = heads(state).into_iter().filter(|head| head.variant.is_ok()).collect();
    // One that is no column any longer: the first is.
    let against = heads.iter().position(|head| head.source == choice.against).unwrap_or(0);
    let variants: Vec<_> =
        heads.into_iter().filter_map(|head| Some((head.letter, head.variant.ok()?))).collect();
    (!variants.is_empty()).then_some(Columns { variants, view, against })
}

/// Continuations of every column.
pub fn continuations(state: &State) -> Option<Generate> {
    let text::Choice { temperature, seed, max_new_tokens } = state.choices.of();
    let streams: Vec<_> =
        heads(state).into_iter().filter_map(|head| Some((head.letter, head.variant.ok()?))).collect();
    (!streams.is_empty()).then_some(Generate { streams, max_new_tokens, temperature, seed })
}

fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let mut choice: Choice = state.choices.of();
    let heads = heads(state);
    let writing = state.results.progress.contains_key(&Slot::Generate);
    head::head(ui, HEAD, commands, |ui, commands| {
        if ui.add(theme::filled(ui.ctx(), "Pin the current plan")).clicked() {
            commands.push(Command::PinVariant);
        }
        if writing {
            if ui.button("Stop").clicked() {
                commands.push(Command::Cancel(Slot::Generate));
            }
        } else if ui.button("Continue each").on_hover_text("as the Text panel says").clicked() {
            commands.push(Command::ContinueVariants);
        }
        for (show, name) in [(Show::List, "Table"), (Show::Losses, "Losses"), (Show::Beside, "Side by side")]
        {
            if ui.selectable_label(choice.show == show, name).clicked() {
                choice.show = show;
            }
        }
    });
    let views = views(state);
    let chosen = State::compared(&views, &choice.figure);
    let scales = state.results.beside.figures().scales();
    head::parameters(ui, "variants", 4, |ui, index| match index {
        0 => {
            let label = ui.label("Figure");
            let name = chosen.as_ref().map_or("", |view| view.method().name);
            let combo = ComboBox::from_id_salt("compared").selected_text(name).show_ui(ui, |ui| {
                for view in &views {
                    let on = chosen.as_ref() == Some(view);
                    if ui.selectable_label(on, view.method().name).clicked() {
                        choice.figure = view.method().id.to_owned();
                    }
                }
            });
            combo.response.labelled_by(label.id);
        }
        1 => {
            let label = ui.label("Against");
            let name = |head: &Column| format!("{} {}", head.letter, theme::short(&head.name, 20));
            let chosen = heads.iter().find(|head| head.source == choice.against).or(heads.first());
            let text = chosen.map_or_else(String::new, name);
            let combo = ComboBox::from_id_salt("against").selected_text(text).show_ui(ui, |ui| {
                for head in &heads {
                    ui.selectable_value(&mut choice.against, head.source, name(head));
                }
            });
            combo.response.labelled_by(label.id);
        }
        2 => {
            let all = ui.checkbox(&mut choice.of_now, "on this prompt");
            all.on_hover_text(
                "pinned plans on the prompt as it is, not on the one that they were pinned with",
            );
        }
        _ => {
            for (name, scale) in &scales {
                ui.label(RichText::new(*name).small().weak());
                legend::ramp(ui, scale, 56.0);
                ui.add_space(2.0 * theme::UNIT);
            }
        }
    });
    let show = choice.show;
    state.choices.set(choice);
    match show {
        Show::Beside => columns::ui(ui, state, &heads, commands),
        Show::Losses => match state.results.beside.losses.clone() {
            Some(losses) => drop(figure::show(ui, &losses, None, "", commands)),
            None => states::loading(ui, "Losses"),
        },
        Show::List => list::ui(ui, state, &heads, commands),
    }
}

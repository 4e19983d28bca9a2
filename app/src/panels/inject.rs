//! Inject: add a vector of one layer, position or run to another and watch the answer. Builds one item of the plan, which
//! the controls then change live.

use eframe::egui::{Align2, ComboBox, TextEdit, Ui};
use serde::{Deserialize, Serialize};
use sluice_core::method::Group;
use sluice_core::plan::{Add, Change, Item, Positions, Source};
use sluice_core::site::{Hook, Site};
use sluice_core::worker::{ViewData, Words};

use super::Panel;
use crate::command::Command;
use crate::state::{Choices, PanelChoice, PanelInfo, State};
use crate::theme;
use crate::widgets::head::{self, Head};
use crate::widgets::pickers::{answer_box, layer_picker, position_picker, slider};
use crate::widgets::{figure, states};

/// Sites on offer.
const HOOKS: [Hook; 3] = [Hook::ResidPost, Hook::AttnOut, Hook::MlpOut];

/// What is injected where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Where the vector is added.
    pub to_layer: usize,
    /// Site of the target: `ResidPost`, `AttnOut` or `MlpOut`.
    pub to_hook: Hook,
    /// Target position; none = the last and every later one.
    pub to_position: Option<usize>,
    /// Where the vector is taken from.
    pub from_layer: usize,
    /// Site of the source.
    pub from_hook: Hook,
    /// Source position; none = the source's last.
    pub from_position: Option<usize>,
    /// Another prompt that the vector is taken from; empty = this one.
    pub from_prompt: String,
    /// Factor.
    pub scale: f32,
    /// Rescale the sum to the norm it had.
    pub keep_norm: bool,
}

impl PanelChoice for Choice {
    const PANEL: &'static str = "inject";
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            to_layer: 0,
            to_hook: Hook::ResidPost,
            to_position: None,
            from_layer: 0,
            from_hook: Hook::ResidPost,
            from_position: None,
            from_prompt: String::new(),
            scale: 1.0,
            keep_norm: false,
        }
    }
}

/// The panel.
pub struct Inject;

impl Panel for Inject {
    fn info(&self) -> PanelInfo {
        PanelInfo {
            id: "inject",
            name: "Inject a vector",
            tag: "",
            hint: "add a vector and watch the answer",
            group: Group::Change,
            open: false,
        }
    }

    fn another_prompt(&self, choices: &mut Choices) {
        let own: Choice = choices.of();
        choices.set(Choice { to_position: None, from_position: None, ..own });
    }

    fn pose(&self, _: &State) -> Vec<Command> {
        // The answer's own direction at the last token, where the controls point.
        let site = Site::block(0, Hook::ResidPost);
        let add = Add {
            site: site.into(),
            positions: Positions::Last,
            source: Source::Base,
            from_site: Some(site),
            from_position: None,
            scale: -2.0,
            keep_norm: true,
        };
        vec![Command::Clear, Command::Show(self.info().id), Command::Add(Box::new(Change::Add(add).into()))]
    }

    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        draw(ui, state, commands);
    }
}

/// What it says of itself.
const HEAD: Head<'static> = Head {
    title: "What does a vector do to the answer?",
    line: "Takes a vector from a site of this run or of another prompt's and adds it where you say, live",
    reading: "",
    source: None,
    notes: &[],
    panel: "inject",
};

/// Draw the controls and the answer.
fn draw(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    let layers = state.layers();
    let mut injection: Choice = state.choices.of();
    // The plan's stack changes scale and strength too: what it holds counts.
    let known = item_of(state, &injection).and_then(|item| find(state, &item));
    let held = known.and_then(|index| state.history.plan().items.get(index));
    if let Some(Change::Add(add)) = held.map(|item| &item.change) {
        (injection.scale, injection.keep_norm) = (add.scale, add.keep_norm);
    }
    let before = injection.clone();
    let wanted = item_of(state, &injection);
    head::head(ui, HEAD, commands, |ui, commands| match (&wanted, known) {
        (Some(item), None) => {
            let add = ui.add(theme::filled(ui.ctx(), "Add injection"));
            if add.on_hover_text("adds it to the plan; the controls then change it live").clicked() {
                commands.push(Command::Add(Box::new(item.clone())));
            }
        }
        (Some(_), Some(index)) => {
            if ui.button("Remove injection").clicked() {
                commands.push(Command::Remove(index));
            }
        }
        (None, _) => {}
    });
    // Three rows close together: the table below keeps its room.
    ui.spacing_mut().item_spacing.y = 0.0;
    head::parameters(ui, "inject-from", 4, |ui, index| match index {
        0 => {
            ui.strong("Take a vector from");
            site_picker(ui, "Source site", &mut injection.from_hook);
        }
        1 => layer_picker(ui, "Source layer", &mut injection.from_layer, layers),
        2 if injection.from_prompt.is_empty() => {
            position_picker(ui, state, "Source position", "last", &mut injection.from_position);
        }
        2 => {
            injection.from_position = None;
            ui.weak("at its last position");
        }
        _ => {
            let label = ui.label("of another prompt");
            ui.add(
                TextEdit::singleline(&mut injection.from_prompt)
                    .align(Align2::LEFT_CENTER)
                    .desired_width(180.0)
                    .hint_text("this prompt"),
            )
            .labelled_by(label.id);
        }
    });
    head::parameters(ui, "inject-to", 3, |ui, index| match index {
        0 => {
            ui.strong("and add it to");
            site_picker(ui, "Target site", &mut injection.to_hook);
        }
        1 => layer_picker(ui, "Target layer", &mut injection.to_layer, layers),
        _ => position_picker(ui, state, "Target position", "last and later", &mut injection.to_position),
    });
    head::parameters(ui, "inject-how", 3, |ui, index| match index {
        0 => slider(ui, "scale", &mut injection.scale, -4.0..=4.0),
        1 => drop(ui.checkbox(&mut injection.keep_norm, "keep the norm")),
        _ => answer_box(ui, state, commands),
    });
    match (item_of(state, &injection), known) {
        (Some(item), Some(index)) if injection != before => {
            if let Some(old) = state.history.plan().items.get(index) {
                let item = Item { on: old.on, strength: old.strength, ..item };
                commands.push(Command::Edit(index, Box::new(item)));
            }
        }
        (None, _) => drop(ui.weak("the other prompt must be token ids, separated by commas")),
        _ => {}
    }
    state.choices.set(injection);
    answer(ui, state, commands);
}

/// Index of the plan's item that adds the same vector at the same place, at whatever scale.
fn find(state: &State, item: &Item) -> Option<usize> {
    let place = |item: &Item| match &item.change {
        Change::Add(add) => Some(Add { scale: 0.0, keep_norm: false, ..add.clone() }),
        _ => None,
    };
    let wanted = place(item);
    state.history.plan().items.iter().position(|other| wanted.is_some() && place(other) == wanted)
}

fn site_picker(ui: &mut Ui, name: &str, hook: &mut Hook) {
    let label = ui.label(name);
    let combo = ComboBox::from_id_salt(name).selected_text(hook.name()).show_ui(ui, |ui| {
        for known in HOOKS {
            ui.selectable_value(hook, known, known.name());
        }
    });
    combo.response.labelled_by(label.id);
}

/// What the controls say, as an item of the plan.
fn item_of(state: &State, injection: &Choice) -> Option<Item> {
    let source = if injection.from_prompt.is_empty() {
        Source::Base
    } else {
        match state.parse_words(&injection.from_prompt).ok()? {
            Words::Text(text) | Words::Written(text) => Source::Prompt(text),
            Words::Tokens(tokens) => Source::Tokens(tokens),
        }
    };
    let add = Add {
        site: Site::block(injection.to_layer, injection.to_hook).into(),
        positions: injection.to_position.map_or(Positions::Last, |position| Positions::At(vec![position])),
        source,
        from_site: Some(Site::block(injection.from_layer, injection.from_hook)),
        from_position: injection.from_position.map(Into::into),
        scale: injection.scale,
        keep_norm: injection.keep_norm,
    };
    Some(Change::Add(add).into())
}

/// The followed token's probability without and with the plan, and what else follows.
fn answer(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(ViewData::Next(next)) = state.data(&state.next_view()) else {
        return states::pending(ui, state, "Answer");
    };
    let row = &next.answer;
    let change = f64::from(row.plan).ln() - f64::from(row.base).ln();
    let token = state.results.tokens.get(next.position).map_or("", |token| token.text.as_str());
    let locked = if state.choices.position.is_some() { ", where the table is locked" } else { "" };
    let fact = format!(
        "after {token} (position {}{locked}): P of {} {:.3} → {:.3} %, Δ ln p {change:+.3} nats",
        next.position,
        row.token.text,
        100.0 * row.base,
        100.0 * row.plan
    );
    figure::show(ui, &next.figure, None, &fact, commands);
}

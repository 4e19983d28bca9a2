//! One file per panel. A panel reads the state, lets choices be changed, and pushes commands; [`panels`] lists those of the
//! centre. A method without a panel of its own has the generic one.

pub mod activations;
pub mod attention;
pub mod cell;
pub mod examples;
pub mod experts;
pub mod help;
pub mod history;
pub mod inject;
pub mod iri;
pub mod lens;
pub mod marks;
pub mod navigation;
pub mod neuron;
pub mod next;
pub mod notes;
pub mod palette;
pub mod picture;
pub mod plan;
pub mod prompt;
pub mod pruning;
pub mod routing;
pub mod status;
pub mod strip;
pub mod study;
pub mod text;
pub mod top;
pub mod variants;
pub mod welcome;

use std::sync::{Arc, OnceLock};

use eframe::egui::Ui;
use sluice_core::figure::Figure;
use sluice_core::figure::page::Part;
use sluice_core::method::view::{NEURON, NEXT_TOKENS, NeuronAsk, StripAsk, TOKENS};
use sluice_core::method::{METHODS, Method};
use sluice_core::worker::View;

use crate::command::{self, Action, Command};
use crate::state::{Choices, PanelId, PanelInfo, State};

/// A panel of the centre.
pub trait Panel: Send + Sync {
    /// How it is found.
    fn info(&self) -> PanelInfo;

    /// What it shows of the prompt under the plan.
    fn view(&self, _state: &State) -> Option<View> {
        None
    }

    /// The figures that it shows.
    fn figures(&self, state: &State) -> Vec<Arc<Figure>> {
        self.view(state).and_then(|view| state.figure(&view)).into_iter().collect()
    }

    /// The view that it is the panel of.
    fn shows(&self) -> Option<&'static Method> {
        None
    }

    /// The method that it asks.
    fn method(&self) -> Option<&'static Method> {
        None
    }

    /// Why it cannot show anything of the open checkpoint.
    fn unavailable(&self, _state: &State) -> Option<&'static str> {
        None
    }

    /// Positions that were chosen mean something else now.
    fn another_prompt(&self, _choices: &mut Choices) {}

    /// What is done to see it at its best, for a picture.
    fn pose(&self, _state: &State) -> Vec<Command> {
        vec![Command::Clear, Command::Show(self.info().id)]
    }

    /// Whether that is to be seen, once everything that was asked of the prompt is there.
    fn is_posed(&self, _state: &State) -> bool {
        true
    }

    /// Draw it.
    fn ui(&self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>);
}

/// Views that stand beside the centre.
const BESIDE: [&Method; 3] = [&NEXT_TOKENS, &TOKENS, &NEURON];

/// Every panel of the centre, in the order shown.
pub fn panels() -> &'static [Box<dyn Panel>] {
    static PANELS: OnceLock<Vec<Box<dyn Panel>>> = OnceLock::new();
    PANELS.get_or_init(|| {
        let own: [Box<dyn Panel>; 11] = [
            Box::new(lens::Lens),
            Box::new(attention::Attention),
            Box::new(activations::Activations),
            Box::new(routing::Routing),
            Box::new(pruning::Pruning),
            Box::new(experts::Experts),
            Box::new(inject::Inject),
            Box::new(iri::IriPanel),
            Box::new(variants::Variants),
            Box::new(text::Text),
            Box::new(notes::Notes),
        ];
        let shown: Vec<&Method> = own.iter().filter_map(|panel| panel.shows()).chain(BESIDE).collect();
        let others = METHODS.iter().filter(|method| !shown.contains(method));
        let others = others.map(|&method| Box::new(study::Study(method)) as Box<dyn Panel>);
        let mut all: Vec<_> = own.into_iter().chain(others).collect();
        // Keys are counted as the list at the left shows them.
        all.sort_by_key(|panel| panel.info().group);
        all
    })
}

/// The methods that are asked in a panel: all but those that are always on screen or in panels of their own.
pub fn asked() -> impl Iterator<Item = &'static Method> {
    panels().iter().filter_map(|panel| panel.method())
}

/// Every named command, with the number keys of these pins.
pub fn actions(pins: &[String]) -> Vec<Action> {
    let infos: Vec<_> = panels().iter().map(|panel| panel.info()).collect();
    command::actions(&infos, asked(), pins)
}

/// The panel of an id.
pub fn find(id: &str) -> Option<&'static dyn Panel> {
    panels().iter().find(|panel| panel.info().id == id).map(|panel| &**panel)
}

/// The panel that asks or shows a method; none where that stands beside the centre.
pub fn panel_of(method: &Method) -> Option<PanelId> {
    let mut all = panels().iter();
    all.find(|panel| panel.method().or(panel.shows()) == Some(method)).map(|panel| panel.info().id)
}

/// The views on screen, those that answer fastest first.
pub fn wanted(state: &State) -> Vec<View> {
    let mut views = vec![state.next_view()];
    views.extend(state.visible.iter().filter_map(|&id| find(id)?.view(state)));
    views.extend(neuron(state));
    views.push(StripAsk {}.into());
    views
}

/// All figures on screen.
pub fn figures(state: &State) -> Vec<Arc<Figure>> {
    let shown = state.visible.iter().filter_map(|&id| find(id)).flat_map(|panel| panel.figures(state));
    let beside = [Some(state.next_view()), neuron(state), Some(StripAsk {}.into())].into_iter().flatten();
    shown.chain(beside.filter_map(|view| state.figure(&view))).collect()
}

/// All figures on screen with what methods found beside the first of theirs.
pub fn parts(state: &State) -> Vec<Part> {
    let found: Vec<(Arc<Figure>, Vec<String>)> = methods(state)
        .filter_map(|method| state.studies.findings(method.id))
        .filter_map(|findings| {
            let facts =
                findings.facts().iter().map(|fact| format!("{}: {}", fact.name, fact.text())).collect();
            Some((findings.found.figures().into_iter().next()?, facts))
        })
        .collect();
    let facts = |figure: &Arc<Figure>| {
        let of =
            found.iter().find(|(first, _)| first.provenance == figure.provenance && first.id == figure.id);
        of.map(|(_, facts)| facts.clone()).unwrap_or_default()
    };
    figures(state).into_iter().map(|figure| Part { facts: facts(&figure), figure }).collect()
}

/// The neuron that is looked into.
fn neuron(state: &State) -> Option<View> {
    state.choices.neuron.map(|(layer, neuron)| NeuronAsk { layer, neuron }.into())
}

/// The methods on screen, the last first.
pub fn methods(state: &State) -> impl Iterator<Item = &'static Method> {
    state.visible.iter().rev().filter_map(|&id| find(id)?.method())
}

/// The method whose positions a click on a token marks now: the last on screen that asks for some.
pub fn marking(state: &State) -> Option<&'static Method> {
    methods(state).find(|method| !method.picks.is_empty())
}

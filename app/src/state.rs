//! What was asked and what came back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use sluice_core::plan::{Change, Item, Lane, Part, Plan, Positions, Route, Skip, Sublayer};
use sluice_core::site::Hook;
use sluice_core::worker::*;

/// Rows of the next-token table.
const TOP: usize = 10;
/// Steps kept for undo.
const MAX_HISTORY: usize = 200;

/// The centre's tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Tab {
    Routing,
    Activations,
    Pruning,
    Trace,
    Lens,
    Attention,
    Text,
}

impl Tab {
    /// In the order shown.
    pub const ALL: [Self; 7] = [
        Self::Routing,
        Self::Activations,
        Self::Pruning,
        Self::Trace,
        Self::Lens,
        Self::Attention,
        Self::Text,
    ];
}

/// The plan with its past and future.
#[derive(Debug, Default)]
pub struct History {
    plan: Plan,
    past: Vec<Plan>,
    future: Vec<Plan>,
    /// Key of a gesture under way: its changes are one step.
    gesture: Option<u64>,
}

impl History {
    /// The plan as it is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Change the plan. Changes with the same `gesture` are undone together.
    pub fn change(&mut self, gesture: Option<u64>, change: impl FnOnce(&mut Plan)) {
        let before = self.plan.clone();
        change(&mut self.plan);
        if self.plan == before {
            return;
        }
        self.future.clear();
        if gesture.is_none() || gesture != self.gesture {
            self.past.push(before);
            if self.past.len() > MAX_HISTORY {
                self.past.remove(0);
            }
        }
        self.gesture = gesture;
    }

    /// Take back a step.
    pub fn undo(&mut self) {
        if let Some(plan) = self.past.pop() {
            self.future.push(std::mem::replace(&mut self.plan, plan));
        }
        self.gesture = None;
    }

    /// Do a step again.
    pub fn redo(&mut self) {
        if let Some(plan) = self.future.pop() {
            self.past.push(std::mem::replace(&mut self.plan, plan));
        }
        self.gesture = None;
    }

    /// Whether there is a step to take back, and one to do again.
    pub fn steps(&self) -> (bool, bool) {
        (!self.past.is_empty(), !self.future.is_empty())
    }
}

/// What the panels let a person choose.
#[derive(Debug)]
pub struct Choices {
    /// Visible tab.
    pub tab: Tab,
    /// Layer of the activation and attention panels.
    pub layer: usize,
    /// Attention head; none = mean.
    pub head: Option<usize>,
    /// Which run is shown.
    pub side: Side,
    /// Order neurons by magnitude.
    pub sort: bool,
    /// Neuron in the inspector.
    pub neuron: Option<usize>,
    /// Prompt position in the inspector.
    pub position: Option<usize>,
    /// Lane that the brush paints.
    pub lane: Lane,
    /// Positions the trace corrupts.
    pub corrupt: Vec<usize>,
    /// Noise of the trace in standard deviations.
    pub sigma: f32,
    /// What the trace restores.
    pub component: Component,
    /// Sampling temperature.
    pub temperature: f32,
    /// Length of continuations.
    pub max_new_tokens: usize,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            tab: Tab::Routing,
            layer: 0,
            head: None,
            side: Side::Plan,
            sort: true,
            neuron: None,
            position: None,
            lane: Lane::Small,
            corrupt: Vec::new(),
            sigma: 3.0,
            component: Component::Residual,
            temperature: 0.0,
            max_new_tokens: 48,
        }
    }
}

/// Newest results.
#[derive(Debug, Default)]
pub struct Results {
    /// The prompt's tokens.
    pub tokens: Arc<[Token]>,
    /// Views of the newest scene; older ones stay until they are replaced.
    pub views: HashMap<View, Arc<ViewData>>,
    /// Cost of the newest scene.
    pub recomputed: Option<Recomputed>,
    /// Continuations.
    pub text: Option<Arc<Continuation>>,
    /// Findings of the newest trace.
    pub trace: Option<Arc<TraceFindings>>,
    /// Jobs under way.
    pub progress: HashMap<Slot, Progress>,
    /// The newest failure, shown once.
    pub failure: Option<Failure>,
}

/// Everything the window holds besides the worker.
#[derive(Debug, Default)]
pub struct State {
    /// The open checkpoint.
    pub card: Option<Arc<Card>>,
    /// Path box.
    pub path: String,
    /// Prompt box: text, or ids where there is no tokenizer.
    pub prompt: String,
    /// The plan.
    pub history: History,
    /// What is chosen.
    pub choices: Choices,
    /// What came back.
    pub results: Results,
    /// Last line of the status bar: an export, for instance.
    pub status: String,
    /// Folder that exports go to.
    pub export_folder: PathBuf,
}

impl State {
    /// The prompt as the worker takes it; an error says what is wrong with the ids.
    pub fn request_prompt(&self) -> Result<Prompt, String> {
        let ids_only = self.card.as_ref().is_some_and(|card| card.tokenizer == "none");
        if !ids_only {
            return Ok(Prompt::Text(self.prompt.clone()));
        }
        let parse =
            |part: &str| part.trim().parse().map_err(|_| format!("\"{}\" is not a token id", part.trim()));
        let parts = self.prompt.split(',').filter(|part| !part.trim().is_empty());
        parts.map(parse).collect::<Result<_, _>>().map(Prompt::Tokens)
    }

    /// The views that are visible.
    pub fn wanted(&self) -> Vec<View> {
        let choices = &self.choices;
        let (layer, side) = (choices.layer, choices.side);
        let mut views = vec![View::Next { position: choices.position, top: TOP }];
        match choices.tab {
            Tab::Routing => views.push(View::Routing),
            Tab::Pruning => views.push(View::Ladder),
            Tab::Activations => {
                views.push(View::Activations { layer, hook: Hook::MlpPost, side, sort: choices.sort });
                views.extend(choices.neuron.map(|neuron| View::Neuron { layer, neuron }));
            }
            Tab::Attention => views.push(View::Attention { layer, head: choices.head, side }),
            Tab::Lens => views.push(View::Lens { side }),
            Tab::Trace | Tab::Text => {}
        }
        views
    }

    /// Whether the plan takes a sublayer out.
    pub fn is_out(&self, sublayer: Sublayer) -> bool {
        self.history.plan().items.iter().any(|item| item.on && skips(item, sublayer))
    }

    /// Lane of the plan's routing map.
    pub fn lane(&self, layer: usize, position: Option<usize>) -> Lane {
        let len = self.results.tokens.len();
        let route = self.history.plan().items.iter().find_map(route_of);
        route.map_or(Lane::Big, |route| match position {
            Some(position) => route.lane(layer, position, len),
            None => route.next(layer),
        })
    }
}

/// Take a sublayer out, or put it back.
pub fn toggle(plan: &mut Plan, sublayer: Sublayer) {
    let before = plan.items.len();
    plan.items.retain(|item| !skips(item, sublayer));
    if plan.items.len() == before {
        plan.items.push(Change::Skip(Skip { sublayer, positions: Positions::All }).into());
    }
}

/// Change the plan's routing map; an empty map leaves the plan.
pub fn reroute(plan: &mut Plan, change: impl FnOnce(&mut Route)) {
    let index = plan.items.iter().position(|item| route_of(item).is_some());
    let index = index.unwrap_or_else(|| {
        plan.items.push(Change::Route(Route::default()).into());
        plan.items.len() - 1
    });
    let Some(Change::Route(route)) = plan.items.get_mut(index).map(|item| &mut item.change) else { return };
    change(route);
    if route.layers.is_empty() {
        plan.items.remove(index);
    }
}

fn route_of(item: &Item) -> Option<&Route> {
    if let Change::Route(route) = &item.change { Some(route) } else { None }
}

fn skips(item: &Item, sublayer: Sublayer) -> bool {
    matches!(&item.change, Change::Skip(skip) if skip.sublayer == sublayer && skip.positions == Positions::All)
}

/// Both sublayers of every layer.
pub fn parts() -> [Part; 2] {
    [Part::Attn, Part::Ffn]
}

//! What stands beside the oracle on a prompt: the checkpoint's own routers, and coins of every budget.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::table;
use super::tree::scored;
use crate::engine::{self, Engine};
use crate::error::Result;
use crate::method::token_losses::{Losses, TokenLosses};
use crate::method::{bits64, number};
use crate::model::{Input, Work};
use crate::plan::{Change, Plan, Route, Router};
use crate::rng;
use crate::spec::{Lane, LayerRoute};

/// A router on a prompt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Routed {
    /// Its name: lanes and budgets.
    pub name: String,
    /// Big layers of a token in the mean.
    #[serde(deserialize_with = "number")]
    pub big: f64,
    /// Nats per token.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
}

/// Routers and coins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Baselines {
    /// The checkpoint's own routers among the lanes.
    pub routers: Vec<Routed>,
    /// What each of them chose, by layer and position.
    pub chosen: Vec<BTreeMap<usize, Vec<Lane>>>,
    /// By number of big layers, 0 first; nats per token.
    #[serde(with = "bits64")]
    pub coins: Vec<f64>,
}

/// Passes of the baselines, under way.
pub struct BaselinesRun {
    /// Without routing of its own.
    plan: Plan,
    tokens: Input,
    /// The next one last; a router has a name.
    waiting: Vec<(Option<String>, Change)>,
    under_way: Option<(Option<String>, TokenLosses)>,
    /// Cost so far.
    pub work: Work,
    /// Findings so far.
    pub found: Baselines,
}

impl BaselinesRun {
    /// Under a plan whose own routing they replace. `lanes`: the big one last.
    pub fn new(engine: &Engine, plan: &Plan, tokens: &Input, lanes: &[Lane]) -> Self {
        let (spec, layers) = (&engine.model.spec, engine.model.spec.n_layers());
        let among = spec.routers.iter().filter(|router| router.lanes.iter().all(|lane| lanes.contains(lane)));
        let mut waiting: Vec<(Option<String>, Change)> = among
            .map(|router| {
                let change = Change::Router(Router { name: router.name.clone(), file: None });
                (Some(router.name.clone()), change)
            })
            .collect();
        if let Some(&first) = lanes.first() {
            let coins = |budget| Change::Route(coins(plan, layers, tokens.len(), budget, first));
            waiting.extend((0..=layers).map(|budget| (None, coins(budget))));
        }
        waiting.reverse();
        Self {
            plan: plan.unrouted(),
            tokens: tokens.clone(),
            waiting,
            under_way: None,
            work: Work::default(),
            found: Baselines::default(),
        }
    }

    /// Go on after what an earlier run found.
    pub fn go_on(&mut self, found: Baselines) {
        let done = found.routers.len() + found.coins.len();
        self.waiting.truncate(self.waiting.len().saturating_sub(done));
        self.found = found;
    }

    /// Passes done and passes to come.
    pub fn progress(&self) -> (usize, usize) {
        let done = self.found.routers.len() + self.found.coins.len();
        (done, self.waiting.len() + usize::from(self.under_way.is_some()))
    }

    /// Whether all were run.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }

    /// One sublayer of one of them.
    ///
    /// # Errors
    /// What a pass over the prompt refuses.
    pub fn step(&mut self, engine: &mut Engine) -> Result<()> {
        let (name, mut pass) = match (self.under_way.take(), self.waiting.pop()) {
            (Some(under_way), next) => {
                self.waiting.extend(next);
                under_way
            }
            (None, Some((name, change))) => {
                let mut plan = self.plan.clone();
                plan.items.push(change.into());
                let schedule = engine.schedule(&plan, &self.tokens, &engine::never)?;
                (name, TokenLosses::new(engine, &self.tokens, &schedule)?)
            }
            (None, None) => return Ok(()),
        };
        if !pass.step()? {
            self.under_way = Some((name, pass));
            return Ok(());
        }
        let Losses { losses, lanes, work } = pass.finish()?;
        self.work += work;
        let scored = scored(&self.tokens);
        let own: Vec<f32> = scored.iter().filter_map(|&position| losses.get(position).copied()).collect();
        let loss = table::average(&own);
        match name {
            None => self.found.coins.push(loss),
            Some(name) => {
                let big = lanes.values().flatten().filter(|lane| **lane == Lane::Big).count();
                let big = big as f64 / self.tokens.len().max(1) as f64;
                self.found.routers.push(Routed { name, big, loss });
                self.found.chosen.push(lanes);
            }
        }
        Ok(())
    }
}

/// Every token and layer big by itself, with the chance that makes the budget.
fn coins(plan: &Plan, layers: usize, len: usize, budget: usize, first: Lane) -> Route {
    let mut route = Route { surrogate: plan.surrogate(), ..Route::default() };
    for layer in 0..layers {
        let draw = |position: usize| rng::uniform(31 + budget as u64, layer as u64, position as u64);
        let big = |position| draw(position) * (layers as f64) < budget as f64;
        let tokens = (0..len).map(|position| if big(position) { Lane::Big } else { first });
        route.set_layer(LayerRoute { layer, tokens: tokens.collect(), next: Lane::Big });
    }
    route
}

//! What an oracle found: numbers by budget, the best route of every token, figures, and the routes as an offer to the plan.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::table::{self, Budget, LossTable};
use super::{Beam, Greedy, OracleRun, Routed, Under, curves};
use crate::error::Result;
use crate::figure::Figure;
use crate::method::{Fact, Found, Offer, Stepper as _, raw};
use crate::plan::{Change, Route};
use crate::spec::Lane;
use crate::statistics::Mean;

/// Findings of an oracle.
#[derive(Clone, Debug)]
pub struct OracleFound {
    /// Numbers.
    pub data: OracleData,
    /// The best route of every token so far; big where there is none.
    pub route: Route,
    /// The routes as a map; at the end of every route also the difficulty of the tokens, losses by budget, and controls.
    pub figures: Vec<Arc<Figure>>,
    /// At the end of every route, by position: the loss of the token there with every FFN in the first lane, and what of it
    /// the oracle saves. NaN for what nothing foresees.
    pub difficulty: Option<[Arc<[f32]>; 2]>,
    done: bool,
}

/// Numbers of an oracle, by the way it searches.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum OracleData {
    /// Every route.
    Every(Box<EveryFound>),
    /// Token by token.
    Greedy(Greedy),
    /// A beam.
    Beam(Beam),
}

/// Losses of the routes of a prompt, by budget; numbers of the whole table are there at the end.
#[derive(Clone, Debug, Serialize)]
pub struct EveryFound {
    /// What a layer's FFN can be, the big one last.
    pub lanes: Vec<Lane>,
    /// What "small" stands for.
    pub small: Option<String>,
    /// Which context a scored token has.
    pub reading: &'static str,
    /// Layers.
    pub layers: usize,
    /// Routes.
    pub patterns: usize,
    /// Every token whose next one is a word.
    pub tokens: Vec<TokenRoute>,
    /// The whole table.
    #[serde(flatten)]
    pub table: Option<TableFound>,
    /// The checkpoint's own routers.
    pub routers: Vec<Routed>,
    /// Every token and layer by itself big with the chance that makes the budget, by number of big layers.
    pub coins: Vec<f64>,
    /// In the blocks, for a full pass per route.
    pub flops_layers_full: u64,
    /// Floating-point operations in the blocks of the routes of this run: a part of the cost, a run that was resumed shares
    /// less.
    #[serde(skip)]
    pub flops_layers: u64,
}

/// Numbers over all routes.
#[derive(Clone, Debug, Serialize)]
pub struct TableFound {
    /// Nats per token, every FFN big.
    pub all_big: Mean,
    /// Every FFN in the first lane.
    pub all_first: Mean,
    /// The least loss of all routes, token by token.
    pub oracle: Mean,
    /// By number of big layers, 0 first.
    pub by_budget: Vec<Budget>,
    /// Best of K random routes: K and nats per token.
    pub best_of: Vec<(usize, f64)>,
    /// How often the oracle of a budget takes each layer's big FFN, by budget and layer.
    pub choice: Vec<Vec<f64>>,
    /// The same over the tokens to which the choice is worth [`table::WORTH`] or more.
    pub choice_worth: Vec<Vec<f64>>,
}

impl TableFound {
    /// Of a whole table.
    pub(super) fn new(table: &LossTable) -> Self {
        let layers = table.layers;
        Self {
            all_big: table::mean(table.row(table.all_big())),
            all_first: table::mean(table.row(0)),
            oracle: table::mean(&table::least(&table.loss)),
            by_budget: (0..=layers).map(|big| table.budget(big)).collect(),
            best_of: table.best_of(),
            choice: (0..=layers).map(|big| table.choice(big)).collect(),
            choice_worth: (0..=layers).map(|big| table.choice_worth(big)).collect(),
        }
    }

    /// The losses by budget, and at half of it what the search gains beside what it gains for other labels.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mean = |name: String, mean: &Mean, unit| Fact {
            low: Some(mean.interval[0]),
            high: Some(mean.interval[1]),
            ..Fact::new(name, mean.mean, unit)
        };
        let nats = "nats per token";
        let mut facts = vec![
            mean("loss by the oracle".into(), &self.oracle, nats),
            mean("loss with every FFN big".into(), &self.all_big, nats),
            mean("loss with every FFN in the first lane".into(), &self.all_first, nats),
        ];
        facts.extend(
            self.by_budget
                .iter()
                .map(|b| mean(format!("loss by the oracle of {} big layers", b.big), &b.oracle, nats)),
        );
        if let Some(half) = self.by_budget.get(self.by_budget.len().saturating_sub(1) / 2) {
            let of = format!("of {} big layers, the best less their mean", half.big);
            facts.extend(
                half.gain_sd
                    .each()
                    .map(|(labels, gain)| mean(format!("gain {of}, {labels}"), gain, "standard deviations")),
            );
            facts.push(Fact::new(
                format!("tokens with more than one best route of {} big layers", half.big),
                half.ties as f64,
                "tokens",
            ));
        }
        facts
    }
}

/// A token and the route that foresees its next one best.
#[derive(Clone, Debug, Serialize)]
pub struct TokenRoute {
    /// Where it stands.
    pub position: usize,
    /// Its id.
    pub token: u32,
    /// The route, a letter per layer: B big, s small, - skipped.
    pub best: String,
    /// Nats under it.
    pub loss: f32,
    /// Nats with every FFN big.
    pub all_big: f32,
    /// Nats with every FFN in the first lane: the difficulty of the token.
    pub all_first: f32,
}

impl Found for OracleFound {
    fn facts(&self) -> Vec<Fact> {
        let nats = "nats per token";
        match &self.data {
            OracleData::Every(found) => {
                let Some(table) = &found.table else { return Vec::new() };
                let mut facts = table.facts();
                facts.extend(
                    found.routers.iter().map(|router| {
                        Fact::new(format!("loss by router {}", router.name), router.loss, nats)
                    }),
                );
                facts
            }
            OracleData::Greedy(found) => vec![
                Fact::new("loss, token by token", found.loss, nats),
                Fact::new("big layers of a token", found.big, "layers"),
            ],
            OracleData::Beam(found) => vec![
                Fact::new("loss by the routes tried, an upper bound of the oracle's", found.oracle, nats),
                Fact::new("routes tried", found.tried as f64, "routes"),
            ],
        }
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        self.figures.clone()
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(&self.data)
    }

    fn offers(&self) -> Vec<Offer> {
        let offer = || Offer {
            label: "Routes into the plan".into(),
            hint: "every token takes its own best route at once: not what each was scored under".into(),
            items: vec![Change::Route(self.route.clone()).into()],
            replaces: &["route"],
        };
        self.done.then(offer).into_iter().collect()
    }
}

impl OracleRun {
    /// Findings so far.
    pub fn findings(&self) -> OracleFound {
        let done = self.is_done();
        let mut figures = vec![self.map()];
        let mut difficulty = None;
        let data = match &self.search {
            Under::Every(every) => {
                let found = self.every(every, done);
                if let Some(table) = &found.table {
                    difficulty = Some(self.by_token());
                    let (budgets, of) = (&table.by_budget, &self.provenance);
                    figures.extend([self.difficulty(), self.along()]);
                    figures.extend(curves::choices(&self.table, budgets, of));
                    figures.push(curves::budgets(budgets, Some(&every.baselines.found), of));
                    figures.extend(curves::controls(&self.table, budgets, of));
                    figures.push(curves::best_of(&self.table, of));
                }
                OracleData::Every(Box::new(found))
            }
            Under::Greedy(run) => OracleData::Greedy(run.findings()),
            Under::Beam(run) => OracleData::Beam(run.findings()),
        };
        let figures = figures.into_iter().map(Arc::new).collect();
        OracleFound { data, route: self.route(), figures, difficulty, done }
    }

    fn every(&self, every: &super::Every, done: bool) -> EveryFound {
        let loss_table = &self.table;
        let patterns = loss_table.loss.len();
        let (first, last) = (loss_table.row(0), loss_table.row(loss_table.all_big()));
        let token = |(place, (&(loss, pattern), &position)): (usize, (&(f32, usize), &usize))| {
            let at = |row: &[f32]| row.get(place).copied().unwrap_or(f32::NAN);
            TokenRoute {
                position,
                token: self.tokens.get(position).copied().unwrap_or(0),
                best: loss_table.spell(pattern),
                loss,
                all_big: at(last),
                all_first: at(first),
            }
        };
        let layers = loss_table.layers;
        let full: u64 = every.full.iter().sum();
        let lanes = &self.lanes;
        EveryFound {
            small: lanes.contains(&Lane::Small).then(|| self.small.clone()),
            reading: "every token of the sequence takes the same route",
            layers,
            patterns,
            tokens: self.best.iter().zip(&self.scored).enumerate().map(token).collect(),
            table: done.then(|| TableFound::new(loss_table)),
            routers: every.baselines.found.routers.clone(),
            coins: every.baselines.found.coins.clone(),
            flops_layers: every.tree.work.layers,
            // Every lane stands at every layer in an equal share of the routes.
            flops_layers_full: (full as f64 / lanes.len().max(1) as f64 * patterns as f64) as u64,
            lanes: lanes.clone(),
        }
    }
}

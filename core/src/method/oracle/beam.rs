//! A search among routes for models too deep to try them all: routes that together foresee the tokens best are changed in
//! one layer at a time, and every route that is looked at is run for all tokens, so that its losses are exact. What is
//! found is an upper bound of the oracle's loss.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::table::{LossTable, average, count_patterns};
use super::tree::{Controls, MOST_PATTERNS, RouteTree};
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::model::{Input, Work};
use crate::plan::Plan;
use crate::spec::Lane;

/// The search, on its way.
pub struct BeamRun {
    plan: Plan,
    tokens: Input,
    /// Spells routes.
    table: LossTable,
    width: usize,
    most: usize,
    known: BTreeMap<usize, Vec<f32>>,
    /// Routes of the round under way.
    round: Vec<usize>,
    tree: RouteTree,
    best: f64,
    done: bool,
    /// Of the rounds before.
    work: Work,
}

/// State that a later run goes on from, beside the losses of the routes that were run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BeamKept {
    round: Vec<usize>,
    best: Option<f64>,
    done: bool,
}

/// Findings of the search.
#[derive(Clone, Debug, Serialize)]
pub struct Beam {
    /// Routes kept from round to round.
    pub width: usize,
    /// Routes that were run.
    pub tried: usize,
    /// Nats per token, the least of the routes that were run.
    pub oracle: f64,
    /// The route of every scored token, a letter per layer.
    pub routes: Vec<String>,
    /// Floating-point operations in the blocks: a part of the cost, a run that was resumed shares less.
    #[serde(skip)]
    pub flops_layers: u64,
}

impl BeamRun {
    /// Begin, under a plan whose own routing is replaced. `lanes`: the big one last; at most `most` routes are run.
    ///
    /// # Errors
    /// Routes past counting, or a width or number of routes that is too small.
    pub fn new(
        engine: &mut Engine,
        plan: &Plan,
        tokens: &Input,
        lanes: &[Lane],
        (width, most): (usize, usize),
        cancelled: Cancelled,
    ) -> Result<Self> {
        let layers = engine.model.spec.n_layers();
        let all = count_patterns(lanes.len(), layers).ok_or_else(|| {
            Error::Study(format!("{} lanes over {layers} layers are routes past counting", lanes.len()))
        })?;
        if width == 0 || most < lanes.len() {
            let lanes = lanes.len();
            return Err(Error::Study(format!(
                "a beam keeps a route or more, and runs {lanes} at least: one through each lane"
            )));
        }
        // Every layer in one lane.
        let ones = (0..layers).fold(0, |ones, _| ones * lanes.len() + 1);
        let uniform: Vec<usize> = (0..lanes.len()).map(|digit| (ones * digit).min(all - 1)).collect();
        Ok(Self {
            table: LossTable::empty(lanes, layers, 0),
            tree: RouteTree::of(engine, plan, tokens, lanes, (&uniform, Controls::Without), cancelled)?,
            round: uniform,
            plan: plan.clone(),
            tokens: tokens.clone(),
            width,
            most: most.min(MOST_PATTERNS),
            known: BTreeMap::new(),
            best: f64::INFINITY,
            done: false,
            work: Work::default(),
        })
    }

    /// Go on after an earlier run. `known`: losses of the routes that it ran.
    ///
    /// # Errors
    /// A route that another model has.
    pub fn go_on(
        &mut self,
        engine: &mut Engine,
        kept: BeamKept,
        known: BTreeMap<usize, Vec<f32>>,
        cancelled: Cancelled,
    ) -> Result<()> {
        let rest: Vec<usize> =
            kept.round.iter().filter(|&route| !known.contains_key(route)).copied().collect();
        self.tree = RouteTree::of(
            engine,
            &self.plan,
            &self.tokens,
            &self.table.lanes,
            (&rest, Controls::Without),
            cancelled,
        )?;
        (self.round, self.known, self.done) = (kept.round, known, kept.done);
        self.best = kept.best.unwrap_or(f64::INFINITY);
        Ok(())
    }

    /// For [`BeamRun::go_on`], beside [`BeamRun::known`].
    pub fn kept(&self) -> BeamKept {
        let best = self.best.is_finite().then_some(self.best);
        BeamKept { round: self.round.clone(), best, done: self.done }
    }

    /// Losses of the routes that were run.
    pub fn known(&self) -> &BTreeMap<usize, Vec<f32>> {
        &self.known
    }

    /// Cost so far.
    pub fn work(&self) -> Work {
        let mut work = self.work;
        if !self.done {
            work += self.tree.work;
        }
        work
    }

    /// Routes run, and routes that may be run at most.
    pub fn progress(&self) -> (usize, usize) {
        (self.known.len(), self.most)
    }

    /// Whether nothing better was found in the last round, or enough was tried.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Spells routes.
    pub fn table(&self) -> &LossTable {
        &self.table
    }

    /// Positions that are scored.
    pub fn scored(&self) -> &[usize] {
        self.tree.scored()
    }

    /// Losses of a route that was run.
    pub fn losses(&self, pattern: usize) -> &[f32] {
        self.known.get(&pattern).map_or(&[], Vec::as_slice)
    }

    /// One sublayer of some routes.
    ///
    /// # Errors
    /// What a pass refuses, or more memory than there is.
    pub fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        for done in self.tree.step(engine)? {
            self.known.insert(done.pattern, done.of.next);
        }
        if !self.tree.is_done() || self.done {
            return Ok(());
        }
        self.work += self.tree.work;
        let now = average(&self.least().into_iter().map(|(_, loss)| loss).collect::<Vec<_>>());
        let better = now < self.best - 1e-9;
        self.best = now;
        let next = if better { self.neighbours() } else { Vec::new() };
        if next.is_empty() {
            self.done = true;
            return Ok(());
        }
        let (plan, tokens, lanes) = (&self.plan, &self.tokens, &self.table.lanes);
        self.tree = RouteTree::of(engine, plan, tokens, lanes, (&next, Controls::Without), cancelled)?;
        self.round = next;
        Ok(())
    }

    /// Each scored token's best route so far, with its loss.
    pub fn least(&self) -> Vec<(usize, f32)> {
        let mut least: Vec<(usize, f32)> = Vec::new();
        for (&pattern, losses) in &self.known {
            least.resize(losses.len(), (pattern, f32::INFINITY));
            for (best, &loss) in least.iter_mut().zip(losses) {
                *best = if loss < best.1 { (pattern, loss) } else { *best };
            }
        }
        least
    }

    /// Routes that differ in one layer from those that together foresee the tokens best, and were not run.
    fn neighbours(&self) -> Vec<usize> {
        let mut next = Vec::new();
        let (lanes, layers) = (self.table.lanes.len(), self.table.layers);
        for pattern in self.chosen() {
            for layer in 0..layers {
                let weight = lanes.pow(layer as u32);
                let digit = pattern / weight % lanes;
                for other in (0..lanes).filter(|&other| other != digit) {
                    let neighbour = pattern - digit * weight + other * weight;
                    if !self.known.contains_key(&neighbour) && !next.contains(&neighbour) {
                        next.push(neighbour);
                    }
                }
            }
        }
        next.truncate(self.most.saturating_sub(self.known.len()));
        next
    }

    /// One route after the other, the one that lowers the tokens' least losses most.
    fn chosen(&self) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::new();
        let mut least: Vec<f32> = Vec::new();
        for _ in 0..self.width {
            let with = |losses: &Vec<f32>| -> f64 {
                let so_far = least.iter().copied().chain(std::iter::repeat(f32::INFINITY));
                losses.iter().zip(so_far).map(|(a, b)| f64::from(a.min(b))).sum()
            };
            let rest = self.known.iter().filter(|(pattern, _)| !chosen.contains(pattern));
            let best = rest.min_by(|a, b| with(a.1).total_cmp(&with(b.1)));
            let Some((&pattern, losses)) = best else { break };
            chosen.push(pattern);
            least.resize(losses.len(), f32::INFINITY);
            least.iter_mut().zip(losses).for_each(|(least, loss)| *least = least.min(*loss));
        }
        chosen
    }

    /// Findings.
    pub fn findings(&self) -> Beam {
        Beam {
            width: self.width,
            tried: self.known.len(),
            oracle: self.best,
            routes: self.least().into_iter().map(|(pattern, _)| self.table.spell(pattern)).collect(),
            flops_layers: self.work().layers,
        }
    }
}

//! The sequential reading of the oracle: token after token takes the route that foresees its next one best, and what was
//! chosen before stays (its keys and values are those of its own route). Another experiment than the table of
//! [`super::table`], where the whole sequence takes the scored route; the paper does not say which one it ran.

use std::sync::Arc;

use candle_core::Tensor;
use serde::Serialize;

use super::table::{LossTable, count_patterns};
use super::tree::{MOST_PATTERNS, Unrouted, room, scored, through};
use crate::engine::{Cancelled, Engine, memory};
use crate::error::{Error, Result};
use crate::model::{Ask, Branch, Input, KvCache, Logits, Pass, Schedule, Work, fused};
use crate::plan::Plan;
use crate::spec::Lane;

/// The search, on its way.
pub struct GreedyRun {
    tokens: Input,
    /// Spells routes.
    table: LossTable,
    budget: Option<usize>,
    unrouted: Arc<Schedule>,
    schedules: Vec<Vec<Arc<Schedule>>>,
    cache: Arc<KvCache>,
    scored: Vec<usize>,
    position: usize,
    level: Level,
    /// By scored token: its route and loss.
    pub chosen: Vec<(usize, f32)>,
    /// Cost so far.
    pub work: Work,
}

/// Routes of one token that are decided up to a layer.
struct Level {
    layer: usize,
    patterns: Vec<usize>,
    /// Their streams before that layer's FFN, `[patterns, d]`; none before the token was embedded, or once they are branches.
    x: Option<Tensor>,
    /// Routes with this layer decided, and branches of those that were not run yet.
    next: Vec<usize>,
    pending: Vec<Branch>,
    /// What those that were run came to: streams, or at the last layer losses.
    streams: Vec<Tensor>,
    losses: Vec<f32>,
}

impl Level {
    fn new(layer: usize, patterns: Vec<usize>, x: Option<Tensor>) -> Self {
        let (next, pending, streams, losses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { layer, patterns, x, next, pending, streams, losses }
    }
}

/// Findings of the search.
#[derive(Clone, Debug, Serialize)]
pub struct Greedy {
    /// Which context a scored token has.
    pub reading: &'static str,
    /// Nats per token.
    pub loss: f64,
    /// Big layers of a token in the mean.
    pub big: f64,
    /// The route of every scored token, a letter per layer.
    pub routes: Vec<String>,
}

impl GreedyRun {
    /// Begin, under a plan whose own routing is replaced. `lanes`: the big one last.
    ///
    /// # Errors
    /// A prompt with a picture or without a next token, more routes than [`MOST_PATTERNS`], or a budget past the layers.
    pub fn new(
        engine: &mut Engine,
        plan: &Plan,
        tokens: &Input,
        lanes: &[Lane],
        budget: Option<usize>,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let layers = engine.model.spec.n_layers();
        let scored = scored(tokens);
        let few = count_patterns(lanes.len(), layers).is_some_and(|all| all <= MOST_PATTERNS);
        if !few || scored.is_empty() || lanes.is_empty() || tokens.image().is_some() {
            return Err(Error::Study(format!(
                "a greedy oracle needs two tokens of text or more, and at most {MOST_PATTERNS} routes"
            )));
        }
        if let Some(budget) = budget.filter(|&budget| budget > layers) {
            return Err(Error::Study(format!("{budget} big layers of {layers}: this model has no more")));
        }
        // Streams of all routes with a copy, and the rows under way.
        let spec = &engine.model.spec;
        let all = count_patterns(lanes.len(), layers).unwrap_or(MOST_PATTERNS);
        let values = 3 * all * spec.d_model + room(engine, 1, 1) * (8 * spec.d_model + 2 * spec.vocab);
        memory::check(&format!("{all} routes of a token"), 4 * values as u64)?;
        let Unrouted { schedule: unrouted, through: schedules } =
            through(engine, plan, tokens, lanes, cancelled)?;
        Ok(Self {
            table: LossTable::empty(lanes, layers, 0),
            cache: Arc::new(KvCache::new(&engine.model.spec, tokens.len())?),
            tokens: tokens.clone(),
            budget,
            unrouted,
            schedules,
            scored,
            position: 0,
            level: Level::new(0, vec![0], None),
            chosen: Vec::new(),
            work: Work::default(),
        })
    }

    /// Go on after the first tokens, whose routes and losses an earlier run found.
    ///
    /// # Errors
    /// Routes of another model.
    pub fn go_on(&mut self, engine: &Engine, chosen: &[(usize, f32)]) -> Result<()> {
        chosen.iter().take(self.scored.len()).try_for_each(|&chosen| self.commit(engine, chosen))
    }

    /// Tokens done, and tokens in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.position, self.scored.len())
    }

    /// Whether every token has its route.
    pub fn is_done(&self) -> bool {
        self.position >= self.scored.len()
    }

    /// Positions that are scored.
    pub fn scored(&self) -> &[usize] {
        &self.scored
    }

    /// The routes as numbers of this table.
    pub fn table(&self) -> &LossTable {
        &self.table
    }

    /// Findings.
    pub fn findings(&self) -> Greedy {
        let count = self.chosen.len().max(1) as f64;
        let big: usize = self.chosen.iter().map(|(route, _)| self.table.big(*route)).sum();
        Greedy {
            reading: "every token keeps its own route",
            loss: self.chosen.iter().map(|(_, loss)| f64::from(*loss)).sum::<f64>() / count,
            big: big as f64 / count,
            routes: self.chosen.iter().map(|(route, _)| self.table.spell(*route)).collect(),
        }
    }

    /// Some routes of one token through a layer.
    ///
    /// # Errors
    /// What a pass refuses, or more memory than there is.
    pub fn step(&mut self, engine: &Engine) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        if self.level.pending.is_empty() {
            let Some(x) = self.level.x.take() else { return self.embed(engine) };
            self.branch(engine, &x)?;
        }
        let (layer, last) = (self.level.layer, self.level.layer + 1 == self.table.layers);
        let some = self.level.pending.split_off(self.level.pending.len().saturating_sub(room(engine, 1, 1)));
        let count = some.len();
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        let mut pass = Pass::of_branches(Arc::clone(&engine.model), Arc::clone(&self.cache), some, ask)?;
        if !last {
            pass.stop_before(engine.entry(2 * layer + 3));
        }
        while !pass.is_done() {
            pass.step()?;
        }
        if last {
            let output = pass.finish();
            self.work += output.work;
            let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
            let target = self.tokens.get(self.position + 1).copied().unwrap_or(0);
            let losses: Vec<f32> = fused::surprisal(&logits, &vec![target; count])?.to_vec1()?;
            self.level.losses.splice(0..0, losses);
        } else {
            let (stream, work) = pass.into_stream()?;
            self.work += work;
            self.level.streams.insert(0, stream);
        }
        if !self.level.pending.is_empty() {
            return Ok(());
        }
        let next = std::mem::take(&mut self.level.next);
        if !last {
            let x = Tensor::cat(&self.level.streams, 0)?;
            self.level = Level::new(layer + 1, next, Some(x));
            return Ok(());
        }
        let losses = std::mem::take(&mut self.level.losses);
        let best = next.into_iter().zip(losses).min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        let best = best.ok_or_else(|| Error::Study("no route has so many big layers".into()))?;
        self.commit(engine, best)
    }

    /// Decide a layer in every way that is left. The streams are those of the level.
    fn branch(&mut self, engine: &Engine, x: &Tensor) -> Result<()> {
        let layer = self.level.layer;
        let weight = self.table.lanes.len().pow(layer as u32);
        let sublayer = engine.entry(2 * layer + 1);
        for (digit, schedule) in self.schedules.get(layer).into_iter().flatten().enumerate() {
            for (row, pattern) in self.level.patterns.iter().enumerate() {
                let next = pattern + digit * weight;
                if !self.may(next, layer) {
                    continue;
                }
                let (start, x) = (self.position, x.narrow(0, row, 1)?);
                let branch = Branch { schedule: Arc::clone(schedule), sublayer, start, end: start + 1, x };
                self.level.pending.push(branch);
                self.level.next.push(next);
            }
        }
        Ok(())
    }

    /// Whether a beginning can still become a route of the budget.
    fn may(&self, pattern: usize, layer: usize) -> bool {
        let Some(budget) = self.budget else { return true };
        let big = (0..=layer).filter(|&l| self.table.lane(pattern, l) == Lane::Big).count();
        big <= budget && big + (self.table.layers - layer - 1) >= budget
    }

    /// The stream of the next token before the first FFN: the same for all routes.
    fn embed(&mut self, engine: &Engine) -> Result<()> {
        let mut pass = self.one(engine, Arc::clone(&self.unrouted), Logits::None)?;
        pass.stop_before(engine.entry(1));
        while !pass.is_done() {
            pass.step()?;
        }
        let (stream, work) = pass.into_stream()?;
        self.work += work;
        self.level = Level::new(0, vec![0], Some(stream));
        Ok(())
    }

    /// The token once more through its route: its keys and values stay.
    fn commit(&mut self, engine: &Engine, (route, loss): (usize, f32)) -> Result<()> {
        let mut schedule = (*self.unrouted).clone();
        for (layer, lanes) in self.schedules.iter().enumerate() {
            let digit = self.table.lanes.iter().position(|&lane| lane == self.table.lane(route, layer));
            if let Some(own) = digit.and_then(|digit| lanes.get(digit)) {
                // A schedule through one lane has room for all layers.
                schedule = if layer == 0 { (**own).clone() } else { schedule.with_lanes_of(layer, own) };
            }
        }
        let mut pass = self.one(engine, Arc::new(schedule), Logits::None)?;
        while !pass.is_done() {
            pass.step()?;
        }
        self.work += pass.finish().work;
        self.chosen.push((route, loss));
        self.position += 1;
        self.level = Level::new(0, vec![0], None);
        Ok(())
    }

    fn one(&self, engine: &Engine, schedule: Arc<Schedule>, logits: Logits) -> Result<Pass> {
        let token = self.tokens.get(self.position..self.position + 1).unwrap_or_default();
        let ask = Ask { logits, ..Ask::default() };
        Pass::new(Arc::clone(&engine.model), schedule, Arc::clone(&self.cache), token, self.position, ask)
    }
}

//! The oracle of a prompt: which route of FFN lanes foresees each token best (Duo-LLM, arXiv 2410.10846, sections 2 and
//! 3.2), filling in as routes are done.

mod baselines;
mod beam;
mod curves;
mod figures;
mod found;
mod greedy;
pub mod labels;
pub mod table;
mod text;
mod tree;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

pub use baselines::{Baselines, BaselinesRun, Routed};
pub use beam::{Beam, BeamKept, BeamRun};
pub use found::{EveryFound, OracleData, OracleFound, TokenRoute};
pub use greedy::{Greedy, GreedyRun};
use labels::Labels;
use table::LossTable;
pub use text::{ROUTES, RoutesAsk, RoutesFound, RoutesRun};
pub use tree::{Controls, MOST_PATTERNS, RouteLosses, RouteTree};

use super::token_losses::TokenLosses;
use super::{
    Ask, Case, Found, Group, Method, Params as _, Sample, Source, State, Stepper, Steps, Subject,
    SubjectKind, choices, params, read,
};
use crate::engine::{self, Cancelled, Card, Engine, Prompt, Token};
use crate::error::{Error, Result};
use crate::figure::Provenance;
use crate::model::{Input, Work};
use crate::plan::{Change, Plan, Route};
use crate::spec::{Lane, Spec};

/// The oracle of a prompt.
pub static ORACLE: Method = Method {
    id: "oracle",
    aliases: &[],
    group: Group::Explain,
    name: "Best routes",
    title: "Which route would foresee each token best?",
    line: "run every route of FFN lanes over the layers, and see which foresees each token best",
    reading: "teal cells need no big FFN to foresee the token; part of every gain is luck, which the shuffled control shows",
    source: Source { paper: "Duo-LLM", arxiv: "2410.10846", section: "2 and 3.2" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: OracleAsk::FIELDS,
    plan: unrouted,
    start,
    samples,
};

params! {
    /// Parameters of the oracle.
    pub struct OracleAsk {
        /// What the FFN of a layer can be; left out = big or small, or with experts big or skipped
        lanes: Option<Lanes> = None;
        /// How the routes are gone through
        search: Search = Search::Every;
        /// Only routes with so many big layers; left out = any, a beam has any
        big: Option<usize> = None;
        /// Routes that a beam keeps from round to round
        beam: usize = 8, in 1..=4096, unit "routes";
        /// Routes that a beam runs at most
        most: usize = 4096, in 2..=65536, unit "routes";
    }
}

choices! {
    /// What a layer's FFN can be.
    pub enum Lanes {
        /// Big or small: 2^L routes
        Small = "small",
        /// Big or skipped: 2^L
        Skip = "skip",
        /// Big, small or skipped: 3^L
        Both = "both",
    }
}

choices! {
    /// How the routes are gone through.
    pub enum Search {
        /// Every route; the whole sequence takes the scored one
        Every = "every",
        /// Token after token takes its best route and keeps it
        Greedy = "greedy",
        /// Change good routes in one layer at a time: for models too deep to try every route
        Beam = "beam",
    }
}

impl Lanes {
    /// The lanes, the big one last.
    pub fn lanes(self) -> &'static [Lane] {
        match self {
            Self::Small => &[Lane::Small, Lane::Big],
            Self::Skip => &[Lane::SkipFfn, Lane::Big],
            Self::Both => &[Lane::SkipFfn, Lane::Small, Lane::Big],
        }
    }

    /// What was asked for, or what fits the checkpoint: no small FFN stands beside experts.
    pub fn or_default(asked: Option<Self>, spec: &Spec) -> &'static [Lane] {
        asked.unwrap_or(if spec.has_experts() { Self::Skip } else { Self::Small }).lanes()
    }
}

fn start(case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    Ok(Box::new(OracleRun::new(case, read(ask)?)?))
}

/// Without routing of its own; a map that routes nothing still says what small stands for.
fn unrouted(plan: &Plan) -> Plan {
    let (surrogate, mut plan) = (plan.surrogate(), plan.unrouted());
    if !surrogate.is_default() {
        plan.items.push(Change::Route(Route { layers: Vec::new(), surrogate }).into());
    }
    plan
}

fn samples(card: &Card) -> Vec<Sample> {
    let lanes = Lanes::or_default(None, &card.spec).len();
    let few = table::count_patterns(lanes, card.spec.n_layers()).is_some_and(|all| all <= MOST_PATTERNS);
    let sample = Sample::of(Subject::Prompt(Prompt::from(card.sample_prompt.clone())));
    vec![if few { sample } else { sample.with("search", "beam").with("most", 64) }]
}

/// A search under way.
enum Under {
    Every(Box<Every>),
    Greedy(Box<GreedyRun>),
    Beam(Box<BeamRun>),
}

/// Every route, then one pass a lane and what stands beside the oracle.
struct Every {
    tree: RouteTree,
    /// Patterns that are done, an earlier run's too.
    done: Vec<usize>,
    /// Operations in the blocks with one lane everywhere, by lane.
    full: Vec<u64>,
    uniform: Option<TokenLosses>,
    baselines: BaselinesRun,
}

/// An oracle under way.
pub struct OracleRun {
    ask: OracleAsk,
    lanes: Vec<Lane>,
    plan: Plan,
    tokens: Input,
    search: Under,
    table: LossTable,
    scored: Vec<usize>,
    /// By scored token: the least loss so far among routes of the budget, and the route.
    best: Vec<(f32, usize)>,
    shown: Arc<[Token]>,
    small: String,
    /// The checkpoint has no small FFNs of its own.
    surrogate: bool,
    provenance: Provenance,
    /// What earlier runs cost.
    before: Work,
}

/// State that a later run goes on from, beside the losses: tensors `loss`, `wrong` and `drawn`, `[patterns, tokens]`.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    patterns: Vec<usize>,
    full: Vec<u64>,
    baselines: Baselines,
    /// Of a greedy search: routes, and losses as bits.
    chosen: Vec<(usize, u32)>,
    beam: Option<BeamKept>,
    work: Work,
}

impl OracleRun {
    /// Begin.
    ///
    /// # Errors
    /// Lanes or a budget that the checkpoint or the search does not have, or more routes than [`MOST_PATTERNS`] for one that
    /// tries all.
    pub fn new(case: Case<'_>, ask: OracleAsk) -> Result<Self> {
        let kept: Option<Kept> = case.resumed()?;
        let losses = case.kept.as_ref().map_or_else(|| Ok(Labels::default()), losses)?;
        let Case { engine, tokens, plan, provenance, cancelled, .. } = case;
        let layers = engine.model.spec.n_layers();
        let lanes = Lanes::or_default(ask.lanes, &engine.model.spec).to_vec();
        if ask.big.is_some() && ask.search == Search::Beam {
            return Err(Error::Study(
                "a beam goes through routes of any budget: leave big layers out".into(),
            ));
        }
        if let Some(budget) = ask.big.filter(|&budget| budget > layers) {
            return Err(Error::Study(format!("{budget} big layers of {layers}: this model has no more")));
        }
        let kept = kept.unwrap_or_default();
        let (search, table, scored) = match ask.search {
            Search::Every => every(engine, &plan, &tokens, &lanes, (&kept, losses), cancelled)?,
            Search::Greedy => {
                let mut run = GreedyRun::new(engine, &plan, &tokens, &lanes, ask.big, cancelled)?;
                let chosen: Vec<(usize, f32)> =
                    kept.chosen.iter().map(|&(route, loss)| (route, f32::from_bits(loss))).collect();
                run.go_on(engine, &chosen)?;
                run.work = Work::default();
                let (table, scored) = (run.table().clone(), run.scored().to_vec());
                (Under::Greedy(Box::new(run)), table, scored)
            }
            Search::Beam => {
                let size = (ask.beam, ask.most);
                let mut run = BeamRun::new(engine, &plan, &tokens, &lanes, size, cancelled)?;
                if let Some(beam) = kept.beam {
                    let known: BTreeMap<usize, Vec<f32>> =
                        kept.patterns.into_iter().zip(losses.next).collect();
                    run.go_on(engine, beam, known, cancelled)?;
                }
                let (table, scored) = (run.table().clone(), run.scored().to_vec());
                (Under::Beam(Box::new(run)), table, scored)
            }
        };
        let mut run = Self {
            best: vec![(f32::INFINITY, 0); scored.len()],
            small: engine::small_label(engine, &plan.surrogate()),
            surrogate: !engine.model.spec.is_duo(),
            shown: engine.tokens(&tokens),
            before: kept.work,
            search,
            table,
            scored,
            plan,
            tokens,
            lanes,
            ask,
            provenance,
        };
        let done = if let Under::Every(every) = &run.search { every.done.clone() } else { Vec::new() };
        done.into_iter().for_each(|pattern| run.better(pattern));
        run.settle();
        debug_assert_eq!(run.table.layers, layers);
        Ok(run)
    }

    /// Whether the last route is done; what stands beside them may be to come.
    pub fn routes_done(&self) -> bool {
        match &self.search {
            Under::Every(every) => every.tree.is_done(),
            _ => self.is_done(),
        }
    }

    /// Take a pattern of the table where it is the best so far.
    fn better(&mut self, pattern: usize) {
        if self.ask.big.is_some_and(|budget| self.table.big(pattern) != budget) {
            return;
        }
        for (best, &loss) in self.best.iter_mut().zip(self.table.row(pattern)) {
            // By number where equal, so that the order in which routes are done does not matter.
            if loss < best.0 || loss == best.0 && pattern < best.1 {
                *best = (loss, pattern);
            }
        }
    }

    /// What searches of their own hold best.
    fn settle(&mut self) {
        let chosen: Vec<(usize, f32)> = match &self.search {
            Under::Every(_) => return,
            Under::Greedy(run) => run.chosen.clone(),
            Under::Beam(run) => run.least(),
        };
        for (best, (pattern, loss)) in self.best.iter_mut().zip(chosen) {
            *best = (loss, pattern);
        }
    }
}

impl Stepper for OracleRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        match &mut self.search {
            Under::Every(every) => {
                for RouteLosses { pattern, of } in every.step(engine, &self.tokens)? {
                    self.table.put(pattern, of);
                    self.better(pattern);
                }
                return Ok(());
            }
            Under::Greedy(run) => run.step(engine)?,
            Under::Beam(run) => run.step(engine, cancelled)?,
        }
        self.settle();
        Ok(())
    }

    fn progress(&self) -> Steps {
        match &self.search {
            Under::Every(every) => {
                let [done, all] = every.progress();
                Steps { done, all, unit: "runs" }
            }
            Under::Greedy(run) => {
                let (done, all) = run.progress();
                Steps { done, all, unit: "tokens" }
            }
            Under::Beam(run) => {
                let (done, all) = run.progress();
                Steps { done, all: if run.is_done() { done } else { all.max(done + 1) }, unit: "routes" }
            }
        }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        let mut work = self.before;
        work += match &self.search {
            Under::Every(every) => every.work(),
            Under::Greedy(run) => run.work,
            Under::Beam(run) => run.work(),
        };
        work
    }

    fn state(&self) -> Result<State> {
        let mut kept = Kept { work: self.work(), ..Kept::default() };
        let mut rows: Labels<Vec<&[f32]>> = Labels::default();
        match &self.search {
            Under::Every(every) => {
                kept.patterns.clone_from(&every.done);
                kept.full.clone_from(&every.full);
                kept.baselines = every.baselines.found.clone();
                rows = self.table.of_patterns(&every.done);
            }
            Under::Greedy(run) => {
                kept.chosen = run.chosen.iter().map(|(route, loss)| (*route, loss.to_bits())).collect();
            }
            Under::Beam(run) => {
                kept.beam = Some(run.kept());
                kept.patterns = run.known().keys().copied().collect();
                rows.next = run.known().values().map(Vec::as_slice).collect();
            }
        }
        let mut state = State::new(&kept)?;
        keep_losses(&mut state, "", &rows)?;
        Ok(state)
    }
}

/// Names of the tensors of losses.
const LOSSES: Labels<&str> = Labels { next: "loss", wrong: "wrong", drawn: "drawn" };

/// Rows of the tensors of losses.
fn losses(state: &State) -> Result<Labels<Vec<Vec<f32>>>> {
    losses_of(state, "")
}

/// The same of tensors whose names begin in another way.
fn losses_of(state: &State, before: &str) -> Result<Labels<Vec<Vec<f32>>>> {
    LOSSES.try_map(|name| {
        let tensor = state.tensors.get(&format!("{before}{name}"));
        tensor.map_or_else(|| Ok(Vec::new()), |tensor| Ok(tensor.to_vec2()?))
    })
}

/// Put down losses for [`losses_of`].
fn keep_losses(state: &mut State, before: &str, rows: &Labels<Vec<&[f32]>>) -> Result<()> {
    let named = [(LOSSES.next, &rows.next), (LOSSES.wrong, &rows.wrong), (LOSSES.drawn, &rows.drawn)];
    for (name, rows) in named {
        if let Some(width) = rows.first().map(|row| row.len()).filter(|width| *width > 0) {
            let tensor = Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu)?;
            state.tensors.insert(format!("{before}{name}"), tensor);
        }
    }
    Ok(())
}

/// Every route, less those that an earlier run did.
fn every(
    engine: &mut Engine,
    plan: &Plan,
    tokens: &Input,
    lanes: &[Lane],
    (kept, losses): (&Kept, Labels<Vec<Vec<f32>>>),
    cancelled: Cancelled,
) -> Result<(Under, LossTable, Vec<usize>)> {
    let (tree, table) =
        rest(engine, (plan, tokens, lanes), Controls::PROMPT, (&kept.patterns, losses), cancelled).map_err(
            |error| match error {
                Error::Routes { lanes, layers, most, .. } => {
                    Error::Routes { lanes, layers, most, beam: true }
                }
                error => error,
            },
        )?;
    let mut baselines = BaselinesRun::new(engine, plan, tokens, lanes);
    baselines.go_on(kept.baselines.clone());
    let scored = tree.scored().to_vec();
    let (done, full) = (kept.patterns.clone(), kept.full.clone());
    let every = Every { tree, done, full, uniform: None, baselines };
    Ok((Under::Every(Box::new(every)), table, scored))
}

/// The tree of all routes, and a table of their losses, less those that an earlier run did.
fn rest(
    engine: &mut Engine,
    (plan, tokens, lanes): (&Plan, &Input, &[Lane]),
    controls: Controls,
    (known, losses): (&[usize], Labels<Vec<Vec<f32>>>),
    cancelled: Cancelled,
) -> Result<(RouteTree, LossTable)> {
    let layers = engine.model.spec.n_layers();
    let all = table::count_patterns(lanes.len(), layers).unwrap_or(usize::MAX);
    if known.is_empty() || all > MOST_PATTERNS {
        let tree = RouteTree::new(engine, plan, tokens, lanes, controls, cancelled)?;
        let table = LossTable::empty(lanes, layers, tree.progress()[1]);
        return Ok((tree, table));
    }
    let mut table = LossTable::empty(lanes, layers, all);
    let done: HashSet<usize> = known.iter().copied().collect();
    let rest: Vec<usize> = (0..all).filter(|pattern| !done.contains(pattern)).collect();
    let tree = RouteTree::of(engine, plan, tokens, lanes, (&rest, controls), cancelled)?;
    let Labels { next, wrong, drawn } = losses;
    for (&pattern, ((next, wrong), drawn)) in known.iter().zip(next.into_iter().zip(wrong).zip(drawn)) {
        table.put(pattern, Labels { next, wrong, drawn });
    }
    Ok((tree, table))
}

impl Every {
    /// One sublayer of some routes, of a pass through one lane, or of a baseline.
    fn step(&mut self, engine: &mut Engine, tokens: &Input) -> Result<Vec<RouteLosses>> {
        if !self.tree.is_done() {
            let losses = self.tree.step(engine)?;
            self.done.extend(losses.iter().map(|one| one.pattern));
            return Ok(losses);
        }
        if self.full.len() < self.tree.lanes() {
            let mut pass = match self.uniform.take() {
                Some(pass) => pass,
                None => TokenLosses::new(engine, tokens, &self.tree.uniform(self.full.len()))?,
            };
            if pass.step()? {
                self.full.push(pass.finish()?.work.layers);
            } else {
                self.uniform = Some(pass);
            }
            return Ok(Vec::new());
        }
        self.baselines.step(engine)?;
        Ok(Vec::new())
    }

    /// Routes done and in all.
    fn routes(&self) -> [usize; 2] {
        let [done, all] = self.tree.progress();
        let earlier = self.done.len() - done;
        [earlier + done, earlier + all]
    }

    /// The same, and one step for each pass that comes after them.
    fn progress(&self) -> [usize; 2] {
        let [done, all] = self.routes();
        let (run, waiting) = self.baselines.progress();
        let lanes = self.tree.lanes();
        [done + self.full.len() + run, all + lanes + run + waiting]
    }

    fn work(&self) -> Work {
        let mut work = self.tree.work;
        work += self.baselines.work;
        work
    }
}

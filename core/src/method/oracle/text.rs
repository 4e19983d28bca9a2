//! The oracle over a text: the routes of many sequences in one table, with the figures of the paper (Duo-LLM, arXiv
//! 2410.10846, section 3.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::baselines::{Baselines, BaselinesRun, Routed};
use super::curves;
use super::found::TableFound;
use super::labels::{Labels, wrong_targets};
use super::table::{self, LossTable};
use super::tree::{Controls, MOST_PATTERNS, RouteLosses, RouteTree, scored};
use super::{Lanes, keep_losses, losses, losses_of, rest};
use crate::engine::{self, Cancelled, Card, Engine, memory};
use crate::error::{Error, Result};
use crate::figure::{Figure, Provenance};
use crate::method::{
    Ask, Case, Fact, Found, Group, Method, Params as _, Sample, Source, State, Stepper, Steps, SubjectKind,
    params, raw, read,
};
use crate::model::{Input, Work};
use crate::plan::Plan;
use crate::spec::Lane;

/// The oracle over a text.
pub static ROUTES: Method = Method {
    id: "routes",
    aliases: &[],
    group: Group::Explain,
    name: "Routes of a text",
    title: "Where in the model is a big FFN worth it?",
    line: "the oracle over a text: choices by layer and position, losses by budget, controls",
    reading: "the gain of the choice is what is left over the best fixed pattern of the same cost and over shuffled routes",
    source: Source { paper: "Duo-LLM", arxiv: "2410.10846", section: "3.2" },
    subject: SubjectKind::Text,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: RoutesAsk::FIELDS,
    plan: |_| Plan::default(),
    start,
    samples,
};

params! {
    /// Parameters of the oracle over a text.
    pub struct RoutesAsk {
        /// What the FFN of a layer can be; left out = big or small, or with experts big or skipped
        lanes: Option<Lanes> = None;
        /// Pieces of text
        samples: usize = 10, in 1..=100000;
        /// Tokens of each
        length: usize = 256, in 2..=1048576, unit "tokens";
    }
}

/// Before the names of the losses of the sequence under way.
const NOW: &str = "now-";

/// Parts of a sequence.
const PARTS: usize = 8;

fn start(mut case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    let ask: RoutesAsk = read(ask)?;
    let samples = case.samples(ask.samples, ask.length)?;
    Ok(Box::new(RoutesRun::new(case, &ask, samples)?))
}

fn samples(card: &Card) -> Vec<Sample> {
    let lanes = Lanes::or_default(None, &card.spec).len();
    let few = table::count_patterns(lanes, card.spec.n_layers()).is_some_and(|all| all <= MOST_PATTERNS);
    Sample::of_text(card, 2).filter(|_| few).into_iter().collect()
}

/// Losses of the routes of a text, by budget; numbers of the whole table are there at the end.
#[derive(Clone, Debug, Serialize)]
pub struct RoutesFound {
    /// What a layer's FFN can be, the big one last.
    pub lanes: Vec<Lane>,
    /// What "small" stands for.
    pub small: Option<String>,
    /// Which context a scored token has.
    pub reading: &'static str,
    /// Scored tokens, of the sequences done.
    pub tokens: usize,
    /// The whole table.
    #[serde(flatten)]
    pub table: Option<TableFound>,
    /// How often the oracle of half the budget is big, by layer and eighth of the sequence.
    pub choice_along: Vec<Vec<f64>>,
    /// The checkpoint's own routers, with their choice by layer and eighth of the sequence.
    pub routers: Vec<(Routed, Vec<Vec<f64>>)>,
    /// Coins, by number of big layers.
    pub coins: Vec<f64>,
    /// As pictures.
    #[serde(skip)]
    pub figures: Vec<Arc<Figure>>,
}

impl Found for RoutesFound {
    fn facts(&self) -> Vec<Fact> {
        let nats = "nats per token";
        let mut facts = vec![Fact::new("scored tokens", self.tokens as f64, "tokens")];
        let Some(table) = &self.table else { return facts };
        facts.extend(table.facts());
        facts.extend(
            self.routers.iter().map(|(r, _)| Fact::new(format!("loss by router {}", r.name), r.loss, nats)),
        );
        facts
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        self.figures.clone()
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }
}

/// Sequences being routed.
pub struct RoutesRun {
    samples: Vec<Input>,
    lanes: Vec<Lane>,
    layers: usize,
    patterns: usize,
    small: String,
    table: LossTable,
    /// Labels of similar frequency, of all sequences together; for every scored token of each.
    wrong: Vec<Vec<u32>>,
    under_way: Option<Sequence>,
    /// Of the sequence that an earlier run was at: losses of the routes that it did.
    earlier: Labels<Vec<Vec<f32>>>,
    provenance: Provenance,
    kept: Kept,
}

/// A sequence under way.
struct Sequence {
    tree: RouteTree,
    table: LossTable,
    /// Its routes that are done, an earlier run's too.
    done: Vec<usize>,
    baselines: Option<BaselinesRun>,
}

/// State that a later run goes on from, beside the losses of the sequences that are done.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// Sequences done.
    sample: usize,
    /// Routes done of the one under way.
    routes: Vec<usize>,
    /// Where in its sequence each scored token stands, and the sequence's length.
    places: Vec<(usize, usize)>,
    /// By sequence, with its scored tokens.
    baselines: Vec<(Baselines, usize)>,
    /// Big tokens and all tokens by router, layer and part.
    along: BTreeMap<String, Vec<Vec<[u64; 2]>>>,
    work: Work,
}

impl RoutesRun {
    /// Over sequences.
    ///
    /// # Errors
    /// No sequence, more routes than [`MOST_PATTERNS`], or too little memory.
    pub fn new(case: Case<'_>, ask: &RoutesAsk, samples: Vec<Input>) -> Result<Self> {
        let kept: Kept = case.resumed()?.unwrap_or_default();
        let known = case.kept.as_ref().map_or_else(|| Ok(Labels::default()), losses)?;
        let earlier =
            case.kept.as_ref().map_or_else(|| Ok(Labels::default()), |state| losses_of(state, NOW))?;
        let (engine, provenance) = (case.engine, case.provenance);
        if samples.is_empty() {
            return Err(Error::Study("no text to route".into()));
        }
        let layers = engine.model.spec.n_layers();
        let lanes = Lanes::or_default(ask.lanes, &engine.model.spec).to_vec();
        let patterns = table::count_patterns(lanes.len(), layers).filter(|&all| all <= MOST_PATTERNS);
        let too_many = Error::Routes { lanes: lanes.len(), layers, most: MOST_PATTERNS, beam: false };
        let patterns = patterns.ok_or(too_many)?;
        let tokens: usize = samples.iter().map(|sample| sample.len()).sum();
        memory::check(&format!("losses of {patterns} routes"), 12 * (patterns * tokens) as u64)?;
        let mut table = LossTable::empty(&lanes, layers, patterns);
        for (pattern, ((next, wrong), drawn)) in
            known.next.into_iter().zip(known.wrong).zip(known.drawn).enumerate()
        {
            table.put(pattern, Labels { next, wrong, drawn });
        }
        let words = |sample: &Input| -> Vec<u32> {
            scored(sample).iter().filter_map(|position| sample.get(position + 1).copied()).collect()
        };
        let words: Vec<Vec<u32>> = samples.iter().map(words).collect();
        Ok(Self {
            wrong: wrong_targets(&words, engine.model.spec.vocab),
            small: engine::small_label(engine, &Plan::default().surrogate()),
            samples,
            lanes,
            layers,
            patterns,
            table,
            under_way: None,
            earlier,
            provenance,
            kept,
        })
    }

    fn end(&mut self, done: Sequence, baselines: BaselinesRun) {
        let Some(sample) = self.samples.get(self.kept.sample) else { return };
        let (layers, len) = (self.layers, sample.len());
        self.kept.places.extend(done.tree.scored().iter().map(|&position| (position, len)));
        self.kept.work += done.tree.work;
        self.kept.work += baselines.work;
        let mut found = baselines.found;
        for (router, chosen) in found.routers.iter().zip(&found.chosen) {
            let fresh = || vec![vec![[0u64; 2]; PARTS]; layers];
            let counts = self.kept.along.entry(router.name.clone()).or_insert_with(fresh);
            let cells = chosen.iter().flat_map(|(layer, lanes)| {
                lanes.iter().enumerate().map(move |(position, lane)| (*layer, position, lane))
            });
            curves::count_parts(counts, len, cells);
        }
        found.chosen.clear();
        self.kept.baselines.push((found, done.tree.scored().len()));
        self.table.extend(done.table);
        self.kept.routes.clear();
        self.kept.sample += 1;
    }

    /// Findings so far.
    pub fn findings(&self) -> RoutesFound {
        let done = self.is_done();
        let baselines = pooled(&self.kept.baselines);
        let mut found = RoutesFound {
            lanes: self.lanes.clone(),
            small: self.lanes.contains(&Lane::Small).then(|| self.small.clone()),
            reading: "every token of the sequence takes the same route",
            tokens: self.kept.places.len(),
            table: None,
            choice_along: Vec::new(),
            routers: Vec::new(),
            coins: baselines.coins.clone(),
            figures: Vec::new(),
        };
        if self.kept.sample == 0 {
            return found;
        }
        let (table, layers, of) = (&self.table, self.layers, &self.provenance);
        // The oracle of half the budget along the sequences.
        let best = table.best(&table.patterns(layers / 2));
        let mut counts = vec![vec![[0u64; 2]; PARTS]; layers];
        for (&pattern, &(position, len)) in best.iter().zip(&self.kept.places) {
            let lanes: Vec<Lane> = (0..layers).map(|layer| table.lane(pattern, layer)).collect();
            let cells = lanes.iter().enumerate().map(|(layer, lane)| (layer, position, lane));
            curves::count_parts(&mut counts, len, cells);
        }
        found.choice_along = shares(&counts);
        let along = |name: &str| self.kept.along.get(name).map_or_else(Vec::new, |counts| shares(counts));
        found.routers = baselines.routers.iter().map(|r| (r.clone(), along(&r.name))).collect();
        let mut figures = Vec::new();
        if done {
            let whole = TableFound::new(table);
            let budgets = &whole.by_budget;
            figures.extend(curves::choices(table, budgets, of));
            figures.push(curves::budgets(budgets, Some(&baselines), of));
            figures.extend(curves::controls(table, budgets, of));
            figures.push(curves::best_of(table, of));
            found.table = Some(whole);
        }
        figures.push(curves::along_sequences(
            ("Along sequences", "along-half-budget"),
            format!("Where the oracle of {} big layers is big", layers / 2),
            &found.choice_along,
            vec!["by layer and eighth of the sequence".into()],
            of,
        ));
        figures.extend(found.routers.iter().map(|(router, shares)| {
            let notes =
                vec![format!("by layer and eighth of the sequence; {:.2} big layers a token", router.big)];
            let (detail, title) =
                (format!("along-{}", router.name), format!("Where router {} is big", router.name));
            curves::along_sequences((&router.name, &detail), title, shares, notes, of)
        }));
        let of_text = |figure| Arc::new(Figure { name: ROUTES.id.into(), ..figure });
        found.figures = figures.into_iter().map(of_text).collect();
        found
    }
}

impl Stepper for RoutesRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        let Some(sample) = self.samples.get(self.kept.sample) else { return Ok(()) };
        let mut now = match self.under_way.take() {
            Some(now) => now,
            None => {
                let wrong = self.wrong.get(self.kept.sample).map(Vec::as_slice);
                let controls = Controls::With { wrong, sequence: self.kept.sample };
                let earlier = (self.kept.routes.as_slice(), std::mem::take(&mut self.earlier));
                let plan = Plan::default();
                let (tree, table) = rest(engine, (&plan, sample, &self.lanes), controls, earlier, cancelled)?;
                Sequence { tree, table, done: self.kept.routes.clone(), baselines: None }
            }
        };
        if !now.tree.is_done() {
            for RouteLosses { pattern, of } in now.tree.step(engine)? {
                now.table.put(pattern, of);
                now.done.push(pattern);
            }
            self.under_way = Some(now);
            return Ok(());
        }
        let fresh = |engine: &Engine| BaselinesRun::new(engine, &Plan::default(), sample, &self.lanes);
        let mut baselines = now.baselines.take().unwrap_or_else(|| fresh(engine));
        baselines.step(engine)?;
        if baselines.is_done() {
            self.end(now, baselines);
        } else {
            now.baselines = Some(baselines);
            self.under_way = Some(now);
        }
        Ok(())
    }

    fn progress(&self) -> Steps {
        // The last step of a sequence is what stands beside the oracle.
        let each = self.patterns + 1;
        let now = self.under_way.as_ref().map_or(self.kept.routes.len(), |now| now.done.len());
        Steps { done: self.kept.sample * each + now, all: self.samples.len() * each, unit: "routes" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        let mut work = self.kept.work;
        if let Some(now) = &self.under_way {
            work += now.tree.work;
        }
        work
    }

    fn state(&self) -> Result<State> {
        let mut kept = Kept { work: self.work(), ..self.kept.clone() };
        if let Some(now) = &self.under_way {
            kept.routes.clone_from(&now.done);
        }
        let mut state = State::new(&kept)?;
        if self.kept.sample > 0 {
            let all: Vec<usize> = (0..self.patterns).collect();
            keep_losses(&mut state, "", &self.table.of_patterns(&all))?;
        }
        match &self.under_way {
            Some(now) => keep_losses(&mut state, NOW, &now.table.of_patterns(&now.done))?,
            None => {
                let rows = self.earlier.map(|rows| rows.iter().map(Vec::as_slice).collect());
                keep_losses(&mut state, NOW, &rows)?;
            }
        }
        Ok(state)
    }
}

/// Means over sequences, each with its number of tokens.
fn pooled(all: &[(Baselines, usize)]) -> Baselines {
    let total = all.iter().map(|(_, tokens)| *tokens).sum::<usize>().max(1) as f64;
    let mean = |of: &dyn Fn(&Baselines) -> Option<f64>| {
        all.iter().map(|(one, tokens)| of(one).unwrap_or(f64::NAN) * *tokens as f64).sum::<f64>() / total
    };
    let Some((first, _)) = all.first() else { return Baselines::default() };
    let routed = |(index, router): (usize, &Routed)| Routed {
        name: router.name.clone(),
        big: mean(&|one| one.routers.get(index).map(|router| router.big)),
        loss: mean(&|one| one.routers.get(index).map(|router| router.loss)),
    };
    Baselines {
        routers: first.routers.iter().enumerate().map(routed).collect(),
        // Each sequence has its own.
        chosen: Vec::new(),
        coins: (0..first.coins.len()).map(|big| mean(&|one| one.coins.get(big).copied())).collect(),
    }
}

fn shares(counts: &[Vec<[u64; 2]>]) -> Vec<Vec<f64>> {
    let share = |[big, all]: &[u64; 2]| if *all == 0 { f64::NAN } else { *big as f64 / *all as f64 };
    counts.iter().map(|parts| parts.iter().map(share).collect()).collect()
}

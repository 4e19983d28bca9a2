//! Greedy removal of attention and FFN sublayers (FinerCut, arXiv 2405.18218, algorithm 1): again and again the sublayer
//! goes without which the output is nearest to the original model's.
//!
//! A candidate is computed from its own sublayer on, or, where it was computed in an earlier step, from the first sublayer on
//! that went since then. After the first step a candidate is dropped as soon as it is past the best: the order comes out the
//! same, only what is lost is not known exactly.

mod distance;
mod found;
mod race;
mod streams;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use distance::Distance;
pub use found::PruneFound;
use race::{Losses, Race};
use streams::Streams;

use super::{
    Ask, Case, Found, Group, Method, Params as _, Sample, Source, State, Stepper, Steps, SubjectKind, bits64,
    number, params, read,
};
use crate::engine::{Cancelled, Card, Engine};
use crate::error::{Error, Result};
use crate::figure::Provenance;
use crate::model::{Input, Pass, Work};
use crate::plan::{Plan, Sublayer};

/// Greedy removal of sublayers.
pub static PRUNE: Method = Method {
    id: "prune",
    aliases: &[],
    group: Group::Change,
    name: "Removal order",
    title: "Which sublayers can go?",
    line: "remove the sublayers that the output misses least, one after the other, by a text",
    reading: "the curve says what the model with that many sublayers out loses, the map in which order they went",
    source: Source { paper: "FinerCut", arxiv: "2405.18218", section: "algorithm 1" },
    subject: SubjectKind::Text,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: PruneAsk::FIELDS,
    plan: |_| Plan::default(),
    start,
    samples,
};

params! {
    /// Parameters of pruning.
    pub struct PruneAsk {
        /// Share of the sublayers to remove, rounded down
        share: f64 = 0.25, in 0..=1;
        /// How many sublayers to remove; left out = by the share
        removals: Option<usize> = None;
        /// How outputs are compared, as a mean over tokens
        distance: Distance = Distance::Jsd;
        /// Share of the model whose front blocks are spared until as much is removed, or nothing else is left; FinerCut's command has 0.4
        spare_front: f64 = 0.0, in 0..=1;
        /// Do not race: a whole pass per candidate and sample, with the same order in the end
        whole: bool = false;
        /// Pieces of calibration text
        samples: usize = 10, in 1..=100000;
        /// Tokens of each
        length: usize = 256, in 1..=1048576, unit "tokens";
    }
}

fn start(mut case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    let ask: PruneAsk = read(ask)?;
    let samples = case.samples(ask.samples, ask.length)?;
    Ok(Box::new(PruneRun::new(case, ask, samples)?))
}

/// A quarter of the sublayers, which hardly anything misses, and three quarters, which break answers.
fn samples(card: &Card) -> Vec<Sample> {
    const LENGTH: usize = 128;
    let sample = Sample::of_text(card, 4).map(|sample| sample.with("length", card.spec.context.min(LENGTH)));
    sample.iter().flat_map(|sample| [sample.clone(), sample.clone().with("share", 0.75)]).collect()
}

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removal {
    /// What goes.
    #[serde(flatten)]
    pub removed: Sublayer,
    /// The distance from the original without it and all before it.
    #[serde(deserialize_with = "number")]
    pub distance: f64,
    /// All that might have gone, in the order they were tried.
    pub candidates: Vec<Candidate>,
}

/// A sublayer that might go.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    #[serde(flatten)]
    pub sublayer: Sublayer,
    /// The distance; of one that was dropped, what it is at least. Infinite where outputs are no numbers.
    #[serde(deserialize_with = "number")]
    pub distance: f64,
    /// Dropped: the distance is this or more.
    pub at_least: bool,
}

/// Sublayers being removed.
pub struct PruneRun {
    ask: PruneAsk,
    removals: usize,
    samples: usize,
    sublayers: usize,
    spared: Spared,
    streams: Streams,
    race: Option<Race>,
    /// First unit of the pass under way.
    pass: Option<(usize, Pass)>,
    /// Operations in the blocks of a pass over all samples.
    full: u64,
    provenance: Provenance,
    kept: Kept,
}

/// State that a later run goes on from.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    steps: Vec<Removal>,
    /// Candidates of the last step, nearest first.
    order: Vec<usize>,
    losses: Losses,
    evaluations: usize,
    /// Removals after which the spared blocks came back because nothing else was left.
    came_back: Option<usize>,
    /// Of the step under way: what its units came to, in the order they are computed.
    #[serde(with = "bits64")]
    sums: Vec<f64>,
    work: Work,
}

impl PruneRun {
    /// By samples of one length.
    ///
    /// # Errors
    /// Samples of unlike length, more removals than sublayers, or too little memory.
    pub fn new(case: Case<'_>, ask: PruneAsk, samples: Vec<Input>) -> Result<Self> {
        let kept: Kept = case.resumed()?.unwrap_or_default();
        let engine = case.engine;
        let all = 2 * engine.model.spec.n_layers();
        let len = samples.first().map_or(0, |sample| sample.len());
        if len == 0 || samples.iter().any(|sample| sample.len() != len) {
            return Err(Error::Study("calibration samples must have one length, and that not 0".into()));
        }
        let removals = ask.removals.unwrap_or((ask.share * all as f64).floor() as usize);
        if removals > all {
            return Err(Error::asked(
                format!("there are {all} sublayers, not {removals}"),
                &format!("choose 1 to {all} removals (--removals)"),
            ));
        }
        if removals == 0 {
            return Err(Error::asked(
                format!("no sublayer is to go: {} of {all}, rounded down", ask.share),
                &format!(
                    "choose a share of {:.4} or more (--share), or at least 1 removal (--removals)",
                    1.0 / all as f64
                ),
            ));
        }
        let count = samples.len();
        let mut streams = Streams::new(engine, samples, ask.distance, !ask.whole)?;
        let number = |step: &Removal| {
            2 * step.removed.layer + usize::from(step.removed.part == crate::plan::Part::Ffn)
        };
        streams.without_all(&kept.steps.iter().map(number).collect::<Vec<_>>());
        Ok(Self {
            spared: spared_blocks(all, ask.spare_front),
            removals,
            samples: count,
            sublayers: all,
            streams,
            race: None,
            pass: None,
            full: 0,
            provenance: case.provenance,
            ask,
            kept,
        })
    }

    /// Those that may go in this step, in the last step's order; what is new comes last.
    fn candidates(&self) -> Vec<usize> {
        let open = |candidate: &usize| {
            !self.streams.removed.contains(candidate)
                && (!self.is_sparing() || candidate / 2 >= self.spared.blocks)
        };
        let order = &self.kept.order;
        let known = |candidate: &usize| order.iter().position(|known| known == candidate);
        let mut tried: Vec<usize> = (0..self.sublayers).filter(open).collect();
        tried.sort_by_key(|candidate| known(candidate).unwrap_or(self.sublayers));
        tried
    }

    /// Whether front blocks are no candidates.
    fn is_sparing(&self) -> bool {
        self.spared.blocks > 0 && self.kept.steps.len() < self.spared.until && self.kept.came_back.is_none()
    }

    /// The spared blocks are candidates from now on. Whether there were any.
    fn bring_back(&mut self) -> bool {
        let sparing = self.is_sparing();
        if sparing {
            self.kept.came_back = Some(self.kept.steps.len());
        }
        sparing
    }

    /// The race of this step, as far as an earlier run had come with it.
    fn begin_race(&mut self) -> Result<Race> {
        let mut tried = self.candidates();
        if tried.is_empty() && self.bring_back() {
            tried = self.candidates();
        }
        if tried.is_empty() {
            return Err(self.nothing_left());
        }
        let raced = !self.ask.whole && !self.kept.steps.is_empty();
        let mut race = Race::new(&tried, self.samples, raced, self.kept.losses.clone());
        race.replay(&self.kept.sums);
        Ok(race)
    }

    /// The best of the race goes.
    fn end_race(&mut self, engine: &Engine, race: Race, cancelled: Cancelled) -> Result<()> {
        self.kept.sums.clear();
        let Some(best) = race.best() else {
            self.kept.evaluations += race.scores.len();
            self.kept.losses = race.losses;
            // Those that were spared may do where these leave no finite output.
            return if self.bring_back() { Ok(()) } else { Err(self.nothing_left()) };
        };
        let others = self.kept.steps.len() + 1 < self.removals;
        self.streams.remove(engine, best, others, cancelled)?;
        let tokens = (self.samples * self.streams.len()) as f64;
        let candidate = |score: &race::Score| Candidate {
            sublayer: Sublayer::of(score.candidate),
            distance: score.sum / tokens,
            at_least: score.seen < self.samples,
        };
        let candidates: Vec<Candidate> = race.scores.iter().map(candidate).collect();
        let removed = Sublayer::of(best);
        let distance =
            candidates.iter().find(|one| one.sublayer == removed).map_or(f64::NAN, |one| one.distance);
        self.kept.evaluations += candidates.len();
        self.kept.order = race.ranked();
        self.kept.losses = race.losses;
        self.kept.steps.push(Removal { removed, distance, candidates });
        Ok(())
    }

    /// Why a step removes nothing.
    fn nothing_left(&self) -> Error {
        let gone = self.kept.steps.len();
        Error::Study(format!(
            "after {gone} removals no sublayer is left without which outputs are finite: remove fewer"
        ))
    }

    /// What it cost, runs before a resume included.
    fn cost(&self) -> Work {
        let mut work = self.kept.work;
        work += self.streams.work;
        work
    }

    /// Findings so far.
    pub fn findings(&self) -> PruneFound {
        let Work { layers, unembedding, .. } = self.cost();
        PruneFound {
            distance: self.ask.distance,
            samples: [self.samples, self.streams.len()],
            steps: self.kept.steps.clone(),
            evaluations: self.kept.evaluations,
            came_back: self.kept.came_back,
            flops_layers_full: self.full.saturating_mul(1 + self.kept.evaluations as u64),
            flops_layers: layers,
            flops_unembedding: unembedding,
            figures: found::figures(self).into_iter().map(Arc::new).collect(),
        }
    }
}

impl Stepper for PruneRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        if !self.streams.is_read() {
            let before = self.streams.work.layers;
            self.streams.read(engine, cancelled)?;
            self.full += self.streams.work.layers - before;
            return Ok(());
        }
        if self.is_done() {
            return Ok(());
        }
        let mut race = match self.race.take() {
            Some(race) => race,
            None => self.begin_race()?,
        };
        let (first, mut pass) = match self.pass.take() {
            Some(under_way) => under_way,
            None => {
                let first = race.sums.len();
                let end = (first + self.streams.together(engine)).min(race.units.len());
                (first, self.streams.begin(engine, race.units.get(first..end).unwrap_or_default())?)
            }
        };
        pass.step()?;
        if pass.is_done() {
            let end = (first + self.streams.together(engine)).min(race.units.len());
            let units = race.units.get(first..end).unwrap_or_default();
            let sums = self.streams.finish(engine, units, pass.finish())?;
            self.kept.sums.extend(&sums);
            race.sums.extend(sums);
            if race.sums.len() >= race.units.len() {
                race.advance();
            }
        } else {
            self.pass = Some((first, pass));
        }
        if race.done {
            return self.end_race(engine, race, cancelled);
        }
        self.race = Some(race);
        Ok(())
    }

    fn progress(&self) -> Steps {
        // Each sample is read once. A step has as many as it may have at most: what is spared or dropped is done at once.
        let of = |step: usize| self.sublayers.saturating_sub(step) * self.samples;
        let steps = self.kept.steps.len();
        let now = self.kept.sums.len().min(of(steps).saturating_sub(1));
        let done = self.streams.read_samples() + (0..steps).map(of).sum::<usize>() + now;
        let all = self.samples + (0..self.removals).map(of).sum::<usize>();
        Steps { done, all, unit: "evaluations" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        self.cost()
    }

    fn state(&self) -> Result<State> {
        State::new(&Kept { work: self.cost(), ..self.kept.clone() })
    }
}

/// Front blocks that are no candidates before so many removals.
struct Spared {
    blocks: usize,
    until: usize,
}

/// FinerCut's `get_target_layers`: half of the share in blocks, and one more.
fn spared_blocks(all: usize, share: f64) -> Spared {
    if share <= 0.0 {
        return Spared { blocks: 0, until: 0 };
    }
    let removals = (all as f64 * share).floor() as usize;
    Spared { blocks: (all as f64 * share / 2.0).floor() as usize + 1, until: removals + 1 }
}

//! Greedy removal of attention and FFN sublayers (FinerCut, arXiv 2405.18218, algorithm 1): again and again the sublayer
//! goes without which the output is nearest to the original model's.
//!
//! A candidate is computed from its own sublayer on, or, where it was computed in an earlier step, from the first sublayer on
//! that went since then. Distances are sums over tokens that only grow, so after the first step
//! a candidate is dropped as soon as it is past the best: the order comes out the same, only what is lost is not known
//! exactly.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use super::distance::Distance;
use crate::engine::{Cancelled, Engine, memory};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Ask, Branch, Input, Logits, Pass, Schedule, Work};
use crate::plan::{Part, Sublayer};

/// Sums that differ by less than this part of them are ties, broken by name.
const TIE: f64 = 1e-6;
/// Logits of one batch at most.
const MOST_LOGITS: usize = 1 << 25;
/// One part in this many of the memory at hand is for streams of candidates.
const SHARE_KEPT: u64 = 4;

/// What to remove, by which text.
#[derive(Clone, Debug)]
pub struct PruneAsk<'a> {
    /// Calibration text, in pieces of one length.
    pub samples: &'a [Input],
    /// How far outputs are apart, as a mean over tokens.
    pub distance: Distance,
    /// How many sublayers go.
    pub removals: usize,
    /// Share of the model whose front blocks are spared until as large a share is removed (FinerCut's command: 0.4).
    pub spare_front: f64,
    /// How candidates are compared.
    pub method: Method,
}

/// How candidates are compared. The order of removal does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// From the candidate on, as long as it can still be the best.
    Raced,
    /// A whole pass per candidate and sample: what the others are measured against.
    Whole,
}

/// What was removed.
#[derive(Clone, Debug, Serialize)]
pub struct Pruning {
    /// How outputs were compared.
    pub distance: Distance,
    /// Samples, and tokens of each.
    pub samples: [usize; 2],
    /// In order.
    pub steps: Vec<Removal>,
    /// Candidates, summed over steps.
    pub evaluations: usize,
    /// Floating-point operations in the blocks.
    pub flops_layers: u64,
    /// The same in the unembedding.
    pub flops_unembedding: u64,
    /// In the blocks, had every candidate been a pass through the whole model with a sublayer's output set to zero.
    pub flops_layers_full: u64,
    /// All of it.
    pub seconds: f64,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Removal {
    /// What goes.
    #[serde(flatten)]
    pub removed: Sublayer,
    /// The distance from the original without it and all before it.
    pub distance: f64,
    /// All that might have gone, in the order they were tried.
    pub candidates: Vec<Candidate>,
}

/// A sublayer that might go.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Candidate {
    /// Which.
    #[serde(flatten)]
    pub sublayer: Sublayer,
    /// The distance; of one that was dropped, what it is at least.
    pub distance: f64,
    /// Dropped: the distance is this or more.
    pub at_least: bool,
}

/// Remove. `said` hears every step.
pub fn prune(
    engine: &Engine,
    ask: &PruneAsk,
    said: &mut dyn FnMut(&Removal),
    cancelled: Cancelled,
) -> Result<Pruning> {
    let begin = Instant::now();
    let all = 2 * engine.model.spec.n_layers();
    let len = ask.samples.first().map_or(0, |sample| sample.len());
    if len == 0 || ask.samples.iter().any(|sample| sample.len() != len) {
        return Err(Error::Input("calibration samples must have one length, and that not 0".into()));
    }
    if ask.removals > all {
        return Err(Error::Input(format!("there are {all} sublayers, not {}", ask.removals)));
    }
    let mut pruner = Pruner::new(engine, ask, cancelled)?;
    let full = pruner.work.layers;
    let spared = spared_blocks(all, ask.spare_front);
    let (mut steps, mut evaluations) = (Vec::<Removal>::with_capacity(ask.removals), 0);
    let mut order: Vec<usize> = Vec::new();
    while steps.len() < ask.removals {
        let open = |candidate: &usize| {
            !pruner.removed.contains(candidate)
                && (steps.len() >= spared.until || candidate / 2 >= spared.blocks)
        };
        let candidates: Vec<usize> = (0..all).filter(open).collect();
        // The last step's order; what is new comes last.
        let known = |candidate: &usize| order.iter().position(|known| known == candidate).unwrap_or(all);
        let mut tried = candidates;
        tried.sort_by_key(known);
        if tried.is_empty() {
            return Err(nothing_left(&steps));
        }
        evaluations += tried.len();
        let raced = ask.method == Method::Raced && !steps.is_empty();
        let found = pruner.compare(&tried, raced, cancelled)?;
        let best = best(&found).ok_or_else(|| nothing_left(&steps))?;
        order = ranked(&found);
        pruner.remove(best, cancelled)?;
        let tokens = (ask.samples.len() * len) as f64;
        let candidate = |found: &Found| Candidate {
            sublayer: Sublayer::of(found.candidate),
            distance: found.sum / tokens,
            at_least: found.seen < ask.samples.len(),
        };
        let candidates: Vec<Candidate> = found.iter().map(candidate).collect();
        let removed = Sublayer::of(best);
        let distance =
            candidates.iter().find(|one| one.sublayer == removed).map_or(f64::NAN, |one| one.distance);
        let step = Removal { removed, distance, candidates };
        said(&step);
        steps.push(step);
    }
    Ok(Pruning {
        distance: ask.distance,
        samples: [ask.samples.len(), len],
        steps,
        evaluations,
        flops_layers: pruner.work.layers,
        flops_unembedding: pruner.work.unembedding,
        flops_layers_full: full.saturating_mul(1 + evaluations as u64),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// Why a step removes nothing.
fn nothing_left(steps: &[Removal]) -> Error {
    let gone = steps.len();
    Error::Input(format!(
        "after {gone} removals no sublayer is left that may go and leaves finite outputs: spare less of the front, or \
         remove fewer"
    ))
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

/// What is known of a candidate in a step.
struct Found {
    candidate: usize,
    /// Over the tokens of the samples seen.
    sum: f64,
    seen: usize,
}

/// A candidate on its way through the samples.
struct Racer<'a> {
    found: &'a mut Found,
    /// Distances by sample; 0 where it was not yet.
    parts: Vec<f64>,
    /// The samples where it is thought to lose most come first: it may not have to go on.
    order: Vec<usize>,
}

impl<'a> Racer<'a> {
    /// `earlier` is what it lost in an earlier step, `leader` what the leader loses.
    fn new(found: &'a mut Found, earlier: Option<&Vec<f64>>, leader: &[f64]) -> Self {
        let loss = |sample: &usize| {
            let own = earlier.and_then(|earlier| earlier.get(*sample)).copied().unwrap_or(0.0);
            (own, leader.get(*sample).copied().unwrap_or(0.0))
        };
        let mut order: Vec<usize> = (0..leader.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (loss(a), loss(b));
            b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        Self { found, parts: vec![0.0; leader.len()], order }
    }
}

/// The least sum of those that are known whole; among ties the first by name.
fn best(found: &[Found]) -> Option<usize> {
    let most = found.iter().map(|found| found.seen).max()?;
    let whole = || found.iter().filter(|found| found.seen == most);
    let least = whole().map(|found| found.sum).min_by(f64::total_cmp).filter(|sum| sum.is_finite())?;
    let tied = whole().filter(|found| found.sum <= past(least));
    tied.map(|found| found.candidate).min_by_key(|&candidate| name(candidate))
}

/// Candidates by what is known, nearest first: those known whole, then the others by their mean.
fn ranked(found: &[Found]) -> Vec<usize> {
    let most = found.iter().map(|found| found.seen).max().unwrap_or(0);
    let mut all: Vec<&Found> = found.iter().collect();
    let mean = |found: &Found| found.sum / found.seen.max(1) as f64;
    all.sort_by(|a, b| (a.seen < most).cmp(&(b.seen < most)).then(mean(a).total_cmp(&mean(b))));
    all.into_iter().map(|found| found.candidate).collect()
}

/// Sums up to this one tie with `sum`.
fn past(sum: f64) -> f64 {
    sum * (1.0 + TIE)
}

/// As FinerCut's code sorts them: the names of Llama's modules.
fn name(candidate: usize) -> String {
    let Sublayer { layer, part } = Sublayer::of(candidate);
    match part {
        Part::Attn => format!("layers.{layer}.self_attn"),
        Part::Ffn => format!("layers.{layer}.mlp"),
    }
}

struct Pruner<'a> {
    engine: &'a Engine,
    ask: &'a PruneAsk<'a>,
    samples: Vec<Sample>,
    removed: Vec<usize>,
    schedule: Arc<Schedule>,
    /// Streams of candidates, by candidate and sample.
    kept: HashMap<(usize, usize), Kept>,
    /// What candidates lost by sample when they were last computed.
    losses: HashMap<usize, Vec<f64>>,
    /// Values that may still be kept.
    room: usize,
    work: Work,
}

/// A piece of text.
struct Sample {
    /// The original's log probabilities, `[T, vocab]`.
    original: Vec<f32>,
    /// The stream before each sublayer and after the last, without what is removed.
    boundaries: Vec<Tensor>,
}

/// The stream of a candidate before each sublayer from `first` on.
struct Kept {
    first: usize,
    boundaries: Vec<Tensor>,
    /// How many were removed when it was computed. Up to the first that went since then it would come out the same.
    removed: usize,
}

impl<'a> Pruner<'a> {
    fn new(engine: &'a Engine, ask: &'a PruneAsk<'a>, cancelled: Cancelled) -> Result<Self> {
        let spec = &engine.model.spec;
        let tokens: usize = ask.samples.iter().map(|sample| sample.len()).sum();
        let boundaries = tokens * spec.d_model * (2 * spec.n_layers() + 1);
        let len = ask.samples.first().map_or(0, |sample| sample.len());
        // Logits, a copy of them, and what they are turned into.
        let logits = 3 * MOST_LOGITS.max(len * spec.vocab);
        let bytes = 4 * (tokens * spec.vocab + boundaries + logits) as u64;
        memory::check(&format!("{tokens} tokens of calibration"), bytes)?;
        let spare = memory::available_bytes().unwrap_or(0).saturating_sub(bytes) / SHARE_KEPT;
        let mut pruner = Self {
            engine,
            ask,
            samples: Vec::with_capacity(ask.samples.len()),
            removed: Vec::new(),
            schedule: Schedule::none(),
            kept: HashMap::new(),
            losses: HashMap::new(),
            room: usize::try_from(spare / 4).unwrap_or(usize::MAX),
            work: Work::default(),
        };
        for sample in ask.samples {
            let run = engine.run_schedule(sample, Schedule::none(), cancelled)?;
            let boundary = |number| engine.boundary(&run, number);
            let boundaries = (0..=2 * spec.n_layers()).map(boundary).collect::<Result<_>>()?;
            let rows = engine.rows_logits(&run, 0, sample.len(), cancelled)?;
            pruner.work += run.work;
            pruner.work.unembedding += run.work.unembedding * sample.len() as u64;
            let log_p: Vec<Vec<f32>> = rows.par_iter().map(|row| metric::log_softmax(row)).collect();
            pruner.samples.push(Sample { original: log_p.concat(), boundaries });
        }
        Ok(pruner)
    }

    /// Without what is removed and a candidate.
    fn without(&self, candidate: usize) -> Arc<Schedule> {
        Arc::new(self.schedule.zeroing(Sublayer::of(candidate).output()))
    }

    /// How far each candidate takes the output from the original.
    fn compare(&mut self, candidates: &[usize], raced: bool, cancelled: Cancelled) -> Result<Vec<Found>> {
        let samples = self.samples.len();
        let mut found: Vec<Found> =
            candidates.iter().map(|&candidate| Found { candidate, sum: 0.0, seen: 0 }).collect();
        let (leading, others) = found.split_at_mut(if raced { 1 } else { candidates.len() });
        let units: Vec<(usize, usize)> = leading
            .iter()
            .flat_map(|found| (0..samples).map(move |sample| (found.candidate, sample)))
            .collect();
        let sums = self.distances(&units, cancelled)?;
        for (found, sums) in leading.iter_mut().zip(sums.chunks(samples)) {
            *found = Found { sum: sums.iter().sum(), seen: samples, ..*found };
            self.losses.insert(found.candidate, sums.to_vec());
        }
        let Some(leader) = leading.first().filter(|_| raced) else { return Ok(found) };
        // The sum of a part, added up in another order, must not drop a tie by its rounding.
        let bound = past(leader.sum) * (1.0 + 1e-12);
        let mut racing: Vec<Racer> = others
            .iter_mut()
            .map(|found| Racer::new(found, self.losses.get(&found.candidate), &sums))
            .collect();
        for turn in 0..samples {
            let unit = |racer: &Racer| Some((racer.found.candidate, *racer.order.get(turn)?));
            let units: Vec<(usize, usize)> = racing.iter().filter_map(unit).collect();
            let sums = self.distances(&units, cancelled)?;
            for ((racer, sum), (_, sample)) in racing.iter_mut().zip(sums).zip(units) {
                if let Some(part) = racer.parts.get_mut(sample) {
                    *part = sum;
                }
                racer.found.seen += 1;
                // In the order of a whole sum, so that it comes out the same to the bit.
                racer.found.sum = racer.parts.iter().sum();
            }
            let (on, dropped) = racing.into_iter().partition(|racer| racer.found.sum <= bound);
            racing = on;
            self.losses.extend(dropped.into_iter().map(|racer: Racer| (racer.found.candidate, racer.parts)));
        }
        self.losses.extend(racing.into_iter().map(|racer| (racer.found.candidate, racer.parts)));
        Ok(found)
    }

    /// The distance of candidates on samples, each summed over its tokens.
    fn distances(&mut self, units: &[(usize, usize)], cancelled: Cancelled) -> Result<Vec<f64>> {
        let vocab = self.engine.model.spec.vocab.max(1);
        let len = self.ask.samples.first().map_or(1, |sample| sample.len());
        let together = match self.ask.method {
            Method::Raced => (self.engine.rows_at_once().min(MOST_LOGITS / vocab) / len).max(1),
            Method::Whole => 1,
        };
        let mut sums = Vec::with_capacity(units.len());
        for group in units.chunks(together) {
            let mut output = match self.ask.method {
                Method::Raced => self.branches(group)?.run(cancelled)?,
                Method::Whole => self.whole(group)?.run(cancelled)?,
            };
            self.work += output.work;
            let logits =
                output.logits.take().ok_or_else(|| Error::Internal("a pass without logits".into()))?;
            let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
            for (logits, (_, sample)) in logits.chunks(len * vocab).zip(group) {
                let rows = self.sample(*sample)?.original.par_chunks(vocab).zip(logits.par_chunks(vocab));
                let distance = |(log_p, logits): (&[f32], &[f32])| self.ask.distance.of(log_p, logits);
                let each: Vec<f64> = rows.map(distance).collect();
                sums.push(each.iter().sum());
            }
            for (&unit, boundaries) in group.iter().zip(output.of_branches) {
                self.keep(unit, boundaries);
            }
        }
        Ok(sums)
    }

    /// A pass over candidates, each from where it differs from what is known.
    fn branches(&self, units: &[(usize, usize)]) -> Result<Pass> {
        let mut branches = Vec::with_capacity(units.len());
        for &(candidate, sample) in units {
            let (sublayer, x) = match self.resumed(candidate, sample) {
                Some(known) => known,
                None => {
                    let sublayer = self.engine.entry(candidate);
                    let boundary = self.sample(sample)?.boundaries.get(sublayer);
                    (sublayer, boundary.ok_or_else(|| Error::Internal(format!("no boundary {sublayer}")))?)
                }
            };
            let (schedule, x, end) = (self.without(candidate), x.clone(), x.dim(0)?);
            branches.push(Branch { schedule, sublayer, start: 0, end, x });
        }
        let boundaries = usize::from(self.room > 0);
        let ask = Ask { logits: Logits::All, boundaries, ..Ask::default() };
        self.engine.from_the_start(branches, ask)
    }

    /// The stream of a candidate before the first sublayer that was removed since it was last computed.
    fn resumed(&self, candidate: usize, sample: usize) -> Option<(usize, &Tensor)> {
        let kept = self.kept.get(&(candidate, sample))?;
        let changed = self.engine.entry(*self.removed.get(kept.removed..)?.iter().min()?);
        let boundary = kept.boundaries.get(changed.checked_sub(kept.first)?)?;
        (changed > candidate).then_some((changed, boundary))
    }

    fn keep(&mut self, unit: (usize, usize), mut boundaries: Vec<Tensor>) {
        let all = 2 * self.engine.model.spec.n_layers() + 1;
        let mut first = all.saturating_sub(boundaries.len());
        if let Some(old) = self.kept.remove(&unit) {
            self.room += size(&old.boundaries);
            // A resumed one goes on from what was kept.
            let before = first.saturating_sub(old.first);
            if before > 0 && before <= old.boundaries.len() && first > unit.0 {
                first = old.first;
                boundaries.splice(0..0, old.boundaries.into_iter().take(before));
            }
        }
        if size(&boundaries) <= self.room {
            self.room -= size(&boundaries);
            self.kept.insert(unit, Kept { first, boundaries, removed: self.removed.len() });
        }
    }

    fn whole(&self, units: &[(usize, usize)]) -> Result<Pass> {
        let (candidate, sample) = units.first().copied().unwrap_or_default();
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        let tokens =
            self.ask.samples.get(sample).ok_or_else(|| Error::Internal(format!("no sample {sample}")))?;
        Ok(self.engine.start(tokens, &self.without(candidate), ask)?.0)
    }

    fn sample(&self, sample: usize) -> Result<&Sample> {
        self.samples.get(sample).ok_or_else(|| Error::Internal(format!("no sample {sample}")))
    }

    /// Remove a candidate for good.
    fn remove(&mut self, candidate: usize, cancelled: Cancelled) -> Result<()> {
        let schedule = self.without(candidate);
        let last = self.removed.len() + 1 == self.ask.removals;
        if self.ask.method == Method::Raced && !last {
            for number in 0..self.samples.len() {
                let known = self.kept.remove(&(candidate, number));
                self.room += known.as_ref().map_or(0, |known| size(&known.boundaries));
                let known = known.filter(|known| known.removed == self.removed.len());
                self.advance(number, candidate, known, &schedule, cancelled)?;
            }
        }
        self.schedule = schedule;
        self.removed.push(candidate);
        Ok(())
    }

    /// A sample's stream without a candidate: what was kept of it, or computed again.
    fn advance(
        &mut self,
        number: usize,
        candidate: usize,
        known: Option<Kept>,
        schedule: &Arc<Schedule>,
        cancelled: Cancelled,
    ) -> Result<()> {
        let (first, new) = match known {
            Some(known) => (known.first, known.boundaries),
            None => {
                let sublayer = self.engine.entry(candidate);
                let boundary = self.sample(number)?.boundaries.get(sublayer);
                let x = boundary.ok_or_else(|| Error::Internal(format!("no boundary {sublayer}")))?.clone();
                let branch = Branch { schedule: Arc::clone(schedule), sublayer, start: 0, end: x.dim(0)?, x };
                let ask = Ask { logits: Logits::None, boundaries: 1, ..Ask::default() };
                let mut output = self.engine.from_the_start(vec![branch], ask)?.run(cancelled)?;
                self.work += output.work;
                (sublayer, output.of_branches.pop().unwrap_or_default())
            }
        };
        if let Some(sample) = self.samples.get_mut(number) {
            sample.boundaries.truncate(first);
            sample.boundaries.extend(new);
        }
        Ok(())
    }
}

fn size(boundaries: &[Tensor]) -> usize {
    boundaries.iter().map(Tensor::elem_count).sum()
}

//! One step of greedy removal: which candidate's distance is least. Distances are sums over tokens that only grow, so a
//! candidate is dropped as soon as it is past the leader.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::method::bits64;
use crate::plan::{Part, Sublayer};

/// Sums that differ by less than this part of them are ties, broken by name.
const TIE: f64 = 1e-6;

/// What is known of a candidate in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub candidate: usize,
    /// Over the tokens of the samples seen.
    pub sum: f64,
    pub seen: usize,
}

/// What candidates lost when they were last computed.
pub(super) type Losses = HashMap<usize, BySample>;

/// A candidate's distance summed over the tokens of each sample.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct BySample(#[serde(with = "bits64")] Vec<f64>);

/// Candidates on their way through the samples.
pub(super) struct Race {
    pub scores: Vec<Score>,
    samples: usize,
    raced: bool,
    /// The leaders first, then a turn a sample.
    turn: Option<usize>,
    leader: Vec<f64>,
    racing: Vec<Racer>,
    /// Those of earlier steps, with this step's as far as they are done.
    pub losses: Losses,
    /// Candidate and sample, in the order they are computed, and what they came to.
    pub units: Vec<(usize, usize)>,
    pub sums: Vec<f64>,
    pub done: bool,
}

/// A candidate behind the leader.
struct Racer {
    /// Its place among the scores.
    place: usize,
    /// Distances by sample; 0 where it was not yet.
    parts: Vec<f64>,
    /// The samples where it is thought to lose most come first: it may not have to go on.
    order: Vec<usize>,
}

impl Racer {
    /// `earlier` is what it lost in an earlier step, `leader` what the leader loses.
    fn new(place: usize, earlier: Option<&BySample>, leader: &[f64]) -> Self {
        let loss = |sample: &usize| {
            let own = earlier.and_then(|earlier| earlier.0.get(*sample)).copied().unwrap_or(0.0);
            (own, leader.get(*sample).copied().unwrap_or(0.0))
        };
        let mut order: Vec<usize> = (0..leader.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (loss(a), loss(b));
            b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        Self { place, parts: vec![0.0; leader.len()], order }
    }
}

impl Race {
    /// Of candidates, the likely best first, with what they lost in earlier steps. Without racing all of them are computed
    /// whole.
    pub fn new(candidates: &[usize], samples: usize, raced: bool, losses: Losses) -> Self {
        let leading = if raced { 1 } else { candidates.len() };
        let leaders = candidates.iter().take(leading);
        Self {
            scores: candidates.iter().map(|&candidate| Score { candidate, sum: 0.0, seen: 0 }).collect(),
            units: leaders
                .flat_map(|&candidate| (0..samples).map(move |sample| (candidate, sample)))
                .collect(),
            samples,
            raced,
            turn: None,
            leader: Vec::new(),
            racing: Vec::new(),
            losses,
            sums: Vec::new(),
            done: false,
        }
    }

    /// Go on after units that were computed earlier, with what they came to.
    pub fn replay(&mut self, mut sums: &[f64]) {
        while !self.done {
            let turn = sums.split_at_checked(self.units.len());
            let (now, rest) = turn.unwrap_or((sums, &[]));
            self.sums.extend(now);
            if turn.is_none() {
                break;
            }
            sums = rest;
            self.advance();
        }
    }

    /// All units of the turn are computed: what is next.
    pub fn advance(&mut self) {
        match self.turn {
            None => self.led(),
            Some(turn) => self.turned(turn),
        }
    }

    fn led(&mut self) {
        let sums = std::mem::take(&mut self.sums);
        for (score, sums) in self.scores.iter_mut().zip(sums.chunks(self.samples.max(1))) {
            *score = Score { sum: sums.iter().sum(), seen: self.samples, ..*score };
            self.losses.insert(score.candidate, BySample(sums.to_vec()));
        }
        if !self.raced {
            self.done = true;
            return;
        }
        let behind = self.scores.iter().enumerate().skip(1);
        let racer =
            |(place, score): (usize, &Score)| Racer::new(place, self.losses.get(&score.candidate), &sums);
        self.racing = behind.map(racer).collect();
        self.leader = sums;
        self.next_turn(0);
    }

    fn turned(&mut self, turn: usize) {
        let least = self.scores.first().map_or(f64::INFINITY, |leader| leader.sum);
        // The sum of a part, added up in another order, must not drop a tie by its rounding.
        let bound = past(least) * (1.0 + 1e-12);
        let sums = std::mem::take(&mut self.sums);
        let units = std::mem::take(&mut self.units);
        let mut on = Vec::with_capacity(self.racing.len());
        for ((mut racer, sum), (_, sample)) in self.racing.drain(..).zip(sums).zip(units) {
            if let Some(part) = racer.parts.get_mut(sample) {
                *part = sum;
            }
            let Some(score) = self.scores.get_mut(racer.place) else { continue };
            score.seen += 1;
            // In the order of a whole sum, so that it comes out the same to the bit.
            score.sum = racer.parts.iter().sum();
            if score.sum <= bound {
                on.push(racer);
            } else {
                self.losses.insert(score.candidate, BySample(racer.parts));
            }
        }
        self.racing = on;
        self.next_turn(turn + 1);
    }

    fn next_turn(&mut self, turn: usize) {
        if turn >= self.samples || self.racing.is_empty() {
            let candidate = |racer: &Racer| self.scores.get(racer.place).map(|score| score.candidate);
            let rest =
                self.racing.drain(..).filter_map(|racer| Some((candidate(&racer)?, BySample(racer.parts))));
            self.losses.extend(rest);
            self.done = true;
            return;
        }
        let unit =
            |racer: &Racer| Some((self.scores.get(racer.place)?.candidate, racer.order.get(turn).copied()?));
        self.units = self.racing.iter().filter_map(unit).collect();
        self.turn = Some(turn);
    }

    /// The least sum of those that are known whole; among ties the first by name.
    pub fn best(&self) -> Option<usize> {
        let most = self.scores.iter().map(|score| score.seen).max()?;
        let whole = || self.scores.iter().filter(|score| score.seen == most);
        let least = whole().map(|score| score.sum).min_by(f64::total_cmp).filter(|sum| sum.is_finite())?;
        let tied = whole().filter(|score| score.sum <= past(least));
        tied.map(|score| score.candidate).min_by_key(|&candidate| name(candidate))
    }

    /// Candidates by what is known, nearest first: those known whole, then the others by their mean.
    pub fn ranked(&self) -> Vec<usize> {
        let most = self.scores.iter().map(|score| score.seen).max().unwrap_or(0);
        let mut all: Vec<&Score> = self.scores.iter().collect();
        let mean = |score: &Score| score.sum / score.seen.max(1) as f64;
        all.sort_by(|a, b| (a.seen < most).cmp(&(b.seen < most)).then(mean(a).total_cmp(&mean(b))));
        all.into_iter().map(|score| score.candidate).collect()
    }
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

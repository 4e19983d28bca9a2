//! Sums of what was scored.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::Scored;
use crate::engine::Engine;
use crate::statistics::ratio;

/// What texts came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Tokens scored.
    pub tokens: u64,
    /// UTF-8 bytes that they stand for; 0 without a tokenizer.
    pub bytes: u64,
    /// Items read.
    pub items: u64,
    /// Windows read.
    pub windows: u64,
    /// Items that could not be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// -ln p of a token, nats: a mean over all tokens scored.
    pub nats: f64,
    /// e to that.
    pub perplexity: f64,
    /// Bits per byte of text; NaN where the bytes are not known.
    pub bits_per_byte: f64,
    /// Under each plan.
    pub plans: Vec<PlanScore>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What texts came to under a plan. Means over all tokens scored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanScore {
    /// What the plan is called.
    pub plan: String,
    /// -ln p of a token, nats.
    pub nats: f64,
    /// KL(no plan || plan) of its prediction, nats.
    pub kl: f64,
    /// Share of predictions whose most likely token is the same.
    pub agreement: f64,
    /// Nats under the plan less those without it.
    pub difference: f64,
    /// Its 95 % interval: bootstrap over windows; of several items each is one.
    pub low: f64,
    /// The other end.
    pub high: f64,
}

/// Sums over a window, or over many.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Number of the item, 0 = the first.
    pub item: u64,
    /// Place of the window's first token in it.
    pub start: u64,
    /// Tokens scored; 0 of an item that is too short for any.
    pub tokens: u64,
    /// UTF-8 bytes that they stand for.
    pub bytes: u64,
    /// -ln p, summed.
    #[serde(deserialize_with = "number")]
    pub nats: f64,
    /// The same under each plan.
    pub plans: Vec<Sums>,
    /// Why the item cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Sums under a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// -ln p, nats.
    #[serde(deserialize_with = "number")]
    pub nats: f64,
    /// KL(no plan || plan), nats.
    #[serde(deserialize_with = "number")]
    pub kl: f64,
    /// Predictions whose most likely token is the same.
    pub same: u64,
}

/// `null` is what is no finite number.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// As it is read back: what is no finite number is one and the same.
fn finite(x: f64) -> f64 {
    if x.is_finite() { x } else { f64::NAN }
}

impl Record {
    /// What a window comes to. `known`: UTF-8 bytes of tokens by id, of which more become known.
    pub(super) fn of(scored: &Scored, engine: &Engine, known: &mut HashMap<u32, u64>) -> Self {
        let Scored { item, window, losses } = scored;
        let sum = |values: &[f32]| finite(values.iter().map(|x| f64::from(*x)).sum::<f64>());
        let mut runs = losses.iter();
        let base = runs.next().map(|losses| losses.nats.as_slice()).unwrap_or_default();
        let plan = |losses: &super::Losses| Sums {
            nats: sum(&losses.nats),
            kl: sum(&losses.kl),
            same: losses.same.iter().filter(|same| **same).count() as u64,
        };
        let mut bytes = 0;
        if engine.tokenizer.is_some() {
            for id in window.ids.get(window.first..).unwrap_or_default() {
                bytes += *known.entry(*id).or_insert_with(|| engine.token(*id).bytes.len() as u64);
            }
        }
        Self {
            item: *item,
            start: window.start as u64,
            tokens: base.len() as u64,
            bytes,
            nats: sum(base),
            plans: runs.map(plan).collect(),
            failed: None,
        }
    }
}

/// Sums so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    sums: Record,
    windows: u64,
    failed: u64,
    /// Items that were read, and the last of them.
    items: u64,
    last: Option<u64>,
    /// Difference and tokens of each window, by plan.
    units: Vec<Vec<(f64, u64)>>,
}

impl Tally {
    /// Take in a record; those of a list come in its order.
    pub fn add(&mut self, record: &Record) {
        if record.failed.is_some() {
            self.failed += 1;
            return;
        }
        if self.last.replace(record.item) != Some(record.item) {
            self.items += 1;
        }
        if record.tokens == 0 {
            return;
        }
        self.windows += 1;
        self.sums.tokens += record.tokens;
        self.sums.bytes += record.bytes;
        self.sums.nats += record.nats;
        self.sums.plans.resize(record.plans.len(), Sums::default());
        self.units.resize(record.plans.len(), Vec::new());
        for ((own, all), units) in record.plans.iter().zip(&mut self.sums.plans).zip(&mut self.units) {
            all.nats += own.nats;
            all.kl += own.kl;
            all.same += own.same;
            units.push((own.nats - record.nats, record.tokens));
        }
    }

    /// Tokens, items and nats a token so far, without what takes long.
    pub fn so_far(&self) -> (u64, u64, f64) {
        (self.sums.tokens, self.items, self.sums.nats / self.sums.tokens as f64)
    }

    /// Items that could not be read.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// What they come to; `plans` are their names.
    pub fn score(&self, plans: &[String]) -> Score {
        let Record { tokens, bytes, nats, plans: under, .. } = &self.sums;
        let count = *tokens as f64;
        let mean = nats / count;
        let of = |((name, sums), units): ((&String, &Sums), &Vec<(f64, u64)>)| {
            let [low, high] = ratio(units);
            PlanScore {
                plan: name.clone(),
                nats: sums.nats / count,
                kl: sums.kl / count,
                agreement: sums.same as f64 / count,
                difference: sums.nats / count - mean,
                low,
                high,
            }
        };
        Score {
            tokens: *tokens,
            bytes: *bytes,
            items: self.items,
            windows: self.windows,
            failed: self.failed,
            nats: mean,
            perplexity: mean.exp(),
            bits_per_byte: match bytes {
                0 => f64::NAN,
                bytes => nats / std::f64::consts::LN_2 / *bytes as f64,
            },
            plans: plans.iter().zip(under).zip(&self.units).map(of).collect(),
        }
    }
}

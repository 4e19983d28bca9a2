//! How many items are right.

use serde::{Deserialize, Deserializer, Serialize};

use crate::statistics::{Mean, Share};

/// What one run made of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// It is right.
    pub right: bool,
    /// Of choices: it is, where ln P counts by token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_token: Option<bool>,
    /// ln P of each choice, or of the last word; nats.
    #[serde(deserialize_with = "numbers")]
    pub log_p: Vec<f64>,
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let all: Vec<Option<f64>> = Deserialize::deserialize(deserializer)?;
    Ok(all.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect())
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its number, 0 = the first.
    pub item: u64,
    /// Why it could not be judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Without a plan, then under each.
    #[serde(default)]
    pub runs: Vec<Verdict>,
}

/// What a list came to.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Items that were judged.
    pub items: u64,
    /// Items that could not be.
    pub failed: u64,
    /// Share of those that are right.
    pub accuracy: f64,
    /// Its 95 % Wilson interval.
    pub low: f64,
    /// The other end.
    pub high: f64,
    /// The same of choices where ln P counts by token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_token: Option<Part>,
    /// Under each plan.
    pub plans: Vec<PlanJudged>,
}

/// A share with its 95 % Wilson interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Part {
    /// Share of the items that are right.
    pub accuracy: f64,
    /// Where its interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

/// What a list came to under a plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlanJudged {
    /// What the plan is called.
    pub plan: String,
    /// Share of the items that are right under it, with its interval.
    #[serde(flatten)]
    pub part: Part,
    /// The same of choices where ln P counts by token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_token: Option<Part>,
    /// Accuracy under the plan less that without it.
    pub difference: f64,
    /// Its 95 % interval, bootstrap over items.
    pub difference_low: f64,
    /// The other end.
    pub difference_high: f64,
}

/// Verdicts so far.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    failed: u64,
    /// Right, and right by token, of every item: by run.
    runs: Vec<Vec<(bool, Option<bool>)>>,
}

impl Verdicts {
    /// Take in a record; those of a list come in its order.
    pub fn add(&mut self, record: &Record) {
        if record.failed.is_some() {
            self.failed += 1;
            return;
        }
        self.runs.resize(record.runs.len(), Vec::new());
        for (all, own) in self.runs.iter_mut().zip(&record.runs) {
            all.push((own.right, own.per_token));
        }
    }

    /// Right without a plan so far.
    pub fn so_far(&self) -> Share {
        Share::of(self.runs.first().into_iter().flatten().map(|(right, _)| *right))
    }

    /// Items that could not be judged.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// What they come to; `plans` are their names.
    pub fn judged(&self, plans: &[String]) -> Judged {
        let mut runs = self.runs.iter();
        let base = runs.next().map(Vec::as_slice).unwrap_or_default();
        let right = |run: &[(bool, Option<bool>)]| part(run.iter().map(|(right, _)| *right));
        let per_token = |run: &[(bool, Option<bool>)]| {
            let known = run.first().is_some_and(|(_, per_token)| per_token.is_some());
            known.then(|| part(run.iter().filter_map(|(_, per_token)| *per_token)))
        };
        let of = |(name, run): (&String, &Vec<(bool, Option<bool>)>)| {
            let number = |right: bool| f64::from(u8::from(right));
            let less =
                run.iter().zip(base).map(|((under, _), (without, _))| number(*under) - number(*without));
            let Mean { mean, interval: [low, high] } = Mean::of(&less.collect::<Vec<_>>());
            PlanJudged {
                plan: name.clone(),
                part: right(run),
                per_token: per_token(run),
                difference: mean,
                difference_low: low,
                difference_high: high,
            }
        };
        let Part { accuracy, low, high } = right(base);
        Judged {
            items: base.len() as u64,
            failed: self.failed,
            accuracy,
            low,
            high,
            per_token: per_token(base),
            plans: plans.iter().zip(runs).map(of).collect(),
        }
    }
}

fn part(right: impl Iterator<Item = bool>) -> Part {
    let Share { share: accuracy, interval: [low, high], .. } = Share::of(right);
    Part { accuracy, low, high }
}

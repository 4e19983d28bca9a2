//! Lists whose items are right or wrong.

use std::fmt::Write as _;
use std::path::Path;

use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::Opened;
use sluice_core::records::{Head, Map, Shard, Taken};
use sluice_core::score::judged::{Ask, Judge, Judged, Kind, Record, Verdicts};
use sluice_core::score::question_judged;
use sluice_core::{Error, Result};

use super::{Score, begin, claim, conclude, interrupted};
use crate::cli::progress::{Progress, name_failure};
use crate::cli::{note, opened, signals};

pub fn run(asked: &Score, kind: Kind, list: &Path, map: Option<Map>, checkpoint: &Checkpoint) -> Result<()> {
    let (plans, names) = asked.plans()?;
    let shard = asked.shard.unwrap_or(Shard::ALL);
    let taken = Taken { most: asked.items, shard, behind: None };
    let mut ask = Ask { kind, list: list.to_owned(), map, taken, plans };
    let _lock = claim(asked)?;
    let head = match asked.out {
        Some(_) => {
            let question = question_judged(&ask, &names)?;
            Some(Head::new(kind.name(), &checkpoint.fingerprint()?, &question, shard)?)
        }
        None => None,
    };
    let Opened { mut engine, .. } = opened(checkpoint, &signals::came)?;
    let mut verdicts = Verdicts::default();
    let known = |record: Record| {
        verdicts.add(&record);
        ask.taken.behind = Some(record.item);
    };
    let (mut records, done) = head.map_or(Ok((None, false)), |head| begin(asked, &head, known))?;
    if !done {
        let mut judge = Judge::new(ask)?;
        let mut progress = Progress::begin();
        loop {
            let record = match judge.next(&mut engine, &signals::came) {
                Err(Error::Cancelled) => {
                    interrupted(records.as_ref());
                    return Err(Error::Cancelled);
                }
                next => next?,
            };
            let Some(record) = record else { break };
            verdicts.add(&record);
            if let Some(cause) = &record.failed {
                name_failure(verdicts.failed(), cause);
            }
            if let Some(records) = &mut records {
                records.write(&record)?;
            }
            progress.say(|_| {
                let right = verdicts.so_far();
                format!("{} items, {:.2} % right", right.of, 100.0 * right.share)
            });
        }
        if let Some(records) = records {
            records.finish(judge.count())?;
        }
        note(&format!("{:.3} s", progress.seconds()));
    }
    print(&verdicts, &names, asked.out.as_deref(), asked.json)
}

/// What a list came to, on stdout and into the folder of its records.
pub fn print(verdicts: &Verdicts, names: &[String], folder: Option<&Path>, json: bool) -> Result<()> {
    let judged = verdicts.judged(names);
    if judged.items == 0 && judged.failed == 0 {
        return Err(Error::asked("the list is empty", "give a list with items"));
    }
    conclude(&judged, &written(&judged), folder, json, judged.failed)
}

/// For people.
fn written(judged: &Judged) -> String {
    let percent = |share: f64, [low, high]: [f64; 2]| {
        format!("{:.2} % [{:.2}, {:.2}]", 100.0 * share, 100.0 * low, 100.0 * high)
    };
    let mut text =
        format!("{} items, {} right", judged.items, percent(judged.accuracy, [judged.low, judged.high]));
    if let Some(part) = judged.per_token {
        let _ = write!(text, ", by ln P per token {}", percent(part.accuracy, [part.low, part.high]));
    }
    text.push('\n');
    for plan in &judged.plans {
        let of = plan.part;
        let _ = write!(text, "under {}: {} right", plan.plan, percent(of.accuracy, [of.low, of.high]));
        if let Some(part) = plan.per_token {
            let _ = write!(text, ", by ln P per token {}", percent(part.accuracy, [part.low, part.high]));
        }
        let difference = percent(plan.difference, [plan.difference_low, plan.difference_high]);
        let _ = writeln!(text, ", difference {difference}");
    }
    text
}

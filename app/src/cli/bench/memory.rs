//! What runs take beside what is said of them before.

use std::path::Path;

use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Engine, Opened, RunSize, never, peak_since, reset_peak};
use sluice_core::model::{Input, Schedule};
use sluice_core::{Error, Result};

use super::engine::{gpt2, tokens};
use super::{Row, random_checkpoint};

/// Twice as deep as GPT-2 small, so that runs are above 200 MB.
const DEPTH: usize = 24;
const LENGTHS: [usize; 2] = [768, 1024];

/// Measure.
pub fn run(checkpoint: Option<&Path>, folder: &Path) -> Result<Vec<Row>> {
    let checkpoint = match checkpoint {
        Some(path) => Checkpoint::open(path)?,
        None => {
            random_checkpoint(folder, &gpt2(DEPTH))?;
            Checkpoint::open(folder)?
        }
    };
    let Opened { engine, .. } = engine::open(&checkpoint, &mut |_, _| {}, &never)?;
    let mut rows = Vec::new();
    for length in LENGTHS {
        let tokens = tokens(&engine, length.min(engine.model.spec.context));
        rows.push(whole(&engine, &tokens)?);
        rows.push(all_logits(&engine, &tokens)?);
    }
    Ok(rows)
}

fn whole(engine: &Engine, tokens: &Input) -> Result<Row> {
    let estimate = RunSize::new(&engine.model.spec, tokens.len()).with_boundaries().bytes();
    measured(format!("memory of a run, {} tokens", tokens.len()), estimate, || {
        engine.run_schedule(tokens, Schedule::none(), &never).map(|_| ())
    })
}

fn all_logits(engine: &Engine, tokens: &Input) -> Result<Row> {
    let run = engine.run_schedule(tokens, Schedule::none(), &never)?;
    let estimate = RunSize::logits(&engine.model.spec, tokens.len()).bytes();
    measured(format!("memory of its logits, {} tokens", tokens.len()), estimate, || {
        engine.rows_logits(&run, 0, tokens.len(), &never).map(|_| ())
    })
}

fn measured(what: String, estimate: u64, work: impl FnOnce() -> Result<()>) -> Result<Row> {
    let cause = "this system does not say what memory a process takes";
    let none = || Error::asked(cause, "measure it on Linux");
    let before = reset_peak().ok_or_else(none)?;
    work()?;
    let taken = peak_since(before).ok_or_else(none)?;
    let ratio = estimate as f64 / taken as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let figures = vec![("estimate", mib(estimate)), ("taken", mib(taken)), ("ratio", ratio)];
    let target = ("estimate within 10 %".into(), (0.9..=1.1).contains(&ratio));
    Ok(Row { what, figures, unit: "MiB", target: (taken > 200 << 20).then_some(target) })
}

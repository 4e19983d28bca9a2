//! What studies cost beside doing each of their cells as a pass of its own.

use std::path::Path;
use std::time::Instant;

use sluice_core::Result;
use sluice_core::engine::{self, Engine, Opened, never, pieces_at_most};
use sluice_core::method::oracle::{OracleAsk, OracleData, OracleRun};
use sluice_core::method::prune::{PruneAsk, PruneFound, PruneRun};
use sluice_core::method::{Case, Stepper as _, finish};
use sluice_core::model::Input;
use sluice_core::plan::Surrogate;

use super::super::checkpoint;
use super::Row;

/// Calibration text: pieces and tokens of each, as FinerCut's.
const SAMPLES: usize = 10;
const LENGTH: usize = 256;
/// Tokens of the prompt whose routes are tried.
const ROUTED: usize = 64;
const REPEATS: usize = 3;

/// Measure a checkpoint, or the bundled one.
pub fn run(path: Option<&Path>, text: Option<&Path>) -> Result<Vec<Row>> {
    let checkpoint = checkpoint(path)?;
    let Opened { mut engine, .. } = engine::open(&checkpoint, &mut |_, _| {}, &never)?;
    let length = LENGTH.min(engine.model.spec.context);
    let ids = engine.calibration_text(text, SAMPLES * length)?.ids;
    let mut rows = vec![pruned(&mut engine, &pieces_at_most(&ids, SAMPLES, length)?)?];
    if engine.model.spec.n_layers() <= 12 {
        let tokens: Input = ids.iter().take(ROUTED).copied().collect::<Vec<_>>().into();
        rows.push(routed(&mut engine, &tokens)?);
    }
    Ok(rows)
}

/// A quarter of the sublayers removed: raced, and with a whole pass per candidate.
fn pruned(engine: &mut Engine, samples: &[Input]) -> Result<Row> {
    let removals = engine.model.spec.n_layers() / 2;
    let mut by = |whole| -> Result<(PruneFound, f64)> {
        let begin = Instant::now();
        let ask = PruneAsk { removals: Some(removals), whole, ..PruneAsk::default() };
        let case = Case::new(engine, Vec::new().into());
        let mut run = PruneRun::new(case, ask, samples.to_vec())?;
        finish(&mut run, engine, &never)?;
        Ok((run.findings(), begin.elapsed().as_secs_f64()))
    };
    let ((raced, raced_s), (whole, whole_s)) = (by(false)?, by(true)?);
    let order = |found: &PruneFound| found.steps.iter().map(|step| step.removed).collect::<Vec<_>>();
    let same = order(&raced) == order(&whole);
    let share = raced.flops_layers as f64 / raced.flops_layers_full as f64;
    let figures = vec![
        ("raced", 1e3 * raced_s),
        ("whole", 1e3 * whole_s),
        ("time", raced_s / whole_s),
        ("layers' operations", share),
        ("of those that skip", raced.flops_layers as f64 / whole.flops_layers as f64),
    ];
    let what = format!("prune {} of {} sublayers", raced.steps.len(), 2 * engine.model.spec.n_layers());
    let target = ("same order, at most 0.25 of the operations".into(), same && share <= 0.25);
    Ok(Row { what, figures, unit: "ms", target: Some(target) })
}

/// Every route of big and small FFNs; the time until the last one is done.
fn routed(engine: &mut Engine, tokens: &Input) -> Result<Row> {
    let mut times = Vec::with_capacity(REPEATS);
    let (mut fewer, mut routes) = (0.0, 0);
    engine.small(&Surrogate::default(), &never)?;
    for _ in 0..REPEATS {
        let begin = Instant::now();
        let mut run = OracleRun::new(Case::new(engine, tokens.clone()), OracleAsk::default())?;
        while !run.routes_done() {
            run.step(engine, &never)?;
        }
        times.push(1e3 * begin.elapsed().as_secs_f64());
        finish(&mut run, engine, &never)?;
        if let OracleData::Every(found) = run.findings().data {
            fewer = found.flops_layers_full as f64 / found.flops_layers as f64;
            routes = found.patterns;
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
    let median = at(REPEATS / 2);
    let figures = vec![
        ("median", median),
        ("least", at(0)),
        ("most", at(REPEATS - 1)),
        ("times fewer operations", fewer),
    ];
    let target = ("under 1 s, at least 4 times fewer operations".into(), median < 1000.0 && fewer >= 4.0);
    Ok(Row {
        what: format!("{routes} routes x {} tokens", tokens.len()),
        figures,
        unit: "ms",
        target: Some(target),
    })
}

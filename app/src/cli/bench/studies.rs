//! What studies cost beside doing each of their cells as a pass of its own.

use std::path::Path;
use std::time::Instant;

use sluice_core::Result;
use sluice_core::engine::{self, Opened, never};
use sluice_core::model::Input;
use sluice_core::plan::{Lane, Plan};
use sluice_core::study::{Distance, Method, PruneAsk, Pruning, every_route, pieces_at_most, prune, reading};
use sluice_core::train::world::World;

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
    let text = match text {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| sluice_core::Error::Input(format!("{}: {error}", path.display())))?,
        ),
        None => None,
    };
    let length = LENGTH.min(engine.model.spec.context);
    let ids = reading(&engine, World::of(&checkpoint).as_ref(), text.as_deref(), SAMPLES * length)?;
    let mut rows = vec![pruned(&engine, &pieces_at_most(&ids, SAMPLES, length)?)?];
    if engine.model.spec.n_layers() <= 12 {
        let tokens: Input = ids.iter().take(ROUTED).copied().collect::<Vec<_>>().into();
        rows.push(routed(&mut engine, &tokens)?);
    }
    Ok(rows)
}

/// A quarter of the sublayers removed: raced, and with a whole pass per candidate.
fn pruned(engine: &engine::Engine, samples: &[Input]) -> Result<Row> {
    let by = |method| -> Result<Pruning> {
        let ask = PruneAsk {
            samples,
            distance: Distance::Jsd,
            removals: engine.model.spec.n_layers() / 2,
            spare_front: 0.0,
            method,
        };
        prune(engine, &ask, &mut |_| {}, &never)
    };
    let (raced, whole) = (by(Method::Raced)?, by(Method::Whole)?);
    let order = |found: &Pruning| found.steps.iter().map(|step| step.removed).collect::<Vec<_>>();
    let same = order(&raced) == order(&whole);
    let share = raced.flops_layers as f64 / raced.flops_layers_full as f64;
    let figures = vec![
        ("raced", 1e3 * raced.seconds),
        ("whole", 1e3 * whole.seconds),
        ("time", raced.seconds / whole.seconds),
        ("layers' operations", share),
        ("of those that skip", raced.flops_layers as f64 / whole.flops_layers as f64),
    ];
    let what = format!("prune {} of {} sublayers", raced.steps.len(), 2 * engine.model.spec.n_layers());
    let target = ("same order, at most 0.25 of the operations".into(), same && share <= 0.25);
    Ok(Row { what, figures, unit: "ms", target: Some(target) })
}

/// Every route of big and small FFNs.
fn routed(engine: &mut engine::Engine, tokens: &Input) -> Result<Row> {
    let lanes = [Lane::Small, Lane::Big];
    let mut times = Vec::with_capacity(REPEATS);
    let (mut fewer, mut routes) = (0.0, 0);
    for _ in 0..REPEATS {
        let begin = Instant::now();
        let found = every_route(engine, &Plan::default(), tokens, &lanes, &mut |_| {}, &never)?;
        let whole = begin.elapsed().as_secs_f64();
        times.push(1e3 * found.seconds.min(whole));
        fewer = found.flops_layers_full as f64 / found.flops_layers as f64;
        routes = found.patterns;
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

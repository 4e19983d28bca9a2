//! Logit lens: the final norm and the unembedding applied to the stream after every block (nostalgebraist 2020).

use std::sync::Arc;

use rayon::prelude::*;

use super::activations::side_name;
use super::{Runs, Side, map, numbers};
use crate::engine::{Cancelled, Engine, RunSize};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Plot, Scale};
use crate::metric;

/// The logit lens.
const LENS: FigureId = FigureId("lens");

/// Rows whose logits are held at a time.
const CHUNK: usize = 32;

pub(super) fn compute(engine: &Engine, runs: &Runs, side: Side, cancelled: Cancelled) -> Result<Arc<Figure>> {
    let run = runs.side(side);
    RunSize::new(&engine.model.spec, CHUNK).with_all_logits().check()?;
    let (mut values, mut text) = (Vec::new(), Vec::new());
    // Boundaries 2, 4 … are the streams after blocks 0, 1 …
    for number in (1..=engine.model.spec.n_layers()).map(|block| 2 * block) {
        let x = engine.boundary(run, number)?;
        for start in (0..run.tokens.len()).step_by(CHUNK) {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let rows = x.narrow(0, start, CHUNK.min(run.tokens.len() - start))?;
            let rows: Vec<Vec<f32>> = engine.model.lens(&rows)?.to_vec2()?;
            let best: Vec<(u32, f32)> = rows.par_iter().map(|row| most_likely(row)).collect();
            values.extend(best.iter().map(|(_, p)| p));
            text.extend(best.iter().map(|(id, _)| engine.token(*id).text));
        }
    }
    let layers = numbers(engine.model.spec.n_layers());
    let scale = Scale::Sequential { min: 0.0, max: 1.0 };
    let mut map = map("Layer", layers, runs.labels(), values, scale, "p of the top token");
    map.text = Some(text.into());
    let notes = vec![format!("top token at every layer, final norm applied; {}", side_name(side))];
    Ok(runs.figure(LENS, super::side_slug(side), "Logit lens", Plot::Map(map), notes))
}

/// The top token of a row of logits with its probability.
fn most_likely(row: &[f32]) -> (u32, f32) {
    let best = metric::top_k(row, 1).first().map_or(0, |(id, _)| *id);
    (best, metric::probability(row, best))
}

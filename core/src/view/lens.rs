//! Logit lens: the final norm and the unembedding applied to the stream after every block (nostalgebraist 2020).

use std::sync::Arc;

use super::activations::side_name;
use super::{Runs, map, numbers, token};
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::figure::{Figure, Plot, Scale};
use crate::metric;
use crate::worker::Side;

pub(super) fn compute(engine: &Engine, runs: &Runs, side: Side, cancelled: Cancelled) -> Result<Arc<Figure>> {
    let (mut values, mut text) = (Vec::new(), Vec::new());
    // Boundaries 2, 4 … are the streams after blocks 0, 1 …
    for x in runs.side(side).boundaries.iter().skip(2).step_by(2) {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let rows: Vec<Vec<f32>> = engine.model.lens(x)?.to_vec2()?;
        for row in rows {
            let log_p = metric::log_softmax(&row);
            let (id, best) = metric::top_k(&log_p, 1).first().copied().unwrap_or((0, f32::NAN));
            values.push(best.exp());
            text.push(token(engine, id).text);
        }
    }
    let layers = numbers(engine.model.spec.n_layers());
    let scale = Scale::Sequential { min: 0.0, max: 1.0 };
    let mut map = map("Layer", layers, runs.labels(), values, scale, "p of the top token");
    map.text = Some(text.into());
    let notes = vec![format!("top token at every layer, final norm applied; {}", side_name(side))];
    Ok(runs.figure("lens", "Logit lens", Plot::Map(map), notes))
}

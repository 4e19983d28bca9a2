//! Per prompt token: how surprising it was, how much the plan changes what follows, and what was expected instead.

use super::{Runs, token};
use crate::engine::{Cancelled, Engine};
use crate::error::Result;
use crate::figure::{Cell, Plot, Table};
use crate::metric;
use crate::worker::Strip;

/// Predictions shown on hover.
const TOP: usize = 5;

pub(super) fn compute(engine: &Engine, runs: &Runs, cancelled: Cancelled) -> Result<Strip> {
    let base: Vec<Vec<f32>> = engine.all_logits(&runs.base, cancelled)?.to_vec2()?;
    let plan: Vec<Vec<f32>> = engine.all_logits(&runs.plan, cancelled)?.to_vec2()?;
    let ids = &runs.base.tokens;
    let surprisal = |rows: &[Vec<f32>]| -> Vec<f32> {
        let rest = rows.iter().zip(ids.iter().skip(1)).map(|(row, &id)| metric::surprisal(row, id));
        std::iter::once(f32::NAN).chain(rest).collect()
    };
    let kl =
        |(a, b): (&Vec<f32>, &Vec<f32>)| metric::kl(&metric::log_softmax(a), &metric::log_softmax(b)) as f32;
    let top = |row: &Vec<f32>| {
        let log_p = metric::log_softmax(row);
        metric::top_k(&log_p, TOP).into_iter().map(|(id, x)| (token(engine, id), x.exp())).collect()
    };
    let (surprisal_base, surprisal_plan) = (surprisal(&base), surprisal(&plan));
    let kl: Vec<f32> = base.iter().zip(&plan).map(kl).collect();
    let cells = runs.tokens.iter().zip(&surprisal_base).zip(&surprisal_plan).zip(&kl);
    let table = Table {
        columns: ["Token", "Surprisal base (nats)", "Surprisal plan (nats)", "KL after (nats)"]
            .map(Into::into)
            .into(),
        rows: cells
            .map(|(((token, a), b), kl)| {
                let number = |x: &f32| Cell::Number(f64::from(*x));
                vec![Cell::Text(token.text.clone()), number(a), number(b), number(kl)]
            })
            .collect(),
    };
    let figure = runs.figure("tokens", "Prompt tokens", Plot::Table(table), Vec::new());
    Ok(Strip { surprisal_base, surprisal_plan, kl, top: plan.iter().map(top).collect(), figure })
}

//! Per prompt token: how surprising it was, how much the plan changes what follows, and what was expected instead.

use rayon::prelude::*;

use super::{Runs, Strip};
use crate::engine::{Cancelled, Engine, Run, Token};
use crate::error::Result;
use crate::figure::{Cell, FigureId, Plot, Table};
use crate::metric;

/// The numbers of the token strip.
const TOKENS: FigureId = FigureId("tokens");

/// Predictions shown on hover.
const TOP: usize = 5;

/// Rows whose logits are held at a time.
const CHUNK: usize = 32;

/// What one row of logits says.
struct Row {
    surprisal: [f32; 2],
    kl: f32,
    top: Vec<(u32, f32)>,
}

pub(super) fn compute(engine: &Engine, runs: &Runs, cancelled: Cancelled) -> Result<Strip> {
    let ids = &runs.base.tokens;
    let mut rows: Vec<Row> = Vec::with_capacity(ids.len());
    for start in (0..ids.len()).step_by(CHUNK) {
        let len = CHUNK.min(ids.len() - start);
        let logits = |run: &Run| engine.rows_logits(run, start, len, cancelled);
        let base = logits(&runs.base)?;
        // The same run twice: the plan is empty.
        let plan =
            if std::sync::Arc::ptr_eq(&runs.base, &runs.plan) { None } else { Some(logits(&runs.plan)?) };
        let plan = plan.as_ref().unwrap_or(&base);
        let chunk = base.par_iter().zip(plan).enumerate();
        rows.par_extend(chunk.map(|(i, (base, plan))| row(base, plan, ids.get(start + i + 1).copied())));
    }
    let before = |side: usize| -> Vec<f32> {
        let known = rows.iter().take(ids.len().saturating_sub(1));
        let values = std::iter::once(f32::NAN).chain(known.map(|row| row.surprisal[side]));
        // Nothing predicts a part of a picture: its token's id stands for all of them.
        let value = |(x, token): (f32, &Token)| if token.patch.is_some() { f32::NAN } else { x };
        values.zip(runs.tokens.iter()).map(value).collect()
    };
    let (surprisal_base, surprisal_plan) = (before(0), before(1));
    let kl: Vec<f32> = rows.iter().map(|row| row.kl).collect();
    let top = |row: &Row| row.top.iter().map(|&(id, p)| (engine.token(id), p)).collect();
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
    let figure = runs.figure(TOKENS, "", "Prompt tokens", Plot::Table(table), Vec::new());
    Ok(Strip { surprisal_base, surprisal_plan, kl, top: rows.iter().map(top).collect(), figure })
}

fn row(base: &[f32], plan: &[f32], next: Option<u32>) -> Row {
    let (base, plan) = (metric::log_softmax(base), metric::log_softmax(plan));
    let surprisal = |log_p: &[f32]| next.and_then(|id| log_p.get(id as usize)).map_or(f32::NAN, |x| -x);
    Row {
        surprisal: [surprisal(&base), surprisal(&plan)],
        kl: metric::kl(&base, &plan) as f32,
        top: metric::top_k(&plan, TOP).into_iter().map(|(id, x)| (id, x.exp())).collect(),
    }
}

//! Next-token distributions after one position, base versus plan.

use super::{NextRow, NextTokens, Runs};
use crate::engine::{Answer, Engine, Run};
use crate::error::{Error, Result};
use crate::figure::{Cell, FigureId, Plot, Table};
use crate::metric;

/// The table of next tokens.
const NEXT_TOKENS: FigureId = FigureId("next-tokens");

pub(super) fn compute(
    engine: &Engine,
    runs: &Runs,
    position: Option<usize>,
    top: usize,
    answer: &Answer,
) -> Result<NextTokens> {
    let position = position.unwrap_or(runs.tokens.len().saturating_sub(1));
    let base = metric::log_softmax(&logits(engine, &runs.base, position)?);
    let plan = metric::log_softmax(&logits(engine, &runs.plan, position)?);
    let mut ids: Vec<u32> = metric::top_k(&plan, top).into_iter().map(|(id, _)| id).collect();
    for (id, _) in metric::top_k(&base, top) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let answer = engine.answer_id(answer, &base)?;
    if !ids.contains(&answer) {
        ids.push(answer);
    }
    let p = |row: &[f32], id: u32| row.get(id as usize).map_or(f32::NAN, |x| x.exp());
    let row = |id: u32| NextRow { token: engine.token(id), base: p(&base, id), plan: p(&plan, id) };
    let rows: Vec<NextRow> = ids.iter().map(|&id| row(id)).collect();
    let kl = metric::kl(&base, &plan);
    let table = Table {
        columns: ["Token", "Id", "p base (%)", "p plan (%)"].map(Into::into).into(),
        rows: rows
            .iter()
            .map(|row| {
                vec![
                    Cell::Text(row.token.text.clone()),
                    Cell::Number(f64::from(row.token.id)),
                    Cell::Number(100.0 * f64::from(row.base)),
                    Cell::Number(100.0 * f64::from(row.plan)),
                ]
            })
            .collect(),
    };
    let after = runs.tokens.get(position).map_or("", |token| token.text.as_str());
    let notes = vec![format!("after position {position} ({after}); KL(base || plan) = {kl:.4} nats")];
    let last = position + 1 == runs.tokens.len();
    let detail = if last { String::new() } else { format!("position-{position}") };
    let figure = runs.figure(NEXT_TOKENS, &detail, "Next token", Plot::Table(table), notes);
    Ok(NextTokens { position, rows, answer: row(answer), kl, figure })
}

/// Logits after one position of a run: kept for the last, else one row of the unembedding.
fn logits(engine: &Engine, run: &Run, position: usize) -> Result<Vec<f32>> {
    if position + 1 == run.tokens.len() {
        return Ok(run.last.clone());
    }
    if position >= run.tokens.len() {
        return Err(Error::Input(format!("the prompt has no position {position}")));
    }
    engine.row_logits(run, position)
}

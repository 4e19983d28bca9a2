//! Leave one out: every sublayer in turn adds nothing to the stream, and the output moves by so much (the first step of
//! FinerCut, arXiv 2405.18218, algorithm 1, with KL as the distance).

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::restore::MOST_CELLS;
use crate::engine::{Cancelled, Engine, RunSize};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Input, Logits};
use crate::plan::{Part, Plan, Sublayer};
use crate::protocol::Answer;
use crate::view;

/// What leaving out each sublayer does.
#[derive(Clone, Debug, Serialize)]
pub struct Ablation {
    /// The followed token.
    pub answer: u32,
    /// Its logit with nothing left out.
    pub logit: f32,
    /// In the order of the model.
    pub sublayers: Vec<LeftOut>,
    /// Floating-point operations in the blocks, of the base run under the plan and of all branches.
    pub flops_layers: u64,
    /// The same in the unembedding.
    pub flops_unembedding: u64,
    /// In the blocks, had every candidate been a full pass of its own (what a skipped sublayer would cost included).
    pub flops_layers_full: u64,
    /// In the unembedding, for the same.
    pub flops_unembedding_full: u64,
    /// Base run and branches.
    pub seconds: f64,
}

/// A sublayer left out.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// Block index from 0.
    pub layer: usize,
    /// Attention or FFN.
    pub kind: Part,
    /// KL(base || without) after the last position, nats.
    pub kl: f64,
    /// Its mean over positions, where all were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_mean: Option<f64>,
    /// The followed token's logit after the last position.
    pub logit: f32,
}

/// Leave out every sublayer in turn, on top of `plan`.
pub fn ablate(
    engine: &mut Engine,
    plan: &Plan,
    answer: &Answer,
    tokens: &Input,
    all_positions: bool,
    cancelled: Cancelled,
) -> Result<Ablation> {
    let begin = Instant::now();
    let schedule = engine.schedule(plan, tokens, cancelled)?;
    let base = engine.run_schedule(tokens, Arc::clone(&schedule), cancelled)?;
    let answer = if *answer == Answer::Top && !plan.active().is_empty() {
        let unmodified = engine.base(tokens, cancelled)?;
        view::answer(engine, answer, &unmodified.last)?
    } else {
        view::answer(engine, answer, &base.last)?
    };
    let (layers, len) = (engine.model.spec.n_layers(), tokens.len());
    let mut work = base.work;
    let rows: Vec<Vec<f32>> =
        if all_positions { engine.rows_logits(&base, 0, len, cancelled)? } else { vec![base.last.clone()] };
    if all_positions {
        work.unembedding += base.work.unembedding * len as u64;
    }
    let base_log_p: Vec<Vec<f32>> = rows.iter().map(|row| metric::log_softmax(row)).collect();
    let (logits, per_branch) = if all_positions { (Logits::All, len) } else { (Logits::Last, 1) };
    // Every row of logits is as long as the vocabulary.
    let most = if all_positions { MOST_CELLS } else { engine.rows_at_once() };
    let together = (most / len.max(1)).max(1);
    RunSize::new(&engine.model.spec, together * per_branch).with_all_logits().check()?;
    let mut sublayers = Vec::with_capacity(2 * layers);
    let candidates: Vec<usize> = (0..2 * layers).collect();
    for group in candidates.chunks(together) {
        let mut branches = Vec::with_capacity(group.len());
        for &candidate in group {
            // After everything else: what the plan adds there is left out too.
            let schedule = Arc::new(schedule.zeroing(Sublayer::of(candidate).output()));
            branches.push(engine.branch_at(&base, schedule, candidate, 0)?);
        }
        let output = engine.branches(&base, branches, logits)?.run(cancelled)?;
        work += output.work;
        let rows: Vec<Vec<f32>> =
            output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?.to_vec2()?;
        for (&candidate, rows) in group.iter().zip(rows.chunks(per_branch)) {
            let kls: Vec<f64> = rows
                .iter()
                .zip(&base_log_p)
                .map(|(row, base)| metric::kl(base, &metric::log_softmax(row)))
                .collect();
            let Sublayer { layer, part } = Sublayer::of(candidate);
            let last = rows.last().and_then(|row| row.get(answer as usize));
            sublayers.push(LeftOut {
                layer,
                kind: part,
                kl: kls.last().copied().unwrap_or(f64::NAN),
                kl_mean: all_positions.then(|| kls.iter().sum::<f64>() / kls.len().max(1) as f64),
                logit: last.copied().unwrap_or(f32::NAN),
            });
        }
    }
    let per_row = base.work.unembedding;
    Ok(Ablation {
        answer,
        logit: base.last.get(answer as usize).copied().unwrap_or(f32::NAN),
        sublayers,
        flops_layers: work.layers,
        flops_unembedding: work.unembedding,
        flops_layers_full: base.work.layers * 2 * layers as u64,
        flops_unembedding_full: per_row * (2 * layers * per_branch) as u64,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

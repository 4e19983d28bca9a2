//! What a trace found: the grid as numbers and as a map, and what a cell offers to the plan.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{AnswerScore, Component, LITTLE, PATCH_NOISE, TraceRun, hook, name, slug};
use crate::engine::Token;
use crate::error::Result;
use crate::figure::{Axis, Figure, FigureId, Map, Plot, Scale};
use crate::method::{Fact, Found, Offer, Stepper as _, Steps, raw};
use crate::metric;
use crate::plan::{Change, Corrupt, Item, Patch, Positions, Source, Target};
use crate::site::Site;

/// Normalised recovery, layer x token.
const TRACE_MAP: FigureId = FigureId("trace");

/// Findings of a trace; means over its samples of noise.
#[derive(Clone, Debug, Serialize)]
pub struct TraceFound {
    /// The followed token.
    pub answer: u32,
    /// Of the clean run.
    pub clean: AnswerScore,
    /// Of the corrupted runs.
    pub corrupted: AnswerScore,
    /// Per layer and position; NaN = not computed yet.
    pub grid: Cells,
    /// The same to first order, where it was estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Rows that went through a sublayer, summed over sublayers.
    pub rows_computed: u64,
    /// The same for a full pass per cell, and the clean and corrupted runs.
    pub rows_full: u64,
    /// Floating-point operations in the blocks and in the unembedding.
    pub flops: [u64; 2],
    /// Normalised recovery, layer x token.
    #[serde(skip)]
    pub figure: Arc<Figure>,
    /// P(answer) as text for facts.
    #[serde(skip)]
    followed: String,
    /// The noise, where a plan can have it.
    #[serde(skip)]
    corruption: Option<Item>,
    #[serde(skip)]
    restored: Component,
}

/// `[L][T]`
#[derive(Clone, Debug, Serialize)]
pub struct Cells {
    /// Logits.
    pub logit: Vec<Vec<f32>>,
    /// Probabilities.
    pub prob: Vec<Vec<f32>>,
}

/// A grid from one backward pass a sample.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// ln p(answer), `[L][T]`.
    pub log_prob: Vec<Vec<f32>>,
    /// Spearman's rank correlation with the exact probabilities; NaN until these are there.
    pub rank_agreement: f64,
}

impl Found for TraceFound {
    fn facts(&self) -> Vec<Fact> {
        let prob = |which: &str, score: AnswerScore| {
            Fact::new(format!("P({}) {which}", self.followed), 100.0 * f64::from(score.prob), "%")
        };
        let mut facts = vec![prob("clean", self.clean), prob("corrupted", self.corrupted)];
        let rows = self.grid.prob.iter().enumerate();
        let cells = rows.flat_map(|(l, row)| row.iter().enumerate().map(move |(t, p)| (*p, l, t)));
        let best = cells.filter(|cell| !cell.0.is_nan()).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((p, layer, position)) = best {
            let name = format!("P restored at layer {layer}, position {position}, the most");
            facts.push(Fact::new(name, 100.0 * f64::from(p), "%"));
        }
        if let Some(estimate) = &self.estimate {
            facts.push(Fact::new("rank agreement of the first-order estimate", estimate.rank_agreement, ""));
        }
        facts
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        vec![Arc::clone(&self.figure)]
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }

    fn offers(&self) -> Vec<Offer> {
        let offer = |item: &Item| Offer {
            label: "Corruption into the plan".into(),
            hint: "the noise alone: the plan's run is then the corrupted one".into(),
            items: vec![item.clone()],
            replaces: &[],
        };
        self.corruption.iter().map(offer).collect()
    }

    /// The noise, and the unmodified run's value at the cell's layer and token.
    fn offer_at(&self, _: FigureId, layer: usize, position: usize) -> Option<Offer> {
        let patch = Change::Patch(Patch {
            target: Target::site(Site::block(layer, hook(self.restored))),
            positions: Positions::At(vec![position]),
            source: Source::Base,
            from_position: None,
        });
        Some(Offer {
            label: format!("Restore layer {layer} at position {position}"),
            hint: "puts the corruption and the cell's restoration into the plan".into(),
            items: vec![self.corruption.clone()?, patch.into()],
            replaces: &[],
        })
    }
}

/// Findings so far.
pub(super) fn found(run: &TraceRun) -> TraceFound {
    let (kept, len) = (&run.kept, run.shown.len().max(1));
    let samples = run.samples();
    let counts: Vec<f64> = kept
        .done
        .iter()
        .map(|done| (kept.sample.min(samples) + usize::from(*done && kept.sample < samples)) as f64)
        .collect();
    let mean = |sums: &[f64]| -> Vec<f32> {
        let value = |(sum, count): (&f64, &f64)| if *count > 0.0 { (sum / count) as f32 } else { f32::NAN };
        sums.iter().zip(&counts).map(value).collect()
    };
    let (logits, probs) = (mean(&kept.logits), mean(&kept.probs));
    let begun = (kept.sample + 1).min(samples) as f64;
    let of_corrupted = |which: usize| kept.corrupted.get(which).map_or(f32::NAN, |sum| (sum / begun) as f32);
    let corrupted = AnswerScore { logit: of_corrupted(0), prob: of_corrupted(1) };
    let clean = run.patcher.clean;
    let recovery = |p: f32| metric::recovery(p, corrupted.prob, clean.prob);
    let rows = |values: &[f32]| values.chunks(len).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let estimated: Vec<f32> = kept.estimated.iter().map(|sum| (sum / begun) as f32).collect();
    let agreement = if run.is_done() { metric::rank_agreement(&estimated, &probs) } else { f64::NAN };
    let exact: Vec<f32> = probs.iter().map(|&p| recovery(p)).collect();
    // To first order a probability may pass 1.
    let estimates: Vec<f32> = estimated.iter().map(|log_p| recovery(log_p.min(0.0).exp())).collect();
    let work = run.patcher.work;
    let plain = run.plan.active().is_empty() && run.noise.is_empty();
    TraceFound {
        answer: run.patcher.answer,
        clean,
        corrupted,
        estimate: (!estimated.is_empty())
            .then(|| Estimate { log_prob: rows(&estimated), rank_agreement: agreement }),
        grid: Cells { logit: rows(&logits), prob: rows(&probs) },
        rows_computed: work.rows,
        rows_full: (1 + samples * (1 + kept.done.len())) as u64 * (2 * run.layers * len) as u64,
        flops: [work.layers, work.unembedding],
        figure: Arc::new(figure(run, (clean, corrupted), &exact, &estimates, agreement)),
        followed: run.answer.text.clone(),
        // A plan's patch takes the unmodified run: the same as the clean run without a plan alone.
        corruption: plain.then(|| {
            let positions = Positions::At(run.corrupt.clone());
            Change::Corrupt(Corrupt::embeddings(positions, run.ask.sigma, run.ask.seed)).into()
        }),
        restored: run.ask.restore,
    }
}

fn figure(
    run: &TraceRun,
    (clean, corrupted): (AnswerScore, AnswerScore),
    exact: &[f32],
    estimates: &[f32],
    agreement: f64,
) -> Figure {
    let shown = |(exact, estimate): (&f32, &f32)| if exact.is_nan() { *estimate } else { *exact };
    let partly = !run.is_done() && !estimates.is_empty();
    let values: Vec<f32> =
        if partly { exact.iter().zip(estimates).map(shown).collect() } else { exact.to_vec() };
    let labels = |(position, token): (usize, &Token)| {
        let mark = if run.corrupt.contains(&position) { "*" } else { "" };
        format!("{}{mark}", token.text)
    };
    let map = Map {
        rows: Axis { name: "Layer".into(), labels: (0..run.layers).map(|layer| layer.to_string()).collect() },
        cols: Axis {
            name: "Token (* corrupted)".into(),
            labels: run.shown.iter().enumerate().map(labels).collect(),
        },
        values: values.into(),
        scale: Scale::Diverging { max_abs: 1.0 },
        quantity: "normalised recovery".into(),
        text: None,
    };
    let title = format!("Causal trace of \"{}\", {}", run.answer.text, name(run.ask.restore));
    Figure {
        id: TRACE_MAP,
        short: "Trace".into(),
        name: "trace".into(),
        detail: slug(run.ask.restore).into(),
        title: if partly { title + ", partly estimated" } else { title },
        plot: Plot::Map(map),
        notes: notes(run, (clean.prob, corrupted.prob), exact, agreement),
        provenance: run.provenance.clone(),
    }
}

fn notes(run: &TraceRun, (clean, corrupted): (f32, f32), exact: &[f32], agreement: f64) -> Vec<String> {
    let noise = match run.noise.len() {
        0 => format!("noise {} σ of the embeddings, one sample, seed {}", run.ask.sigma, run.ask.seed),
        samples => format!("noise from a file, mean over {samples} samples"),
    };
    let layers = match run.ask.window {
        1 => "one layer's".to_owned(),
        window => format!("{window} layers'"),
    };
    let mut notes = vec![
        format!("P(answer): {clean:.4} clean, {corrupted:.4} corrupted; {noise}"),
        format!(
            "restored: {layers} {} at one token; 0 = nothing, 1 = all of the drop comes back",
            name(run.ask.restore)
        ),
    ];
    let is_patch = |&position: &usize| run.shown.get(position).is_some_and(|token| token.patch.is_some());
    if run.corrupt.iter().any(is_patch) {
        notes.push(PATCH_NOISE.into());
    }
    if !run.plan.active().is_empty() {
        notes.push("clean and corrupted runs are both under the plan".into());
    }
    let drop = clean - corrupted;
    if drop != 0.0 && drop < LITTLE {
        let what = if drop < 0.0 { "rose" } else { "fell" };
        let by = drop.abs();
        notes.push(format!("the answer's probability {what} by {by:.4}: recoveries of so little are noise"));
    }
    let Steps { done, all, .. } = run.progress();
    if !run.kept.estimated.is_empty() {
        notes.push(match done < all {
            true => format!(
                "first-order estimates (one backward pass, attribution patching) in {} of {all} cells; exact values \
                 replace them",
                all - done
            ),
            false => format!(
                "a first-order estimate stood here before; it ordered the cells like the exact values with a rank \
                 correlation of {agreement:.2}"
            ),
        });
    }
    if exact.iter().any(|x| x.abs() > 1.0) {
        notes.push("colours end at ±1, values do not".into());
    }
    if drop == 0.0 {
        notes.push("n/a: the corruption did not change the answer's probability".into());
    }
    notes
}

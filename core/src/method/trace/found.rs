//! What a trace found: the grid as numbers and as a map, and what a cell offers to the plan.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::over;
use super::{AnswerScore, Component, LITTLE, PATCH_NOISE, Shown, TraceRun, hook, name, slug};
use crate::engine::Token;
use crate::error::Result;
use crate::figure::{Axis, Figure, FigureId, Map, Plot, Scale};
use crate::method::{Fact, Found, Measured, Offer, Stepper as _, WARNING, raw};
use crate::metric;
use crate::plan::{Change, Corrupt, Item, Patch, Positions, Source, Target};
use crate::site::Site;

/// Normalised recovery, layer x token.
const TRACE_MAP: FigureId = FigureId("trace");

/// Findings of a trace; means over its draws of noise that are whole, or of the first as far as it is.
#[derive(Clone, Debug, Serialize)]
pub struct TraceFound {
    /// The followed token.
    pub answer: u32,
    /// Of the clean run.
    pub clean: AnswerScore,
    /// Of the corrupted runs.
    pub corrupted: AnswerScore,
    /// Its standard deviation over the draws; NaN of one.
    pub corrupted_spread: AnswerScore,
    /// Draws that the means are over; 0 while the first is under way.
    pub seeds: usize,
    /// The corrupted run of each of them.
    pub draws: Vec<AnswerScore>,
    /// Per layer and position; NaN = not computed yet.
    pub grid: Cells,
    /// Standard deviations over the draws; NaN of one.
    pub spread: Cells,
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
    /// 95 % of P(answer) in the corrupted runs, and of the cell with the highest.
    #[serde(skip)]
    intervals: [Option<[f64; 2]>; 2],
    /// The noise, where a plan can have it.
    #[serde(skip)]
    corruption: Option<Item>,
    #[serde(skip)]
    restored: Component,
    /// Corrupted positions, ascending.
    #[serde(skip)]
    corrupt: Vec<usize>,
    /// The clean run's most likely token is the followed one.
    #[serde(skip)]
    said: bool,
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
    /// Spearman's rank correlation with the exact probabilities over the cells that can change: those that the corruption
    /// reaches and that reach the last token. NaN until these are there.
    pub rank_agreement: f64,
}

impl Found for TraceFound {
    fn facts(&self) -> Vec<Fact> {
        let percent = |name: String, p: f32, interval: Option<[f64; 2]>| Fact {
            low: interval.map(|ends| 100.0 * ends[0]),
            high: interval.map(|ends| 100.0 * ends[1]),
            ..Fact::new(name, 100.0 * f64::from(p), "%")
        };
        let [of_corrupted, of_best] = self.intervals;
        let followed = &self.followed;
        let mut facts = vec![
            percent(format!("P({followed}) clean"), self.clean.prob, None),
            percent(format!("P({followed}) corrupted"), self.corrupted.prob, of_corrupted),
        ];
        facts.extend(change_facts(followed, self.corrupted.prob - self.clean.prob));
        if let Some((cell, p)) = best(&self.grid.prob) {
            let width = self.grid.prob.first().map_or(1, Vec::len).max(1);
            let (layer, position) = (cell / width, cell % width);
            facts.push(percent(format!("P({followed}) restored, the most"), p, of_best));
            facts.push(Fact::new("layer where the most is restored", layer as f64, ""));
            facts.push(Fact::new("position where the most is restored", position as f64, ""));
        }
        if let Some(agreement) = self.estimate.as_ref().map(|e| e.rank_agreement).filter(|a| !a.is_nan()) {
            facts.push(Fact::new("rank agreement of the first-order estimate", agreement, ""));
        }
        facts.push(Fact::new("draws of noise", self.seeds as f64, "draws"));
        facts
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        vec![Arc::clone(&self.figure)]
    }

    fn measured(&self) -> Measured {
        if !self.said {
            // As in ROME's own code.
            return Err("the clean run's most likely token is another one".into());
        }
        Ok(over::measured(&self.grid.prob, &self.corrupt, self.clean.prob, self.corrupted.prob))
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }

    fn offers(&self) -> Vec<Offer> {
        let offer = |item: &Item| Offer {
            label: "Corruption into the plan".into(),
            hint: "the noise of the first seed alone: the plan's run is then that corrupted one".into(),
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

/// How far the corruption changed the answer's probability, under one name whatever came out; and a warning where it did
/// not fall by much.
pub(in crate::method) fn change_facts(followed: &str, change: f32) -> impl Iterator<Item = Fact> {
    let points = 100.0 * f64::from(change);
    let fact = Fact::new(format!("change of P({followed})"), points, "points");
    // NaN of no draw is no result yet.
    let warning = (change > -LITTLE).then(|| {
        let name = format!(
            "{WARNING}recoveries are noise where P({followed}) falls by less than {:.0} points; it changed by",
            100.0 * LITTLE
        );
        Fact::new(name, points, "points")
    });
    std::iter::once(fact).chain(warning)
}

/// The cell with the highest value, and the value.
fn best(rows: &[Vec<f32>]) -> Option<(usize, f32)> {
    let cells = rows.iter().flatten().copied().enumerate().filter(|(_, p)| !p.is_nan());
    cells.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Findings so far.
pub(super) fn found(run: &TraceRun) -> TraceFound {
    let len = run.shown.len().max(1);
    let draws = run.draws.shown(run.is_whole());
    let (mean, spread) = (draws.cells(), draws.spread());
    let (clean, corrupted) = (run.patcher.clean, draws.corrupted());
    let recovery = |p: f32| metric::recovery(p, corrupted.prob, clean.prob);
    let estimated = draws.estimated();
    let probs: Vec<f32> = mean.iter().map(|cell| cell.prob).collect();
    let exact: Vec<f32> = probs.iter().map(|&p| recovery(p)).collect();
    let agreement = if run.is_done() { agreement(&estimated, &probs, &run.can_change) } else { f64::NAN };
    // To first order a probability may pass 1.
    let estimates: Vec<f32> = estimated.iter().map(|log_p| recovery(log_p.min(0.0).exp())).collect();
    let work = run.patcher.work;
    let plain = run.plan.active().is_empty() && run.noise.is_empty();
    let grid = Cells::new(&mean, len);
    let of_best = best(&grid.prob).and_then(|(cell, _)| draws.cell_interval(cell));
    let drawn = Drawn { draws, clean, corrupted, agreement, spread: &spread };
    TraceFound {
        answer: run.patcher.answer,
        clean,
        corrupted,
        corrupted_spread: draws.corrupted_spread(),
        seeds: draws.whole,
        draws: draws.draws.iter().map(|draw| draw.corrupted).collect(),
        estimate: (!estimated.is_empty()).then(|| Estimate {
            log_prob: estimated.chunks(len).map(<[f32]>::to_vec).collect(),
            rank_agreement: agreement,
        }),
        rows_computed: work.rows,
        rows_full: (1 + run.all_draws() * (1 + mean.len())) as u64 * (2 * run.layers * len) as u64,
        flops: [work.layers, work.unembedding],
        figure: Arc::new(figure(run, &drawn, &exact, &estimates)),
        followed: run.answer.quoted(),
        intervals: [draws.corrupted_interval(), of_best],
        grid,
        spread: Cells::new(&spread, len),
        // A plan's patch takes the unmodified run: the same as the clean run without a plan alone.
        corruption: plain.then(|| {
            let positions = Positions::At(run.corrupt.clone());
            Change::Corrupt(Corrupt::embeddings(positions, run.ask.sigma, run.ask.seed)).into()
        }),
        restored: run.ask.restore,
        corrupt: run.corrupt.clone(),
        said: run.patcher.said,
    }
}

impl Cells {
    fn new(cells: &[AnswerScore], len: usize) -> Self {
        let rows =
            |of: fn(&AnswerScore) -> f32| cells.chunks(len).map(|row| row.iter().map(of).collect()).collect();
        Self { logit: rows(|cell| cell.logit), prob: rows(|cell| cell.prob) }
    }
}

/// Rank correlation of an estimated grid with the exact one, over the cells that can change.
fn agreement(estimated: &[f32], probs: &[f32], can_change: &[bool]) -> f64 {
    let cells = estimated.iter().zip(probs).zip(can_change).filter(|(_, can)| **can);
    let (estimated, probs): (Vec<f32>, Vec<f32>) = cells.map(|((a, b), _)| (*a, *b)).unzip();
    metric::rank_agreement(&estimated, &probs)
}

/// What the draws came to, for the figure.
struct Drawn<'a> {
    draws: Shown<'a>,
    clean: AnswerScore,
    corrupted: AnswerScore,
    agreement: f64,
    spread: &'a [AnswerScore],
}

fn figure(run: &TraceRun, drawn: &Drawn, exact: &[f32], estimates: &[f32]) -> Figure {
    let shown = |(exact, estimate): (&f32, &f32)| if exact.is_nan() { *estimate } else { *exact };
    let partly = drawn.draws.whole == 0 && !estimates.is_empty();
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
    let title = format!("Causal trace of {}, {}", run.answer.quoted(), name(run.ask.restore));
    Figure {
        id: TRACE_MAP,
        short: "Trace".into(),
        name: "trace".into(),
        detail: slug(run.ask.restore).into(),
        title: if partly { title + ", partly estimated" } else { title },
        plot: Plot::Map(map),
        notes: notes(run, drawn, exact),
        provenance: run.provenance.clone(),
    }
}

fn notes(run: &TraceRun, drawn: &Drawn, exact: &[f32]) -> Vec<String> {
    let (clean, corrupted, draws) = (drawn.clean.prob, drawn.corrupted.prob, &drawn.draws);
    let noise = match run.noise.len() {
        0 => format!(
            "noise {} σ of the embeddings, {}",
            run.ask.sigma,
            draws.said(run.all_draws(), Some(run.ask.seed))
        ),
        samples => format!("noise from a file, {}", draws.said(samples, None)),
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
    if draws.whole > 1 {
        notes.push(spread_note(draws.corrupted_spread().prob, drawn.spread));
    }
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
    if run.draws.is_estimated() {
        let (done, all) = (run.kept.done.iter().filter(|done| **done).count(), run.kept.done.len());
        notes.push(match draws.whole {
            0 => format!(
                "first-order estimates (one backward pass, attribution patching) in {} of {all} cells; exact values \
                 replace them",
                all - done
            ),
            _ if drawn.agreement.is_nan() => "a first-order estimate stood here before".into(),
            _ => format!(
                "a first-order estimate stood here before; it ordered the cells that can change like the exact values with a \
                 rank correlation of {:.2}",
                drawn.agreement
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

/// How far draws of noise lie apart.
pub(in crate::method) fn spread_note(corrupted: f32, cells: &[AnswerScore]) -> String {
    let spread: Vec<f32> = cells.iter().map(|cell| cell.prob).filter(|spread| !spread.is_nan()).collect();
    let mean = spread.iter().sum::<f32>() / spread.len().max(1) as f32;
    let most = spread.iter().copied().fold(0.0, f32::max);
    format!(
        "standard deviation over the draws: {corrupted:.4} of P(answer) corrupted; of P(answer) with a cell restored {mean:.4} in \
         the mean, {most:.4} at most"
    )
}

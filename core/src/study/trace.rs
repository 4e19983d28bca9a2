//! Causal tracing (ROME, arXiv 2202.05262, section 2.1; FCCT, arXiv 2511.05923, equation 2): corrupt some tokens, restore
//! one component of the clean run at one layer and token, and see how much of the answer's probability comes back.
//! Window size 1 layer; one noise sample.

use std::sync::Arc;

use super::estimate::estimate;
use super::restore::{Batch, Case, Disturbance, Restorer, name, slug};
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::figure::{Axis, Figure, Map, Plot, Provenance, Scale};
use crate::metric;
use crate::model::Input;
use crate::protocol::{Token, Trace, TraceFindings};
use crate::view;

/// A drop of the answer's probability under which a trace says that there is little to bring back.
pub(super) const LITTLE: f32 = 0.1;

/// Operations of the two runs up to which a backward pass is done before the grid: it holds up whoever waits for a second or
/// two at most.
const MOST_ESTIMATED: u64 = 100_000_000_000;

/// What corrupting a part of a picture does.
pub const PATCH_NOISE: &str = "noise on the patch's rows of hook_embed, after the tower";

/// A trace under way.
pub struct TraceRun {
    trace: Trace,
    restorer: Restorer,
    shown: Arc<[Token]>,
    provenance: Provenance,
    values: Vec<f32>,
    /// Recoveries to first order, until the exact ones are there; empty where there are none.
    estimates: Vec<f32>,
    /// Cells taken up and cells done.
    next: usize,
    filled: usize,
    batch: Option<Batch>,
}

impl TraceRun {
    /// Do the clean and the corrupted run.
    pub fn new(
        engine: &mut Engine,
        trace: Trace,
        tokens: &Input,
        provenance: Provenance,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let case = Case {
            plan: &trace.plan,
            answer: &trace.answer,
            corrupt: &trace.corrupt,
            noise: Disturbance::Noise { sigma: trace.sigma, seed: trace.seed },
        };
        let restorer = Restorer::new(engine, &case, &[trace.component], tokens, cancelled)?;
        let estimates = match restorer.work.layers {
            work if work > MOST_ESTIMATED => Vec::new(),
            _ => match estimate(engine, &restorer, trace.component, cancelled) {
                // To first order a probability may pass 1.
                Ok(log_p) => log_p.into_iter().map(|x| restorer.recovery(x.min(0.0).exp())).collect(),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                // The exact grid does without.
                Err(_) => Vec::new(),
            },
        };
        Ok(Self {
            estimates,
            shown: view::tokens(engine, tokens),
            values: vec![f32::NAN; engine.model.spec.n_layers() * tokens.len()],
            next: 0,
            filled: 0,
            batch: None,
            trace,
            provenance,
            restorer,
        })
    }

    /// Cells done and cells in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.filled, self.values.len())
    }

    /// Whether every cell is there.
    pub fn is_done(&self) -> bool {
        self.filled >= self.values.len()
    }

    /// Advance by one sublayer of one batch of cells.
    pub fn step(&mut self, engine: &Engine) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.gather(engine)?,
        };
        if batch.is_empty() {
            return Ok(());
        }
        match batch.step(&mut self.restorer, engine)? {
            Some(cells) => cells.into_iter().for_each(|(cell, followed)| self.put(cell, followed.prob)),
            None => self.batch = Some(batch),
        }
        Ok(())
    }

    /// The next cells, deep layers first: they are cheap, and the picture fills soon.
    fn gather(&mut self, engine: &Engine) -> Result<Batch> {
        let (layers, len) = (engine.model.spec.n_layers(), self.restorer.tokens.len());
        let mut batch = self.restorer.batch(engine);
        while self.next < self.values.len() && batch.has_room() {
            let (layer, position) = (layers - 1 - self.next / len, self.next % len);
            let cell = layer * len + position;
            self.next += 1;
            if self.restorer.is_clean(&[position]) {
                self.put(cell, self.restorer.corrupted.prob);
            } else {
                batch.add(
                    &self.restorer,
                    engine,
                    cell,
                    (self.trace.component, layer..layer + 1, &[position]),
                )?;
            }
        }
        Ok(batch)
    }

    /// Fill a cell with the recovery of the answer's probability.
    fn put(&mut self, cell: usize, p: f32) {
        if let Some(value) = self.values.get_mut(cell) {
            *value = self.restorer.recovery(p);
        }
        self.filled += 1;
    }

    /// Exact values, and estimates where there are none yet.
    fn shown_values(&self) -> Vec<f32> {
        if self.is_done() || self.estimates.is_empty() {
            return self.values.clone();
        }
        let shown = |(exact, estimate): (&f32, &f32)| if exact.is_nan() { *estimate } else { *exact };
        self.values.iter().zip(&self.estimates).map(shown).collect()
    }

    /// The findings so far.
    pub fn findings(&self, engine: &Engine) -> TraceFindings {
        let (p_clean, p_corrupted) = (self.restorer.clean.prob, self.restorer.corrupted.prob);
        let mut notes = vec![
            format!(
                "P(answer): {p_clean:.4} clean, {p_corrupted:.4} corrupted; noise {} σ of the embeddings, one sample, seed {}",
                self.trace.sigma, self.trace.seed
            ),
            format!(
                "restored: one layer's {} at one token; 0 = nothing, 1 = all of the drop comes back",
                name(self.trace.component)
            ),
        ];
        let noisy = |&position: &usize| self.shown.get(position).is_some_and(|token| token.patch.is_some());
        if self.trace.corrupt.iter().any(noisy) {
            notes.push(PATCH_NOISE.into());
        }
        if !self.trace.plan.active().is_empty() {
            notes.push("clean and corrupted runs are both under the plan".into());
        }
        let drop = p_clean - p_corrupted;
        if drop != 0.0 && drop < LITTLE {
            notes.push(format!(
                "the answer's probability fell by {drop:.4} only: recoveries of so little are noise"
            ));
        }
        let (filled, all) = self.progress();
        if !self.estimates.is_empty() {
            notes.push(match self.is_done() {
                false => format!(
                    "first-order estimates (one backward pass, attribution patching) in {} of {all} cells; exact values \
                     replace them",
                    all - filled
                ),
                true => format!(
                    "a first-order estimate stood here before; it ordered the cells like the exact values with a rank \
                     correlation of {:.2}",
                    metric::rank_agreement(&self.estimates, &self.values)
                ),
            });
        }
        if self.values.iter().any(|x| x.abs() > 1.0) {
            notes.push("colours end at ±1, values do not".into());
        }
        if p_clean == p_corrupted {
            notes.push("n/a: the corruption did not change the answer's probability".into());
        }
        let answer = view::token(engine, self.restorer.answer);
        let labels = |(position, token): (usize, &Token)| {
            let mark = if self.trace.corrupt.contains(&position) { "*" } else { "" };
            format!("{}{mark}", token.text)
        };
        let map = Map {
            rows: Axis {
                name: "Layer".into(),
                labels: (0..engine.model.spec.n_layers()).map(|layer| layer.to_string()).collect(),
            },
            cols: Axis {
                name: "Token (* corrupted)".into(),
                labels: self.shown.iter().enumerate().map(labels).collect(),
            },
            values: self.shown_values().into(),
            scale: Scale::Diverging { max_abs: 1.0 },
            quantity: "normalised recovery".into(),
            text: None,
        };
        let estimated = !self.is_done() && !self.estimates.is_empty();
        let partly = if estimated { ", partly estimated" } else { "" };
        let figure = Arc::new(Figure {
            name: "trace".into(),
            detail: slug(self.trace.component).into(),
            title: format!("Causal trace of \"{}\", {}{partly}", answer.text, name(self.trace.component)),
            plot: Plot::Map(map),
            notes,
            provenance: self.provenance.clone(),
        });
        TraceFindings {
            trace: self.trace.clone(),
            answer,
            p_clean,
            p_corrupted,
            figure,
            done: self.is_done(),
        }
    }
}

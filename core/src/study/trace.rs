//! Causal tracing (ROME, arXiv 2202.05262, section 2.1; FCCT, arXiv 2511.05923, equation 2): corrupt some tokens, restore
//! one component of the clean run at one layer and token, and see how much of the answer's probability comes back.
//! Window size 1 layer; one noise sample.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::Tensor;

use crate::engine::{Cancelled, Engine, Run, RunSize};
use crate::error::{Error, Result};
use crate::figure::{Axis, Figure, Map, Plot, Provenance, Scale};
use crate::metric;
use crate::model::{Ask, Captures, Input, Pass};
use crate::plan::schedule::Schedule;
use crate::plan::{Change, Corrupt, Noise, Plan, Positions};
use crate::protocol::{Component, Token, Trace, TraceFindings};
use crate::site::{Hook, Site};
use crate::view;

/// A drop of the answer's probability under which a trace says that there is little to bring back.
const LITTLE: f32 = 0.1;

/// What corrupting a part of a picture does.
pub const PATCH_NOISE: &str = "noise on the patch's rows of hook_embed, after the tower";

/// A trace under way.
pub struct TraceRun {
    trace: Trace,
    tokens: Input,
    shown: Arc<[Token]>,
    provenance: Provenance,
    clean: Captures,
    corrupted: Run,
    answer: u32,
    p_clean: f32,
    p_corrupted: f32,
    values: Vec<f32>,
    cell: usize,
    pass: Option<Pass>,
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
        if trace.corrupt.is_empty() {
            return Err(Error::Input("no token is marked to be corrupted".into()));
        }
        if let Some(position) = trace.corrupt.iter().find(|&&position| position >= tokens.len()) {
            return Err(Error::Input(format!("the prompt has no position {position}")));
        }
        let layers = engine.model.spec.n_layers();
        let schedule = engine.schedule(&trace.plan, tokens, cancelled)?;
        let sites: BTreeSet<Site> =
            (0..layers).map(|layer| Site::block(layer, hook(trace.component))).collect();
        let kept = (layers * tokens.len() * engine.model.spec.d_model) as u64;
        RunSize::new(&engine.model.spec, tokens.len()).with_elements(kept).check()?;
        let (output, _) =
            engine.pass(tokens, &schedule, Ask { capture: sites, ..Ask::default() }, cancelled)?;
        let logits = match &output.logits {
            Some(logits) => logits.flatten_all()?.to_vec1::<f32>()?,
            None => Vec::new(),
        };
        let unmodified = engine.base(tokens, cancelled)?;
        let answer = view::answer(engine, &trace.answer, &unmodified.last)?;
        let corrupted = engine.schedule(&corrupted_plan(&trace), tokens, cancelled)?;
        let corrupted = engine.run_schedule(tokens, corrupted, cancelled)?;
        Ok(Self {
            p_clean: metric::probability(&logits, answer),
            p_corrupted: metric::probability(&corrupted.last, answer),
            shown: view::tokens(engine, tokens),
            values: vec![f32::NAN; layers * tokens.len()],
            tokens: tokens.clone(),
            clean: output.captures,
            cell: 0,
            pass: None,
            trace,
            provenance,
            corrupted,
            answer,
        })
    }

    /// Cells done and cells in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.cell, self.values.len())
    }

    /// Whether every cell is there.
    pub fn is_done(&self) -> bool {
        self.cell >= self.values.len()
    }

    /// Advance by one sublayer of one cell.
    pub fn step(&mut self, engine: &Engine) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        // Deep layers first: they are cheap, and the picture fills soon.
        let layers = engine.model.spec.n_layers();
        let (layer, position) = (layers - 1 - self.cell / self.tokens.len(), self.cell % self.tokens.len());
        if self.trace.corrupt.iter().all(|&corrupted| position < corrupted) {
            // Nothing before the first corrupted token differs from the clean run: restoring it brings nothing back.
            return self.put(layer, position, self.p_corrupted);
        }
        let pass = match &mut self.pass {
            Some(pass) => pass,
            empty => {
                let site = Site::block(layer, hook(self.trace.component));
                let source =
                    self.clean.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
                let schedule: Schedule = self.corrupted.schedule.restoring(site, position, source);
                let (mut pass, _) = engine.start(&self.tokens, &Arc::new(schedule), Ask::default())?;
                // Nothing changes before the restored layer.
                let input: Option<&Tensor> = self.corrupted.boundaries.get(2 * layer);
                pass.enter(layer, input.ok_or_else(|| Error::Internal("no boundary".into()))?.clone());
                empty.insert(pass)
            }
        };
        pass.step()?;
        if !pass.is_done() {
            return Ok(());
        }
        let output = self.pass.take().map(Pass::finish).unwrap_or_default();
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let p = metric::probability(&logits.flatten_all()?.to_vec1::<f32>()?, self.answer);
        self.put(layer, position, p)
    }

    /// Fill the cell at hand with the answer's probability.
    fn put(&mut self, layer: usize, position: usize, p: f32) -> Result<()> {
        if let Some(value) = self.values.get_mut(layer * self.tokens.len() + position) {
            *value = metric::recovery(p, self.p_corrupted, self.p_clean);
        }
        self.cell += 1;
        Ok(())
    }

    /// The findings so far.
    pub fn findings(&self, engine: &Engine) -> TraceFindings {
        let mut notes = vec![
            format!(
                "P(answer): {:.4} clean, {:.4} corrupted; noise {} σ of the embeddings, one sample, seed {}",
                self.p_clean, self.p_corrupted, self.trace.sigma, self.trace.seed
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
        let drop = self.p_clean - self.p_corrupted;
        if drop != 0.0 && drop < LITTLE {
            notes.push(format!(
                "the answer's probability fell by {drop:.4} only: recoveries of so little are noise"
            ));
        }
        if self.values.iter().any(|x| x.abs() > 1.0) {
            notes.push("colours end at ±1, values do not".into());
        }
        if self.p_clean == self.p_corrupted {
            notes.push("n/a: the corruption did not change the answer's probability".into());
        }
        let answer = view::token(engine, self.answer);
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
            values: self.values.as_slice().into(),
            scale: Scale::Diverging { max_abs: 1.0 },
            quantity: "normalised recovery".into(),
            text: None,
        };
        let figure = Arc::new(Figure {
            name: "trace".into(),
            detail: slug(self.trace.component).into(),
            title: format!("Causal trace of \"{}\", {}", answer.text, name(self.trace.component)),
            plot: Plot::Map(map),
            notes,
            provenance: self.provenance.clone(),
        });
        TraceFindings {
            trace: self.trace.clone(),
            answer,
            p_clean: self.p_clean,
            p_corrupted: self.p_corrupted,
            figure,
            done: self.is_done(),
        }
    }
}

/// The plan with the corruption on top.
fn corrupted_plan(trace: &Trace) -> Plan {
    let mut plan = trace.plan.clone();
    let corrupt = Corrupt {
        site: Site::Embed,
        noise: Noise::Noise { sigma: trace.sigma, seed: trace.seed },
        positions: Positions::At(trace.corrupt.clone()),
    };
    plan.items.push(Change::Corrupt(corrupt).into());
    plan
}

fn hook(component: Component) -> Hook {
    match component {
        Component::Residual => Hook::ResidPost,
        Component::Attention => Hook::AttnOut,
        Component::Ffn => Hook::MlpOut,
    }
}

/// For file names.
fn slug(component: Component) -> &'static str {
    match component {
        Component::Residual => "residual",
        Component::Attention => "attention",
        Component::Ffn => "ffn",
    }
}

fn name(component: Component) -> &'static str {
    match component {
        Component::Residual => "residual",
        Component::Attention => "attention output",
        Component::Ffn => "FFN output",
    }
}

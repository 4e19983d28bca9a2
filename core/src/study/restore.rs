//! The three runs of causal tracing (ROME, arXiv 2202.05262, section 2.1): clean, corrupted, and corrupted with something
//! of the clean run put back.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::{Cancelled, Engine, Run, RunSize};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Ask, Captures, Input, Output, Pass};
use crate::plan::{Change, Corrupt, Noise, Plan, Positions};
use crate::protocol::{Answer, Component};
use crate::site::{Hook, Site};
use crate::view;

/// What is corrupted, and which token is followed.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The plan under which everything runs.
    pub plan: &'a Plan,
    /// The token whose probability after the prompt is followed.
    pub answer: &'a Answer,
    /// Positions whose `hook_embed` is corrupted.
    pub corrupt: &'a [usize],
    /// Noise in standard deviations of the embeddings.
    pub sigma: f32,
    /// Seed of the noise.
    pub seed: u64,
}

/// A clean and a corrupted run of one prompt, and the answer's probability in both.
pub struct Restorer {
    /// The prompt.
    pub tokens: Input,
    /// The followed token.
    pub answer: u32,
    /// P(answer) of the clean run.
    pub p_clean: f32,
    /// P(answer) of the corrupted run.
    pub p_corrupted: f32,
    clean: Captures,
    corrupted: Run,
    /// First position that differs from the clean run.
    first: usize,
}

impl Restorer {
    /// Do the clean and the corrupted run, keeping what `components` of every layer were in the clean one.
    pub fn new(
        engine: &mut Engine,
        case: &Case,
        components: &[Component],
        tokens: &Input,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let Some(&first) = case.corrupt.iter().min() else {
            return Err(Error::Input("no token is marked to be corrupted".into()));
        };
        if let Some(position) = case.corrupt.iter().find(|&&position| position >= tokens.len()) {
            return Err(Error::Input(format!("the prompt has no position {position}")));
        }
        let layers = engine.model.spec.n_layers();
        let schedule = engine.schedule(case.plan, tokens, cancelled)?;
        let sites: BTreeSet<Site> = (0..layers)
            .flat_map(|layer| components.iter().map(move |&component| Site::block(layer, hook(component))))
            .collect();
        let kept = (sites.len() * tokens.len() * engine.model.spec.d_model) as u64;
        RunSize::new(&engine.model.spec, tokens.len()).with_elements(kept).check()?;
        let ask = Ask { capture: sites, ..Ask::default() };
        let (output, _) = engine.pass(tokens, &schedule, ask, cancelled)?;
        let logits = match &output.logits {
            Some(logits) => logits.flatten_all()?.to_vec1::<f32>()?,
            None => Vec::new(),
        };
        let unmodified = engine.base(tokens, cancelled)?;
        let answer = view::answer(engine, case.answer, &unmodified.last)?;
        let corrupted = engine.schedule(&corrupted_plan(case), tokens, cancelled)?;
        let corrupted = engine.run_schedule(tokens, corrupted, cancelled)?;
        Ok(Self {
            tokens: tokens.clone(),
            answer,
            p_clean: metric::probability(&logits, answer),
            p_corrupted: metric::probability(&corrupted.last, answer),
            clean: output.captures,
            corrupted,
            first,
        })
    }

    /// Whether nothing at `positions` differs from the clean run, so that restoring them brings nothing back: the model is
    /// causal.
    pub fn is_clean(&self, positions: &[usize]) -> bool {
        positions.iter().all(|&position| position < self.first)
    }

    /// The corrupted run with one component of one layer restored at `positions`, not yet stepped. Starts at that layer:
    /// nothing changes before it.
    pub fn start(
        &self,
        engine: &Engine,
        component: Component,
        layer: usize,
        positions: &[usize],
    ) -> Result<Pass> {
        let site = Site::block(layer, hook(component));
        let source = self.clean.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
        let schedule = self.corrupted.schedule.restoring(site, positions, source);
        let (mut pass, _) = engine.start(&self.tokens, &Arc::new(schedule), Ask::default())?;
        let input = self.corrupted.boundaries.get(2 * layer);
        pass.enter(layer, input.ok_or_else(|| Error::Internal("no boundary".into()))?.clone());
        Ok(pass)
    }

    /// P(answer) of a pass that has ended.
    pub fn probability(&self, output: Output) -> Result<f32> {
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        Ok(metric::probability(&logits.flatten_all()?.to_vec1::<f32>()?, self.answer))
    }

    /// The recovery rate of P(answer) = `p`; NaN where the corruption changed nothing.
    pub fn recovery(&self, p: f32) -> f32 {
        metric::recovery(p, self.p_corrupted, self.p_clean)
    }
}

/// The plan with the corruption on top.
fn corrupted_plan(case: &Case) -> Plan {
    let mut plan = case.plan.clone();
    let corrupt = Corrupt {
        site: Site::Embed,
        noise: Noise::Noise { sigma: case.sigma, seed: case.seed },
        positions: Positions::At(case.corrupt.to_vec()),
    };
    plan.items.push(Change::Corrupt(corrupt).into());
    plan
}

/// The site of a component.
pub(super) fn hook(component: Component) -> Hook {
    match component {
        Component::Residual => Hook::ResidPost,
        Component::Attention => Hook::AttnOut,
        Component::Ffn => Hook::MlpOut,
    }
}

/// A component in file names.
pub(super) fn slug(component: Component) -> &'static str {
    match component {
        Component::Residual => "residual",
        Component::Attention => "attention",
        Component::Ffn => "ffn",
    }
}

/// A component in titles.
pub(super) fn name(component: Component) -> &'static str {
    match component {
        Component::Residual => "residual",
        Component::Attention => "attention output",
        Component::Ffn => "FFN output",
    }
}

//! The three runs of causal tracing (ROME, arXiv 2202.05262, section 2.1): clean, corrupted, and corrupted with something
//! of the clean run put back.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::Component;
use crate::engine::{Answer, Cancelled, Engine, Run, RunSize};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Ask, Branch, Captures, Input, Logits, Pass, Schedule, Work};
use crate::plan::{Change, Corrupt, Plan};
use crate::site::{Hook, Site};
use crate::spec::Positions;

/// Most cells of a batch: each needs a row of logits.
pub(in crate::method) const MOST_CELLS: usize = 64;

/// Corruption of a trace, and the token that is followed.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The plan under which everything runs.
    pub plan: &'a Plan,
    /// The token whose probability after the prompt is followed.
    pub answer: &'a Answer,
    /// Positions whose `hook_embed` is corrupted.
    pub corrupt: &'a [usize],
    /// What is done to them.
    pub noise: Corruption<'a>,
}

/// How positions are corrupted.
#[derive(Clone, Copy, Debug)]
pub enum Corruption<'a> {
    /// Gaussian noise.
    Noise {
        /// In standard deviations of the embeddings.
        sigma: f32,
        /// Of the noise.
        seed: u64,
    },
    /// These values are added to `hook_embed`, `[T, d]`.
    Values(&'a Tensor),
}

/// The followed token after the last position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerScore {
    /// Its logit.
    pub logit: f32,
    /// Its probability.
    pub prob: f32,
}

impl AnswerScore {
    fn of(logits: &[f32], token: u32) -> Self {
        let logit = logits.get(token as usize).copied().unwrap_or(f32::NAN);
        Self { logit, prob: metric::probability(logits, token) }
    }
}

/// A clean and a corrupted run of one prompt, and the answer's probability in both.
pub struct Patcher {
    /// The prompt.
    pub tokens: Input,
    /// The followed token.
    pub answer: u32,
    /// The answer in the clean run.
    pub clean: AnswerScore,
    /// It is the clean run's most likely token.
    pub said: bool,
    /// The answer in the corrupted run.
    pub corrupted: AnswerScore,
    /// What the clean and the corrupted run cost.
    pub work: Work,
    kept: Captures,
    run: Run,
    /// First position that differs from the clean run.
    first: usize,
}

impl Patcher {
    /// Do the clean and the corrupted run, keeping what `components` of every layer were in the clean one.
    ///
    /// # Errors
    /// No position to corrupt or one past the prompt, noise of another shape, or too little memory.
    pub fn new(
        engine: &mut Engine,
        setup: &Setup,
        components: &[Component],
        tokens: &Input,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let Some(&first) = setup.corrupt.iter().min() else {
            return Err(Error::Marked("no token is marked to be corrupted".into()));
        };
        if let Some(position) = setup.corrupt.iter().find(|&&position| position >= tokens.len()) {
            return Err(Error::Marked(format!("the prompt has no position {position}")));
        }
        let layers = engine.model.spec.n_layers();
        let schedule = engine.schedule(setup.plan, tokens, cancelled)?;
        let mut sites: BTreeSet<Site> = (0..layers)
            .flat_map(|layer| components.iter().map(move |&component| Site::block(layer, hook(component))))
            .collect();
        if matches!(setup.noise, Corruption::Values(_)) {
            sites.insert(Site::Embed);
        }
        let kept = (sites.len() * tokens.len() * engine.model.spec.d_model) as u64;
        RunSize::new(&engine.model.spec, tokens.len()).with_elements(kept).check()?;
        let ask = Ask { capture: sites, ..Ask::default() };
        let (output, _) = engine.pass(tokens, &schedule, ask, cancelled)?;
        let logits = match &output.logits {
            Some(logits) => logits.flatten_all()?.to_vec1::<f32>()?,
            None => Vec::new(),
        };
        let unmodified = engine.base(tokens, cancelled)?;
        let answer = engine.answer_id(setup.answer, &unmodified.last)?;
        let kept = output.captures;
        let run = corrupted(engine, setup, tokens, &kept, schedule, cancelled)?;
        let mut work = output.work;
        work += run.work;
        Ok(Self {
            tokens: tokens.clone(),
            answer,
            clean: AnswerScore::of(&logits, answer),
            said: metric::top_k(&logits, 1).first().is_some_and(|(id, _)| *id == answer),
            corrupted: AnswerScore::of(&run.last, answer),
            work,
            kept,
            run,
            first,
        })
    }

    /// Another corrupted run beside the same clean one: `setup` may differ in its noise only.
    ///
    /// # Errors
    /// What a pass over the prompt refuses.
    pub fn corrupt(&mut self, engine: &mut Engine, setup: &Setup, cancelled: Cancelled) -> Result<()> {
        let schedule = engine.schedule(setup.plan, &self.tokens, cancelled)?;
        self.run = corrupted(engine, setup, &self.tokens, &self.kept, schedule, cancelled)?;
        self.corrupted = AnswerScore::of(&self.run.last, self.answer);
        self.work += self.run.work;
        Ok(())
    }

    /// What a site was in the clean run, of its shape (`[T, d]` for a stream), where it was kept.
    pub fn clean_value(&self, site: Site) -> Option<&Tensor> {
        self.kept.get(&site)
    }

    /// The schedule of the corrupted run.
    pub fn corruption(&self) -> &Arc<Schedule> {
        &self.run.schedule
    }

    /// Whether nothing at `positions` differs from the clean run, so that restoring them brings nothing back: the model is
    /// causal.
    pub fn is_clean(&self, positions: &[usize]) -> bool {
        positions.iter().all(|&position| position < self.first)
    }

    /// The corrupted run with one component of some layers restored at `positions`: it leaves the corrupted run there.
    fn branch(
        &self,
        engine: &Engine,
        component: Component,
        layers: Range<usize>,
        positions: &[usize],
    ) -> Result<Branch> {
        let clean = |layer| {
            let site = Site::block(layer, hook(component));
            let value =
                self.kept.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
            Ok::<_, Error>((site, value))
        };
        let mut schedule = Arc::clone(&self.run.schedule);
        let layer = layers.start;
        // The first layer's stream is put in below: the branch starts behind it.
        let restored = layers.skip(usize::from(component == Component::Residual));
        for layer in restored {
            let (site, value) = clean(layer)?;
            schedule = Arc::new(schedule.restoring(site, positions, value));
        }
        let (_, source) = clean(layer)?;
        let (start, end) = (positions.iter().copied().min().unwrap_or(0), self.tokens.len());
        let sublayer = match component {
            // What is restored is what the next block reads.
            Component::Residual => 2 * layer + 2,
            Component::Attention => 2 * layer,
            Component::Ffn => 2 * layer + 1,
        };
        let sublayer = engine.entry(sublayer);
        let mut x = engine.rows_before(&self.run, sublayer, start)?;
        if component == Component::Residual {
            // Corrupted rows first, clean ones after them.
            let all = Tensor::cat(&[&x, &source.narrow(0, start, end - start)?], 0)?;
            let row = |position: usize| {
                position - start + if positions.contains(&position) { end - start } else { 0 }
            };
            let rows: Vec<u32> = (start..end).map(|position| row(position) as u32).collect();
            x = all.index_select(&Tensor::from_vec(rows, end - start, &Device::Cpu)?, 0)?;
        }
        Ok(Branch { schedule, sublayer, start, end, x })
    }

    /// An empty batch.
    pub fn batch(&self, engine: &Engine) -> Batch {
        Batch { cells: Vec::new(), branches: Vec::new(), room: engine.rows_at_once(), pass: None }
    }

    /// The recovery rate of P(answer) = `p`; NaN where the corruption changed nothing.
    pub fn recovery(&self, p: f32) -> f32 {
        metric::recovery(p, self.corrupted.prob, self.clean.prob)
    }
}

/// Cells of a grid that are computed side by side.
pub struct Batch {
    /// Numbers of the cells, for whoever fills the grid.
    cells: Vec<usize>,
    branches: Vec<Branch>,
    /// Rows that still fit in.
    room: usize,
    pass: Option<Pass>,
}

impl Batch {
    /// Whether another cell fits in.
    pub fn has_room(&self) -> bool {
        self.room > 0 && self.cells.len() < MOST_CELLS
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Take in a cell: one component of some layers restored at `positions`.
    ///
    /// # Errors
    /// A layer or position that the run does not have.
    pub fn add(
        &mut self,
        patcher: &Patcher,
        engine: &Engine,
        cell: usize,
        (component, layers, positions): (Component, Range<usize>, &[usize]),
    ) -> Result<()> {
        let branch = patcher.branch(engine, component, layers, positions)?;
        self.room = self.room.saturating_sub(branch.end - branch.start);
        self.branches.push(branch);
        self.cells.push(cell);
        Ok(())
    }

    /// Do one sublayer. At the end, the cells with the answer.
    ///
    /// # Errors
    /// What a pass refuses, or more memory than there is.
    pub fn step(
        &mut self,
        patcher: &mut Patcher,
        engine: &Engine,
    ) -> Result<Option<Vec<(usize, AnswerScore)>>> {
        let pass = match &mut self.pass {
            Some(pass) => pass,
            empty => {
                let branches = std::mem::take(&mut self.branches);
                empty.insert(engine.branches(&patcher.run, branches, Logits::Last)?)
            }
        };
        pass.step()?;
        if !pass.is_done() {
            return Ok(None);
        }
        let output = self.pass.take().map(Pass::finish).unwrap_or_default();
        patcher.work += output.work;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let logits: Vec<Vec<f32>> = logits.to_vec2()?;
        let followed = logits.iter().map(|logits| AnswerScore::of(logits, patcher.answer));
        Ok(Some(self.cells.iter().copied().zip(followed).collect()))
    }
}

/// The run with the corruption on top of the plan. `kept` has the clean `hook_embed` where values are added to it.
fn corrupted(
    engine: &mut Engine,
    setup: &Setup,
    tokens: &Input,
    kept: &Captures,
    planned: Arc<Schedule>,
    cancelled: Cancelled,
) -> Result<Run> {
    let schedule = match setup.noise {
        Corruption::Noise { sigma, seed } => {
            engine.schedule(&corrupted_plan(setup, sigma, seed), tokens, cancelled)?
        }
        Corruption::Values(values) => {
            let embed = kept.get(&Site::Embed).ok_or_else(|| Error::Internal("no hook_embed".into()))?;
            if embed.dims() != values.dims() {
                let (got, want) = (values.dims(), embed.dims());
                return Err(Error::Study(format!("noise of shape {got:?} for embeddings of shape {want:?}")));
            }
            Arc::new(planned.restoring(Site::Embed, setup.corrupt, &(embed + values)?))
        }
    };
    engine.run_schedule(tokens, schedule, cancelled)
}

/// The plan with noise on top.
fn corrupted_plan(setup: &Setup, sigma: f32, seed: u64) -> Plan {
    let mut plan = setup.plan.clone();
    let corrupt = Corrupt::embeddings(Positions::At(setup.corrupt.to_vec()), sigma, seed);
    plan.items.push(Change::Corrupt(corrupt).into());
    plan
}

/// The site of a component.
pub fn hook(component: Component) -> Hook {
    match component {
        Component::Residual => Hook::ResidPost,
        Component::Attention => Hook::AttnOut,
        Component::Ffn => Hook::MlpOut,
    }
}

/// A component in file names.
pub(in crate::method) fn slug(component: Component) -> &'static str {
    match component {
        Component::Residual => "residual",
        Component::Attention => "attention",
        Component::Ffn => "ffn",
    }
}

/// A component in titles.
pub(in crate::method) fn name(component: Component) -> &'static str {
    match component {
        Component::Residual => "residual",
        Component::Attention => "attention output",
        Component::Ffn => "FFN output",
    }
}

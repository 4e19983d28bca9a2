//! A window read by the model without a plan and under each plan: losses of its tokens, and how far each plan moves what is
//! predicted. The logits of a few rows are alive at a time.

use std::sync::Arc;

use candle_core::Tensor;

use super::Window;
use crate::engine::{Cancelled, Engine, RunSize};
use crate::error::Result;
use crate::model::{Ask, Input, Logits, Pass, Schedule, Work, fused};
use crate::plan::Plan;
use crate::spec::Spec;

/// Bytes of a block of logits, of which two are alive at a time. Larger ones the system maps, clears and takes back each time.
const BLOCK: usize = 24 << 20;

/// What one run says of the tokens that a window scores.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// -ln p of each, nats.
    pub nats: Vec<f32>,
    /// Under a plan: KL(no plan || plan) of the prediction of each, nats.
    pub kl: Vec<f32>,
    /// Under a plan: whether the most likely token is the same.
    pub same: Vec<bool>,
}

/// A window under way.
pub struct Reading {
    tokens: Input,
    /// Rows that predict the tokens scored: from the one before the first of them.
    row: usize,
    /// Without a plan, then each plan.
    schedules: Vec<Arc<Schedule>>,
    pass: Option<Pass>,
    /// The streams after the last block `[tokens, d]`, as far as they are there.
    streams: Vec<Tensor>,
    losses: Vec<Losses>,
    work: Work,
}

/// What a window of `tokens` tokens takes beside the weights.
pub(super) fn size(spec: &Spec, tokens: usize, runs: usize) -> RunSize<'_> {
    RunSize::new(spec, tokens).with_elements((runs * tokens * spec.d_model + 2 * BLOCK / 4) as u64)
}

impl Reading {
    /// A window of which nothing is read yet.
    ///
    /// # Errors
    /// Tokens that the model does not take, a plan that does not fit it, or too little memory.
    pub fn new(engine: &mut Engine, window: &Window, plans: &[Plan], cancelled: Cancelled) -> Result<Self> {
        let tokens: Input = window.ids.as_slice().into();
        let runs = 1 + plans.len();
        size(&engine.model.spec, tokens.len(), runs).check()?;
        let mut schedules = vec![Schedule::none()];
        for plan in plans {
            schedules.push(engine.schedule(&plan.fitted(tokens.len()), &tokens, cancelled)?);
        }
        Ok(Self {
            row: window.first.saturating_sub(1),
            losses: vec![Losses::default(); runs],
            tokens,
            schedules,
            pass: None,
            streams: Vec::new(),
            work: Work::default(),
        })
    }

    /// One sublayer, or the logits of some rows. Whether that was the last.
    ///
    /// # Errors
    /// What a pass refuses.
    pub fn step(&mut self, engine: &Engine) -> Result<bool> {
        let Some(schedule) = self.schedules.get(self.streams.len()) else { return self.rows(engine) };
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => {
                let ask = Ask { logits: Logits::None, ..Ask::default() };
                let mut pass = engine.start_uncached(&self.tokens, schedule, ask)?;
                pass.stop_before(2 * engine.model.spec.n_layers());
                pass
            }
        };
        pass.step()?;
        if !pass.is_done() {
            self.pass = Some(pass);
            return Ok(false);
        }
        let (stream, work) = pass.into_stream()?;
        self.work += work;
        self.streams.push(stream);
        Ok(false)
    }

    /// The next rows of all runs.
    fn rows(&mut self, engine: &Engine) -> Result<bool> {
        let last = self.tokens.len().saturating_sub(1);
        let each = 4 * engine.model.spec.vocab;
        let (from, to) = (self.row, last.min(self.row + (BLOCK / each.max(1)).max(1)));
        if from >= to {
            return Ok(true);
        }
        let targets: Vec<u32> = self.tokens.get(from + 1..to + 1).unwrap_or_default().to_vec();
        let rows = self.tokens.get(from..to).unwrap_or_default();
        let mut base: Option<Tensor> = None;
        for ((schedule, stream), losses) in self.schedules.iter().zip(&self.streams).zip(&mut self.losses) {
            let x = stream.narrow(0, from, to - from)?;
            let (logits, work) = engine.unembed(schedule, rows, from, x)?;
            self.work += work;
            losses.nats.extend(fused::surprisal(&logits, &targets)?.to_vec1::<f32>()?);
            let Some(base) = &base else {
                base = Some(logits);
                continue;
            };
            for moved in fused::moved(base, &logits)?.to_vec2::<f32>()? {
                if let [kl, same] = moved.as_slice() {
                    losses.kl.push(*kl);
                    losses.same.push(*same == 1.0);
                }
            }
        }
        self.row = to;
        Ok(to == last)
    }

    /// Losses without a plan, then under each, and what they cost.
    pub fn finish(self) -> (Vec<Losses>, Work) {
        (self.losses, self.work)
    }
}

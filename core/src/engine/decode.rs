//! Continuing a prompt token by token over a preallocated key and value cache.

use std::sync::Arc;

use super::memory::RunSize;
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Ask, ImageRows, Input, KvCache, Model, Pass, Schedule};
use crate::rng;

/// A decoding under way, one sublayer per step.
pub struct Decoder {
    model: Arc<Model>,
    schedule: Arc<Schedule>,
    cache: Arc<KvCache>,
    capacity: usize,
    tokens: Vec<u32>,
    image: Option<Arc<ImageRows>>,
    /// Positions whose keys and values are written.
    done: usize,
    pass: Option<Pass>,
}

impl Decoder {
    /// Decode from `prompt`, at most `max_new` tokens past it, within the context.
    pub fn new(model: Arc<Model>, schedule: Arc<Schedule>, prompt: &Input, max_new: usize) -> Result<Self> {
        let capacity = prompt.len().saturating_add(max_new).min(model.spec.context);
        if prompt.len() > capacity {
            return Err(Error::Input(format!(
                "{} tokens are past the context of {}",
                prompt.len(),
                model.spec.context
            )));
        }
        RunSize::new(&model.spec, prompt.len()).with_cache(capacity).check()?;
        let cache = Arc::new(KvCache::new(&model.spec, capacity)?);
        Ok(Self {
            model,
            schedule,
            cache,
            capacity,
            tokens: prompt.to_vec(),
            image: prompt.image().cloned(),
            done: 0,
            pass: None,
        })
    }

    /// Prompt and what was appended.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whether another token still fits.
    pub fn has_room(&self) -> bool {
        self.tokens.len() < self.capacity
    }

    /// Append a token to decode from next.
    pub fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// Do one sublayer of the pending rows. The logits after the last token, `[vocab]`, once they are there.
    pub fn step(&mut self) -> Result<Option<Vec<f32>>> {
        let pass = match &mut self.pass {
            Some(pass) => pass,
            empty => {
                let len = self.tokens.len();
                // Rotary positions that depend on the length change all earlier keys at once: start over.
                if self.done > 0 && self.model.epoch(len) != self.model.epoch(self.done) {
                    self.done = 0;
                }
                let rows = self.tokens.get(self.done..).unwrap_or_default();
                let (model, schedule) = (Arc::clone(&self.model), Arc::clone(&self.schedule));
                let cache = Arc::clone(&self.cache);
                let mut pass = Pass::new(model, schedule, cache, rows, self.done, Ask::default())?;
                pass.show(self.image.as_ref(), self.tokens.get(..self.done).unwrap_or_default());
                empty.insert(pass)
            }
        };
        pass.step()?;
        if !pass.is_done() {
            return Ok(None);
        }
        self.done = self.tokens.len();
        let output = self.pass.take().map(Pass::finish).unwrap_or_default();
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        Ok(Some(logits.flatten_all()?.to_vec1()?))
    }

    /// The logits after the last token.
    pub fn logits(&mut self, cancelled: &dyn Fn() -> bool) -> Result<Vec<f32>> {
        loop {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            if let Some(logits) = self.step()? {
                return Ok(logits);
            }
        }
    }
}

/// Chooses the next token.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    /// 0 = greedy.
    pub temperature: f32,
    /// Same seed, same text.
    pub seed: u64,
}

impl Sampler {
    /// The token at step `step` (0 = first after the prompt); greedy takes the lowest id among equals.
    pub fn pick(&self, logits: &[f32], step: usize) -> u32 {
        let best = || metric::top_k(logits, 1).first().map_or(0, |(id, _)| *id);
        if self.temperature <= 0.0 {
            return best();
        }
        let scaled: Vec<f32> = logits.iter().map(|x| x / self.temperature).collect();
        let weights: Vec<f64> = metric::log_softmax(&scaled).iter().map(|&x| f64::from(x).exp()).collect();
        let mut left = rng::uniform(self.seed, 0, step as u64) * weights.iter().sum::<f64>();
        for (id, weight) in (0..).zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        best()
    }
}

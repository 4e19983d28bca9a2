//! Continuing a prompt token by token over a preallocated key and value cache.

use std::sync::Arc;

use super::memory::RunSize;
use crate::error::{Error, Result};
use crate::model::{Ask, ImageRows, Input, KvCache, Logits, Model, Pass, Schedule};

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
    /// Where a plan injects what the unmodified model has at the same token: that model, token by token.
    unmodified: Option<Unmodified>,
}

/// The unmodified model beside a decoding.
struct Unmodified {
    cache: Arc<KvCache>,
    done: usize,
    pass: Option<Pass>,
}

impl Decoder {
    /// Decode from `prompt`, at most `max_new` tokens past it, within the context.
    ///
    /// # Errors
    /// A prompt that is empty or past the context, or more memory than there is.
    pub fn new(model: Arc<Model>, schedule: Arc<Schedule>, prompt: &Input, max_new: usize) -> Result<Self> {
        let capacity = prompt.len().saturating_add(max_new).min(model.spec.context);
        if prompt.len() > capacity {
            return Err(Error::Context { tokens: prompt.len(), context: model.spec.context });
        }
        let mut size = RunSize::new(&model.spec, prompt.len()).with_cache(capacity);
        let follows = !schedule.followed(capacity).is_empty();
        if follows {
            size = size.with_cache(capacity);
        }
        size.check()?;
        let cache = Arc::new(KvCache::new(&model.spec, capacity)?);
        let unmodified = match follows {
            true => {
                let cache = Arc::new(KvCache::new(&model.spec, capacity)?);
                Some(Unmodified { cache, done: 0, pass: None })
            }
            false => None,
        };
        Ok(Self {
            model,
            schedule,
            cache,
            capacity,
            tokens: prompt.to_vec(),
            image: prompt.image().cloned(),
            done: 0,
            pass: None,
            unmodified,
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

    /// Go back to the first `len` tokens, to decode on from there another time.
    pub fn rewind(&mut self, len: usize) {
        let far = self.model.epoch(self.tokens.len());
        self.tokens.truncate(len);
        self.pass = None;
        // The last token's logits are computed again; earlier keys are those of its length, or are not kept.
        let kept = if self.model.epoch(len) == far { len.saturating_sub(1) } else { 0 };
        self.done = self.done.min(kept);
        if let Some(unmodified) = &mut self.unmodified {
            unmodified.pass = None;
            unmodified.done = unmodified.done.min(kept);
        }
    }

    /// Do one sublayer of the pending rows. The logits after the last token, `[vocab]`, once they are there.
    ///
    /// # Errors
    /// What a pass refuses: ids outside the vocabulary, values of a plan that do not fit.
    pub fn step(&mut self) -> Result<Option<Vec<f32>>> {
        if self.pass.is_none() {
            // Rotary positions that depend on the length change all earlier keys at once: start over.
            self.done = self.kept(self.done);
            let Some(schedule) = self.schedule()? else { return Ok(None) };
            self.pass = Some(self.begin(schedule, &self.cache, self.done, Ask::default())?);
        }
        let Some(pass) = &mut self.pass else { return Ok(None) };
        pass.step()?;
        if !pass.is_done() {
            return Ok(None);
        }
        self.done = self.tokens.len();
        let output = self.pass.take().map(Pass::finish).unwrap_or_default();
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        Ok(Some(logits.flatten_all()?.to_vec1()?))
    }

    /// How many of `done` keys and values still hold.
    fn kept(&self, done: usize) -> usize {
        let holds = self.model.epoch(self.tokens.len()) == self.model.epoch(done);
        if done > 0 && holds { done } else { 0 }
    }

    /// A pass over the tokens from `done` on.
    fn begin(&self, schedule: Arc<Schedule>, cache: &Arc<KvCache>, done: usize, ask: Ask) -> Result<Pass> {
        let rows = self.tokens.get(done..).unwrap_or_default();
        let mut pass = Pass::new(Arc::clone(&self.model), schedule, Arc::clone(cache), rows, done, ask)?;
        pass.show(self.image.as_ref(), self.tokens.get(..done).unwrap_or_default());
        Ok(pass)
    }

    /// The schedule of the next pass. `None` while the unmodified model is still on its way through the tokens, one sublayer a
    /// call.
    fn schedule(&mut self) -> Result<Option<Arc<Schedule>>> {
        let capture = self.schedule.followed(self.tokens.len());
        let Some(mut unmodified) = self.unmodified.take_if(|_| !capture.is_empty()) else {
            return Ok(Some(Arc::clone(&self.schedule)));
        };
        let mut pass = match unmodified.pass.take() {
            Some(pass) => pass,
            None => {
                unmodified.done = self.kept(unmodified.done);
                let ask = Ask { capture, logits: Logits::None, ..Ask::default() };
                self.begin(Schedule::none(), &unmodified.cache, unmodified.done, ask)?
            }
        };
        pass.step()?;
        let fed = match pass.is_done() {
            true => {
                let start = std::mem::replace(&mut unmodified.done, self.tokens.len());
                Some(Arc::new(self.schedule.fed(&pass.finish().captures, start)?))
            }
            false => {
                unmodified.pass = Some(pass);
                None
            }
        };
        self.unmodified = Some(unmodified);
        Ok(fed)
    }

    /// The logits after the last token.
    ///
    /// # Errors
    /// As [`Decoder::step`], or [`Error::Cancelled`].
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

//! The residual streams that candidates are computed from: of the pruned model so far, and of candidates that were computed
//! in an earlier step, from the first sublayer that went since then.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use super::Distance;
use crate::engine::{Cancelled, Engine, memory};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Ask, Branch, Input, Logits, Output, Pass, Schedule, Work};
use crate::plan::Sublayer;

/// Logits of one batch at most.
const MOST_LOGITS: usize = 1 << 25;
/// One part in this many of the memory at hand is for streams of candidates.
const SHARE_KEPT: u64 = 4;

/// Calibration text under a model from which sublayers go.
pub(super) struct Streams {
    samples: Vec<Input>,
    texts: Vec<Text>,
    distance: Distance,
    /// Candidates are computed from where they differ, else by whole passes.
    resumed: bool,
    pub removed: Vec<usize>,
    schedule: Arc<Schedule>,
    /// Streams of candidates, by candidate and sample.
    kept: HashMap<(usize, usize), Kept>,
    /// Values that may still be kept.
    room: usize,
    pub work: Work,
}

/// A piece of text.
struct Text {
    /// The original's log probabilities, `[T, vocab]`.
    original: Vec<f32>,
    /// The stream before each sublayer and after the last, without what is removed.
    boundaries: Vec<Tensor>,
}

/// The stream of a candidate before each sublayer from `first` on.
struct Kept {
    first: usize,
    boundaries: Vec<Tensor>,
    /// How many were removed when it was computed. Up to the first that went since then it would come out the same.
    removed: usize,
}

impl Streams {
    /// Over samples of one length, nothing read yet.
    ///
    /// # Errors
    /// More memory than there is.
    pub fn new(engine: &Engine, samples: Vec<Input>, distance: Distance, resumed: bool) -> Result<Self> {
        let spec = &engine.model.spec;
        let tokens: usize = samples.iter().map(|sample| sample.len()).sum();
        let boundaries = tokens * spec.d_model * (2 * spec.n_layers() + 1);
        let len = samples.first().map_or(0, |sample| sample.len());
        // Logits, a copy of them, and what they are turned into.
        let logits = 3 * MOST_LOGITS.max(len * spec.vocab);
        let bytes = 4 * (tokens * spec.vocab + boundaries + logits) as u64;
        memory::check(&format!("{tokens} tokens of calibration"), bytes)?;
        let spare = memory::available_bytes().unwrap_or(0).saturating_sub(bytes) / SHARE_KEPT;
        Ok(Self {
            texts: Vec::with_capacity(samples.len()),
            samples,
            distance,
            resumed,
            removed: Vec::new(),
            schedule: Schedule::none(),
            kept: HashMap::new(),
            room: usize::try_from(spare / 4).unwrap_or(usize::MAX),
            work: Work::default(),
        })
    }

    /// Tokens of a sample.
    pub fn len(&self) -> usize {
        self.samples.first().map_or(0, |sample| sample.len())
    }

    /// Samples on which the original's output is known.
    pub fn read_samples(&self) -> usize {
        self.texts.len()
    }

    /// Whether it is on every one.
    pub fn is_read(&self) -> bool {
        self.texts.len() >= self.samples.len()
    }

    /// Run the original on the next sample, and what is left after the removals so far.
    ///
    /// # Errors
    /// What a pass refuses, or more memory than there is.
    pub fn read(&mut self, engine: &Engine, cancelled: Cancelled) -> Result<()> {
        let Some(sample) = self.samples.get(self.texts.len()) else { return Ok(()) };
        let run = engine.run_schedule(sample, Schedule::none(), cancelled)?;
        let all = 2 * engine.model.spec.n_layers();
        let rows = engine.rows_logits(&run, 0, sample.len(), cancelled)?;
        let log_p: Vec<Vec<f32>> = rows.par_iter().map(|row| metric::log_softmax(row)).collect();
        self.work += run.work;
        self.work.unembedding += run.work.unembedding * sample.len() as u64;
        let run = match self.removed.is_empty() {
            true => run,
            false => engine.run_schedule(sample, Arc::clone(&self.schedule), cancelled)?,
        };
        let boundaries = (0..=all).map(|number| engine.boundary(&run, number)).collect::<Result<_>>()?;
        self.texts.push(Text { original: log_p.concat(), boundaries });
        Ok(())
    }

    /// Begin where an earlier run ended.
    pub fn without_all(&mut self, removed: &[usize]) {
        for &candidate in removed {
            self.schedule = self.without(candidate);
        }
        self.removed = removed.to_vec();
    }

    /// Without what is removed and a candidate.
    fn without(&self, candidate: usize) -> Arc<Schedule> {
        Arc::new(self.schedule.zeroing(Sublayer::of(candidate).output()))
    }

    /// Units, candidate and sample, that one pass computes.
    pub fn together(&self, engine: &Engine) -> usize {
        let vocab = engine.model.spec.vocab.max(1);
        match self.resumed {
            true => (engine.rows_at_once().min(MOST_LOGITS / vocab) / self.len().max(1)).max(1),
            false => 1,
        }
    }

    /// A pass over units.
    ///
    /// # Errors
    /// What a pass refuses.
    pub fn begin(&self, engine: &Engine, units: &[(usize, usize)]) -> Result<Pass> {
        if self.resumed { self.branches(engine, units) } else { self.whole(engine, units) }
    }

    /// The distances of units from the original, each summed over its tokens.
    ///
    /// # Errors
    /// A pass that was not stepped to its end.
    pub fn finish(
        &mut self,
        engine: &Engine,
        units: &[(usize, usize)],
        mut output: Output,
    ) -> Result<Vec<f64>> {
        let (vocab, len) = (engine.model.spec.vocab.max(1), self.len().max(1));
        self.work += output.work;
        let logits = output.logits.take().ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        let mut sums = Vec::with_capacity(units.len());
        for (logits, (_, sample)) in logits.chunks(len * vocab).zip(units) {
            let rows = self.text(*sample)?.original.par_chunks(vocab).zip(logits.par_chunks(vocab));
            let distance = |(log_p, logits): (&[f32], &[f32])| self.distance.of(log_p, logits);
            let each: Vec<f64> = rows.map(distance).collect();
            sums.push(each.iter().sum());
        }
        for (&unit, boundaries) in units.iter().zip(output.of_branches) {
            self.keep(engine, unit, boundaries);
        }
        Ok(sums)
    }

    /// A pass over candidates, each from where it differs from what is known.
    fn branches(&self, engine: &Engine, units: &[(usize, usize)]) -> Result<Pass> {
        let mut branches = Vec::with_capacity(units.len());
        for &(candidate, sample) in units {
            let (sublayer, x) = match self.earlier(engine, candidate, sample) {
                Some(known) => known,
                None => {
                    let sublayer = engine.entry(candidate);
                    let boundary = self.text(sample)?.boundaries.get(sublayer);
                    (sublayer, boundary.ok_or_else(|| Error::Internal(format!("no boundary {sublayer}")))?)
                }
            };
            let (schedule, x, end) = (self.without(candidate), x.clone(), x.dim(0)?);
            branches.push(Branch { schedule, sublayer, start: 0, end, x });
        }
        let boundaries = usize::from(self.room > 0);
        // What cannot go leaves no finite numbers, and is told by them.
        let ask = Ask { logits: Logits::All, boundaries, lenient: true, ..Ask::default() };
        engine.from_the_start(branches, ask)
    }

    fn whole(&self, engine: &Engine, units: &[(usize, usize)]) -> Result<Pass> {
        let (candidate, sample) = units.first().copied().unwrap_or_default();
        let ask = Ask { logits: Logits::All, lenient: true, ..Ask::default() };
        let tokens =
            self.samples.get(sample).ok_or_else(|| Error::Internal(format!("no sample {sample}")))?;
        Ok(engine.start(tokens, &self.without(candidate), ask)?.0)
    }

    /// The stream of a candidate before the first sublayer that was removed since it was last computed.
    fn earlier(&self, engine: &Engine, candidate: usize, sample: usize) -> Option<(usize, &Tensor)> {
        let kept = self.kept.get(&(candidate, sample))?;
        let changed = engine.entry(*self.removed.get(kept.removed..)?.iter().min()?);
        let boundary = kept.boundaries.get(changed.checked_sub(kept.first)?)?;
        (changed > candidate).then_some((changed, boundary))
    }

    fn keep(&mut self, engine: &Engine, unit: (usize, usize), mut boundaries: Vec<Tensor>) {
        let all = 2 * engine.model.spec.n_layers() + 1;
        let mut first = all.saturating_sub(boundaries.len());
        if let Some(old) = self.kept.remove(&unit) {
            self.room += size(&old.boundaries);
            // A resumed one goes on from what was kept.
            let before = first.saturating_sub(old.first);
            if before > 0 && before <= old.boundaries.len() && first > unit.0 {
                first = old.first;
                boundaries.splice(0..0, old.boundaries.into_iter().take(before));
            }
        }
        if size(&boundaries) <= self.room {
            self.room -= size(&boundaries);
            self.kept.insert(unit, Kept { first, boundaries, removed: self.removed.len() });
        }
    }

    fn text(&self, sample: usize) -> Result<&Text> {
        self.texts.get(sample).ok_or_else(|| Error::Internal(format!("no sample {sample}")))
    }

    /// Remove a candidate for good; the streams without it are needed where others go after it.
    ///
    /// # Errors
    /// What a pass refuses, or more memory than there is.
    pub fn remove(
        &mut self,
        engine: &Engine,
        candidate: usize,
        others: bool,
        cancelled: Cancelled,
    ) -> Result<()> {
        let schedule = self.without(candidate);
        if self.resumed && others {
            for number in 0..self.texts.len() {
                let known = self.kept.remove(&(candidate, number));
                self.room += known.as_ref().map_or(0, |known| size(&known.boundaries));
                let known = known.filter(|known| known.removed == self.removed.len());
                self.advance(engine, number, candidate, known, &schedule, cancelled)?;
            }
        }
        self.schedule = schedule;
        self.removed.push(candidate);
        Ok(())
    }

    /// A sample's stream without a candidate: what was kept of it, or computed again.
    fn advance(
        &mut self,
        engine: &Engine,
        number: usize,
        candidate: usize,
        known: Option<Kept>,
        schedule: &Arc<Schedule>,
        cancelled: Cancelled,
    ) -> Result<()> {
        let (first, new) = match known {
            Some(known) => (known.first, known.boundaries),
            None => {
                let sublayer = engine.entry(candidate);
                let boundary = self.text(number)?.boundaries.get(sublayer);
                let x = boundary.ok_or_else(|| Error::Internal(format!("no boundary {sublayer}")))?.clone();
                let branch = Branch { schedule: Arc::clone(schedule), sublayer, start: 0, end: x.dim(0)?, x };
                let ask = Ask { logits: Logits::None, boundaries: 1, lenient: true, ..Ask::default() };
                let mut output = engine.from_the_start(vec![branch], ask)?.run(cancelled)?;
                self.work += output.work;
                (sublayer, output.of_branches.pop().unwrap_or_default())
            }
        };
        if let Some(text) = self.texts.get_mut(number) {
            text.boundaries.truncate(first);
            text.boundaries.extend(new);
        }
        Ok(())
    }
}

fn size(boundaries: &[Tensor]) -> usize {
    boundaries.iter().map(Tensor::elem_count).sum()
}

//! The residual stream of a run at its sublayer boundaries: all of them, or, where memory is short, some, with what lies
//! between computed again when it is asked for.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use super::{Engine, Run, never};
use crate::error::{Error, Result};
use crate::model::{Ask, Logits, Pass, Schedule};
use crate::spec::Residual;

/// The stream before each of the 2L sublayers and after the last, `[T, d]` each.
#[derive(Debug)]
pub struct Boundaries {
    kept: Vec<Option<Tensor>>,
    /// What the run computed between them.
    schedule: Arc<Schedule>,
    /// The piece that was computed again last: from which boundary on.
    again: Mutex<Option<(usize, Vec<Tensor>)>>,
}

impl Boundaries {
    /// Of a run under `schedule`, by number, `[T, d]` each; those that are missing are computed when asked for.
    pub(super) fn new(kept: Vec<Option<Tensor>>, schedule: Arc<Schedule>) -> Self {
        Self { kept, schedule, again: Mutex::new(None) }
    }

    /// The boundary of this number, `[T, d]`, if it is kept.
    pub(super) fn kept(&self, number: usize) -> Option<&Tensor> {
        self.kept.get(number)?.as_ref()
    }

    /// The first `count` boundaries, `[T, d]` each, as they are kept.
    pub(super) fn first(&self, count: usize) -> impl Iterator<Item = Option<Tensor>> {
        self.kept.iter().take(count).cloned()
    }

    /// How many are kept.
    pub fn count(&self) -> usize {
        self.kept.iter().flatten().count()
    }
}

impl Engine {
    /// The stream of a run before a sublayer (2L = the unembedding), `[T, d]`. Between the sublayers of a parallel block it
    /// is the block's input.
    ///
    /// # Errors
    /// A boundary that the run does not have, or that memory has no room to compute again.
    pub fn boundary(&self, run: &Run, sublayer: usize) -> Result<Tensor> {
        let boundaries = &run.boundaries;
        if let Some(kept) = boundaries.kept(sublayer) {
            return Ok(kept.clone());
        }
        let missing = || Error::Internal(format!("no boundary {sublayer}"));
        let mut again = boundaries.again.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, piece)) = &*again
            && let Some(known) = sublayer.checked_sub(*first).and_then(|place| piece.get(place))
        {
            return Ok(known.clone());
        }
        let first =
            (0..sublayer).rev().find(|&number| boundaries.kept(number).is_some()).ok_or_else(missing)?;
        let next = (sublayer..boundaries.kept.len()).find(|&number| boundaries.kept(number).is_some());
        let end = next.ok_or_else(missing)?;
        let ask = Ask { logits: Logits::None, boundaries: 1, ..Ask::default() };
        let (model, schedule) = (Arc::clone(&self.model), Arc::clone(&boundaries.schedule));
        let mut pass = Pass::new(model, schedule, Arc::clone(&run.cache), &run.tokens, 0, ask)?;
        let start = boundaries.kept(first).ok_or_else(missing)?;
        pass.enter_before(first, start.clone());
        pass.stop_before(end);
        let piece: Vec<Tensor> = pass.run(&never)?.boundaries.into_values().collect();
        let found = piece.get(sublayer - first).cloned().ok_or_else(missing)?;
        *again = Some((first, piece));
        Ok(found)
    }

    /// The sublayer where a pass can begin for a change in `sublayer`: an FFN beside its attention begins with the block.
    pub fn entry(&self, sublayer: usize) -> usize {
        let layer = self.model.spec.layers.get(sublayer / 2);
        let beside = layer.is_some_and(|layer| layer.residual == Residual::Parallel);
        if beside { sublayer - sublayer % 2 } else { sublayer }
    }

    /// The stream of a run before a sublayer (2L = the unembedding), from position `start` on: `[T - start, d]`.
    ///
    /// # Errors
    /// As [`Engine::boundary`].
    pub fn rows_before(&self, run: &Run, sublayer: usize, start: usize) -> Result<Tensor> {
        let boundary = self.boundary(run, sublayer)?;
        Ok(boundary.narrow(0, start, boundary.dim(0)?.saturating_sub(start))?)
    }

    /// The stream of a run before a sublayer, before position `end`: `[end, d]`.
    pub(super) fn rows_until(&self, run: &Run, sublayer: usize, end: usize) -> Result<Tensor> {
        Ok(self.boundary(run, sublayer)?.narrow(0, 0, end)?)
    }
}

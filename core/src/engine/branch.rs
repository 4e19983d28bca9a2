//! Branches of a run: the rows that a change can reach, and no others.

use std::sync::Arc;

use super::{Engine, Run};
use crate::error::{Error, Result};
use crate::model::{Ask, Branch, Pass, Residual};
use crate::plan::schedule::Schedule;

impl Engine {
    /// The branch that leaves an unmodified run where a compiled plan first changes it; `None` where it changes nothing
    /// that the last token sees.
    pub fn branch(&self, base: &Run, schedule: Arc<Schedule>) -> Result<Option<Branch>> {
        let end = base.tokens.len();
        let Some(start) = schedule.first_position(end) else { return Ok(None) };
        let Some(sublayer) = schedule.first_sublayer(self.model.spec.n_layers()) else {
            // The embedding itself changes.
            let (pass, _) = self.start(&base.tokens, &schedule, Ask::default())?;
            let x = pass.embedded()?.narrow(0, start, end - start)?;
            return Ok(Some(Branch { schedule, sublayer: 0, start, end, x }));
        };
        let sublayer = self.entry(sublayer);
        let x = self.rows_before(base, sublayer, start)?;
        Ok(Some(Branch { schedule, sublayer, start, end, x }))
    }

    /// A pass over branches of a run; the logits after their last tokens are its output.
    pub fn branches(&self, base: &Run, branches: Vec<Branch>) -> Result<Pass> {
        Pass::of_branches(Arc::clone(&self.model), Arc::clone(&base.cache), branches)
    }

    /// The sublayer where a pass can begin for a change in `sublayer`: an FFN beside its attention begins with the block.
    pub fn entry(&self, sublayer: usize) -> usize {
        let layer = self.model.spec.layers.get(sublayer / 2);
        let beside = layer.is_some_and(|layer| layer.residual == Residual::Parallel);
        if beside { sublayer - sublayer % 2 } else { sublayer }
    }

    /// The stream of a run before a sublayer (2L = the unembedding), from position `start` on.
    pub fn rows_before(&self, run: &Run, sublayer: usize, start: usize) -> Result<candle_core::Tensor> {
        let boundary = run.boundaries.get(sublayer);
        let boundary = boundary.ok_or_else(|| Error::Internal(format!("no boundary {sublayer}")))?;
        Ok(boundary.narrow(0, start, boundary.dim(0)?.saturating_sub(start))?)
    }
}

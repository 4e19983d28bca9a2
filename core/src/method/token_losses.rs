//! Losses of a prompt's tokens under a schedule, one sublayer at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::{Engine, RunSize};
use crate::error::{Error, Result};
use crate::model::{Ask, Input, Logits, Pass, Schedule, Work, fused};
use crate::spec::Lane;

/// A pass over a prompt under way.
pub(in crate::method) struct TokenLosses {
    pass: Pass,
    next: Vec<u32>,
}

/// What a pass came to.
pub(in crate::method) struct Losses {
    /// Nats of the token after every position but the last.
    pub losses: Vec<f32>,
    /// Where a learned router chose, layer by layer.
    pub lanes: BTreeMap<usize, Vec<Lane>>,
    /// Cost of the pass.
    pub work: Work,
}

impl TokenLosses {
    /// A pass over a prompt, nothing done yet.
    ///
    /// # Errors
    /// A prompt that the model cannot take, or more memory than there is.
    pub fn new(engine: &Engine, tokens: &Input, schedule: &Arc<Schedule>) -> Result<Self> {
        RunSize::new(&engine.model.spec, tokens.len()).with_all_logits().check()?;
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        let (pass, _) = engine.start(tokens, schedule, ask)?;
        Ok(Self { pass, next: tokens.iter().skip(1).copied().collect() })
    }

    /// One sublayer. Whether it was the last.
    ///
    /// # Errors
    /// What a pass refuses.
    pub fn step(&mut self) -> Result<bool> {
        self.pass.step()?;
        Ok(self.pass.is_done())
    }

    /// Losses of the pass.
    ///
    /// # Errors
    /// A pass that was not stepped to its end.
    pub fn finish(self) -> Result<Losses> {
        let output = self.pass.finish();
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let losses = fused::surprisal(&logits.narrow(0, 0, self.next.len())?, &self.next)?.to_vec1()?;
        Ok(Losses { losses, lanes: output.lanes, work: output.work })
    }
}

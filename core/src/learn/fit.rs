//! A fit, update by update: whoever drives it computes a loss, shows how far it is, and may stop or go on later.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::{AdamW, Rate};
use crate::error::Result;

/// Parameters under an optimiser, with its rate and a limit on the gradient.
pub struct Fit {
    optimiser: AdamW,
    rate: Rate,
    clip: f32,
}

impl Fit {
    /// Before the first update. `decay` as in [`AdamW::new`]; gradients are clipped to a norm of `clip`.
    pub fn new(vars: BTreeMap<String, Var>, decay: f32, rate: Rate, clip: f32) -> Self {
        Self { optimiser: AdamW::new(vars, decay), rate, clip }
    }

    /// Updates done.
    pub fn step(&self) -> u64 {
        self.optimiser.step
    }

    /// Updates in all.
    pub fn steps(&self) -> u64 {
        self.rate.steps
    }

    /// Whether all updates are done.
    pub fn is_done(&self) -> bool {
        self.step() >= self.steps()
    }

    /// How much of it is done, 0 to 1.
    pub fn done(&self) -> f64 {
        self.step() as f64 / self.steps().max(1) as f64
    }

    /// One update down the gradient of a loss, a scalar. Returns the gradient's norm before clipping.
    ///
    /// # Errors
    /// Where a parameter has no part in the loss.
    pub fn update(&mut self, loss: &Tensor) -> Result<f32> {
        let rate = self.rate.at(self.step());
        self.optimiser.update(&[loss.backward()?], rate, self.clip, |_| true)
    }

    /// The parameters by name, of their shapes.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        self.optimiser.weights()
    }

    /// Parameters and moments by name, of the parameters' shapes, for [`Fit::restore`].
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.optimiser.state()
    }

    /// Go on after `step` updates from a state; `read` gets a name and gives the tensor.
    pub fn restore(&mut self, step: u64, read: impl FnMut(&str) -> Result<Tensor>) -> Result<()> {
        self.optimiser.restore(step, read)
    }
}

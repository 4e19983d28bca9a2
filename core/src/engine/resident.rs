//! Weights as they are held in memory.

use std::collections::BTreeSet;

use super::names::Named;
use crate::checkpoint::{Checkpoint, NumberFormat};
use crate::model::Spec;
use crate::model::layout::{Decl, Layout, tally};
use crate::model::weights::{Goes, goes};

/// What weights take.
#[derive(Clone, Debug, Default)]
pub struct Resident {
    /// Bytes.
    pub bytes: u64,
    /// Bytes of the largest tensor that holds many experts: it stands beside what it is taken apart into.
    pub(super) stack: u64,
    /// Formats of the matrices.
    formats: BTreeSet<NumberFormat>,
}

impl Resident {
    /// Of the tensors of a checkpoint.
    pub(super) fn of(named: &Named, checkpoint: &Checkpoint) -> Self {
        let mut all = Self::default();
        for (name, decl) in &named.tensors {
            all.add(decl, 1, &named.layout, checkpoint.held(name));
        }
        all
    }

    /// Of a checkpoint that has no tensors, by the format that config.json names.
    pub(super) fn of_config(spec: &Spec, layout: &Layout, checkpoint: &Checkpoint) -> Self {
        let (mut all, format) = (Self::default(), checkpoint.named_format());
        tally(spec, layout, &mut |decl, times| all.add(decl, times, layout, format));
        all
    }

    fn add(&mut self, decl: &Decl, times: u64, layout: &Layout, format: NumberFormat) {
        let bytes = bytes(decl, layout, format);
        self.bytes = self.bytes.saturating_add(bytes.saturating_mul(times));
        if decl.shape.len() == 3 {
            self.stack = self.stack.max(bytes);
        }
        if goes(layout, decl.slot) != Goes::Wide {
            self.formats.insert(format);
        }
    }

    /// Names of the formats, such as `bf16`, or `f32, bf16`.
    pub fn formats(&self) -> String {
        let names: Vec<&str> = self.formats.iter().map(|format| format.name()).collect();
        names.join(", ")
    }
}

/// Bytes of a tensor, of a model whose matrices are held in a format.
pub(super) fn bytes(decl: &Decl, layout: &Layout, format: NumberFormat) -> u64 {
    let format = if goes(layout, decl.slot) == Goes::Wide { NumberFormat::F32 } else { format };
    decl.len().saturating_mul(format.bytes())
}

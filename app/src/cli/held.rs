//! `--dtype`: what weights are held in.

use clap::{Args, ValueEnum};
use sluice_core::checkpoint::widen_all;

/// How a command holds the weights that it opens.
#[derive(Args)]
pub struct HeldArgs {
    /// What to hold matrices in; left out = as the files have them. Numbers come out the same, f32 takes more memory
    #[arg(long, value_name = "FORMAT")]
    dtype: Option<Widened>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Widened {
    F32,
}

impl HeldArgs {
    /// From now on.
    pub fn apply(&self) {
        if let Some(Widened::F32) = self.dtype {
            widen_all();
        }
    }
}

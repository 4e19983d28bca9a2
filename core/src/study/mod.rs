//! Long jobs made of many runs: one file per method. A study advances one sublayer per step, so that whoever drives it
//! can slice, cancel and serve others in between.

mod trace;

pub use trace::{PATCH_NOISE, TraceRun};

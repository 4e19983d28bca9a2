//! Long jobs made of many runs: one file per method. A study advances one sublayer per step, so that whoever drives it
//! can slice, cancel and serve others in between.

mod fcct;
mod restore;
mod trace;

pub use fcct::{FcctRun, iri_table};
pub use restore::{Case, Restorer};
pub use trace::{PATCH_NOISE, TraceRun};

//! Pieces that several panels use.

pub mod figure;
pub mod states;

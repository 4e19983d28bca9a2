//! An architecture as data, its weights, and the one forward pass over them.

pub mod spec;

pub use spec::*;

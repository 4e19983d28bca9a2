//! Pieces that several panels use.

mod bars;
pub mod figure;
mod legend;
mod lines;
mod map;
mod marks;
pub mod parameters;
pub mod pickers;
pub mod picture;
pub mod states;
mod table;
mod texture;
mod touch;

pub use touch::{Cell, Touch};

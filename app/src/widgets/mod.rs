//! Pieces that several panels use.

pub mod figure;
mod legend;
mod lines;
mod map;
pub mod picture;
pub mod states;
mod texture;

pub use map::Cell;

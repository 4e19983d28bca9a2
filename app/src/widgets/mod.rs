//! Pieces that several panels use.

pub mod area;
mod bars;
pub mod export;
pub mod figure;
pub mod head;
pub mod icon;
pub mod legend;
mod lines;
mod map;
pub mod marks;
pub mod parameters;
pub mod pickers;
pub mod picture;
pub mod states;
mod table;
mod texture;
mod touch;
pub mod words;

pub use touch::{Cell, Touch};

//! The one thread that owns the model, and the handle a front end talks to it with.

pub mod protocol;

pub use protocol::*;

//! What methods and the trainer share of learning: an optimiser, its rate, a fit that is done update by update, and an open
//! model some of whose matrices can be trained.

mod adamw;
mod fit;
mod rate;
mod trainable;

pub use adamw::AdamW;
pub use fit::Fit;
pub use rate::Rate;
pub use trainable::Trainable;

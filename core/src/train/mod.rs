//! The bundled checkpoint is made here: a small vision-language Duo model (Duo-LLM, arXiv 2410.10846), trained on the
//! generated [`world`](crate::world).
//!
//! | file | what it holds |
//! |---|---|
//! | [`vocabulary`] | the tokenizer, learned from what the world says |
//! | [`config`] | the shape of the model, as the files that other tools read |
//! | [`batch`] | what a step reads |
//! | [`loss`] | the batched forward pass under any routing, and its loss |
//! | [`patches`] | the early per-patch loss of the image tower |
//! | `output` | the folder of a run: saved as a whole |
//! | [`run`] | the loop: stages, schedule, progress, resume |
//!
//! Everything random comes from the seed and a counter, so the state at a step does not depend on how often the run
//! was interrupted before it.

pub mod batch;
pub mod config;
pub mod loss;
mod output;
pub mod patches;
pub mod run;
pub mod vocabulary;

pub use batch::Diet;
pub use run::{Options, Report, train};

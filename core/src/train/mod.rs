//! The bundled checkpoint is made here: a small text-only Duo model (Duo-LLM, arXiv 2410.10846, section 2, stage 1),
//! trained on text that this module writes, with every token sent to the big or the small FFN of every layer by the
//! toss of a coin.
//!
//! | file | what it holds |
//! |---|---|
//! | [`text`] | the generated world: invented people, places and crafts, and stories about them |
//! | [`vocabulary`] | the tokenizer, learned from that text |
//! | [`loss`] | the batched forward pass over the primitives of [`crate::model::ops`], and its loss |
//! | [`adamw`] | the optimiser, with a state that can be saved |
//! | [`run`] | the loop: schedule, progress, save, resume |
//!
//! Everything random comes from the seed and a counter, so the state at a step does not depend on how often the run
//! was interrupted before it.

pub mod adamw;
pub mod loss;
pub mod run;
pub mod text;
pub mod vocabulary;

pub use run::{Options, Report, train};

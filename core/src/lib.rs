//! Sluice without a window: open a checkpoint, run it with every site in reach, change what flows
//! through it by a [`plan`], and turn what was computed into [`figure`]s.
//!
//! One direction only: a room imports from those before it, and a test holds it to that.
//!
//! ```text
//! error < files < records < rng < statistics < metric < spec < checkpoint < site < figure < model < plan <
//! world < engine < learn < score < batch < save < method < session < protocol < worker < train < evaluate
//! ```
//!
//! | room | what it holds |
//! |---|---|
//! | [`checkpoint`] | bytes on disk -> named tensors and a tokenizer, and back |
//! | [`spec`] | an architecture as data: [`spec::Spec`] and its parts, lanes, positions, parameters |
//! | [`model`] | its weights, and the one forward pass |
//! | [`site`] | every named point of the forward pass, its name, shape and parser |
//! | [`plan`] | interventions as values, one file per kind, compiled to a per-sublayer schedule |
//! | [`engine`] | runs and their caches, decoding |
//! | [`method`] | what can be asked: one list of methods, each a value with parameters, a run and findings; views are those quick enough to follow every change |
//! | [`batch`] | many prompts, one load: questions line by line, short ones in one pass |
//! | [`score`] | texts read window by window, without and with plans: nats, KL, agreement |
//! | [`save`] | the model that a plan describes, as a Hugging Face folder |
//! | [`metric`] | KL divergence, normalised recovery, cross-entropy and the like |
//! | [`files`] | one door for reading, one for writing |
//! | [`records`] | a line for each item that is done: what was killed goes on, what shards did is merged |
//! | [`figure`] | what a panel draws and what exports: data, SVG, PNG, CSV |
//! | [`session`] | what was worked on, to be taken up again: prompts, plans and their history, questions and findings |
//! | [`protocol`] | the values a front end and the worker exchange |
//! | [`worker`] | the one thread that owns the model |
//! | [`world`] | the generated world that the bundled checkpoint knows |
//! | [`learn`] | an optimiser, its rate, fits, and an open model that can be trained |
//! | [`train`] | makes the bundled checkpoint: batched loss, stages |
//! | [`evaluate`] | its report card |
//! | [`statistics`] | intervals |
//! | [`rng`] | counter-based random numbers |

pub mod batch;
pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod figure;
pub mod files;
pub mod learn;
pub mod method;
pub mod metric;
pub mod model;
pub mod plan;
pub mod protocol;
pub mod records;
pub mod rng;
pub mod save;
pub mod score;
pub mod session;
pub mod site;
pub mod spec;
pub mod statistics;
pub mod train;
pub mod worker;
pub mod world;

pub use error::{Error, Result};

//! Sluice without a window: open a checkpoint, run it with every site in reach, change what flows
//! through it by a [`plan`], and turn what was computed into [`figure`]s.
//!
//! One direction only:
//!
//! ```text
//! app -> worker -> study -> engine -> plan -> model -> checkpoint -> spec
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
//! | [`study`] | long jobs made of many runs: progress, partial results, cancel |
//! | [`metric`] | KL divergence, normalised recovery, cross-entropy and the like |
//! | [`figure`] | what a panel draws and what exports: data, SVG, PNG, CSV |
//! | [`view`] | what a panel shows of a prompt under a plan, one file per view |
//! | [`protocol`] | the values a front end and the worker exchange |
//! | [`worker`] | the one thread that owns the model |
//! | [`train`] | makes the bundled checkpoint: generated world, batched loss, optimiser |
//! | [`evaluate`] | its report card |
//! | [`statistics`] | intervals |
//! | [`rng`] | counter-based random numbers |

pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod figure;
pub mod metric;
pub mod model;
pub mod plan;
pub mod protocol;
pub mod rng;
pub mod site;
pub mod spec;
pub mod statistics;
pub mod study;
pub mod train;
pub mod view;
pub mod worker;

pub use error::{Error, Result};

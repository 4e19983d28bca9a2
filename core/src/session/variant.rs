//! Variants that were pinned: a library of named prompts and plans, with what each costs on a text.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Document;

/// A pinned variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Pinned {
    /// What a person calls it.
    pub name: Arc<str>,
    /// Prompt, picture and plan.
    pub document: Document,
    /// It is a column.
    pub shown: bool,
    /// What its plan costs on a text, where that was measured.
    pub cost: Option<PlanCost>,
}

impl Pinned {
    /// One that is shown, not yet measured.
    pub fn new(name: impl Into<Arc<str>>, document: Document) -> Self {
        Self { name: name.into(), document, shown: true, cost: None }
    }
}

/// What a plan costs on a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanCost {
    /// What was read.
    pub text: String,
    /// Loss under the plan, nats a token.
    pub loss: f64,
    /// Less the loss without it, with its 95 % interval.
    pub difference: [f64; 3],
    /// KL(without || with), nats.
    pub kl: f64,
    /// Share of the tokens after which the most likely next one stays.
    pub same: f64,
}

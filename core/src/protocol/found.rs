//! What studies have found so far.

use std::sync::Arc;

use super::{Fcct, RouteStudy, Token, Trace};
use crate::figure::Figure;
use crate::plan::{Route, Router};

/// Findings of a trace, partial while it runs.
#[derive(Clone, Debug)]
pub struct TraceFindings {
    /// What was asked.
    pub trace: Trace,
    /// The traced token.
    pub answer: Token,
    /// P(answer) of the clean run.
    pub p_clean: f32,
    /// P(answer) of the corrupted run.
    pub p_corrupted: f32,
    /// Normalised recovery, layer x token; NaN = not computed yet, or not defined.
    pub figure: Arc<Figure>,
    /// All cells are there.
    pub done: bool,
}

/// Findings of an FCCT grid, partial while it runs.
#[derive(Clone, Debug)]
pub struct FcctFindings {
    /// What was asked.
    pub fcct: Fcct,
    /// The followed token.
    pub answer: Token,
    /// P(answer) of the clean run.
    pub p_clean: f32,
    /// P(answer) of the corrupted run.
    pub p_corrupted: f32,
    /// Tokens in each category.
    pub tokens: [usize; 7],
    /// Recovery rates, layer x category, of residual, attention and FFN; NaN = not computed yet, or not defined.
    pub figures: [Arc<Figure>; 3],
    /// Recovery rate of the last token's attention output per layer, which IRI ranks and weighs by.
    pub attention: Vec<f32>,
    /// The same of the FFN output.
    pub ffn: Vec<f32>,
    /// All cells are there.
    pub done: bool,
}

/// Findings of an oracle, partial while it runs.
#[derive(Clone, Debug)]
pub struct RouteFindings {
    /// What was asked.
    pub ask: RouteStudy,
    /// The best route of every token so far; big where there is none.
    pub route: Route,
    /// The routes as a map; at the end also the difficulty of the tokens, losses by budget, and their controls.
    pub figures: Arc<[Arc<Figure>]>,
    /// At the end, by position: the loss of the token there with every FFN in the first lane, and what of it the oracle saves.
    /// NaN for what nothing foresees.
    pub difficulty: Option<[Arc<[f32]>; 2]>,
    /// All routes are done.
    pub done: bool,
}

/// How a router's training goes.
#[derive(Clone, Debug)]
pub struct RouterFindings {
    /// Loss and shares by step.
    pub figure: Arc<Figure>,
    /// As a plan names it, once it is saved.
    pub router: Router,
    /// Shares of its lanes with hard choices on text that was held back; empty until it is done.
    pub shares: Vec<f32>,
    /// Nats per token there: of the router, and with every FFN big.
    pub hard: Option<[f32; 2]>,
    /// It is trained, measured and saved.
    pub done: bool,
}

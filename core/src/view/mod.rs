//! Views: what a panel shows of a prompt under a plan, computed to data and a figure. One file per view; the window and
//! the command line use the same ones.

use std::sync::Arc;

use crate::engine::{Cancelled, Engine, Run, Token};
use crate::error::Result;
use crate::figure::{Axis, Figure, FigureId, Map, Plot, Provenance, Scale};
use crate::plan::Plan;

mod activations;
mod attention;
mod experts;
mod ladder;
mod lens;
mod neuron;
mod next;
mod routing;
mod strip;
mod values;
mod verdict;

pub(crate) use routing::classes as lane_classes;
pub use values::{
    Activations, ExpertShow, Neuron, NextRow, NextTokens, Side, Strip, Verdict, View, ViewData,
};

/// A prompt run without and with its plan.
pub struct Runs {
    /// The unmodified run.
    pub base: Arc<Run>,
    /// The run under the plan.
    pub plan: Arc<Run>,
    /// The plan.
    pub source: Plan,
    /// The prompt's tokens as shown.
    pub tokens: Arc<[Token]>,
    /// For the figures.
    pub provenance: Provenance,
}

impl Runs {
    /// One of the two runs.
    pub fn side(&self, side: Side) -> &Arc<Run> {
        match side {
            Side::Base => &self.base,
            Side::Plan => &self.plan,
        }
    }

    /// Column labels: position and token.
    fn labels(&self) -> Arc<[String]> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }

    fn figure(
        &self,
        id: FigureId,
        detail: &str,
        title: impl Into<String>,
        plot: Plot,
        notes: Vec<String>,
    ) -> Arc<Figure> {
        let title = title.into();
        Arc::new(Figure {
            id,
            name: id.0.into(),
            detail: detail.into(),
            short: title.clone(),
            title,
            plot,
            notes,
            provenance: self.provenance.clone(),
        })
    }
}

/// Compute a view.
pub fn compute(engine: &mut Engine, runs: &Runs, view: &View, cancelled: Cancelled) -> Result<ViewData> {
    match view {
        View::Next { position, top, answer } => {
            next::compute(engine, runs, *position, *top, answer).map(ViewData::Next)
        }
        View::Strip => strip::compute(engine, runs, cancelled).map(ViewData::Strip),
        View::Activations { layer, hook, side, sort, top } => {
            let rows = activations::Rows { sort: *sort, top: top.unwrap_or(usize::MAX) };
            activations::compute(engine, runs, *layer, *hook, *side, rows, cancelled)
                .map(ViewData::Activations)
        }
        View::Neuron { layer, neuron } => {
            neuron::compute(engine, runs, *layer, *neuron, cancelled).map(ViewData::Neuron)
        }
        View::Attention { layer, head, side } => {
            attention::compute(engine, runs, *layer, *head, *side, cancelled).map(ViewData::Figure)
        }
        View::Lens { side } => lens::compute(engine, runs, *side, cancelled).map(ViewData::Figure),
        View::Experts { layer, side, show } => {
            experts::compute(engine, runs, *layer, *side, *show, cancelled).map(ViewData::Figure)
        }
        View::Routing => Ok(ViewData::Figure(routing::compute(engine, runs))),
        View::Ladder => Ok(ViewData::Figure(ladder::compute(engine, runs))),
        View::Verdict { answer } => verdict::compute(engine, runs, answer, cancelled).map(ViewData::Verdict),
    }
}

/// `0`, `1`, `2` …
fn numbers(count: usize) -> Arc<[String]> {
    (0..count).map(|index| index.to_string()).collect()
}

/// A map over the prompt's tokens.
fn map(
    row_name: &str,
    rows: Arc<[String]>,
    cols: Arc<[String]>,
    values: Vec<f32>,
    scale: Scale,
    quantity: &str,
) -> Map {
    Map {
        rows: Axis { name: row_name.into(), labels: rows },
        cols: Axis { name: "Token".into(), labels: cols },
        values: values.into(),
        scale,
        quantity: quantity.into(),
        text: None,
    }
}

/// Largest magnitude among finite values.
fn largest(values: &[f32]) -> f32 {
    values.iter().filter(|x| x.is_finite()).fold(0.0, |largest, x| largest.max(x.abs()))
}

/// For file names.
fn side_slug(side: Side) -> &'static str {
    match side {
        Side::Base => "base",
        Side::Plan => "plan",
    }
}

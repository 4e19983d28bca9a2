//! Views: what a panel shows of a prompt under a plan, computed to data and a figure. One file per view; the window and
//! the command line use the same ones.

use std::sync::Arc;

use crate::engine::{Cancelled, Engine, Run};
use crate::error::{Error, Result};
use crate::figure::{Axis, Figure, Map, Plot, Provenance, Scale};
use crate::metric;
use crate::model::Input;
use crate::plan::Plan;
use crate::protocol::{Answer, Patch, Side, Token, View, ViewData};

mod activations;
mod attention;
mod experts;
mod ladder;
mod lens;
mod neuron;
mod next;
mod routing;
mod strip;
mod verdict;

pub(crate) use routing::classes as lane_classes;

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
        [name, detail]: [&str; 2],
        title: impl Into<String>,
        plot: Plot,
        notes: Vec<String>,
    ) -> Arc<Figure> {
        Arc::new(Figure {
            name: name.into(),
            detail: detail.into(),
            title: title.into(),
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

/// A token id as shown.
pub fn token(engine: &Engine, id: u32) -> Token {
    let text = match &engine.tokenizer {
        Some(tokenizer) => tokenizer.piece(id).text,
        None => id.to_string(),
    };
    Token { id, text, patch: None }
}

/// The tokens of a prompt as shown: those that stand for a picture say which part.
pub fn tokens(engine: &Engine, input: &Input) -> Arc<[Token]> {
    let shown = input.iter().map(|&id| token(engine, id));
    let (Some(image), Some(spec)) = (input.image(), &engine.model.spec.vision) else {
        return shown.collect();
    };
    let cells = (0..spec.side()).flat_map(|row| (0..spec.side()).map(move |col| Patch::At { row, col }));
    let mut parts = spec.keep_class.then_some(Patch::Class).into_iter().chain(cells);
    let part = |mut token: Token| {
        token.patch = if token.id == image.token { parts.next() } else { None };
        match token.patch {
            Some(Patch::At { row, col }) => token.text = format!("img {row},{col}"),
            Some(Patch::Class) => token.text = "img class".into(),
            None => {}
        }
        token
    };
    shown.map(part).collect()
}

/// The id that an answer stands for. `logits` (or log probabilities) of the unmodified run.
pub(crate) fn answer(engine: &Engine, answer: &Answer, logits: &[f32]) -> Result<u32> {
    let id = match answer {
        Answer::Top => metric::top_k(logits, 1).first().map_or(0, |(id, _)| *id),
        Answer::Id(id) => *id,
        Answer::Text(text) => {
            let tokenizer = engine.tokenizer.as_ref();
            let tokenizer = tokenizer.ok_or_else(|| {
                Error::Input("this checkpoint has no tokenizer: give the answer as a token id".into())
            })?;
            let first = tokenizer.encode(text, false)?.first().copied();
            first.ok_or_else(|| Error::Input("the answer is empty".into()))?
        }
    };
    if id as usize >= engine.model.spec.vocab {
        return Err(Error::Input(format!("token id {id} is past the vocabulary")));
    }
    Ok(id)
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

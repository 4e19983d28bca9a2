//! Logit lens: the final norm and the unembedding applied to the stream after every block (nostalgebraist 2020).

use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use super::figures::{map, numbers, values};
use super::kind::{Shown, ViewKind, on_the_prompt};
use super::run::start;
use super::runs::{Runs, Side};
use crate::engine::{Cancelled, Engine, RunSize};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Plot, Scale};
use crate::method::measure::{by_layer, one};
use crate::method::{
    Fact, Group, Measure, Measured, Method, Params as _, Source, SubjectKind, as_it_is, params,
};
use crate::metric;

/// The logit lens.
pub static LENS: Method = Method {
    id: "lens",
    aliases: &[],
    group: Group::Look,
    name: "Lens",
    title: "What would each layer predict?",
    line: "the top token of the stream after every block, by the final norm and the unembedding",
    reading: "the answer forms at the layer from which on the last column keeps one token",
    source: Source {
        paper: "interpreting GPT: the logit lens (nostalgebraist 2020)",
        arxiv: "",
        section: "whole",
    },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[
        Measure {
            name: "agreement",
            title: "Agreement with the final top token",
            quantity: "share of prompts whose top token after the last position is the final one",
            unit: "",
            signed: false,
            shape: by_layer,
        },
        Measure {
            name: "settled",
            title: "Layer from which it stays",
            quantity: "layer",
            unit: "",
            signed: false,
            shape: one,
        },
    ],
    fields: LensAsk::FIELDS,
    plan: as_it_is,
    start: start::<LensAsk>,
    samples: on_the_prompt,
};

params! {
    /// Parameters of the logit lens.
    #[derive(Copy, Eq, Hash)]
    pub struct LensAsk {
        /// Which of the two runs
        side: Side = Side::Plan;
    }
}

/// Rows whose logits are held at a time.
const CHUNK: usize = 32;

/// Top tokens of the stream after every block.
#[derive(Clone, Debug, Serialize)]
pub struct LogitLens {
    /// Their ids, `[layers][T]`.
    pub top: Vec<Vec<u32>>,
    /// Layer x token map of their probabilities; in JSON those, `[layers][T]`.
    #[serde(rename = "p", serialize_with = "values")]
    pub figure: Arc<Figure>,
}

impl Shown for LogitLens {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        let layer = settled(&self.top);
        let name = "layer from which the last position keeps its top token";
        layer.map(|layer| Fact::new(name, layer as f64, "")).into_iter().collect()
    }

    fn measured(&self) -> Measured {
        let last = self.top.last().and_then(|row| row.last());
        let same = |row: &Vec<u32>| f64::from(u8::from(row.last() == last));
        let layer = settled(&self.top).map_or(f64::NAN, |layer| layer as f64);
        Ok(vec![self.top.iter().map(same).collect(), vec![layer]])
    }
}

/// First layer from which the top token of the last position is the final one.
fn settled(top: &[Vec<u32>]) -> Option<usize> {
    let last = top.last()?.last()?;
    Some(top.iter().rposition(|row| row.last() != Some(last)).map_or(0, |other| other + 1))
}

impl ViewKind for LensAsk {
    type Data = LogitLens;
    const METHOD: &'static Method = &LENS;

    fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<LogitLens> {
        let run = runs.side(self.side);
        let change = self.side == Side::Change;
        RunSize::new(&engine.model.spec, CHUNK).with_all_logits().check()?;
        let layers = engine.model.spec.n_layers();
        let (mut top, mut values, mut texts) = (Vec::with_capacity(layers), Vec::new(), Vec::new());
        // Boundaries 2, 4 … are the streams after blocks 0, 1 …
        for number in (1..=layers).map(|block| 2 * block) {
            let x = engine.boundary(run, number)?;
            let base = if change { Some(engine.boundary(&runs.base, number)?) } else { None };
            let mut ids = Vec::with_capacity(run.tokens.len());
            for start in (0..run.tokens.len()).step_by(CHUNK) {
                if cancelled() {
                    return Err(Error::Cancelled);
                }
                let logits = |x: &Tensor| -> Result<Vec<Vec<f32>>> {
                    let rows = x.narrow(0, start, CHUNK.min(run.tokens.len() - start))?;
                    Ok(engine.model.lens(&rows)?.to_vec2()?)
                };
                let rows = logits(&x)?;
                let best: Vec<(u32, f32)> = rows.par_iter().map(|row| most_likely(row)).collect();
                ids.extend(best.iter().map(|(id, _)| id));
                let Some(base) = &base else {
                    values.extend(best.iter().map(|(_, p)| p));
                    texts.extend(best.iter().map(|&(id, _)| engine.token(id).text));
                    continue;
                };
                // What the model has on top, and what becomes of it.
                for ((row, base), (now, _)) in rows.iter().zip(logits(base)?).zip(best) {
                    let (was, p) = most_likely(&base);
                    values.push(metric::probability(row, was) - p);
                    let [was_text, now_text] = [was, now].map(|id| engine.token(id).text);
                    texts.push(if was == now { was_text } else { format!("{was_text}→{now_text}") });
                }
            }
            top.push(ids);
        }
        let (scale, quantity, title) = match change {
            true => (
                Scale::Diverging { max_abs: 1.0 },
                "change of p of the model's top token",
                "Logit lens, change",
            ),
            false => (Scale::Sequential { min: 0.0, max: 1.0 }, "p of the top token", "Logit lens"),
        };
        let mut map = map("Layer", numbers(layers), runs.labels(), values, scale, quantity);
        map.text = Some(texts.into());
        let notes = vec![format!("top token at every layer, final norm applied; {}", self.side.phrase())];
        let figure = runs.figure(FigureId(LENS.id), self.side.name(), title, Plot::Map(map), notes);
        Ok(LogitLens { top, figure })
    }
}

/// The top token of a row of logits with its probability.
fn most_likely(row: &[f32]) -> (u32, f32) {
    let best = metric::top_k(row, 1).first().map_or(0, |(id, _)| *id);
    (best, metric::probability(row, best))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_settled_where_it_does_not_change_any_more() {
        assert_eq!(settled(&[vec![1, 7], vec![1, 3], vec![2, 7], vec![0, 7]]), Some(2));
        assert_eq!(settled(&[vec![7], vec![7]]), Some(0));
        assert_eq!(settled(&[]), None);
    }
}

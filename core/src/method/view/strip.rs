//! Per prompt token: how surprising it was, how much the plan changes what follows, and what was expected instead.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::kind::{Shown, ViewKind, on_the_prompt};
use super::run::start;
use super::runs::Runs;
use crate::engine::{Cancelled, Engine, Run, Token};
use crate::error::Result;
use crate::figure::{Cell, Figure, FigureId, Plot, Table};
use crate::method::{Fact, Group, Method, Params as _, Source, SubjectKind, as_it_is, params};
use crate::metric;

/// The numbers of the token strip.
pub static TOKENS: Method = Method {
    id: "tokens",
    aliases: &[],
    group: Group::Look,
    name: "Tokens",
    title: "Which tokens surprise the model?",
    line: "surprisal of every prompt token without and with the plan, and how much the plan changes what follows",
    reading: "a high value is a token that the context did not foretell, or after which the plan matters",
    source: Source { paper: "-ln p(token | before)", arxiv: "", section: "by definition" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: StripAsk::FIELDS,
    plan: as_it_is,
    start: start::<StripAsk>,
    samples: on_the_prompt,
};

params! {
    /// Parameters of the token strip: none.
    #[derive(Copy, Eq, Hash)]
    pub struct StripAsk {}
}

/// Predictions shown on hover.
const TOP: usize = 5;

/// Rows whose logits are held at a time.
const CHUNK: usize = 32;

/// Per prompt token, as long as the prompt.
#[derive(Clone, Debug, Serialize)]
pub struct Strip {
    /// -ln p(token | before) in the unmodified model, nats; NaN for the first and for parts of a picture.
    pub surprisal_base: Vec<f32>,
    /// The same under the plan.
    pub surprisal_plan: Vec<f32>,
    /// KL(base || plan) of the distribution after the token, nats.
    pub kl: Vec<f32>,
    /// Top predictions after the token under the plan with their probabilities, best first.
    pub top: Vec<Vec<(Token, f32)>>,
    /// The prompt's tokens.
    #[serde(skip)]
    pub tokens: Arc<[Token]>,
    /// The four columns as a figure.
    #[serde(skip)]
    pub figure: Arc<Figure>,
}

impl Shown for Strip {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        let largest = self.kl.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let after = |at: usize| self.tokens.get(at).map_or("", |token| token.text.as_str());
        let largest = largest.map(|(at, &kl)| {
            Fact::new(format!("largest KL(base || plan), after position {at} ({})", after(at)), kl, "nats")
        });
        let means = [
            Fact::new("mean surprisal, unmodified", mean(&self.surprisal_base), "nats"),
            Fact::new("mean surprisal, under the plan", mean(&self.surprisal_plan), "nats"),
        ];
        means.into_iter().chain(largest).collect()
    }
}

/// Of what is defined.
fn mean(values: &[f32]) -> f64 {
    let defined = values.iter().filter(|x| !x.is_nan());
    let (sum, count) = defined.fold((0.0, 0.0), |(sum, count), &x| (sum + f64::from(x), count + 1.0));
    sum / count
}

impl ViewKind for StripAsk {
    type Data = Strip;
    const METHOD: &'static Method = &TOKENS;

    fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<Strip> {
        let ids = &runs.base.tokens;
        let mut rows: Vec<Row> = Vec::with_capacity(ids.len());
        for start in (0..ids.len()).step_by(CHUNK) {
            let len = CHUNK.min(ids.len() - start);
            let logits = |run: &Run| engine.rows_logits(run, start, len, cancelled);
            let base = logits(&runs.base)?;
            let plan = if runs.are_one() { None } else { Some(logits(&runs.plan)?) };
            let plan = plan.as_ref().unwrap_or(&base);
            let chunk = base.par_iter().zip(plan).enumerate();
            rows.par_extend(chunk.map(|(i, (base, plan))| row(base, plan, ids.get(start + i + 1).copied())));
        }
        let before = |side: usize| -> Vec<f32> {
            let known = rows.iter().take(ids.len().saturating_sub(1));
            let values = std::iter::once(f32::NAN).chain(known.map(|row| row.surprisal[side]));
            // Nothing predicts a part of a picture: its token's id stands for all of them.
            let value = |(x, token): (f32, &Token)| if token.patch.is_some() { f32::NAN } else { x };
            values.zip(runs.tokens.iter()).map(value).collect()
        };
        let (surprisal_base, surprisal_plan) = (before(0), before(1));
        let kl: Vec<f32> = rows.iter().map(|row| row.kl).collect();
        let top = |row: &Row| row.top.iter().map(|&(id, p)| (engine.token(id), p)).collect();
        let cells = runs.tokens.iter().zip(&surprisal_base).zip(&surprisal_plan).zip(&kl);
        let table = Table {
            columns: ["Token", "Surprisal base (nats)", "Surprisal plan (nats)", "KL after (nats)"]
                .map(Into::into)
                .into(),
            rows: cells
                .map(|(((token, a), b), kl)| {
                    let number = |x: &f32| Cell::Number(f64::from(*x));
                    vec![Cell::Text(token.text.clone()), number(a), number(b), number(kl)]
                })
                .collect(),
        };
        let figure = runs.figure(FigureId(TOKENS.id), "", "Prompt tokens", Plot::Table(table), Vec::new());
        let (top, tokens) = (rows.iter().map(top).collect(), Arc::clone(&runs.tokens));
        Ok(Strip { surprisal_base, surprisal_plan, kl, top, tokens, figure })
    }
}

/// What one row of logits says.
struct Row {
    surprisal: [f32; 2],
    kl: f32,
    top: Vec<(u32, f32)>,
}

fn row(base: &[f32], plan: &[f32], next: Option<u32>) -> Row {
    let (base, plan) = (metric::log_softmax(base), metric::log_softmax(plan));
    let surprisal = |log_p: &[f32]| next.and_then(|id| log_p.get(id as usize)).map_or(f32::NAN, |x| -x);
    Row {
        surprisal: [surprisal(&base), surprisal(&plan)],
        kl: metric::kl(&base, &plan) as f32,
        top: metric::top_k(&plan, TOP).into_iter().map(|(id, x)| (id, x.exp())).collect(),
    }
}

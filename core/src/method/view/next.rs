//! Next-token distributions after one position, base versus plan.

use std::sync::Arc;

use serde::Serialize;

use super::kind::{Shown, ViewKind, on_the_prompt, within};
use super::run::start;
use super::runs::Runs;
use crate::engine::{Answer, Cancelled, Engine, Run, Token};
use crate::error::Result;
use crate::figure::{Cell, Figure, FigureId, Plot, Table};
use crate::method::measure::one;
use crate::method::{
    Fact, Group, Measure, Measured, Method, Params as _, Source, SubjectKind, as_it_is, params,
};
use crate::metric;
use crate::spec::Spec;

/// The most likely next tokens.
pub static NEXT_TOKENS: Method = Method {
    id: "next-tokens",
    aliases: &[],
    group: Group::Look,
    name: "Next tokens",
    title: "What comes next?",
    line: "the most likely next tokens after a position, without and with the plan",
    reading: "KL says how far the whole distribution moves, the rows where to",
    source: Source { paper: "softmax of the logits", arxiv: "", section: "by definition" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[
        Measure {
            name: "kl",
            title: "KL from the unmodified model",
            quantity: "KL(base || plan), nats",
            unit: "nats",
            signed: false,
            shape: one,
        },
        Measure {
            name: "p_base",
            title: "p(answer), unmodified",
            quantity: "p(answer), unmodified",
            unit: "",
            signed: false,
            shape: one,
        },
        Measure {
            name: "p_plan",
            title: "p(answer), under the plan",
            quantity: "p(answer), under the plan",
            unit: "",
            signed: false,
            shape: one,
        },
    ],
    fields: NextAsk::FIELDS,
    plan: as_it_is,
    start: start::<NextAsk>,
    samples: on_the_prompt,
};

params! {
    /// Parameters of the next-token table.
    #[derive(Eq, Hash)]
    pub struct NextAsk {
        /// Prompt position that the tokens follow; left out = the last
        position: Option<usize> = None;
        /// Tokens of each of the two runs
        top: usize = 10, from 1;
        /// Token that is always listed, whatever its rank; left out = the unmodified model's most likely one
        answer: Answer = Answer::Top;
    }
}

/// Next-token distributions after one position.
#[derive(Clone, Debug, Serialize)]
pub struct NextTokens {
    /// Prompt position.
    pub position: usize,
    /// Union of both top lists and the answer: by plan probability, then the rest by base probability.
    pub rows: Vec<NextRow>,
    /// The answer's row.
    pub answer: NextRow,
    /// KL(base || plan) in nats.
    pub kl: f64,
    /// The table as a figure.
    #[serde(skip)]
    pub figure: Arc<Figure>,
}

/// A token with its probability in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NextRow {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// Probability in the unmodified model.
    pub base: f32,
    /// Probability under the plan.
    pub plan: f32,
}

impl NextRow {
    /// Of two rows of log probabilities.
    pub(super) fn new(engine: &Engine, id: u32, base: &[f32], plan: &[f32]) -> Self {
        let p = |row: &[f32]| row.get(id as usize).map_or(f32::NAN, |x| x.exp());
        Self { token: engine.token(id), base: p(base), plan: p(plan) }
    }

    /// Both probabilities, named.
    pub(super) fn facts(&self) -> [Fact; 2] {
        let text = self.token.quoted();
        [
            Fact::new(format!("p({text}), unmodified"), self.base, ""),
            Fact::new(format!("p({text}), under the plan"), self.plan, ""),
        ]
    }
}

impl Shown for NextTokens {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    /// The most likely token of each run, before and after.
    fn facts(&self) -> Vec<Fact> {
        let most = |p: fn(&NextRow) -> f32| self.rows.iter().max_by(|a, b| p(a).total_cmp(&p(b)));
        let (base, plan) = (most(|row| row.base), most(|row| row.plan));
        let other = plan.filter(|plan| base.is_some_and(|base| base.token.id != plan.token.id));
        let rows = base.into_iter().chain(other).flat_map(NextRow::facts);
        [Fact::new("KL(base || plan)", self.kl, "nats")].into_iter().chain(rows).collect()
    }

    fn measured(&self) -> Measured {
        Ok(vec![vec![self.kl], vec![f64::from(self.answer.base)], vec![f64::from(self.answer.plan)]])
    }
}

impl ViewKind for NextAsk {
    type Data = NextTokens;
    const METHOD: &'static Method = &NEXT_TOKENS;

    fn check(&self, _: &Spec, tokens: usize) -> Result<()> {
        self.position.map_or(Ok(()), |position| within("position", position, "the prompt", tokens))
    }

    fn compute(&self, engine: &mut Engine, runs: &Runs, _: Cancelled) -> Result<NextTokens> {
        let position = self.position.unwrap_or(runs.tokens.len().saturating_sub(1));
        let base = metric::log_softmax(&logits(engine, &runs.base, position)?);
        let plan = metric::log_softmax(&logits(engine, &runs.plan, position)?);
        let mut ids: Vec<u32> = metric::top_k(&plan, self.top).into_iter().map(|(id, _)| id).collect();
        for (id, _) in metric::top_k(&base, self.top) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let answer = engine.answer_id(&self.answer, &base)?;
        if !ids.contains(&answer) {
            ids.push(answer);
        }
        let row = |id: u32| NextRow::new(engine, id, &base, &plan);
        let rows: Vec<NextRow> = ids.iter().map(|&id| row(id)).collect();
        let kl = metric::kl(&base, &plan);
        let after = runs.tokens.get(position).map_or_else(String::new, Token::quoted);
        let notes = vec![format!("after position {position} ({after}); KL(base || plan) = {kl:.4} nats")];
        let last = position + 1 == runs.tokens.len();
        let detail = if last { String::new() } else { format!("position-{position}") };
        let id = FigureId(NEXT_TOKENS.id);
        let figure = runs.figure(id, &detail, "Next token", Plot::Table(table(&rows)), notes);
        Ok(NextTokens { position, rows, answer: row(answer), kl, figure })
    }
}

fn table(rows: &[NextRow]) -> Table {
    let cells = |row: &NextRow| {
        vec![
            Cell::Text(row.token.text.clone()),
            Cell::Number(f64::from(row.token.id)),
            Cell::Number(100.0 * f64::from(row.base)),
            Cell::Number(100.0 * f64::from(row.plan)),
        ]
    };
    Table {
        columns: ["Token", "Id", "p base (%)", "p plan (%)"].map(Into::into).into(),
        rows: rows.iter().map(cells).collect(),
    }
}

/// Logits after one position of a run: kept for the last, else one row of the unembedding.
fn logits(engine: &Engine, run: &Run, position: usize) -> Result<Vec<f32>> {
    if position + 1 == run.tokens.len() {
        return Ok(run.last.clone());
    }
    engine.row_logits(run, position)
}

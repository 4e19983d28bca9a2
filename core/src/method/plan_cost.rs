//! What a plan costs on a text: the loss of its tokens without and with it, how far the predictions move, how often the most
//! likely token stays the same.

use std::sync::Arc;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Ask, Case, Fact, Found, Group, Method, Params as _, Sample, Source, State, Stepper, Steps, SubjectKind,
    as_it_is, bits64, params, raw, read,
};
use crate::engine::{Cancelled, Card, Engine, RunSize};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Lines, Plot, Provenance, Series};
use crate::metric;
use crate::model::{Ask as Asks, Input, Logits, Pass, Schedule, Work, fused};
use crate::plan::{Change, Part, Plan, Positions, Skip, Sublayer};
use crate::statistics::{Mean, Share};

/// What a plan costs on a text.
pub static PLAN_COST: Method = Method {
    id: "plan-cost",
    aliases: &[],
    group: Group::Compare,
    name: "Cost of a plan",
    title: "What does the plan cost on a text?",
    line: "loss of a text's tokens without and with the plan, KL, and how often the most likely token stays",
    reading: "where the two curves are apart, the plan costs something on that piece of the text",
    source: Source { paper: "cross-entropy and KL", arxiv: "", section: "by definition" },
    subject: SubjectKind::Text,
    picks: &[],
    needs: &[],
    fields: PlanCostAsk::FIELDS,
    plan: as_it_is,
    start,
    samples,
};

params! {
    /// Parameters of a plan's cost.
    pub struct PlanCostAsk {
        /// Pieces of the text
        samples: usize = 16, in 1..=100000;
        /// Tokens of each
        length: usize = 128, in 2..=1048576, unit "tokens";
    }
}

/// Loss by piece.
const LOSS: FigureId = FigureId("plan-cost");

fn start(mut case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    let ask: PlanCostAsk = read(ask)?;
    let pieces = case.samples_at_most(ask.samples, ask.length)?;
    Ok(Box::new(PlanCostRun::new(case, pieces)?))
}

fn samples(card: &Card) -> Vec<Sample> {
    // Without an FFN in the middle.
    let sublayer = Sublayer { layer: card.spec.n_layers() / 2, part: Part::Ffn };
    let skip = Change::Skip(Skip { sublayer, positions: Positions::All });
    let plan = Plan { items: vec![skip.into()], ..Plan::default() };
    let sample = Sample::of_text(card, 4).map(|sample| sample.with("length", card.spec.context.min(64)));
    sample.into_iter().map(|sample| Sample { plan: plan.clone(), ..sample }).collect()
}

/// Findings.
#[derive(Clone, Debug, Serialize)]
pub struct PlanCostFound {
    /// Tokens of a piece that were foretold: all but its first.
    pub tokens: usize,
    /// Mean nats a token without the plan, by piece.
    pub base: Vec<f64>,
    /// The same with it.
    pub plan: Vec<f64>,
    /// Mean KL(without || with) after every token, nats, by piece.
    pub kl: Vec<f64>,
    /// Tokens after which the most likely next one is the same, by piece.
    pub same: Vec<u64>,
    /// Tokens that were compared so, of each piece.
    pub compared: u64,
    /// Losses by piece.
    #[serde(skip)]
    pub figure: Arc<Figure>,
}

impl PlanCostFound {
    /// With less without, mean nats a token, with a bootstrap interval over pieces.
    pub fn difference(&self) -> Mean {
        Mean::of(&self.plan.iter().zip(&self.base).map(|(plan, base)| plan - base).collect::<Vec<_>>())
    }
}

impl Found for PlanCostFound {
    fn facts(&self) -> Vec<Fact> {
        if self.base.is_empty() {
            return Vec::new();
        }
        let mean = |name: &str, values: &[f64]| {
            let Mean { mean, interval: [low, high] } = Mean::of(values);
            Fact { low: Some(low), high: Some(high), ..Fact::new(name, mean, "nats") }
        };
        let Mean { mean: difference, interval: [low, high] } = self.difference();
        let same = Share::new(self.same.iter().sum(), self.compared * self.same.len() as u64);
        let [least, most] = same.interval;
        vec![
            Fact { low: Some(low), high: Some(high), ..Fact::new("difference", difference, "nats") },
            mean("loss, unmodified", &self.base),
            mean("loss, under the plan", &self.plan),
            mean("KL(base || plan)", &self.kl),
            Fact { low: Some(least), high: Some(most), ..Fact::new("same next token", same.share, "") },
        ]
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        vec![Arc::clone(&self.figure)]
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }
}

/// The text being read.
pub struct PlanCostRun {
    pieces: Vec<Input>,
    plan: Plan,
    under_way: Option<UnderWay>,
    provenance: Provenance,
    kept: Kept,
}

/// A piece under way.
enum UnderWay {
    /// The pass without the plan.
    Base(Pass),
    /// The pass under the plan, beside the logits without it.
    Plan(Pass, Tensor),
    Rows(Rows),
}

/// Logits of a piece, read row by row.
struct Rows {
    base: Tensor,
    plan: Tensor,
    /// Losses of the rows that are done, without the plan and under it.
    losses: [Vec<f32>; 2],
    kl: Vec<f64>,
    same: u64,
}

/// Logits that are read between two looks at what else is asked.
const AT_ONCE: usize = 1 << 20;

impl Rows {
    fn new(base: Tensor, plan: Tensor) -> Self {
        Self { base, plan, losses: Default::default(), kl: Vec::new(), same: 0 }
    }

    /// Some rows of a piece. Whether it was the last of them.
    fn step(&mut self, piece: &Input) -> Result<bool> {
        let from = self.kl.len();
        let (rows, vocab) = self.base.dims2()?;
        let count = (AT_ONCE / vocab.max(1)).clamp(1, rows.saturating_sub(from).max(1));
        // The last row foretells what is not there.
        let next: Vec<u32> = piece.iter().skip(1 + from).take(count).copied().collect();
        if !next.is_empty() {
            for (losses, logits) in self.losses.iter_mut().zip([&self.base, &self.plan]) {
                let own = fused::surprisal(&logits.narrow(0, from, next.len())?, &next)?;
                losses.extend(own.to_vec1::<f32>()?);
            }
        }
        for row in from..rows.min(from + count) {
            let log = |logits: &Tensor| -> Result<Vec<f32>> {
                Ok(metric::log_softmax(&logits.get(row)?.to_vec1::<f32>()?))
            };
            let (base, plan) = (log(&self.base)?, log(&self.plan)?);
            let top = |row: &[f32]| metric::top_k(row, 1).first().map(|(id, _)| *id);
            self.kl.push(metric::kl(&base, &plan));
            self.same += u64::from(top(&base) == top(&plan));
        }
        Ok(self.kl.len() >= rows)
    }
}

/// State that a later run goes on from.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    #[serde(with = "bits64")]
    base: Vec<f64>,
    #[serde(with = "bits64")]
    plan: Vec<f64>,
    #[serde(with = "bits64")]
    kl: Vec<f64>,
    same: Vec<u64>,
    work: Work,
}

impl PlanCostRun {
    /// Over pieces of one length, nothing read yet.
    ///
    /// # Errors
    /// Findings of another number of pieces, or too little memory.
    pub fn new(case: Case<'_>, pieces: Vec<Input>) -> Result<Self> {
        let resumed: Option<Kept> = case.resumed()?;
        let length = pieces.first().map_or(0, |piece| piece.len());
        // Those of both are held at once.
        RunSize::new(&case.engine.model.spec, 2 * length).with_all_logits().check()?;
        let Case { plan, provenance, .. } = case;
        Ok(Self { pieces, plan, under_way: None, provenance, kept: resumed.unwrap_or_default() })
    }

    fn begin(engine: &Engine, piece: &Input, schedule: &Arc<Schedule>) -> Result<Pass> {
        let ask = Asks { logits: Logits::All, ..Asks::default() };
        Ok(engine.start(piece, schedule, ask)?.0)
    }

    /// Logits of a pass that is done.
    fn logits(&mut self, pass: Pass) -> Result<Tensor> {
        let output = pass.finish();
        self.kept.work += output.work;
        output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))
    }

    /// Every row of a piece was read.
    fn take(&mut self, rows: &Rows) {
        let mean_of = |losses: &[f32]| mean(losses.iter().map(|x| f64::from(*x)));
        let [base, plan] = &rows.losses;
        self.kept.base.push(mean_of(base));
        self.kept.plan.push(mean_of(plan));
        self.kept.kl.push(mean(rows.kl.iter().copied()));
        self.kept.same.push(rows.same);
    }

    /// Findings so far.
    pub fn findings(&self) -> PlanCostFound {
        let Kept { base, plan, kl, same, .. } = self.kept.clone();
        let length = self.pieces.first().map_or(0, |piece| piece.len());
        let series = |name: &str, values: &[f64]| {
            let rest = self.pieces.len() - values.len().min(self.pieces.len());
            let known = values.iter().map(|x| *x as f32).chain(std::iter::repeat_n(f32::NAN, rest));
            Series { name: name.into(), y: known.collect() }
        };
        let lines = Lines {
            x_name: "Piece of the text".into(),
            y_name: "Loss (nats a token)".into(),
            x_labels: (0..self.pieces.len()).map(|piece| piece.to_string()).collect(),
            series: vec![series("unmodified", &base), series("under the plan", &plan)],
        };
        let figure = Figure {
            id: LOSS,
            name: LOSS.0.into(),
            detail: String::new(),
            short: "Loss".into(),
            title: "Loss of a text without and with the plan".into(),
            plot: Plot::Lines(lines),
            notes: vec![format!(
                "pieces of {length} tokens, each read on its own; a piece's first token is not foretold"
            )],
            provenance: self.provenance.clone(),
        };
        let (tokens, compared) = (length.saturating_sub(1), length as u64);
        PlanCostFound { tokens, base, plan, kl, same, compared, figure: Arc::new(figure) }
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len();
    values.sum::<f64>() / count as f64
}

impl Stepper for PlanCostRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        let Some(piece) = self.pieces.get(self.kept.base.len()).cloned() else { return Ok(()) };
        let mut under_way = match self.under_way.take() {
            Some(under_way) => under_way,
            None => UnderWay::Base(Self::begin(engine, &piece, &Schedule::none())?),
        };
        let done = match &mut under_way {
            UnderWay::Base(pass) | UnderWay::Plan(pass, _) => {
                pass.step()?;
                pass.is_done()
            }
            UnderWay::Rows(rows) => rows.step(&piece)?,
        };
        self.under_way = match (done, under_way) {
            (false, under_way) => Some(under_way),
            (true, UnderWay::Base(pass)) => {
                let base = self.logits(pass)?;
                Some(if self.plan.active().is_empty() {
                    UnderWay::Rows(Rows::new(base.clone(), base))
                } else {
                    let schedule = engine.schedule(&self.plan.fitted(piece.len()), &piece, cancelled)?;
                    UnderWay::Plan(Self::begin(engine, &piece, &schedule)?, base)
                })
            }
            (true, UnderWay::Plan(pass, base)) => Some(UnderWay::Rows(Rows::new(base, self.logits(pass)?))),
            (true, UnderWay::Rows(rows)) => {
                self.take(&rows);
                None
            }
        };
        Ok(())
    }

    fn progress(&self) -> Steps {
        Steps { done: self.kept.base.len(), all: self.pieces.len(), unit: "pieces" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        self.kept.work
    }

    fn state(&self) -> Result<State> {
        // Before the first piece is done there is nothing to go on from.
        if self.kept.base.is_empty() {
            return Ok(State::default());
        }
        State::new(&self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{bundled, never, open};
    use crate::method::finish;

    fn found(engine: &mut Engine, plan: &Plan) -> PlanCostFound {
        let mut case = Case { plan: plan.clone(), ..Case::new(engine, Vec::new().into()) };
        let pieces = case.samples_at_most(3, 24).unwrap();
        let mut run = PlanCostRun::new(case, pieces).unwrap();
        finish(&mut run, engine, &never).unwrap();
        run.findings()
    }

    #[test]
    fn losses_are_those_of_runs_of_their_own() {
        let mut engine = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
        let skip = Skip { sublayer: Sublayer { layer: 2, part: Part::Ffn }, positions: Positions::All };
        let plan = Plan { items: vec![Change::Skip(skip).into()], ..Plan::default() };
        let of = found(&mut engine, &plan);
        let pieces = Case::new(&mut engine, Vec::new().into()).samples_at_most(3, 24).unwrap();
        for (index, piece) in pieces.iter().enumerate() {
            let rows = |engine: &mut Engine, plan: &Plan| -> Vec<Vec<f64>> {
                let schedule = engine.schedule(plan, piece, &never).unwrap();
                let run = engine.run_schedule(piece, schedule, &never).unwrap();
                let rows = engine.rows_logits(&run, 0, piece.len(), &never).unwrap();
                let log = |row: &Vec<f32>| {
                    let top = row.iter().fold(f64::MIN, |top, x| top.max(f64::from(*x)));
                    let sum: f64 = row.iter().map(|x| (f64::from(*x) - top).exp()).sum();
                    row.iter().map(|x| f64::from(*x) - top - sum.ln()).collect()
                };
                rows.iter().map(log).collect()
            };
            let (base, under) = (rows(&mut engine, &Plan::default()), rows(&mut engine, &plan));
            let loss = |rows: &[Vec<f64>]| {
                let each = (1..piece.len()).map(|at| -rows[at - 1][piece[at] as usize]);
                each.sum::<f64>() / (piece.len() - 1) as f64
            };
            let kl: f64 = base
                .iter()
                .zip(&under)
                .map(|(p, q)| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>())
                .sum();
            assert!((of.base[index] - loss(&base)).abs() < 1e-5);
            assert!((of.plan[index] - loss(&under)).abs() < 1e-5);
            assert!((of.kl[index] - kl / piece.len() as f64).abs() < 1e-5);
        }
        assert!(of.difference().mean != 0.0 && of.same.iter().all(|same| *same <= of.compared));
    }

    #[test]
    fn no_plan_costs_nothing() {
        let mut engine = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
        let of = found(&mut engine, &Plan::default());
        assert_eq!((of.base.clone(), of.difference().mean), (of.plan.clone(), 0.0));
        assert!(of.kl.iter().all(|kl| *kl == 0.0) && of.same.iter().all(|same| *same == of.compared));
    }
}

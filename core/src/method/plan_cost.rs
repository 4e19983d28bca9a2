//! What a plan costs on a text: the loss of its tokens without and with it, how far the predictions move, how often the most
//! likely token stays the same.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Ask, Case, Fact, Found, Group, Method, Params as _, Sample, Source, State, Stepper, Steps, SubjectKind,
    as_it_is, bits64, params, raw, read,
};
use crate::engine::{Cancelled, Card, Engine};
use crate::error::Result;
use crate::figure::{Figure, FigureId, Lines, Plot, Provenance, Series};
use crate::model::{Input, Work};
use crate::plan::{Change, Part, Plan, Positions, Skip, Sublayer};
use crate::score::{Losses, Reading, Window};
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
    measures: &[],
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
    /// Mean KL(without || with) of the predictions of these, nats, by piece.
    pub kl: Vec<f64>,
    /// Predictions whose most likely token is the same, by piece.
    pub same: Vec<u64>,
    /// Predictions that were compared so, of each piece.
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
    /// The piece under way.
    reading: Option<Reading>,
    provenance: Provenance,
    kept: Kept,
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
    /// Findings of another number of pieces.
    pub fn new(case: Case<'_>, pieces: Vec<Input>) -> Result<Self> {
        let resumed: Option<Kept> = case.resumed()?;
        let Case { plan, provenance, .. } = case;
        Ok(Self { pieces, plan, reading: None, provenance, kept: resumed.unwrap_or_default() })
    }

    fn begin(&self, engine: &mut Engine, piece: &Input, cancelled: Cancelled) -> Result<Reading> {
        let window = Window { start: 0, ids: piece.to_vec(), first: 1 };
        // Without a plan one run is both.
        let plans = std::slice::from_ref(&self.plan);
        let plans = if self.plan.active().is_empty() { &[] } else { plans };
        Reading::new(engine, &window, plans, cancelled)
    }

    /// A piece was read.
    fn take(&mut self, reading: Reading) {
        let (losses, work) = reading.finish();
        let mean_of = |values: &[f32]| mean(values.iter().map(|x| f64::from(*x)));
        let base = losses.first().map(|base| base.nats.as_slice()).unwrap_or_default();
        let same = Losses { nats: base.to_vec(), kl: vec![0.0; base.len()], same: vec![true; base.len()] };
        let plan = losses.get(1).unwrap_or(&same);
        self.kept.work += work;
        self.kept.base.push(mean_of(base));
        self.kept.plan.push(mean_of(&plan.nats));
        self.kept.kl.push(mean_of(&plan.kl));
        self.kept.same.push(plan.same.iter().filter(|same| **same).count() as u64);
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
        let tokens = length.saturating_sub(1);
        PlanCostFound { tokens, base, plan, kl, same, compared: tokens as u64, figure: Arc::new(figure) }
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len();
    values.sum::<f64>() / count as f64
}

impl Stepper for PlanCostRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        let Some(piece) = self.pieces.get(self.kept.base.len()).cloned() else { return Ok(()) };
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.begin(engine, &piece, cancelled)?,
        };
        if reading.step(engine)? {
            self.take(reading);
        } else {
            self.reading = Some(reading);
        }
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
                .take(piece.len() - 1)
                .map(|(p, q)| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>())
                .sum();
            assert!((of.base[index] - loss(&base)).abs() < 1e-5);
            assert!((of.plan[index] - loss(&under)).abs() < 1e-5);
            assert!((of.kl[index] - kl / (piece.len() - 1) as f64).abs() < 1e-5);
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

//! Leave one out: every sublayer in turn adds nothing to the stream, and the output moves by so much (the first step of
//! FinerCut, arXiv 2405.18218, algorithm 1, with KL as the distance).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::measure::by_sublayer;
use super::trace::MOST_CELLS;
use super::{
    Ask, Case, Fact, Found, Group, Measure, Measured, Method, Offer, Params as _, Sample, Source, State,
    Stepper, Steps, Subject, SubjectKind, as_it_is, choices, number, params, raw, read,
};
use crate::engine::{Answer, Cancelled, Card, Engine, Prompt, Run, RunSize, Token};
use crate::error::{Error, Result};
use crate::figure::{Axis, Figure, FigureId, Map, Plot, Provenance, Scale};
use crate::metric;
use crate::model::{Logits, Pass, Work};
use crate::plan::{Change, Part, Positions, Skip, Sublayer};

/// Leave out every sublayer in turn.
pub static LEAVE_ONE_OUT: Method = Method {
    id: "leave-one-out",
    aliases: &["ablate"],
    group: Group::Explain,
    name: "Leave one out",
    title: "Which sublayers does the output rest on?",
    line: "take out every attention and FFN sublayer in turn, and see how far the output moves",
    reading: "a bright cell is a sublayer that the output rests on, a dark one can be missed alone, though not always together with others",
    source: Source { paper: "FinerCut", arxiv: "2405.18218", section: "algorithm 1, first step" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[
        Measure {
            name: "kl",
            title: "KL without a sublayer",
            quantity: "KL(base || without), nats",
            unit: "nats",
            signed: false,
            shape: by_sublayer,
        },
        Measure {
            name: "logit",
            title: "Change of the answer's logit",
            quantity: "logit without, less logit",
            unit: "",
            signed: true,
            shape: by_sublayer,
        },
    ],
    fields: LeaveOneOutAsk::FIELDS,
    plan: as_it_is,
    start,
    samples,
};

params! {
    /// Parameters of leave-one-out.
    pub struct LeaveOneOutAsk {
        /// Token that is followed; left out = the unmodified model's most likely one
        answer: Answer = Answer::Top;
        /// Compare after the last position, or after all and take the mean
        positions: Where = Where::Last;
    }
}

choices! {
    /// Where outputs are compared.
    pub enum Where {
        /// After the last position
        Last = "last",
        /// After every position
        All = "all",
    }
}

fn start(case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    Ok(Box::new(LeaveOneOutRun::new(case, read(ask)?)?))
}

fn samples(card: &Card) -> Vec<Sample> {
    vec![Sample::of(Subject::Prompt(Prompt::from(card.sample_prompt.clone())))]
}

/// Findings of leave-one-out.
#[derive(Clone, Debug, Serialize)]
pub struct LeaveOneOutFound {
    /// The followed token.
    pub answer: u32,
    /// Its logit with nothing left out.
    pub logit: f32,
    /// In the order of the model, as far as they are done.
    pub sublayers: Vec<LeftOut>,
    /// Floating-point operations in the blocks, of the base run under the plan and of all branches.
    pub flops_layers: u64,
    /// The same in the unembedding.
    pub flops_unembedding: u64,
    /// In the blocks, had every candidate been a full pass of its own (what a skipped sublayer would cost included).
    pub flops_layers_full: u64,
    /// In the unembedding, for the same.
    pub flops_unembedding_full: u64,
    /// KL by layer and kind.
    #[serde(skip)]
    pub figure: Arc<Figure>,
}

/// A sublayer left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// Block index from 0.
    pub layer: usize,
    /// Attention or FFN.
    pub kind: Part,
    /// KL(base || without) after the last position, nats.
    #[serde(deserialize_with = "number")]
    pub kl: f64,
    /// Its mean over positions, where all were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_number")]
    pub kl_mean: Option<f64>,
    /// The followed token's logit after the last position.
    #[serde(deserialize_with = "number")]
    pub logit: f32,
}

/// A mean that is there, NaN where it is null.
fn some_number<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<f64>, D::Error> {
    number(deserializer).map(Some)
}

impl LeftOut {
    fn distance(&self) -> f64 {
        self.kl_mean.unwrap_or(self.kl)
    }
}

impl Found for LeaveOneOutFound {
    fn facts(&self) -> Vec<Fact> {
        let fact = |what: &str, one: &LeftOut| {
            let sublayer = Sublayer { layer: one.layer, part: one.kind };
            Fact::new(format!("{what}, {sublayer}"), one.distance(), "nats")
        };
        let by = |a: &&LeftOut, b: &&LeftOut| a.distance().total_cmp(&b.distance());
        let most = self.sublayers.iter().max_by(by).map(|one| fact("largest KL", one));
        let least = self.sublayers.iter().min_by(by).map(|one| fact("smallest KL", one));
        most.into_iter().chain(least).collect()
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        vec![Arc::clone(&self.figure)]
    }

    fn measured(&self) -> Measured {
        let logit = |one: &LeftOut| f64::from(one.logit) - f64::from(self.logit);
        let each = |of: &dyn Fn(&LeftOut) -> f64| self.sublayers.iter().map(of).collect();
        Ok(vec![each(&LeftOut::distance), each(&logit)])
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }

    /// Rows are layers, columns attention and FFN.
    fn offer_at(&self, _: FigureId, layer: usize, col: usize) -> Option<Offer> {
        let sublayer = Sublayer { layer, part: *PARTS.get(col)? };
        Some(Offer {
            label: format!("Take out {sublayer}"),
            hint: "puts its removal into the plan".into(),
            items: vec![Change::Skip(Skip { sublayer, positions: Positions::All }).into()],
            replaces: &[],
        })
    }
}

/// Columns of the map.
const PARTS: [Part; 2] = [Part::Attn, Part::Ffn];

/// Sublayers being left out.
pub struct LeaveOneOutRun {
    ask: LeaveOneOutAsk,
    base: Run,
    answer: Token,
    /// Log probabilities of the base run, by row compared.
    rows: Vec<Vec<f32>>,
    layers: usize,
    /// Branches beside each other.
    together: usize,
    /// Of those under way.
    pass: Option<Pass>,
    provenance: Provenance,
    kept: Kept,
}

/// State that a later run goes on from.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    sublayers: Vec<LeftOut>,
    work: Work,
}

impl LeaveOneOutRun {
    /// Do the base run.
    ///
    /// # Errors
    /// A plan or an answer that does not fit, or too little memory.
    pub fn new(case: Case<'_>, ask: LeaveOneOutAsk) -> Result<Self> {
        let resumed: Option<Kept> = case.resumed()?;
        let Case { engine, tokens, plan, provenance, cancelled, .. } = case;
        let schedule = engine.schedule(&plan, &tokens, cancelled)?;
        let base = engine.run_schedule(&tokens, schedule, cancelled)?;
        let answer = if ask.answer == Answer::Top && !plan.active().is_empty() {
            let unmodified = engine.base(&tokens, cancelled)?;
            engine.answer_id(&ask.answer, &unmodified.last)?
        } else {
            engine.answer_id(&ask.answer, &base.last)?
        };
        let (layers, len) = (engine.model.spec.n_layers(), tokens.len());
        let all = ask.positions == Where::All;
        let mut work = base.work;
        let rows = if all { engine.rows_logits(&base, 0, len, cancelled)? } else { vec![base.last.clone()] };
        if all {
            work.unembedding += base.work.unembedding * len as u64;
        }
        // Every row of logits is as long as the vocabulary.
        let most = if all { MOST_CELLS } else { engine.rows_at_once() };
        let together = (most / len.max(1)).max(1);
        RunSize::new(&engine.model.spec, together * rows.len()).with_all_logits().check()?;
        Ok(Self {
            rows: rows.iter().map(|row| metric::log_softmax(row)).collect(),
            answer: engine.token(answer),
            kept: resumed.unwrap_or(Kept { sublayers: Vec::new(), work }),
            ask,
            base,
            layers,
            together,
            pass: None,
            provenance,
        })
    }

    /// Numbers of the sublayers that are next.
    fn group(&self) -> std::ops::Range<usize> {
        let first = self.kept.sublayers.len();
        first..(first + self.together).min(2 * self.layers)
    }

    fn begin(&self, engine: &Engine) -> Result<Pass> {
        let mut branches = Vec::with_capacity(self.together);
        for candidate in self.group() {
            // After everything else: what the plan adds there is left out too.
            let schedule = Arc::new(self.base.schedule.zeroing(Sublayer::of(candidate).output()));
            branches.push(engine.branch_at(&self.base, schedule, candidate, 0)?);
        }
        let logits = if self.ask.positions == Where::All { Logits::All } else { Logits::Last };
        engine.branches(&self.base, branches, logits)
    }

    fn take(&mut self, pass: Pass) -> Result<()> {
        let output = pass.finish();
        self.kept.work += output.work;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let rows: Vec<Vec<f32>> = logits.to_vec2()?;
        let all = self.ask.positions == Where::All;
        for (candidate, rows) in self.group().zip(rows.chunks(self.rows.len().max(1))) {
            let kls: Vec<f64> = rows
                .iter()
                .zip(&self.rows)
                .map(|(row, base)| metric::kl(base, &metric::log_softmax(row)))
                .collect();
            let Sublayer { layer, part } = Sublayer::of(candidate);
            let last = rows.last().and_then(|row| row.get(self.answer.id as usize));
            self.kept.sublayers.push(LeftOut {
                layer,
                kind: part,
                kl: kls.last().copied().unwrap_or(f64::NAN),
                kl_mean: all.then(|| kls.iter().sum::<f64>() / kls.len().max(1) as f64),
                logit: last.copied().unwrap_or(f32::NAN),
            });
        }
        Ok(())
    }

    /// Findings so far.
    pub fn findings(&self) -> LeaveOneOutFound {
        let Work { layers, unembedding, .. } = self.kept.work;
        let per_branch = self.rows.len();
        LeaveOneOutFound {
            answer: self.answer.id,
            logit: self.base.last.get(self.answer.id as usize).copied().unwrap_or(f32::NAN),
            sublayers: self.kept.sublayers.clone(),
            flops_layers: layers,
            flops_unembedding: unembedding,
            flops_layers_full: self.base.work.layers * 2 * self.layers as u64,
            flops_unembedding_full: self.base.work.unembedding * (2 * self.layers * per_branch) as u64,
            figure: Arc::new(self.figure()),
        }
    }

    fn figure(&self) -> Figure {
        let value =
            |number: usize| self.kept.sublayers.get(number).map_or(f32::NAN, |one| one.distance() as f32);
        let values: Vec<f32> = (0..2 * self.layers).map(value).collect();
        let text = |x: &f32| if x.is_nan() { String::new() } else { format!("{x:.3}") };
        let axis = |name: &str, labels: Vec<String>| Axis { name: name.into(), labels: labels.into() };
        let map = Map {
            rows: axis("Layer", (0..self.layers).map(|layer| layer.to_string()).collect()),
            cols: axis("Sublayer", vec!["attention".into(), "FFN".into()]),
            scale: Scale::sequential(&values),
            text: Some(values.iter().map(text).collect()),
            values: values.into(),
            quantity: "KL(base || without), nats".into(),
        };
        let place = match self.ask.positions {
            Where::Last => "after the last position",
            Where::All => "mean over all positions",
        };
        Figure {
            id: FigureId("leave-one-out"),
            short: "KL".into(),
            name: "leave-one-out".into(),
            detail: self.ask.positions.name().into(),
            title: "KL without each sublayer".into(),
            plot: Plot::Map(map),
            notes: vec![format!("{place}; a sublayer that is left out adds nothing to the stream")],
            provenance: self.provenance.clone(),
        }
    }
}

impl Stepper for LeaveOneOutRun {
    fn step(&mut self, engine: &mut Engine, _: Cancelled) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => self.begin(engine)?,
        };
        pass.step()?;
        if pass.is_done() {
            return self.take(pass);
        }
        self.pass = Some(pass);
        Ok(())
    }

    fn progress(&self) -> Steps {
        Steps { done: self.kept.sublayers.len(), all: 2 * self.layers, unit: "sublayers" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        self.kept.work
    }

    fn state(&self) -> Result<State> {
        State::new(&self.kept)
    }
}

//! What the experts of a model do over a text: how often they are chosen, how much they write, who is chosen with whom, and
//! what becomes of the output without them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::trace::MOST_CELLS;
use super::{
    Ask, Case, Fact, Found, Group, Method, Need, Offer, Params as _, Sample, Source, State, Stepper, Steps,
    SubjectKind, bits64, params, raw, read,
};
use crate::engine::{BlockUse, Cancelled, Card, EXPERT_SITES, Engine, ExpertTally, ExpertUse, Run, RunSize};
use crate::error::{Error, Result};
use crate::figure::{Axis, Figure, FigureId, Map, Plot, Provenance, Scale};
use crate::metric;
use crate::model::{Ask as Captured, Captures, Input, Logits, Pass, Schedule, Work};
use crate::plan::{Change, Experts, Plan};
use crate::site::{Hook, Site};

/// Use and worth of experts over a text.
pub static EXPERTS: Method = Method {
    id: "experts",
    aliases: &[],
    group: Group::Look,
    name: "Experts",
    title: "What do the experts do over a text?",
    line: "load, saliency and co-activation of every expert; on demand the KL of knocking each out",
    reading: "an expert with little load and saliency is a candidate to be pruned; the KL says what knocking it out changes",
    source: Source { paper: "REAP", arxiv: "2510.13999", section: "saliency" },
    subject: SubjectKind::Text,
    picks: &[],
    needs: &[Need::Experts],
    measures: &[],
    fields: ExpertsAsk::FIELDS,
    plan: |_| Plan::default(),
    start,
    samples,
};

params! {
    /// Parameters of the experts study.
    pub struct ExpertsAsk {
        /// Also take every expert out in turn, and measure what becomes of the output after every token
        knock_out: bool = false;
        /// Pieces of text
        samples: usize = 10, in 1..=100000;
        /// Tokens of each
        length: usize = 256, in 1..=1048576, unit "tokens";
    }
}

fn start(mut case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    let ask: ExpertsAsk = read(ask)?;
    let samples = case.samples(ask.samples, ask.length)?;
    Ok(Box::new(ExpertsRun::new(case, &ask, samples)?))
}

fn samples(card: &Card) -> Vec<Sample> {
    Sample::of_text(card, 2).map(|sample| sample.with("knock_out", true)).into_iter().collect()
}

/// Findings of the experts study.
#[derive(Clone, Debug, Serialize)]
pub struct ExpertsFound {
    /// Tokens read.
    pub tokens: u64,
    /// Blocks of experts.
    pub blocks: Vec<BlockUse>,
    /// Rank correlations with the KL of knocking out, over all experts, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// Floating-point operations in the blocks: reading, and knocking out.
    pub flops_layers: u64,
    /// Had every knocked-out expert been a full pass over every piece.
    pub flops_layers_full: u64,
    /// Maps, block x expert.
    #[serde(skip)]
    pub figures: Vec<Arc<Figure>>,
}

/// How well cheap numbers foretell what knocking out does (Spearman).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Agreement {
    /// Of load.
    pub load: f64,
    /// Of saliency.
    pub saliency: f64,
}

impl Found for ExpertsFound {
    fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::new("tokens read", self.tokens as f64, "tokens")];
        for block in &self.blocks {
            facts.push(Fact::new(format!("router entropy, layer {}", block.layer), block.entropy, "nats"));
            facts.push(Fact::new(format!("balance of the load, layer {}", block.layer), block.balance, ""));
        }
        if let Some(agreement) = self.agreement {
            let with = "rank correlation with the KL of knocking out";
            facts.push(Fact::new(format!("{with}: load"), agreement.load, ""));
            facts.push(Fact::new(format!("{with}: saliency"), agreement.saliency, ""));
        }
        facts
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        self.figures.clone()
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }

    fn offer_at(&self, _: FigureId, row: usize, expert: usize) -> Option<Offer> {
        let block = self.blocks.get(row).filter(|block| expert < block.experts.len())?;
        let out = Experts { layer: Some(block.layer), knock_out: vec![expert], ..Experts::default() };
        Some(Offer {
            label: format!("Knock out expert {expert} of layer {}", block.layer),
            hint: "it cannot be chosen any more; the next best takes its place".into(),
            items: vec![Change::Experts(out).into()],
            replaces: &[],
        })
    }
}

/// Maps, block x expert.
const LOAD: FigureId = FigureId("expert-load");
const SALIENCY: FigureId = FigureId("expert-saliency");
const KL: FigureId = FigureId("expert-kl");

/// A study under way.
pub struct ExpertsRun {
    knock_out: bool,
    samples: Vec<Input>,
    /// Block and experts in it.
    blocks: Vec<(usize, usize)>,
    capture: BTreeSet<Site>,
    /// Of the sample under way, once it was read.
    current: Option<Current>,
    pass: Option<Pass>,
    provenance: Provenance,
    kept: Kept,
}

/// State that a later run goes on from.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// The piece of text under way.
    sample: usize,
    /// It is among the tallies.
    tallied: bool,
    /// Experts of it that were knocked out.
    knocked: usize,
    tallies: Vec<ExpertTally>,
    /// KL summed over positions, by expert of all blocks.
    #[serde(with = "bits64")]
    moved: Vec<f64>,
    full: u64,
    work: Work,
}

/// A piece of text whose experts are being knocked out.
struct Current {
    run: Run,
    /// Log probabilities of the untouched run, by position.
    base: Vec<Vec<f32>>,
    /// Number among all experts, block, expert, and its first position; those who are chosen somewhere.
    waiting: Vec<(usize, usize, usize, usize)>,
}

impl ExpertsRun {
    /// Over pieces of text.
    ///
    /// # Errors
    /// Where there are no experts, or none can be knocked out.
    pub fn new(case: Case<'_>, ask: &ExpertsAsk, samples: Vec<Input>) -> Result<Self> {
        let resumed: Option<Kept> = case.resumed()?;
        let spec = Arc::clone(&case.engine.model.spec);
        let of = |(l, layer): (usize, &crate::spec::LayerSpec)| Some((l, layer.experts?.count));
        let blocks: Vec<(usize, usize)> = spec.layers.iter().enumerate().filter_map(of).collect();
        if blocks.is_empty() {
            return Err(Error::Study("this checkpoint has no experts".into()));
        }
        let taken = |layer: usize| spec.layers.get(layer).and_then(|layer| layer.experts).map(|e| e.top_k);
        let all_taken = |(layer, count): &&(usize, usize)| taken(*layer) == Some(*count);
        if let Some((layer, count)) = blocks.iter().find(all_taken).filter(|_| ask.knock_out) {
            return Err(Error::Study(format!(
                "a token goes through all {count} experts of block {layer}: none can be knocked out"
            )));
        }
        let sites = blocks.iter().flat_map(|&(layer, _)| EXPERT_SITES.map(|hook| Site::block(layer, hook)));
        let all: usize = blocks.iter().map(|(_, experts)| experts).sum();
        let fresh = || Kept {
            sample: 0,
            tallied: false,
            knocked: 0,
            tallies: blocks.iter().map(|&(layer, experts)| ExpertTally::new(layer, experts)).collect(),
            moved: vec![0.0; all],
            full: 0,
            work: Work::default(),
        };
        let kept = resumed.unwrap_or_else(fresh);
        if kept.tallies.len() != blocks.len() || kept.moved.len() != all {
            return Err(Error::Study("what is to be resumed has other experts".into()));
        }
        let (capture, provenance) = (sites.collect(), case.provenance);
        let knock_out = ask.knock_out;
        Ok(Self { knock_out, samples, capture, blocks, current: None, pass: None, provenance, kept })
    }

    /// Experts of all blocks.
    fn all(&self) -> usize {
        self.kept.moved.len()
    }

    fn begin(&self, engine: &mut Engine, cancelled: Cancelled) -> Result<Pass> {
        let Some(current) = &self.current else {
            let sample = self.samples.get(self.kept.sample).ok_or_else(none_left)?;
            let spec = &engine.model.spec;
            let kept: u64 = self.capture.iter().map(|site| site.elements(spec, sample.len()) as u64).sum();
            RunSize::new(spec, sample.len()).with_elements(kept).check()?;
            let ask = Captured { capture: self.capture.clone(), logits: Logits::None, ..Captured::default() };
            return Ok(engine.start(sample, &Schedule::none(), ask)?.0);
        };
        let mut branches = Vec::new();
        for &(_, layer, expert, first) in self.group(current) {
            let out = Experts { layer: Some(layer), knock_out: vec![expert], ..Experts::default() };
            let plan = Plan { items: vec![Change::Experts(out).into()], ..Plan::default() };
            let schedule = engine.schedule(&plan, &current.run.tokens, cancelled)?;
            branches.push(engine.branch_at(&current.run, schedule, 2 * layer + 1, first)?);
        }
        engine.branches(&current.run, branches, Logits::All)
    }

    /// Who is knocked out next, beside each other.
    fn group<'a>(&self, current: &'a Current) -> &'a [(usize, usize, usize, usize)] {
        let idle = self.all() - current.waiting.len();
        let first = self.kept.knocked.saturating_sub(idle).min(current.waiting.len());
        let together = (MOST_CELLS / current.run.tokens.len().max(1)).max(1);
        let end = (first + together).min(current.waiting.len());
        current.waiting.get(first..end).unwrap_or_default()
    }

    /// Take in what a piece of text says.
    fn take_reading(&mut self, engine: &mut Engine, pass: Pass, cancelled: Cancelled) -> Result<()> {
        let output = pass.finish();
        let first = !self.kept.tallied;
        if first {
            self.kept.work += output.work;
            self.kept.tallies.iter_mut().try_for_each(|tally| tally.add(&output.captures))?;
            self.kept.tallied = true;
        }
        if !self.knock_out {
            self.next_sample();
            return Ok(());
        }
        let sample = self.samples.get(self.kept.sample).ok_or_else(none_left)?;
        let run = engine.run_schedule(sample, Schedule::none(), cancelled)?;
        let rows = engine.rows_logits(&run, 0, run.tokens.len(), cancelled)?;
        let base = rows.iter().map(|row| metric::log_softmax(row)).collect();
        let waiting = waiting(&self.blocks, &output.captures)?;
        if first {
            self.kept.full += self.all() as u64 * run.work.layers;
            self.kept.work += run.work;
            // Who is never chosen changes nothing.
            self.kept.knocked = self.all() - waiting.len();
        }
        let len = run.tokens.len();
        let together = (MOST_CELLS / len.max(1)).max(1);
        RunSize::new(&engine.model.spec, together * len).with_all_logits().check()?;
        self.current = Some(Current { run, base, waiting });
        if self.kept.knocked >= self.all() {
            self.next_sample();
        }
        Ok(())
    }

    /// Take in what becomes of the output without some experts.
    fn take_knocked(&mut self, current: Current, pass: Pass) -> Result<()> {
        let output = pass.finish();
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        self.kept.work += output.work;
        let (len, mut begin, mut done) = (current.run.tokens.len(), 0, 0);
        for &(number, _, _, first) in self.group(&current) {
            let own: Vec<Vec<f32>> = logits.narrow(0, begin, len - first)?.to_vec2()?;
            begin += len - first;
            done += 1;
            let kl = own.iter().zip(current.base.iter().skip(first));
            if let Some(sum) = self.kept.moved.get_mut(number) {
                *sum += kl.map(|(row, base)| metric::kl(base, &metric::log_softmax(row))).sum::<f64>();
            }
        }
        self.kept.knocked += done;
        if self.kept.knocked >= self.all() {
            self.next_sample();
        } else {
            self.current = Some(current);
        }
        Ok(())
    }

    fn next_sample(&mut self) {
        self.kept.sample += 1;
        (self.kept.tallied, self.kept.knocked, self.current) = (false, 0, None);
    }

    /// Findings so far.
    pub fn findings(&self) -> ExpertsFound {
        let read: usize = self.samples.iter().take(self.kept.sample).map(|sample| sample.len()).sum();
        let begun = match self.samples.get(self.kept.sample) {
            Some(sample) if self.kept.tallied => sample.len(),
            _ => 0,
        };
        let mut blocks: Vec<BlockUse> = self.kept.tallies.iter().cloned().map(ExpertTally::finish).collect();
        let mut agreement = None;
        if self.knock_out && read > 0 {
            let each = blocks.iter_mut().flat_map(|block| &mut block.experts);
            each.zip(&self.kept.moved).for_each(|(expert, kl)| expert.kl = Some(kl / read as f64));
            let by = |value: fn(&ExpertUse) -> f64| -> Vec<f32> {
                blocks.iter().flat_map(|block| &block.experts).map(|expert| value(expert) as f32).collect()
            };
            let kl = by(|expert| expert.kl.unwrap_or(f64::NAN));
            let rank = |value: fn(&ExpertUse) -> f64| metric::rank_agreement(&by(value), &kl);
            let (load, saliency) = (rank(|expert| expert.load), rank(|expert| expert.saliency));
            agreement = self.is_done().then_some(Agreement { load, saliency });
        }
        let mut figures = vec![
            self.figure(
                (LOAD, "load"),
                "Load of every expert",
                &blocks,
                "share of the block's tokens",
                |e| e.load,
            ),
            self.figure((SALIENCY, "saliency"), "Saliency of every expert", &blocks, "gate x norm", |e| {
                e.saliency
            }),
        ];
        if self.knock_out && read > 0 {
            let kl = |expert: &ExpertUse| expert.kl.unwrap_or(f64::NAN);
            figures.push(self.figure(
                (KL, "kl"),
                "KL without each expert",
                &blocks,
                "KL(base || without), nats",
                kl,
            ));
        }
        ExpertsFound {
            tokens: (read + begun) as u64,
            agreement,
            flops_layers: self.kept.work.layers,
            flops_layers_full: self.kept.full,
            figures: figures.into_iter().map(Arc::new).collect(),
            blocks,
        }
    }

    fn figure(
        &self,
        (id, detail): (FigureId, &str),
        title: &str,
        blocks: &[BlockUse],
        quantity: &str,
        value: impl Fn(&ExpertUse) -> f64,
    ) -> Figure {
        let widest = blocks.iter().map(|block| block.experts.len()).max().unwrap_or(0);
        let value = |block: &BlockUse, expert: usize| {
            block.experts.get(expert).map_or(f32::NAN, |expert| value(expert) as f32)
        };
        let cells = blocks.iter().flat_map(|block| (0..widest).map(move |expert| (block, expert)));
        let values: Vec<f32> = cells.map(|(block, expert)| value(block, expert)).collect();
        let labels = |labels: Vec<String>| -> Arc<[String]> { labels.into() };
        let map = Map {
            rows: Axis {
                name: "Layer".into(),
                labels: labels(blocks.iter().map(|block| block.layer.to_string()).collect()),
            },
            cols: Axis {
                name: "Expert".into(),
                labels: labels((0..widest).map(|expert| expert.to_string()).collect()),
            },
            scale: Scale::sequential(&values),
            values: values.into(),
            quantity: quantity.into(),
            text: None,
        };
        Figure {
            id,
            short: title.into(),
            name: "expert-use".into(),
            detail: detail.into(),
            title: title.into(),
            plot: Plot::Map(map),
            notes: vec![format!("{} of {} pieces of text read", self.kept.sample, self.samples.len())],
            provenance: self.provenance.clone(),
        }
    }
}

impl Stepper for ExpertsRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => self.begin(engine, cancelled)?,
        };
        pass.step()?;
        if !pass.is_done() {
            self.pass = Some(pass);
            return Ok(());
        }
        match self.current.take() {
            None => self.take_reading(engine, pass, cancelled),
            Some(current) => self.take_knocked(current, pass),
        }
    }

    fn progress(&self) -> Steps {
        let each = 1 + if self.knock_out { self.all() } else { 0 };
        let now = usize::from(self.kept.tallied) + self.kept.knocked;
        Steps { done: self.kept.sample * each + now, all: self.samples.len() * each, unit: "passes" }
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

/// The experts that are chosen somewhere, with their first position.
fn waiting(blocks: &[(usize, usize)], captures: &Captures) -> Result<Vec<(usize, usize, usize, usize)>> {
    let (mut waiting, mut number) = (Vec::new(), 0);
    for &(layer, experts) in blocks {
        let site = Site::block(layer, Hook::ExpertGates);
        let gates: Vec<Vec<f32>> = match captures.get(&site) {
            Some(gates) => gates.to_vec2()?,
            None => return Err(Error::Internal(format!("{site} was not kept"))),
        };
        for expert in 0..experts {
            let first = gates.iter().position(|row| row.get(expert).is_some_and(|gate| *gate != 0.0));
            waiting.extend(first.map(|first| (number, layer, expert, first)));
            number += 1;
        }
    }
    Ok(waiting)
}

fn none_left() -> Error {
    Error::Internal("no text is left to read".into())
}

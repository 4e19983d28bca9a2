//! Train a router on the open checkpoint and a text (Duo-LLM, arXiv 2410.10846, section 2, stage 3): everything else is
//! frozen, each layer's output is the mixture of its lanes with softmax(tau h), and tau rises.
//!
//! Our reading of what the paper leaves open: tau goes from 1 to `LAST_TAU`; the squared budget term counts `BUDGET`
//! times, and there is one per lane but the last; the router reads what the FFN reads.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::oracle::table::average;
use super::token_losses::{Losses, TokenLosses};
use super::trace::graph;
use super::{
    Ask, Case, Existing, Fact, Found, Group, Method, Offer, Params as _, Sample, Source, State, Stepper,
    Steps, SubjectKind, bits, number, params, raw, read, record,
};
use crate::checkpoint::{NumberFormat, safetensors_bytes};
use crate::engine::{self, Cancelled, Card, Engine, RunSize};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Lines, Plot, Provenance, Series};
use crate::files::{claim_folder, write_atomic};
use crate::learn::{Fit, Rate};
use crate::model::{Ask as Asked, Ffn, Input, Logits, Mixture, Pass, Schedule, Work, fused};
use crate::plan::{Change, Plan, Route, Router, Surrogate};
use crate::rng;
use crate::spec::Lane;

/// A router between FFN lanes.
pub static ROUTER: Method = Method {
    id: "router",
    aliases: &[],
    group: Group::Change,
    name: "Learned router",
    title: "Can a router learn where a big FFN is worth it?",
    line: "train a router between big FFNs, small ones and none on a text, everything else frozen",
    reading: "curves are the loss of the mixture while it learns and the shares of its lanes; the facts compare held-out text with every FFN big",
    source: Source { paper: "Duo-LLM", arxiv: "2410.10846", section: "2, stage 3" },
    subject: SubjectKind::Text,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: RouterAsk::FIELDS,
    plan: surrogate_alone,
    start,
    samples,
};

params! {
    /// Parameters of training a router.
    pub struct RouterAsk {
        /// Share of the tokens and layers that are to go through the big FFNs
        big: u8 = 50, in 0..=100, unit "%";
        /// Through the small ones; left out = what the others leave, with experts none
        small: Option<u8> = None, in 0..=100, unit "%";
        /// Past the FFN; left out = what the others leave
        skip: Option<u8> = None, in 0..=100, unit "%";
        /// Updates
        steps: u64 = 200, in 1..=100000;
        /// Pieces of text at most; the last one is held back and measured
        samples: usize = 256, in 2..=100000;
        /// Tokens of each
        length: usize = 128, in 2..=1048576, unit "tokens";
        /// Name of the router's file; left out = by its budgets and its content
        file: Option<String> = None;
    }
}

impl RouterAsk {
    /// Percent of big, small and skip: what is left out is what the others leave, small where there are small FFNs.
    pub fn percent(&self, experts: bool) -> [u8; 3] {
        let rest = |others: u8| 100u8.saturating_sub(self.big).saturating_sub(others);
        let (small, skip) = match (self.small, self.skip) {
            (Some(small), skip) => (small, skip.unwrap_or(rest(small))),
            (None, Some(skip)) => (if experts { 0 } else { rest(skip) }, skip),
            (None, None) if experts => (0, rest(0)),
            (None, None) => (rest(0), 0),
        };
        [self.big, small, skip]
    }
}

fn start(mut case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    let ask: RouterAsk = read(ask)?;
    let pieces = case.samples_at_most(ask.samples, ask.length)?;
    Ok(Box::new(RouterRun::new(case, ask, pieces)?))
}

/// What small stands for is all that training takes from a plan.
fn surrogate_alone(plan: &Plan) -> Plan {
    let surrogate = plan.surrogate();
    let route = Route { surrogate: surrogate.clone(), ..Route::default() };
    let items = if surrogate.is_default() { Vec::new() } else { vec![Change::Route(route).into()] };
    Plan { items, ..Plan::default() }
}

fn samples(card: &Card) -> Vec<Sample> {
    Sample::of_text(card, 3).map(|sample| sample.with("steps", 6)).into_iter().collect()
}

/// Points of the loss curve at most.
const POINTS: u64 = 200;
/// Largest rate: a router is a linear map on frozen features.
const RATE: f32 = 1e-2;
/// Updates that the rate rises over.
const WARM_UP: u64 = 20;
/// What is left of the rate at the end.
const FLOOR: f32 = 0.05;
/// Largest norm of a gradient.
const CLIP: f32 = 1.0;
/// tau at the end; it rises from 1 (the paper gives no schedule).
const LAST_TAU: f64 = 8.0;
/// Weight of the squared budget terms (the paper gives none).
const BUDGET: f64 = 10.0;

/// Loss and shares of a training step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Of the mixture, nats per token.
    pub loss: f32,
    /// Of the lanes.
    pub shares: Vec<f32>,
}

/// How a router's training goes.
#[derive(Clone, Debug, Serialize)]
pub struct RouterFound {
    /// Its name: lanes and budgets.
    pub name: String,
    /// Its lanes.
    pub lanes: Vec<Lane>,
    /// By step.
    pub steps: Vec<Step>,
    /// On the text that was held back.
    pub held_out: Option<HeldOut>,
    /// Its file in the folder, once it is saved.
    pub file: Option<String>,
    /// As a plan names it.
    #[serde(skip)]
    pub router: Router,
    /// Loss and shares by step.
    #[serde(skip)]
    pub figure: Arc<Figure>,
    #[serde(skip)]
    done: bool,
}

/// Hard choices on text that was held back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeldOut {
    /// Its tokens.
    pub tokens: usize,
    /// Shares of the lanes.
    pub shares: Vec<f32>,
    /// Nats per token, of the router.
    #[serde(deserialize_with = "number")]
    pub routed: f32,
    /// With every FFN big.
    #[serde(deserialize_with = "number")]
    pub all_big: f32,
}

impl Found for RouterFound {
    fn facts(&self) -> Vec<Fact> {
        let Some(held) = &self.held_out else {
            let last =
                self.steps.last().map(|step| Fact::new("loss of the mixture", step.loss, "nats per token"));
            return last.into_iter().collect();
        };
        let nats = "nats per token";
        let mut facts = vec![
            Fact::new("held-out loss, routed", held.routed, nats),
            Fact::new("held-out loss, every FFN big", held.all_big, nats),
        ];
        let shares = self.lanes.iter().zip(&held.shares);
        facts.extend(shares.map(|(lane, &share)| {
            Fact::new(format!("share of {}", lane.name()), 100.0 * f64::from(share), "%")
        }));
        facts
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        vec![Arc::clone(&self.figure)]
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }

    fn offers(&self) -> Vec<Offer> {
        let offer = || Offer {
            label: "Route by this router".into(),
            hint: "sends every token, generated ones too, where it finds best".into(),
            items: vec![Change::Router(self.router.clone()).into()],
            replaces: &["router"],
        };
        self.done.then(offer).into_iter().collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.file.iter().map(PathBuf::from).collect()
    }
}

/// A training run under way.
pub struct RouterRun {
    ask: RouterAsk,
    name: String,
    lanes: Vec<Lane>,
    budget: Vec<f32>,
    surrogate: Surrogate,
    small: Arc<[Ffn]>,
    pieces: Vec<Input>,
    /// Held back from training: the router is measured on it.
    held: Input,
    fit: Fit,
    under_way: Option<Pass>,
    /// At the end: passes over what was held back, routed and all big.
    measured: Vec<(Vec<f32>, Vec<Lane>)>,
    measuring: Option<TokenLosses>,
    curve: Vec<Step>,
    held_out: Option<HeldOut>,
    folder: PathBuf,
    saved: Option<String>,
    small_label: String,
    provenance: Provenance,
    work: Work,
}

/// State that a later run goes on from, beside weights and moments.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(with = "bits")]
    losses: Vec<f32>,
    /// By step and lane.
    #[serde(with = "bits")]
    shares: Vec<f32>,
    work: Work,
    /// Of one that is done: what was measured, and its file.
    #[serde(default)]
    held_out: Option<HeldOut>,
    #[serde(default)]
    saved: Option<String>,
}

/// Whether it is a file's name, no path.
fn is_plain(file: &str) -> bool {
    Path::new(file).file_name() == Some(OsStr::new(file))
}

impl RouterRun {
    /// Begin, with pieces of text of one length.
    ///
    /// # Errors
    /// Budgets that do not add up, fewer than two pieces, a folder that cannot be written, or too little memory.
    pub fn new(case: Case<'_>, ask: RouterAsk, mut pieces: Vec<Input>) -> Result<Self> {
        let kept: Option<Kept> = case.resumed()?;
        let Case { engine, plan, provenance, folder, kept: state, cancelled, .. } = case;
        let spec = Arc::clone(&engine.model.spec);
        let percent = ask.percent(spec.has_experts());
        let (lanes, budget) = lanes(percent)?;
        let len = pieces.first().map_or(0, |piece| piece.len());
        if len > spec.context {
            let context = spec.context;
            return Err(Error::Study(format!("pieces of {len} tokens are past the context of {context}")));
        }
        if len < 2 || pieces.len() < 2 {
            return Err(Error::Study(format!(
                "a router needs two pieces of 2 tokens or more, the text gives {} of {len}",
                pieces.len()
            )));
        }
        if ask.file.as_ref().is_some_and(|file| !is_plain(file)) {
            return Err(Error::Study("the router's file is a name in its folder, not a path".into()));
        }
        // What cannot be saved is not begun.
        record::prepare(&folder, Existing::Overwrite)?;
        let held = pieces.pop().unwrap_or_else(|| Vec::new().into());
        RunSize::new(&spec, len).with_elements(graph(&spec, len)).with_all_logits().check()?;
        let surrogate = plan.surrogate();
        let small: Arc<[Ffn]> = match lanes.contains(&Lane::Small) {
            true => engine.small(&surrogate, cancelled)?,
            false => Arc::default(),
        };
        let name = name(percent);
        let mut vars = BTreeMap::new();
        for layer in 0..spec.n_layers() {
            // Nothing is preferred at first: every lane has an equal share.
            let var = Var::zeros((lanes.len(), spec.d_model), DType::F32, &Device::Cpu)?;
            vars.insert(Router::tensor(&name, layer), var);
        }
        let rate = Rate { top: RATE, warm_up: WARM_UP, steps: ask.steps, floor: FLOOR };
        let mut fit = Fit::new(vars, 0.0, rate, CLIP);
        let (mut curve, mut work) = (Vec::new(), Work::default());
        let (mut held_out, mut saved) = (None, None);
        if let (Some(kept), Some(state)) = (kept, state) {
            let tensor = |name: &str| state.tensors.get(name).cloned();
            let missing = |name: &str| Error::Study(format!("what is to be resumed lacks {name}"));
            fit.restore(kept.losses.len() as u64, |name| tensor(name).ok_or_else(|| missing(name)))?;
            let shares = kept.shares.chunks(lanes.len().max(1)).map(<[f32]>::to_vec);
            curve = kept.losses.into_iter().zip(shares).map(|(loss, shares)| Step { loss, shares }).collect();
            work = kept.work;
            // One that was done is not written again.
            held_out = kept.held_out;
            saved = kept.saved.filter(|file| held_out.is_some() && is_plain(file));
        }
        Ok(Self {
            small_label: engine::small_label(engine, &surrogate),
            fit,
            surrogate,
            small,
            name,
            lanes,
            budget,
            pieces,
            held,
            ask,
            under_way: None,
            measured: Vec::new(),
            measuring: None,
            curve,
            held_out,
            folder,
            saved,
            provenance,
            work,
        })
    }

    fn piece(&self, step: u64) -> Option<&Input> {
        self.pieces.get((step % self.pieces.len().max(1) as u64) as usize)
    }

    fn begin(&self, engine: &Engine, step: u64) -> Result<Pass> {
        let missing = || Error::Internal("no text to train on".into());
        let weights = self.fit.weights();
        let router = |layer| weights.get(&Router::tensor(&self.name, layer)).cloned();
        let mixture = Mixture {
            lanes: self.lanes.clone(),
            routers: (0..engine.model.spec.n_layers()).filter_map(router).collect(),
            small: Arc::clone(&self.small),
            tau: 1.0 + (LAST_TAU - 1.0) * self.fit.done(),
        };
        let ask = Asked { logits: Logits::All, mixture: Some(mixture), ..Asked::default() };
        Ok(engine.start(self.piece(step).ok_or_else(missing)?, &Schedule::none(), ask)?.0)
    }

    fn learn(&mut self, pass: Pass, step: u64) -> Result<()> {
        let output = pass.finish();
        self.work += output.work;
        let (Some(logits), Some(shares), Some(piece)) = (output.logits, output.shares, self.piece(step))
        else {
            return Err(Error::Internal("a mixture without shares".into()));
        };
        let targets: Vec<u32> = piece.iter().skip(1).copied().collect();
        let text = fused::surprisal(&logits.narrow(0, 0, targets.len())?, &targets)?.mean_all()?;
        let budget = Tensor::from_slice(&self.budget, self.budget.len(), &Device::Cpu)?;
        let off = (&shares - budget)?.narrow(0, 0, self.budget.len() - 1)?.sqr()?.sum_all()?;
        let loss = (&text + (off * BUDGET)?)?;
        self.fit.update(&loss)?;
        self.curve.push(Step { loss: text.to_scalar()?, shares: shares.to_vec1()? });
        Ok(())
    }

    /// Save the router, and measure it with hard choices on the piece that was held back: one sublayer.
    fn finish(&mut self, engine: &mut Engine) -> Result<()> {
        let mut pass = match self.measuring.take() {
            Some(pass) => pass,
            None => {
                let schedule = match self.measured.len() {
                    0 => {
                        self.save()?;
                        let mut plan =
                            Plan { items: vec![Change::Router(self.router()).into()], ..Plan::default() };
                        let surrogate = self.surrogate.clone();
                        plan.items.push(Change::Route(Route { surrogate, ..Route::default() }).into());
                        engine.schedule(&plan, &self.held, &engine::never)?
                    }
                    _ => Schedule::none(),
                };
                TokenLosses::new(engine, &self.held, &schedule)?
            }
        };
        if !pass.step()? {
            self.measuring = Some(pass);
            return Ok(());
        }
        let Losses { losses, lanes, work } = pass.finish()?;
        self.work += work;
        self.measured.push((losses, lanes.into_values().flatten().collect()));
        if let [(hard, chosen), (big, _)] = self.measured.as_slice() {
            let share = |lane: &Lane| {
                chosen.iter().filter(|own| *own == lane).count() as f32 / chosen.len().max(1) as f32
            };
            let mean = |losses: &[f32]| average(losses) as f32;
            self.held_out = Some(HeldOut {
                tokens: self.held.len(),
                shares: self.lanes.iter().map(share).collect(),
                routed: mean(hard),
                all_big: mean(big),
            });
        }
        Ok(())
    }

    /// Under the name that was asked for, else under one that tells routers of one budget apart.
    fn save(&mut self) -> Result<()> {
        let bytes = safetensors_bytes(&self.fit.weights(), NumberFormat::F32)?;
        let file = self.ask.file.clone().unwrap_or_else(|| {
            let words =
                bytes.chunks(8).map(|word| word.iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte)));
            let print = words.fold(0, |hash, word| rng::bits(hash, word, 0)) >> 32;
            format!("{}-{print:08x}.safetensors", self.name)
        });
        claim_folder(&self.folder)?;
        write_atomic(&self.folder.join(&file), &bytes)?;
        self.saved = Some(file);
        Ok(())
    }

    /// As a plan names it.
    fn router(&self) -> Router {
        Router { name: self.name.clone(), file: self.saved.as_ref().map(|file| self.folder.join(file)) }
    }

    /// Findings so far.
    pub fn findings(&self) -> RouterFound {
        RouterFound {
            name: self.name.clone(),
            lanes: self.lanes.clone(),
            steps: self.curve.clone(),
            held_out: self.held_out.clone(),
            file: self.saved.clone(),
            router: self.router(),
            figure: Arc::new(self.figure()),
            done: self.is_done(),
        }
    }

    fn figure(&self) -> Figure {
        // Means over stretches, so that long runs stay short curves.
        let stretch = (self.curve.len() as u64).div_ceil(POINTS).max(1) as usize;
        let mean = |of: &dyn Fn(&Step) -> f32| -> Arc<[f32]> {
            self.curve
                .chunks(stretch)
                .map(|part| part.iter().map(of).sum::<f32>() / part.len() as f32)
                .collect()
        };
        let mut series =
            vec![Series { name: "loss of the mixture (nats)".into(), y: mean(&|step| step.loss) }];
        for (index, lane) in self.lanes.iter().enumerate() {
            let y = mean(&|step| step.shares.get(index).copied().unwrap_or(f32::NAN));
            series.push(Series { name: format!("share of {}", lane.name()), y });
        }
        let mut notes = vec![
            format!(
                "softmax(tau h), tau 1 to {LAST_TAU}; squared budget terms x {BUDGET}; everything else frozen: our reading, the \
                 paper gives no values"
            ),
            format!("small FFN: {}", self.small_label),
        ];
        if let Some(held) = &self.held_out {
            let shares: Vec<String> = self
                .lanes
                .iter()
                .zip(&held.shares)
                .map(|(lane, share)| format!("{:.1} % {}", 100.0 * share, lane.name()))
                .collect();
            notes.push(format!(
                "hard choices on {} tokens that were held back: {:.4} nats per token, {:.4} with every FFN big; {}",
                held.tokens,
                held.routed,
                held.all_big,
                shares.join(", ")
            ));
        }
        if let Some(file) = &self.saved {
            notes.push(format!("saved as {file}"));
        }
        Figure {
            id: FigureId("router"),
            short: "Training".into(),
            name: "router".into(),
            detail: self.name.clone(),
            title: format!("Router {}", self.name),
            plot: Plot::Lines(Lines {
                x_name: "step".into(),
                y_name: "nats per token; shares".into(),
                x_labels: (0..self.curve.len().div_ceil(stretch))
                    .map(|i| (i * stretch).to_string())
                    .collect(),
                series,
            }),
            notes,
            provenance: self.provenance.clone(),
        }
    }
}

impl Stepper for RouterRun {
    fn step(&mut self, engine: &mut Engine, _: Cancelled) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let done = self.curve.len() as u64;
        if done >= self.ask.steps {
            return self.finish(engine);
        }
        let mut pass = match self.under_way.take() {
            Some(pass) => pass,
            None => self.begin(engine, done)?,
        };
        pass.step()?;
        if pass.is_done() {
            return self.learn(pass, done);
        }
        self.under_way = Some(pass);
        Ok(())
    }

    /// Updates, and two passes that measure.
    fn progress(&self) -> Steps {
        let all = self.ask.steps as usize + 2;
        let done = if self.held_out.is_some() { all } else { self.curve.len() + self.measured.len() };
        Steps { done, all, unit: "steps" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        self.work
    }

    fn state(&self) -> Result<State> {
        let mut state = State::new(&Kept {
            losses: self.curve.iter().map(|step| step.loss).collect(),
            shares: self.curve.iter().flat_map(|step| step.shares.iter().copied()).collect(),
            work: self.work,
            held_out: self.held_out.clone(),
            saved: self.saved.clone(),
        })?;
        state.tensors = self.fit.state()?;
        Ok(state)
    }
}

/// Lanes with their budgets as shares, those of 0 left out.
///
/// # Errors
/// Budgets that do not add up to 100 %, or all in one lane.
pub fn lanes(percent: [u8; 3]) -> Result<(Vec<Lane>, Vec<f32>)> {
    let all = [Lane::Big, Lane::Small, Lane::SkipFfn].into_iter().zip(percent);
    let kept: Vec<(Lane, u8)> = all.filter(|(_, percent)| *percent > 0).collect();
    if kept.iter().map(|(_, percent)| u32::from(*percent)).sum::<u32>() != 100 || kept.len() < 2 {
        return Err(Error::Study(
            "the budgets of a router add up to 100 %, and two lanes or more have some".into(),
        ));
    }
    Ok(kept.into_iter().map(|(lane, percent)| (lane, f32::from(percent) / 100.0)).unzip())
}

/// A router's name, by lanes and budgets.
fn name(percent: [u8; 3]) -> String {
    let parts = ["big", "small", "skip"].into_iter().zip(percent);
    let parts = parts.filter(|(_, percent)| *percent > 0).map(|(lane, percent)| format!("{lane}{percent}"));
    parts.collect::<Vec<_>>().join("_")
}

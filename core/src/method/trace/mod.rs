//! Causal tracing (ROME, arXiv 2202.05262, section 2.1; FCCT, arXiv 2511.05923, equation 2): corrupt some tokens, restore
//! one component of the clean run at one layer and token, and see how much of the answer's probability comes back.

mod estimate;
mod found;
mod patcher;

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use estimate::estimate;
pub(in crate::method) use estimate::graph;
pub use found::{Cells, Estimate, TraceFound};
pub use patcher::{AnswerScore, Batch, Corruption, Patcher, Setup, hook};
pub(in crate::method) use patcher::{MOST_CELLS, name, slug};

use super::{
    Ask, Case, Found, Gesture, Group, Method, Params as _, Pick, Picks, Place, Sample, Source, State,
    Stepper, Steps, Subject, SubjectKind, as_it_is, bits64, choices, params, read,
};
use crate::checkpoint::TensorFile;
use crate::engine::{Answer, Cancelled, Card, Engine, Prompt, Token};
use crate::error::{Error, Result};
use crate::figure::Provenance;
use crate::model::Work;
use crate::plan::Plan;

/// Causal trace of an answer.
pub static TRACE: Method = Method {
    id: "trace",
    aliases: &[],
    group: Group::Explain,
    name: "Trace",
    title: "Where does an answer come from?",
    line: "corrupt some tokens, restore one layer's component at one token, see how much of the answer comes back",
    source: Source { paper: "ROME", arxiv: "2202.05262", section: "2.1" },
    subject: SubjectKind::Prompt,
    picks: &[Pick {
        name: "corrupt",
        label: "corrupted",
        help: "tokens whose embeddings get noise",
        required: true,
        text_only: false,
        gesture: Gesture::Each,
        place: Place::Anywhere,
    }],
    needs: &[],
    fields: TraceAsk::FIELDS,
    plan: as_it_is,
    start,
    samples,
};

params! {
    /// What a trace is asked.
    pub struct TraceAsk {
        /// Token whose probability after the prompt is followed; left out = the unmodified model's most likely one
        answer: Answer = Answer::Top;
        /// What is restored
        restore: Component = Component::Residual;
        /// Noise on hook_embed, in standard deviations of the embeddings
        sigma: f32 = 3.0, in 0.0..=10.0, unit "σ";
        /// Seed of the noise
        seed: u64 = 0;
        /// Noise from a safetensors file instead: tensor "noise" [n, T, d]; results are means over n
        noise: Option<PathBuf> = None;
        /// Layers that are restored around each; 10 is ROME's
        window: usize = 1, in 1..=1024, unit "layers";
        /// Estimate the grid from one backward pass as well; left out = where that is cheap
        estimate: Option<bool> = None;
    }
}

choices! {
    /// What is restored of the clean run.
    pub enum Component {
        /// The residual stream after the block, hook_resid_post
        Residual = "resid",
        /// The attention output, hook_attn_out
        Attention = "attn",
        /// The FFN output, hook_mlp_out
        Ffn = "ffn",
    }
}

/// A drop of the answer's probability under which there is little to bring back.
pub(in crate::method) const LITTLE: f32 = 0.1;

/// Operations of the two runs up to which a backward pass is done before the grid unasked: it holds up whoever waits for a
/// second or two at most.
const MOST_ESTIMATED: u64 = 100_000_000_000;

/// What corrupting a part of a picture does.
pub const PATCH_NOISE: &str = "noise on the patch's rows of hook_embed, after the tower";

fn start(case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    Ok(Box::new(TraceRun::new(case, read(ask)?)?))
}

/// What a prompt comes back to, which usually is its subject; where there is nothing such, its middle.
fn subject(tokens: &[Token]) -> Vec<usize> {
    let times = |id| tokens.iter().filter(|token| token.id == id).count();
    let twice: Vec<usize> = (0..)
        .zip(tokens)
        .filter(|(_, token)| token.patch.is_none() && times(token.id) > 1)
        .map(|(at, _)| at)
        .collect();
    if twice.is_empty() || twice.len() == tokens.len() { middle(tokens) } else { twice }
}

/// The middle of a prompt.
pub(in crate::method) fn middle(tokens: &[Token]) -> Vec<usize> {
    let len = tokens.len();
    (len / 2..(3 * len / 4).max(len / 2 + 1).min(len)).collect()
}

fn samples(card: &Card) -> Vec<Sample> {
    let prompt = Prompt::from(card.sample_prompt.clone());
    let picks = |tokens: &[Token]| Picks::from([("corrupt".to_owned(), subject(tokens))]);
    let of = |component: &Component| {
        let sample = Sample::of(Subject::Prompt(prompt.clone())).with("restore", component.name());
        Sample { picks, ..sample }
    };
    Component::ALL.iter().map(of).collect()
}

/// A trace under way.
pub struct TraceRun {
    ask: TraceAsk,
    plan: Plan,
    corrupt: Vec<usize>,
    /// `[T, d]` each; empty = drawn.
    noise: Vec<Tensor>,
    patcher: Patcher,
    shown: Arc<[Token]>,
    answer: Token,
    provenance: Provenance,
    layers: usize,
    batch: Option<Batch>,
    kept: Kept,
}

/// What a later run goes on from.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// Sample of noise under way, and its cells that are done.
    sample: usize,
    done: Vec<bool>,
    /// By cell, over samples: logit, probability.
    #[serde(with = "bits64")]
    logits: Vec<f64>,
    #[serde(with = "bits64")]
    probs: Vec<f64>,
    /// Of the corrupted runs so far.
    #[serde(with = "bits64")]
    corrupted: Vec<f64>,
    /// ln p to first order, by cell, over samples; empty where it is not estimated.
    #[serde(with = "bits64")]
    estimated: Vec<f64>,
    /// Cells of the sample under way that were taken up.
    #[serde(skip)]
    next: usize,
    work: Work,
}

impl TraceRun {
    /// Do the clean run and the first corrupted one.
    ///
    /// # Errors
    /// No marked position, an estimate of windows, noise that does not fit, or too little memory.
    pub fn new(case: Case<'_>, ask: TraceAsk) -> Result<Self> {
        if ask.estimate == Some(true) && ask.window != 1 {
            return Err(Error::Study("grids are estimated for windows of 1 layer".into()));
        }
        let noise = match &ask.noise {
            Some(path) => each_sample(&TensorFile::open(path)?.load_f32("noise")?.0)?,
            None => Vec::new(),
        };
        Self::with_noise(case, ask, noise)
    }

    /// The same with noise that is at hand, `[n, T, d]`.
    ///
    /// # Errors
    /// As [`TraceRun::new`].
    pub fn with_values(case: Case<'_>, ask: TraceAsk, noise: &Tensor) -> Result<Self> {
        if ask.estimate == Some(true) && ask.window != 1 {
            return Err(Error::Study("grids are estimated for windows of 1 layer".into()));
        }
        Self::with_noise(case, ask, each_sample(noise)?)
    }

    fn with_noise(case: Case<'_>, ask: TraceAsk, noise: Vec<Tensor>) -> Result<Self> {
        let resumed: Option<Kept> = case.resumed()?;
        let corrupt = case.pick("corrupt");
        let Case { engine, tokens, plan, provenance, cancelled, .. } = case;
        let layers = engine.model.spec.n_layers();
        let cells = layers * tokens.len();
        let first = resumed.as_ref().map_or(0, |kept| kept.sample.min(noise.len().saturating_sub(1)));
        let setup = setup(&ask, &plan, &corrupt, &noise, first);
        let mut patcher = Patcher::new(engine, &setup, &[ask.restore], &tokens, cancelled)?;
        let answer = engine.token(patcher.answer);
        let kept = match resumed {
            Some(kept) if kept.done.len() == cells => {
                patcher.work = kept.work;
                kept
            }
            Some(_) => return Err(Error::Study("what is to be resumed has another number of cells".into())),
            None => Kept {
                sample: 0,
                done: vec![false; cells],
                logits: vec![0.0; cells],
                probs: vec![0.0; cells],
                corrupted: vec![0.0; 2],
                estimated: Vec::new(),
                next: 0,
                work: Work::default(),
            },
        };
        let fresh = kept.sample == 0 && kept.corrupted == [0.0; 2];
        let shown = engine.tokens(&tokens);
        let batch = None;
        let mut run =
            Self { ask, plan, corrupt, noise, patcher, shown, answer, provenance, layers, batch, kept };
        if fresh {
            run.begin_sample(engine, cancelled)?;
        }
        Ok(run)
    }

    /// Take down a new corrupted run, and estimate its grid.
    fn begin_sample(&mut self, engine: &Engine, cancelled: Cancelled) -> Result<()> {
        let AnswerScore { logit, prob } = self.patcher.corrupted;
        for (sum, value) in self.kept.corrupted.iter_mut().zip([logit, prob]) {
            *sum += f64::from(value);
        }
        let cheap = match self.kept.sample {
            0 => self.ask.window == 1 && self.patcher.work.layers <= MOST_ESTIMATED,
            _ => !self.kept.estimated.is_empty(),
        };
        if !self.ask.estimate.unwrap_or(cheap) {
            return Ok(());
        }
        let values = match estimate(engine, &self.patcher, self.ask.restore, cancelled) {
            Ok(values) => values,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) if self.ask.estimate.is_some() => return Err(error),
            // The exact grid does without.
            Err(_) => return Ok(()),
        };
        self.kept.estimated.resize(values.len(), 0.0);
        self.kept.estimated.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
        Ok(())
    }

    /// What was found so far.
    pub fn findings(&self) -> TraceFound {
        found::found(self)
    }

    fn samples(&self) -> usize {
        self.noise.len().max(1)
    }

    /// The next cells, deep layers first: they are cheap, and the picture fills soon.
    fn gather(&mut self, engine: &Engine) -> Result<Batch> {
        let (len, cells) = (self.shown.len(), self.kept.done.len());
        let mut batch = self.patcher.batch(engine);
        while self.kept.next < cells && batch.has_room() {
            let (layer, position) = (self.layers - 1 - self.kept.next / len, self.kept.next % len);
            let cell = layer * len + position;
            self.kept.next += 1;
            if self.kept.done.get(cell).copied().unwrap_or(true) {
                continue;
            }
            if self.patcher.is_clean(&[position]) {
                self.put(cell, self.patcher.corrupted);
            } else {
                let from = layer.saturating_sub(self.ask.window / 2);
                let window = from..self.layers.min(layer + self.ask.window.div_ceil(2));
                batch.add(&self.patcher, engine, cell, (self.ask.restore, window, &[position]))?;
            }
        }
        Ok(batch)
    }

    /// Fill a cell for the sample under way.
    fn put(&mut self, cell: usize, score: AnswerScore) {
        let Kept { done, logits, probs, .. } = &mut self.kept;
        if let (Some(done), Some(logit), Some(prob)) =
            (done.get_mut(cell), logits.get_mut(cell), probs.get_mut(cell))
        {
            *done = true;
            *logit += f64::from(score.logit);
            *prob += f64::from(score.prob);
        }
    }
}

impl Stepper for TraceRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.gather(engine)?,
        };
        if !batch.is_empty() {
            match batch.step(&mut self.patcher, engine)? {
                Some(cells) => cells.into_iter().for_each(|(cell, score)| self.put(cell, score)),
                None => self.batch = Some(batch),
            }
        }
        if self.batch.is_none() && self.kept.done.iter().all(|done| *done) {
            self.kept.sample += 1;
            self.kept.next = 0;
            if self.kept.sample < self.samples() {
                self.kept.done.fill(false);
                let setup = setup(&self.ask, &self.plan, &self.corrupt, &self.noise, self.kept.sample);
                self.patcher.corrupt(engine, &setup, cancelled)?;
                self.begin_sample(engine, cancelled)?;
            }
        }
        Ok(())
    }

    fn progress(&self) -> Steps {
        let (cells, samples) = (self.kept.done.len(), self.samples());
        let all = cells * samples;
        let now = self.kept.done.iter().filter(|done| **done).count();
        let done = if self.kept.sample >= samples { all } else { self.kept.sample * cells + now };
        Steps { done, all, unit: "cells" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        self.patcher.work
    }

    fn state(&self) -> Result<State> {
        State::new(&Kept { work: self.patcher.work, ..self.kept.clone() })
    }
}

/// `[n, T, d]` as n times `[T, d]`.
fn each_sample(noise: &Tensor) -> Result<Vec<Tensor>> {
    let (count, ..) = noise
        .dims3()
        .map_err(|_| Error::Study(format!("noise has shape {:?}, not [n, T, d]", noise.dims())))?;
    if count == 0 {
        return Err(Error::Study("there is no sample of noise".into()));
    }
    (0..count).map(|sample| Ok(noise.get(sample)?)).collect()
}

/// The question of one sample of noise.
fn setup<'a>(
    ask: &'a TraceAsk,
    plan: &'a Plan,
    corrupt: &'a [usize],
    noise: &'a [Tensor],
    sample: usize,
) -> Setup<'a> {
    let noise = match noise.get(sample) {
        Some(values) => Corruption::Values(values),
        None => Corruption::Noise { sigma: ask.sigma, seed: ask.seed },
    };
    Setup { plan, answer: &ask.answer, corrupt, noise }
}

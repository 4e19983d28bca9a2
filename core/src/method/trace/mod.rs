//! Causal tracing (ROME, arXiv 2202.05262, section 2.1; FCCT, arXiv 2511.05923, equation 2): corrupt some tokens, restore
//! one component of the clean run at one layer and token, and see how much of the answer's probability comes back.

mod draws;
mod estimate;
mod found;
mod over;
mod patcher;
mod reach;

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Tensor;

pub(in crate::method) use draws::{Draws, Kept, Shown, check_memory};
pub use estimate::estimate;
pub(in crate::method) use estimate::graph;
pub use found::{Cells, Estimate, TraceFound};
pub(in crate::method) use found::{change_facts, spread_note};
use over::MEASURES;
pub use patcher::{AnswerScore, Batch, Corruption, Patcher, Setup, hook};
pub(in crate::method) use patcher::{MOST_CELLS, name, slug};

use super::{
    Ask, Case, Found, Gesture, Group, Method, Params as _, Pick, Picks, Place, Sample, Source, State,
    Stepper, Steps, Subject, SubjectKind, as_it_is, choices, params, read,
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
    reading: "a bright cell is a layer and token whose clean value alone brings the answer back",
    source: Source { paper: "ROME", arxiv: "2202.05262", section: "2.1" },
    subject: SubjectKind::Prompt,
    picks: &[Pick {
        name: "corrupt",
        label: "corrupted",
        help: "tokens whose embeddings get noise",
        required: true,
        text_only: false,
        fields: &["corrupt", "subject", "object"],
        gesture: Gesture::Each,
        place: Place::Anywhere,
    }],
    needs: &[],
    measures: MEASURES,
    fields: TraceAsk::FIELDS,
    plan: as_it_is,
    start,
    samples,
};

params! {
    /// Parameters of a causal trace.
    pub struct TraceAsk {
        /// Token whose probability after the prompt is followed; left out = the unmodified model's most likely one
        answer: Answer = Answer::Top;
        /// What is restored
        restore: Component = Component::Residual;
        /// Noise on hook_embed, in standard deviations of the embeddings of the same sort: words, or rows of a picture
        sigma: f32 = 3.0, in 0.0..=10.0, unit "σ";
        /// First seed of the noise
        seed: u64 = 0;
        /// Draws of noise, of this seed and those after it, that results are means over; 10 is ROME's
        seeds: usize = 10, in 1..=1000, unit "draws";
        /// Noise from a safetensors file instead: tensor "noise" [n, T, d]; results are means over n
        noise: Option<PathBuf> = None;
        /// Layers that are restored around each; 10 is ROME's
        window: usize = 1, in 1..=1024, unit "layers";
        /// Estimate the grid from one backward pass as well; left out = where that is cheap
        estimate: Option<bool> = None;
    }
}

choices! {
    /// Component that is restored from the clean run.
    pub enum Component {
        /// The residual stream after the block, hook_resid_post
        Residual = "resid",
        /// The attention output, hook_attn_out
        Attention = "attn",
        /// The FFN output, hook_mlp_out
        Ffn = "ffn",
    }
}

/// A drop of the answer's probability under which there is little to bring back: our rule, the papers have none.
pub(in crate::method) const LITTLE: f32 = 0.1;

/// Operations of the two runs up to which a backward pass is done before the grid unasked: it holds up whoever waits for a
/// second or two at most.
const MOST_ESTIMATED: u64 = 100_000_000_000;

impl TraceAsk {
    /// Whether something is asked of the noise that is drawn.
    fn draws_noise(&self) -> bool {
        let Self { sigma, seed, seeds, .. } = Self::default();
        self.sigma.to_bits() != sigma.to_bits() || self.seed != seed || self.seeds != seeds
    }
}

/// What corrupting a part of a picture does.
pub const PATCH_NOISE: &str = "noise on the patch's rows of hook_embed, after the tower";

fn start(case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    Ok(Box::new(TraceRun::new(case, read(ask)?)?))
}

/// What a prompt comes back to, which usually is its subject: words that stand twice before its last token. Where there is
/// nothing such, its picture; without one, its middle.
pub(in crate::method) fn subject(tokens: &[Token]) -> Vec<usize> {
    let is_word = |token: &Token| token.patch.is_none() && token.text.chars().any(char::is_alphanumeric);
    let times = |id| tokens.iter().filter(|token| token.id == id).count();
    let at = |holds: &dyn Fn(&Token) -> bool| -> Vec<usize> {
        let before_last = tokens.split_last().map_or(&[][..], |(_, before)| before);
        (0..).zip(before_last).filter(|(_, token)| holds(token)).map(|(at, _)| at).collect()
    };
    let twice = at(&|token| is_word(token) && times(token.id) > 1);
    if !twice.is_empty() {
        return twice;
    }
    let picture = at(&|token| token.patch.is_some());
    if picture.is_empty() { middle(tokens) } else { picture }
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
    /// Cells whose value can differ from the corrupted run's.
    can_change: Vec<bool>,
    batch: Option<Batch>,
    /// Cells of the draw under way that were taken up.
    next: usize,
    draws: Draws,
    kept: Kept,
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
        if ask.noise.is_some() && ask.draws_noise() {
            return Err(Error::asked(
                "noise comes from a file: sigma, seed and seeds are of noise that is drawn, and would not be read",
                "leave out --sigma, --seed and --seeds, or leave out --noise",
            ));
        }
        let noise = match &ask.noise {
            Some(path) => each_sample(&TensorFile::open(path)?.named("noise")?)?,
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
        let Case { engine, tokens, plan, provenance, kept, cancelled, .. } = case;
        let layers = engine.model.spec.n_layers();
        let cells = layers * tokens.len();
        check_memory(if noise.is_empty() { ask.seeds } else { noise.len() }, cells)?;
        let draws = kept.map_or_else(|| Ok(Draws::default()), |state| Draws::load(&state, cells))?;
        let begun = draws.begun();
        let setup = setup(&ask, &plan, &corrupt, &noise, begun.saturating_sub(1));
        let mut patcher = Patcher::new(engine, &setup, &[ask.restore], &tokens, cancelled)?;
        let answer = engine.token(patcher.answer);
        let kept = match resumed {
            Some(kept) if kept.done.len() == cells => {
                patcher.work = kept.work;
                kept
            }
            Some(_) => return Err(Error::Study("what is to be resumed has another number of cells".into())),
            None => Kept { done: vec![false; cells], ..Kept::default() },
        };
        let shown = engine.tokens(&tokens);
        let can_change = reach::can_change(&engine.model.spec, ask.restore, &corrupt, tokens.len());
        let mut run = Self {
            ask,
            plan,
            corrupt,
            noise,
            patcher,
            shown,
            answer,
            provenance,
            layers,
            can_change,
            batch: None,
            next: 0,
            draws,
            kept,
        };
        if begun == 0 {
            run.begin_draw(engine, cancelled)?;
        }
        Ok(run)
    }

    /// Take down a new corrupted run, and estimate its grid.
    fn begin_draw(&mut self, engine: &Engine, cancelled: Cancelled) -> Result<()> {
        let cheap = match self.draws.begun() {
            0 => self.ask.window == 1 && self.patcher.work.layers <= MOST_ESTIMATED,
            _ => self.draws.is_estimated(),
        };
        let estimated = match self.ask.estimate.unwrap_or(cheap) {
            true => estimate(engine, &self.patcher, self.ask.restore, cancelled),
            false => Ok(Vec::new()),
        };
        let estimated = match estimated {
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) if self.ask.estimate.is_some() => return Err(error),
            // The exact grid does without.
            estimated => estimated.unwrap_or_default(),
        };
        self.draws.begin(self.patcher.corrupted, self.kept.done.len(), estimated);
        Ok(())
    }

    /// Findings so far.
    pub fn findings(&self) -> TraceFound {
        found::found(self)
    }

    /// Draws of noise in all.
    fn all_draws(&self) -> usize {
        if self.noise.is_empty() { self.ask.seeds } else { self.noise.len() }
    }

    /// Whether every cell of the draw under way is there.
    fn is_whole(&self) -> bool {
        self.batch.is_none() && self.kept.done.iter().all(|done| *done)
    }

    /// The next cells, deep layers first: they are cheap, and the picture fills soon.
    fn gather(&mut self, engine: &Engine) -> Result<Batch> {
        let (len, cells) = (self.shown.len(), self.kept.done.len());
        let mut batch = self.patcher.batch(engine);
        while self.next < cells && batch.has_room() {
            let (layer, position) = (self.layers - 1 - self.next / len, self.next % len);
            let cell = layer * len + position;
            self.next += 1;
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

    /// Fill a cell of the draw under way.
    fn put(&mut self, cell: usize, score: AnswerScore) {
        self.draws.put(cell, score);
        if let Some(done) = self.kept.done.get_mut(cell) {
            *done = true;
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
        let begun = self.draws.begun();
        if self.is_whole() && begun < self.all_draws() {
            self.next = 0;
            self.kept.done.fill(false);
            let setup = setup(&self.ask, &self.plan, &self.corrupt, &self.noise, begun);
            self.patcher.corrupt(engine, &setup, cancelled)?;
            self.begin_draw(engine, cancelled)?;
        }
        Ok(())
    }

    fn progress(&self) -> Steps {
        let cells = self.kept.done.len();
        let now = self.kept.done.iter().filter(|done| **done).count();
        let done = self.draws.begun().saturating_sub(1) * cells + now;
        Steps { done, all: cells * self.all_draws(), unit: "cells" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        self.patcher.work
    }

    fn state(&self) -> Result<State> {
        let mut state = State::new(&Kept { work: self.patcher.work, ..self.kept.clone() })?;
        self.draws.save(&mut state)?;
        Ok(state)
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

/// The question of one draw of noise.
fn setup<'a>(
    ask: &'a TraceAsk,
    plan: &'a Plan,
    corrupt: &'a [usize],
    noise: &'a [Tensor],
    draw: usize,
) -> Setup<'a> {
    let noise = match noise.get(draw) {
        Some(values) => Corruption::Values(values),
        None => Corruption::Noise { sigma: ask.sigma, seed: ask.seed.wrapping_add(draw as u64) },
    };
    Setup { plan, answer: &ask.answer, corrupt, noise }
}

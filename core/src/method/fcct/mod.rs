//! Fine-grained cross-modal causal tracing (FCCT, arXiv 2511.05923, equation 2): corrupt the image, restore one component of
//! one layer for one category of tokens, and see how much of the answer's probability comes back. The last token's rates
//! feed IRI ([`crate::plan::Iri`]).
//!
//! The paper states neither its noise nor how patches become categories. Our readings, in the notes of every figure: noise on
//! the embeddings (the paper's is on the image's pixels), and a category restores all of its tokens at once.

mod categories;
mod found;
mod iri;

use std::sync::Arc;

pub use categories::CATEGORIES;
use categories::{LAST, Marks};
pub use found::FcctFound;
pub use iri::{iri_rates, past_every_share};

use super::trace::{
    AnswerScore, Batch, Component, Corruption, Draws, Kept, Patcher, Setup, check_memory, subject,
};
use super::{
    Ask, Case, Found, Gesture, Group, Method, Params as _, Pick, Picks, Place, Sample, Source, State,
    Stepper, Steps, Subject, SubjectKind, params, read,
};
use crate::engine::{Answer, Cancelled, Card, Engine, Prompt, Token};
use crate::error::{Error, Result};
use crate::figure::Provenance;
use crate::model::Work;
use crate::plan::{Change, Plan};

/// Fine-grained cross-modal causal tracing.
pub static FCCT: Method = Method {
    id: "fcct",
    aliases: &[],
    group: Group::Explain,
    name: "Picture trace",
    title: "Which tokens and layers does an answer about an object come from?",
    line: "corrupt the picture, restore one component of one layer for one category of tokens",
    reading: "a bright cell is a layer at which that sort of token holds what the answer needs; the last token's rates feed IRI",
    source: Source { paper: "FCCT and IRI", arxiv: "2511.05923", section: "equation 2" },
    subject: SubjectKind::Prompt,
    picks: &[
        Pick {
            name: "context",
            label: "context up to here",
            help: "tokens that stand for an image in a prompt without one",
            required: true,
            text_only: true,
            fields: &["context"],
            gesture: Gesture::UpTo,
            place: Place::Anywhere,
        },
        Pick {
            name: "object",
            label: "object in it",
            help: "the object's patches in the picture, or its tokens in the context",
            required: false,
            text_only: false,
            fields: &["object"],
            gesture: Gesture::Each,
            place: Place::Within("context"),
        },
        Pick {
            name: "words",
            label: "object words",
            help: "words after the picture or the context that name the object",
            required: false,
            text_only: false,
            fields: &["words"],
            gesture: Gesture::Each,
            place: Place::Outside("context"),
        },
    ],
    needs: &[],
    measures: &[],
    fields: FcctAsk::FIELDS,
    plan: without_iri,
    start,
    samples,
};

params! {
    /// Parameters of FCCT.
    pub struct FcctAsk {
        /// Token whose probability after the prompt is followed; left out = the unmodified model's most likely one
        answer: Answer = Answer::Top;
        /// Noise on the embeddings of the whole picture or context, in standard deviations of the embeddings of the same sort: words, or rows of a picture
        sigma: f32 = 3.0, in 0.0..=10.0, unit "σ";
        /// First seed of the noise
        seed: u64 = 0;
        /// Draws of noise, of this seed and those after it, that rates are of the means over; 10 is ROME's
        seeds: usize = 10, in 1..=1000, unit "draws";
    }
}

/// The components in the order of the findings' figures.
pub const COMPONENTS: [Component; 3] = [Component::Residual, Component::Attention, Component::Ffn];

fn start(case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    Ok(Box::new(FcctRun::new(case, read(ask)?)?))
}

/// Without the injections that the rates feed.
fn without_iri(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.items.retain(|item| !matches!(item.change, Change::Iri(_)));
    plan
}

/// The prompt up to its subject for an image, the subject for its object.
fn samples(card: &Card) -> Vec<Sample> {
    let picks = |tokens: &[Token]| {
        let patches: Vec<usize> =
            (0..).zip(tokens).filter(|(_, t)| t.patch.is_some()).map(|(at, _)| at).collect();
        if let Some(&patch) = patches.get(patches.len() / 2) {
            return Picks::from([("object".to_owned(), vec![patch])]);
        }
        let object = subject(tokens);
        let end = object.last().map_or(1, |last| last + 1);
        let first = object.first().map_or(0, |first| 1.min(*first));
        let context = (first.min(end.saturating_sub(1))..end).collect();
        Picks::from([("context".to_owned(), context), ("object".to_owned(), object)])
    };
    let prompt = Prompt::from(card.sample_prompt.clone());
    vec![Sample { picks, ..Sample::of(Subject::Prompt(prompt)) }]
}

/// A grid under way.
pub struct FcctRun {
    ask: FcctAsk,
    plan: Plan,
    patcher: Patcher,
    answer: Token,
    /// Positions of the picture, or of the context that stands for one.
    visual: Vec<usize>,
    /// Positions of each category.
    categories: [Vec<usize>; 7],
    layers: usize,
    provenance: Provenance,
    batch: Option<Batch>,
    /// Cells of the draw under way that were taken up, in the order of [`FcctRun::cell`].
    next: usize,
    draws: Draws,
    kept: Kept,
}

impl FcctRun {
    /// Do the clean and the corrupted run.
    ///
    /// # Errors
    /// Marks that contradict each other or the prompt, a plan that does not fit, or too little memory.
    pub fn new(case: Case<'_>, ask: FcctAsk) -> Result<Self> {
        let resumed: Option<Kept> = case.resumed()?;
        let marks = Marks::new(&case.picks);
        let Case { engine, tokens, plan, provenance, kept, cancelled, .. } = case;
        let visual = categories::visual(&marks, &tokens)?;
        let categories = categories::categories(&marks, &visual, tokens.len())?;
        let layers = engine.model.spec.n_layers();
        let cells = COMPONENTS.len() * layers * CATEGORIES.len();
        check_memory(ask.seeds, cells)?;
        let draws = kept.map_or_else(|| Ok(Draws::default()), |state| Draws::load(&state, cells))?;
        let begun = draws.begun();
        let setup = setup(&ask, &plan, &visual, begun.saturating_sub(1));
        let mut patcher = Patcher::new(engine, &setup, &COMPONENTS, &tokens, cancelled)?;
        let kept = match resumed {
            Some(kept) if kept.done.len() == cells => {
                patcher.work = kept.work;
                kept
            }
            Some(_) => return Err(Error::Study("what is to be resumed has another number of cells".into())),
            None => Kept { done: vec![false; cells], ..Kept::default() },
        };
        let mut run = Self {
            answer: engine.token(patcher.answer),
            ask,
            plan,
            patcher,
            visual,
            categories,
            layers,
            provenance,
            batch: None,
            next: 0,
            draws,
            kept,
        };
        if begun == 0 {
            run.begin_draw();
        }
        Ok(run)
    }

    /// Take down a new corrupted run. One that changed nothing leaves nothing to restore: its cells are done.
    fn begin_draw(&mut self) {
        let Patcher { clean, corrupted, .. } = self.patcher;
        self.draws.begin(corrupted, self.kept.done.len(), Vec::new());
        if clean.prob == corrupted.prob {
            for cell in 0..self.kept.done.len() {
                let empty = self.categories.get(cell % CATEGORIES.len()).is_none_or(Vec::is_empty);
                self.put(cell, (!empty).then_some(clean));
            }
        }
    }

    /// A cell of the draw under way; none = there is nobody in its category.
    fn put(&mut self, cell: usize, score: Option<AnswerScore>) {
        if let Some(score) = score {
            self.draws.put(cell, score);
        }
        if let Some(done) = self.kept.done.get_mut(cell) {
            *done = true;
        }
    }

    /// Whether every cell of the draw under way is there.
    fn is_whole(&self) -> bool {
        self.batch.is_none() && self.kept.done.iter().all(|done| *done)
    }

    /// Findings so far.
    pub fn findings(&self) -> FcctFound {
        found::found(self)
    }

    /// Deep layers first: they are cheap, and the pictures fill soon.
    fn cell(&self, number: usize) -> (usize, usize, usize) {
        let (row, category) = (number / CATEGORIES.len(), number % CATEGORIES.len());
        (row % COMPONENTS.len(), self.layers - 1 - row / COMPONENTS.len(), category)
    }

    fn gather(&mut self, engine: &Engine) -> Result<Batch> {
        let mut batch = self.patcher.batch(engine);
        while self.next < self.kept.done.len() && batch.has_room() {
            let (number, layer, category) = self.cell(self.next);
            let cell = (number * self.layers + layer) * CATEGORIES.len() + category;
            self.next += 1;
            if self.kept.done.get(cell).copied().unwrap_or(true) {
                continue;
            }
            match (self.categories.get(category), COMPONENTS.get(number)) {
                (Some(positions), Some(&component)) if !positions.is_empty() => {
                    batch.add(&self.patcher, engine, cell, (component, layer..layer + 1, positions))?;
                }
                // Nobody is in this category: the cell stays empty.
                _ => self.put(cell, None),
            }
        }
        Ok(batch)
    }
}

/// The question of one draw of noise.
fn setup<'a>(ask: &'a FcctAsk, plan: &'a Plan, visual: &'a [usize], draw: usize) -> Setup<'a> {
    let noise = Corruption::Noise { sigma: ask.sigma, seed: ask.seed.wrapping_add(draw as u64) };
    Setup { plan, answer: &ask.answer, corrupt: visual, noise }
}

impl Stepper for FcctRun {
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
                Some(cells) => cells.into_iter().for_each(|(cell, score)| self.put(cell, Some(score))),
                None => self.batch = Some(batch),
            }
        }
        let begun = self.draws.begun();
        if self.is_whole() && begun < self.ask.seeds {
            self.next = 0;
            self.kept.done.fill(false);
            let setup = setup(&self.ask, &self.plan, &self.visual, begun);
            self.patcher.corrupt(engine, &setup, cancelled)?;
            self.begin_draw();
        }
        Ok(())
    }

    fn progress(&self) -> Steps {
        let cells = self.kept.done.len();
        let now = self.kept.done.iter().filter(|done| **done).count();
        let done = self.draws.begun().saturating_sub(1) * cells + now;
        Steps { done, all: cells * self.ask.seeds, unit: "cells" }
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

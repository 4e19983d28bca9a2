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

use serde::{Deserialize, Serialize};

pub use categories::CATEGORIES;
use categories::{LAST, Marks};
pub use found::FcctFound;
pub use iri::iri_rates;

use super::trace::{Batch, Component, Corruption, Patcher, Setup, middle};
use super::{
    Ask, Case, Found, Gesture, Group, Method, Params as _, Pick, Picks, Place, Sample, Source, State,
    Stepper, Steps, Subject, SubjectKind, bits, params, read,
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
    name: "FCCT",
    title: "Which tokens and layers does an answer about an object come from?",
    line: "corrupt the picture, restore one component of one layer for one category of tokens",
    source: Source { paper: "FCCT and IRI", arxiv: "2511.05923", section: "equation 2" },
    subject: SubjectKind::Prompt,
    picks: &[
        Pick {
            name: "context",
            label: "context up to here",
            help: "tokens that stand for an image in a prompt without one",
            required: true,
            text_only: true,
            gesture: Gesture::UpTo,
            place: Place::Anywhere,
        },
        Pick {
            name: "object",
            label: "object in it",
            help: "the object's patches in the picture, or its tokens in the context",
            required: false,
            text_only: false,
            gesture: Gesture::Each,
            place: Place::Within("context"),
        },
        Pick {
            name: "words",
            label: "object words",
            help: "words after the picture or the context that name the object",
            required: false,
            text_only: false,
            gesture: Gesture::Each,
            place: Place::Outside("context"),
        },
    ],
    needs: &[],
    fields: FcctAsk::FIELDS,
    plan: without_iri,
    start,
    samples,
};

params! {
    /// What FCCT is asked.
    pub struct FcctAsk {
        /// Token whose probability after the prompt is followed; left out = the unmodified model's most likely one
        answer: Answer = Answer::Top;
        /// Noise on the embeddings of the whole picture or context, in standard deviations of the embeddings
        sigma: f32 = 3.0, in 0.0..=10.0, unit "σ";
        /// Seed of the noise
        seed: u64 = 0;
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
        let middle = middle(tokens);
        let patches: Vec<usize> =
            (0..).zip(tokens).filter(|(_, t)| t.patch.is_some()).map(|(at, _)| at).collect();
        if let Some(&patch) = patches.get(patches.len() / 2) {
            return Picks::from([("object".to_owned(), vec![patch])]);
        }
        let end = middle.last().map_or(1, |last| last + 1);
        let context = (1.min(end.saturating_sub(1))..end).collect();
        Picks::from([("context".to_owned(), context), ("object".to_owned(), middle)])
    };
    let prompt = Prompt::from(card.sample_prompt.clone());
    vec![Sample { picks, ..Sample::of(Subject::Prompt(prompt)) }]
}

/// A grid under way.
pub struct FcctRun {
    ask: FcctAsk,
    planned: bool,
    patcher: Patcher,
    answer: Token,
    /// Positions of each category.
    categories: [Vec<usize>; 7],
    layers: usize,
    provenance: Provenance,
    batch: Option<Batch>,
    kept: Kept,
}

/// What a later run goes on from. A cell is numbered by component, layer and category.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// P(answer) with the cell restored; NaN = not defined.
    #[serde(with = "bits")]
    probs: Vec<f32>,
    done: Vec<bool>,
    /// Cells that were taken up, in the order of [`FcctRun::cell`].
    #[serde(skip)]
    next: usize,
    work: Work,
}

impl FcctRun {
    /// Do the clean and the corrupted run.
    ///
    /// # Errors
    /// Marks that contradict each other or the prompt, a plan that does not fit, or too little memory.
    pub fn new(case: Case<'_>, ask: FcctAsk) -> Result<Self> {
        let resumed: Option<Kept> = case.resumed()?;
        let marks = Marks::new(&case.picks);
        let Case { engine, tokens, plan, provenance, cancelled, .. } = case;
        let visual = categories::visual(&marks, &tokens)?;
        let categories = categories::categories(&marks, &visual, tokens.len())?;
        let noise = Corruption::Noise { sigma: ask.sigma, seed: ask.seed };
        let setup = Setup { plan: &plan, answer: &ask.answer, corrupt: &visual, noise };
        let mut patcher = Patcher::new(engine, &setup, &COMPONENTS, &tokens, cancelled)?;
        let layers = engine.model.spec.n_layers();
        let cells = COMPONENTS.len() * layers * CATEGORIES.len();
        let kept = match resumed {
            Some(kept) if kept.done.len() == cells && kept.probs.len() == cells => {
                patcher.work = kept.work;
                kept
            }
            Some(_) => return Err(Error::Study("what is to be resumed has another number of cells".into())),
            // Where the corruption changes nothing no rate is defined: there is nothing to compute.
            None => Kept {
                probs: vec![f32::NAN; cells],
                done: vec![patcher.clean.prob == patcher.corrupted.prob; cells],
                next: 0,
                work: Work::default(),
            },
        };
        Ok(Self {
            planned: !plan.active().is_empty(),
            answer: engine.token(patcher.answer),
            ask,
            patcher,
            categories,
            layers,
            provenance,
            batch: None,
            kept,
        })
    }

    /// What was found so far.
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
        while self.kept.next < self.kept.done.len() && batch.has_room() {
            let (number, layer, category) = self.cell(self.kept.next);
            let cell = (number * self.layers + layer) * CATEGORIES.len() + category;
            self.kept.next += 1;
            let Some(done) = self.kept.done.get_mut(cell).filter(|done| !**done) else { continue };
            match (self.categories.get(category), COMPONENTS.get(number)) {
                (Some(positions), Some(&component)) if !positions.is_empty() => {
                    batch.add(&self.patcher, engine, cell, (component, layer..layer + 1, positions))?;
                }
                // Nobody is in this category: the cell stays empty.
                _ => *done = true,
            }
        }
        Ok(batch)
    }
}

impl Stepper for FcctRun {
    fn step(&mut self, engine: &mut Engine, _: Cancelled) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.gather(engine)?,
        };
        if batch.is_empty() {
            return Ok(());
        }
        let Some(cells) = batch.step(&mut self.patcher, engine)? else {
            self.batch = Some(batch);
            return Ok(());
        };
        for (cell, score) in cells {
            if let (Some(done), Some(p)) = (self.kept.done.get_mut(cell), self.kept.probs.get_mut(cell)) {
                (*done, *p) = (true, score.prob);
            }
        }
        Ok(())
    }

    fn progress(&self) -> Steps {
        let done = self.kept.done.iter().filter(|done| **done).count();
        Steps { done, all: self.kept.done.len(), unit: "cells" }
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

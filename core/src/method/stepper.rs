//! How a method runs: step by step, so that whoever drives it can slice, cancel, show what was found so far, and go on after
//! a kill.

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Found, Picks, State};
use crate::engine::{Cancelled, Engine, pieces, pieces_at_most};
use crate::error::{Error, Result};
use crate::figure::Provenance;
use crate::model::{Input, Work};
use crate::plan::Plan;

/// Input of a method: engine, subject, plan, picks.
pub struct Case<'a> {
    /// Model and caches.
    pub engine: &'a mut Engine,
    /// The prompt; empty where the method is about none.
    pub tokens: Input,
    /// Text file; none = text of the checkpoint's own.
    pub text: Option<PathBuf>,
    /// The plan under which everything runs.
    pub plan: Plan,
    /// Marked positions.
    pub picks: Picks,
    /// For figures.
    pub provenance: Provenance,
    /// Where files go that the findings name.
    pub folder: PathBuf,
    /// What an earlier run had reached.
    pub kept: Option<State>,
    /// Asked between sublayers.
    pub cancelled: Cancelled<'a>,
}

impl<'a> Case<'a> {
    /// About a prompt, nothing marked, no plan.
    pub fn new(engine: &'a mut Engine, tokens: Input) -> Self {
        Self {
            engine,
            tokens,
            text: None,
            plan: Plan::default(),
            picks: Picks::new(),
            provenance: Provenance::default(),
            folder: PathBuf::new(),
            kept: None,
            cancelled: &crate::engine::never,
        }
    }

    /// Positions of a set; empty where nothing is marked.
    pub fn pick(&self, name: &str) -> Vec<usize> {
        self.picks.get(name).cloned().unwrap_or_default()
    }

    /// The text in `samples` pieces of `length` tokens; of the checkpoint's own text as many as there are. Figures then say
    /// what was read.
    ///
    /// # Errors
    /// Where the text cannot be read, or a file has fewer.
    pub fn samples(&mut self, samples: usize, length: usize) -> Result<Vec<Input>> {
        let ids = self.ids(samples.saturating_mul(length))?;
        self.fitting(match self.text {
            Some(_) => pieces(&ids, samples, length)?,
            None => pieces_at_most(&ids, samples, length)?,
        })
    }

    /// The same, at most `samples` of a file too.
    ///
    /// # Errors
    /// Where the text cannot be read.
    pub fn samples_at_most(&mut self, samples: usize, length: usize) -> Result<Vec<Input>> {
        let pieces = pieces_at_most(&self.ids(samples.saturating_mul(length))?, samples, length)?;
        self.fitting(pieces)
    }

    /// Pieces that the model reads whole.
    fn fitting(&self, pieces: Vec<Input>) -> Result<Vec<Input>> {
        let (length, context) =
            (pieces.first().map_or(0, |piece| piece.len()), self.engine.model.spec.context);
        if length <= context {
            return Ok(pieces);
        }
        Err(Error::asked(
            format!("pieces of {length} tokens are past the context of {context}"),
            &format!("choose pieces of at most {context} tokens (--length)"),
        ))
    }

    fn ids(&mut self, enough: usize) -> Result<Vec<u32>> {
        let text = self.engine.calibration_text(self.text.as_deref(), enough)?;
        self.provenance.prompt = text.source;
        Ok(text.ids)
    }

    /// What an earlier run had reached, as the method keeps it.
    ///
    /// # Errors
    /// Values that are not what the method keeps.
    pub fn resumed<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.kept.as_ref().map(State::read).transpose()
    }
}

/// A run under way.
pub trait Stepper {
    /// Do a small piece: one sublayer, as a rule. Does nothing once it is done.
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()>;

    /// How far it is.
    fn progress(&self) -> Steps;

    /// Whether everything is found.
    fn is_done(&self) -> bool {
        let Steps { done, all, .. } = self.progress();
        done >= all
    }

    /// Findings so far.
    fn found(&self, engine: &Engine) -> Arc<dyn Found>;

    /// What it cost so far.
    fn work(&self) -> Work;

    /// State that a later run goes on from: everything that is done, nothing that is half done.
    fn state(&self) -> Result<State>;
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub all: usize,
    /// What a step is: `cells`, `routes` …
    pub unit: &'static str,
}

/// Drive a run to its end.
///
/// # Errors
/// [`Error::Cancelled`], or what the run fails with.
pub fn finish(run: &mut (impl Stepper + ?Sized), engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
    while !run.is_done() {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        run.step(engine, cancelled)?;
    }
    Ok(())
}

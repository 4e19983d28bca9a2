//! A method under way: its question, its run and its clock. The worker drives one in slices, the command line to its end.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::answers::answer_facts;
use super::asked::check_picks;
use super::over::ListRun;
use super::provenance::provenance;
use super::{Asked, Case, Content, Cost, Fact, Findings, State, Stepper, Steps, Subject, question};
use crate::engine::{Cancelled, Card, Engine, Token};
use crate::error::{Error, Result};
use crate::model::Input;

/// A method under way.
pub struct Running {
    asked: Arc<Asked>,
    checkpoint: String,
    fingerprint: String,
    tokens: Arc<[Token]>,
    content: Arc<Content>,
    answers: Arc<[Fact]>,
    run: Run,
    begin: Instant,
    /// Seconds of the runs before a resume.
    before: f64,
}

/// What is under way: about one subject, or about many one after the other.
enum Run {
    One(Box<dyn Stepper>),
    List(Box<ListRun>),
}

impl Run {
    fn get(&self) -> &dyn Stepper {
        match self {
            Self::One(run) => &**run,
            Self::List(run) => &**run,
        }
    }

    fn get_mut(&mut self) -> &mut dyn Stepper {
        match self {
            Self::One(run) => &mut **run,
            Self::List(run) => &mut **run,
        }
    }
}

/// A question with what it comes to on a checkpoint, not yet begun.
pub struct Ready {
    /// The question.
    pub asked: Asked,
    /// The prompt as the model reads it; empty where there is none.
    pub input: Input,
    /// Its tokens.
    pub tokens: Arc<[Token]>,
    /// The files that it names.
    pub content: Arc<Content>,
}

impl Ready {
    /// Read the prompt, and the files that the question names.
    ///
    /// # Errors
    /// Where the checkpoint lacks what the method or the prompt needs, or a file cannot be read.
    pub fn new(asked: Asked, engine: &mut Engine) -> Result<Self> {
        if let Some(cause) = asked.method.unavailable(&engine.model.spec) {
            return Err(Error::Study(cause.into()));
        }
        if matches!(asked.subject, Subject::List(_)) && !asked.method.takes_lists() {
            let cause = format!("{} measures nothing that could be summed over a list", asked.method.id);
            return Err(Error::asked(cause, "ask about one prompt"));
        }
        if asked.subject.kind() != asked.method.subject {
            let (id, kind) = (asked.method.id, asked.method.subject.name());
            return Err(Error::Study(format!("{id} is about a {kind}")));
        }
        let input = match &asked.subject {
            Subject::Prompt(prompt) => engine.input(prompt)?,
            _ => Vec::new().into(),
        };
        let tokens = engine.tokens(&input);
        let content = Arc::new(Content::of(&asked, engine)?);
        Ok(Self { asked, input, tokens, content })
    }

    /// The question as state files hold it.
    ///
    /// # Errors
    /// As [`question`].
    pub fn question(&self, card: &Card) -> Result<Value> {
        question(&self.asked, card, &self.tokens, &self.content)
    }

    /// Begin, or go on where an earlier run had come to.
    ///
    /// # Errors
    /// A set of positions that is needed and not marked, and what the method itself refuses.
    pub fn start(
        self,
        engine: &mut Engine,
        card: &Card,
        kept: Option<State>,
        cancelled: Cancelled,
    ) -> Result<Running> {
        let Self { asked, input, tokens, content } = self;
        if !matches!(asked.subject, Subject::List(_)) {
            check_picks(asked.method.picks, &asked.picks, input.image().is_some())?;
        }
        let begin = Instant::now();
        let provenance = provenance(&asked, card)?;
        let answers = answer_facts(engine, &asked, &input, cancelled)?;
        let before = kept.as_ref().map_or(0.0, |state| state.seconds);
        let run = match &asked.subject {
            Subject::List(list) => {
                let run = ListRun::new(&asked, list, &content, provenance, (engine, kept))?;
                Run::List(Box::new(run))
            }
            subject => {
                let case = Case {
                    engine,
                    tokens: input,
                    text: if let Subject::Text(text) = subject { text.clone() } else { None },
                    plan: asked.plan.clone(),
                    picks: asked.picks.clone(),
                    provenance,
                    folder: asked.folder.clone(),
                    kept,
                    cancelled,
                };
                Run::One((asked.method.start)(case, &asked.ask)?)
            }
        };
        Ok(Running {
            asked: Arc::new(asked),
            checkpoint: card.name.clone(),
            fingerprint: card.fingerprint.clone(),
            tokens,
            content,
            answers: answers.into(),
            run,
            begin,
            before,
        })
    }
}

impl Running {
    /// Begin from a question.
    ///
    /// # Errors
    /// As [`Ready::new`] and [`Ready::start`].
    pub fn start(asked: Asked, engine: &mut Engine, card: &Card, cancelled: Cancelled) -> Result<Self> {
        Ready::new(asked, engine)?.start(engine, card, None, cancelled)
    }

    /// The question as state files hold it.
    ///
    /// # Errors
    /// As [`question`].
    pub fn question(&self, card: &Card) -> Result<Value> {
        question(&self.asked, card, &self.tokens, &self.content)
    }

    /// The run over a list, where it is about one.
    pub fn list(&self) -> Option<&ListRun> {
        if let Run::List(run) = &self.run { Some(run) } else { None }
    }

    /// The same, to be told of items and asked for them.
    pub(super) fn list_mut(&mut self) -> Option<&mut ListRun> {
        if let Run::List(run) = &mut self.run { Some(run) } else { None }
    }

    /// The question.
    pub fn asked(&self) -> &Arc<Asked> {
        &self.asked
    }

    /// When this run began.
    pub fn since(&self) -> Instant {
        self.begin
    }

    /// Do a small piece. Whether everything is found.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or what the model fails with; the run is then of no use any more.
    pub fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<bool> {
        self.run.get_mut().step(engine, cancelled)?;
        Ok(self.is_done())
    }

    /// Whether everything is found.
    pub fn is_done(&self) -> bool {
        self.run.get().is_done()
    }

    /// How far it is.
    pub fn progress(&self) -> Steps {
        self.run.get().progress()
    }

    fn seconds(&self) -> f64 {
        self.before + self.begin.elapsed().as_secs_f64()
    }

    /// Findings so far.
    pub fn findings(&self, engine: &Engine) -> Findings {
        Findings {
            asked: Arc::clone(&self.asked),
            checkpoint: self.checkpoint.clone(),
            fingerprint: self.fingerprint.clone(),
            tokens: Arc::clone(&self.tokens),
            content: Arc::clone(&self.content),
            found: self.run.get().found(engine),
            answers: Arc::clone(&self.answers),
            done: self.run.get().is_done(),
            cost: Cost::new(self.run.get().work(), self.seconds()),
        }
    }

    /// State that a later run goes on from.
    ///
    /// # Errors
    /// Values that the method cannot write down.
    pub fn state(&self) -> Result<State> {
        let mut state = self.run.get().state()?;
        state.seconds = self.seconds();
        Ok(state)
    }
}

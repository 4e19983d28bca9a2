//! A method under way: its question, its run and its clock. The worker drives one in slices, the command line to its end.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::answers::answer_facts;
use super::{Asked, Case, Content, Cost, Fact, Findings, State, Stepper, Steps, Subject, complete, question};
use crate::engine::{Cancelled, Card, Engine, Token, Words};
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
    run: Box<dyn Stepper>,
    begin: Instant,
    /// Seconds of the runs before a resume.
    before: f64,
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
        let picture = input.image().is_some();
        let missing = |pick: &&super::Pick| {
            let here = !(pick.text_only && picture);
            pick.required && here && asked.picks.get(pick.name).is_none_or(Vec::is_empty)
        };
        if let Some(pick) = asked.method.picks.iter().find(missing) {
            let picture = if pick.text_only { ", or give the prompt a picture (--image)" } else { "" };
            return Err(Error::asked(
                format!("no position is marked as {}: {}", pick.name, pick.help),
                &format!("mark them (--{}){picture}", pick.name),
            ));
        }
        let begin = Instant::now();
        let (text, mut provenance) = match &asked.subject {
            Subject::Prompt(prompt) => (None, card.provenance(prompt, &asked.plan)),
            Subject::Text(text) => {
                let named = text.as_ref().map(|path| path.display().to_string());
                let about = Words::Text(named.unwrap_or_else(|| "the checkpoint's own text".into()));
                (text.clone(), card.provenance(&about.into(), &asked.plan))
            }
            Subject::Nothing => (None, card.provenance(&Words::Text(String::new()).into(), &asked.plan)),
        };
        provenance.method = asked.method.id.into();
        if !asked.picks.is_empty() {
            provenance.picks = json!(asked.picks).to_string();
        }
        provenance.ask = Value::Object(complete(asked.method.fields, &asked.ask)?).to_string();
        let answers = answer_facts(engine, &asked, &input, cancelled)?;
        let before = kept.as_ref().map_or(0.0, |state| state.seconds);
        let case = Case {
            engine,
            tokens: input,
            text,
            plan: asked.plan.clone(),
            picks: asked.picks.clone(),
            provenance,
            folder: asked.folder.clone(),
            kept,
            cancelled,
        };
        let run = (asked.method.start)(case, &asked.ask)?;
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
        self.run.step(engine, cancelled)?;
        Ok(self.run.is_done())
    }

    /// Whether everything is found.
    pub fn is_done(&self) -> bool {
        self.run.is_done()
    }

    /// How far it is.
    pub fn progress(&self) -> Steps {
        self.run.progress()
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
            found: self.run.found(engine),
            answers: Arc::clone(&self.answers),
            done: self.run.is_done(),
            cost: Cost::new(self.run.work(), self.seconds()),
        }
    }

    /// State that a later run goes on from.
    ///
    /// # Errors
    /// Values that the method cannot write down.
    pub fn state(&self) -> Result<State> {
        let mut state = self.run.state()?;
        state.seconds = self.seconds();
        Ok(state)
    }
}

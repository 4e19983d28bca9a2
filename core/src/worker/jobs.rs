//! Jobs that are done in slices: a continuation and a study.

use std::sync::Arc;
use std::time::Instant;

use crate::engine::{Cancelled, Decoder, Engine, Sampler};
use crate::error::Result;
use crate::figure::{Cell, Figure, Plot, Provenance, Table};
use crate::model::Input;
use crate::plan::Plan;
use crate::protocol::{
    Continuation, Event, Fcct, Generate, Progress, RequestId, RouteStudy, RouterStudy, Trace,
};
use crate::study::{FcctRun, OracleRun, RouterRun, TraceRun};

/// A continuation under the plan beside the unmodified model's.
pub(super) struct Generating {
    pub id: RequestId,
    prompt: Input,
    streams: [Stream; 2],
    turn: usize,
    begin: Instant,
    provenance: Provenance,
}

struct Stream {
    decoder: Decoder,
    sampler: Sampler,
    new: Vec<u32>,
    left: usize,
}

impl Generating {
    pub(super) fn new(
        engine: &mut Engine,
        id: RequestId,
        ask: &Generate,
        prompt: Input,
        provenance: Provenance,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let sampler = Sampler { temperature: ask.temperature, seed: ask.seed };
        let mut stream = |plan: &Plan| -> Result<Stream> {
            let schedule = engine.schedule(plan, &prompt, cancelled)?;
            let decoder = Decoder::new(Arc::clone(&engine.model), schedule, &prompt, ask.max_new_tokens)?;
            Ok(Stream { decoder, sampler, new: Vec::new(), left: ask.max_new_tokens })
        };
        let streams = [stream(&Plan::default())?, stream(&ask.plan)?];
        Ok(Self { id, prompt, streams, turn: 0, begin: Instant::now(), provenance })
    }

    /// One sublayer of the stream that is behind. True once both have ended.
    pub(super) fn step(&mut self, engine: &Engine) -> Result<bool> {
        if let Some(stream) = self.streams.get_mut(self.turn) {
            let before = stream.new.len();
            stream.step(engine)?;
            if stream.left == 0 || stream.new.len() > before {
                self.turn = 1 - self.turn;
            }
        }
        Ok(self.is_done())
    }

    pub(super) fn is_done(&self) -> bool {
        self.streams.iter().all(|stream| stream.left == 0)
    }

    pub(super) fn text(&self, engine: &Engine) -> Arc<Continuation> {
        let [base, plan] = &self.streams;
        let text = |stream: &Stream| match &engine.tokenizer {
            Some(tokenizer) => tokenizer.continuation(&self.prompt, &stream.new),
            None => stream.new.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        };
        let (base_text, plan_text) = (text(base), text(plan));
        let row = |name: &str, stream: &Stream, text: &str| {
            vec![Cell::Text(name.into()), Cell::Number(stream.new.len() as f64), Cell::Text(text.to_owned())]
        };
        let table = Table {
            columns: ["Stream", "Tokens", "Continuation"].map(Into::into).into(),
            rows: vec![row("unmodified", base, &base_text), row("under the plan", plan, &plan_text)],
        };
        let Sampler { temperature, seed } = base.sampler;
        let figure = Arc::new(Figure {
            name: "text".into(),
            detail: String::new(),
            title: "Continuations".into(),
            plot: Plot::Table(table),
            notes: vec![format!("temperature {temperature}, seed {seed}")],
            provenance: self.provenance.clone(),
        });
        let slower = base.new.len().min(plan.new.len());
        Arc::new(Continuation {
            base: base_text,
            plan: plan_text,
            tokens: [base.new.len(), plan.new.len()],
            rate: slower as f32 / self.begin.elapsed().as_secs_f32().max(1e-6),
            done: self.is_done(),
            figure,
        })
    }
}

impl Stream {
    fn step(&mut self, engine: &Engine) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        let Some(logits) = self.decoder.step()? else { return Ok(()) };
        let token = self.sampler.pick(&logits, self.new.len());
        if engine.model.spec.eos.contains(&token) {
            self.left = 0;
            return Ok(());
        }
        self.new.push(token);
        self.left = if self.decoder.has_room() { self.left - 1 } else { 0 };
        if self.left > 0 {
            self.decoder.push(token);
        }
        Ok(())
    }
}

/// A study with its clock.
pub(super) struct Studying {
    pub id: RequestId,
    run: StudyRun,
    begin: Instant,
}

/// A study of one kind or another.
pub(super) enum StudyRun {
    Trace(Box<TraceRun>),
    Fcct(Box<FcctRun>),
    Routes(Box<OracleRun>),
    Router(Box<RouterRun>),
}

impl From<TraceRun> for StudyRun {
    fn from(run: TraceRun) -> Self {
        Self::Trace(Box::new(run))
    }
}

impl From<FcctRun> for StudyRun {
    fn from(run: FcctRun) -> Self {
        Self::Fcct(Box::new(run))
    }
}

impl From<OracleRun> for StudyRun {
    fn from(run: OracleRun) -> Self {
        Self::Routes(Box::new(run))
    }
}

impl From<RouterRun> for StudyRun {
    fn from(run: RouterRun) -> Self {
        Self::Router(Box::new(run))
    }
}

impl Studying {
    pub(super) fn new(id: RequestId, run: StudyRun) -> Self {
        Self { id, run, begin: Instant::now() }
    }

    /// One sublayer. True once every cell is there.
    pub(super) fn step(&mut self, engine: &mut Engine) -> Result<bool> {
        match &mut self.run {
            StudyRun::Trace(run) => run.step(engine)?,
            StudyRun::Fcct(run) => run.step(engine)?,
            StudyRun::Routes(run) => run.step(engine)?,
            StudyRun::Router(run) => run.step(engine)?,
        }
        Ok(self.is_done())
    }

    pub(super) fn is_done(&self) -> bool {
        match &self.run {
            StudyRun::Trace(run) => run.is_done(),
            StudyRun::Fcct(run) => run.is_done(),
            StudyRun::Routes(run) => run.is_done(),
            StudyRun::Router(run) => run.is_done(),
        }
    }

    pub(super) fn findings(&self, engine: &Engine) -> Event {
        match &self.run {
            StudyRun::Trace(run) => Event::Study(self.id, Arc::new(run.findings(engine))),
            StudyRun::Fcct(run) => Event::Fcct(self.id, Arc::new(run.findings(engine))),
            StudyRun::Routes(run) => Event::Routes(self.id, Arc::new(run.findings())),
            StudyRun::Router(run) => Event::Router(self.id, Arc::new(run.findings())),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let (label, (done, total)) = match &self.run {
            StudyRun::Trace(run) => (Trace::JOB, run.progress()),
            StudyRun::Fcct(run) => (Fcct::JOB, run.progress()),
            StudyRun::Routes(run) => (RouteStudy::JOB, run.progress()),
            StudyRun::Router(run) => (RouterStudy::JOB, run.progress()),
        };
        Progress::new(label.into(), done as u64, total as u64, self.begin)
    }
}

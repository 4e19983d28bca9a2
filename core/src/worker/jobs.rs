//! A continuation, done in slices.

use std::sync::Arc;
use std::time::Instant;

use crate::engine::{Cancelled, Decoder, Engine, Sampler};
use crate::error::Result;
use crate::figure::{Cell, Figure, FigureId, Plot, Provenance, Table};
use crate::model::Input;
use crate::plan::Plan;
use crate::protocol::{Continuation, Generate, RequestId};

/// Both continuations.
const TEXT: FigureId = FigureId("text");

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
        let sampler = Sampler { temperature: ask.temperature, seed: ask.seed, ..Sampler::default() };
        let mut stream = |plan: &Plan| -> Result<Stream> {
            let schedule = engine.schedule_ahead(plan, &prompt, ask.max_new_tokens, cancelled)?;
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
        let Sampler { temperature, seed, .. } = base.sampler;
        let figure = Arc::new(Figure {
            id: TEXT,
            name: TEXT.0.into(),
            detail: String::new(),
            short: "Text".into(),
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

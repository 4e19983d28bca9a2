//! Continuations, done in slices.

use std::sync::Arc;
use std::time::Instant;

use crate::engine::{Cancelled, Decoder, Engine, Sampler};
use crate::error::Result;
use crate::figure::{Cell, Figure, FigureId, Plot, Provenance, Table};
use crate::model::Input;
use crate::protocol::{Continuation, Continued, Generate, RequestId, Variant};

/// Continuations beside each other.
const TEXT: FigureId = FigureId("text");

/// Continuations under way, token by token in turn.
pub(super) struct Generating {
    pub id: RequestId,
    streams: Vec<Stream>,
    turn: usize,
    begin: Instant,
    provenance: Provenance,
}

struct Stream {
    name: String,
    prompt: Input,
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
        provenance: Provenance,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let Generate { max_new_tokens: most, temperature, seed, .. } = *ask;
        let sampler = Sampler { temperature, seed, ..Sampler::default() };
        let mut streams = Vec::new();
        for (name, Variant { prompt, plan }) in &ask.streams {
            let prompt = engine.input(prompt)?;
            let schedule = engine.schedule_ahead(&plan.fitted(prompt.len()), &prompt, most, cancelled)?;
            let decoder = Decoder::new(Arc::clone(&engine.model), schedule, &prompt, most)?;
            streams.push(Stream {
                name: name.clone(),
                prompt,
                decoder,
                sampler,
                new: Vec::new(),
                left: most,
            });
        }
        Ok(Self { id, streams, turn: 0, begin: Instant::now(), provenance })
    }

    /// One sublayer of the stream that is behind. True once all have ended.
    pub(super) fn step(&mut self, engine: &Engine) -> Result<bool> {
        let count = self.streams.len();
        if let Some(stream) = self.streams.get_mut(self.turn) {
            let before = stream.new.len();
            stream.step(engine)?;
            if stream.left == 0 || stream.new.len() > before {
                self.turn = (self.turn + 1) % count;
            }
        }
        Ok(self.is_done())
    }

    pub(super) fn is_done(&self) -> bool {
        self.streams.iter().all(|stream| stream.left == 0)
    }

    pub(super) fn text(&self, engine: &Engine) -> Arc<Continuation> {
        let text = |stream: &Stream| match &engine.tokenizer {
            Some(tokenizer) => tokenizer.continuation(&stream.prompt, &stream.new),
            None => stream.new.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        };
        let texts: Vec<Continued> = self
            .streams
            .iter()
            .map(|stream| Continued {
                name: stream.name.clone(),
                text: text(stream),
                tokens: stream.new.len(),
            })
            .collect();
        let row = |of: &Continued| {
            vec![Cell::Text(of.name.clone()), Cell::Number(of.tokens as f64), Cell::Text(of.text.clone())]
        };
        let table = Table {
            columns: ["Stream", "Tokens", "Continuation"].map(Into::into).into(),
            rows: texts.iter().map(row).collect(),
        };
        let Sampler { temperature, seed, .. } =
            self.streams.first().map_or_else(Sampler::default, |stream| stream.sampler);
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
        let slowest = texts.iter().map(|of| of.tokens).min().unwrap_or(0);
        Arc::new(Continuation {
            rate: slowest as f32 / self.begin.elapsed().as_secs_f32().max(1e-6),
            texts,
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

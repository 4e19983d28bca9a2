//! `sluice generate`: continue a prompt under a plan, streaming.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use sluice_core::engine::{Continue, Continued, Decoder, Ending, Sampler, Stops, never};
use sluice_core::{Error, Result};

use super::whole::whole;
use super::{Input, Ready, note, out};

/// Continuations at most.
const MOST_SAMPLES: u64 = 10_000;

#[derive(Args)]
pub struct Generate {
    #[command(flatten)]
    input: Input,
    /// Longest continuation
    #[arg(long, alias = "max-tokens", value_name = "N", default_value_t = 64, value_parser = whole::<usize>, allow_negative_numbers = true)]
    max_new_tokens: usize,
    /// 0 = greedy; above, tokens are drawn
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from the fewest likeliest tokens whose probabilities sum to this; 1 = from all
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Draw from this many of the likeliest tokens; 0 = from all
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = whole::<usize>, allow_negative_numbers = true)]
    top_k: usize,
    /// End before this text, also where it spans tokens, or at the special token of this name; may be given more than once
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Several continuations, with the seeds SEED, SEED + 1 …; JSON is then a list
    #[arg(long, value_name = "N", value_parser = whole::<u64>, allow_negative_numbers = true)]
    samples: Option<u64>,
    /// Machine-readable, printed at the end
    #[arg(long)]
    json: bool,
}

impl Generate {
    pub fn run(&self) -> Result<()> {
        let samples = self.samples.unwrap_or(1);
        if !(1..=MOST_SAMPLES).contains(&samples) {
            let cause = format!("{samples} is out of range: it goes from 1 to {MOST_SAMPLES}");
            return Err(Error::Flag { flag: "--samples", cause });
        }
        let sampler = Sampler {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.input.seed,
        };
        sampler.check()?;
        let Ready { mut engine, tokens, plan, .. } = self.input.open(None)?;
        let stops = Stops::new(&self.stop, engine.tokenizer.as_deref())?;
        let schedule = engine.schedule_ahead(&plan, &tokens, self.max_new_tokens, &never)?;
        let mut decoder = Decoder::new(Arc::clone(&engine.model), schedule, &tokens, self.max_new_tokens)?;
        let mut all = Vec::new();
        for sample in 0..samples {
            let seed = sampler.seed.wrapping_add(sample);
            let ask = Continue {
                max_new_tokens: self.max_new_tokens,
                sampler: Sampler { seed, ..sampler },
                stops: stops.clone(),
            };
            if self.samples.is_some() && !self.json {
                out(&format!("--- seed {seed}\n"));
            }
            let mut show = |text: &str| {
                if !self.json {
                    out(text);
                }
            };
            decoder.rewind(tokens.len());
            let continued = engine.continue_text(&mut decoder, &ask, &mut show, &never)?;
            if continued.ended_by == Ending::Context {
                note(&format!("the context of {} tokens is full", engine.model.spec.context));
            }
            if self.json {
                all.push(value(&continued, &plan.summary(), seed));
            } else {
                out("\n");
            }
        }
        if self.json {
            let one = if self.samples.is_none() { all.pop() } else { None };
            out(&format!("{}\n", one.unwrap_or(Value::Array(all))));
        }
        Ok(())
    }
}

fn value(continued: &Continued, plan: &str, seed: u64) -> Value {
    let Continued { tokens, text, texts, ended_by } = continued;
    json!({"tokens": tokens, "text": text, "texts": texts, "plan": plan, "seed": seed, "ended_by": ended_by})
}

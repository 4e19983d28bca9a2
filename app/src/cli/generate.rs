//! `sluice generate`: continue a prompt under a plan, streaming.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use sluice_core::engine::{Decoder, Sampler, never};
use sluice_core::{Error, Result};

use super::{Input, Ready, out};

#[derive(Args)]
pub struct Generate {
    #[command(flatten)]
    input: Input,
    /// Longest continuation
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_new_tokens: usize,
    /// 0 = greedy
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Machine-readable, printed at the end
    #[arg(long)]
    json: bool,
}

impl Generate {
    pub fn run(&self) -> Result<()> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let cause = format!("{} is no temperature: it must be 0 or above", self.temperature);
            return Err(Error::Flag { flag: "--temperature", cause });
        }
        let Ready { mut engine, tokens, plan, .. } = self.input.open()?;
        let schedule = engine.schedule(&plan, &tokens, &never)?;
        let mut decoder = Decoder::new(Arc::clone(&engine.model), schedule, &tokens, self.max_new_tokens)?;
        let sampler = Sampler { temperature: self.temperature, seed: self.input.seed };
        let mut new = Vec::new();
        let mut printed = 0;
        while new.len() < self.max_new_tokens {
            let token = sampler.pick(&decoder.logits(&never)?, new.len());
            if engine.model.spec.eos.contains(&token) {
                break;
            }
            new.push(token);
            match &engine.tokenizer {
                _ if self.json => {}
                Some(tokenizer) => {
                    let text = tokenizer.continuation(&tokens, &new);
                    // A character whose bytes are not all there yet is held back.
                    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
                    out(text.get(printed..whole).unwrap_or_default());
                    printed = whole.max(printed);
                }
                None => out(&format!("{}{token}", if new.len() > 1 { "," } else { "" })),
            }
            if !decoder.has_room() {
                break;
            }
            decoder.push(token);
        }
        let text = engine.tokenizer.as_ref().map(|tokenizer| tokenizer.continuation(&tokens, &new));
        if self.json {
            out(&format!("{}\n", json!({"tokens": new, "text": text, "plan": plan.summary()})));
        } else {
            out(text.as_deref().and_then(|text| text.get(printed..)).unwrap_or_default());
            out("\n");
        }
        Ok(())
    }
}

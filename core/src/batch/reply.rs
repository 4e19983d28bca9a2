//! What is said to a line.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::line::Question;
use crate::engine::{Cancelled, Continue, Decoder, Engine, Stops};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::Captures;

/// Reply to a line.
#[derive(Debug, Serialize)]
pub struct Reply {
    /// Number of the line, or of the element of an array; 1 = the first.
    pub line: u64,
    /// The line's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Box<RawValue>>,
    /// The prompt's tokens.
    pub tokens: Vec<u32>,
    /// Most likely next tokens.
    pub next: Vec<Next>,
    /// The answers asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Said>,
    /// Mean logit of the answers' first tokens less that of the foils'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// The tokens that the prompt goes on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_tokens: Option<Vec<u32>>,
    /// Their text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Name of the file with its captures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captures: Option<String>,
    /// Why there is nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failed>,
    /// Captured sites.
    #[serde(skip)]
    pub captured: Captures,
}

/// A next token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Next {
    /// Its id.
    pub id: u32,
    /// Its true text; none without a tokenizer.
    pub text: Option<String>,
    /// Its logit.
    pub logit: f32,
    /// Its probability.
    pub p: f32,
}

/// What is said of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    /// As it was asked.
    pub answer: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Logit of the first.
    pub logit: f32,
    /// ln P of all, one after the other as given; nats.
    pub logp: f64,
    /// Rank of the first, 1 = the most likely.
    pub rank: usize,
}

/// A line that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Why.
    pub cause: String,
    /// What to do about it.
    pub next_step: String,
}

impl Reply {
    /// To a line of which nothing is known yet.
    pub(super) fn to(line: u64, id: Option<Box<RawValue>>) -> Self {
        Self {
            line,
            id,
            tokens: Vec::new(),
            next: Vec::new(),
            answers: Vec::new(),
            difference: None,
            new_tokens: None,
            text: None,
            captures: None,
            error: None,
            captured: Captures::new(),
        }
    }

    /// The same, failed.
    pub(super) fn failed(self, error: &Error) -> Self {
        let failed = Failed { cause: error.to_string(), next_step: error.next_step() };
        Self { error: Some(failed), ..Self::to(self.line, self.id) }
    }

    /// Say what the logits after the prompt come to, and go on from there.
    pub(super) fn fill(
        &mut self,
        engine: &Engine,
        question: &Question,
        logits: &[f32],
        cancelled: Cancelled,
    ) -> Result<()> {
        self.tokens = question.input.to_vec();
        let log_p = metric::log_softmax(logits);
        let logit = |id: u32| logits.get(id as usize).copied().unwrap_or(f32::NAN);
        let text = |id| engine.tokenizer.as_ref().map(|tokenizer| tokenizer.exact(id));
        let top = metric::top_k(&log_p, question.top);
        self.next =
            top.iter().map(|&(id, x)| Next { id, text: text(id), logit: logit(id), p: x.exp() }).collect();
        for (answer, ids) in &question.answers {
            let first = ids.first().copied().unwrap_or(0);
            let logp = match ids.as_slice() {
                [id] => f64::from(log_p.get(*id as usize).copied().unwrap_or(f32::NAN)),
                _ => engine.log_p_after(&question.schedule, &question.input, ids, cancelled)?,
            };
            let rank = 1 + logits.iter().filter(|x| **x > logit(first)).count();
            let written = match serde_json::to_value(answer) {
                Ok(Value::String(text)) => text,
                _ => String::new(),
            };
            self.answers.push(Said { answer: written, ids: ids.clone(), logit: logit(first), logp, rank });
        }
        if !question.answers.is_empty() && !question.foils.is_empty() {
            let mean = |ids: &mut dyn ExactSizeIterator<Item = u32>| {
                let count = ids.len() as f64;
                ids.map(|id| f64::from(logit(id))).sum::<f64>() / count
            };
            let answers =
                mean(&mut question.answers.iter().map(|(_, ids)| ids.first().copied().unwrap_or(0)));
            self.difference = Some(answers - mean(&mut question.foils.iter().copied()));
        }
        if let Some(most) = question.max_new_tokens {
            let (model, schedule) = (Arc::clone(&engine.model), Arc::clone(&question.schedule));
            let mut decoder = Decoder::new(model, schedule, &question.input, most)?;
            let stops = Stops::new(&question.stop, engine.tokenizer.as_deref())?;
            let ask = Continue { max_new_tokens: most, sampler: question.sampler, stops };
            let continued = engine.continue_text(&mut decoder, &ask, &mut |_| {}, cancelled)?;
            (self.new_tokens, self.text) = (Some(continued.tokens), continued.text);
        }
        Ok(())
    }
}

//! Choices after a prompt: which one the model finds most likely.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Verdict;
use crate::engine::{Answer, Cancelled, Decoder, Engine, Prompt};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Input, Schedule};
use crate::plan::Plan;

/// Fields of an item.
pub const FIELDS: [&str; 6] = ["id", "prompt", "tokens", "image", "choices", "label"];
/// Choices of an item at most.
const MOST: usize = 1000;

/// An item of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    tokens: Option<Vec<u32>>,
    #[serde(default)]
    image: Option<std::path::PathBuf>,
    choices: Vec<Answer>,
    label: usize,
}

impl Item {
    /// Without a plan and under each. Its picture lies in `folder`.
    ///
    /// # Errors
    /// An item that the model cannot read, or [`Error::Cancelled`].
    pub fn judge(
        self,
        engine: &mut Engine,
        folder: &Path,
        plans: &[Plan],
        cancelled: Cancelled,
    ) -> Result<Vec<Verdict>> {
        let choices = self.choices.len();
        if self.label >= choices || choices > MOST {
            let label = self.label;
            return Err(Error::Input(format!("label {label} of {choices} choices (at most {MOST})")));
        }
        let prompt = Prompt::of_entry(self.prompt, self.tokens, self.image.as_deref(), folder)?;
        let input = engine.input(&prompt)?;
        let ids = self.choices.iter().map(|choice| {
            let ids = engine.answer_ids(choice)?;
            if ids.is_empty() { Err(Error::Input("a choice is empty".into())) } else { Ok(ids) }
        });
        let ids = ids.collect::<Result<Vec<_>>>()?;
        let most = ids.iter().map(Vec::len).max().unwrap_or(0);
        let verdict = |plan: &Plan| {
            let schedule = engine.schedule_ahead(plan, &input, most, cancelled)?;
            let log_p = log_p(engine, &schedule, &input, &ids, cancelled)?;
            let each =
                log_p.iter().zip(&ids).map(|(log_p, ids)| log_p / ids.len() as f64).collect::<Vec<_>>();
            Ok(Verdict {
                right: best(&log_p) == Some(self.label),
                per_token: Some(best(&each) == Some(self.label)),
                log_p,
            })
        };
        plans.iter().map(verdict).collect()
    }
}

/// The largest; the first of equals.
fn best(values: &[f64]) -> Option<usize> {
    let most = values.iter().copied().max_by(f64::total_cmp)?;
    values.iter().position(|x| *x == most)
}

/// ln P of each choice after a prompt, its tokens one after the other as given. The prompt is read once.
fn log_p(
    engine: &Engine,
    schedule: &Arc<Schedule>,
    prompt: &Input,
    choices: &[Vec<u32>],
    cancelled: Cancelled,
) -> Result<Vec<f64>> {
    let most = choices.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
    let (context, len) = (engine.model.spec.context, prompt.len());
    if len + most > context {
        return Err(Error::Context { tokens: len + most, context });
    }
    let mut decoder = Decoder::new(Arc::clone(&engine.model), Arc::clone(schedule), prompt, most)?;
    let of = |log_p: &[f32], id: u32| log_p.get(id as usize).map_or(f64::NAN, |x| f64::from(*x));
    let first = metric::log_softmax(&decoder.logits(cancelled)?);
    let mut all = Vec::with_capacity(choices.len());
    for ids in choices {
        let mut sum = ids.first().map_or(0.0, |id| of(&first, *id));
        for (before, id) in ids.iter().zip(ids.iter().skip(1)) {
            decoder.push(*before);
            sum += of(&metric::log_softmax(&decoder.logits(cancelled)?), *id);
        }
        if ids.len() > 1 {
            decoder.rewind(len);
        }
        all.push(sum);
    }
    Ok(all)
}

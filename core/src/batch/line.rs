//! A line of a batch: a prompt, and what is asked about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::engine::{Answer, Cancelled, Engine, Prompt, RunSize, Sampler};
use crate::error::{Error, Result};
use crate::model::{Input, Schedule};
use crate::plan::Plan;

/// Fields of a line.
pub const FIELDS: [&str; 12] = [
    "id",
    "prompt",
    "tokens",
    "image",
    "plan",
    "answers",
    "foils",
    "max_new_tokens",
    "temperature",
    "seed",
    "top",
    "stop",
];
/// Next tokens listed where nothing is said.
const TOP: usize = 10;

/// A line as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its own name, given back.
    #[serde(default)]
    pub id: Option<Box<RawValue>>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    tokens: Option<Vec<u32>>,
    #[serde(default)]
    image: Option<PathBuf>,
    #[serde(default)]
    plan: Option<Box<RawValue>>,
    #[serde(default)]
    answers: Vec<Answer>,
    #[serde(default)]
    foils: Vec<Answer>,
    #[serde(default)]
    max_new_tokens: Option<usize>,
    #[serde(default)]
    temperature: Option<f32>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    top: Option<usize>,
    #[serde(default)]
    stop: Vec<String>,
}

/// What a line asks, read.
pub struct Question {
    /// The prompt.
    pub input: Input,
    /// The plan, compiled.
    pub schedule: Arc<Schedule>,
    /// Answers and foils with their ids.
    pub answers: Vec<(Answer, Vec<u32>)>,
    /// The foils' first ids.
    pub foils: Vec<u32>,
    /// Tokens to go on with.
    pub max_new_tokens: Option<usize>,
    /// How they are chosen.
    pub sampler: Sampler,
    /// What ends them.
    pub stop: Vec<String>,
    /// Next tokens listed.
    pub top: usize,
}

impl Line {
    /// Read what it names. Files lie in `folder`; `plan` is that of lines without one.
    ///
    /// # Errors
    /// What the model cannot read or run.
    pub fn ask(
        &self,
        engine: &mut Engine,
        folder: &Path,
        plan: &Plan,
        cancelled: Cancelled,
    ) -> Result<Question> {
        let sampler =
            Sampler { temperature: self.temperature.unwrap_or(0.0), seed: self.seed, ..Sampler::default() };
        sampler.check()?;
        let (text, tokens) = (self.prompt.clone(), self.tokens.clone());
        let input = engine.input(&Prompt::of_entry(text, tokens, self.image.as_deref(), folder)?)?;
        RunSize::new(&engine.model.spec, input.len()).check()?;
        let plan = self.plan.as_ref().map_or_else(|| Ok(plan.clone()), |plan| read(plan, folder))?;
        let ids = |answer: &Answer| {
            let ids = engine.answer_ids(answer)?;
            if ids.is_empty() { Err(Error::Input("an answer is empty".into())) } else { Ok(ids) }
        };
        let answers = self.answers.iter().map(|answer| Ok((answer.clone(), ids(answer)?)));
        let answers = answers.collect::<Result<Vec<_>>>()?;
        let foils = self.foils.iter().map(|foil| Ok(ids(foil)?.first().copied().unwrap_or(0)));
        let foils = foils.collect::<Result<Vec<_>>>()?;
        let ahead = answers.iter().map(|(_, ids)| ids.len() - 1).chain(self.max_new_tokens).max();
        let schedule = engine.schedule_ahead(&plan, &input, ahead.unwrap_or(0), cancelled)?;
        Ok(Question {
            input,
            schedule,
            answers,
            foils,
            max_new_tokens: self.max_new_tokens,
            sampler,
            stop: self.stop.clone(),
            top: self.top.unwrap_or(TOP),
        })
    }
}

/// A plan, or the path of one.
fn read(written: &RawValue, folder: &Path) -> Result<Plan> {
    if let Ok(path) = serde_json::from_str::<PathBuf>(written.get()) {
        return Plan::read(&folder.join(path));
    }
    let mut plan = Plan::from_json(written.get())?;
    plan.look_in(folder);
    Ok(plan)
}

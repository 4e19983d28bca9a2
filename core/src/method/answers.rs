//! What is said of an answer that has several tokens, whichever method follows it.

use serde_json::Value;

use super::{Asked, Fact, Subject};
use crate::engine::{Answer, Cancelled, Engine};
use crate::error::{Error, Result};
use crate::model::Input;
use crate::spec::FieldKind;

/// How many tokens an answer has, of which the first is followed, and its log-probability after the prompt: every token as
/// given (teacher forcing), summed. Nothing of answers of one token.
pub(super) fn answer_facts(
    engine: &mut Engine,
    asked: &Asked,
    prompt: &Input,
    cancelled: Cancelled,
) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    // A table after another position is not of what follows the prompt.
    let elsewhere = asked.ask.get("position").is_some_and(|position| !position.is_null());
    if elsewhere || !matches!(asked.subject, Subject::Prompt(_)) {
        return Ok(facts);
    }
    for field in asked.method.fields.iter().filter(|field| field.kind == FieldKind::Answer) {
        let written = asked.ask.get(field.name).cloned().unwrap_or(Value::Null);
        let answer: Answer = serde_json::from_value(written)
            .map_err(|error| Error::Study(format!("{}: {error}", field.name)))?;
        let ids = engine.answer_ids(&answer)?;
        let (Answer::Text(text), 2..) = (&answer, ids.len()) else { continue };
        let name = format!("tokens of the {} \"{text}\", the first is followed", field.name);
        facts.push(Fact::new(name, ids.len() as f64, ""));
        let none = engine.schedule(&Default::default(), prompt, cancelled)?;
        let unmodified = engine.log_p_after(&none, prompt, &ids, cancelled)?;
        facts.push(Fact::new(format!("ln P(\"{text}\"), unmodified"), unmodified, "nats"));
        if !asked.plan.active().is_empty() {
            let plan = engine.schedule(&asked.plan, prompt, cancelled)?;
            let changed = engine.log_p_after(&plan, prompt, &ids, cancelled)?;
            facts.push(Fact::new(format!("ln P(\"{text}\"), under the plan"), changed, "nats"));
        }
    }
    Ok(facts)
}

//! The last word of a text, as LAMBADA asks for it (Paperno et al. 2016): from what stands before it.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Verdict;
use crate::engine::{Cancelled, Engine, RunSize, encode_after};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Ask, Input, Logits, fused};
use crate::plan::Plan;

/// Fields of an item.
pub const FIELDS: [&str; 2] = ["id", "text"];

/// An item of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
    text: String,
}

/// A text before its last word, and the word with the blank before it.
fn cut(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_end();
    let (at, _) = text.char_indices().rfind(|(_, char)| char.is_whitespace())?;
    let (before, word) = text.split_at(at);
    (!before.trim().is_empty()).then_some((before, word))
}

impl Item {
    /// Without a plan and under each.
    ///
    /// # Errors
    /// A text without two words, or one that the model cannot read, or [`Error::Cancelled`].
    pub fn judge(self, engine: &mut Engine, plans: &[Plan], cancelled: Cancelled) -> Result<Vec<Verdict>> {
        let (before, word) =
            cut(&self.text).ok_or_else(|| Error::Input("the text has no word before its last".into()))?;
        let mut ids = engine.encode(before)?;
        let tokenizer = engine.tokenizer.clone();
        let word = match tokenizer {
            Some(tokenizer) => encode_after(&tokenizer, word)?,
            None => return Err(Error::NoTokenizer("words need one")),
        };
        let from = ids.len().saturating_sub(1);
        ids.extend(&word);
        // What the last token foretells is not asked.
        ids.pop();
        let input: Input = ids.into();
        let spec = &engine.model.spec;
        RunSize::new(spec, input.len()).with_elements((word.len() * spec.vocab) as u64).check()?;
        plans.iter().map(|plan| judge(engine, plan, &input, (from, &word), cancelled)).collect()
    }
}

/// Whether every token of a word is the most likely one after the position before it, from `from` on.
fn judge(
    engine: &mut Engine,
    plan: &Plan,
    input: &Input,
    (from, word): (usize, &[u32]),
    cancelled: Cancelled,
) -> Result<Verdict> {
    let schedule = engine.schedule(&plan.fitted(input.len()), input, cancelled)?;
    let ask = Ask { logits: Logits::None, ..Ask::default() };
    let mut pass = engine.start_uncached(input, &schedule, ask)?;
    pass.stop_before(2 * engine.model.spec.n_layers());
    while !pass.is_done() {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        pass.step()?;
    }
    let (stream, _) = pass.into_stream()?;
    let rows = input.get(from..).unwrap_or_default();
    let (logits, _) = engine.unembed(&schedule, rows, from, stream.narrow(0, from, rows.len())?)?;
    let log_p: f64 = fused::surprisal(&logits, word)?.to_vec1::<f32>()?.iter().map(|x| -f64::from(*x)).sum();
    let top = |row: &Vec<f32>| metric::top_k(row, 1).first().map(|(id, _)| *id);
    let right = logits.to_vec2::<f32>()?.iter().zip(word).all(|(row, id)| top(row) == Some(*id));
    Ok(Verdict { right, per_token: None, log_p: vec![log_p] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_has_its_blank() {
        assert_eq!(cut("I don't care about signs"), Some(("I don't care about", " signs")));
        assert_eq!(cut("a  b\n"), Some(("a ", " b")));
        assert_eq!(cut("one\nword"), Some(("one", "\nword")));
        assert_eq!((cut("one"), cut(" one"), cut("")), (None, None, None));
    }
}

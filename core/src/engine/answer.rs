//! Answers: the token or the text whose probability after a prompt is followed.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Cancelled, Decoder, Engine};
use crate::checkpoint::Tokenizer;
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Input, Schedule};

/// The answer that a trace follows and the next-token table always lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The unmodified model's most likely next token.
    #[default]
    Top,
    /// A token id.
    Id(u32),
    /// A text that goes on from the prompt: a leading space counts. Its first token is followed. On a checkpoint without a
    /// tokenizer a bare number is an id.
    Text(String),
}

/// `null`, `"id:262"` or the text.
impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Top => serializer.serialize_none(),
            Self::Id(id) => serializer.collect_str(&format_args!("id:{id}")),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// The same, and a plain number as an id.
impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Id(u32),
            Text(String),
        }
        Ok(match Option::<Written>::deserialize(deserializer)? {
            None => Self::Top,
            Some(Written::Id(id)) => Self::Id(id),
            Some(Written::Text(text)) => match text.strip_prefix("id:").map(str::parse) {
                Some(Ok(id)) => Self::Id(id),
                Some(Err(_)) => {
                    return Err(de::Error::custom(format!(
                        "\"{text}\": id: is followed by a token's number"
                    )));
                }
                None => Self::Text(text),
            },
        })
    }
}

impl Engine {
    /// The id that an answer stands for: its first token. `logits` (or log probabilities) of the unmodified run.
    ///
    /// # Errors
    /// An empty text, one that there is no tokenizer for, or an id past the vocabulary.
    pub fn answer_id(&self, answer: &Answer, logits: &[f32]) -> Result<u32> {
        if *answer == Answer::Top {
            return Ok(metric::top_k(logits, 1).first().map_or(0, |(id, _)| *id));
        }
        let ids = self.answer_ids(answer)?;
        ids.first().copied().ok_or_else(|| Error::Input("the answer is empty".into()))
    }

    /// All tokens of an answer; none of [`Answer::Top`].
    ///
    /// # Errors
    /// As [`Engine::answer_id`].
    pub fn answer_ids(&self, answer: &Answer) -> Result<Vec<u32>> {
        let ids = match (answer, &self.tokenizer) {
            (Answer::Top, _) => Vec::new(),
            (Answer::Id(id), _) => vec![*id],
            (Answer::Text(text), Some(tokenizer)) => encode_after(tokenizer, text)?,
            (Answer::Text(text), None) => match text.trim().parse() {
                Ok(id) => vec![id],
                Err(_) => {
                    return Err(Error::Reported {
                        cause: format!("this checkpoint has no tokenizer to read the answer \"{text}\" with"),
                        next_step: "give it as a token id, such as id:26".into(),
                    });
                }
            },
        };
        let vocab = self.model.spec.vocab;
        match ids.iter().find(|&&id| id as usize >= vocab) {
            Some(id) => Err(Error::Input(format!("token id {id} is past the vocabulary of {vocab}"))),
            None => Ok(ids),
        }
    }

    /// ln P of `ids` after a prompt, one after the other as given (teacher forcing), summed; nats.
    ///
    /// # Errors
    /// Where they do not fit into the context, or [`Error::Cancelled`].
    pub fn log_p_after(
        &self,
        schedule: &Arc<Schedule>,
        prompt: &Input,
        ids: &[u32],
        cancelled: Cancelled,
    ) -> Result<f64> {
        let (model, schedule) = (Arc::clone(&self.model), Arc::clone(schedule));
        let mut decoder = Decoder::new(model, schedule, prompt, ids.len().saturating_sub(1))?;
        let mut sum = 0.0;
        for (done, &id) in ids.iter().enumerate() {
            if let Some(&before) = done.checked_sub(1).and_then(|before| ids.get(before)) {
                if !decoder.has_room() {
                    let context = self.model.spec.context;
                    return Err(Error::Input(format!(
                        "the answer does not fit into the context of {context}"
                    )));
                }
                decoder.push(before);
            }
            let log_p = metric::log_softmax(&decoder.logits(cancelled)?);
            sum += log_p.get(id as usize).map_or(f64::NAN, |&x| f64::from(x));
        }
        Ok(sum)
    }
}

/// Ids of a text that goes on from another one. Tokenizers that put a space in front of every text (SentencePiece) would
/// spell another text: `" Paris"` is one token there, not a space and a token.
///
/// # Errors
/// A text that the tokenizer fails on.
pub fn encode_after(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    let alone = tokenizer.encode(text, false)?;
    if spelled(tokenizer, &alone) != format!(" {text}").into_bytes() {
        return Ok(alone);
    }
    if let Some(rest) = text.strip_prefix(' ') {
        let ids = tokenizer.encode(rest, false)?;
        if spelled(tokenizer, &ids) == text.as_bytes() {
            return Ok(ids);
        }
    }
    // Behind a line end nothing is put in front of it.
    let ids = tokenizer.encode(&format!("\n{text}"), false)?;
    let behind = (0..ids.len()).filter_map(|cut| ids.get(cut..));
    let mut same = behind.filter(|rest| spelled(tokenizer, rest) == text.as_bytes());
    Ok(same.next().map_or(alone, <[u32]>::to_vec))
}

/// The bytes of tokens; special ones by name.
fn spelled(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u8> {
    let bytes = |&id| match tokenizer.piece(id).bytes {
        bytes if bytes.is_empty() => tokenizer.exact(id).into_bytes(),
        bytes => bytes,
    };
    ids.iter().flat_map(bytes).collect()
}

//! Tokens as shown, and the token that an answer stands for.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Engine;
use crate::error::{Error, Result};
use crate::metric;
use crate::model::Input;

/// A token of the prompt or of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Token {
    /// Id in the vocabulary.
    pub id: u32,
    /// Visible text: marks for spaces and line ends, `<0xE4>` for partial characters.
    pub text: String,
    /// Which part of the picture it is, where it stands for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
}

/// A part of a picture that has a token of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Patch {
    /// No part: the tower's class token, for checkpoints that pass it on.
    Class,
    /// A cell of the patch grid.
    At {
        /// From the top.
        row: usize,
        /// From the left.
        col: usize,
    },
}

/// The token that a trace follows and the next-token table always lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The unmodified model's most likely next token.
    #[default]
    Top,
    /// A token id.
    Id(u32),
    /// The first token of a text; a leading space counts.
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

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Option::<String>::deserialize(deserializer)?;
        Ok(match written {
            None => Self::Top,
            Some(text) => match text.strip_prefix("id:").map(str::parse) {
                Some(Ok(id)) => Self::Id(id),
                _ => Self::Text(text),
            },
        })
    }
}

impl Engine {
    /// A token id as shown.
    pub fn token(&self, id: u32) -> Token {
        let text = match &self.tokenizer {
            Some(tokenizer) => tokenizer.piece(id).text,
            None => id.to_string(),
        };
        Token { id, text, patch: None }
    }

    /// The tokens of a prompt as shown: those that stand for a picture say which part.
    pub fn tokens(&self, input: &Input) -> Arc<[Token]> {
        let shown = input.iter().map(|&id| self.token(id));
        let (Some(image), Some(spec)) = (input.image(), &self.model.spec.vision) else {
            return shown.collect();
        };
        let cells = (0..spec.side()).flat_map(|row| (0..spec.side()).map(move |col| Patch::At { row, col }));
        let mut parts = spec.keep_class.then_some(Patch::Class).into_iter().chain(cells);
        let part = |mut token: Token| {
            token.patch = if token.id == image.token { parts.next() } else { None };
            match token.patch {
                Some(Patch::At { row, col }) => token.text = format!("img {row},{col}"),
                Some(Patch::Class) => token.text = "img class".into(),
                None => {}
            }
            token
        };
        shown.map(part).collect()
    }

    /// The id that an answer stands for. `logits` (or log probabilities) of the unmodified run.
    pub fn answer_id(&self, answer: &Answer, logits: &[f32]) -> Result<u32> {
        let id = match answer {
            Answer::Top => metric::top_k(logits, 1).first().map_or(0, |(id, _)| *id),
            Answer::Id(id) => *id,
            Answer::Text(text) => {
                let tokenizer = self.tokenizer.as_ref();
                let tokenizer =
                    tokenizer.ok_or_else(|| Error::NoTokenizer("an answer is a token id here"))?;
                let first = tokenizer.encode(text, false)?.first().copied();
                first.ok_or_else(|| Error::Input("the answer is empty".into()))?
            }
        };
        if id as usize >= self.model.spec.vocab {
            return Err(Error::Input(format!("token id {id} is past the vocabulary")));
        }
        Ok(id)
    }
}

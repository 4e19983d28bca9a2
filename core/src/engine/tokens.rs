//! Tokens: their true text for files, their visible text for the window and tables.

use std::sync::Arc;

use serde::Serialize;

use super::Engine;
use crate::checkpoint::Tokenizer;
use crate::model::{Input, Spec};

/// A token of the prompt or of a table. In JSON `text` is its true text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Token {
    /// Id in the vocabulary.
    pub id: u32,
    /// Visible text: marks for spaces and line ends, `<0xE4>` for partial characters.
    #[serde(skip)]
    pub text: String,
    /// True text: spaces and line ends as they are, `\xE4` for a byte that is no character.
    #[serde(rename = "text")]
    pub exact: String,
    /// What it stands for in a text; empty for special tokens and those of a picture.
    #[serde(skip)]
    pub bytes: Vec<u8>,
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

impl Token {
    /// A token by its id; without a tokenizer the id is its text.
    pub(super) fn new(id: u32, tokenizer: Option<&Tokenizer>) -> Self {
        let Some(tokenizer) = tokenizer else {
            let text = id.to_string();
            return Self { id, bytes: text.clone().into_bytes(), exact: text.clone(), text, patch: None };
        };
        let piece = tokenizer.piece(id);
        Self { id, text: piece.text, exact: tokenizer.exact(id), bytes: piece.bytes, patch: None }
    }

    /// Its true text in quotes, on one line: for names and titles, which files keep as they are.
    pub fn quoted(&self) -> String {
        let mut text = String::from('"');
        for character in self.exact.chars() {
            match character {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                other => text.push(other),
            }
        }
        text.push('"');
        text
    }
}

/// The tokens of a prompt; `image` is the id that stands for each part of its picture, where it has one.
pub(super) fn shown(
    ids: &[u32],
    image: Option<u32>,
    tokenizer: Option<&Tokenizer>,
    spec: &Spec,
) -> Arc<[Token]> {
    let all = ids.iter().map(|&id| Token::new(id, tokenizer));
    let (Some(image), Some(spec)) = (image, &spec.vision) else { return all.collect() };
    let cells = (0..spec.side()).flat_map(|row| (0..spec.side()).map(move |col| Patch::At { row, col }));
    let mut parts = spec.keep_class.then_some(Patch::Class).into_iter().chain(cells);
    let part = |mut token: Token| {
        token.patch = if token.id == image { parts.next() } else { None };
        match token.patch {
            Some(Patch::At { row, col }) => token.text = format!("img {row},{col}"),
            Some(Patch::Class) => token.text = "img class".into(),
            None => {}
        }
        token
    };
    all.map(part).collect()
}

impl Engine {
    /// A token by its id.
    pub fn token(&self, id: u32) -> Token {
        Token::new(id, self.tokenizer.as_deref())
    }

    /// The tokens of a prompt: those that stand for a picture say which part.
    pub fn tokens(&self, input: &Input) -> Arc<[Token]> {
        let image = input.image().map(|image| image.token);
        shown(input, image, self.tokenizer.as_deref(), &self.model.spec)
    }
}

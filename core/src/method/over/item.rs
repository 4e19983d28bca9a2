//! An item of a list: a prompt, what is marked in it, and the answers that are followed after it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::engine::{Engine, Prompt, Token};
use crate::error::Result;
use crate::method::{Ask, Method, Picks, positions};
use crate::model::Input;
use crate::spec::FieldKind;

/// Fields that an item may have.
pub(super) const FIELDS: [&str; 11] =
    ["id", "prompt", "tokens", "image", "subject", "object", "words", "context", "corrupt", "answer", "foil"];

/// An item as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    /// Its own name, given back.
    #[serde(default)]
    pub id: Option<Value>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    tokens: Option<Vec<u32>>,
    #[serde(default)]
    image: Option<PathBuf>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    object: Option<String>,
    #[serde(default)]
    words: Option<String>,
    #[serde(default)]
    context: Option<String>,
    #[serde(default)]
    corrupt: Option<String>,
    #[serde(default)]
    answer: Option<Value>,
    #[serde(default)]
    foil: Option<Value>,
}

impl Item {
    /// Its prompt. Pictures lie in `folder`.
    ///
    /// # Errors
    /// Words or a picture that the model cannot read.
    pub fn input(&self, engine: &mut Engine, folder: &Path) -> Result<Input> {
        let (text, tokens) = (self.prompt.clone(), self.tokens.clone());
        engine.input(&Prompt::of_entry(text, tokens, self.image.as_deref(), folder)?)
    }

    /// What is marked: by its own fields, else as every item is.
    ///
    /// # Errors
    /// Text or positions that the prompt does not have.
    pub fn picks(
        &self,
        method: &Method,
        of_all: &BTreeMap<String, String>,
        tokens: &[Token],
    ) -> Result<Picks> {
        let own = |field: &&str| match *field {
            "subject" => self.subject.as_ref(),
            "object" => self.object.as_ref(),
            "words" => self.words.as_ref(),
            "context" => self.context.as_ref(),
            "corrupt" => self.corrupt.as_ref(),
            _ => None,
        };
        let mut picks = Picks::new();
        for pick in method.picks {
            let written = pick.fields.iter().find_map(own).or_else(|| of_all.get(pick.name));
            if let Some(written) = written {
                picks.insert(pick.name.to_owned(), positions(written, tokens)?);
            }
        }
        Ok(picks)
    }

    /// The parameters, with the item's own answers where the method follows any.
    pub fn ask(&self, method: &Method, ask: &Ask) -> Ask {
        let mut ask = ask.clone();
        let own = |name: &str| match name {
            "answer" => self.answer.as_ref(),
            "foil" => self.foil.as_ref(),
            _ => None,
        };
        for field in method.fields.iter().filter(|field| field.kind == FieldKind::Answer) {
            if let Some(answer) = own(field.name) {
                ask.insert(field.name.to_owned(), answer.clone());
            }
        }
        ask
    }
}

/// What became of an item: a line of the records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemFound {
    /// Its number, 0 = the first.
    pub item: u64,
    /// Its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// Why it could not be asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Why it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
    /// Of each measure in turn, row by row; NaN = not defined.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "numbers")]
    pub values: Vec<Vec<f64>>,
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Vec<f64>>, D::Error> {
    let all: Vec<Vec<Option<f64>>> = Deserialize::deserialize(deserializer)?;
    let row = |row: Vec<Option<f64>>| row.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect();
    Ok(all.into_iter().map(row).collect())
}

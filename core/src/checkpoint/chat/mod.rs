//! The chat template of a checkpoint: which file has it, and what it is given.

mod clock;
mod jinja;
mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Checkpoint;
use super::json::{parse_object, read_text};
use crate::error::{Error, Result};
use crate::files;

/// A conversation's form, as the checkpoint's makers wrote it: a Jinja template that transformers renders too.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    /// For errors.
    place: PathBuf,
    source: String,
    /// Special tokens by name: `bos_token` …
    special: BTreeMap<String, String>,
}

/// A message of a conversation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What it says.
    pub content: Content,
}

/// What a message says: templates of text models read a text, those of image models a list of parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// A text.
    Text(String),
    /// A picture and a text.
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// A picture.
    Image,
    /// A text.
    Text {
        /// The text.
        text: String,
    },
}

impl ChatTemplate {
    /// The template of a checkpoint; `None` where it has none.
    ///
    /// # Errors
    /// A file that cannot be read, or templates of which none is the default.
    pub fn of(checkpoint: &Checkpoint) -> Result<Option<Self>> {
        let Some(folder) = checkpoint.folder() else { return Ok(None) };
        Self::open(folder, checkpoint.config().get("vision_config").is_some())
    }

    /// The template of a folder. chat_template.jinja comes first; then, for a model that reads images, what belongs to its
    /// processor, else what belongs to its tokenizer.
    ///
    /// # Errors
    /// As [`ChatTemplate::of`].
    pub fn open(folder: &Path, images: bool) -> Result<Option<Self>> {
        let special = special(folder)?;
        let alone = folder.join("chat_template.jinja");
        if files::stands(&alone) {
            let source = read_text(&alone)?;
            let source = files::unmarked(&source).to_owned();
            return Ok(Some(Self { place: alone, source, special }));
        }
        let mut files = ["tokenizer_config.json", "chat_template.json", "processor_config.json"];
        if images {
            files.rotate_left(1);
        }
        for name in files {
            let place = folder.join(name);
            if !files::stands(&place) {
                continue;
            }
            let file = parse_object(&place, &read_text(&place)?)?;
            if let Some(source) = template(&place, file.get("chat_template"))? {
                return Ok(Some(Self { place, source, special }));
            }
        }
        Ok(None)
    }

    /// The text that begins every prompt, where the tokenizer names one.
    pub fn bos(&self) -> Option<&str> {
        self.special.get("bos_token").map(String::as_str)
    }

    /// A conversation as text, up to where the answer begins.
    ///
    /// # Errors
    /// Where the template refuses it, cannot be parsed, or does not end; with the line.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        jinja::render(&self.source, &self.special, messages).map_err(|cause| {
            let name = self.place.file_name().unwrap_or_default().to_string_lossy();
            Error::Chat(format!("chat template of {name}{cause}"))
        })
    }
}

/// The text of a template as JSON files hold it: a text, or several with names, of which the default is meant.
fn template(place: &Path, written: Option<&Value>) -> Result<Option<String>> {
    let named: Vec<(&str, &str)> = match written {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(source)) => return Ok(Some(source.clone())),
        Some(Value::Array(all)) => {
            let pair = |one| Some((Value::get(one, "name")?.as_str()?, one.get("template")?.as_str()?));
            all.iter().filter_map(pair).collect()
        }
        Some(Value::Object(all)) => {
            all.iter().filter_map(|(name, source)| Some((name.as_str(), source.as_str()?))).collect()
        }
        Some(_) => return Err(Error::checkpoint(place, "its chat_template is neither a text nor a list")),
    };
    match named.iter().find(|(name, _)| *name == "default") {
        Some((_, source)) => Ok(Some((*source).to_owned())),
        None => {
            let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
            let place = place.display();
            let cause =
                format!("{place}: no chat template there is named default (named: {})", names.join(", "));
            Err(Error::Chat(cause))
        }
    }
}

/// Special tokens that tokenizers of a class have where no file names them, as transformers sets them.
const DEFAULTS: [(&str, &[(&str, &str)]); 5] = [
    ("Llama", &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")]),
    (
        "Gemma",
        &[("bos_token", "<bos>"), ("eos_token", "<eos>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")],
    ),
    (
        "GPT2",
        &[("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")],
    ),
    (
        "GPTNeoX",
        &[("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")],
    ),
    (
        "Qwen2",
        &[("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")],
    ),
];

/// Special tokens by name: of the tokenizer's class, of special_tokens_map.json, of tokenizer_config.json; the last counts.
fn special(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut special = BTreeMap::new();
    let read = |name: &str| -> Result<Option<Value>> {
        let place = folder.join(name);
        if files::stands(&place) { parse_object(&place, &read_text(&place)?).map(Some) } else { Ok(None) }
    };
    let (map, config) = (read("special_tokens_map.json")?, read("tokenizer_config.json")?);
    let class = config.as_ref().and_then(|config| config.get("tokenizer_class")?.as_str());
    let class = class.map(|class| class.trim_end_matches("Fast").trim_end_matches("Tokenizer"));
    for (_, tokens) in DEFAULTS.iter().filter(|(name, _)| Some(*name) == class) {
        special.extend(tokens.iter().map(|&(name, token)| (name.to_owned(), token.to_owned())));
    }
    for file in [map, config].into_iter().flatten() {
        let named = file.as_object().into_iter().flatten();
        for (name, token) in named.filter(|(name, _)| name.ends_with("_token")) {
            match token {
                Value::Null => drop(special.remove(name)),
                token => {
                    let text = token.as_str().or_else(|| token.get("content")?.as_str());
                    special.extend(text.map(|text| (name.clone(), text.to_owned())));
                }
            }
        }
    }
    Ok(special)
}

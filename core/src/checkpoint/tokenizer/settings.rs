//! What a folder says of its tokenizer beside the vocabulary: tokenizer_config.json, special_tokens_map.json and
//! added_tokens.json.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::super::json::{parse_object, read_text};
use crate::error::{Error, Result};

/// Roles of special tokens, in the order in which transformers adds them.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Tokens by the rank of their role and the role, those of a role that transformers does not know last.
type Named = BTreeMap<(usize, String), AddedToken>;

/// The settings of a tokenizer.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `tokenizer_class`
    pub class: Option<String>,
    /// `add_bos_token`
    pub add_bos: Option<bool>,
    /// `add_eos_token`
    pub add_eos: Option<bool>,
    /// `add_prefix_space`
    pub prefix_space: Option<bool>,
    /// `split_special_tokens`: whether special tokens inside a text are read as text.
    pub split_special: bool,
    /// Added tokens in the order of their ids.
    pub added: Vec<AddedToken>,
    /// Special tokens that have a role.
    named: Named,
    /// Special tokens without a role.
    extra: Vec<AddedToken>,
    /// Roles that are null in a file: those of the class do not step in.
    unfilled: HashSet<&'static str>,
}

impl Settings {
    /// Of a folder. As in transformers, special_tokens_map.json and added_tokens.json count where tokenizer_config.json lists
    /// no added tokens itself.
    ///
    /// # Errors
    /// Where one of these files holds no JSON object, or something else than a token where a token stands.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer_config.json");
        let config = object(&path)?.unwrap_or_default();
        let flag = |key: &str| config.get(key).map(is_true);
        let mut settings = Self {
            class: config.get("tokenizer_class").and_then(Value::as_str).map(str::to_owned),
            add_bos: flag("add_bos_token"),
            add_eos: flag("add_eos_token"),
            prefix_space: config.get("add_prefix_space").filter(|value| !value.is_null()).map(is_true),
            split_special: flag("split_special_tokens").unwrap_or(false),
            ..Self::default()
        };
        let mut roles = Roles::default();
        roles.take(&path, &config)?;
        settings.added = match config.get("added_tokens_decoder") {
            Some(listed) => by_id(&path, listed)?,
            None => {
                let path = folder.join("special_tokens_map.json");
                if let Some(map) = object(&path)? {
                    roles.take(&path, &map)?;
                }
                let path = folder.join("added_tokens.json");
                match object(&path)? {
                    Some(map) => by_name(&path, &map, &roles)?,
                    None => Vec::new(),
                }
            }
        };
        settings.named = roles.named;
        settings.extra = roles.extra;
        settings.unfilled = roles.unfilled;
        // A name stands for the added token of that name, with what is said of it there.
        let added = settings.added.iter().map(|token| (token.content.as_str(), token));
        let added: HashMap<&str, &AddedToken> = added.collect();
        for token in settings.named.values_mut() {
            if let Some(added) = added.get(token.content.as_str()) {
                *token = (*added).clone();
            }
        }
        Ok(settings)
    }

    /// Give a role that no file fills to a token.
    pub fn assume(&mut self, role: &str, content: &str) {
        if self.named(role).is_none() && !self.unfilled.contains(role) {
            let added = self.added.iter().find(|added| added.content == content);
            let token = added.cloned().unwrap_or_else(|| AddedToken::from(content, true));
            self.named.insert(key(role), token);
        }
    }

    /// The token of a role.
    pub fn named(&self, role: &str) -> Option<&AddedToken> {
        self.named.get(&key(role))
    }

    /// Special tokens: those that have a role, in the order of the roles, then the others.
    pub fn special(&self) -> impl Iterator<Item = &AddedToken> {
        self.named.values().chain(&self.extra)
    }

    /// Texts of the tokens that have a role.
    pub fn names(&self) -> HashSet<&str> {
        self.named.values().map(|token| token.content.as_str()).collect()
    }
}

fn key(role: &str) -> (usize, String) {
    let rank = ROLES.iter().position(|known| *known == role).unwrap_or(ROLES.len());
    (rank, role.to_owned())
}

/// Special tokens as the files name them, later files over earlier ones.
#[derive(Default)]
struct Roles {
    named: Named,
    extra: Vec<AddedToken>,
    unfilled: HashSet<&'static str>,
}

impl Roles {
    fn take(&mut self, path: &Path, map: &Map<String, Value>) -> Result<()> {
        for role in ROLES {
            match map.get(role) {
                Some(Value::Null) => {
                    self.unfilled.insert(role);
                }
                Some(value) => {
                    self.named.insert(key(role), token(path, role, value, true)?);
                }
                None => {}
            }
        }
        for (role, value) in map {
            if role.ends_with("_token") && !ROLES.contains(&role.as_str()) && value.is_string() {
                self.named.insert(key(role), token(path, role, value, true)?);
            }
        }
        // The name of today comes before the one of transformers 4.
        let extra = |key: &str| map.get(key).filter(|value| is_true(value));
        match extra("extra_special_tokens").or_else(|| extra("additional_special_tokens")) {
            Some(Value::Array(list)) => {
                for value in list {
                    self.extra.push(token(path, "extra_special_tokens", value, true)?);
                }
            }
            Some(Value::Object(by_role)) => {
                for (role, value) in by_role {
                    self.named.insert(key(role), token(path, role, value, true)?);
                }
            }
            Some(_) => {
                return Err(Error::checkpoint(path, "extra_special_tokens must be a list or an object"));
            }
            None => {}
        }
        Ok(())
    }
}

/// `added_tokens_decoder`: tokens by id.
fn by_id(path: &Path, listed: &Value) -> Result<Vec<AddedToken>> {
    let bad = |cause: String| Error::checkpoint(path, format!("added_tokens_decoder: {cause}"));
    let listed = listed.as_object().ok_or_else(|| bad("must be an object".into()))?;
    let mut tokens = BTreeMap::new();
    for (id, value) in listed {
        let number: u32 = id.trim().parse().map_err(|_| bad(format!("\"{id}\" is not a token id")))?;
        if !value.is_object() {
            return Err(bad(format!("{id} must be an object")));
        }
        tokens.insert(number, token(path, &format!("added_tokens_decoder {id}"), value, false)?);
    }
    Ok(tokens.into_values().collect())
}

/// added_tokens.json: ids by token. Those that have a role are special and are found in the text as it was typed.
fn by_name(path: &Path, map: &Map<String, Value>, roles: &Roles) -> Result<Vec<AddedToken>> {
    let special = roles.named.values().chain(&roles.extra).map(|token| token.content.as_str());
    let special: HashSet<&str> = special.collect();
    let mut tokens = BTreeMap::new();
    for (content, id) in map {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id =
            id.ok_or_else(|| Error::checkpoint(path, format!("the id of \"{content}\" is not a token id")))?;
        tokens.insert(id, AddedToken::from(content.as_str(), special.contains(content.as_str())));
    }
    Ok(tokens.into_values().collect())
}

/// A token given by its text or as an object with `content`.
fn token(path: &Path, field: &str, value: &Value, special: bool) -> Result<AddedToken> {
    let bad = || Error::checkpoint(path, format!("{field} must be a text or an object with \"content\""));
    let map = match value {
        Value::String(content) => return Ok(AddedToken::from(content.as_str(), special)),
        Value::Object(map) => map,
        _ => return Err(bad()),
    };
    let content = map.get("content").and_then(Value::as_str).ok_or_else(bad)?;
    let flag = |key: &str| map.get(key).map(is_true);
    let plain = AddedToken::from(content, flag("special").unwrap_or(false) || special);
    let normalized = flag("normalized").unwrap_or(plain.normalized);
    Ok(plain
        .normalized(normalized)
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .single_word(flag("single_word").unwrap_or(false)))
}

/// A file's JSON object; none where there is no such file.
fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    if !path.is_file() {
        return Ok(None);
    }
    match parse_object(path, &read_text(path)?)? {
        Value::Object(map) => Ok(Some(map)),
        _ => Ok(None),
    }
}

/// What Python takes for true: settings are written by hand, too.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

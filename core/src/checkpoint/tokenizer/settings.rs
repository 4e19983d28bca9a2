//! What a folder says of its tokenizer beside the vocabulary: tokenizer_config.json, special_tokens_map.json and
//! added_tokens.json.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::super::json::{entries, parse_object, read_text};
use crate::error::{Error, Result};
use crate::files;

/// Roles of special tokens, in the order in which transformers adds them.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Where transformers 5 writes special tokens of a role of the model's own, by role.
const OWN_ROLES: &str = "model_specific_special_tokens";

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
        roles.take_by_name(&path, &config, true)?;
        roles.take_extra(&path, &config)?;
        roles.take_own(&path, &config)?;
        settings.added = match config.get("added_tokens_decoder") {
            Some(listed) => by_id(&path, listed)?,
            None => {
                let path = folder.join("special_tokens_map.json");
                if let Some(map) = object(&path)? {
                    roles.take(&path, &map)?;
                    roles.take_by_name(&path, &map, false)?;
                    roles.take_extra(&path, &map)?;
                }
                let path = folder.join("added_tokens.json");
                match object(&path)? {
                    Some(object) => by_name(&path, &object.map, &roles)?,
                    None => Vec::new(),
                }
            }
        };
        settings.named = roles.merged();
        settings.extra = roles.extra;
        settings.unfilled = roles.unfilled;
        // A name stands for the added token of that name, with what is said of it there.
        let added = settings.added.iter().map(|token| (token.content.as_str(), token));
        let added: HashMap<&str, &AddedToken> = added.collect();
        for (_, token) in &mut settings.named.list {
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
            self.named.set(role, token);
        }
    }

    /// The token of a role.
    pub fn named(&self, role: &str) -> Option<&AddedToken> {
        self.named.get(role)
    }

    /// Special tokens: those that have a role, in the order of the roles, then the others.
    pub fn special(&self) -> impl Iterator<Item = &AddedToken> {
        self.named.in_order().chain(&self.extra)
    }

    /// Texts of the tokens that have a role.
    pub fn names(&self) -> HashSet<&str> {
        self.named.in_order().map(|token| token.content.as_str()).collect()
    }
}

/// Tokens by role, in the order in which the roles were first named: new ones get their ids in it.
#[derive(Debug, Default)]
struct Named {
    list: Vec<(String, AddedToken)>,
    /// Role -> index into `list`.
    at: HashMap<String, usize>,
}

impl Named {
    fn get(&self, role: &str) -> Option<&AddedToken> {
        self.list.get(*self.at.get(role)?).map(|(_, token)| token)
    }

    /// Fill a role, in the place that it has.
    fn set(&mut self, role: &str, token: AddedToken) {
        match self.at.get(role).and_then(|at| self.list.get_mut(*at)) {
            Some((_, known)) => *known = token,
            None => {
                self.at.insert(role.to_owned(), self.list.len());
                self.list.push((role.to_owned(), token));
            }
        }
    }

    /// Those of transformers' roles, then those of the model's own.
    fn in_order(&self) -> impl Iterator<Item = &AddedToken> {
        let own = self.list.iter().filter(|(role, _)| !ROLES.contains(&role.as_str()));
        ROLES.iter().filter_map(|role| self.get(role)).chain(own.map(|(_, token)| token))
    }
}

/// Special tokens as the files name them, later files over earlier ones.
#[derive(Default)]
struct Roles {
    /// Of transformers' roles, and of the model's own where transformers finds them last.
    named: Named,
    /// Of the model's own roles; they stand over those before.
    own: Named,
    extra: Vec<AddedToken>,
    unfilled: HashSet<&'static str>,
}

impl Roles {
    fn take(&mut self, path: &Path, object: &Object) -> Result<()> {
        for role in ROLES {
            match object.get(role) {
                Some(Value::Null) => {
                    self.unfilled.insert(role);
                }
                Some(value) => self.named.set(role, token(path, role, value, true)?),
                None => {}
            }
        }
        Ok(())
    }

    /// Roles of the model's own, by the names of fields. In tokenizer_config.json (`first`) transformers finds texts at once,
    /// and everything else last.
    fn take_by_name(&mut self, path: &Path, object: &Object, first: bool) -> Result<()> {
        for (role, value) in object.entries() {
            if !role.ends_with("_token") || ROLES.contains(&role.as_str()) {
                continue;
            }
            let to = match value {
                Value::String(_) if first => &mut self.own,
                Value::String(_) => &mut self.named,
                Value::Object(map) if map.contains_key("content") => &mut self.named,
                _ => continue,
            };
            to.set(&role, token(path, &role, value, true)?);
        }
        Ok(())
    }

    /// `extra_special_tokens`: a list, or more roles of the model's own.
    fn take_extra(&mut self, path: &Path, object: &Object) -> Result<()> {
        // The name of today comes before the one of transformers 4.
        let key = ["extra_special_tokens", "additional_special_tokens"]
            .into_iter()
            .find(|key| object.get(key).is_some_and(is_true));
        match key.and_then(|key| Some((key, object.get(key)?))) {
            Some((_, Value::Array(list))) => {
                for value in list {
                    self.extra.push(token(path, "extra_special_tokens", value, true)?);
                }
            }
            Some((key, Value::Object(by_role))) => {
                for (role, value) in object.entries_of(key, by_role) {
                    self.own.set(&role, token(path, &role, value, true)?);
                }
            }
            Some(_) => {
                return Err(Error::checkpoint(path, "extra_special_tokens must be a list or an object"));
            }
            None => {}
        }
        Ok(())
    }

    /// The roles of the model's own that tokenizer_config.json lists apart. As in transformers, they count where it names
    /// none in another way.
    fn take_own(&mut self, path: &Path, config: &Object) -> Result<()> {
        if !self.own.list.is_empty() {
            return Ok(());
        }
        match config.get(OWN_ROLES) {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Object(by_role)) => {
                for (role, value) in config.entries_of(OWN_ROLES, by_role) {
                    self.own.set(&role, token(path, &role, value, true)?);
                }
                Ok(())
            }
            Some(_) => {
                Err(Error::checkpoint(path, format!("{OWN_ROLES} must be an object of tokens by role")))
            }
        }
    }

    /// All that have a role.
    fn merged(&mut self) -> Named {
        let mut named = std::mem::take(&mut self.named);
        for (role, token) in std::mem::take(&mut self.own).list {
            named.set(&role, token);
        }
        named
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

/// added_tokens.json: ids by token. Those that have one of transformers' roles are special and are found in the text as it was
/// typed.
fn by_name(path: &Path, map: &Map<String, Value>, roles: &Roles) -> Result<Vec<AddedToken>> {
    let special = ROLES.iter().filter_map(|role| roles.named.get(role)).chain(&roles.extra);
    let special = special.map(|token| token.content.as_str());
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

/// A file's JSON object.
#[derive(Default)]
struct Object {
    map: Map<String, Value>,
    text: String,
}

impl Object {
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// Its entries in the order of the file.
    fn entries(&self) -> Vec<(String, &Value)> {
        let keys = entries(&self.text).into_iter().map(|(key, _)| key);
        keys.filter_map(|key| self.map.get(&key).map(|value| (key, value))).collect()
    }

    /// Entries of `inner`, the object at `key`, in the order of the file.
    fn entries_of<'a>(&self, key: &str, inner: &'a Map<String, Value>) -> Vec<(String, &'a Value)> {
        let own = entries(&self.text).into_iter().rev().find(|(known, _)| known == key);
        let keys = own.map(|(_, text)| entries(&text)).unwrap_or_default().into_iter().map(|(key, _)| key);
        keys.filter_map(|key| inner.get(&key).map(|value| (key, value))).collect()
    }
}

/// A file's JSON object; none where there is no such file.
fn object(path: &Path) -> Result<Option<Object>> {
    if !files::stands(path) {
        return Ok(None);
    }
    let text = read_text(path)?;
    match parse_object(path, &text)? {
        Value::Object(map) => Ok(Some(Object { map, text })),
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

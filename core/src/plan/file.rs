//! Plan files: read with a cause that names line and item, written with paths beside the file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Item, PLAN_VERSION, Plan, words, written};
use crate::checkpoint::{MAX_TEXT, check_weight};
use crate::error::{Error, Result};
use crate::files;

/// A plan names what it changes; more than this is no plan.
const MOST: u64 = MAX_TEXT;

/// As a plan file has it, its items unread.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    version: u32,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

impl Plan {
    /// Read a plan's text. Relative paths in it stay as they are: from where the program was started.
    ///
    /// # Errors
    /// [`Error::Plan`] with line and item of what cannot be read.
    pub fn from_json(text: &str) -> Result<Self> {
        let text = files::unmarked(text);
        if text.trim().is_empty() {
            return Err(Error::Plan("there is nothing in it".into()));
        }
        check_weight(text).map_err(Error::Plan)?;
        let written: Written = serde_json::from_str(text).map_err(|error| no_plan(text, &error))?;
        if written.version != PLAN_VERSION {
            let version = written.version;
            return Err(Error::Plan(format!(
                "version {version} is not {PLAN_VERSION}, the one this build reads"
            )));
        }
        let mut plan = Self::default();
        for (index, raw) in written.items.unwrap_or_default().into_iter().enumerate() {
            let item = read_item(raw.get()).map_err(|(path, cause)| {
                let line = line_of(text, raw.get());
                Error::Plan(format!("line {line}: plan.items[{index}]{path}{cause}"))
            })?;
            plan.items.push(item);
        }
        Ok(plan)
    }

    /// Read a plan file. Relative paths in it are of files in its own folder.
    ///
    /// # Errors
    /// Where it is no text in UTF-8, or no plan.
    pub fn read(path: &Path) -> Result<Self> {
        let (bytes, more) = files::read_within(path, MOST).map_err(|error| Error::read(path, &error))?;
        let refused = |kind, cause: String| Error::Read { path: path.into(), kind, cause };
        if more {
            return Err(refused(
                io::ErrorKind::FileTooLarge,
                format!("more than {} MiB are no plan", MOST >> 20),
            ));
        }
        if !files::is_text(&bytes) {
            return Err(Error::NoPlan(format!("{}: is no text, and a plan is JSON", path.display())));
        }
        let text = files::utf8(&bytes).map_err(|cause| refused(io::ErrorKind::InvalidData, cause))?;
        let mut plan = Self::from_json(text).map_err(|error| match error {
            Error::Plan(cause) => Error::Plan(format!("{}: {cause}", path.display())),
            Error::NoPlan(cause) => Error::NoPlan(format!("{}: {cause}", path.display())),
            error => error,
        })?;
        if let Some(folder) = folder(path) {
            plan.look_in(folder);
        }
        Ok(plan)
    }

    /// The files that its items name, but for those that are off: SHA-256 by path.
    ///
    /// # Errors
    /// [`Error::Read`] of one that cannot be read.
    pub fn contents(&self) -> Result<BTreeMap<String, String>> {
        let mut contents = BTreeMap::new();
        for item in self.active() {
            for path in item.change.clone().files() {
                let sha256 = files::sha256(path).map_err(|error| Error::read(&*path, &error))?;
                contents.insert(path.display().to_string(), sha256);
            }
        }
        Ok(contents)
    }

    /// Take the relative paths in it as those of files in a folder.
    pub fn look_in(&mut self, folder: &Path) {
        self.change_files(|file| {
            if file.is_relative() {
                *file = folder.join(&*file);
            }
        });
    }

    /// Write a plan file. Paths inside its folder become relative to it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut plan = self.clone();
        let whole = std::path::absolute(path).ok();
        let own = whole.as_deref().and_then(Path::parent);
        plan.change_files(|file| {
            // Of where the program was started, else: a reader would look beside the plan.
            let Ok(there) = std::path::absolute(&*file) else { return };
            *file = match own.and_then(|folder| there.strip_prefix(folder).ok()) {
                Some(beside) if !beside.as_os_str().is_empty() => beside.into(),
                _ => there,
            };
        });
        files::write_atomic(path, (plan.to_json()? + "\n").as_bytes())
    }

    /// The plan file's text.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|error| Error::Plan(error.to_string()))
    }

    fn change_files(&mut self, change: impl Fn(&mut PathBuf)) {
        self.items.iter_mut().flat_map(|item| item.change.files()).for_each(change);
    }
}

/// The folder of a file, unless it is where the program was started.
fn folder(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty())
}

/// The line of a text that a piece of it begins on, from 1.
fn line_of(text: &str, piece: &str) -> usize {
    let start = (piece.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    1 + text.bytes().take(start).filter(|&byte| byte == b'\n').count()
}

/// Why a text is no plan as a whole.
fn no_plan(text: &str, error: &serde_json::Error) -> Error {
    if error.is_syntax() || error.is_eof() {
        return Error::NoPlan(format!("is no valid JSON, which a plan is: {error}"));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) | Err(_) => Error::NoPlan(words::plain(error)),
        Ok(other) => Error::NoPlan(format!("a plan is an object, not {}", words::said(&other))),
    }
}

/// An item, or where in it something is wrong and what.
fn read_item(text: &str) -> Result<Item, (String, String)> {
    // Straight from the text, as most items can be: values in between are many times as large as a long list of numbers.
    if !has_null_or_large(text)
        && let (Ok(item), Ok(Keys(keys))) = (serde_json::from_str::<Item>(text), serde_json::from_str(text))
        && keys.iter().all(|name| written::is_known(item.change.kind(), name))
    {
        return Ok(item);
    }
    let broken = |error: serde_json::Error| (": ".to_owned(), words::plain(&error));
    let mut written: Value = serde_json::from_str(text).map_err(broken)?;
    without_nulls(&mut written);
    written::check(&written)?;
    let item: Item = serde_json::from_value(written.clone()).map_err(broken)?;
    let read = serde_json::to_value(&item).map_err(broken)?;
    match endless(&written, &read, String::new()) {
        Some(path) => Err((path, " is too large a number".into())),
        None => Ok(item),
    }
}

/// Whether a text has null, or a number that may be past f32, outside its strings.
fn has_null_or_large(text: &str) -> bool {
    let (mut digits, mut inside, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        if inside {
            inside = byte != b'"' || escaped;
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => inside = true,
            // `1e39`; the e of true and false follows a letter.
            b'n' => return true,
            b'e' | b'E' if digits > 0 => return true,
            _ => {}
        }
        digits = if byte.is_ascii_digit() || (byte == b'.' && digits > 0) { digits + 1 } else { 0 };
        if digits > f32::MAX_10_EXP {
            return true;
        }
    }
    false
}

/// Names of the fields of an object.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Keys, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Keys(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// A field of `null` is one that is left out.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Where a number was written that is infinite as f32, which JSON writes as `null`.
fn endless(written: &Value, read: &Value, path: String) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written.iter().find_map(|(name, value)| {
            read.get(name).and_then(|read| endless(value, read, format!("{path}.{name}")))
        }),
        (Value::Array(written), Value::Array(read)) => {
            let pairs = written.iter().zip(read).enumerate();
            pairs.into_iter().find_map(|(i, (written, read))| endless(written, read, format!("{path}[{i}]")))
        }
        (Value::Number(_), Value::Null) => Some(path),
        _ => None,
    }
}

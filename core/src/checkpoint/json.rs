//! The JSON files of a checkpoint.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::files;

/// Largest JSON file read: config, index, tokenizer settings.
const MAX_JSON: u64 = 64 << 20;

/// A text file of at most [`MAX_JSON`] bytes.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let (bytes, more) = files::read_within(path, MAX_JSON).map_err(|error| Error::read(path, &error))?;
    if more {
        return Err(Error::checkpoint(path, format!("is over {} MiB", MAX_JSON >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| Error::checkpoint(path, "is not UTF-8"))
}

/// A JSON object; `path` is for the error.
pub(super) fn parse_object(path: &Path, text: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Error::checkpoint(path, format!("is not valid JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::checkpoint(path, "must hold a JSON object")) }
}

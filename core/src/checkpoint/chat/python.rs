//! Values of a template as Python writes them.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value, escape_formatter};

/// Spaces a level that are put in front of lines at most.
const MOST_INDENT: usize = 64;

/// What `{{ value }}` writes.
pub(super) fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.write_str("None").map_err(Error::from),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }).map_err(Error::from),
        _ => escape_formatter(out, state, value),
    }
}

/// Python's json.dumps, with transformers' defaults.
pub(super) fn tojson(value: &Value, given: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = given.get("indent")?;
    let separators: Option<Vec<String>> = given.get("separators")?;
    let ascii: Option<bool> = given.get("ensure_ascii")?;
    let sorted: Option<bool> = given.get("sort_keys")?;
    given.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        _ => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let json = Json {
        indent: indent.map(|indent| indent.min(MOST_INDENT)),
        item,
        key,
        ascii: ascii.unwrap_or(false),
        sorted: sorted.unwrap_or(false),
    };
    let mut text = String::new();
    json.write(value, 0, &mut text)?;
    Ok(text)
}

/// How JSON is written.
struct Json {
    indent: Option<usize>,
    item: String,
    key: String,
    ascii: bool,
    sorted: bool,
}

impl Json {
    fn write(&self, value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => text.push_str("null"),
            ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => text.push_str(&value.to_string()),
            ValueKind::String => self.string(&value.to_string(), text),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.group(['[', ']'], items.len(), depth, text, |index, text| {
                    self.write(items.get(index).unwrap_or(&Value::UNDEFINED), depth + 1, text)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort_by_key(ToString::to_string);
                }
                self.group(['{', '}'], keys.len(), depth, text, |index, text| {
                    let key = keys.get(index).unwrap_or(&Value::UNDEFINED);
                    self.string(&key.to_string(), text);
                    text.push_str(&self.key);
                    self.write(&value.get_item(key)?, depth + 1, text)
                })?;
            }
            kind => {
                let cause = format!("a value of type {kind} cannot be written as JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, cause));
            }
        }
        Ok(())
    }

    /// Items between brackets.
    fn group(
        &self,
        [open, close]: [char; 2],
        count: usize,
        depth: usize,
        text: &mut String,
        write: impl Fn(usize, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize, text: &mut String| {
            if let Some(indent) = self.indent {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        text.push(open);
        for index in 0..count {
            if index > 0 {
                text.push_str(&self.item);
            }
            line(depth + 1, text);
            write(index, text)?;
        }
        if count > 0 {
            line(depth, text);
        }
        text.push(close);
        Ok(())
    }

    fn string(&self, written: &str, text: &mut String) {
        let json = serde_json::Value::from(written).to_string();
        if !self.ascii {
            return text.push_str(&json);
        }
        for letter in json.chars() {
            match letter {
                ' '..='~' => text.push(letter),
                other => {
                    let units = other.encode_utf16(&mut [0; 2]).to_vec();
                    text.extend(units.into_iter().map(|unit| format!("\\u{unit:04x}")));
                }
            }
        }
    }
}

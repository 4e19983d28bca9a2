//! The JSON files of a checkpoint, read as Python's json reads them.

use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::stray::{not_there, stray};
use crate::error::{Error, Result};
use crate::files;

/// Largest JSON file read: config, index, tokenizer settings.
const MAX_JSON: u64 = 64 << 20;
/// Key of the object that stands for a number which a [`Value`] cannot hold; its value is the literal.
const NON_FINITE: &str = "non-finite number";
/// Literals that Python's json writes and reads beside those of RFC 8259.
const LITERALS: [(&str, f64); 3] =
    [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// A text file of at most [`MAX_JSON`] bytes.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let read = files::read_within(path, MAX_JSON);
    let (bytes, more) = read.map_err(|error| not_there(path, Error::read(path, &error)))?;
    if more {
        return Err(Error::checkpoint(path, format!("is over {} MiB", MAX_JSON >> 20)));
    }
    if let Some(error) = stray(path, &bytes) {
        return Err(error);
    }
    String::from_utf8(bytes).map_err(|_| Error::checkpoint(path, "is not UTF-8"))
}

/// A JSON object; `path` is for the error. NaN, infinities, numbers past f64 and lone surrogates are read as Python reads
/// them, and a byte order mark is skipped; [`non_finite`] tells such numbers.
pub(super) fn parse_object(path: &Path, text: &str) -> Result<Value> {
    let text = files::unmarked(text);
    let plain = serde_json::from_str(text);
    let value: Value = plain
        .or_else(|_| serde_json::from_str(&strict(text)))
        .map_err(|error| Error::checkpoint(path, format!("is not valid JSON: {error}")))?;
    let is_object = value.is_object() && non_finite(&value).is_none();
    if is_object { Ok(value) } else { Err(Error::checkpoint(path, "must hold a JSON object")) }
}

/// Entries of the object that a text holds, in its order, each with its value as text; none where it holds no object. A
/// [`Value`] forgets the order.
pub(super) fn entries(text: &str) -> Vec<(String, String)> {
    let text = files::unmarked(text);
    let entries = serde_json::from_str(text).or_else(|_| serde_json::from_str(&strict(text)));
    entries.map(|Entries(entries)| entries).unwrap_or_default()
}

struct Entries(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Entries;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
            entries.push((key, value.get().to_owned()));
        }
        Ok(Entries(entries))
    }
}

/// The number where it is NaN or infinite.
pub fn non_finite(value: &Value) -> Option<f64> {
    let literal = value.as_object().filter(|map| map.len() == 1)?.get(NON_FINITE)?.as_str()?;
    LITERALS.iter().find(|(name, _)| *name == literal).map(|(_, number)| *number)
}

/// A value as the file spells it.
pub fn written(value: &Value) -> String {
    let mut text = value.to_string();
    for (literal, _) in LITERALS {
        text = text.replace(&stand_in(literal), literal);
    }
    text
}

fn stand_in(literal: &str) -> String {
    format!("{{\"{NON_FINITE}\":\"{literal}\"}}")
}

/// Python's JSON in the grammar of RFC 8259: what only Python reads is replaced, everything else stays.
fn strict(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let len = match first {
            '"' => string_len(rest),
            c if is_word(c) => rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (piece, after) = rest.split_at(len);
        match (first, literal(piece)) {
            ('"', _) => push_string(&mut out, piece),
            (_, Some(literal)) => out.push_str(&stand_in(literal)),
            _ => out.push_str(piece),
        }
        rest = after;
    }
    out
}

/// The literal that a word outside strings means, where RFC 8259 or f64 has none.
fn literal(word: &str) -> Option<&'static str> {
    if let Some((literal, _)) = LITERALS.iter().find(|(literal, _)| *literal == word) {
        return Some(literal);
    }
    // The grammar alone, whatever the size.
    serde_json::from_str::<IgnoredAny>(word).ok()?;
    let number: f64 = word.parse().ok()?;
    number.is_infinite().then_some(if number > 0.0 { "Infinity" } else { "-Infinity" })
}

/// Length of the string that `text` begins with, quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A string with U+FFFD for every surrogate without its other half.
fn push_string(out: &mut String, string: &str) {
    let mut rest = string;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let len = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => 0,
            // The escaped character must not be taken for the start of another escape.
            _ => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, after) = escape.split_at(len);
        out.push_str(kept);
        rest = after;
        if len == 0 {
            out.push_str("\\ufffd");
            rest = after.get(6..).unwrap_or_default();
        }
    }
    out.push_str(rest);
}

/// The UTF-16 unit that a text begins with as an escape.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Value> {
        parse_object(Path::new("config.json"), text)
    }

    #[test]
    fn what_python_reads_is_read() {
        let text = "\u{FEFF}{\"a\": NaN, \"b\": [1, -Infinity,Infinity], \"c\": 1e400, \"d\": -1E+999, \"e\": 18446744073709551616, \
                    \"f\": \"NaN, -Infinity \\\" Infinity\", \"a\\\\\": {\"x\": NaN}, \"f\": \"Infinity\", \"g\": 0.5}";
        let value = parse(text).unwrap();
        let number = |pointer: &str| non_finite(value.pointer(pointer).unwrap());
        assert!(number("/a").unwrap().is_nan());
        assert_eq!(number("/b/1"), Some(f64::NEG_INFINITY));
        assert_eq!(number("/b/2"), Some(f64::INFINITY));
        assert_eq!(number("/c"), Some(f64::INFINITY));
        assert_eq!(number("/d"), Some(f64::NEG_INFINITY));
        assert_eq!((number("/b/0"), number("/f"), number("/g")), (None, None, None));
        assert_eq!(value["e"].as_f64(), Some(18_446_744_073_709_551_616.0));
        assert_eq!((&value["f"], &value["g"]), (&"Infinity".into(), &0.5.into()));
        assert_eq!(written(&value["b"]), "[1,-Infinity,Infinity]");
        assert_eq!(written(&value["a\\"]), "{\"x\":NaN}");
    }

    #[test]
    fn entries_keep_the_order_of_the_file() {
        let text = "\u{FEFF}{\"z\": NaN, \"a\": {\"y\": 1, \"b\": [2]}, \"m\": \"x\"}";
        let found = entries(text);
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["z", "a", "m"]);
        let inner: Vec<String> = entries(&found[1].1).into_iter().map(|(key, _)| key).collect();
        assert_eq!(inner, ["y", "b"]);
        assert!(entries("[1]").is_empty() && entries("{").is_empty());
    }

    #[test]
    fn a_surrogate_without_its_other_half_becomes_a_replacement_character() {
        let text = r#"{"a": "\ud83d\ude00", "b": "\ud83d!", "c": "\\ud83d", "d": "\ude00\ud83d", "e": "\ud83d\u0041"}"#;
        let value = parse(text).unwrap();
        let texts = ["a", "b", "c", "d", "e"].map(|key| value[key].as_str().unwrap());
        assert_eq!(texts, ["😀", "\u{FFFD}!", "\\ud83d", "\u{FFFD}\u{FFFD}", "\u{FFFD}A"]);
    }

    #[test]
    fn what_python_refuses_is_refused() {
        let refused = [
            "",
            "{",
            "[NaN]",
            "NaN",
            "{\"a\": nan}",
            "{\"a\": -NaN}",
            "{\"a\": +Infinity}",
            "{\"a\": inf}",
            "{NaN: 1}",
            "{\"a\": 01e400}",
            "{\"a\": 1.e400}",
            "{\"a\": NaN,}",
            "{\"a\": NaN NaN}",
            "{\"a\": NaNNaN}",
            "{'a': NaN}",
            "{\"a\": NaN} x",
            "{\"a\": \"NaN}",
            "{\"a\": \"\\x\", \"b\": NaN}",
            "{\"a\": \"\\ud83\", \"b\": NaN}",
            "{\"a\": NaN /* */}",
            "\u{FEFF}\u{FEFF}{}",
            "{\"a\": \"\n\", \"b\": NaN}",
        ];
        for text in refused {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

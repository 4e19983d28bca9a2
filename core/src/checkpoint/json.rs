//! The JSON files of a checkpoint, read as Python's json reads them.

use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::stray::{not_there, stray};
use crate::error::{Error, Result};
use crate::files;

/// Largest text read: configs, settings, plans.
pub(crate) const MAX_TEXT: u64 = 16 << 20;
/// Largest index of shards.
pub(super) const MAX_INDEX: u64 = 64 << 20;
/// Largest tokenizer.json, vocab.json or merges.txt.
pub(super) const MAX_TOKENIZER: u64 = 128 << 20;
/// Bytes of memory that the values of any text may take, and those more for each of its own.
const MOST_VALUES: u64 = 64 << 20;
const MOST_VALUES_EACH: u64 = 8;
/// Key of the object that stands for a number which a [`Value`] cannot hold; its value is the literal.
const NON_FINITE: &str = "non-finite number";
/// Literals that Python's json writes and reads beside those of RFC 8259.
const LITERALS: [(&str, f64); 3] =
    [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// A text file of at most [`MAX_TEXT`] bytes.
pub(super) fn read_text(path: &Path) -> Result<String> {
    read_text_within(path, MAX_TEXT)
}

/// A text file of at most `limit` bytes.
pub(super) fn read_text_within(path: &Path, limit: u64) -> Result<String> {
    let read = files::read_within(path, limit);
    let (bytes, more) = read.map_err(|error| not_there(path, Error::read(path, &error)))?;
    if more {
        return Err(Error::checkpoint(path, format!("is over {} MiB", limit >> 20)));
    }
    if let Some(error) = stray(path, &bytes) {
        return Err(error);
    }
    String::from_utf8(bytes).map_err(|_| Error::checkpoint(path, "is not UTF-8"))
}

/// A JSON object; `path` is for the error. NaN, infinities, numbers past f64 and lone surrogates are read as Python reads
/// them, and a byte order mark is skipped; [`non_finite`] tells such numbers.
pub(super) fn parse_object(path: &Path, text: &str) -> Result<Value> {
    check_weight(text).map_err(|cause| Error::checkpoint(path, cause))?;
    let value = parse_value(path, text)?;
    let is_object = value.is_object() && non_finite(&value).is_none();
    if is_object { Ok(value) } else { Err(Error::checkpoint(path, "must hold a JSON object")) }
}

fn parse_value(path: &Path, text: &str) -> Result<Value> {
    parse(text, |text| serde_json::from_str(text))
        .map_err(|error| Error::checkpoint(path, format!("is not valid JSON: {error}")))
}

/// What `read` makes of a text, as Python reads it: what RFC 8259 refuses is tried again in its grammar.
pub(super) fn parse<T>(text: &str, read: impl Fn(&str) -> serde_json::Result<T>) -> serde_json::Result<T> {
    let text = files::unmarked(text);
    read(text).or_else(|_| read(&strict(text)))
}

/// Fails where the values of a text would take far more memory than it: a list of a million empty lists is some megabytes
/// of text, and none of a config. Nothing is built for it.
pub(crate) fn check_weight(text: &str) -> std::result::Result<(), String> {
    let allowed = MOST_VALUES.max(MOST_VALUES_EACH.saturating_mul(text.len() as u64));
    let weight = weight(text);
    if weight <= allowed {
        return Ok(());
    }
    Err(format!("its values would take {} MiB, for {} MiB of text", weight >> 20, text.len() >> 20))
}

/// Bytes that a text takes as a [`Value`], roughly and at most.
fn weight(text: &str) -> u64 {
    /// A value in a list, whose room is doubled when it is full; one in an object, whose nodes are half empty.
    const IN_LIST: u64 = 64;
    const IN_OBJECT: u64 = 120;
    /// What the first value of a list or object allocates.
    const LIST: u64 = 144;
    const OBJECT: u64 = 656;
    const STRING: u64 = 16;
    let mut weight = 0_u64;
    // Whether each of the objects and lists around is an object. Deeper than this nothing is read anyway.
    let mut around: Vec<bool> = Vec::new();
    let mut rest = text.as_bytes();
    let mut opened = None;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte.is_ascii_whitespace() {
            continue;
        }
        // Anything but its end in what was just opened.
        if let Some(room) = opened.take()
            && !matches!(byte, b']' | b'}')
        {
            weight += room;
        }
        match byte {
            b'{' | b'[' => {
                opened = Some(if byte == b'{' { OBJECT } else { LIST });
                if around.len() < 256 {
                    around.push(byte == b'{');
                }
            }
            b'}' | b']' => drop(around.pop()),
            b',' => weight += if around.last() == Some(&true) { IN_OBJECT } else { IN_LIST },
            b'"' => {
                let mut escaped = false;
                let end = rest.iter().position(|&byte| {
                    let ends = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    ends
                });
                let end = end.unwrap_or(rest.len());
                weight += STRING + end as u64;
                rest = rest.get(end + 1..).unwrap_or_default();
            }
            _ => {}
        }
    }
    weight
}

/// Entries of the object that a text holds, in its order, each with its value as text; none where it holds no object. A
/// [`Value`] forgets the order.
pub(super) fn entries(text: &str) -> Vec<(String, String)> {
    parse(text, |text| serde_json::from_str(text)).map(|Entries(entries)| entries).unwrap_or_default()
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
    fn what_would_take_far_more_than_its_text_is_refused() {
        assert_eq!(weight("{}") + weight("[]") + weight("[ ]") + weight("1"), 0);
        assert_eq!(weight("[1, 2]"), 144 + 64);
        assert_eq!(weight("{\"a,[\\\"{\": [{}, 3]}"), 656 + 16 + 6 + 144 + 64);
        let many = |piece: &str| format!("{{\"a\": [{}0]}}", format!("{piece},").repeat(1 << 20));
        for piece in ["1", "[1]", "{\"a\":1}", "[[]]", "\"\""] {
            let error = parse(&many(piece)).unwrap_err().to_string();
            assert!(error.contains("its values would take"), "{piece}: {error}");
        }
        assert!(
            parse(&format!("{{\"a\": \"{}\"}}", "[".repeat(15 << 20))).is_ok(),
            "a long text is one value"
        );
        assert!(parse(&format!("{{\"a\": [{}0]}}", "1,".repeat(500_000))).is_ok());
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

//! Changes of inputs: of JSON as a tree, of anything as bytes.

use serde_json::{Map, Value, json};
use sluice_core::rng;

/// Random numbers of one case.
pub struct Dice {
    seed: u64,
    drawn: u64,
}

impl Dice {
    /// The numbers of a case.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.drawn += 1;
        (rng::bits(self.seed, 21, self.drawn) % count.max(1) as u64) as usize
    }

    /// Once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of some.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

/// Numbers that programs stumble over.
const NUMBERS: [&str; 22] = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "64",
    "255",
    "65536",
    "1000000",
    "2147483647",
    "4294967296",
    "1000000000000",
    "9223372036854775807",
    "18446744073709551615",
    "-9223372036854775808",
    "1e308",
    "-0.0",
    "0.5",
    "1e-300",
    "NaN",
    "Infinity",
];

/// Texts that programs stumble over.
const TEXTS: [&str; 17] = [
    "",
    " ",
    "a",
    "llama",
    "gpt2",
    "silu",
    "../../etc/passwd",
    "\u{0}",
    "\u{202E}",
    "\u{1F600}\u{200D}",
    "\u{1b}[31m",
    "NaN",
    "aaaaaaaaaa",
    " ",
    "\u{2581}\u{2581}",
    "(a+)+$",
    ".*",
];

/// A text in JSON with some of its values changed. `words` are names of fields that other inputs have.
pub fn json(text: &str, words: &[String], dice: &mut Dice) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return bytes(text.as_bytes(), dice) };
    // Some inputs stay as they are: what is around them is watched too.
    for _ in 0..dice.below(4) {
        change(&mut value, words, dice);
    }
    let mut text = value.to_string();
    // Literals that no value of the library holds.
    if dice.once_in(8) {
        let digits: Vec<usize> = text.match_indices(':').map(|(at, _)| at + 1).collect();
        if let Some(&at) = dice.pick(&digits) {
            let end =
                text.get(at..).and_then(|rest| rest.find([',', '}'])).map_or(text.len(), |len| at + len);
            let number = dice.pick(&NUMBERS).copied().unwrap_or_default();
            text.replace_range(at..end, number);
        }
    }
    match dice.once_in(6) {
        true => bytes(text.as_bytes(), dice),
        false => text.into_bytes(),
    }
}

/// Lines of JSON with some of them changed, doubled or gone.
pub fn lines(text: &str, words: &[String], dice: &mut Dice) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
    for _ in 0..=dice.below(3) {
        let at = dice.below(lines.len());
        let Some(line) = lines.get(at).cloned() else { break };
        match dice.below(8) {
            0 => lines.insert(at, line),
            1 => drop(lines.remove(at)),
            _ => {
                if let (Some(slot), Ok(text)) = (lines.get_mut(at), std::str::from_utf8(&line)) {
                    *slot = json(text, words, dice);
                }
            }
        }
    }
    let end: &[u8] = if dice.once_in(4) { b"\r\n" } else { b"\n" };
    lines.join(end)
}

/// One change somewhere in a tree.
fn change(value: &mut Value, words: &[String], dice: &mut Dice) {
    let deeper = !dice.once_in(3);
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let at = dice.below(map.len());
            if let Some(inner) = map.values_mut().nth(at) {
                change(inner, words, dice);
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = dice.below(list.len());
            if let Some(inner) = list.get_mut(at) {
                change(inner, words, dice);
            }
        }
        Value::Object(map) => fields(map, words, dice),
        Value::Array(list) => elements(list, dice),
        other => *other = fresh(other, dice),
    }
}

fn fields(map: &mut Map<String, Value>, words: &[String], dice: &mut Dice) {
    let names: Vec<String> = map.keys().cloned().collect();
    let name = dice.pick(&names).cloned().unwrap_or_default();
    match dice.below(6) {
        0 => drop(map.remove(&name)),
        1 => {
            let other = dice.pick(&names).cloned().unwrap_or_default();
            let value = map.get(&other).cloned().unwrap_or_default();
            map.insert(name, value);
        }
        2 => {
            let value = map.get(&name).cloned().unwrap_or_default();
            let word = dice.pick(words).cloned().unwrap_or_default();
            map.insert(word, value);
        }
        3 => {
            let word = dice.pick(words).cloned().unwrap_or_default();
            map.insert(word, fresh(&Value::Null, dice));
        }
        4 if dice.once_in(20) => {
            for number in 0..1 << dice.below(12) {
                map.insert(format!("{name}{number}"), json!(number));
            }
        }
        _ => {
            let value = map.get(&name).cloned().unwrap_or_default();
            map.insert(name, fresh(&value, dice));
        }
    }
}

fn elements(list: &mut Vec<Value>, dice: &mut Dice) {
    let at = dice.below(list.len());
    match dice.below(5) {
        0 if !list.is_empty() => drop(list.remove(at)),
        1 => list.insert(at.min(list.len()), fresh(&Value::Null, dice)),
        2 => list.truncate(at),
        3 if !list.is_empty() => {
            let again = list.get(at).cloned().unwrap_or_default();
            let most = if dice.once_in(20) { 12 } else { 3 };
            list.extend(std::iter::repeat_n(again, 1 << dice.below(most)));
        }
        _ => list.reverse(),
    }
}

/// Another value, often of the same type.
fn fresh(value: &Value, dice: &mut Dice) -> Value {
    let number = |dice: &mut Dice| {
        let text = dice.pick(&NUMBERS).copied().unwrap_or("0");
        serde_json::from_str(text).unwrap_or(Value::Null)
    };
    let text = |dice: &mut Dice| match dice.below(16) {
        0 => Value::from("a".repeat(1 << dice.below(13))),
        _ => Value::from(dice.pick(&TEXTS).copied().unwrap_or_default()),
    };
    match (value, dice.below(8)) {
        (Value::Number(old), 0..=2) => match old.as_i64() {
            Some(old) => json!(old.wrapping_add(dice.below(5) as i64 - 2)),
            None => json!(old.as_f64().unwrap_or(0.0) * 2.0),
        },
        (Value::Number(_), 3..=5) => number(dice),
        (Value::String(_), 0..=5) => text(dice),
        (Value::Bool(old), 0..=5) => json!(!old),
        (_, 6) => json!([]),
        (_, 7) => {
            let inner = number(dice);
            let deep = if dice.once_in(10) { 200 } else { 2 };
            (0..dice.below(deep)).fold(inner, |inner, _| json!([inner]))
        }
        (_, 0) => Value::Null,
        (_, 1) => json!({}),
        (_, 2 | 3) => text(dice),
        _ => number(dice),
    }
}

/// Bytes with some of them changed.
pub fn bytes(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.below(256) as u8),
            2 => {
                let end = (at + 1 + dice.below(16)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            3 => {
                let piece: Vec<u8> = bytes.iter().skip(at).take(1 + dice.below(64)).copied().collect();
                let most = if dice.once_in(20) { 1000 } else { 4 };
                let times = 1 + dice.below(most);
                let many = piece.repeat(times);
                bytes.splice(at..at, many);
            }
            4 => bytes.extend(std::iter::repeat_n(dice.below(256) as u8, dice.below(64))),
            5 => {
                if let Some(word) = bytes.get_mut(at..at + 8) {
                    word.copy_from_slice(&[0xff; 8]);
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
    bytes
}

/// A safetensors file with another header: a tree of JSON behind its length. The length is right unless it is changed too.
pub fn header(file: &[u8], words: &[String], dice: &mut Dice) -> Vec<u8> {
    let len = file.first_chunk().map_or(0, |len| u64::from_le_bytes(*len)) as usize;
    let (Some(head), Some(data)) = (file.get(8..8 + len), file.get(8 + len..)) else { return file.to_vec() };
    let text = String::from_utf8_lossy(head);
    let head = json(&text, words, dice);
    let len = match dice.below(12) {
        0 => head.len() as u64 ^ (1 << dice.below(64)),
        _ => head.len() as u64,
    };
    [&len.to_le_bytes(), head.as_slice(), data].concat()
}

/// A safetensors file with other data, or of another length.
pub fn body(file: &[u8], dice: &mut Dice) -> Vec<u8> {
    let len = file.first_chunk().map_or(0, |len| u64::from_le_bytes(*len)) as usize;
    let mut file = file.to_vec();
    let data = file.split_off((8 + len).min(file.len()));
    if !dice.once_in(4) {
        let mut data = data;
        for _ in 0..=dice.below(64) {
            let at = dice.below(data.len() + 1);
            let number = dice.pick(&[f32::NAN, f32::INFINITY, 0.0, 1e38, -1e-40]).copied().unwrap_or(0.0);
            if let Some(word) = data.get_mut(at..at + 4) {
                word.copy_from_slice(&number.to_le_bytes());
            }
        }
        return [file, data].concat();
    }
    file.extend(bytes(&data, dice));
    file
}

/// A PNG with other bytes in its chunks, whose sums are right again: what is behind them is reached. Anything else as bytes.
pub fn png(file: &[u8], dice: &mut Dice) -> Vec<u8> {
    /// Where the width stands, and behind it the height, depth and colours.
    const SIZE: std::ops::Range<usize> = 16..24;
    const MAGIC: usize = 8;
    if !file.starts_with(b"\x89PNG") {
        return bytes(file, dice);
    }
    let mut file = file.to_vec();
    for _ in 0..=dice.below(3) {
        let place = if dice.once_in(2) { SIZE.start + dice.below(13) } else { dice.below(file.len()) };
        let other = dice.below(256) as u8;
        if let Some(byte) = file.get_mut(place) {
            *byte = if dice.once_in(2) { *byte ^ (1 << (other % 8)) } else { other };
        }
    }
    // Sides of many thousands take long, and most are refused by their size.
    if let Some(size) = file.get_mut(SIZE).filter(|_| !dice.once_in(30)) {
        for [high, next, ..] in size.as_chunks_mut::<4>().0 {
            (*high, *next) = (0, 0);
        }
    }
    let mut at = MAGIC;
    while let Some(length) = file.get(at..).and_then(|rest| rest.first_chunk()) {
        let end = at.saturating_add(8).saturating_add(u32::from_be_bytes(*length) as usize);
        let Some(sum) = file.get(at + 4..end).map(crc) else { break };
        if let Some(place) = file.get_mut(end..end + 4) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        at = end + 4;
    }
    file
}

/// The sum behind a chunk of a PNG (its specification, section 5.3).
fn crc(chunk: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !chunk.iter().fold(u32::MAX, byte)
}

//! SentencePiece's precompiled normalizer: the length of a trie, the trie, and replacements that end in zeros; in base64.

use serde_json::Value;

/// Bytes of the length.
const LENGTH: usize = 4;

/// Fails where a part of a tokenizer.json has a map that says it is longer than it is: the library reserves what it says.
pub(super) fn check(part: &Value) -> Result<(), String> {
    match part {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| match value.as_str() {
            Some(text) if name == "precompiled_charsmap" && trie(&bytes(text)).is_none() => {
                Err("normalizer: its precompiled_charsmap is cut short".into())
            }
            _ => check(value),
        }),
        Value::Array(list) => list.iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// Bytes of the longest replacement.
pub(super) fn longest(text: &str) -> u64 {
    let bytes = bytes(text);
    let behind = trie(&bytes).and_then(|trie| bytes.get(LENGTH + trie..)).unwrap_or_default();
    behind.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0) as u64
}

/// Bytes of the trie, where they are there.
fn trie(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<LENGTH>()?) as usize;
    (length <= bytes.len() - LENGTH).then_some(length)
}

/// Bytes of a base64 text, up to what is none; the library refuses that.
fn bytes(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0);
    for six in text.bytes().map_while(value) {
        held = held << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_map_is_as_long_as_it_says() {
        assert_eq!(bytes("QUJDRA=="), b"ABCD");
        // A trie of 4 bytes, then `a`, `bcd`.
        let map = "BAAAAAAAAABhAGJjZAA=";
        assert_eq!(bytes(map), b"\x04\0\0\0\0\0\0\0a\0bcd\0");
        assert_eq!(longest(map), 3);
        let of = |map: &str| json!({"normalizers": [{"normalizers": [{"precompiled_charsmap": map}]}]});
        assert!(check(&of(map)).is_ok());
        // 4 GiB.
        assert!(check(&of("/////wAAAABhAGJjZAA=")).is_err_and(|cause| cause.contains("cut short")));
        assert!(check(&of("")).is_err());
    }
}

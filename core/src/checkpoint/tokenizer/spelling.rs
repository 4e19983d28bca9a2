//! How vocabulary entries stand for bytes, and bytes as text.

use std::collections::HashMap;

/// How a vocabulary entry stands for bytes.
#[derive(Clone, Debug)]
pub(super) enum Spelling {
    /// GPT-2: every byte has a printable character.
    ByteLevel(HashMap<char, u8>),
    /// SentencePiece: `▁` is a space, `<0x0A>` a byte.
    SentencePiece,
}

impl Spelling {
    /// Of a tokenizer, told by its decoder.
    pub fn of(inner: &tokenizers::Tokenizer) -> Self {
        let decoder =
            inner.get_decoder().and_then(|decoder| serde_json::to_string(decoder).ok()).unwrap_or_default();
        if decoder.contains("ByteLevel") {
            Self::ByteLevel(byte_level().map(|(byte, c)| (c, byte)).collect())
        } else {
            Self::SentencePiece
        }
    }

    /// The bytes that an entry stands for.
    pub fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel(table) => {
                let bytes: Option<Vec<u8>> = token.chars().map(|c| table.get(&c).copied()).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::SentencePiece => match hex_byte(token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
        }
    }
}

/// GPT-2's table: printable bytes stand for themselves, the others for U+0100 upwards.
fn byte_level() -> impl Iterator<Item = (u8, char)> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    (0..=255u8).map(move |byte| {
        if printable(byte) {
            return (byte, char::from(byte));
        }
        next += 1;
        (byte, char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER))
    })
}

/// `<0x0A>`
fn hex_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let digits = hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if digits { u8::from_str_radix(hex, 16).ok() } else { None }
}

/// Bytes as visible text.
pub(super) fn visible(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ' ' => text.push('·'),
                '\n' => text.push('↵'),
                '\t' => text.push('→'),
                c if c.is_control() || is_invisible(c) => text.push_str(&format!("<U+{:04X}>", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("<0x{byte:02X}>"));
        }
    }
    text
}

/// Bytes as text, `\xE4` where they are no character.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

/// Characters without a picture of their own: joiners, direction marks, byte order mark, odd spaces.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00A0}' | '\u{00AD}' | '\u{2000}'..='\u{200F}' | '\u{2028}'..='\u{202F}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{3000}' | '\u{FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_table_is_one_to_one() {
        let chars: std::collections::BTreeSet<char> = byte_level().map(|(_, c)| c).collect();
        assert_eq!(chars.len(), 256);
        assert!(byte_level().any(|pair| pair == (b' ', 'Ġ')));
    }

    #[test]
    fn partial_characters_show_as_bytes() {
        assert_eq!(visible(&[b'a', 0xE4, 0xB8]), "a<0xE4><0xB8>");
        assert_eq!(visible("\n x".as_bytes()), "↵·x");
        assert_eq!(visible("\u{200B}\u{7}".as_bytes()), "<U+200B><U+0007>");
    }

    #[test]
    fn bytes_that_are_no_character_are_escaped() {
        assert_eq!(escaped(&[b' ', b'a', 0xE4, 0xB8, b'\n']), " a\\xE4\\xB8\n");
        assert_eq!(escaped("漢 \u{200D}".as_bytes()), "漢 \u{200D}");
    }

    #[test]
    fn only_two_hex_digits_are_a_byte() {
        assert_eq!(hex_byte("<0x0A>"), Some(10));
        assert_eq!(hex_byte("<0x+A>"), None);
        assert_eq!(hex_byte("<0x0>"), None);
    }
}

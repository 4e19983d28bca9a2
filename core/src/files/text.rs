//! Bytes as text.

/// A text without the byte order mark that some editors put in front.
pub fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}

/// Bytes as a text, without the byte order mark that some editors put in front.
///
/// # Errors
/// Why they are no UTF-8, after a file's name and a colon.
pub fn utf8(bytes: &[u8]) -> std::result::Result<&str, String> {
    if let Some(encoding) = wide(bytes) {
        return Err(format!("its text is in {encoding}, not in UTF-8"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("it is no text in UTF-8 from byte {} on", error.valid_up_to()))?;
    Ok(unmarked(text))
}

/// Whether bytes may be a text of some encoding: those of other things hold zeros.
pub fn is_text(bytes: &[u8]) -> bool {
    wide(bytes).is_some() || !bytes.contains(&0)
}

/// The encoding of a text that is in wider units than bytes, by its byte order mark or its first two characters.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    Some(match *bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
        [0, 0, 0, 1..=127, 0, 0, 0, 1..=127, ..] | [1..=127, 0, 0, 0, 1..=127, 0, 0, 0, ..] => "UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        [0, 1..=127, 0, 1..=127, ..] | [1..=127, 0, 1..=127, 0, ..] => "UTF-16",
        _ => return None,
    })
}

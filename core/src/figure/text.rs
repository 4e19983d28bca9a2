//! Text on a picture: escaping, visible whitespace, width estimates, cutting and wrapping. Widths are counted in
//! character columns, because a viewer may lack our fonts: a wide character takes two.

/// Width of a column in ems: the advance of Hack, and an upper estimate for mixed text in Ubuntu.
pub const COLUMN_EM: f64 = 0.602;

/// Escape for XML text and attributes. Characters that XML 1.0 forbids become visible stand-ins.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(stand_in(other)),
        }
    }
    out
}

/// A label as it is drawn: control characters and outer spaces have a visible form (` the` is `·the`).
pub fn visible(text: &str) -> String {
    let body = text.trim_matches(' ');
    let head = text.len() - text.trim_start_matches(' ').len();
    // All spaces: they count as leading ones.
    let tail = text.len() - body.len() - head;
    let mut out = "·".repeat(head);
    out.extend(body.chars().map(|character| match character {
        '\n' => '↵',
        '\t' => '→',
        '\r' => '←',
        other => stand_in(other),
    }));
    out.push_str(&"·".repeat(tail));
    out
}

/// A text for a terminal: what would move its cursor, colour it or reorder its line becomes visible, but for what is kept.
pub fn printable(text: &str, keep: &[char]) -> String {
    text.chars().map(|c| if keep.contains(&c) { c } else { stand_in(c) }).collect()
}

/// Control pictures for C0 controls and DEL, the replacement character for other things that cannot be shown or that
/// would reorder the text around them.
fn stand_in(character: char) -> char {
    match character {
        '\0'..='\x1f' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{FFFD}'),
        '\x7f' => '␡',
        '\u{80}'..='\u{9f}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFE}' | '\u{FFFF}' => {
            '\u{FFFD}'
        }
        other => other,
    }
}

/// A text as a part of a file's name: lower-case letters, digits and dashes, whole words within a limit of letters where the
/// first fits.
pub fn dashed(text: &str, limit: usize) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let all: String = text.chars().map(letter).collect();
    let mut out = String::new();
    for word in all.split('-').filter(|word| !word.is_empty()) {
        let dash = usize::from(!out.is_empty());
        if out.len() + dash + word.len() > limit {
            if out.is_empty() {
                out.push_str(word.get(..limit).unwrap_or_default());
            }
            break;
        }
        if dash > 0 {
            out.push('-');
        }
        out.push_str(word);
    }
    out
}

/// Columns that a text takes.
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn width(character: char) -> usize {
    match character as u32 {
        0x0300..=0x036F | 0x200B..=0x200F | 0x20D0..=0x20FF | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60 => 2,
        0xFFE0..=0xFFE6 | 0x1F000..=0x1FAFF | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

/// The text, cut to `limit` columns with `…` where it is longer.
pub fn fit(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_owned();
    }
    let mut out = head(text, limit.saturating_sub(1)).to_owned();
    if limit > 0 {
        out.push('…');
    }
    out
}

/// Longest start of the text that takes at most `limit` columns.
fn head(text: &str, limit: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, character)| {
        taken += width(*character);
        taken > limit
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// Lines of at most `limit` columns, broken at spaces, and inside words that are longer.
pub fn wrap(text: &str, limit: usize) -> Vec<String> {
    // A line must have room for the widest character, or it would never end.
    let limit = limit.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for mut word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && columns(&line) + 1 + columns(word) > limit {
            lines.push(std::mem::take(&mut line));
        }
        while columns(word) > limit {
            let start = head(word, limit);
            lines.push(start.to_owned());
            word = &word[start.len()..];
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_forbidden_is_left() {
        assert_eq!(escape("<&\"'>"), "&lt;&amp;&quot;&#39;&gt;");
        assert_eq!(escape("a\0\u{FFFE}b"), "a␀\u{FFFD}b");
    }

    #[test]
    fn whitespace_is_seen() {
        assert_eq!(visible(" the"), "·the");
        assert_eq!(visible("  "), "··");
        assert_eq!(visible("a b \n"), "a b ↵");
        assert_eq!(visible("end "), "end·");
    }

    #[test]
    fn names_are_cut_at_words() {
        assert_eq!(dashed("People call Taren the sailor.", 24), "people-call-taren-the");
        assert_eq!((dashed("../../etc/passwd", 9), dashed("模型", 9)), ("etc".into(), String::new()));
        assert_eq!((dashed("1234567890", 4), dashed("3, 14, 15", 4)), ("1234".into(), "3-14".into()));
    }

    #[test]
    fn cut_and_wrapped() {
        assert_eq!(fit("neuron", 6), "neuron");
        assert_eq!(fit("neurons", 6), "neuro…");
        assert_eq!(fit("模型模型", 6), "模型…");
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        assert!(wrap("", 3).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_fits(text in "\\PC*", limit in 0_usize..20) {
            prop_assert!(columns(&fit(&text, limit)) <= limit);
            for line in wrap(&text, limit) {
                prop_assert!(columns(&line) <= limit.max(2));
            }
        }

        #[test]
        fn any_text_is_xml(text in any::<String>()) {
            let document = format!("<a b=\"{0}\">{0}</a>", escape(&text));
            prop_assert!(resvg::usvg::roxmltree::Document::parse(&document).is_ok());
        }
    }
}

//! A prompt past the context, cut to it.

use sluice_core::worker::Token;

/// Which part of a long prompt stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Its begin.
    First,
    /// Its end.
    Last,
}

/// What is written of a prompt so that it has at most `context` tokens. Of text the bytes count, of a checkpoint without a
/// tokenizer (`ids`) the numbers; what the tokenizer or a picture adds is added again.
pub fn shortened(tokens: &[Token], context: usize, keep: Keep, ids: bool) -> String {
    let written: Vec<&Token> = tokens.iter().filter(|token| !token.bytes.is_empty()).collect();
    let added = tokens.len() - written.len();
    let room = context.saturating_sub(added).min(written.len());
    let kept = match keep {
        Keep::First => written.get(..room),
        Keep::Last => written.get(written.len() - room..),
    };
    let kept = kept.unwrap_or_default();
    if ids {
        return kept.iter().map(|token| token.id.to_string()).collect::<Vec<_>>().join(", ");
    }
    let bytes: Vec<u8> = kept.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    // A character that was cut in half is left out.
    String::from_utf8_lossy(&bytes).trim_matches('\u{FFFD}').trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_end_is_kept_beside_what_is_added() {
        let token = |text: &str| Token { bytes: text.into(), ..Token::default() };
        let tokens: Vec<Token> = ["", " a", " b", " c", " d"].map(token).into();
        assert_eq!(shortened(&tokens, 3, Keep::First, false), "a b");
        assert_eq!(shortened(&tokens, 3, Keep::Last, false), "c d");
        assert_eq!(shortened(&tokens, 9, Keep::Last, false), "a b c d");
        assert_eq!(shortened(&tokens, 0, Keep::First, false), "");
        let halves = [Token { bytes: vec![0xA9], ..Token::default() }, token(" x")];
        assert_eq!(shortened(&halves, 2, Keep::Last, false), "x");
        let ids: Vec<Token> =
            (5..9).map(|id| Token { id, bytes: b"5".to_vec(), ..Token::default() }).collect();
        assert_eq!(shortened(&ids, 2, Keep::Last, true), "7, 8");
    }
}

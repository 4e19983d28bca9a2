//! Whole continuations of a prompt, ended by the model, by a text, or by their length.

use serde::Serialize;

use super::{Cancelled, Decoder, Engine, Sampler};
use crate::checkpoint::{Tokenizer, escaped};
use crate::error::{Error, Result};

/// How a continuation is made.
#[derive(Clone, Debug, Default)]
pub struct Continue {
    /// Longest continuation in tokens.
    pub max_new_tokens: usize,
    /// Chooses the tokens.
    pub sampler: Sampler,
    /// What ends it.
    pub stops: Stops,
}

/// A continuation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Continued {
    /// The new tokens that its text is of.
    pub tokens: Vec<u32>,
    /// The text after the prompt, up to a stop text; bytes that are no character as `\xE4`. `None` without a tokenizer.
    pub text: Option<String>,
    /// True texts of the tokens.
    pub texts: Vec<String>,
    /// Why it ended.
    pub ended_by: Ending,
}

/// Why a continuation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The model's end of a text.
    Eos,
    /// A stop text.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
}

/// Texts that end a continuation before them, also where they span tokens.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    texts: Vec<String>,
    /// Special tokens, which texts leave out.
    ids: Vec<u32>,
}

impl Stops {
    /// Of texts, each a special token's name or an ordinary text.
    ///
    /// # Errors
    /// An empty text, or one that there is no tokenizer for.
    pub fn new(texts: &[String], tokenizer: Option<&Tokenizer>) -> Result<Self> {
        let mut stops = Self::default();
        for text in texts {
            let wrong =
                |cause: &str| Err(Error::Flag { flag: "--stop", cause: format!("\"{text}\" {cause}") });
            let Some(tokenizer) = tokenizer else {
                return wrong("never comes: this checkpoint has no tokenizer, and its continuations no text");
            };
            match tokenizer.encode(text, false)?.as_slice() {
                _ if text.is_empty() => return wrong("is empty"),
                &[id] if tokenizer.piece(id).bytes.is_empty() => stops.ids.push(id),
                _ => stops.texts.push(text.clone()),
            }
        }
        Ok(stops)
    }

    /// Where the first of the texts begins.
    fn find(&self, text: &str) -> Option<usize> {
        self.texts.iter().filter_map(|stop| text.find(stop.as_str())).min()
    }

    /// Bytes from the first on that no stop text can take away any more.
    fn settled(&self, text: &str) -> usize {
        let ends = text.char_indices().map(|(at, _)| at);
        let may_begin = |at: &usize| {
            let rest = text.get(*at..).unwrap_or_default();
            self.texts.iter().any(|stop| stop.starts_with(rest))
        };
        // A stop text longer than what is left of the text is the only one that can begin there.
        let longest = self.texts.iter().map(String::len).max().unwrap_or(0);
        ends.filter(|at| text.len() - at < longest).find(may_begin).unwrap_or(text.len())
    }
}

impl Engine {
    /// Continue what a decoder holds, and tell `show` of the text piece by piece.
    ///
    /// # Errors
    /// What the model fails with, or [`Error::Cancelled`].
    pub fn continue_text(
        &self,
        decoder: &mut Decoder,
        ask: &Continue,
        show: &mut dyn FnMut(&str),
        cancelled: Cancelled,
    ) -> Result<Continued> {
        let prompt = decoder.tokens().to_vec();
        let mut new: Vec<u32> = Vec::new();
        let mut shown = 0;
        let mut cut = None;
        let text_of = |new: &[u32]| Some(self.tokenizer.as_ref()?.continuation(&prompt, new));
        let ended_by = loop {
            if new.len() >= ask.max_new_tokens {
                break Ending::Length;
            }
            let token = ask.sampler.pick(&decoder.logits(cancelled)?, new.len());
            if ask.stops.ids.contains(&token) {
                break Ending::Stop;
            }
            if self.model.spec.eos.contains(&token) {
                break Ending::Eos;
            }
            new.push(token);
            match text_of(&new) {
                Some(text) => {
                    cut = ask.stops.find(&text);
                    if cut.is_some() {
                        break Ending::Stop;
                    }
                    // A character whose bytes are not all there yet is held back.
                    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
                    let end = whole.min(ask.stops.settled(&text));
                    show(text.get(shown..end).unwrap_or_default());
                    shown = end.max(shown);
                }
                None => show(&format!("{}{token}", if new.len() > 1 { "," } else { "" })),
            }
            if new.len() < ask.max_new_tokens {
                if decoder.tokens().len() >= self.model.spec.context {
                    break Ending::Context;
                }
                decoder.push(token);
            }
        };
        let mut text = text_of(&new);
        if let (Some(text), Some(cut)) = (&mut text, cut) {
            text.truncate(cut);
            new.truncate(tokens_of(text, &new, text_of));
        }
        show(text.as_deref().and_then(|text| text.get(shown..)).unwrap_or_default());
        let tokens = || new.iter().map(|&id| self.token(id));
        // Bytes that are no character are told apart in files.
        let text = match text {
            Some(text) if cut.is_none() && text.contains(char::REPLACEMENT_CHARACTER) => {
                let known = tokens().filter(|token| !token.bytes.is_empty());
                Some(escaped(&known.flat_map(|token| token.bytes).collect::<Vec<u8>>()))
            }
            other => other,
        };
        Ok(Continued { text, texts: tokens().map(|token| token.exact).collect(), tokens: new, ended_by })
    }
}

/// The fewest of the tokens whose text begins with `text`.
fn tokens_of(text: &str, new: &[u32], text_of: impl Fn(&[u32]) -> Option<String>) -> usize {
    let begins = |&count: &usize| {
        let some = new.get(..count).and_then(&text_of);
        some.is_some_and(|some| some.starts_with(text))
    };
    (0..new.len()).find(begins).unwrap_or(new.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(texts: &[&str]) -> Stops {
        Stops { texts: texts.iter().map(|text| (*text).to_owned()).collect(), ids: Vec::new() }
    }

    #[test]
    fn the_first_stop_counts_and_what_may_begin_one_is_held_back() {
        let stops = stops(&["\n\n", "END"]);
        assert_eq!(stops.find("a END b\n\n"), Some(2));
        assert_eq!(stops.find("a\nEN"), None);
        for (text, settled) in
            [("a\n", 1), ("a\nb", 3), ("aE", 1), ("aEN", 1), ("aENx", 4), ("EEN", 1), ("", 0), ("ä\n", 2)]
        {
            assert_eq!(stops.settled(text), settled, "{text:?}");
        }
        assert_eq!(Stops::default().settled("anything\n"), 9);
    }

    #[test]
    fn tokens_are_those_of_the_text() {
        let spelled =
            |ids: &[u32]| Some(ids.iter().map(|id| ["He", "llo", " wor", "ld"][*id as usize]).collect());
        assert_eq!(tokens_of("Hello w", &[0, 1, 2, 3], spelled), 3);
        assert_eq!(tokens_of("Hello", &[0, 1, 2, 3], spelled), 2);
        assert_eq!(tokens_of("", &[0, 1], spelled), 0);
    }
}

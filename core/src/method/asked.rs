//! What a method is asked, as a value: a request of the window, a line of a script, the head of findings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Ask, Method};
use crate::engine::{Prompt, Token};
use crate::error::{Error, Result};
use crate::plan::Plan;

/// Named sets of positions of a prompt, ascending: `corrupt`, `object` …
pub type Picks = BTreeMap<String, Vec<usize>>;

/// What a method is asked about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A prompt, with its picture.
    Prompt(Prompt),
    /// A text file; none = text of the checkpoint's own world, or the bundled sample.
    Text(Option<PathBuf>),
    /// Its own small data.
    Nothing,
}

/// The kind of a [`Subject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A prompt, with its picture.
    Prompt,
    /// A text, in pieces.
    Text,
    /// Nothing but its own small data.
    None,
}

impl SubjectKind {
    /// In JSON and in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Text => "text",
            Self::None => "none",
        }
    }
}

impl Subject {
    /// Its kind.
    pub fn kind(&self) -> SubjectKind {
        match self {
            Self::Prompt(_) => SubjectKind::Prompt,
            Self::Text(_) => SubjectKind::Text,
            Self::Nothing => SubjectKind::None,
        }
    }
}

/// A method with all it is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which one.
    pub method: &'static Method,
    /// About what.
    pub subject: Subject,
    /// Marked positions of a prompt.
    pub picks: Picks,
    /// The plan under which everything runs, without what the method replaces.
    pub plan: Plan,
    /// Parameters; those left out have their defaults.
    pub ask: Ask,
    /// Where files go that the findings name.
    pub folder: PathBuf,
}

/// Equal but for the folder: the same question.
impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        self.method.id == other.method.id
            && self.subject == other.subject
            && self.picks == other.picks
            && self.plan == other.plan
            && self.ask == other.ask
    }
}

impl Asked {
    /// With defaults and nothing marked. `plan` loses what the method replaces.
    pub fn new(method: &'static Method, subject: Subject, plan: &Plan) -> Self {
        Self {
            method,
            subject,
            picks: Picks::new(),
            plan: (method.plan)(plan),
            ask: Ask::new(),
            folder: PathBuf::new(),
        }
    }
}

/// How a click marks a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gesture {
    /// That position alone; again takes the mark away.
    Each,
    /// Everything from the prompt's begin up to it.
    UpTo,
}

/// A set of positions that a method asks for.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    /// Name in JSON, and the flag.
    pub name: &'static str,
    /// On the button that chooses what a click marks.
    pub label: &'static str,
    /// What it is.
    pub help: &'static str,
    /// A prompt without it cannot be asked about.
    pub required: bool,
    /// Not where the prompt has a picture.
    pub text_only: bool,
    /// What a click does.
    pub gesture: Gesture,
    /// Where its positions lie.
    pub place: Place,
}

/// Where the positions of a pick lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the whole prompt.
    Anywhere,
    /// Within those of another pick; where the prompt has a picture, within that.
    Within(&'static str),
    /// Neither among those of another pick nor in the picture.
    Outside(&'static str),
}

impl Place {
    /// Whether a position lies there. `tokens` of the prompt.
    pub fn holds(self, position: usize, picks: &Picks, tokens: &[Token]) -> bool {
        let picture = tokens.iter().any(|token| token.patch.is_some());
        let inside = |name: &str| match picture {
            true => tokens.get(position).is_some_and(|token| token.patch.is_some()),
            false => picks.get(name).is_some_and(|of| of.contains(&position)),
        };
        match self {
            Self::Anywhere => true,
            Self::Within(name) => inside(name),
            Self::Outside(name) => !inside(name),
        }
    }
}

/// Positions as written: `5..9,12` (half-open ranges and numbers), or a text that occurs in the prompt, `text#2` for its
/// second occurrence. Ascending.
///
/// # Errors
/// Text or positions that the prompt does not have; the tokens are listed.
pub fn positions(written: &str, tokens: &[Token]) -> Result<Vec<usize>> {
    let mut at = match numbers(written) {
        Some(numbers) => numbers,
        None => occurrence(written, tokens)?,
    };
    at.sort_unstable();
    at.dedup();
    match at.iter().find(|&&position| position >= tokens.len()) {
        Some(position) => Err(Error::Marked(format!(
            "the prompt has no position {position}; its tokens are {}",
            listed(tokens)
        ))),
        None if at.is_empty() => Err(Error::Marked(format!("\"{written}\" is no position"))),
        None => Ok(at),
    }
}

/// `5..9,12`; none where it is written in another way.
fn numbers(written: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in written.split(',') {
        match part.split_once("..") {
            Some((first, end)) => {
                let (first, end): (usize, usize) = (first.trim().parse().ok()?, end.trim().parse().ok()?);
                // More than any prompt has is one too many, and named as that.
                all.extend(first..end.min(first.saturating_add(1 << 24)));
            }
            None => all.push(part.trim().parse().ok()?),
        }
    }
    Some(all)
}

/// The tokens that spell a text.
fn occurrence(written: &str, tokens: &[Token]) -> Result<Vec<usize>> {
    let (text, which) = match written.rsplit_once('#').map(|(text, which)| (text, which.parse::<usize>())) {
        Some((text, Ok(which))) if which > 0 => (text, Some(which)),
        _ => (written, None),
    };
    let mut whole = String::new();
    let mut starts = Vec::with_capacity(tokens.len());
    for token in tokens {
        starts.push(whole.len());
        if token.patch.is_none() {
            whole.push_str(&token.text);
        }
    }
    // As the tokens show spaces.
    let needle = tokens_text(text);
    let found: Vec<usize> = whole.match_indices(&needle).map(|(at, _)| at).collect();
    let at = match (found.as_slice(), which) {
        ([at], None) => *at,
        (_, Some(which)) if which <= found.len() => found.get(which - 1).copied().unwrap_or_default(),
        ([], _) => {
            return Err(Error::Marked(format!(
                "\"{text}\" does not occur in the prompt; its tokens are {}",
                listed(tokens)
            )));
        }
        (found, _) => {
            let count = found.len();
            return Err(Error::Marked(format!("\"{text}\" occurs {count} times: say which, \"{text}#1\"")));
        }
    };
    let end = at + needle.len();
    let covers = |&position: &usize| {
        let start = starts.get(position).copied().unwrap_or(usize::MAX);
        let stop = starts.get(position + 1).copied().unwrap_or(whole.len());
        start < end && stop > at
    };
    Ok((0..tokens.len()).filter(covers).collect())
}

/// A text with the marks that visible tokens have.
fn tokens_text(text: &str) -> String {
    text.chars().map(|c| if c == ' ' { '·' } else { c }).collect()
}

/// Positions and texts, shortened.
fn listed(tokens: &[Token]) -> String {
    const MOST: usize = 48;
    let mut all: Vec<String> =
        tokens.iter().take(MOST).enumerate().map(|(at, token)| format!("{at} {}", token.text)).collect();
    if tokens.len() > MOST {
        all.push(format!("… {} in all", tokens.len()));
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Vec<Token> {
        texts.iter().map(|text| Token { id: 0, text: (*text).into(), patch: None }).collect()
    }

    #[test]
    fn positions_are_numbers_ranges_or_texts() {
        let tokens = tokens(&["Once", "·the", "·sail", "or", ".", "·the"]);
        let at = |written: &str| positions(written, &tokens).unwrap();
        assert_eq!(at("2..4,0"), [0, 2, 3]);
        assert_eq!(at("5"), [5]);
        assert_eq!(at("sailor"), [2, 3]);
        assert_eq!(at("the sailor"), [1, 2, 3]);
        assert_eq!(at("the#2"), [5]);
        for (written, needle) in [
            ("7", "no position 7"),
            ("2..99", "no position 6"),
            ("pirate", "does not occur"),
            ("the", "occurs 2 times"),
            ("3..3", "is no position"),
        ] {
            let error = positions(written, &tokens).unwrap_err().to_string();
            assert!(error.contains(needle), "{written}: {error}");
        }
    }
}

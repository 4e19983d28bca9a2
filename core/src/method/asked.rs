//! What a method is asked, as a value: a request of the window, a line of a script, the head of findings.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Ask, Method};
use crate::engine::{Prompt, Token};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::records::Shard;

/// Named sets of positions of a prompt, ascending: `corrupt`, `object` …
pub type Picks = BTreeMap<String, Vec<usize>>;

/// What a method is asked about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A prompt, with its picture.
    Prompt(Prompt),
    /// Many prompts, one after the other: findings are means over them.
    List(ListOf),
    /// A text file; none = text of the checkpoint's own world, or the bundled sample.
    Text(Option<PathBuf>),
    /// Its own small data.
    Nothing,
}

/// Prompts of a list: JSON lines, or an array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListOf {
    /// The list.
    pub file: PathBuf,
    /// What stands for our fields in it, as [`Map::parse`](crate::records::Map::parse) reads it.
    #[serde(default)]
    pub map: Vec<String>,
    /// Items at most; none = all.
    #[serde(default)]
    pub most: Option<u64>,
    /// The part of the items that is meant.
    #[serde(default)]
    pub shard: Shard,
    /// Positions of every item by the name of their pick, as [`positions`] reads them: of items that do not mark their own.
    #[serde(default)]
    pub marks: BTreeMap<String, String>,
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
    /// Name in JSON and in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Text => "text",
            Self::None => "none",
        }
    }
}

impl Subject {
    /// Kind of the subject.
    pub fn kind(&self) -> SubjectKind {
        match self {
            // A list is one of prompts.
            Self::Prompt(_) | Self::List(_) => SubjectKind::Prompt,
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
    /// A question with default parameters and nothing marked. `plan` loses what the method replaces.
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
    /// Fields that mark it in an item of a list, the first that is there.
    pub fields: &'static [&'static str],
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

/// Fails where a pick is missing that a prompt needs, with a picture or without.
///
/// # Errors
/// Which, and how it is marked.
pub(super) fn check_picks(all: &[Pick], picks: &Picks, picture: bool) -> Result<()> {
    let missing = |pick: &&Pick| {
        let here = !(pick.text_only && picture);
        pick.required && here && picks.get(pick.name).is_none_or(Vec::is_empty)
    };
    let Some(pick) = all.iter().find(missing) else { return Ok(()) };
    let picture = if pick.text_only { ", or give the prompt a picture (--image)" } else { "" };
    Err(Error::asked(
        format!("no position is marked as {}: {}", pick.name, pick.help),
        &format!("mark them (--{}){picture}", pick.name),
    ))
}

/// Positions as written: `5..9,12` (half-open ranges and numbers), or a text that occurs in the prompt, `text#2` for its
/// second occurrence (so `12#1` is the text 12). Ascending.
///
/// # Errors
/// Text or positions that the prompt does not have; the tokens are listed.
pub fn positions(written: &str, tokens: &[Token]) -> Result<Vec<usize>> {
    let numbers = numbers(written);
    let mut at = match &numbers {
        Some(numbers) => numbers.clone(),
        None => occurrence(written, tokens)?,
    };
    at.sort_unstable();
    at.dedup();
    match at.iter().find(|&&position| position >= tokens.len()) {
        Some(position) => {
            // A number may have been meant as a text.
            let spelt = numbers.is_some() && Spelling::of(tokens).find(written.as_bytes()).next().is_some();
            let hint = if spelt { format!(" (the text is \"{written}#1\")") } else { String::new() };
            let listed = listed(tokens);
            Err(Error::Marked(format!(
                "the prompt has no position {position}{hint}; its tokens are {listed}"
            )))
        }
        None if at.is_empty() => {
            let cause =
                if numbers.is_some() { "has no position in it" } else { "is no position and no text" };
            Err(Error::Marked(format!("\"{written}\" {cause}; the tokens are {}", listed(tokens))))
        }
        None => Ok(at),
    }
}

/// `5..9,12`; none where it is written in another way.
fn numbers(written: &str) -> Option<Vec<usize>> {
    // Rust's own reading takes a plus sign too.
    let number = |text: &str| {
        let text = text.trim();
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let mut all = Vec::new();
    for part in written.split(',') {
        match part.split_once("..") {
            Some((first, end)) => {
                let (first, end): (usize, usize) = (number(first)?, number(end)?);
                // More than any prompt has is one too many, and named as that.
                all.extend(first..end.min(first.saturating_add(1 << 24)));
            }
            None => all.push(number(part)?),
        }
    }
    Some(all)
}

/// The tokens that spell a text.
fn occurrence(written: &str, tokens: &[Token]) -> Result<Vec<usize>> {
    let spelling = Spelling::of(tokens);
    // A text that occurs as it is may have a number sign of its own.
    let numbered = || {
        let (text, which) = written.rsplit_once('#')?;
        Some((text, which.parse::<usize>().ok().filter(|&which| which > 0)?))
    };
    let literal = spelling.find(written.as_bytes()).next().is_some();
    let (text, which) = match numbered().filter(|_| !literal) {
        Some((text, which)) => (text, Some(which)),
        None => (written, None),
    };
    let found: Vec<Range<usize>> = spelling.find(text.as_bytes()).collect();
    match (found.as_slice(), which) {
        ([at], None) => Ok(at.clone().collect()),
        ([], _) => Err(Error::Marked(format!(
            "\"{text}\" does not occur in the prompt{}; its tokens are {}",
            hint(text),
            listed(tokens)
        ))),
        (found, Some(which)) => match found.get(which - 1) {
            Some(at) => Ok(at.clone().collect()),
            None => {
                let count = found.len();
                Err(Error::Marked(format!("\"{text}\" occurs {count} times, there is no \"{text}#{which}\"")))
            }
        },
        (found, None) => {
            let last = found.len();
            Err(Error::Marked(format!(
                "\"{text}\" occurs {last} times: say which, \"{text}#1\" to \"{text}#{last}\""
            )))
        }
    }
}

/// How positions are written, where numbers in another form may be meant by a text.
fn hint(text: &str) -> &'static str {
    let sign =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b',' | b':' | b';' | b' ' | b'=');
    match text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().all(sign) {
        true => " (positions are written 5..9,12: the end of a range is left out)",
        false => "",
    }
}

/// Stands for a part of a picture: no text has it, so that none goes across a picture.
const NO_TEXT: &[u8] = &[0xFF];

/// A prompt as the bytes that its tokens spell.
struct Spelling {
    bytes: Vec<u8>,
    /// Where each token begins, and the end.
    starts: Vec<usize>,
    /// Tokens that are found whole or not at all.
    special: Vec<bool>,
}

impl Spelling {
    fn of(tokens: &[Token]) -> Self {
        let mut all = Self { bytes: Vec::new(), starts: vec![0], special: Vec::new() };
        for token in tokens {
            let special = token.bytes.is_empty();
            let spelt = match token.patch {
                Some(_) => NO_TEXT,
                None if special => token.exact.as_bytes(),
                None => &token.bytes,
            };
            all.bytes.extend_from_slice(spelt);
            all.special.push(special);
            all.starts.push(all.bytes.len());
        }
        all
    }

    /// The tokens of each occurrence of a text, in order; occurrences may overlap.
    fn find<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        let windows = self.bytes.windows(text.len().max(1)).enumerate();
        let found = windows.filter(move |(_, window)| *window == text).map(|(at, _)| at);
        found.filter_map(move |at| {
            let end = at + text.len();
            // The last token that begins at or before the text's first byte, and the first that ends at or behind its last.
            let first = self.starts.partition_point(|&start| start <= at).checked_sub(1)?;
            let last = self.starts.partition_point(|&start| start < end);
            let within = |token: usize| {
                let (start, stop) = (self.starts.get(token), self.starts.get(token + 1));
                start.is_some_and(|&start| start >= at) && stop.is_some_and(|&stop| stop <= end)
            };
            let whole = |token: usize| !self.special.get(token).copied().unwrap_or(false) || within(token);
            (first..last).all(whole).then_some(first..last)
        })
    }
}

/// Positions and texts, shortened; the parts of a picture in one.
fn listed(tokens: &[Token]) -> String {
    const MOST: usize = 48;
    let mut all: Vec<String> = Vec::new();
    let mut at = 0;
    while let (Some(token), true) = (tokens.get(at), all.len() < MOST) {
        let rest = tokens.get(at..).unwrap_or_default();
        let parts = rest.iter().take_while(|token| token.patch.is_some()).count();
        if parts > 1 {
            all.push(format!("{at}..{} the picture", at + parts));
        } else {
            all.push(format!("{at} {}", token.text));
        }
        at += parts.max(1);
    }
    if at < tokens.len() {
        all.push(format!("… {} in all", tokens.len()));
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Patch;

    fn token(bytes: &[u8]) -> Token {
        let exact = crate::checkpoint::escaped(bytes);
        Token { text: exact.replace(' ', "·"), exact, bytes: bytes.to_vec(), ..Token::default() }
    }

    fn tokens(texts: &[&str]) -> Vec<Token> {
        texts.iter().map(|text| token(text.as_bytes())).collect()
    }

    fn special(name: &str) -> Token {
        Token { text: name.into(), exact: name.into(), ..Token::default() }
    }

    fn fails(written: &str, tokens: &[Token], needle: &str) {
        let error = positions(written, tokens).unwrap_err().to_string();
        assert!(error.contains(needle), "{written}: {error}");
    }

    #[test]
    fn positions_are_numbers_ranges_or_texts() {
        let tokens = tokens(&["Once", " the", " sail", "or", ".", " the"]);
        let at = |written: &str| positions(written, &tokens).unwrap();
        assert_eq!(at("2..4,0"), [0, 2, 3]);
        assert_eq!(at("5"), [5]);
        assert_eq!(at("1, 3"), [1, 3]);
        assert_eq!(at("sailor"), [2, 3]);
        assert_eq!(at(" sailor"), [2, 3]);
        assert_eq!(at("the sailor"), [1, 2, 3]);
        assert_eq!(at("the#2"), [5]);
        assert_eq!(at("."), [4]);
        for (written, needle) in [
            ("7", "no position 7; its tokens are 0 Once, 1 ·the"),
            ("2..99", "no position 6"),
            ("pirate", "does not occur in the prompt; its tokens are 0 Once"),
            ("sailors", "does not occur"),
            ("the", "occurs 2 times: say which, \"the#1\" to \"the#2\""),
            ("the#3", "there is no \"the#3\""),
            ("the#0", "does not occur"),
            ("3..3", "has no position"),
            ("4..2", "has no position"),
            ("", "does not occur"),
            ("99999999999999999999", "does not occur"),
            (
                "1-2",
                "does not occur in the prompt (positions are written 5..9,12: the end of a range is left out)",
            ),
            ("-1", "positions are written 5..9,12"),
            ("1:3", "positions are written 5..9,12"),
        ] {
            fails(written, &tokens, needle);
        }
    }

    #[test]
    fn texts_with_digits_dots_and_signs() {
        let tokens = tokens(&[
            "In", " 19", "98", " wait", "..", "what", " #", "2", " +", "5", " C#", "1", " 3..", "4",
        ]);
        let at = |written: &str| positions(written, &tokens).unwrap();
        assert_eq!(at("1998#1"), [1, 2]);
        assert_eq!(at("wait..what"), [3, 4, 5]);
        assert_eq!(at("..#1"), [4]);
        assert_eq!(at("#2"), [6, 7]);
        assert_eq!(at("+5"), [8, 9]);
        assert_eq!(at("C#1"), [10, 11]);
        assert_eq!(at("3..4#1"), [12, 13]);
        fails("1998", &tokens, "no position 1998 (the text is \"1998#1\")");
        fails("77", &tokens, "no position 77;");
    }

    #[test]
    fn characters_that_tokens_share() {
        // A vehicle of two tokens, and half of an accent with the letter before it.
        let mut all = tokens(&["a", " "]);
        all.extend([token(&[0xF0, 0x9F]), token(&[0x9B, 0xB5, b'.']), token(&[b'e', 0xCC]), token(&[0x81])]);
        let at = |written: &str| positions(written, &all).unwrap();
        assert_eq!(at("\u{1F6F5}"), [2, 3]);
        assert_eq!(at("\u{1F6F5}."), [2, 3]);
        assert_eq!(at("e\u{301}"), [4, 5]);
        assert_eq!(at("."), [3]);
        // What a table shows of half a character is no text of the prompt.
        fails("\\xF0\\x9F", &all, "does not occur");
    }

    #[test]
    fn occurrences_overlap_and_end_with_the_prompt() {
        let tokens = tokens(&["a", "a", "a"]);
        fails("aa", &tokens, "occurs 2 times");
        assert_eq!(positions("aa#2", &tokens).unwrap(), [1, 2]);
        assert_eq!(positions("aaa", &tokens).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn special_tokens_are_found_by_their_whole_name() {
        let mut all = vec![special("<|im_start|>")];
        all.extend(tokens(&["user", "\n", "start"]));
        all.push(special("<|im_end|>"));
        let at = |written: &str| positions(written, &all).unwrap();
        assert_eq!(at("<|im_start|>"), [0]);
        assert_eq!(at("<|im_start|>user\n"), [0, 1, 2]);
        assert_eq!(at("start"), [3]);
        assert_eq!(at("start<|im_end|>"), [3, 4]);
        fails("im_end", &all, "does not occur");
        fails("|>user", &all, "does not occur");
    }

    #[test]
    fn a_picture_is_counted_and_spells_nothing() {
        let mut all = tokens(&["See"]);
        let part = |col| Token { patch: Some(Patch::At { row: 0, col }), ..special("<image>") };
        all.extend([part(0), part(1), part(2)]);
        all.extend(tokens(&[" it"]));
        assert_eq!(positions(" it", &all).unwrap(), [4]);
        assert_eq!(positions("1..4", &all).unwrap(), [1, 2, 3]);
        fails("<image>", &all, "does not occur");
        fails("See it", &all, "does not occur");
        fails("5", &all, "its tokens are 0 See, 1..4 the picture, 4 ·it");
    }
}

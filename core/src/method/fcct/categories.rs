//! Which category a token is in: by where it stands to the picture (or the context that stands for one), the object in it and
//! the words that name it.

use crate::error::{Error, Result};
use crate::method::Picks;
use crate::model::Input;

/// Categories of tokens, the columns of the maps: visual tokens before, of and after the object, then text before, of and
/// after the object's word, then the last token.
pub const CATEGORIES: [&str; 7] =
    ["vis early", "vis object", "vis late", "txt early", "txt object", "txt late", "last"];
/// Index of the last token's category.
pub(super) const LAST: usize = 6;

/// What is marked.
pub(super) struct Marks {
    /// Stands for a picture in a prompt without one.
    pub context: Vec<usize>,
    /// The object in the picture or the context.
    pub object: Vec<usize>,
    /// The words that name it.
    pub words: Vec<usize>,
}

impl Marks {
    pub fn new(picks: &Picks) -> Self {
        let of = |name: &str| picks.get(name).cloned().unwrap_or_default();
        Self { context: of("context"), object: of("object"), words: of("words") }
    }
}

/// Positions of the visual tokens, ascending: the image's, or the marked context's where the prompt has none.
pub(super) fn visual(marks: &Marks, tokens: &Input) -> Result<Vec<usize>> {
    let mut visual: Vec<usize> = match tokens.image() {
        Some(_) if !marks.context.is_empty() => {
            return Err(Error::asked(
                "the prompt has a picture: no context can be marked in its place",
                "mark no context (--context), or leave the picture out",
            ));
        }
        Some(image) => {
            (0..).zip(tokens.iter()).filter(|(_, id)| **id == image.token).map(|(at, _)| at).collect()
        }
        None if marks.context.is_empty() => {
            return Err(Error::asked(
                "no context is marked, and the prompt has no picture to corrupt",
                "mark the words that stand for a picture (--context), or give one (--image)",
            ));
        }
        None => marks.context.clone(),
    };
    visual.sort_unstable();
    visual.dedup();
    Ok(visual)
}

/// The positions of each category. The last token is its own; text before the first visual token cannot differ from the
/// clean run and is in none.
pub(super) fn categories(marks: &Marks, visual: &[usize], len: usize) -> Result<[Vec<usize>; 7]> {
    // What stands for the picture, for messages: `visual` is the marked context where there is one.
    let (place, flag) = match marks.context.is_empty() {
        true => ("in the picture", ""),
        false => ("among the words marked as the context", ", or more words as the context (--context)"),
    };
    let marked = || visual.iter().chain(&marks.object).chain(&marks.words);
    if let Some(position) = marked().find(|&&position| position >= len) {
        return Err(Error::Past {
            what: "position",
            given: *position,
            whose: "the prompt".into(),
            count: len,
        });
    }
    if let Some(position) = marks.object.iter().find(|position| !visual.contains(position)) {
        return Err(Error::asked(
            format!("position {position} is marked as the object but is not {place}"),
            &format!("mark the object at {} (--object){flag}", spans(visual)),
        ));
    }
    if let Some(position) = marks.words.iter().find(|position| visual.contains(position)) {
        return Err(Error::asked(
            format!("position {position} is marked as a word that names the object but is {place}"),
            &format!("mark words behind {} (--words)", spans(visual)),
        ));
    }
    let (first_patch, first_word) = (marks.object.iter().min(), marks.words.iter().min());
    let late =
        |position: usize, first: Option<&usize>| usize::from(first.is_some_and(|&first| position > first));
    let mut categories: [Vec<usize>; 7] = Default::default();
    for position in visual.first().copied().unwrap_or(len)..len {
        let category = if position + 1 == len {
            LAST
        } else if marks.object.contains(&position) {
            1
        } else if marks.words.contains(&position) {
            4
        } else if visual.binary_search(&position).is_ok() {
            2 * late(position, first_patch)
        } else {
            3 + 2 * late(position, first_word)
        };
        if let Some(positions) = categories.get_mut(category) {
            positions.push(position);
        }
    }
    Ok(categories)
}

/// Positions as they are written: `1..5,7`.
fn spans(positions: &[usize]) -> String {
    let runs = positions.chunk_by(|a, b| a + 1 == *b);
    let span = |run: &[usize]| match run {
        [first, .., last] => format!("{first}..{}", last + 1),
        _ => run.iter().map(usize::to_string).collect(),
    };
    runs.map(span).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(context: &[usize], object: &[usize], words: &[usize]) -> Marks {
        Marks { context: context.to_vec(), object: object.to_vec(), words: words.to_vec() }
    }

    fn sorted(marks: &Marks, len: usize) -> Result<[Vec<usize>; 7]> {
        categories(marks, &visual(marks, &vec![0; len].into())?, len)
    }

    #[test]
    fn tokens_are_told_apart_by_the_object_and_its_word() {
        let got = sorted(&marks(&[5, 1, 2, 3, 4], &[2, 4], &[8]), 11).unwrap();
        assert_eq!(got, [vec![1], vec![2, 4], vec![3, 5], vec![6, 7], vec![8], vec![9], vec![10]]);
        // Nothing marked of the object: everything is early, the others have no token.
        let got = sorted(&marks(&[1, 2], &[], &[]), 5).unwrap();
        assert_eq!(got, [vec![1, 2], vec![], vec![], vec![3], vec![], vec![], vec![4]]);
    }

    #[test]
    fn marks_that_contradict_each_other_are_named() {
        for (case, needle) in [
            (marks(&[], &[], &[]), "no context"),
            (marks(&[1, 9], &[], &[]), "no position 9: the prompt has positions 0 to 4"),
            (
                marks(&[1, 2], &[3], &[]),
                "position 3 is marked as the object but is not among the words marked",
            ),
            (marks(&[1, 2], &[1], &[2]), "position 2 is marked as a word that names the object but is among"),
        ] {
            let error = sorted(&case, 5).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
    }
}

//! What a misspelt name may stand for.

use strsim::levenshtein;

/// The known name that is nearest to a misspelt one, where it is near: one letter and a quarter of the others may differ.
pub(crate) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, near) = known.map(|known| (levenshtein(known, name), known)).min()?;
    (distance <= 1 + name.chars().count() / 4).then_some(near)
}

//! Texts beside each other, word by word.

/// Words of texts that are compared at most, more than are shown; what follows is not marked.
const MOST: usize = 80;

/// The words of a text with the blanks before them, and whether each is one that the other text does not have in its place: not
/// in the longest sequence of words that both have.
pub fn marked<'a>(text: &'a str, other: &str) -> Vec<(&'a str, bool)> {
    let (own, others) = (words(text), words(other));
    let (own_most, others_most) = (own.len().min(MOST), others.len().min(MOST));
    let width = others_most + 1;
    // Lengths of the longest common sequence from here on.
    let mut longest = vec![0u16; (own_most + 1) * width];
    let same =
        |i: usize, j: usize| own.get(i).map(|word| word.trim()) == others.get(j).map(|word| word.trim());
    let at = |i: usize, j: usize| i * width + j;
    for i in (0..own_most).rev() {
        for j in (0..others_most).rev() {
            let of = |i: usize, j: usize| longest.get(at(i, j)).copied().unwrap_or(0);
            let best = if same(i, j) { 1 + of(i + 1, j + 1) } else { of(i + 1, j).max(of(i, j + 1)) };
            if let Some(slot) = longest.get_mut(at(i, j)) {
                *slot = best;
            }
        }
    }
    let of = |i: usize, j: usize| longest.get(at(i, j)).copied().unwrap_or(0);
    let (mut j, mut out) = (0, Vec::with_capacity(own.len()));
    for (i, word) in own.iter().enumerate() {
        if i >= own_most {
            out.push((*word, false));
            continue;
        }
        while j < others_most && !same(i, j) && of(i, j + 1) >= of(i + 1, j) {
            j += 1;
        }
        let shared = j < others_most && same(i, j);
        j += usize::from(shared);
        out.push((*word, !shared));
    }
    out
}

/// Words, each with the blanks before it.
fn words(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let blank = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let end = rest
            .get(blank..)
            .and_then(|word| word.find(char::is_whitespace))
            .map_or(rest.len(), |at| blank + at);
        let (word, left) = rest.split_at(end);
        all.push(word);
        rest = left;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::marked;

    fn different(text: &str, other: &str) -> Vec<String> {
        marked(text, other).into_iter().filter(|(_, d)| *d).map(|(word, _)| word.trim().to_owned()).collect()
    }

    #[test]
    fn words_that_the_other_lacks_are_marked() {
        let (a, b) = (" Dunford. The food of Tada is fish.", " Dunwick. The food of Tada is fish.");
        assert_eq!(
            (different(a, b), different(b, a)),
            (vec!["Dunford.".into()], vec!["Dunwick.".to_owned()])
        );
        assert_eq!(different("the the cat", "the cat"), ["the"]);
        assert!(different(a, a).is_empty() && different("", a).is_empty());
        assert_eq!(different("x y", ""), ["x", "y"]);
        let whole: String = marked(a, b).into_iter().map(|(word, _)| word).collect();
        assert_eq!(whole, a);
    }
}

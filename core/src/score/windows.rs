//! Windows over the tokens of an item, as they come in.

use std::collections::VecDeque;

/// Part of an item that one pass reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Place of its first token in the item.
    pub start: usize,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Index in `ids` of the first token that it scores: those before are context.
    pub first: usize,
}

/// Windows `[i S, i S + N)` of an item's tokens. Each scores what no earlier one did; an item's first token is scored by none.
#[derive(Debug)]
pub struct Windows {
    length: usize,
    stride: usize,
    /// Tokens from the next window's first on.
    ids: VecDeque<u32>,
    start: usize,
    /// Tokens that were scored, or never are.
    scored: usize,
}

impl Windows {
    /// Of an item of which nothing is read yet; `length` is at least 2, `stride` from 1 to `length`.
    pub fn new(length: usize, stride: usize) -> Self {
        Self { length, stride, ids: VecDeque::new(), start: 0, scored: 1 }
    }

    /// More tokens of the item.
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend(ids);
    }

    /// The next window that is whole; of an item that has `ended` also one that is not. None = there is none yet, or no more.
    pub fn next(&mut self, ended: bool) -> Option<Window> {
        if self.ids.len() < self.length && !ended {
            return None;
        }
        let ids: Vec<u32> = self.ids.iter().take(self.length).copied().collect();
        let (start, end) = (self.start, self.start + ids.len());
        // The first token of a window has nothing before it.
        let first = self.scored.max(start + 1);
        if first >= end {
            return None;
        }
        self.scored = end;
        self.start += self.stride;
        self.ids.drain(..self.stride.min(self.ids.len()));
        Some(Window { start, ids, first: first - start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition: start, end, and the places scored.
    fn plain(len: usize, length: usize, stride: usize) -> Vec<(usize, usize, Vec<usize>)> {
        let mut known = std::collections::BTreeSet::new();
        let mut all = Vec::new();
        for start in (0..len).step_by(stride) {
            let end = (start + length).min(len);
            let own: Vec<usize> = (start + 1..end).filter(|at| known.insert(*at)).collect();
            if !own.is_empty() {
                all.push((start, end, own));
            }
        }
        all
    }

    #[test]
    fn as_defined_however_the_tokens_come() {
        for (len, length, stride) in [
            (10, 4, 4),
            (10, 4, 2),
            (10, 4, 1),
            (9, 4, 3),
            (3, 8, 8),
            (1, 4, 4),
            (0, 4, 4),
            (17, 5, 5),
            (8, 4, 4),
        ] {
            for piece in [1, 3, 100] {
                let ids: Vec<u32> = (0..len as u32).collect();
                let mut windows = Windows::new(length, stride);
                let mut found = Vec::new();
                let mut take = |windows: &mut Windows, ended| {
                    while let Some(window) = windows.next(ended) {
                        let end = window.start + window.ids.len();
                        assert_eq!(window.ids, ids[window.start..end]);
                        found.push((
                            window.start,
                            end,
                            (window.start + window.first..end).collect::<Vec<_>>(),
                        ));
                    }
                };
                for piece in ids.chunks(piece) {
                    windows.push(piece);
                    take(&mut windows, false);
                }
                take(&mut windows, true);
                assert_eq!(found, plain(len, length, stride), "{len} {length} {stride}");
            }
        }
    }
}

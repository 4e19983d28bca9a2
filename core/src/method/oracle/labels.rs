//! Labels that routes are scored with: the next tokens, and those of our two controls. Where a label says nothing about what
//! a route is good for, the least of many routes' losses is still below their mean: that much choosing gives by itself.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::metric;
use crate::rng;

/// One value for each kind of label: next tokens, wrong and drawn ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Labels<T> {
    /// The next tokens.
    #[serde(rename = "true")]
    pub next: T,
    /// Other tokens of similar frequency.
    pub wrong: T,
    /// Tokens drawn from the model's own prediction with every FFN big.
    pub drawn: T,
}

impl<T: Default> Labels<T> {
    /// Values of the next tokens, without controls.
    pub fn of(next: T) -> Self {
        Self { next, ..Self::default() }
    }
}

impl<T> Labels<T> {
    /// Another value for each.
    pub fn map<'a, U>(&'a self, of: impl Fn(&'a T) -> U) -> Labels<U> {
        Labels { next: of(&self.next), wrong: of(&self.wrong), drawn: of(&self.drawn) }
    }

    /// The same where it may fail.
    ///
    /// # Errors
    /// The first failure.
    pub fn try_map<'a, U, E>(&'a self, of: impl Fn(&'a T) -> Result<U, E>) -> Result<Labels<U>, E> {
        Ok(Labels { next: of(&self.next)?, wrong: of(&self.wrong)?, drawn: of(&self.drawn)? })
    }

    /// The values in order, with the labels' names.
    pub fn each(&self) -> [(&'static str, &T); 3] {
        [("true labels", &self.next), ("wrong labels", &self.wrong), ("own prediction", &self.drawn)]
    }
}

/// For every target another token of similar frequency in the same texts, drawn by rank: one of the eight next to it.
pub fn wrong_targets<T: AsRef<[u32]>>(texts: &[T], vocab: usize) -> Vec<Vec<u32>> {
    let mut counts = vec![0usize; vocab];
    for &target in texts.iter().flat_map(AsRef::as_ref) {
        if let Some(count) = counts.get_mut(target as usize) {
            *count += 1;
        }
    }
    let mut ranked: Vec<u32> = (0..vocab as u32).filter(|&id| counts.get(id as usize) > Some(&0)).collect();
    ranked.sort_by_key(|&id| Reverse(counts.get(id as usize).copied()));
    let place: HashMap<u32, usize> = ranked.iter().copied().zip(0..).collect();
    let other = |(target, number): (&u32, u64)| {
        let rank = place.get(target).copied().unwrap_or(0);
        let step = 1 + (rng::bits(23, 0, number) % 4) as usize;
        let down = rng::bits(23, 1, number) & 1 == 1;
        let up = rank.checked_sub(step).filter(|_| !down);
        let found = up.or_else(|| (rank + step < ranked.len()).then_some(rank + step));
        // Next to the ends of a short list: the neighbour.
        let neighbour = if rank == 0 { 1 } else { rank - 1 };
        ranked.get(found.unwrap_or(neighbour)).copied().unwrap_or(*target)
    };
    let mut number = 0..;
    texts
        .iter()
        .map(|text| text.as_ref().iter().map(|target| other((target, number.next().unwrap_or(0)))).collect())
        .collect()
}

/// A token drawn from a prediction, `[vocab]` logits. Another draw for each sequence and position.
pub fn drawn_target(logits: &[f32], sequence: u64, position: u64) -> u32 {
    metric::draw(logits, rng::uniform(37, sequence, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_targets_are_other_tokens_of_the_text() {
        let targets: Vec<u32> = (0..400).map(|i| [3u32, 5, 5, 9, 9, 9, 7][i % 7]).collect();
        let wrong = wrong_targets(&[&targets], 16);
        assert!(wrong[0].iter().zip(&targets).all(|(a, b)| a != b && targets.contains(a)));
    }

    /// A piece that repeats one token has other ones only where the labels are of the whole text.
    #[test]
    fn wrong_targets_are_of_the_whole_text() {
        let texts: [&[u32]; 2] = [&[4; 6], &[1, 2, 3, 4]];
        assert!(wrong_targets(&texts, 8)[0].iter().all(|&id| id != 4));
        assert_eq!(wrong_targets(&texts[..1], 8)[0], [4; 6]);
    }

    #[test]
    fn draws_follow_the_prediction_and_can_be_repeated() {
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        let draw = |position| drawn_target(&logits, 1, position);
        let ones = (0..4000).filter(|&position| draw(position) == 1).count();
        assert!((2900..3100).contains(&ones), "{ones}");
        assert_eq!(draw(9), draw(9));
        assert!((0..100).any(|at| drawn_target(&logits, 2, at) != draw(at)));
    }
}

//! What every route over the layers is worth to every token (Duo-LLM, arXiv 2410.10846, sections 2 and 3.2).
//!
//! `E[p,t]` is the loss of token t when the *whole sequence* runs with pattern p: the paper does not say which pattern
//! the context has, this is our reading. The least of many draws is small by itself, so the oracle stands beside two
//! controls of ours: the same minimisation for another target token of similar frequency, and the best of K patterns
//! drawn at random.

use serde::Serialize;

use crate::rng;
use crate::spec::Lane;
use crate::statistics::Mean;

/// Patterns that the paper draws.
const DRAWN: usize = 100;
/// Draws of K patterns that a point of the best-of-K curve is the mean of.
const DRAWS: u64 = 8;

/// Losses of every token under every pattern. A pattern's number has a digit per layer, layer 0 the lowest: the place of
/// its lane among `lanes`, of which the big one is the last.
#[derive(Clone, Debug)]
pub struct LossTable {
    /// What a layer's FFN can be.
    pub lanes: Vec<Lane>,
    /// Layers.
    pub layers: usize,
    /// `[pattern][token]`, nats.
    pub loss: Vec<Vec<f32>>,
    /// The same for wrong targets.
    pub wrong: Vec<Vec<f32>>,
}

/// Patterns with one number of big layers.
#[derive(Clone, Debug, Serialize)]
pub struct Budget {
    /// Big layers.
    pub big: usize,
    /// How many patterns.
    pub patterns: usize,
    /// Mean over tokens of the least loss.
    pub oracle: Mean,
    /// The pattern with the least mean loss.
    pub fixed: f64,
    /// That pattern, first layer first.
    pub fixed_pattern: String,
    /// Mean over patterns.
    pub mean: f64,
    /// Up to 100 random patterns, the best of them token by token.
    pub random_by_token: f64,
    /// The best of the same patterns on the mean.
    pub random_by_mean: f64,
    /// The oracle for wrong targets, and the same model's all-big loss for them.
    pub wrong_label: [f64; 2],
    /// (all-big less oracle) less the same for wrong targets.
    pub gain_over_control: Mean,
}

/// How many patterns there are; `None` past what can be counted.
pub fn count_patterns(lanes: usize, layers: usize) -> Option<usize> {
    lanes.checked_pow(u32::try_from(layers).ok()?)
}

impl LossTable {
    /// A table of `patterns` patterns, none of them known yet.
    pub fn empty(lanes: &[Lane], layers: usize, patterns: usize) -> Self {
        let empty = || vec![Vec::new(); patterns];
        Self { lanes: lanes.to_vec(), layers, loss: empty(), wrong: empty() }
    }

    /// Put down a pattern's losses of some tokens behind those it has, and those of wrong targets.
    pub fn put(&mut self, pattern: usize, loss: Vec<f32>, wrong: Vec<f32>) {
        if let (Some(own), Some(own_wrong)) = (self.loss.get_mut(pattern), self.wrong.get_mut(pattern)) {
            own.extend(loss);
            own_wrong.extend(wrong);
        }
    }

    /// Put the rows of another table behind these.
    pub fn extend(&mut self, other: Self) {
        for (pattern, (loss, wrong)) in other.loss.into_iter().zip(other.wrong).enumerate() {
            self.put(pattern, loss, wrong);
        }
    }

    /// The lane of a layer in a pattern.
    pub fn lane(&self, pattern: usize, layer: usize) -> Lane {
        self.lanes.get(self.digit(pattern, layer)).copied().unwrap_or(Lane::Big)
    }

    /// Every layer the last lane: big.
    pub fn all_big(&self) -> usize {
        self.loss.len().saturating_sub(1)
    }

    /// Losses of a pattern.
    pub fn row(&self, pattern: usize) -> &[f32] {
        self.loss.get(pattern).map_or(&[], Vec::as_slice)
    }

    /// The same for wrong targets.
    pub fn wrong_row(&self, pattern: usize) -> &[f32] {
        self.wrong.get(pattern).map_or(&[], Vec::as_slice)
    }

    /// Layers that are big in a pattern.
    pub fn big(&self, pattern: usize) -> usize {
        let last = self.lanes.len().saturating_sub(1);
        (0..self.layers).filter(|&layer| self.digit(pattern, layer) == last).count()
    }

    /// A letter per layer: B big, s small, - skipped.
    pub fn spell(&self, pattern: usize) -> String {
        let letter = |layer| match self.lane(pattern, layer) {
            Lane::Big => 'B',
            Lane::Small => 's',
            Lane::SkipFfn | Lane::SkipLayer => '-',
        };
        (0..self.layers).map(letter).collect()
    }

    /// Patterns with `big` big layers.
    pub fn patterns(&self, big: usize) -> Vec<usize> {
        (0..self.loss.len()).filter(|&pattern| self.big(pattern) == big).collect()
    }

    /// Their rows of a table of losses.
    pub fn of_budget<'a>(&self, losses: &'a [Vec<f32>], big: usize) -> Vec<&'a Vec<f32>> {
        self.patterns(big).into_iter().filter_map(|pattern| losses.get(pattern)).collect()
    }

    /// The pattern that each token does best with, among `patterns`.
    pub fn best(&self, patterns: &[usize]) -> Vec<usize> {
        let tokens = self.row(0).len();
        let loss =
            |token: usize, pattern: usize| self.row(pattern).get(token).copied().unwrap_or(f32::INFINITY);
        let best = |token| {
            let all = patterns.iter().copied();
            all.min_by(|&a, &b| loss(token, a).total_cmp(&loss(token, b))).unwrap_or(0)
        };
        (0..tokens).map(best).collect()
    }

    /// Least mean loss of a pattern with `big` big layers, and the pattern.
    pub fn fixed(&self, big: usize) -> (f64, usize) {
        let means = self.patterns(big).into_iter().map(|pattern| (average(self.row(pattern)), pattern));
        means.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::NAN, 0))
    }

    /// What a budget is worth.
    pub fn budget(&self, big: usize) -> Budget {
        let own = self.of_budget(&self.loss, big);
        let (oracle, wrong) = (least(&own), least(&self.of_budget(&self.wrong, big)));
        let last = self.all_big();
        let (fixed, pattern) = self.fixed(big);
        let drawn: Vec<&Vec<f32>> =
            drawn(own.len(), DRAWN, big as u64).filter_map(|at| own.get(at)).copied().collect();
        let gains: Vec<f64> = (self.row(last).iter().zip(&oracle))
            .zip(self.wrong_row(last).iter().zip(&wrong))
            .map(|((all_big, oracle), (wrong_big, wrong))| {
                f64::from(all_big - oracle) - f64::from(wrong_big - wrong)
            })
            .collect();
        let means: Vec<f64> = own.iter().map(|losses| average(losses)).collect();
        Budget {
            big,
            patterns: own.len(),
            oracle: mean(&oracle),
            fixed,
            fixed_pattern: self.spell(pattern),
            mean: means.iter().sum::<f64>() / means.len().max(1) as f64,
            random_by_token: average(&least(&drawn)),
            random_by_mean: drawn.iter().map(|losses| average(losses)).fold(f64::INFINITY, f64::min),
            wrong_label: [average(&wrong), average(self.wrong_row(last))],
            gain_over_control: Mean::of(&gains),
        }
    }

    /// How often the oracle of a budget takes each layer's big FFN.
    pub fn choice(&self, big: usize) -> Vec<f64> {
        let best = self.best(&self.patterns(big));
        let share = |layer: usize| {
            let big = best.iter().filter(|&&pattern| self.lane(pattern, layer) == Lane::Big).count();
            big as f64 / best.len().max(1) as f64
        };
        (0..self.layers).map(share).collect()
    }

    /// The mean of the best of K random patterns, averaged over draws: K and nats.
    pub fn best_of(&self) -> Vec<(usize, f64)> {
        let all = self.loss.len();
        let mut curve = Vec::new();
        let mut count = 1;
        while count <= all {
            let draw = |draw: u64| {
                let own: Vec<&Vec<f32>> =
                    drawn(all, count, 100 + draw).filter_map(|at| self.loss.get(at)).collect();
                average(&least(&own))
            };
            curve.push((count, (0..DRAWS).map(draw).sum::<f64>() / DRAWS as f64));
            count *= 2;
        }
        curve
    }

    fn digit(&self, pattern: usize, layer: usize) -> usize {
        let base = self.lanes.len().max(1);
        (0..layer).fold(pattern, |pattern, _| pattern / base) % base
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
    ranked.sort_by_key(|&id| std::cmp::Reverse(counts.get(id as usize).copied()));
    let place: std::collections::HashMap<u32, usize> = ranked.iter().copied().zip(0..).collect();
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

/// At most `count` of 0 .. of, each once, in random order.
fn drawn(of: usize, count: usize, stream: u64) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..of).collect();
    order.sort_by_cached_key(|&at| rng::bits(29, stream, at as u64));
    order.into_iter().take(count)
}

/// Token by token, the least of the rows.
pub fn least<T: AsRef<[f32]>>(rows: &[T]) -> Vec<f32> {
    let len = rows.first().map_or(0, |row| row.as_ref().len());
    rows.iter().fold(vec![f32::INFINITY; len], |mut best, row| {
        for (best, &own) in best.iter_mut().zip(row.as_ref()) {
            *best = best.min(own);
        }
        best
    })
}

/// The mean alone.
pub fn average(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len().max(1) as f64
}

/// The mean with its interval.
pub fn mean(values: &[f32]) -> Mean {
    Mean::of(&values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four patterns over two layers, three tokens.
    fn table() -> LossTable {
        let loss = vec![vec![3.0, 3.0, 3.0], vec![1.0, 2.0, 3.0], vec![2.0, 1.0, 2.5], vec![1.5, 1.5, 2.0]];
        let lanes = vec![Lane::Small, Lane::Big];
        LossTable { lanes, layers: 2, wrong: loss.iter().rev().cloned().collect(), loss }
    }

    #[test]
    fn an_oracle_is_never_worse_than_a_fixed_pattern_nor_that_than_the_mean() {
        let table = table();
        let budgets: Vec<Budget> = (0..=2).map(|big| table.budget(big)).collect();
        assert_eq!(budgets.iter().map(|budget| budget.patterns).collect::<Vec<_>>(), [1, 2, 1]);
        for budget in &budgets {
            assert!(budget.oracle.mean <= budget.fixed && budget.fixed <= budget.mean + 1e-12);
            assert!(budget.oracle.mean <= budget.random_by_token && budget.fixed <= budget.random_by_mean);
        }
        let one = &budgets[1];
        assert!((one.oracle.mean - (1.0 + 1.0 + 2.5) / 3.0).abs() < 1e-9);
        assert_eq!(one.fixed_pattern, "sB");
        assert!(average(&least(&table.loss)) <= one.oracle.mean);
        assert_eq!(table.choice(1), [1.0 / 3.0, 2.0 / 3.0]);
    }

    #[test]
    fn best_of_one_is_the_mean_and_best_of_all_the_oracle() {
        let table = table();
        let curve = table.best_of();
        assert_eq!(curve.iter().map(|point| point.0).collect::<Vec<_>>(), [1, 2, 4]);
        assert!((curve[2].1 - average(&least(&table.loss))).abs() < 1e-9);
        assert!(curve[0].1 >= curve[1].1 && curve[1].1 >= curve[2].1);
    }

    #[test]
    fn patterns_of_three_lanes_are_numbers_to_base_three() {
        let lanes = vec![Lane::SkipFfn, Lane::Small, Lane::Big];
        let table = LossTable { lanes, layers: 3, loss: vec![Vec::new(); 27], wrong: Vec::new() };
        assert_eq!(table.spell(0), "---");
        assert_eq!(table.spell(5), "Bs-");
        assert_eq!(table.spell(table.all_big()), "BBB");
        assert_eq!((0..=3).map(|big| table.patterns(big).len()).collect::<Vec<_>>(), [8, 12, 6, 1]);
        assert_eq!(count_patterns(3, 3), Some(27));
        assert_eq!(count_patterns(2, 64), None);
    }

    #[test]
    fn wrong_targets_are_other_tokens_of_the_text() {
        let targets: Vec<u32> = (0..400).map(|i| [3u32, 5, 5, 9, 9, 9, 7][i % 7]).collect();
        let wrong = wrong_targets(&[&targets], 16);
        assert!(wrong[0].iter().zip(&targets).all(|(a, b)| a != b && targets.contains(a)));
    }
}

//! What every route over the layers is worth to every token (Duo-LLM, arXiv 2410.10846, sections 2 and 3.2).
//!
//! `E[p,t]` is the loss of token t when the *whole sequence* runs with pattern p: the paper does not say which pattern
//! the context has, this is our reading. The least of many draws is small by itself, so the oracle stands beside controls of
//! ours: the same minimisation for other labels ([`super::labels`]), and the best of K patterns drawn at random.

use serde::Serialize;

use super::labels::Labels;
use crate::rng;
use crate::spec::Lane;
use crate::statistics::Mean;

/// Patterns that the paper draws.
const DRAWN: usize = 100;
/// Tokens to which the choice of a pattern is worth less, nats, say little about where a big FFN is needed.
pub const WORTH: f64 = 0.01;
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
    /// The same for other tokens of similar frequency.
    pub wrong: Vec<Vec<f32>>,
    /// The same for tokens that the model itself predicts.
    pub drawn: Vec<Vec<f32>>,
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
    /// The oracle for labels drawn from the model's own prediction, and the all-big loss for them.
    pub drawn_label: [f64; 2],
    /// What the oracle gains over the mean of the patterns, in standard deviations of their losses, token by token: by labels.
    /// Of one pattern there is nothing to choose.
    pub gain_sd: Labels<Mean>,
    /// Tokens whose least loss more than one pattern has; the one with the lowest number is taken.
    pub ties: usize,
    /// Tokens to which the choice is worth [`WORTH`] or more.
    pub worth: usize,
}

/// How many patterns there are; `None` past what can be counted.
pub fn count_patterns(lanes: usize, layers: usize) -> Option<usize> {
    lanes.checked_pow(u32::try_from(layers).ok()?)
}

impl LossTable {
    /// A table of `patterns` patterns, none of them known yet.
    pub fn empty(lanes: &[Lane], layers: usize, patterns: usize) -> Self {
        let empty = || vec![Vec::new(); patterns];
        Self { lanes: lanes.to_vec(), layers, loss: empty(), wrong: empty(), drawn: empty() }
    }

    /// Put down a pattern's losses of some tokens behind those it has.
    pub fn put(&mut self, pattern: usize, new: Labels<Vec<f32>>) {
        for (own, new) in
            [(&mut self.loss, new.next), (&mut self.wrong, new.wrong), (&mut self.drawn, new.drawn)]
        {
            if let Some(own) = own.get_mut(pattern) {
                own.extend(new);
            }
        }
    }

    /// Put the rows of another table behind these.
    pub fn extend(&mut self, other: Self) {
        for (pattern, ((next, wrong), drawn)) in
            other.loss.into_iter().zip(other.wrong).zip(other.drawn).enumerate()
        {
            self.put(pattern, Labels { next, wrong, drawn });
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

    /// Its losses by labels.
    pub fn rows(&self, pattern: usize) -> Labels<&[f32]> {
        self.tables().map(|table| table.get(pattern).map_or(&[][..], Vec::as_slice))
    }

    /// The losses of some patterns by labels.
    pub fn of_patterns(&self, patterns: &[usize]) -> Labels<Vec<&[f32]>> {
        self.tables().map(|table| {
            patterns.iter().map(|&pattern| table.get(pattern).map_or(&[][..], Vec::as_slice)).collect()
        })
    }

    fn tables(&self) -> Labels<&Vec<Vec<f32>>> {
        Labels { next: &self.loss, wrong: &self.wrong, drawn: &self.drawn }
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

    /// Rows of a table of losses that belong to a budget's patterns.
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

    /// Losses of a budget: oracle, fixed, mean, random, controls.
    pub fn budget(&self, big: usize) -> Budget {
        let own = self.of_budget(&self.loss, big);
        let (oracle, wrong) = (least(&own), least(&self.of_budget(&self.wrong, big)));
        let last = self.all_big();
        let (fixed, pattern) = self.fixed(big);
        let drawn: Vec<&Vec<f32>> =
            drawn(own.len(), DRAWN, big as u64).filter_map(|at| own.get(at)).copied().collect();
        let gains: Vec<f64> = (self.row(last).iter().zip(&oracle))
            .zip(self.rows(last).wrong.iter().zip(&wrong))
            .map(|((all_big, oracle), (wrong_big, wrong))| {
                f64::from(all_big - oracle) - f64::from(wrong_big - wrong)
            })
            .collect();
        let means: Vec<f64> = own.iter().map(|losses| average(losses)).collect();
        let gain_sd = self.tables().map(|losses| gain_sd(&self.of_budget(losses, big)));
        Budget {
            big,
            patterns: own.len(),
            oracle: mean(&oracle),
            fixed,
            fixed_pattern: self.spell(pattern),
            mean: means.iter().sum::<f64>() / means.len().max(1) as f64,
            random_by_token: average(&least(&drawn)),
            random_by_mean: drawn.iter().map(|losses| average(losses)).fold(f64::INFINITY, f64::min),
            wrong_label: [average(&wrong), average(self.rows(last).wrong)],
            gain_over_control: Mean::of(&gains),
            drawn_label: [average(&least(&self.of_budget(&self.drawn, big))), average(self.rows(last).drawn)],
            gain_sd,
            ties: (0..oracle.len()).filter(|&token| ties(&own, token, &oracle) > 1).count(),
            worth: self.worth(big).into_iter().filter(|worth| *worth >= WORTH).count(),
        }
    }

    /// What the choice among a budget's patterns is worth to each token: the mean of their losses less the least, nats.
    pub fn worth(&self, big: usize) -> Vec<f64> {
        let own = self.of_budget(&self.loss, big);
        spread(&own).into_iter().map(|(gain, _)| gain).collect()
    }

    /// How often the oracle of a budget takes each layer's big FFN.
    pub fn choice(&self, big: usize) -> Vec<f64> {
        self.shares(&self.best(&self.patterns(big)))
    }

    /// The same over the tokens to which the choice is worth [`WORTH`] or more; NaN where there are none.
    pub fn choice_worth(&self, big: usize) -> Vec<f64> {
        let best = self.best(&self.patterns(big)).into_iter().zip(self.worth(big));
        self.shares(&best.filter(|(_, worth)| *worth >= WORTH).map(|(best, _)| best).collect::<Vec<_>>())
    }

    /// Share of patterns in which each layer is big.
    fn shares(&self, best: &[usize]) -> Vec<f64> {
        let share = |layer: usize| {
            let big = best.iter().filter(|&&pattern| self.lane(pattern, layer) == Lane::Big).count();
            big as f64 / best.len() as f64
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

/// By token: the mean of the rows less the least, and their standard deviation.
fn spread(rows: &[&Vec<f32>]) -> Vec<(f64, f64)> {
    let tokens = rows.first().map_or(0, |row| row.len());
    let of = |token: usize| {
        let losses: Vec<f64> = rows.iter().filter_map(|row| row.get(token).copied()).map(f64::from).collect();
        let count = losses.len() as f64;
        let mean = losses.iter().sum::<f64>() / count;
        let variance = losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / count;
        (mean - losses.iter().copied().fold(f64::INFINITY, f64::min), variance.sqrt())
    };
    (0..tokens).map(of).collect()
}

/// The gain of the least row over their mean in standard deviations, over the tokens whose rows differ.
fn gain_sd(rows: &[&Vec<f32>]) -> Mean {
    let differ = spread(rows).into_iter().filter(|(_, deviation)| *deviation > 0.0);
    Mean::of(&differ.map(|(gain, deviation)| gain / deviation).collect::<Vec<_>>())
}

/// Rows that have a token's least loss.
fn ties(rows: &[&Vec<f32>], token: usize, least: &[f32]) -> usize {
    rows.iter().filter(|row| row.get(token) == least.get(token)).count()
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
        LossTable { lanes, layers: 2, wrong: loss.iter().rev().cloned().collect(), drawn: loss.clone(), loss }
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
        let table = LossTable::empty(&lanes, 3, 27);
        assert_eq!(table.spell(0), "---");
        assert_eq!(table.spell(5), "Bs-");
        assert_eq!(table.spell(table.all_big()), "BBB");
        assert_eq!((0..=3).map(|big| table.patterns(big).len()).collect::<Vec<_>>(), [8, 12, 6, 1]);
        assert_eq!(count_patterns(3, 3), Some(27));
        assert_eq!(count_patterns(2, 64), None);
    }
}

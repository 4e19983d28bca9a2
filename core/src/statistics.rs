//! Intervals of 95 %.

use serde::Serialize;

use crate::rng;

/// A share of a count, with the Wilson score interval (Wilson 1927).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Share {
    /// Hits.
    pub hits: u64,
    /// Of so many.
    pub of: u64,
    /// hits / of; 0 of 0 is 0.
    pub share: f64,
    /// Ends of the interval.
    pub interval: [f64; 2],
}

impl Share {
    /// `hits` of `of`.
    pub fn new(hits: u64, of: u64) -> Self {
        let n = of as f64;
        if of == 0 {
            return Self { interval: [0.0, 1.0], ..Self::default() };
        }
        let (p, z) = (hits as f64 / n, 1.96f64);
        let middle = p + z * z / (2.0 * n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let whole = 1.0 + z * z / n;
        let interval = [((middle - half) / whole).max(0.0), ((middle + half) / whole).min(1.0)];
        Self { hits, of, share: p, interval }
    }

    /// Of a list.
    pub fn of(hits: impl IntoIterator<Item = bool>) -> Self {
        let (mut hit, mut of) = (0, 0);
        for one in hits {
            hit += u64::from(one);
            of += 1;
        }
        Self::new(hit, of)
    }
}

/// A mean with its percentile bootstrap interval (Efron 1979).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Ends of the interval.
    pub interval: [f64; 2],
}

/// Resamples of a bootstrap.
const RESAMPLES: u64 = 1000;

impl Mean {
    /// Of `values`, resampled one by one.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len();
        if n == 0 {
            return Self::default();
        }
        let mean = |draw: &dyn Fn(u64) -> usize| {
            let sum: f64 = (0..n as u64).filter_map(|i| values.get(draw(i))).sum();
            sum / n as f64
        };
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|resample| mean(&|i| (rng::bits(11, resample, i) % n as u64) as usize))
            .collect();
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means.get((share * RESAMPLES as f64) as usize).copied().unwrap_or(f64::NAN);
        Self { mean: mean(&|i| i as usize), interval: [at(0.025), at(0.975)] }
    }
}

/// Means of cells over items that pass by, with bootstrap intervals: nothing grows with the number of items. Each resample takes
/// an item as often as a Poisson number of mean 1 says, which is drawn from the item's number alone (Hanley and MacGibbon
/// 2006), so that items in one order come to the same bits however they are shared out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Means {
    count: Vec<u64>,
    sum: Vec<f64>,
    /// Of the resamples, cell by cell.
    sums: Vec<f64>,
    /// How many items are in them; of a cell those alone that have a value there.
    weights: Vec<f64>,
}

/// How often a resample takes an item.
fn weight(resample: u64, item: u64) -> f64 {
    // Shares of 0, 1, 2 … under a Poisson number of mean 1, summed up.
    let (mut share, mut below, mut times) = ((-1f64).exp(), (-1f64).exp(), 0.0);
    let drawn = (rng::bits(13, resample, item) >> 11) as f64 / (1u64 << 53) as f64;
    while drawn >= below && times < 20.0 {
        times += 1.0;
        share /= times;
        below += share;
    }
    times
}

impl Means {
    /// Of no item, so many cells.
    pub fn new(cells: usize) -> Self {
        let resampled = vec![0.0; cells * RESAMPLES as usize];
        Self { count: vec![0; cells], sum: vec![0.0; cells], sums: resampled.clone(), weights: resampled }
    }

    /// Bytes that so many cells take.
    pub fn bytes(cells: usize) -> u64 {
        (cells as u64).saturating_mul(16 * (RESAMPLES + 1))
    }

    /// How many cells.
    pub fn cells(&self) -> usize {
        self.count.len()
    }

    /// One more item, by its number: its value in every cell. What is no finite number is left out.
    pub fn add(&mut self, item: u64, values: impl Iterator<Item = f64>) {
        let drawn: Vec<f64> = (0..RESAMPLES).map(|resample| weight(resample, item)).collect();
        let each = RESAMPLES as usize;
        let cells = self.count.iter_mut().zip(&mut self.sum);
        let resampled = self.sums.chunks_mut(each).zip(self.weights.chunks_mut(each));
        for ((value, (count, sum)), (sums, weights)) in values.zip(cells).zip(resampled) {
            if !value.is_finite() {
                continue;
            }
            *count += 1;
            *sum += value;
            for ((sum, weight), times) in sums.iter_mut().zip(weights).zip(&drawn) {
                *sum += times * value;
                *weight += times;
            }
        }
    }

    /// Items with a value in a cell.
    pub fn count(&self, cell: usize) -> u64 {
        self.count.get(cell).copied().unwrap_or(0)
    }

    /// A cell's mean; NaN of no item.
    pub fn mean(&self, cell: usize) -> f64 {
        self.sum.get(cell).map_or(f64::NAN, |sum| sum / self.count(cell) as f64)
    }

    /// Its 95 % percentile interval; none of less than two items.
    pub fn interval(&self, cell: usize) -> Option<[f64; 2]> {
        if self.count(cell) < 2 {
            return None;
        }
        let own = cell * RESAMPLES as usize..(cell + 1) * RESAMPLES as usize;
        let (sums, weights) = (self.sums.get(own.clone())?, self.weights.get(own)?);
        // A resample without any item has no mean.
        let drawn = sums.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let mut means: Vec<f64> = drawn.map(|(sum, weight)| sum / weight).collect();
        means.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| means.get((share * means.len() as f64) as usize).copied();
        Some([at(0.025)?, at(0.975)?])
    }

    /// As rows of numbers to be written down: the counts and sums, then those of the resamples.
    pub fn parts(&self) -> [Vec<f64>; 4] {
        let count = self.count.iter().map(|count| *count as f64).collect();
        [count, self.sum.clone(), self.sums.clone(), self.weights.clone()]
    }

    /// From [`Means::parts`]; none where they do not belong together.
    pub fn of_parts([count, sum, sums, weights]: [Vec<f64>; 4]) -> Option<Self> {
        let resampled = count.len() * RESAMPLES as usize;
        let fits = sum.len() == count.len() && [&sums, &weights].iter().all(|all| all.len() == resampled);
        let count = count.into_iter().map(|count| count as u64).collect();
        fits.then_some(Self { count, sum, sums, weights })
    }
}

/// Percentile bootstrap interval of a ratio of sums, over pairs that are resampled together; NaN of fewer than two pairs.
pub fn ratio(pairs: &[(f64, u64)]) -> [f64; 2] {
    let n = pairs.len() as u64;
    if n < 2 {
        return [f64::NAN; 2];
    }
    let of = |resample: u64| {
        let draws = (0..n).filter_map(|i| pairs.get((rng::bits(12, resample, i) % n) as usize));
        let (sum, count) = draws.fold((0.0, 0), |(sum, count), one| (sum + one.0, count + one.1));
        sum / count as f64
    };
    let mut all: Vec<f64> = (0..RESAMPLES).map(of).collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all.get((share * RESAMPLES as f64) as usize).copied().unwrap_or(f64::NAN);
    [at(0.025), at(0.975)]
}

/// The standard deviation of a sample (divided by n - 1); NaN of less than two values.
pub fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if n < 2.0 {
        return f64::NAN;
    }
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

/// Percentile bootstrap intervals of statistics over one list: every statistic sees the same resamples.
pub struct Resamples(Vec<Vec<usize>>);

impl Resamples {
    /// Of a list of `n`.
    pub fn new(n: usize) -> Self {
        let pick = |resample: u64, i: usize| (rng::bits(11, resample, i as u64) % n.max(1) as u64) as usize;
        Self((0..RESAMPLES).map(|resample| (0..n).map(|i| pick(resample, i)).collect()).collect())
    }

    /// 95 % of a statistic of the places that are picked. NaN where a resample has none.
    pub fn interval(&self, statistic: impl Fn(&[usize]) -> f64) -> [f64; 2] {
        let mut values: Vec<f64> = self.0.iter().map(|picked| statistic(picked)).collect();
        values.sort_by(f64::total_cmp);
        if values.iter().any(|value| value.is_nan()) {
            return [f64::NAN; 2];
        }
        let at = |share: f64| values.get((share * values.len() as f64) as usize).copied().unwrap_or(f64::NAN);
        [at(0.025), at(0.975)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_that_pass_by_are_those_of_all_values() {
        let rows: Vec<[f64; 2]> = (0..200u32).map(|i| [f64::from(i % 7), f64::from(i % 3)]).collect();
        let mut means = Means::new(3);
        for (item, [first, second]) in (0..).zip(&rows) {
            let third = if item == 5 { 2.5 } else { f64::NAN };
            means.add(item, [*first, *second, third].into_iter());
        }
        for cell in 0..2 {
            let values: Vec<f64> = rows.iter().map(|row| row[cell]).collect();
            let all = Mean::of(&values);
            assert!((means.mean(cell) - all.mean).abs() < 1e-12);
            let [low, high] = means.interval(cell).unwrap();
            // Another draw of the same bootstrap.
            let width = all.interval[1] - all.interval[0];
            assert!((low - all.interval[0]).abs() < 0.15 * width, "{low} {all:?}");
            assert!((high - all.interval[1]).abs() < 0.15 * width, "{high} {all:?}");
        }
        assert_eq!((means.count(2), means.mean(2), means.interval(2)), (1, 2.5, None));
        assert!(Means::new(1).mean(0).is_nan());
    }

    #[test]
    fn weights_of_a_resample_are_poissons() {
        let weights: Vec<f64> = (0..100_000).map(|item| weight(0, item)).collect();
        let share = |k: f64| weights.iter().filter(|x| **x == k).count() as f64 / weights.len() as f64;
        for (k, p) in [(0.0, 0.367_879), (1.0, 0.367_879), (2.0, 0.183_940), (3.0, 0.061_313)] {
            assert!((share(k) - p).abs() < 0.005, "{k}: {}", share(k));
        }
    }

    #[test]
    fn wilson_as_printed_in_textbooks() {
        let share = Share::new(10, 50);
        assert!((share.interval[0] - 0.1124).abs() < 1e-3 && (share.interval[1] - 0.3304).abs() < 1e-3);
        assert_eq!(Share::new(0, 10).interval[0], 0.0);
        assert!((Share::new(10, 10).interval[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn deviation_of_a_sample() {
        assert!((deviation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) - (32f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(deviation(&[3.0; 4]), 0.0);
        assert!(deviation(&[1.0]).is_nan());
    }

    #[test]
    fn resamples_of_a_mean_are_those_of_the_mean() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(rng::normal(9, 0, i))).collect();
        let of = |picked: &[usize]| picked.iter().map(|&at| values[at]).sum::<f64>() / picked.len() as f64;
        let (own, mean) = (Resamples::new(50).interval(of), Mean::of(&values).interval);
        assert!(own.iter().zip(mean).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn bootstrap_of_a_normal_sample() {
        let values: Vec<f64> = (0..4000).map(|i| f64::from(rng::normal(5, 0, i))).collect();
        let mean = Mean::of(&values);
        let half = (mean.interval[1] - mean.interval[0]) / 2.0;
        // 1.96 / sqrt(4000)
        assert!((half - 0.031).abs() < 0.004, "{half}");
        assert!(mean.interval[0] < mean.mean && mean.mean < mean.interval[1]);
    }
}

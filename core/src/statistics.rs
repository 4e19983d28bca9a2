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

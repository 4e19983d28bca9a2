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
    fn bootstrap_of_a_normal_sample() {
        let values: Vec<f64> = (0..4000).map(|i| f64::from(rng::normal(5, 0, i))).collect();
        let mean = Mean::of(&values);
        let half = (mean.interval[1] - mean.interval[0]) / 2.0;
        // 1.96 / sqrt(4000)
        assert!((half - 0.031).abs() < 0.004, "{half}");
        assert!(mean.interval[0] < mean.mean && mean.mean < mean.interval[1]);
    }
}

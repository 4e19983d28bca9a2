//! Choosing the next token: greedy, or drawn at a temperature from the likeliest.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};
use crate::{metric, rng};

/// Chooses the next token. Temperature first, then top-k, then top-p, as in transformers' generate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Divides the logits; 0 = greedy.
    pub temperature: f32,
    /// Draw from this many of the likeliest tokens; 0 = from all.
    pub top_k: usize,
    /// Draw from the fewest likeliest tokens whose probabilities sum to this (nucleus sampling, arXiv 1904.09751); 1 = from
    /// all.
    pub top_p: f32,
    /// Same seed, same text.
    pub seed: u64,
}

/// Greedy.
impl Default for Sampler {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 }
    }
}

impl Sampler {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// One that is out of its range, by the name of its flag.
    pub fn check(&self) -> Result<()> {
        let within = |flag: &'static str, value: f32, range: RangeInclusive<f32>, says: &'static str| {
            if range.contains(&value) && value.is_finite() {
                return Ok(());
            }
            Err(Error::Flag { flag, cause: format!("{value} is out of range: {says}") })
        };
        within("--temperature", self.temperature, 0.0..=f32::MAX, "it is 0 (greedy) or above")?;
        within("--top-p", self.top_p, f32::MIN_POSITIVE..=1.0, "it is above 0, and at most 1 (all tokens)")
    }

    /// The token at step `step` (0 = first after the prompt); greedy takes the lowest id among equals.
    pub fn pick(&self, logits: &[f32], step: usize) -> u32 {
        let best = || metric::top_k(logits, 1).first().map_or(0, |(id, _)| *id);
        if self.temperature <= 0.0 {
            return best();
        }
        let scaled: Vec<f32> = logits.iter().map(|x| x / self.temperature).collect();
        let mut weights: Vec<f64> =
            metric::log_softmax(&scaled).iter().map(|&x| f64::from(x).exp()).collect();
        self.filter(&scaled, &mut weights);
        let mut left = rng::uniform(self.seed, 0, step as u64) * weights.iter().sum::<f64>();
        for (id, weight) in (0..).zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        best()
    }

    /// Probabilities of the tokens that are not drawn from become 0.
    fn filter(&self, logits: &[f32], weights: &mut [f64]) {
        if self.top_k == 0 && self.top_p >= 1.0 {
            return;
        }
        let most = if self.top_k == 0 { logits.len() } else { self.top_k };
        let likeliest = metric::top_k(logits, most);
        let weight = |id: u32| weights.get(id as usize).copied().unwrap_or(0.0);
        let sum: f64 = likeliest.iter().map(|&(id, _)| weight(id)).sum();
        let mut before = 0.0;
        let mut kept = vec![0.0; weights.len()];
        for (id, _) in likeliest {
            // The first is always kept.
            if before >= f64::from(self.top_p) * sum {
                break;
            }
            before += weight(id);
            if let Some(kept) = kept.get_mut(id as usize) {
                *kept = weight(id);
            }
        }
        weights.copy_from_slice(&kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that are drawn at all.
    fn drawn(sampler: Sampler, logits: &[f32]) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..400).map(|step| sampler.pick(logits, step)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    #[test]
    fn likeliest_tokens_are_drawn_from() {
        // Probabilities 0.5, 0.25, 0.125, 0.125.
        let logits = [8f32, 4.0, 2.0, 2.0].map(f32::ln);
        let warm = Sampler { temperature: 1.0, ..Sampler::default() };
        assert_eq!(drawn(warm, &logits), [0, 1, 2, 3]);
        for (top_k, top_p, ids) in [
            (1, 1.0, &[0][..]),
            (3, 1.0, &[0, 1, 2]),
            (9, 1.0, &[0, 1, 2, 3]),
            // The token that passes the sum is the last one.
            (0, 0.4, &[0]),
            (0, 0.6, &[0, 1]),
            (0, 0.8, &[0, 1, 2]),
            // Of the two that are left, with 2/3 and 1/3.
            (2, 0.6, &[0]),
            (2, 0.7, &[0, 1]),
            (0, 1e-9, &[0]),
        ] {
            assert_eq!(drawn(Sampler { top_k, top_p, ..warm }, &logits), ids, "{top_k} {top_p}");
        }
    }

    #[test]
    fn all_tokens_are_what_no_limit_draws() {
        let logits: Vec<f32> = (0..50).map(|i| rng::normal(3, 0, i)).collect();
        let free = Sampler { temperature: 0.7, seed: 5, ..Sampler::default() };
        for step in 0..200 {
            assert_eq!(free.pick(&logits, step), Sampler { top_k: 50, ..free }.pick(&logits, step));
        }
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        for (sampler, flag) in [
            (Sampler { temperature: -1.0, ..Sampler::default() }, "--temperature: -1 "),
            (Sampler { temperature: f32::NAN, ..Sampler::default() }, "--temperature: NaN "),
            (Sampler { temperature: f32::INFINITY, ..Sampler::default() }, "--temperature: inf "),
            (Sampler { top_p: 0.0, ..Sampler::default() }, "--top-p: 0 "),
            (Sampler { top_p: 1.5, ..Sampler::default() }, "--top-p: 1.5 "),
        ] {
            let error = sampler.check().unwrap_err().to_string();
            assert!(error.starts_with(flag), "{error}");
        }
        assert!(Sampler::default().check().is_ok());
    }
}

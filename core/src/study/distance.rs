//! Distance of a changed model's prediction from the original's, by which pruning chooses.

use serde::Serialize;

use crate::metric::{kl, log_softmax};
use crate::model::fused;

/// How far a row of logits is from log probabilities. Never negative, so that sums over tokens only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// The Jensen-Shannon divergence.
    #[default]
    Jsd,
    /// KL(original || changed).
    Kl,
    /// What FinerCut's code calls JS: the mean of KL(m || original) and KL(m || changed), m half way between them, divided
    /// by the size of the vocabulary. Not bounded.
    JsRepo,
}

impl Distance {
    /// Of one token. `log_p` are log probabilities of the original, `logits` those of the changed model. Infinite where the
    /// logits are no numbers.
    pub fn of(self, log_p: &[f32], logits: &[f32]) -> f64 {
        let distance = match self {
            Self::Jsd => f64::from(fused::jsd(log_p, logits)),
            Self::Kl => kl(log_p, &log_softmax(logits)),
            Self::JsRepo => {
                let term = |(&p, &q): (&f32, &f32)| {
                    let (p, q) = (f64::from(p), f64::from(q));
                    let m = 0.5 * (p.exp() + q.exp());
                    if m > 0.0 { m * (m.ln() - 0.5 * (p + q)) } else { 0.0 }
                };
                let sum: f64 = log_p.iter().zip(&log_softmax(logits)).map(term).sum();
                sum / log_p.len().max(1) as f64
            }
        };
        // Rounding can take it a little under 0.
        if distance.is_nan() { f64::INFINITY } else { distance.max(0.0) }
    }
}

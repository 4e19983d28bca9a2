//! How far a pruned model's output is from the original's, of one token.

use crate::method::choices;
use crate::metric::{kl, log_softmax};
use crate::model::fused;

choices! {
    /// How outputs are compared. Never negative, so that sums over tokens only grow.
    pub enum Distance {
        /// Jensen-Shannon divergence
        Jsd = "jsd",
        /// KL(original || pruned)
        Kl = "kl",
        /// What FinerCut's code calls JS: the mean of KL(m || original) and KL(m || pruned), m half way, over the vocabulary's size
        JsRepo = "js-repo",
    }
}

impl Distance {
    /// Of one token, nats. `log_p` are log probabilities of the original, `logits` those of the changed model, `[vocab]` each.
    /// Infinite where the logits are no numbers.
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

//! Numbers that compare distributions. All in nats, summed in f64.

/// log softmax of a row of logits.
pub fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let (top, rest) = normaliser(logits);
    logits.iter().map(|&x| ((f64::from(x) - top) - rest.ln_1p()) as f32).collect()
}

/// -ln p(token), nats.
pub fn surprisal(logits: &[f32], token: u32) -> f32 {
    let Some(&logit) = logits.get(token as usize) else { return f32::NAN };
    let (top, rest) = normaliser(logits);
    ((top - f64::from(logit)) + rest.ln_1p()) as f32
}

/// Largest logit, and the sum of the exponentials after it is taken off, less its own 1: beside that 1 small ones would be
/// rounded away, and with them what tells losses near 0 apart.
fn normaliser(logits: &[f32]) -> (f64, f64) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut rest, mut tops) = (0.0, 0u32);
    for &x in logits {
        if x == top {
            tops += 1;
        } else {
            rest += (f64::from(x) - f64::from(top)).exp();
        }
    }
    (f64::from(top), rest + f64::from(tops.saturating_sub(1)))
}

/// A token drawn by its probability. `share` is uniform in \[0, 1).
pub fn draw(logits: &[f32], share: f64) -> u32 {
    let (top, rest) = normaliser(logits);
    let mut left = share * (1.0 + rest);
    let mut drawn = 0;
    for (id, &x) in (0..).zip(logits) {
        let weight = (f64::from(x) - top).exp();
        // What rounding leaves over at the end is the last one's that has any.
        if weight > 0.0 {
            drawn = id;
            left -= weight;
        }
        if left < 0.0 {
            break;
        }
    }
    drawn
}

/// p(token).
pub fn probability(logits: &[f32], token: u32) -> f32 {
    (-surprisal(logits, token)).exp()
}

/// KL(p || q) = sum p (ln p - ln q), of two rows of log probabilities. Equal rows give exactly 0.
pub fn kl(log_p: &[f32], log_q: &[f32]) -> f64 {
    let term = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p), f64::from(q));
        if p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) }
    };
    log_p.iter().zip(log_q).map(term).sum()
}

/// (patched - corrupted) / (clean - corrupted): 0 = nothing came back, 1 = all of it (FCCT, equation 2). NaN where
/// corruption changed nothing. Not clipped.
pub fn recovery(patched: f32, corrupted: f32, clean: f32) -> f32 {
    if clean == corrupted { f32::NAN } else { (patched - corrupted) / (clean - corrupted) }
}

/// Spearman's rank correlation of two lists, ties by their mean rank; pairs with a NaN are left out. NaN where one list has
/// no order.
pub fn rank_agreement(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b).filter(|(a, b)| !a.is_nan() && !b.is_nan());
    let (a, b): (Vec<f32>, Vec<f32>) = pairs.map(|(a, b)| (*a, *b)).unzip();
    let (a, b) = (ranks(&a), ranks(&b));
    let middle = (a.len() as f64 - 1.0) / 2.0;
    let product =
        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let value = |index: &usize| values.get(*index).copied().unwrap_or(f32::NAN);
    order.sort_by(|a, b| value(a).total_cmp(&value(b)));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|a, b| value(a) == value(b)) {
        for &index in tied {
            if let Some(rank) = ranks.get_mut(index) {
                *rank = before as f64 + (tied.len() as f64 - 1.0) / 2.0;
            }
        }
        before += tied.len();
    }
    ranks
}

/// The `k` largest values with their indices, largest first; ties by index. NaN counts as smallest.
pub fn top_k(values: &[f32], k: usize) -> Vec<(u32, f32)> {
    let order = |a: &(u32, f32), b: &(u32, f32)| rank(b.1).total_cmp(&rank(a.1)).then(a.0.cmp(&b.0));
    let mut all: Vec<(u32, f32)> = (0..).zip(values.iter().copied()).collect();
    let k = k.min(all.len());
    if k > 0 && k < all.len() {
        all.select_nth_unstable_by(k - 1, order);
    }
    all.truncate(k);
    all.sort_by(order);
    all
}

fn rank(x: f32) -> f32 {
    if x.is_nan() { f32::NEG_INFINITY } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kl_of_equal_rows_is_zero() {
        let row = log_softmax(&[0.3, -2.0, 5.0]);
        assert_eq!(kl(&row, &row), 0.0);
        assert!(kl(&row, &log_softmax(&[0.0, 0.0, 0.0])) > 0.0);
    }

    #[test]
    fn kl_against_a_worked_value() {
        // p = (1/2, 1/2), q = (1/4, 3/4): 1/2 ln 2 + 1/2 ln (2/3)
        let p = [0.5f32.ln(), 0.5f32.ln()];
        let q = [0.25f32.ln(), 0.75f32.ln()];
        let expected = 0.5 * 2f64.ln() + 0.5 * (2.0f64 / 3.0).ln();
        assert!((kl(&p, &q) - expected).abs() < 1e-7);
    }

    #[test]
    fn tokens_are_drawn_by_their_probability() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 5f32.ln(), f32::NEG_INFINITY];
        let shares: Vec<u32> = (0..8).map(|i| draw(&logits, (f64::from(i) + 0.5) / 8.0)).collect();
        assert_eq!(shares, [0, 1, 1, 3, 3, 3, 3, 3]);
        assert_eq!((draw(&logits, 0.0), draw(&logits, 1.0 - 1e-16)), (0, 3));
    }

    #[test]
    fn top_k_orders_and_breaks_ties() {
        assert_eq!(top_k(&[1.0, 3.0, f32::NAN, 3.0], 2), vec![(1, 3.0), (3, 3.0)]);
        assert_eq!(top_k(&[], 2), vec![]);
        assert_eq!(top_k(&[1.0], 0), vec![]);
    }

    #[test]
    fn rank_agreement_against_worked_values() {
        let up = [1.0, 2.0, 5.0, 9.0];
        assert!((rank_agreement(&up, &[0.1, 0.2, 0.3, 7.0]) - 1.0).abs() < 1e-12);
        assert!((rank_agreement(&up, &[4.0, 3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        // Ranks 0 1 2 3 and 0 2 1 3: 1 - 6 * 2 / (4 * 15).
        assert!((rank_agreement(&up, &[0.0, 2.0, 1.0, 3.0]) - 0.8).abs() < 1e-12);
        // Ranks of (1, 1, 2) are 0.5 0.5 2.
        let tied = rank_agreement(&[1.0, 1.0, 2.0, f32::NAN], &[1.0, 2.0, 3.0, 4.0]);
        assert!((tied - 1.5 / (1.5f64 * 2.0).sqrt()).abs() < 1e-12);
        assert!(rank_agreement(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
    }

    #[test]
    fn recovery_is_undefined_without_corruption() {
        assert!(recovery(0.3, 0.5, 0.5).is_nan());
        assert_eq!(recovery(0.9, 0.1, 0.9), 1.0);
        assert_eq!(recovery(0.1, 0.1, 0.9), 0.0);
    }
}

//! Divergences of rows, fast enough for every token of a vocabulary.

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use pulp::{Simd, WithSimd};

use super::math::{LANES, exp, ln, max, sum};
use super::{Result, row, rows, slice};

/// KL(softmax(p) || softmax(q)) in nats of every row, and 1 where both rows have their largest logit in one place, else 0:
/// `[rows, 2]`. `p` and `q` are logits, `[rows, vocab]`. Never negative; exactly 0 where the rows are equal.
pub fn moved(p: &Tensor, q: &Tensor) -> crate::Result<Tensor> {
    Ok(p.contiguous()?.apply_op2_no_bwd(&q.contiguous()?, &Moved)?)
}

struct Moved;

impl CustomOp2 for Moved {
    fn name(&self) -> &'static str {
        "moved"
    }

    fn cpu_fwd(
        &self,
        p: &CpuStorage,
        p_layout: &Layout,
        q: &CpuStorage,
        q_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (p, q, (count, vocab)) = (slice(p, p_layout)?, slice(q, q_layout)?, p_layout.shape().dims2()?);
        if q_layout.shape() != p_layout.shape() {
            return Err(candle_core::Error::Msg("two rows of one vocabulary are compared".into()));
        }
        let mut out = vec![0f32; 2 * count];
        rows(&mut out, 2, |index, out| {
            let (p, q) = (row(p, vocab, index), row(q, vocab, index));
            if let [kl, same] = out {
                *kl = pulp::Arch::new().dispatch(Kl { p, q });
                *same = f32::from(u8::from(top(p) == top(q)));
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((count, 2))))
    }
}

/// Where the largest value stands first.
fn top(values: &[f32]) -> Option<usize> {
    let most = max(values);
    values.iter().position(|x| *x == most)
}

/// KL of two rows of logits. A struct, as [`Jsd`].
struct Kl<'a> {
    p: &'a [f32],
    q: &'a [f32],
}

impl WithSimd for Kl<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let Self { p, q } = self;
        let (p_top, q_top) = (max(p), max(q));
        let (p_sum, q_sum) = (sum(p, |x| exp(x - p_top)), sum(q, |x| exp(x - q_top)));
        // u = ln p - ln q of an entry is its difference of logits less this.
        let shift = (p_top - q_top) + ln(p_sum) - ln(q_sum);
        let mut lanes = [0f32; LANES];
        let ((p_whole, p_rest), (q_whole, q_rest)) = (p.as_chunks::<LANES>(), q.as_chunks::<LANES>());
        let last = [filled(p_rest), filled(q_rest)];
        for (p, q) in p_whole.iter().zip(q_whole).chain(std::iter::once((&last[0], &last[1]))) {
            for ((lane, x), y) in lanes.iter_mut().zip(p).zip(q) {
                let (p, q) = (exp(*x - p_top) / p_sum, exp(*y - q_top) / q_sum);
                *lane += gap(p, q, (*x - *y) - shift);
            }
        }
        lanes.iter().sum::<f32>()
    }
}

/// p ln(p / q) + q - p with u = ln(p / q): the terms of a divergence, of which none is negative.
#[inline(always)]
fn gap(p: f32, q: f32, u: f32) -> f32 {
    // e^-u - 1 + u as its series, where the parts would cancel.
    let near = p
        * (u * u)
        * (1.0 / 2.0
            - u * (1.0 / 6.0 - u * (1.0 / 24.0 - u * (1.0 / 120.0 - u * (1.0 / 720.0 - u / 5040.0)))));
    let far = p * u + (q - p);
    let term = if u.abs() < 0.5 { near } else { far };
    // Not `max`: that would hide what is no number.
    let term = if term < 0.0 { 0.0 } else { term };
    if p == 0.0 { q } else { term }
}

/// JSD(p, softmax(logits)) in nats, of one row. `log_p` are log probabilities. 0 to ln 2 up to rounding; exactly 0 where
/// the probabilities are equal.
pub fn jsd(log_p: &[f32], logits: &[f32]) -> f32 {
    pulp::Arch::new().dispatch(Jsd { log_p, logits })
}

/// A struct, not a closure: of one as large as this the compiler makes a function of its own, without vector code.
struct Jsd<'a> {
    log_p: &'a [f32],
    logits: &'a [f32],
}

impl WithSimd for Jsd<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let Self { log_p, logits } = self;
        let top = max(logits);
        let total = sum(logits, |x| exp(x - top));
        // With m = (p + q) / 2 and r = (q - p) / (p + q): p = m (1 - r), q = m (1 + r), so the two terms of an entry are
        // m ((1 + r) ln(1 + r) + (1 - r) ln(1 - r)) together, which is never negative.
        let mut lanes = [0f32; LANES];
        let ((log_p, log_p_rest), (logits, rest)) = (log_p.as_chunks::<LANES>(), logits.as_chunks::<LANES>());
        // Past the end both probabilities are 0. One loop for whole and broken chunks: two would not be inlined.
        let last = [filled(log_p_rest), filled(rest)];
        let pairs = log_p.iter().zip(logits).chain(std::iter::once((&last[0], &last[1])));
        for (log_p, x) in pairs {
            for ((lane, log_p), x) in lanes.iter_mut().zip(log_p).zip(x) {
                let (p, q) = (exp(*log_p), exp(*x - top) / total);
                let m = 0.5 * (p + q);
                *lane += m * entropy_gap(0.5 * (q - p) / m.max(f32::MIN_POSITIVE));
            }
        }
        0.5 * lanes.iter().sum::<f32>()
    }
}

#[inline(always)]
fn filled(rest: &[f32]) -> [f32; LANES] {
    let mut whole = [f32::NEG_INFINITY; LANES];
    whole.iter_mut().zip(rest).for_each(|(slot, value)| *slot = *value);
    whole
}

/// (1 + r) ln(1 + r) + (1 - r) ln(1 - r), for r in -1 ..= 1.
#[inline(always)]
fn entropy_gap(r: f32) -> f32 {
    let s = r * r;
    // Its series, sum of r^2k / (k (2k - 1)): there the logarithms would cancel.
    let near = s
        * (1.0
            + s * (1.0 / 6.0
                + s * (1.0 / 15.0 + s * (1.0 / 28.0 + s * (1.0 / 45.0 + s * (1.0 / 66.0 + s / 91.0))))));
    // Next to 0 the product is 0 in the limit, and here.
    let side = |x: f32| x * ln(x.max(f32::MIN_POSITIVE));
    let far = side(1.0 + r) + side(1.0 - r);
    if s < 0.09 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flat, values};
    use super::*;
    use crate::metric;

    /// As the definition says, in f64.
    fn plain(log_p: &[f32], logits: &[f32]) -> f64 {
        let exact = |row: &[f32]| -> Vec<f64> {
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            row.iter().map(|&x| f64::from(x).exp() / total).collect()
        };
        let term = |x: f64, m: f64| if x > 0.0 { x * (x / m).ln() } else { 0.0 };
        let pairs = exact(log_p).into_iter().zip(exact(logits));
        pairs.map(|(p, q)| 0.5 * (term(p, 0.5 * (p + q)) + term(q, 0.5 * (p + q)))).sum()
    }

    #[test]
    fn as_the_definition_near_and_far() {
        let base = flat(&values(&[1, 300], 1));
        for (size, scale) in [(1e-3, 1.0), (0.05, 1.0), (0.5, 1.0), (1.0, 8.0), (1.0, 60.0)] {
            let other: Vec<f32> = base
                .iter()
                .zip(flat(&values(&[1, 300], 2)))
                .map(|(a, b)| scale * (a * (1.0 - size) + b * size))
                .collect();
            let scaled: Vec<f32> = base.iter().map(|x| scale * x).collect();
            let log_p = metric::log_softmax(&scaled);
            let (found, exact) = (f64::from(jsd(&log_p, &other)), plain(&log_p, &other));
            // Probabilities are f32: their rounding alone moves a divergence of nearly equal rows.
            assert!((found - exact).abs() < 1e-3 * exact + 1e-12, "{size} {scale}: {found} {exact}");
            assert!((0.0..=std::f64::consts::LN_2 + 1e-6).contains(&found));
        }
    }

    #[test]
    fn kl_as_the_definition_near_and_far() {
        let base = flat(&values(&[1, 300], 1));
        for (size, scale) in
            [(0.0, 1.0), (1e-4, 1.0), (1e-3, 1.0), (0.05, 1.0), (0.5, 1.0), (1.0, 8.0), (1.0, 60.0)]
        {
            let other: Vec<f32> =
                base.iter().zip(flat(&values(&[1, 300], 2))).map(|(a, b)| scale * (a + size * b)).collect();
            let scaled: Vec<f32> = base.iter().map(|x| scale * x).collect();
            let rows =
                |row: &[f32]| Tensor::from_slice(row, (1, row.len()), &candle_core::Device::Cpu).unwrap();
            let found = flat(&moved(&rows(&scaled), &rows(&other)).unwrap());
            let wide = |row: &[f32]| -> Vec<f64> {
                let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let rest: f64 = row.iter().map(|x| f64::from(x - top).exp()).sum();
                row.iter().map(|x| f64::from(x - top) - rest.ln()).collect()
            };
            let exact: f64 = wide(&scaled).iter().zip(wide(&other)).map(|(p, q)| p.exp() * (p - q)).sum();
            assert!(
                (f64::from(found[0]) - exact).abs() < 1e-4 * exact + 1e-11,
                "{size} {scale}: {} {exact}",
                found[0]
            );
            assert!(size > 0.0 || found == [0.0, 1.0]);
            assert_eq!(found[1] == 1.0, top(&scaled) == top(&other));
        }
        let gone = [0.0, f32::NEG_INFINITY];
        let rows = |row: &[f32]| Tensor::from_slice(row, (1, 2), &candle_core::Device::Cpu).unwrap();
        let kl = |p: &[f32], q: &[f32]| flat(&moved(&rows(p), &rows(q)).unwrap())[0];
        assert!((kl(&gone, &[0.0, 0.0]) - std::f32::consts::LN_2).abs() < 1e-6);
        assert_eq!(kl(&[0.0, 0.0], &gone), f32::INFINITY);
        assert_eq!(kl(&gone, &gone), 0.0);
        assert!(kl(&[f32::NAN, 0.0], &[0.0, 0.0]).is_nan());
    }

    #[test]
    fn symmetric_and_bounded() {
        let (a, b) = (flat(&values(&[1, 50], 3)), flat(&values(&[1, 50], 4)));
        let there = jsd(&metric::log_softmax(&a), &b);
        let back = jsd(&metric::log_softmax(&b), &a);
        assert!((there - back).abs() < 1e-6 * there);
        let apart = jsd(&[0.0, f32::NEG_INFINITY], &[-200.0, 0.0]);
        assert!((apart - std::f32::consts::LN_2).abs() < 1e-6);
    }

    #[test]
    fn the_gap_over_its_range() {
        for i in -1000..=1000 {
            let r = i as f32 / 1000.0;
            let exact = {
                let r = f64::from(r);
                let side = |x: f64| if x > 0.0 { x * x.ln() } else { 0.0 };
                side(1.0 + r) + side(1.0 - r)
            };
            assert!((f64::from(entropy_gap(r)) - exact).abs() < 3e-6 * exact + 1e-13, "{r}");
        }
    }
}

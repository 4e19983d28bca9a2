//! Cross-entropy of given tokens, without a table of probabilities.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};

use super::math::{exp, max, sum};
use super::{Result, row, rows, slice};

/// -ln softmax(logits)\[target\] of every row, `[rows]`, nats. `logits` `[rows, vocab]`; a target past the vocabulary is an
/// error.
pub fn surprisal(logits: &Tensor, targets: &[u32]) -> crate::Result<Tensor> {
    Ok(logits.contiguous()?.apply_op1(Surprisal { targets: targets.into() })?)
}

struct Surprisal {
    targets: Arc<[u32]>,
}

impl Surprisal {
    fn target(&self, index: usize) -> usize {
        self.targets.get(index).map_or(0, |&target| target as usize)
    }
}

/// Largest logit, and the sum of the exponentials after it is taken off, less its own 1: beside that 1 small ones would be
/// rounded away, and with them what tells losses near 0 apart.
#[inline(always)]
fn normaliser(logits: &[f32]) -> (f32, f32) {
    let top = max(logits);
    let below = sum(logits, |x| if x < top { exp(x - top) } else { 0.0 });
    let tops = sum(logits, |x| if x == top { 1.0 } else { 0.0 });
    (top, below + (tops - 1.0))
}

impl CustomOp1 for Surprisal {
    fn name(&self) -> &'static str {
        "surprisal"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (logits, (count, vocab)) = (slice(storage, layout)?, layout.shape().dims2()?);
        if self.targets.len() != count || self.targets.iter().any(|&target| target as usize >= vocab) {
            let cause = format!("{} targets for {count} rows of {vocab}", self.targets.len());
            return Err(candle_core::Error::Msg(cause));
        }
        let mut out = vec![0f32; count];
        rows(&mut out, 1, |index, out| {
            let logits = row(logits, vocab, index);
            let (top, rest) = normaliser(logits);
            let target = logits.get(self.target(index)).copied().unwrap_or(f32::NAN);
            out.fill((top - target) + rest.ln_1p());
        });
        Ok((CpuStorage::F32(out), Shape::from(count)))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let op = SurprisalGrad(Self { targets: Arc::clone(&self.targets) });
        logits.apply_op2_no_bwd(&grad.contiguous()?, &op).map(Some)
    }
}

/// (softmax - one-hot) times the row's gradient.
struct SurprisalGrad(Surprisal);

impl CustomOp2 for SurprisalGrad {
    fn name(&self) -> &'static str {
        "surprisal-backward"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (logits, grad) = (slice(logits, layout)?, slice(grad, grad_layout)?);
        let (_, vocab) = layout.shape().dims2()?;
        let mut out = vec![0f32; logits.len()];
        rows(&mut out, vocab, |index, out| {
            let grad = grad.get(index).copied().unwrap_or(f32::NAN);
            if grad == 0.0 {
                return;
            }
            let logits = row(logits, vocab, index);
            let (top, rest) = normaliser(logits);
            let factor = grad / (1.0 + rest);
            out.iter_mut().zip(logits).for_each(|(out, x)| *out = exp(x - top) * factor);
            if let Some(out) = out.get_mut(self.0.target(index)) {
                *out -= grad;
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, flat, values};
    use super::*;
    use crate::metric;

    #[test]
    fn as_the_log_softmax() {
        let (logits, targets) = (values(&[7, 13], 1), [0, 12, 3, 3, 5, 8, 1]);
        let found = flat(&surprisal(&logits, &targets).unwrap());
        for ((row, target), found) in logits.to_vec2::<f32>().unwrap().iter().zip(targets).zip(found) {
            assert!((metric::log_softmax(row)[target as usize] + found).abs() < 1e-5);
        }
        assert!(surprisal(&logits, &[13; 7]).is_err());
        assert!(surprisal(&logits, &[1; 6]).is_err());
    }

    /// Against double precision; a plain sum in f32 has 0 for all of the first ones.
    #[test]
    fn losses_near_zero_keep_their_digits() {
        let vocab = 300;
        for gap in [16.0f32, 18.5, 24.0, 40.0, 80.0] {
            let row: Vec<f32> =
                (0..vocab).map(|i| if i == 7 { 3.0 } else { 3.0 - gap - 0.01 * i as f32 }).collect();
            let exact: f64 = row.iter().filter(|x| **x != 3.0).map(|x| (f64::from(*x) - 3.0).exp()).sum();
            let logits = Tensor::from_vec(row.clone(), (1, vocab), &candle_core::Device::Cpu).unwrap();
            let found = f64::from(flat(&surprisal(&logits, &[7]).unwrap())[0]);
            assert!((found / exact.ln_1p() - 1.0).abs() < 1e-5, "{gap}: {found} {exact}");
            assert!((f64::from(metric::surprisal(&row, 7)) / exact.ln_1p() - 1.0).abs() < 1e-6, "{gap}");
            assert!((f64::from(metric::log_softmax(&row)[7]) / -exact.ln_1p() - 1.0).abs() < 1e-6, "{gap}");
        }
    }

    #[test]
    fn ties_infinities_and_nan_stay_what_they_are() {
        let of = |row: &[f32], target| {
            let logits = Tensor::from_slice(row, (1, row.len()), &candle_core::Device::Cpu).unwrap();
            let found = flat(&surprisal(&logits, &[target]).unwrap())[0];
            let plain = metric::surprisal(row, target);
            assert!(
                (found - plain).abs() < 1e-6 || found == plain || found.is_nan() && plain.is_nan(),
                "{row:?}"
            );
            found
        };
        assert!((of(&[2.0; 5], 3) - 5f32.ln()).abs() < 1e-6);
        assert!((of(&[1.0, 1.0, f32::NEG_INFINITY], 0) - 2f32.ln()).abs() < 1e-6);
        assert_eq!(of(&[0.0, f32::NEG_INFINITY], 0), 0.0);
        assert_eq!(of(&[0.0, f32::NEG_INFINITY], 1), f32::INFINITY);
        for row in [[f32::NAN, 0.0], [0.0, f32::NAN], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
            assert!(of(&row, 0).is_nan(), "{row:?}");
        }
    }

    #[test]
    fn backward() {
        check_gradient(&values(&[4, 9], 2), |logits| surprisal(logits, &[0, 8, 4, 4]));
    }
}

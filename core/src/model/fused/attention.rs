//! Attention between q k^T and pattern v: scale, soft cap and mask, then softmax, in one pass over each row.
//!
//! [`pattern`] is [`softmax`] of [`scores`], bit for bit: both forms run the same code on the same numbers, so looking at
//! the scores changes nothing.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};

use super::math::{exp, max, sum, sum2};
use super::{Result, Visible, row, rows, slice};

/// What happens to raw scores `[heads, rows, keys]` before the softmax.
#[derive(Clone)]
pub struct Masked {
    /// Factor.
    pub scale: f32,
    /// scores = cap * tanh(scores / cap), before the mask.
    pub cap: Option<f32>,
    /// Keys that each query row sees; scores of others are -inf.
    pub visible: Visible,
    /// Per head: the score of a key that is not there.
    pub sinks: Sinks,
}

/// Per head, a score that takes part in the softmax and is then dropped; `None` = there is none.
pub type Sinks = Option<Arc<[f32]>>;

/// Scores after scale, cap and mask, `[heads, rows, keys]`.
pub fn scores(raw: &Tensor, masked: &Masked) -> crate::Result<Tensor> {
    Ok(raw.contiguous()?.apply_op1(Scores(masked.clone()))?)
}

/// Softmax over the last dimension of `[heads, rows, keys]`.
pub fn softmax(scores: &Tensor, sinks: &Sinks) -> crate::Result<Tensor> {
    Ok(scores.contiguous()?.apply_op1(Softmax(sinks.clone()))?)
}

/// [`softmax`] of [`scores`]: raw scores `[heads, rows, keys]` to the pattern of that shape.
pub fn pattern(raw: &Tensor, masked: &Masked) -> crate::Result<Tensor> {
    Ok(raw.contiguous()?.apply_op1(Pattern(masked.clone()))?)
}

impl Masked {
    /// The keys that row `index` of `[heads, rows, ...]` sees, of `keys`.
    #[inline(always)]
    fn keys(&self, index: usize, keys: usize) -> std::ops::Range<usize> {
        let count = self.visible.len().max(1);
        let range = self.visible.get(index % count).cloned().unwrap_or_default();
        range.start.min(keys)..range.end.min(keys)
    }

    #[inline(always)]
    fn score(&self, raw: f32) -> f32 {
        let scaled = raw * self.scale;
        match self.cap {
            Some(cap) => cap * (scaled / cap).tanh(),
            None => scaled,
        }
    }

    /// d score / d raw.
    #[inline(always)]
    fn slope(&self, raw: f32) -> f32 {
        match self.cap {
            Some(cap) => {
                let tanh = (raw * self.scale / cap).tanh();
                self.scale * (1.0 - tanh * tanh)
            }
            None => self.scale,
        }
    }

    /// Raw scores of row `index` of a head to its pattern, in place: scale, cap, mask and softmax.
    #[inline(always)]
    pub fn weigh(&self, head: usize, index: usize, row: &mut [f32]) {
        let seen = self.keys(index, row.len());
        // Past the last key a query sees every weight is 0, and 0 adds nothing to the sum.
        let (seen_or_before, after) = row.split_at_mut(seen.end);
        after.fill(0.0);
        for (key, x) in seen_or_before.iter_mut().enumerate() {
            *x = if key < seen.start { f32::NEG_INFINITY } else { self.score(*x) };
        }
        soften(seen_or_before, sink(&self.sinks, head));
    }

    /// Raw scores of row `index` to its scores: scale, cap and mask. What `raw` lacks at the end is hidden.
    #[inline(always)]
    pub fn fill(&self, index: usize, raw: &[f32], out: &mut [f32]) {
        let seen = self.keys(index, raw.len());
        out.fill(f32::NEG_INFINITY);
        for (out, raw) in out.iter_mut().zip(raw).take(seen.end).skip(seen.start) {
            *out = self.score(*raw);
        }
    }
}

/// The score that a head's missing key has.
#[inline(always)]
fn sink(sinks: &Sinks, head: usize) -> Option<f32> {
    sinks.as_ref().and_then(|sinks| sinks.get(head).copied())
}

/// Softmax in place, beside a score that is dropped afterwards.
#[inline(always)]
fn soften(row: &mut [f32], sink: Option<f32>) {
    let top = sink.map_or(max(row), |sink| max(row).max(sink));
    row.iter_mut().for_each(|x| *x = exp(*x - top));
    let total = sum(row, |x| x);
    let total = sink.map_or(total, |sink| total + exp(sink - top));
    row.iter_mut().for_each(|x| *x /= total);
}

struct Scores(Masked);

impl CustomOp1 for Scores {
    fn name(&self) -> &'static str {
        "attention-scores"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (raw, (_, _, keys)) = (slice(storage, layout)?, layout.shape().dims3()?);
        let mut out = vec![0f32; raw.len()];
        rows(&mut out, keys, |index, out| self.0.fill(index, row(raw, keys, index), out));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, raw: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        raw.apply_op2_no_bwd(&grad.contiguous()?, &ScoresGrad(self.0.clone())).map(Some)
    }
}

struct ScoresGrad(Masked);

impl CustomOp2 for ScoresGrad {
    fn name(&self) -> &'static str {
        "attention-scores-backward"
    }

    fn cpu_fwd(
        &self,
        raw: &CpuStorage,
        layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (raw, grad, (_, _, keys)) =
            (slice(raw, layout)?, slice(grad, grad_layout)?, layout.shape().dims3()?);
        let mut out = vec![0f32; raw.len()];
        rows(&mut out, keys, |index, out| {
            let seen = self.0.keys(index, keys);
            let (raw, grad) = (row(raw, keys, index), row(grad, keys, index));
            for ((out, raw), grad) in out.iter_mut().zip(raw).zip(grad).take(seen.end).skip(seen.start) {
                *out = grad * self.0.slope(*raw);
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

struct Softmax(Sinks);

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, (_, queries, keys)) = (slice(storage, layout)?, layout.shape().dims3()?);
        let mut out = x.to_vec();
        rows(&mut out, keys, |index, out| soften(out, sink(&self.0, index / queries.max(1))));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, pattern: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        pattern.apply_op2_no_bwd(&grad.contiguous()?, &SoftmaxGrad).map(Some)
    }
}

/// ds = p (g - sum(g p))
struct SoftmaxGrad;

impl CustomOp2 for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax-backward"
    }

    fn cpu_fwd(
        &self,
        pattern: &CpuStorage,
        layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (p, grad, (_, _, keys)) =
            (slice(pattern, layout)?, slice(grad, grad_layout)?, layout.shape().dims3()?);
        let mut out = vec![0f32; p.len()];
        rows(&mut out, keys, |index, out| {
            let (p, grad) = (row(p, keys, index), row(grad, keys, index));
            let along = sum2(p, grad, |p, g| p * g);
            out.iter_mut().zip(p).zip(grad).for_each(|((out, p), g)| *out = p * (g - along));
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

struct Pattern(Masked);

impl CustomOp1 for Pattern {
    fn name(&self) -> &'static str {
        "attention-pattern"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (raw, (_, queries, keys)) = (slice(storage, layout)?, layout.shape().dims3()?);
        let mut out = vec![0f32; raw.len()];
        rows(&mut out, keys, |index, out| {
            out.copy_from_slice(row(raw, keys, index));
            self.0.weigh(index / queries.max(1), index, out);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, raw: &Tensor, pattern: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let scores = pattern.apply_op2_no_bwd(&grad.contiguous()?, &SoftmaxGrad)?;
        raw.apply_op2_no_bwd(&scores, &ScoresGrad(self.0.clone())).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, flat, values, worst};
    use super::*;
    use crate::model::ops;

    fn masked(cap: Option<f32>, window: Option<usize>, queries: std::ops::Range<usize>) -> Masked {
        let seen = |query: usize| window.map_or(0, |window| (query + 1).saturating_sub(window))..query + 1;
        Masked { scale: 0.7, cap, visible: queries.map(seen).collect(), sinks: None }
    }

    #[test]
    fn as_the_plain_forms() {
        for (cap, window) in [(None, None), (Some(2.5), None), (None, Some(5)), (Some(2.5), Some(3))] {
            let raw = (values(&[3, 21, 40], 1) * 2.0).unwrap();
            let positions: Vec<usize> = (19..40).collect();
            let mask = ops::causal_mask(&positions, 40, window).unwrap();
            let capped = ops::soft_cap(&(&raw * 0.7).unwrap(), cap).unwrap();
            let plain = capped.broadcast_add(&mask).unwrap();
            let masked = masked(cap, window, 19..40);
            let ours = scores(&raw, &masked).unwrap();
            let same = |(a, b): (&f32, &f32)| a == b || (a - b).abs() < 1e-6;
            assert!(flat(&ours).iter().zip(&flat(&plain)).all(same));
            let expected = ops::softmax(&plain).unwrap();
            assert!(worst(&softmax(&ours, &None).unwrap(), &expected) < 1e-6);
        }
    }

    #[test]
    fn fused_is_the_two_steps_bit_for_bit() {
        for (window, sinks) in [(None, None), (Some(4), None), (Some(4), Some([0.3, 2.0].into()))] {
            let raw = values(&[2, 9, 70], 2);
            let masked = Masked { sinks, ..masked(None, window, 61..70) };
            let steps = softmax(&scores(&raw, &masked).unwrap(), &masked.sinks).unwrap();
            assert_eq!(flat(&steps), flat(&pattern(&raw, &masked).unwrap()));
        }
    }

    #[test]
    fn backward() {
        for cap in [None, Some(1.5)] {
            let masked = masked(cap, Some(4), 2..7);
            check_gradient(&values(&[2, 5, 7], 3), |x| pattern(x, &masked));
        }
        let sinks: Sinks = Some([0.5, -1.0].into());
        check_gradient(&values(&[2, 3, 7], 4), |x| softmax(x, &None));
        check_gradient(&values(&[2, 3, 7], 4), |x| softmax(x, &sinks));
    }

    /// The softmax of scores with the sink's beside them, without it.
    #[test]
    fn a_sink_is_a_column_that_is_dropped() {
        let x = values(&[2, 3, 7], 6);
        let sinks = Tensor::new(&[0.5f32, -1.0], x.device()).unwrap();
        let column = sinks.reshape((2, 1, 1)).unwrap().broadcast_as((2, 3, 1)).unwrap();
        let wide = Tensor::cat(&[&x, &column.contiguous().unwrap()], 2).unwrap();
        let expected = ops::softmax(&wide).unwrap().narrow(2, 0, 7).unwrap();
        assert!(worst(&softmax(&x, &Some([0.5, -1.0].into())).unwrap(), &expected) < 1e-6);
    }
}

//! Normalisation before weight and bias: the scale of each row, and the row divided by it.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Shape, Tensor};

use super::math::{sum, sum2};
use super::{Result, row, rows, slice};
use crate::spec::{NormKind, NormSpec};

/// `[.., 1]`: root of the mean square (RMS) or of the variance (layer norm), eps inside. `x` `[.., width]`.
pub fn scale(x: &Tensor, norm: &NormSpec) -> crate::Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Scale(Norm::new(norm)))?)
}

/// x / scale, centred first in a layer norm. `x` `[.., width]`.
pub fn normalized(x: &Tensor, norm: &NormSpec) -> crate::Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Normalized(Norm::new(norm)))?)
}

#[derive(Clone, Copy)]
struct Norm {
    centred: bool,
    eps: f32,
}

impl Norm {
    fn new(norm: &NormSpec) -> Self {
        Self { centred: norm.kind == NormKind::Layer, eps: norm.eps as f32 }
    }

    /// Mean to subtract, and scale to divide by.
    #[inline(always)]
    fn of(self, x: &[f32]) -> (f32, f32) {
        let width = x.len() as f32;
        let mean = if self.centred { sum(x, |x| x) / width } else { 0.0 };
        (mean, (sum(x, |x| (x - mean) * (x - mean)) / width + self.eps).sqrt())
    }
}

/// Length of a row: the last dimension.
fn width(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1).max(1)
}

struct Scale(Norm);

impl CustomOp1 for Scale {
    fn name(&self) -> &'static str {
        "norm-scale"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, width) = (slice(storage, layout)?, width(layout));
        let mut out = vec![0f32; x.len() / width];
        rows(&mut out, 1, |index, out| out.fill(self.0.of(row(x, width, index)).1));
        let mut dims = layout.dims().to_vec();
        dims.pop();
        dims.push(1);
        Ok((CpuStorage::F32(out), Shape::from(dims)))
    }

    fn bwd(&self, x: &Tensor, scale: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // d scale / d x = x / (width scale), of the centred x.
        let width = x.dim(D::Minus1)? as f64;
        let x = if self.0.centred { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x.clone() };
        x.broadcast_mul(&(grad / (scale * width)?)?).map(Some)
    }
}

struct Normalized(Norm);

impl CustomOp1 for Normalized {
    fn name(&self) -> &'static str {
        "normalized"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, width) = (slice(storage, layout)?, width(layout));
        let mut out = vec![0f32; x.len()];
        rows(&mut out, width, |index, out| {
            let x = row(x, width, index);
            let (mean, scale) = self.0.of(x);
            out.iter_mut().zip(x).for_each(|(out, x)| *out = (x - mean) / scale);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op2_no_bwd(&grad.contiguous()?, &NormalizedGrad(self.0)).map(Some)
    }
}

/// With n = normalized: dx = (g - mean(g) - n mean(g n)) / scale; RMS without the middle term.
struct NormalizedGrad(Norm);

impl CustomOp2 for NormalizedGrad {
    fn name(&self) -> &'static str {
        "normalized-backward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, grad, width) = (slice(x, layout)?, slice(grad, grad_layout)?, width(layout));
        let mut out = vec![0f32; x.len()];
        rows(&mut out, width, |index, out| {
            let (x, grad) = (row(x, width, index), row(grad, width, index));
            let (mean, scale) = self.0.of(x);
            let count = width as f32;
            let along = sum2(grad, x, |g, x| g * (x - mean)) / (scale * scale * count);
            let mean_grad = if self.0.centred { sum(grad, |g| g) / count } else { 0.0 };
            for ((out, x), g) in out.iter_mut().zip(x).zip(grad) {
                *out = (g - mean_grad - (x - mean) * along) / scale;
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, flat, values, worst};
    use super::*;
    use crate::model::ops;

    #[test]
    fn as_the_plain_forms() {
        for norm in [NormSpec::rms(1e-5), NormSpec::layer(1e-5)] {
            let x = values(&[19, 83], 1);
            let plain = ops::normalize(&x, &norm).unwrap();
            assert!(worst(&normalized(&x, &norm).unwrap(), &plain.normalized) < 2e-6);
            assert!(worst(&scale(&x, &norm).unwrap(), &plain.scale) < 2e-6);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let x = values(&[300, 96], 2);
        let norm = NormSpec::layer(1e-5);
        let whole = flat(&normalized(&x, &norm).unwrap());
        let part = flat(&normalized(&x.narrow(0, 211, 2).unwrap(), &norm).unwrap());
        assert_eq!(whole[211 * 96..213 * 96], part);
    }

    #[test]
    fn backward() {
        for norm in [NormSpec::rms(1e-5), NormSpec::layer(1e-5)] {
            check_gradient(&values(&[4, 11], 3), |x| normalized(x, &norm));
            check_gradient(&values(&[4, 11], 4), |x| scale(x, &norm));
        }
    }
}

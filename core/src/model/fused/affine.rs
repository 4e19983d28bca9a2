//! Sums and products of two tensors, and what a norm does after dividing. Candle's own forms wait for its other threads
//! in a loop, while those of this module's products want the same cores.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::{Result, map2, rows, slice};
use crate::model::ops;

/// a + b, both of one shape `[..]`.
pub fn add(a: &Tensor, b: &Tensor) -> crate::Result<Tensor> {
    Ok(a.contiguous()?.apply_op2(&b.contiguous()?, Add)?)
}

/// a * b, both of one shape `[..]`.
pub fn multiply(a: &Tensor, b: &Tensor) -> crate::Result<Tensor> {
    Ok(a.contiguous()?.apply_op2(&b.contiguous()?, Multiply)?)
}

/// normalized * weight + bias, row by row. `normalized` `[.., width]`. Weight and bias get no gradient.
pub fn affine(normalized: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> crate::Result<Tensor> {
    let Some(weight) = weight else { return ops::affine(normalized, None, bias) };
    let has_bias = bias.is_some();
    let bias = bias.unwrap_or(weight);
    Ok(normalized.contiguous()?.apply_op3(weight, bias, Affine { has_bias })?)
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        each(a, layout, b, b_layout, |a, b| a + b)
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}

struct Multiply;

impl CustomOp2 for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        each(a, layout, b, b_layout, |a, b| a * b)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some((grad * b)?), Some((grad * a)?)))
    }
}

/// `f` of every pair of values.
fn each(
    a: &CpuStorage,
    layout: &Layout,
    b: &CpuStorage,
    b_layout: &Layout,
    f: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<(CpuStorage, Shape)> {
    if layout.shape() != b_layout.shape() {
        candle_core::bail!("{:?} beside {:?}", layout.shape(), b_layout.shape());
    }
    Ok((CpuStorage::F32(map2(slice(a, layout)?, slice(b, b_layout)?, f)), layout.shape().clone()))
}

struct Affine {
    /// Else the third argument only fills its place.
    has_bias: bool,
}

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, bias) = (slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let width = weight.len();
        let x = slice(x, layout)?;
        if width == 0 || !x.len().is_multiple_of(width) || bias.len() != width {
            candle_core::bail!("{:?} times {width} weights", layout.shape());
        }
        let mut out = x.to_vec();
        rows(&mut out, width, |_, out| {
            if self.has_bias {
                for ((x, weight), bias) in out.iter_mut().zip(weight).zip(bias) {
                    *x = *x * weight + bias;
                }
            } else {
                out.iter_mut().zip(weight).for_each(|(x, weight)| *x *= weight);
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.broadcast_mul(weight)?), None, None))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, values, worst};
    use super::*;

    #[test]
    fn as_the_plain_forms_bit_for_bit() {
        let (x, y) = (values(&[3, 41, 70], 1), values(&[3, 41, 70], 2));
        assert_eq!(worst(&add(&x, &y).unwrap(), &(&x + &y).unwrap()), 0.0);
        assert_eq!(worst(&multiply(&x, &y).unwrap(), &(&x * &y).unwrap()), 0.0);
        let (weight, bias) = (values(&[70], 3), values(&[70], 4));
        for (weight, bias) in
            [(None, None), (Some(&weight), None), (None, Some(&bias)), (Some(&weight), Some(&bias))]
        {
            let plain = ops::affine(&x, weight, bias).unwrap();
            assert_eq!(worst(&affine(&x, weight, bias).unwrap(), &plain), 0.0);
        }
        assert!(add(&x, &weight).is_err());
        assert!(affine(&values(&[5, 3], 1), Some(&weight), None).is_err());
    }

    #[test]
    fn backward() {
        let (weight, bias) = (values(&[7], 3), values(&[7], 4));
        check_gradient(&values(&[4, 7], 1), |x| affine(x, Some(&weight), Some(&bias)));
        check_gradient(&values(&[4, 7], 1), |x| add(x, &values(&[4, 7], 2)));
        check_gradient(&values(&[4, 7], 1), |x| add(x, x));
        check_gradient(&values(&[4, 7], 1), |x| multiply(x, x));
    }
}

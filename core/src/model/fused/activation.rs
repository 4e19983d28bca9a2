//! Activations of the form x · sigmoid(g(x)): SiLU, the tanh form of GELU (0.5 (1 + tanh u) = sigmoid 2u), quick GELU.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};

use super::math::exp;
use super::{Result, map2, slice};
use crate::model::ops;
use crate::spec::Activation;

/// An activation, element by element, of `[..]`; fused where it has this form.
pub fn activate(x: &Tensor, act: Activation) -> crate::Result<Tensor> {
    match Gate::of(act) {
        Some(gate) => Ok(x.contiguous()?.apply_op1(gate)?),
        None => ops::activate(x, act),
    }
}

/// act(gate) · up, element by element, both `[rows, d_mlp]`; the same numbers as [`activate`] and a product.
pub fn gated(gate: &Tensor, up: &Tensor, act: Activation) -> crate::Result<Tensor> {
    match Gate::of(act) {
        Some(form) => Ok(gate.contiguous()?.apply_op2(&up.contiguous()?, Gated(form))?),
        None => Ok((ops::activate(gate, act)? * up)?),
    }
}

/// x · sigmoid(linear x + cubic x^3)
#[derive(Clone, Copy)]
struct Gate {
    linear: f32,
    cubic: f32,
}

impl Gate {
    fn of(act: Activation) -> Option<Self> {
        match act {
            Activation::Silu => Some(Self { linear: 1.0, cubic: 0.0 }),
            // 2 sqrt(2 / pi) (x + 0.044715 x^3)
            Activation::GeluTanh => Some(Self { linear: 1.595_769, cubic: 0.071_354_81 }),
            Activation::QuickGelu => Some(Self { linear: 1.702, cubic: 0.0 }),
            _ => None,
        }
    }

    #[inline(always)]
    fn sigmoid(self, x: f32) -> f32 {
        1.0 / (1.0 + exp(-x * (self.linear + self.cubic * x * x)))
    }
}

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gated-activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (gate, x) = (*self, slice(storage, layout)?);
        let out = map2(x, x, |x, _| x * gate.sigmoid(x));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op2_no_bwd(&grad.contiguous()?, &Slope(*self)).map(Some)
    }
}

/// Gradient of [`Gate`].
struct Slope(Gate);

impl CustomOp2 for Slope {
    fn name(&self) -> &'static str {
        "gated-activation-backward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gate = self.0;
        let out = map2(slice(x, layout)?, slice(grad, grad_layout)?, |x, grad| {
            let s = gate.sigmoid(x);
            grad * (s + x * s * (1.0 - s) * (gate.linear + 3.0 * gate.cubic * x * x))
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// The product of a gated FFN.
struct Gated(Gate);

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated-product"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let form = self.0;
        let out = map2(slice(gate, layout)?, slice(up, up_layout)?, |x, up| x * form.sigmoid(x) * up);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let to_gate = gate.apply_op2_no_bwd(&(&grad * up)?, &Slope(self.0))?;
        // What the up branch gets is the same product with the gradient in its place.
        Ok((Some(to_gate), Some(gate.apply_op2_no_bwd(&grad, self)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, values, worst};
    use super::*;

    const FUSED: [Activation; 3] = [Activation::Silu, Activation::GeluTanh, Activation::QuickGelu];

    #[test]
    fn as_the_plain_forms() {
        let x = (values(&[61, 37], 1) * 3.0).unwrap();
        for act in FUSED {
            let error = worst(&activate(&x, act).unwrap(), &ops::activate(&x, act).unwrap());
            assert!(error < 2e-6, "{act:?}: {error:e}");
        }
    }

    #[test]
    fn products() {
        let up = values(&[5, 13], 3);
        for act in FUSED {
            let x = values(&[5, 13], 2);
            let parts = (activate(&x, act).unwrap() * &up).unwrap();
            assert_eq!(worst(&gated(&x, &up, act).unwrap(), &parts), 0.0, "{act:?}");
            check_gradient(&x, |x| gated(x, &up, act));
            check_gradient(&up, |up| gated(&x, up, act));
        }
    }

    #[test]
    fn backward() {
        for act in FUSED {
            check_gradient(&values(&[5, 13], 2), |x| activate(x, act));
        }
    }
}

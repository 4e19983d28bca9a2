//! The sum of experts' outputs with gate weights.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::{Result, row, slice};

/// Which token and which expert each row of outputs belongs to, expert by expert from the first.
pub type Chosen = Arc<[(u32, u32)]>;

/// Each token's sum over its experts on top of what there is, one after the other in the order of the experts, so that a
/// sum may be broken off and taken up again. `sum` `[tokens, d]`, `outputs` `[chosen, d]`, `gates` `[tokens, experts]`;
/// returns `[tokens, d]`.
pub fn mixture(sum: &Tensor, outputs: &Tensor, gates: &Tensor, chosen: &Chosen) -> crate::Result<Tensor> {
    let op = Mixture(Arc::clone(chosen));
    Ok(sum.contiguous()?.apply_op3(&outputs.contiguous()?, &gates.contiguous()?, op)?)
}

/// The gate of one row of outputs.
fn gate(gates: &[f32], experts: usize, (token, expert): (u32, u32)) -> f32 {
    row(gates, experts, token as usize).get(expert as usize).copied().unwrap_or(0.0)
}

struct Mixture(Chosen);

impl CustomOp3 for Mixture {
    fn name(&self) -> &'static str {
        "mixture"
    }

    fn cpu_fwd(
        &self,
        sum: &CpuStorage,
        sum_layout: &Layout,
        outputs: &CpuStorage,
        layout: &Layout,
        gates: &CpuStorage,
        gates_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, (_, d)) = (slice(outputs, layout)?, layout.shape().dims2()?);
        let (gates, (tokens, experts)) = (slice(gates, gates_layout)?, gates_layout.shape().dims2()?);
        let mut out = slice(sum, sum_layout)?.to_vec();
        let arch = pulp::Arch::new();
        arch.dispatch(|| {
            for (index, &chosen) in self.0.iter().enumerate() {
                let gate = gate(gates, experts, chosen);
                let token = chosen.0 as usize;
                let sum = out.get_mut(token * d..(token + 1) * d).unwrap_or_default();
                sum.iter_mut().zip(row(y, d, index)).for_each(|(sum, y)| *sum += gate * y);
            }
        });
        Ok((CpuStorage::F32(out), (tokens, d).into()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        outputs: &Tensor,
        gates: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let shape = gates.dims2()?;
        let outputs_grad = grad.apply_op2_no_bwd(gates, &OutputsGrad(Arc::clone(&self.0)))?;
        let gates_grad = grad.apply_op2_no_bwd(outputs, &GatesGrad(Arc::clone(&self.0), shape))?;
        Ok((Some(grad), Some(outputs_grad), Some(gates_grad)))
    }
}

/// Each row's gate times its token's gradient.
struct OutputsGrad(Chosen);

impl CustomOp2 for OutputsGrad {
    fn name(&self) -> &'static str {
        "mixture-backward-outputs"
    }

    fn cpu_fwd(
        &self,
        grad: &CpuStorage,
        layout: &Layout,
        gates: &CpuStorage,
        gates_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (grad, (_, d)) = (slice(grad, layout)?, layout.shape().dims2()?);
        let (gates, (_, experts)) = (slice(gates, gates_layout)?, gates_layout.shape().dims2()?);
        let mut out = Vec::with_capacity(self.0.len() * d);
        for &chosen in self.0.iter() {
            let gate = gate(gates, experts, chosen);
            out.extend(row(grad, d, chosen.0 as usize).iter().map(|g| gate * g));
        }
        Ok((CpuStorage::F32(out), (self.0.len(), d).into()))
    }
}

/// Each row's output along its token's gradient.
struct GatesGrad(Chosen, (usize, usize));

impl CustomOp2 for GatesGrad {
    fn name(&self) -> &'static str {
        "mixture-backward-gates"
    }

    fn cpu_fwd(
        &self,
        grad: &CpuStorage,
        layout: &Layout,
        outputs: &CpuStorage,
        outputs_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (grad, (_, d)) = (slice(grad, layout)?, layout.shape().dims2()?);
        let outputs = slice(outputs, outputs_layout)?;
        let (tokens, experts) = self.1;
        let mut out = vec![0f32; tokens * experts];
        for (index, &(token, expert)) in self.0.iter().enumerate() {
            let along = row(grad, d, token as usize).iter().zip(row(outputs, d, index));
            if let Some(slot) = out.get_mut(token as usize * experts + expert as usize) {
                *slot = along.map(|(g, y)| g * y).sum();
            }
        }
        Ok((CpuStorage::F32(out), self.1.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, flat, values, worst};
    use super::*;

    fn chosen() -> Chosen {
        [(0, 0), (2, 0), (0, 1), (3, 2), (2, 3)].into()
    }

    #[test]
    fn as_plain_sums() {
        let (sum, outputs, gates) = (values(&[4, 7], 3), values(&[5, 7], 1), values(&[4, 4], 2));
        let one = |index: usize| outputs.get(index).unwrap();
        let gate = |token: usize, expert: usize| {
            f64::from(gates.get(token).unwrap().get(expert).unwrap().to_scalar::<f32>().unwrap())
        };
        let rows = [
            ((one(0) * gate(0, 0)).unwrap() + (one(2) * gate(0, 1)).unwrap()).unwrap(),
            one(0).zeros_like().unwrap(),
            ((one(1) * gate(2, 0)).unwrap() + (one(4) * gate(2, 3)).unwrap()).unwrap(),
            (one(3) * gate(3, 2)).unwrap(),
        ];
        let expected = (Tensor::stack(&rows, 0).unwrap() + &sum).unwrap();
        let whole = mixture(&sum, &outputs, &gates, &chosen()).unwrap();
        assert!(worst(&whole, &expected) < 1e-6);
        // In two parts: the same bits.
        let part = |from: usize, to: usize| -> (Tensor, Chosen) {
            (outputs.narrow(0, from, to - from).unwrap(), chosen()[from..to].into())
        };
        let ((first, of_first), (rest, of_rest)) = (part(0, 3), part(3, 5));
        let first = mixture(&sum, &first, &gates, &of_first).unwrap();
        assert_eq!(flat(&mixture(&first, &rest, &gates, &of_rest).unwrap()), flat(&whole));
    }

    #[test]
    fn backward() {
        let (sum, outputs, gates) = (values(&[4, 7], 3), values(&[5, 7], 1), values(&[4, 4], 2));
        check_gradient(&sum, |sum| mixture(sum, &outputs, &gates, &chosen()));
        check_gradient(&outputs, |outputs| mixture(&sum, outputs, &gates, &chosen()));
        check_gradient(&gates, |gates| mixture(&sum, &outputs, gates, &chosen()));
    }
}

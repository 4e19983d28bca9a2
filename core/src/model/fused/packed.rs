//! Matrices in the order that [`Product`] reads them.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Storage, Tensor};
use rayon::prelude::*;

use super::product::{PANEL, Product};
use super::{Result, slice};

/// Multiply-adds that are worth waking another core for.
const WORTH: usize = 1 << 18;

/// A matrix `[outputs, inputs]` in panels; the last one is filled up with zeros.
#[derive(Debug)]
pub struct Packed {
    panels: Vec<f32>,
    outputs: usize,
    inputs: usize,
}

impl Packed {
    /// `weight` `[outputs, inputs]`.
    pub fn new(weight: &Tensor) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let weight = weight.contiguous()?;
        let (storage, layout) = weight.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { candle_core::bail!("weights are packed on the CPU") };
        let weight = slice(storage, layout)?;
        let mut panels = vec![0.0; outputs.div_ceil(PANEL) * PANEL * inputs];
        let size = (PANEL * inputs).max(1);
        panels.par_chunks_mut(size).zip(weight.par_chunks(size)).for_each(|(panel, rows)| {
            for (lane, row) in rows.chunks_exact(inputs).enumerate() {
                for (slot, value) in panel.iter_mut().skip(lane).step_by(PANEL).zip(row) {
                    *slot = *value;
                }
            }
        });
        Ok(Self { panels, outputs, inputs })
    }

    /// From panels as [`Packed`] has them; the last one filled up with zeros.
    pub fn from_panels(panels: Vec<f32>, outputs: usize, inputs: usize) -> Result<Self> {
        if panels.len() != outputs.div_ceil(PANEL) * PANEL * inputs {
            candle_core::bail!("{} values in panels of {outputs} x {inputs}", panels.len());
        }
        Ok(Self { panels, outputs, inputs })
    }

    /// The panels, one behind the other.
    pub(super) fn panels(&self) -> &[f32] {
        &self.panels
    }

    /// Outputs: rows of the matrix.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Rows of the matrix, `[rows, inputs]`.
    pub fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        let mut out: Vec<f32> = Vec::with_capacity(rows.len() * self.inputs);
        for &row in rows {
            let (panel, lane) = (row as usize / PANEL, row as usize % PANEL);
            let size = PANEL * self.inputs;
            match self.panels.get(panel * size..(panel + 1) * size).filter(|_| (row as usize) < self.outputs)
            {
                Some(panel) => out.extend(panel.iter().skip(lane).step_by(PANEL)),
                None => candle_core::bail!("there is no row {row} of {}", self.outputs),
            }
        }
        Tensor::from_vec(out, (rows.len(), self.inputs), &Device::Cpu)
    }

    /// A column of the matrix, `[outputs]`.
    pub fn column(&self, column: usize) -> Result<Tensor> {
        if column >= self.inputs {
            candle_core::bail!("there is no column {column} of {}", self.inputs);
        }
        let panels = self.panels.chunks_exact(PANEL * self.inputs);
        let lanes = panels.flat_map(|panel| panel.iter().skip(column * PANEL).take(PANEL));
        let values: Vec<f32> = lanes.take(self.outputs).copied().collect();
        Tensor::from_vec(values, self.outputs, &Device::Cpu)
    }

    /// The plain matrix, `[outputs, inputs]`.
    pub fn unpacked(&self) -> Result<Tensor> {
        let rows: Vec<u32> = (0..self.outputs as u32).collect();
        self.rows(&rows)
    }

    /// x W^T + b. `x` `[rows, inputs]`, `bias` `[outputs]`; returns `[rows, outputs]`. Only `x` gets a gradient.
    pub fn times(self: &Arc<Self>, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let bias = bias.map(Tensor::to_vec1).transpose()?;
        x.contiguous()?.apply_op1(Times { matrix: Arc::clone(self), bias })
    }
}

struct Times {
    matrix: Arc<Packed>,
    bias: Option<Vec<f32>>,
}

impl CustomOp1 for Times {
    fn name(&self) -> &'static str {
        "packed-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = layout.shape().dims2()?;
        let Packed { panels, outputs, .. } = &*self.matrix;
        if inputs != self.matrix.inputs {
            candle_core::bail!("{inputs} inputs for a matrix of {}", self.matrix.inputs);
        }
        let mut y = match &self.bias {
            Some(bias) => bias.repeat(rows),
            None => vec![0.0; rows * outputs],
        };
        if inputs > 0 && *outputs > 0 {
            let x: Vec<&[f32]> = slice(storage, layout)?.chunks_exact(inputs).collect();
            let y = y.chunks_exact_mut(*outputs).collect();
            multiply(&x, panels, inputs, y);
        }
        Ok((CpuStorage::F32(y), (rows, *outputs).into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        grad.matmul(&self.matrix.unpacked()?).map(Some)
    }
}

/// y += x W^T on all cores: each has some panels, and so the same columns of every row.
fn multiply(x: &[&[f32]], panels: &[f32], span: usize, y: Vec<&mut [f32]>) {
    let arch = pulp::Arch::new();
    let count = panels.len() / (PANEL * span);
    let parts = if x.len() * panels.len() < WORTH { 1 } else { rayon::current_num_threads().min(count) };
    let share = count.div_ceil(parts.max(1));
    let mut columns: Vec<Vec<&mut [f32]>> = Vec::new();
    columns.resize_with(count.div_ceil(share.max(1)), || Vec::with_capacity(x.len()));
    for row in y {
        for (part, piece) in columns.iter_mut().zip(row.chunks_mut(share * PANEL)) {
            part.push(piece);
        }
    }
    let work = |(panels, mut y): (&[f32], Vec<&mut [f32]>)| {
        arch.dispatch(Product { x, panels, span, y: &mut y });
    };
    let jobs: Vec<_> = panels.chunks(share * PANEL * span).zip(columns).collect();
    each(jobs, x.len() * panels.len(), &work);
}

/// Jobs of `size` multiply-adds together, on all cores where that is worth it. One call behind a pointer, as in
/// `fused::pieces`.
pub fn each<T: Send>(jobs: Vec<T>, size: usize, work: &(dyn Fn(T) + Sync)) {
    if jobs.len() == 1 || size < WORTH {
        jobs.into_iter().for_each(work);
    } else {
        jobs.into_par_iter().for_each(work);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, flat, values, worst};
    use super::*;
    use crate::model::ops;

    #[test]
    fn as_the_plain_form() {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 7, 5), (13, 300, 48), (97, 40, 33), (200, 600, 17)] {
            let (x, weight, bias) =
                (values(&[rows, inputs], 1), values(&[outputs, inputs], 2), values(&[outputs], 3));
            let packed = Arc::new(Packed::new(&weight).unwrap());
            assert_eq!(flat(&packed.unpacked().unwrap()), flat(&weight));
            let column = weight.narrow(1, inputs / 2, 1).unwrap();
            assert_eq!(flat(&packed.column(inputs / 2).unwrap()), flat(&column));
            for bias in [None, Some(&bias)] {
                let expected = ops::linear(&x, &weight, bias).unwrap();
                let got = packed.times(&x, bias).unwrap();
                let scale = flat(&expected).iter().fold(1f32, |most, x| most.max(x.abs()));
                assert!(worst(&got, &expected) < 1e-5 * scale, "{rows} x {inputs} x {outputs}");
            }
        }
    }

    #[test]
    fn a_row_is_the_same_in_every_batch() {
        let (x, weight) = (values(&[211, 520], 1), values(&[70, 520], 2));
        let packed = Arc::new(Packed::new(&weight).unwrap());
        let whole = flat(&packed.times(&x, None).unwrap());
        for (start, len) in [(0, 1), (5, 2), (17, 3), (40, 5), (41, 6), (60, 7), (90, 12), (100, 111)] {
            let part = flat(&packed.times(&x.narrow(0, start, len).unwrap(), None).unwrap());
            assert_eq!(part, whole[start * 70..(start + len) * 70], "{len} rows from {start}");
        }
    }

    #[test]
    fn backward() {
        let (weight, bias) = (values(&[21, 6], 2), values(&[21], 3));
        let packed = Arc::new(Packed::new(&weight).unwrap());
        check_gradient(&values(&[5, 6], 1), |x| Ok(packed.times(x, Some(&bias))?));
    }

    #[test]
    fn rows_that_are_not_there_are_refused() {
        let packed = Arc::new(Packed::new(&values(&[5, 3], 1)).unwrap());
        assert!(packed.rows(&[5]).is_err() && packed.rows(&[16]).is_err());
        assert!(packed.column(3).is_err());
        assert!(packed.times(&values(&[2, 4], 1), None).is_err());
    }
}

//! Matrices in the order that [`Product`] reads them.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Storage, Tensor};
use rayon::prelude::*;

use super::product::{PANEL, Product, kernel};
use super::{Result, slice};
use crate::checkpoint::NumberFormat;

/// Multiply-adds that are worth waking another core for.
const WORTH: usize = 1 << 18;

/// A matrix `[outputs, inputs]` in panels of words; what the last ones have no numbers for is zero.
#[derive(Debug)]
pub struct Packed {
    words: Vec<u32>,
    format: NumberFormat,
    outputs: usize,
    inputs: usize,
}

impl Packed {
    /// `weight` `[outputs, inputs]`, held in the format that it has: f32, f16 or bf16. It may be a view, such as a transposed
    /// matrix.
    pub fn new(weight: &Tensor) -> Result<Self> {
        let (storage, layout) = weight.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { candle_core::bail!("weights are packed on the CPU") };
        let (format, words) = match storage {
            CpuStorage::F32(values) => (NumberFormat::F32, pack(values, layout, 1, f32::to_bits)?),
            CpuStorage::F16(values) => {
                (NumberFormat::F16, pack(values, layout, 2, |value| value.to_bits().into())?)
            }
            CpuStorage::BF16(values) => {
                (NumberFormat::Bf16, pack(values, layout, 2, |value| value.to_bits().into())?)
            }
            _ => candle_core::bail!("a matrix of {:?} is not packed", weight.dtype()),
        };
        let (outputs, inputs) = weight.dims2()?;
        Ok(Self { words, format, outputs, inputs })
    }

    /// From panels as [`Packed`] has them: word by word, [`PANEL`] outputs side by side.
    pub fn from_words(words: Vec<u32>, format: NumberFormat, outputs: usize, inputs: usize) -> Result<Self> {
        if words.len() != outputs.div_ceil(PANEL) * kernel(format).words(inputs) {
            candle_core::bail!("{} words in panels of {outputs} x {inputs}", words.len());
        }
        Ok(Self { words, format, outputs, inputs })
    }

    /// The panels, one behind the other.
    pub(super) fn words(&self) -> &[u32] {
        &self.words
    }

    /// What the numbers are held in.
    pub fn format(&self) -> NumberFormat {
        self.format
    }

    /// Outputs: rows of the matrix.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Rows of the matrix, f32, `[rows, inputs]`.
    pub fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        let kernel = kernel(self.format);
        let size = kernel.words(self.inputs);
        let mut out: Vec<f32> = Vec::with_capacity(rows.len() * self.inputs);
        let (mut values, mut unpacked) = (vec![0.0; PANEL * self.inputs], None);
        for &row in rows {
            let (panel, lane) = (row as usize / PANEL, row as usize % PANEL);
            let words = self.words.get(panel * size..(panel + 1) * size);
            let Some(words) = words.filter(|_| (row as usize) < self.outputs) else {
                candle_core::bail!("there is no row {row} of {}", self.outputs)
            };
            if unpacked != Some(panel) {
                kernel.unpack(words, 0..self.inputs, &mut values);
                unpacked = Some(panel);
            }
            out.extend(values.iter().skip(lane).step_by(PANEL));
        }
        Tensor::from_vec(out, (rows.len(), self.inputs), &Device::Cpu)
    }

    /// A column of the matrix, f32, `[outputs]`.
    pub fn column(&self, column: usize) -> Result<Tensor> {
        if column >= self.inputs {
            candle_core::bail!("there is no column {column} of {}", self.inputs);
        }
        let kernel = kernel(self.format);
        // From the first of those that stand together with it.
        let from = column - column % kernel.together();
        let mut values = vec![0.0; kernel.together() * PANEL];
        let mut out: Vec<f32> = Vec::with_capacity(self.outputs.next_multiple_of(PANEL));
        for panel in self.words.chunks_exact(kernel.words(self.inputs)) {
            kernel.unpack(panel, from..column + 1, &mut values);
            out.extend(values.iter().skip((column - from) * PANEL).take(PANEL));
        }
        out.truncate(self.outputs);
        Tensor::from_vec(out, self.outputs, &Device::Cpu)
    }

    /// The plain matrix, f32, `[outputs, inputs]`.
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
        let Packed { words, format, outputs, .. } = &*self.matrix;
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
            multiply(&x, (words, *format), inputs, y);
        }
        Ok((CpuStorage::F32(y), (rows, *outputs).into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        grad.matmul(&self.matrix.unpacked()?).map(Some)
    }
}

/// Words of a tensor `[outputs, inputs]`, in which `together` numbers of an output stand in one.
fn pack<T: Copy + Sync>(
    values: &[T],
    layout: &Layout,
    together: usize,
    bits: impl Fn(T) -> u32 + Sync,
) -> Result<Vec<u32>> {
    let ((outputs, inputs), &[down, along]) = (layout.shape().dims2()?, layout.stride()) else {
        candle_core::bail!("a matrix has two dimensions")
    };
    if (down == 0 && outputs > 1) || (along == 0 && inputs > 1) {
        candle_core::bail!("a matrix that repeats itself is not packed");
    }
    let values = values.get(layout.start_offset()..).unwrap_or_default();
    let blocks = inputs.div_ceil(together);
    let mut words = vec![0; outputs.div_ceil(PANEL) * PANEL * blocks];
    words.par_chunks_mut((PANEL * blocks).max(1)).enumerate().for_each(|(panel, words)| {
        let outputs = panel * PANEL..outputs.min((panel + 1) * PANEL);
        for (block, words) in words.chunks_exact_mut(PANEL).enumerate() {
            for (which, input) in (block * together..inputs.min((block + 1) * together)).enumerate() {
                let column = values.get(outputs.start * down + input * along..).unwrap_or_default();
                let column = column.iter().step_by(down.max(1)).take(outputs.len());
                for (word, &value) in words.iter_mut().zip(column) {
                    *word |= bits(value) << (which * 32 / together);
                }
            }
        }
    });
    Ok(words)
}

/// y += x W^T on all cores: each has some panels, and so the same columns of every row.
fn multiply(x: &[&[f32]], (words, format): (&[u32], NumberFormat), span: usize, y: Vec<&mut [f32]>) {
    let kernel = kernel(format);
    let size = kernel.words(span);
    let count = words.len() / size;
    let work = x.len() * count * PANEL * span;
    let parts = if work < WORTH { 1 } else { rayon::current_num_threads().min(count) };
    let share = count.div_ceil(parts.max(1));
    let mut columns: Vec<Vec<&mut [f32]>> = Vec::new();
    columns.resize_with(count.div_ceil(share.max(1)), || Vec::with_capacity(x.len()));
    for row in y {
        for (part, piece) in columns.iter_mut().zip(row.chunks_mut(share * PANEL)) {
            part.push(piece);
        }
    }
    let jobs: Vec<_> = words.chunks(share * size).zip(columns).collect();
    each(jobs, work, &|(panels, mut y): (&[u32], Vec<&mut [f32]>)| {
        kernel.multiply(Product { x, panels, span, y: &mut y });
    });
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
    use candle_core::DType;

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
    fn what_is_held_narrow_is_the_same_as_widened() {
        for dtype in [DType::BF16, DType::F16] {
            for (rows, inputs, outputs) in [(1, 1, 1), (3, 7, 5), (1, 301, 80), (13, 300, 48), (200, 600, 17)]
            {
                let weight = values(&[outputs, inputs], 2).to_dtype(dtype).unwrap();
                let wide = weight.to_dtype(DType::F32).unwrap();
                let (narrow, plain) = (Packed::new(&weight).unwrap(), Packed::new(&wide).unwrap());
                assert_eq!(flat(&narrow.unpacked().unwrap()), flat(&wide));
                for column in [0, inputs / 2, inputs - 1] {
                    let expected = flat(&wide.narrow(1, column, 1).unwrap());
                    assert_eq!(flat(&narrow.column(column).unwrap()), expected);
                }
                // A view is packed as what it shows.
                let turned = weight.t().unwrap().contiguous().unwrap();
                let turned = Packed::new(&turned.t().unwrap()).unwrap();
                assert!(turned.words == narrow.words && narrow.words.len() <= plain.words.len());
                let x = values(&[rows, inputs], 1);
                let [narrow, plain] = [narrow, plain].map(|packed| Arc::new(packed).times(&x, None).unwrap());
                assert_eq!(flat(&narrow), flat(&plain), "{dtype:?}, {rows} x {inputs} x {outputs}");
            }
        }
    }

    #[test]
    fn rows_that_are_not_there_are_refused() {
        let packed = Arc::new(Packed::new(&values(&[5, 3], 1)).unwrap());
        assert!(packed.rows(&[5]).is_err() && packed.rows(&[16]).is_err());
        assert!(packed.column(3).is_err());
        assert!(packed.times(&values(&[2, 4], 1), None).is_err());
    }
}

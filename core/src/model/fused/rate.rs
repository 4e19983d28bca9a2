//! What this machine's matrix products give, for whoever wants to say how near a pass comes to it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::Packed;
use super::product::{In, PANEL, Product};
use super::unpack::F32;
use crate::rng;

/// Rows, columns and depth of the product.
const SIDE: usize = 1024;
const REPEATS: usize = 8;

/// Floating-point operations per second of the better of candle's product and ours, f32, on squares of 1024.
pub fn peak() -> crate::Result<f64> {
    let square = |seed| {
        let values: Vec<f32> = (0..(SIDE * SIDE) as u64).map(|i| rng::normal(seed, 0, i)).collect();
        Tensor::from_vec(values, (SIDE, SIDE), &Device::Cpu)
    };
    let (a, b) = (square(1)?, square(2)?);
    let packed = Arc::new(Packed::new(&b)?);
    let mut least = f64::INFINITY;
    for _ in 0..REPEATS {
        let begin = Instant::now();
        a.matmul(&b)?;
        let between = Instant::now();
        packed.times(&a, None)?;
        least = least.min((between - begin).as_secs_f64()).min(between.elapsed().as_secs_f64());
    }
    Ok(2.0 * (SIDE * SIDE * SIDE) as f64 / least)
}

/// What a product of some rows takes, seconds, the least of some repeats in turn.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Ours on all cores, as passes use it.
    pub ours: f64,
    /// The same of a matrix that is held as bf16.
    pub half: f64,
    /// candle's, which is gemm's, on all cores.
    pub gemm: f64,
    /// A sum over the bytes of the matrix, on all cores.
    pub sweep: f64,
    /// Ours on one core, by vectors of 8 numbers; NaN where the machine has none.
    pub narrow: f64,
    /// The same of 16.
    pub wide: f64,
}

/// Measure `[rows, inputs]` times `[inputs, outputs]`, f32, for about `seconds`.
///
/// # Errors
/// Too little memory.
pub fn product(rows: usize, inputs: usize, outputs: usize, seconds: f64) -> crate::Result<Taken> {
    let values = |seed: u64, count: usize| -> Vec<f32> {
        (0..count as u64).map(|at| rng::normal(seed, 0, at)).collect()
    };
    let x = Tensor::from_vec(values(1, rows * inputs), (rows, inputs), &Device::Cpu)?;
    let weight = Tensor::from_vec(values(2, inputs * outputs), (outputs, inputs), &Device::Cpu)?;
    let (packed, turned) = (Arc::new(Packed::new(&weight)?), weight.t()?);
    let half = Arc::new(Packed::new(&weight.to_dtype(DType::BF16)?)?);
    let flat: Vec<f32> = x.flatten_all()?.to_vec1()?;
    let rows_of: Vec<&[f32]> = flat.chunks(inputs).collect();
    let mut y = vec![0f32; rows * outputs];
    let mut taken = [f64::INFINITY; 6];
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < seconds {
        for (which, least) in taken.iter_mut().enumerate() {
            let mut own: Vec<&mut [f32]> = y.chunks_mut(outputs).collect();
            let product = Product { x: &rows_of, panels: packed.words(), span: inputs, y: &mut own };
            let now = Instant::now();
            match which {
                0 => drop(packed.times(&x, None)?),
                1 => drop(half.times(&x, None)?),
                2 => drop(x.matmul(&turned)?),
                3 => {
                    let sums = packed.words().par_chunks(SWEEP).map(|part| {
                        part.as_chunks::<PANEL>().0.iter().fold([0f32; PANEL], |sums, panel| {
                            std::array::from_fn(|lane| sums[lane] + f32::from_bits(panel[lane]))
                        })
                    });
                    std::hint::black_box(sums.map(|sums| sums.iter().sum::<f32>()).sum::<f32>());
                }
                _ if one_core(product, if which == 4 { 8 } else { 16 }) => {}
                _ => continue,
            }
            *least = least.min(now.elapsed().as_secs_f64());
        }
    }
    let [ours, half, gemm, sweep, narrow, wide] =
        taken.map(|least| if least.is_finite() { least } else { f64::NAN });
    Ok(Taken { ours, half, gemm, sweep, narrow, wide })
}

/// Numbers that a core sums up at a time.
const SWEEP: usize = 1 << 16;

/// A product on vectors of so many numbers; nothing where the machine has none.
#[cfg(target_arch = "x86_64")]
fn one_core(product: Product, lanes: usize) -> bool {
    use pulp::Simd;
    use pulp::x86::{V3, V4};
    let product = In::<F32>(product, PhantomData);
    match lanes {
        8 => V3::try_new().map(|simd| Simd::vectorize(simd, product)).is_some(),
        _ => V4::try_new().map(|simd| Simd::vectorize(simd, product)).is_some(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn one_core(_: Product, _: usize) -> bool {
    false
}

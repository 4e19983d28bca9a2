//! Fused CPU forms of the primitives in [`super::ops`]: one pass over memory instead of one per arithmetic operation, on
//! all cores, each with a backward of its own. The plain forms stay beside them as the oracle of their tests.
//!
//! What a row becomes never depends on the rows beside it, nor on which sites are looked at.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, Layout};
use rayon::prelude::*;

mod activation;
mod affine;
mod attention;
mod divergence;
mod math;
mod mixture;
mod norm;
mod packed;
mod product;
mod rate;
mod rotary;
mod surprisal;
mod tile;
mod unpack;

pub use activation::{activate, gated};
pub use affine::{add, affine, multiply};
pub use attention::{Masked, Sinks, pattern, scores, softmax};
pub use divergence::{jsd, moved};
pub use mixture::{Chosen, mixture};
pub use norm::{normalized, scale};
pub use packed::{Packed, each};
pub use product::{PANEL, multiply_plain};
pub use rate::{Taken, peak, product};
pub use rotary::rotate;
pub use surprisal::surprisal;

type Result<T> = candle_core::Result<T>;

/// Elements per piece of work: large enough to hide the hand-over between cores, small enough for the cache.
const PIECE: usize = 1 << 14;

/// Keys that each query sees, by query row.
pub type Visible = Arc<[Range<usize>]>;

/// The values of a contiguous f32 tensor.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::Msg("a fused operation needs contiguous values".into()))?;
    storage
        .as_slice::<f32>()?
        .get(start..end)
        .ok_or_else(|| candle_core::Error::Msg("a storage too short".into()))
}

/// Run `f(row index, output row)` over rows of `width`, on all cores where there is enough to do.
fn rows(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if width == 0 {
        return;
    }
    let (arch, per_piece) = (pulp::Arch::new(), (PIECE / width).max(1));
    pieces(out, per_piece * width, &|index, piece| {
        arch.dispatch(|| {
            for (row, out) in piece.chunks_exact_mut(width).enumerate() {
                f(index * per_piece + row, out);
            }
        });
    });
}

/// `f` of every pair of values, on all cores where there is enough to do.
fn map2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let arch = pulp::Arch::new();
    let mut out = vec![0f32; a.len()];
    pieces(&mut out, PIECE, &|index, out| {
        let [a, b] = [a, b].map(|all| all.get(index * PIECE..).unwrap_or_default());
        arch.dispatch(|| out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b)));
    });
    out
}

/// `f(index, piece)` over pieces of `size`. One call behind a pointer: called in two places, what `f` does would not be
/// compiled into the vector code that calls it.
fn pieces(out: &mut [f32], size: usize, f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    if out.len() <= PIECE {
        out.chunks_mut(size).enumerate().for_each(|(index, piece)| f(index, piece));
    } else {
        out.par_chunks_mut(size).enumerate().for_each(|(index, piece)| f(index, piece));
    }
}

/// Row `index` of rows of `width`.
#[inline(always)]
fn row(values: &[f32], width: usize, index: usize) -> &[f32] {
    values.get(index * width..(index + 1) * width).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use crate::rng;

    /// Seeded values around 0.
    pub fn values(shape: &[usize], seed: u64) -> Tensor {
        let len: usize = shape.iter().product();
        let values: Vec<f32> = (0..len as u64).map(|i| rng::normal(seed, 0, i)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
    }

    pub fn flat(x: &Tensor) -> Vec<f32> {
        x.flatten_all().and_then(|x| x.to_vec1()).expect("values")
    }

    pub fn worst(a: &Tensor, b: &Tensor) -> f32 {
        let (a, b) = (flat(a), flat(b));
        assert_eq!(a.len(), b.len());
        a.iter().zip(&b).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()))
    }

    /// The backward of `f` at `x` against central differences of `sum(weights * f)`.
    pub fn check_gradient(x: &Tensor, f: impl Fn(&Tensor) -> crate::Result<Tensor>) {
        let var = Var::from_tensor(x).expect("a variable");
        let out = f(var.as_tensor()).expect("a value");
        let weights = values(out.dims(), 99);
        let loss = |x: &Tensor| -> f64 {
            let out = flat(&f(x).expect("a value"));
            out.iter().zip(flat(&weights)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
        };
        let grads =
            (out * &weights).and_then(|x| x.sum_all()).and_then(|x| x.backward()).expect("a backward");
        let grad = flat(grads.get(var.as_tensor()).expect("a gradient"));
        let base = flat(x);
        const STEP: f32 = 4e-3;
        for index in (0..base.len()).step_by((base.len() / 23).max(1)) {
            let shifted = |by: f32| {
                let mut values = base.clone();
                values[index] += by;
                loss(&Tensor::from_vec(values, x.shape(), &Device::Cpu).expect("a tensor"))
            };
            let difference = ((shifted(STEP) - shifted(-STEP)) / f64::from(2.0 * STEP)) as f32;
            let close = (grad[index] - difference).abs() <= 2e-3 * (1.0 + difference.abs());
            assert!(close, "at {index}: {} against {difference}", grad[index]);
        }
    }
}

//! What this machine's matrix products give, for whoever wants to say how near a pass comes to it.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::Packed;
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

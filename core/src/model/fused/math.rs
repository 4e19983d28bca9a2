//! Scalar functions and sums that the compiler turns into vector code.

/// Lanes of the sums: a value's lane is its index, so trailing zeros change nothing.
pub const LANES: usize = 16;

/// e^x to about 2 units in the last place (the polynomial of Cephes' `expf`); 0 under -87.3, capped at e^88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOW: f32 = -87.3;
    const HIGH: f32 = 88.0;
    // Adding it rounds to whole numbers, which then stand in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let inside = x.clamp(LOW, HIGH);
    let shifted = inside * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = inside - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3F80_0000));
    if x < LOW { 0.0 } else { y * power }
}

/// ln x for normal x > 0, to about 1e-7 of it or, next to 1, of x - 1 (the polynomial of Cephes' `logf`).
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // Split x = m 2^e with m in sqrt(1/2) .. sqrt(2).
    const ROOT: u32 = 0x3F35_04F3;
    let bits = x.to_bits().wrapping_sub(ROOT);
    let e = ((bits as i32) >> 23) as f32;
    let m = f32::from_bits((bits & 0x007F_FFFF).wrapping_add(ROOT)) - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2;
    p = p * m - 1.151_461e-1;
    p = p * m + 1.167_699_9e-1;
    p = p * m - 1.242_014_1e-1;
    p = p * m + 1.424_932_3e-1;
    p = p * m - 1.666_805_8e-1;
    p = p * m + 2.000_071_5e-1;
    p = p * m - 2.499_999_4e-1;
    p = p * m + 3.333_333e-1;
    let y = m * z * p - 2.121_944_4e-4 * e - 0.5 * z;
    m + y + 0.693_359_4 * e
}

/// Sum of `f(value)` over the values.
#[inline(always)]
pub fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += f(*x);
    }
    lanes.iter().sum()
}

/// Sum of `f(a, b)` over two rows of one length.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += f(*a, *b);
    }
    lanes.iter().sum()
}

/// Largest value; NaN where there is one.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let keep = |lane: &mut f32, x: f32| *lane = if x > *lane || x.is_nan() { x } else { *lane };
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| keep(lane, *x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| keep(lane, *x));
    lanes.iter().fold(f32::NEG_INFINITY, |best, &x| if x > best || x.is_nan() { x } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_over_its_range() {
        let mut worst = 0f64;
        for i in -873_000..880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.5e-7, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!((exp(f32::NEG_INFINITY), exp(-1000.0)), (0.0, 0.0));
        assert!(exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn ln_is_close_over_its_range() {
        for i in 1..2_000_000 {
            let x = i as f32 * 1e-6;
            let exact = f64::from(x).ln();
            assert!((f64::from(ln(x)) - exact).abs() < 2e-7 * exact.abs().max(1e-6), "{x}");
        }
        for power in -120..120 {
            let x = 2f32.powi(power) * 1.37;
            assert!((f64::from(ln(x)) / f64::from(x).ln() - 1.0).abs() < 2e-7, "{x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn trailing_zeros_do_not_change_a_sum() {
        let values: Vec<f32> = (0..77).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut longer = values.clone();
        longer.resize(130, 0.0);
        assert_eq!(sum(&values, |x| x).to_bits(), sum(&longer, |x| x).to_bits());
        assert_eq!(max(&values), values.iter().copied().fold(f32::MIN, f32::max));
        assert!(max(&[1.0, f32::NAN, 2.0]).is_nan());
    }
}

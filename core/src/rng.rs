//! Counter-based random numbers: a value depends on (seed, stream, counter) only, so that noise, initialisation and
//! sampling are the same however the work is cut up or resumed. candle's CPU generator cannot be seeded.

/// 64 random bits. Three rounds of the splitmix64 finaliser (Steele, Lea and Flood 2014) over the three inputs.
pub fn bits(seed: u64, stream: u64, counter: u64) -> u64 {
    mix(mix(mix(seed).wrapping_add(stream)).wrapping_add(counter))
}

/// Uniform in \[0, 1), 53 bits.
pub fn uniform(seed: u64, stream: u64, counter: u64) -> f64 {
    (bits(seed, stream, counter) >> 11) as f64 / (1u64 << 53) as f64
}

/// Standard normal (Box and Muller 1958).
pub fn normal(seed: u64, stream: u64, counter: u64) -> f32 {
    let (a, b) = (bits(seed, stream, counter), bits(!seed, stream, counter));
    // (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * (((a >> 11) + 1) as f64 / (1u64 << 53) as f64).ln()).sqrt();
    let angle = std::f64::consts::TAU * ((b >> 11) as f64 / (1u64 << 53) as f64);
    (radius * angle.cos()) as f32
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|i| f64::from(normal(7, 1, i))).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let var = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((var - 1.0).abs() < 0.02, "{var}");
        let mean = (0..n).map(|i| uniform(7, 2, i)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
    }

    #[test]
    fn streams_differ() {
        assert_ne!(bits(1, 0, 0), bits(0, 1, 0));
        assert_ne!(bits(1, 2, 3), bits(1, 3, 2));
    }
}

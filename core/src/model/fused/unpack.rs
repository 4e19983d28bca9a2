//! Formats of numbers that panels are held in, and how they become f32 in the registers.

use pulp::Simd;

/// A format: some inputs of an output stand together in words of 32 bits. What is made of them is exact.
pub trait Unpack: Sync + 'static {
    /// Inputs that stand together.
    const INPUTS: usize;
    /// Words that hold them.
    const WORDS: usize;

    /// `hear(which, values)` of every one of the inputs in turn, for a vector of outputs; `words(which)` holds them.
    fn unpack<S: Simd>(simd: S, words: impl Fn(usize) -> S::u32s, hear: impl FnMut(usize, S::f32s));
}

/// IEEE binary32.
pub struct F32;

impl Unpack for F32 {
    const INPUTS: usize = 1;
    const WORDS: usize = 1;

    #[inline(always)]
    fn unpack<S: Simd>(simd: S, words: impl Fn(usize) -> S::u32s, mut hear: impl FnMut(usize, S::f32s)) {
        hear(0, simd.transmute_f32s_u32s(words(0)));
    }
}

/// The upper half of binary32. The first of two inputs stands in a word's lower half.
pub struct Bf16;

impl Unpack for Bf16 {
    const INPUTS: usize = 2;
    const WORDS: usize = 1;

    #[inline(always)]
    fn unpack<S: Simd>(simd: S, words: impl Fn(usize) -> S::u32s, mut hear: impl FnMut(usize, S::f32s)) {
        let word = words(0);
        hear(0, simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(word, simd.splat_u32s(16))));
        hear(1, simd.transmute_f32s_u32s(simd.and_u32s(word, simd.splat_u32s(0xffff_0000))));
    }
}

/// IEEE binary16. The first of two inputs stands in a word's lower half.
pub struct F16;

impl Unpack for F16 {
    const INPUTS: usize = 2;
    const WORDS: usize = 1;

    #[inline(always)]
    fn unpack<S: Simd>(simd: S, words: impl Fn(usize) -> S::u32s, mut hear: impl FnMut(usize, S::f32s)) {
        let word = words(0);
        hear(0, widened(simd, simd.wrapping_dyn_shl_u32s(word, simd.splat_u32s(16))));
        hear(1, widened(simd, word));
    }
}

/// A binary16 in the upper half of a word as f32. The lower half is not looked at.
#[inline(always)]
fn widened<S: Simd>(simd: S, word: S::u32s) -> S::f32s {
    /// 2^112: so far apart lie the zeros of the exponents. The product is exact, of subnormal numbers too.
    const SHIFT: f32 = f32::from_bits((127 + 112) << 23);
    /// 2^16: what has come so far was infinite or no number.
    const PAST: u32 = (127 + 16) << 23;
    let with = |word, bits| simd.and_u32s(word, simd.splat_u32s(bits));
    let (sign, rest) = (with(word, 0x8000_0000), with(word, 0x7fff_0000));
    let rest = simd.transmute_f32s_u32s(simd.wrapping_dyn_shr_u32s(rest, simd.splat_u32s(3)));
    let rest = simd.transmute_u32s_f32s(simd.mul_f32s(rest, simd.splat_f32s(SHIFT)));
    let past = simd.greater_than_or_equal_u32s(rest, simd.splat_u32s(PAST));
    let ones = simd.select_u32s(past, simd.splat_u32s(0x7f80_0000), simd.splat_u32s(0));
    simd.transmute_f32s_u32s(simd.or_u32s(sign, simd.or_u32s(rest, ones)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both halves of a word.
    fn both<F: Unpack>(word: u32) -> [f32; 2] {
        let mut values = [0.0; 2];
        F::unpack(pulp::Scalar::new(), |_| word, |which, value| values[which] = value);
        values
    }

    #[test]
    fn every_number_of_two_bytes_is_what_it_is() {
        for bits in 0..=u16::MAX {
            let kinds: [fn(u32) -> [f32; 2]; 2] = [both::<Bf16>, both::<F16>];
            let theirs = [half::bf16::from_bits(bits).to_f32(), half::f16::from_bits(bits).to_f32()];
            for (got, expected) in kinds.into_iter().zip(theirs) {
                let [low, high] = [u32::from(bits), u32::from(bits) << 16].map(got);
                for value in [low[0], high[1]] {
                    let same = value.to_bits() == expected.to_bits();
                    assert!(same || (value.is_nan() && expected.is_nan()), "{bits:04x}: {value}");
                }
                assert_eq!((low[1], high[0]), (0.0, 0.0), "the other half is another number");
            }
        }
    }
}

//! Numbers of a file as they are held: in their order, or turned into panels.
//!
//! What is read of a file comes as a value and a mark, which is 0 where all numbers in it are finite: an exponent of ones
//! carries past its end. This way the loops have no branch and go many at a time.

use half::f16;

/// A number as f32.
pub(super) fn wide<const N: usize>(
    read: impl Fn([u8; N]) -> f32 + Copy,
) -> impl Fn([u8; N]) -> (f32, u32) + Copy {
    move |bytes| {
        let value = read(bytes);
        (value, ((value.to_bits() & 0x7fff_ffff) + 0x0080_0000) & 0x8000_0000)
    }
}

/// The same by its bits.
pub(super) fn wide_word<const N: usize>(
    read: impl Fn([u8; N]) -> f32 + Copy,
) -> impl Fn([u8; N]) -> (u32, u32) + Copy {
    let read = wide(read);
    move |bytes| {
        let (value, mark) = read(bytes);
        (value.to_bits(), mark)
    }
}

/// A bf16 as f32: its bits are the upper half.
pub(super) fn of_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// An f16 as f32.
pub(super) fn of_f16(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// What is added to two bytes without their sign, so that an exponent of ones carries into it.
#[derive(Clone, Copy)]
pub(super) struct Carry(u16);

impl Carry {
    pub(super) const BF16: Self = Self(1 << 7);
    pub(super) const F16: Self = Self(1 << 10);

    /// A number of two bytes by its bits.
    pub(super) fn half(self) -> impl Fn([u8; 2]) -> (u16, u32) + Copy {
        move |bytes| {
            let bits = u16::from_le_bytes(bytes);
            (bits, u32::from(((bits & 0x7fff) + self.0) & 0x8000))
        }
    }

    /// Two of them in a word.
    pub(super) fn word(self) -> impl Fn([u8; 4]) -> (u32, u32) + Copy {
        let both = u32::from(self.0) * 0x0001_0001;
        move |bytes| {
            let word = u32::from_le_bytes(bytes);
            (word, ((word & 0x7fff_7fff) + both) & 0x8000_8000)
        }
    }
}

/// What `read` makes of every `N` bytes; the last ones may be fewer, and go on with zeros. Whether all is finite.
pub(super) fn each<T, const N: usize>(
    bytes: &[u8],
    values: &mut [T],
    read: impl Fn([u8; N]) -> (T, u32),
) -> bool {
    let (whole, rest) = bytes.as_chunks::<N>();
    let mut marks = 0;
    for (value, bytes) in values.iter_mut().zip(whole) {
        let mark;
        (*value, mark) = read(*bytes);
        marks |= mark;
    }
    if let (false, Some(value)) = (rest.is_empty(), values.get_mut(whole.len())) {
        let mut last = [0; N];
        last.iter_mut().zip(rest).for_each(|(last, byte)| *last = *byte);
        let mark;
        (*value, mark) = read(last);
        marks |= mark;
    }
    marks == 0
}

/// The same of rows of so many bytes, `ROWS` of them side by side; rows that are missing are zeros.
pub(super) fn interleave<const N: usize, const ROWS: usize>(
    bytes: &[u8],
    row: usize,
    words: &mut [u32],
    read: impl Fn([u8; N]) -> (u32, u32),
) -> bool {
    /// Columns that are turned at a time: with 16 rows 8 KiB, which stay in the nearest cache beside what they become.
    const COLUMNS: usize = 128;
    let (row, group) = (row.max(1), (ROWS * row.div_ceil(N)).max(1));
    let mut finite = true;
    for (words, bytes) in words.chunks_mut(group).zip(bytes.chunks(ROWS * row)) {
        let mut tile = [[0; COLUMNS]; ROWS];
        for (block, words) in words.chunks_mut(ROWS * COLUMNS).enumerate() {
            for (tile, row) in tile.iter_mut().zip(bytes.chunks(row)) {
                finite &= each(row.get(block * COLUMNS * N..).unwrap_or_default(), tile, &read);
            }
            turn(&tile, words.as_chunks_mut().0);
        }
    }
    finite
}

/// Columns of some rows, as many as `columns` has room for. Four by four, which compilers make shuffles of.
fn turn<const ROWS: usize, const COLUMNS: usize>(tile: &[[u32; COLUMNS]; ROWS], columns: &mut [[u32; ROWS]]) {
    const { assert!(ROWS.is_multiple_of(4), "rows are turned four at a time") };
    let (fours, rest) = columns.as_chunks_mut::<4>();
    let turned = 4 * fours.len();
    for (place, [a, b, c, d]) in tile.as_chunks::<4>().0.iter().enumerate() {
        let [a, b, c, d] = [a, b, c, d].map(|row| row.as_chunks::<4>().0);
        let rows = a.iter().zip(b).zip(c.iter().zip(d));
        for (four, ((a, b), (c, d))) in fours.iter_mut().zip(rows) {
            let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (*a, *b);
            let ([c0, c1, c2, c3], [d0, d1, d2, d3]) = (*c, *d);
            let turned = [[a0, b0, c0, d0], [a1, b1, c1, d1], [a2, b2, c2, d2], [a3, b3, c3, d3]];
            for (column, turned) in four.iter_mut().zip(turned) {
                if let Some(part) = column.as_chunks_mut().0.get_mut(place) {
                    *part = turned;
                }
            }
        }
    }
    for (column, at) in rest.iter_mut().zip(turned..) {
        for (value, row) in column.iter_mut().zip(tile) {
            *value = row.get(at).copied().unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// As [`interleave`] has it, one word after the other.
    fn slow(words: &[u32], width: usize, groups: usize) -> Vec<u32> {
        let at = |place: usize| {
            let (group, place) = (place / (16 * width), place % (16 * width));
            let (column, row) = (place / 16, place % 16);
            words.get((16 * group + row) * width + column).copied().unwrap_or(0)
        };
        (0..16 * width * groups).map(at).collect()
    }

    #[test]
    fn panels_hold_every_number_once_whatever_the_width() {
        for (rows, width) in [(16_usize, 128_usize), (16, 1), (17, 3), (40, 130), (5, 257), (32, 4), (1, 129)]
        {
            let numbers: Vec<f32> = (1..=rows * width).map(|number| number as f32).collect();
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let groups = rows.div_ceil(16);
            let mut words = vec![0; 16 * width * groups];
            assert!(interleave::<4, 16>(&bytes, 4 * width, &mut words, wide_word(f32::from_le_bytes)));
            let bits: Vec<u32> = numbers.iter().map(|number| number.to_bits()).collect();
            assert_eq!(words, slow(&bits, width, groups), "{rows} x {width}");
            // Two of two bytes in a word, the last of an odd row alone.
            let halves: Vec<bf16> = numbers.iter().map(|&number| bf16::from_f32(number)).collect();
            let bytes: Vec<u8> = halves.iter().flat_map(|number| number.to_le_bytes()).collect();
            let pairs = |row: &[bf16]| -> Vec<u32> {
                let bits = |number: Option<&bf16>| number.map_or(0, |number| u32::from(number.to_bits()));
                row.chunks(2).map(|pair| bits(pair.first()) | (bits(pair.get(1)) << 16)).collect()
            };
            let pairs: Vec<u32> = halves.chunks(width).flat_map(pairs).collect();
            let width = width.div_ceil(2);
            let mut words = vec![0; 16 * width * groups];
            assert!(interleave::<4, 16>(&bytes, bytes.len() / rows, &mut words, Carry::BF16.word()));
            assert_eq!(words, slow(&pairs, width, groups), "{rows} x {width} pairs");
        }
    }

    #[test]
    fn what_is_not_finite_is_seen() {
        let finite = [0.0, -0.0, f32::MIN, f32::MAX, f32::MIN_POSITIVE, 1e-45, -1.5];
        let mut values = vec![0.0; 8];
        for (odd, all) in [
            (1.0, true),
            (f32::NAN, false),
            (f32::INFINITY, false),
            (f32::NEG_INFINITY, false),
            (-f32::NAN, false),
        ] {
            let numbers = [&finite[..], &[odd]].concat();
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            assert_eq!(each(&bytes, &mut values, wide(f32::from_le_bytes)), all, "{odd}");
        }
        let mut halves = [0; 3];
        let mut words = [0; 2];
        for bits in 0..=u16::MAX {
            let bytes = [[0x34, 0x12], bits.to_le_bytes(), [0x34, 0x12]].concat();
            for (carry, ours, theirs) in [
                (Carry::BF16, of_bf16(bits.to_le_bytes()), bf16::from_bits(bits).to_f32()),
                (Carry::F16, of_f16(bits.to_le_bytes()), f16::from_bits(bits).to_f32()),
            ] {
                assert!(ours == theirs || (ours.is_nan() && theirs.is_nan()), "{bits:04x}");
                assert_eq!(each(&bytes, &mut halves, carry.half()), ours.is_finite());
                assert_eq!(halves, [0x1234, bits, 0x1234]);
                for bytes in [&bytes[..], &bytes[2..]] {
                    assert_eq!(each(bytes, &mut words, carry.word()), ours.is_finite());
                    let [first, second] =
                        [&bytes[..2], &bytes[2..4]].map(|half| u32::from(half[0]) | u32::from(half[1]) << 8);
                    assert_eq!(words[0], first | (second << 16));
                }
            }
        }
    }
}

//! Numbers of a file as f32: in their order, or turned into panels.

/// A bf16 as f32: its bits are the upper half.
pub(super) fn bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// Numbers of `N` bytes each to f32. Whether all are finite.
pub(super) fn widen<const N: usize>(bytes: &[u8], values: &mut [f32], read: impl Fn([u8; N]) -> f32) -> bool {
    let mut over = 0;
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = read(*bytes);
        // An exponent of ones carries into the sign: this way the loop has no branch and goes many at a time.
        over |= (value.to_bits() & 0x7fff_ffff).wrapping_add(0x0080_0000);
    }
    over >> 31 == 0
}

/// The same of rows of `width` numbers, `ROWS` of them side by side; rows that are missing are zeros.
pub(super) fn interleave<const N: usize, const ROWS: usize>(
    bytes: &[u8],
    width: usize,
    values: &mut [f32],
    read: impl Fn([u8; N]) -> f32,
) -> bool {
    /// Columns that are turned at a time: with 16 rows 8 KiB, which stay in the nearest cache beside what they become.
    const COLUMNS: usize = 128;
    let group = (ROWS * width).max(1);
    let mut finite = true;
    for (values, bytes) in values.chunks_mut(group).zip(bytes.chunks(group * N)) {
        let mut tile = [[0f32; COLUMNS]; ROWS];
        for (block, values) in values.chunks_mut(ROWS * COLUMNS).enumerate() {
            for (tile, row) in tile.iter_mut().zip(bytes.chunks(width * N)) {
                finite &= widen(row.get(block * COLUMNS * N..).unwrap_or_default(), tile, &read);
            }
            turn(&tile, values.as_chunks_mut().0);
        }
    }
    finite
}

/// Columns of some rows, as many as `columns` has room for. Four by four, which compilers make shuffles of.
fn turn<const ROWS: usize, const COLUMNS: usize>(tile: &[[f32; COLUMNS]; ROWS], columns: &mut [[f32; ROWS]]) {
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
            *value = row.get(at).copied().unwrap_or(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As [`interleave`] has it, one number after the other.
    fn slow(numbers: &[f32], width: usize, groups: usize) -> Vec<f32> {
        let at = |place: usize| {
            let (group, place) = (place / (16 * width), place % (16 * width));
            let (column, row) = (place / 16, place % 16);
            numbers.get((16 * group + row) * width + column).copied().unwrap_or(0.0)
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
            let mut values = vec![0.0; 16 * width * groups];
            assert!(interleave::<4, 16>(&bytes, width, &mut values, f32::from_le_bytes));
            assert_eq!(values, slow(&numbers, width, groups), "{rows} x {width}");
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
            assert_eq!(widen(&bytes, &mut values, f32::from_le_bytes), all, "{odd}");
        }
        for bits in 0..=u16::MAX {
            let ours = bf16(bits.to_le_bytes());
            let theirs = half::bf16::from_bits(bits).to_f32();
            assert!(ours == theirs || (ours.is_nan() && theirs.is_nan()), "{bits:04x}");
            assert_eq!(widen(&bits.to_le_bytes(), &mut values, bf16), ours.is_finite());
        }
    }
}

//! Sums of products on panels: the one loop under every matrix product of inference.
//!
//! Each output is one chain of multiply-adds that runs over its inputs from the first to the last, whatever is computed
//! beside it. So a row comes out the same to the bit in every batch, and a sum may be broken off and taken up again.

use pulp::{Simd, WithSimd};

pub use super::tile::PANEL;
use super::tile::{Tile, beside, steps};

/// Inputs that a panel is read for at a time: this much of it stays in the nearest cache.
const DEPTH: usize = 256;
/// Rows that go through all panels together: their inputs stay in the second cache.
const ROWS: usize = 96;
/// Panels that one row goes through together.
const BESIDE: usize = 4;

/// y += x W^T, in one thread.
pub struct Product<'a, 'x, 'y> {
    /// Rows of inputs, of one length.
    pub x: &'a [&'x [f32]],
    /// W, panel after panel of [`PANEL`] outputs: input by input, the panel's outputs side by side.
    pub panels: &'a [f32],
    /// Inputs that a panel has room for, at least the length of a row.
    pub span: usize,
    /// As many rows of outputs. Panels, or parts of the last one, that lie past the end of a row are not computed.
    pub y: &'a mut [&'y mut [f32]],
}

impl WithSimd for Product<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Tiles of rows and two vectors: of two panels, or of one.
        match (S::F32_LANES, self.x.len()) {
            (16, 1) => self.one_by_one::<S, 1>(simd),
            (8, 1) => self.one_by_one::<S, 2>(simd),
            (4, 1) => self.one_by_one::<S, 4>(simd),
            (16, _) => self.across::<S, 8>(simd),
            (8, _) => self.within::<S, 6, 2>(simd),
            (4, _) => self.within::<S, 8, 4>(simd),
            _ => self.one_by_one::<S, PANEL>(simd),
        }
    }
}

impl Product<'_, '_, '_> {
    /// Two panels together, where a panel is as wide as a vector.
    #[inline(always)]
    fn across<S: Simd, const TALL: usize>(self, simd: S) {
        let size = PANEL * self.span;
        for (x, y) in self.x.chunks(ROWS).zip(self.y.chunks_mut(ROWS)) {
            let depth = x.first().map_or(0, |row| row.len());
            for (pair, column) in self.panels.chunks(2 * size).zip((0..).step_by(2 * PANEL)) {
                let (one, other) = pair.split_at(size);
                let columns = [column, column + PANEL];
                for from in (0..depth).step_by(DEPTH) {
                    let to = depth.min(from + DEPTH);
                    let (one, rows) = (steps::<S, 1>(one, from, to), (x, &mut *y));
                    if other.is_empty() {
                        let tile = Tile::<_, false, 1, 0, 0> { one, other: one, from, columns };
                        tile.down::<S, TALL>(simd, rows);
                    } else {
                        let other = steps::<S, 1>(other, from, to);
                        Tile::<_, true, 1, 0, 0> { one, other, from, columns }.down::<S, TALL>(simd, rows);
                    }
                }
            }
        }
    }

    /// Two of the two or four vectors of a panel together.
    #[inline(always)]
    fn within<S: Simd, const TALL: usize, const WIDE: usize>(self, simd: S) {
        for (x, y) in self.x.chunks(ROWS).zip(self.y.chunks_mut(ROWS)) {
            let depth = x.first().map_or(0, |row| row.len());
            for (panel, column) in self.panels.chunks_exact(PANEL * self.span).zip((0..).step_by(PANEL)) {
                let columns = |vector: usize| [0, 1].map(|next| column + (vector + next) * S::F32_LANES);
                for from in (0..depth).step_by(DEPTH) {
                    let one = steps::<S, WIDE>(panel, from, depth.min(from + DEPTH));
                    let tile = Tile::<_, true, WIDE, 0, 1> { one, other: one, from, columns: columns(0) };
                    tile.down::<S, TALL>(simd, (x, &mut *y));
                    if WIDE > 2 {
                        let tile = Tile::<_, true, WIDE, 2, 3> { one, other: one, from, columns: columns(2) };
                        tile.down::<S, TALL>(simd, (x, &mut *y));
                    }
                }
            }
        }
    }

    /// Row after row, each through some panels at a time.
    #[inline(always)]
    fn one_by_one<S: Simd, const WIDE: usize>(self, simd: S) {
        let size = PANEL * self.span;
        for (x, y) in self.x.iter().zip(self.y) {
            for (group, y) in self.panels.chunks(BESIDE * size).zip(y.chunks_mut(BESIDE * PANEL)) {
                if group.len() == BESIDE * size {
                    beside::<S, WIDE, BESIDE>(simd, x, group, size, y);
                } else {
                    for (panel, y) in group.chunks_exact(size).zip(y.chunks_mut(PANEL)) {
                        beside::<S, WIDE, 1>(simd, x, panel, size, y);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    /// What each width of vectors makes of a product.
    fn sums(x: &[&[f32]], panels: &[f32], span: usize, y: &[Vec<f32>]) -> Vec<(usize, Vec<Vec<f32>>)> {
        fn of<S: Simd>(simd: S, product: Product) -> usize {
            simd.vectorize(product);
            S::F32_LANES
        }
        let run = |of: &dyn Fn(Product) -> usize| {
            let mut y = y.to_vec();
            let mut rows: Vec<&mut [f32]> = y.iter_mut().map(Vec::as_mut_slice).collect();
            let lanes = of(Product { x, panels, span, y: &mut rows });
            (lanes, y)
        };
        let mut all = vec![
            run(&|product| of(pulp::Scalar, product)),
            run(&|product| of(pulp::Scalar128b, product)),
            run(&|product| of(pulp::Scalar256b, product)),
            run(&|product| of(pulp::Scalar512b, product)),
        ];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(|simd| run(&|product| of(simd, product))));
            all.extend(pulp::x86::V4::try_new().map(|simd| run(&|product| of(simd, product))));
        }
        all
    }

    #[test]
    fn every_width_of_vectors_makes_one_chain_of_each_output() {
        let value = |seed: u64, at: usize| rng::normal(seed, 0, at as u64);
        let mut widths = std::collections::BTreeSet::new();
        for (rows, inputs, span, outputs, panels) in [
            (1, 5, 5, 70, 5),
            (1, 300, 301, 64, 4),
            (2, 3, 3, 16, 1),
            (7, 40, 64, 33, 3),
            (13, 300, 300, 48, 3),
            (97, 17, 17, 50, 4),
            // Panels past the end of the rows.
            (9, 20, 20, 20, 4),
        ] {
            let flat: Vec<f32> = (0..panels * PANEL * span).map(|at| value(1, at)).collect();
            let inner: Vec<f32> = (0..rows * inputs).map(|at| value(2, at)).collect();
            let x: Vec<&[f32]> = inner.chunks(inputs).collect();
            let y: Vec<Vec<f32>> =
                (0..rows).map(|row| (0..outputs).map(|at| value(3, row * outputs + at)).collect()).collect();
            let chain = |row: usize, output: usize| {
                let weight = |k: usize| flat[(output / PANEL * span + k) * PANEL + output % PANEL];
                (0..inputs).fold(y[row][output], |sum, k| x[row][k].mul_add(weight(k), sum))
            };
            let expected: Vec<Vec<f32>> =
                (0..rows).map(|row| (0..outputs).map(|output| chain(row, output)).collect()).collect();
            for (lanes, got) in sums(&x, &flat, span, &y) {
                widths.insert(lanes);
                for (row, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let same = got.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{lanes} lanes, row {row} of {rows} x {inputs} x {outputs}");
                }
            }
        }
        assert!([1, 4, 8, 16].iter().all(|lanes| widths.contains(lanes)), "{widths:?}");
    }
}

//! Sums of products on panels: the one loop under every matrix product of inference.
//!
//! Each output is one chain of multiply-adds that runs over its inputs from the first to the last, whatever is computed
//! beside it and whatever format the panels are held in. So a row comes out the same to the bit in every batch, and a sum may
//! be broken off and taken up again.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd, bytemuck};

pub use super::tile::PANEL;
use super::tile::{Tile, beside, steps};
use super::unpack::{Bf16, F16, F32, Unpack};
use crate::checkpoint::NumberFormat;

/// Inputs that a panel is read for at a time: this much of it stays in the nearest cache.
const DEPTH: usize = 128;
/// Rows that go through all panels together: their inputs stay in the second cache.
const ROWS: usize = 96;
/// Panels that one row goes through together.
const BESIDE: usize = 4;

/// y += x W^T, in one thread.
pub struct Product<'a, 'x, 'y> {
    /// Rows of inputs, of one length.
    pub x: &'a [&'x [f32]],
    /// W, panel after panel of [`PANEL`] outputs: word by word of the format, the panel's outputs side by side.
    pub panels: &'a [u32],
    /// Inputs that a panel has room for, at least the length of a row.
    pub span: usize,
    /// As many rows of outputs. Panels, or parts of the last one, that lie past the end of a row are not computed.
    pub y: &'a mut [&'y mut [f32]],
}

/// What is done with panels of one format.
pub trait Kernel: Sync {
    /// Inputs that stand together.
    fn together(&self) -> usize;

    /// Words of a panel of so many inputs.
    fn words(&self, inputs: usize) -> usize;

    /// A product, on the widest vectors that the machine has.
    fn multiply(&self, product: Product);

    /// A panel as f32, input by input, its outputs side by side: `values` has room for `inputs`, from the first of those that
    /// stand together on.
    fn unpack(&self, panel: &[u32], inputs: Range<usize>, values: &mut [f32]);
}

/// The kernel of a format.
pub fn kernel(format: NumberFormat) -> &'static dyn Kernel {
    match format {
        NumberFormat::F32 => &Of(PhantomData::<F32>),
        NumberFormat::Bf16 => &Of(PhantomData::<Bf16>),
        NumberFormat::F16 => &Of(PhantomData::<F16>),
    }
}

/// y += x W^T in one thread: rows `x` of one length, panels of plain numbers that have room for `span` inputs, rows `y`.
pub fn multiply_plain(x: &[&[f32]], panels: &[f32], span: usize, y: &mut [&mut [f32]]) {
    kernel(NumberFormat::F32).multiply(Product { x, panels: bytemuck::cast_slice(panels), span, y });
}

struct Of<F>(PhantomData<F>);

impl<F: Unpack> Kernel for Of<F> {
    fn together(&self) -> usize {
        F::INPUTS
    }

    fn words(&self, inputs: usize) -> usize {
        words::<F>(inputs)
    }

    fn multiply(&self, product: Product) {
        pulp::Arch::new().dispatch(In::<F>(product, PhantomData));
    }

    fn unpack(&self, panel: &[u32], inputs: Range<usize>, values: &mut [f32]) {
        pulp::Arch::new().dispatch(Unpacking::<F> { panel, inputs, values, format: PhantomData });
    }
}

fn words<F: Unpack>(inputs: usize) -> usize {
    inputs.div_ceil(F::INPUTS) * F::WORDS * PANEL
}

/// Inputs of a panel, unpacked.
struct Unpacking<'a, F> {
    panel: &'a [u32],
    inputs: Range<usize>,
    values: &'a mut [f32],
    format: PhantomData<F>,
}

impl<F: Unpack> WithSimd for Unpacking<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { panel, inputs: Range { start, end }, values, .. } = self;
        let size = F::WORDS * PANEL;
        let blocks = start / F::INPUTS..end.div_ceil(F::INPUTS);
        let words = panel.get(blocks.start * size..blocks.end * size).unwrap_or_default();
        let wide = PANEL / S::F32_LANES;
        for (words, values) in words.chunks_exact(size).zip(values.chunks_mut(F::INPUTS * PANEL)) {
            let (words, _) = S::as_simd_u32s(words);
            let (values, _) = S::as_mut_simd_f32s(values);
            for vector in 0..wide {
                F::unpack(
                    simd,
                    |which| words[which * wide + vector],
                    |which, value| {
                        if let Some(slot) = values.get_mut(which * wide + vector) {
                            *slot = value;
                        }
                    },
                );
            }
        }
    }
}

/// A product of panels in one format.
pub struct In<'a, 'x, 'y, F>(pub Product<'a, 'x, 'y>, pub PhantomData<F>);

impl<F: Unpack> WithSimd for In<'_, '_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const { assert!(DEPTH.is_multiple_of(F::INPUTS), "a part of a panel begins with what stands together") };
        // Tiles of rows and two vectors: of two panels, or of one.
        match (S::F32_LANES, self.0.x.len()) {
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

/// What a part of a panel is unpacked into, where it is not held as f32.
type Room = [f32; DEPTH * PANEL];

/// A part of a panel as f32.
#[inline(always)]
fn part<'a, S: Simd, F: Unpack>(
    simd: S,
    panel: &'a [u32],
    inputs: Range<usize>,
    room: &'a mut Room,
) -> &'a [f32] {
    if F::INPUTS == 1 {
        let held = panel.get(inputs.start * PANEL..inputs.end * PANEL).unwrap_or_default();
        return bytemuck::cast_slice(held);
    }
    let values = &mut room[..inputs.len() * PANEL];
    Unpacking::<F> { panel, inputs, values: &mut *values, format: PhantomData }.with_simd(simd);
    values
}

impl<F: Unpack> In<'_, '_, '_, F> {
    /// Two panels together, where a panel is as wide as a vector.
    #[inline(always)]
    fn across<S: Simd, const TALL: usize>(self, simd: S) {
        let Product { x, panels, span, y } = self.0;
        let size = words::<F>(span);
        let mut rooms = [[0.0; DEPTH * PANEL]; 2];
        let [first, second] = &mut rooms;
        for (x, y) in x.chunks(ROWS).zip(y.chunks_mut(ROWS)) {
            let depth = x.first().map_or(0, |row| row.len());
            for (pair, column) in panels.chunks(2 * size).zip((0..).step_by(2 * PANEL)) {
                let (one, other) = pair.split_at(size);
                let columns = [column, column + PANEL];
                for from in (0..depth).step_by(DEPTH) {
                    let inputs = from..depth.min(from + DEPTH);
                    let (one, rows) =
                        (steps::<S, 1>(part::<S, F>(simd, one, inputs.clone(), first)), (x, &mut *y));
                    if other.is_empty() {
                        let tile = Tile::<_, false, 1, 0, 0> { one, other: one, from, columns };
                        tile.down::<S, TALL>(simd, rows);
                    } else {
                        let other = steps::<S, 1>(part::<S, F>(simd, other, inputs, second));
                        Tile::<_, true, 1, 0, 0> { one, other, from, columns }.down::<S, TALL>(simd, rows);
                    }
                }
            }
        }
    }

    /// Two of the two or four vectors of a panel together.
    #[inline(always)]
    fn within<S: Simd, const TALL: usize, const WIDE: usize>(self, simd: S) {
        let Product { x, panels, span, y } = self.0;
        let mut room = [0.0; DEPTH * PANEL];
        for (x, y) in x.chunks(ROWS).zip(y.chunks_mut(ROWS)) {
            let depth = x.first().map_or(0, |row| row.len());
            for (panel, column) in panels.chunks_exact(words::<F>(span)).zip((0..).step_by(PANEL)) {
                let columns = |vector: usize| [0, 1].map(|next| column + (vector + next) * S::F32_LANES);
                for from in (0..depth).step_by(DEPTH) {
                    let inputs = from..depth.min(from + DEPTH);
                    let one = steps::<S, WIDE>(part::<S, F>(simd, panel, inputs, &mut room));
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
        let Product { x, panels, span, y } = self.0;
        let size = words::<F>(span);
        for (x, y) in x.iter().zip(y) {
            for (group, y) in panels.chunks(BESIDE * size).zip(y.chunks_mut(BESIDE * PANEL)) {
                if group.len() == BESIDE * size {
                    beside::<S, F, WIDE, BESIDE>(simd, x, group, size, y);
                } else {
                    for (panel, y) in group.chunks_exact(size).zip(y.chunks_mut(PANEL)) {
                        beside::<S, F, WIDE, 1>(simd, x, panel, size, y);
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
    fn sums<F: Unpack>(
        x: &[&[f32]],
        panels: &[u32],
        span: usize,
        y: &[Vec<f32>],
    ) -> Vec<(usize, Vec<Vec<f32>>)> {
        fn of<S: Simd, F: Unpack>(simd: S, product: Product) -> usize {
            simd.vectorize(In::<F>(product, PhantomData));
            S::F32_LANES
        }
        let run = |of: &dyn Fn(Product) -> usize| {
            let mut y = y.to_vec();
            let mut rows: Vec<&mut [f32]> = y.iter_mut().map(Vec::as_mut_slice).collect();
            let lanes = of(Product { x, panels, span, y: &mut rows });
            (lanes, y)
        };
        let mut all = vec![
            run(&|product| of::<_, F>(pulp::Scalar, product)),
            run(&|product| of::<_, F>(pulp::Scalar128b, product)),
            run(&|product| of::<_, F>(pulp::Scalar256b, product)),
            run(&|product| of::<_, F>(pulp::Scalar512b, product)),
        ];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(|simd| run(&|product| of::<_, F>(simd, product))));
            all.extend(pulp::x86::V4::try_new().map(|simd| run(&|product| of::<_, F>(simd, product))));
        }
        all
    }

    /// Every format and width makes one chain of each output, over the numbers as the panels hold them.
    fn one_chain_of_each_output<F: Unpack>(format: NumberFormat) -> std::collections::BTreeSet<usize> {
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
            let size = words::<F>(span);
            let flat: Vec<u32> = match format {
                NumberFormat::F32 => (0..panels * size).map(|at| value(1, at).to_bits()).collect(),
                // Any bits but those of infinities and NaN.
                _ => (0..panels * size).map(|at| rng::bits(1, 0, at as u64) as u32 & 0xbbff_bbff).collect(),
            };
            let mut plain = vec![0.0; panels * span * PANEL];
            for (panel, values) in flat.chunks_exact(size).zip(plain.chunks_exact_mut(span * PANEL)) {
                kernel(format).unpack(panel, 0..span, values);
            }
            let inner: Vec<f32> = (0..rows * inputs).map(|at| value(2, at)).collect();
            let x: Vec<&[f32]> = inner.chunks(inputs).collect();
            let y: Vec<Vec<f32>> =
                (0..rows).map(|row| (0..outputs).map(|at| value(3, row * outputs + at)).collect()).collect();
            let chain = |row: usize, output: usize| {
                let weight = |k: usize| plain[(output / PANEL * span + k) * PANEL + output % PANEL];
                (0..inputs).fold(y[row][output], |sum, k| x[row][k].mul_add(weight(k), sum))
            };
            let expected: Vec<Vec<f32>> =
                (0..rows).map(|row| (0..outputs).map(|output| chain(row, output)).collect()).collect();
            for (lanes, got) in sums::<F>(&x, &flat, span, &y) {
                widths.insert(lanes);
                for (row, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let same = got.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{format:?}, {lanes} lanes, row {row} of {rows} x {inputs} x {outputs}");
                }
            }
        }
        widths
    }

    #[test]
    fn every_width_of_vectors_makes_one_chain_of_each_output() {
        for widths in [
            one_chain_of_each_output::<F32>(NumberFormat::F32),
            one_chain_of_each_output::<Bf16>(NumberFormat::Bf16),
            one_chain_of_each_output::<F16>(NumberFormat::F16),
        ] {
            assert!([1, 4, 8, 16].iter().all(|lanes| widths.contains(lanes)), "{widths:?}");
        }
    }
}

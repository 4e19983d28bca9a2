//! Sums of products on panels: the one loop under every matrix product of inference.
//!
//! Each output is one chain of multiply-adds that runs over its inputs from the first to the last, whatever is computed
//! beside it. So a row comes out the same to the bit in every batch, and a sum may be broken off and taken up again.

use pulp::{Simd, WithSimd};

/// Outputs that stand side by side in a panel.
pub const PANEL: usize = 16;
/// Inputs that a panel is read for at a time: this much of it stays in the nearest cache.
const DEPTH: usize = 256;
/// Rows that go through all panels together: their inputs stay in the second cache.
const ROWS: usize = 96;

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
        // Tiles of rows and vectors whose sums, and one pointer a row, stay in the registers.
        match S::F32_LANES {
            16 => self.tiles::<S, 8, 1>(simd),
            8 => self.tiles::<S, 6, 2>(simd),
            4 => self.tiles::<S, 4, 4>(simd),
            _ => self.tiles::<S, 1, PANEL>(simd),
        }
    }
}

impl Product<'_, '_, '_> {
    #[inline(always)]
    fn tiles<S: Simd, const TALL: usize, const WIDE: usize>(self, simd: S) {
        for (x, y) in self.x.chunks(ROWS).zip(self.y.chunks_mut(ROWS)) {
            let depth = x.first().map_or(0, |row| row.len());
            for (panel, column) in self.panels.chunks_exact(PANEL * self.span).zip((0..).step_by(PANEL)) {
                for from in (0..depth).step_by(DEPTH) {
                    let to = depth.min(from + DEPTH);
                    let Some(part) = panel.get(from * PANEL..to * PANEL) else { return };
                    let tile = Tile { panel: S::as_simd_f32s(part).0, from, column };
                    let mut rest = (x, &mut *y);
                    rest = tile.down::<S, TALL, WIDE>(simd, rest);
                    if TALL > 4 {
                        rest = tile.down::<S, 4, WIDE>(simd, rest);
                    }
                    if TALL > 2 {
                        rest = tile.down::<S, 2, WIDE>(simd, rest);
                    }
                    tile.down::<S, 1, WIDE>(simd, rest);
                }
            }
        }
    }
}

/// Inputs of a panel from `from` on.
struct Tile<'a, V> {
    panel: &'a [V],
    from: usize,
    /// First output of the panel.
    column: usize,
}

/// Rows of inputs and of outputs.
type Rows<'a, 'x, 'y> = (&'a [&'x [f32]], &'a mut [&'y mut [f32]]);

impl<V: Copy> Tile<'_, V> {
    /// As many times `TALL` rows as there are; returns the rest.
    #[inline(always)]
    fn down<'a, 'x, 'y, S: Simd<f32s = V>, const TALL: usize, const WIDE: usize>(
        &self,
        simd: S,
        (mut x, mut y): Rows<'a, 'x, 'y>,
    ) -> Rows<'a, 'x, 'y> {
        while x.len() >= TALL && y.len() >= TALL {
            let ((x_now, x_later), (y_now, y_later)) = (x.split_at(TALL), y.split_at_mut(TALL));
            self.rows::<S, TALL, WIDE>(simd, x_now, y_now);
            (x, y) = (x_later, y_later);
        }
        (x, y)
    }

    #[inline(always)]
    fn rows<S: Simd<f32s = V>, const TALL: usize, const WIDE: usize>(
        &self,
        simd: S,
        x: &[&[f32]],
        y: &mut [&mut [f32]],
    ) {
        let mut sums = [[simd.splat_f32s(0.0); WIDE]; TALL];
        for (sums, y) in sums.iter_mut().zip(y.iter()) {
            *sums = load::<S, WIDE>(y.get(self.column..).unwrap_or_default());
        }
        let panel = self.panel.as_chunks::<WIDE>().0;
        // Cut to the panel's length, which they have: the loop then checks no bound against memory.
        let x: [&[f32]; TALL] = std::array::from_fn(|row| &x[row][self.from..][..panel.len()]);
        for (k, values) in panel.iter().enumerate() {
            for row in 0..TALL {
                let x = simd.splat_f32s(x[row][k]);
                for (sum, value) in sums[row].iter_mut().zip(values) {
                    *sum = simd.mul_add_f32s(x, *value, *sum);
                }
            }
        }
        for (sums, y) in sums.iter().zip(y) {
            store::<S, WIDE>(sums, y.get_mut(self.column..).unwrap_or_default());
        }
    }
}

#[inline(always)]
fn load<S: Simd, const WIDE: usize>(y: &[f32]) -> [S::f32s; WIDE] {
    let mut lanes = [0.0; PANEL];
    let whole = y.first_chunk::<PANEL>().unwrap_or_else(|| {
        lanes.iter_mut().zip(y).for_each(|(lane, y)| *lane = *y);
        &lanes
    });
    let (whole, _) = S::as_simd_f32s(whole);
    std::array::from_fn(|vector| whole[vector])
}

#[inline(always)]
fn store<S: Simd, const WIDE: usize>(sums: &[S::f32s; WIDE], y: &mut [f32]) {
    if let Some(whole) = y.first_chunk_mut::<PANEL>() {
        S::as_mut_simd_f32s(whole).0.copy_from_slice(sums);
    } else {
        let mut lanes = [0.0; PANEL];
        S::as_mut_simd_f32s(&mut lanes).0.copy_from_slice(sums);
        y.iter_mut().zip(lanes).for_each(|(y, lane)| *y = lane);
    }
}

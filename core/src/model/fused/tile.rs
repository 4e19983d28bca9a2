//! Sums that stay in the registers while panels stream past: some rows of inputs times two vectors of outputs, and one row times
//! a few panels.

use pulp::Simd;

use super::unpack::Unpack;

/// Outputs that stand side by side in a panel.
pub const PANEL: usize = 16;

/// Inputs of a panel, `WIDE` vectors each.
#[inline(always)]
pub fn steps<S: Simd, const WIDE: usize>(part: &[f32]) -> &[[S::f32s; WIDE]] {
    S::as_simd_f32s(part).0.as_chunks().0
}

/// Two vectors of outputs: number A of each step of `one`, and number B of `other`, which is not read without `PAIR`.
pub struct Tile<'a, V, const PAIR: bool, const WIDE: usize, const A: usize, const B: usize> {
    /// Inputs of a panel.
    pub one: &'a [[V; WIDE]],
    /// As many of a panel, or of the same.
    pub other: &'a [[V; WIDE]],
    /// First input.
    pub from: usize,
    /// First output of either.
    pub columns: [usize; 2],
}

/// Rows of inputs and of outputs.
type Rows<'a, 'x, 'y> = (&'a [&'x [f32]], &'a mut [&'y mut [f32]]);

impl<V: Copy, const PAIR: bool, const WIDE: usize, const A: usize, const B: usize>
    Tile<'_, V, PAIR, WIDE, A, B>
{
    /// All rows, `TALL` at a time, then fewer.
    #[inline(always)]
    pub fn down<S: Simd<f32s = V>, const TALL: usize>(&self, simd: S, rows: Rows) {
        let mut rest = self.of::<S, TALL>(simd, rows);
        if TALL > 4 {
            rest = self.of::<S, 4>(simd, rest);
        }
        if TALL > 2 {
            rest = self.of::<S, 2>(simd, rest);
        }
        self.of::<S, 1>(simd, rest);
    }

    /// As many times `TALL` rows as there are; returns the rest.
    #[inline(always)]
    fn of<'a, 'x, 'y, S: Simd<f32s = V>, const TALL: usize>(
        &self,
        simd: S,
        (mut x, mut y): Rows<'a, 'x, 'y>,
    ) -> Rows<'a, 'x, 'y> {
        while x.len() >= TALL && y.len() >= TALL {
            let ((now, later), (own, others)) = (x.split_at(TALL), y.split_at_mut(TALL));
            if let (Some(now), Some(own)) = (now.first_chunk(), own.first_chunk_mut()) {
                self.rows::<S, TALL>(simd, now, own);
            }
            (x, y) = (later, others);
        }
        (x, y)
    }

    /// `TALL` rows, on copies where they end within the tile.
    #[inline(always)]
    fn rows<S: Simd<f32s = V>, const TALL: usize>(
        &self,
        simd: S,
        x: &[&[f32]; TALL],
        y: &mut [&mut [f32]; TALL],
    ) {
        let [first, second] = self.columns;
        let end = if PAIR { second } else { first } + S::F32_LANES;
        if y.iter().all(|y| y.len() >= end) {
            return self.sums::<S, TALL>(simd, x, y, self.columns);
        }
        let mut lanes = [[0.0; 2 * PANEL]; TALL];
        let spans = [(0, first), (S::F32_LANES, second)];
        for (lanes, y) in lanes.iter_mut().zip(y.iter()) {
            for (to, from) in spans {
                let there = lanes[to..].iter_mut().zip(y.get(from..).unwrap_or_default());
                there.take(S::F32_LANES).for_each(|(lane, y)| *lane = *y);
            }
        }
        let copies = &mut lanes.each_mut().map(|lanes| &mut lanes[..]);
        self.sums::<S, TALL>(simd, x, copies, [0, S::F32_LANES]);
        for (lanes, y) in lanes.iter().zip(y) {
            for (from, to) in spans.into_iter().take(1 + usize::from(PAIR)) {
                let there = lanes[from..].iter().zip(y.get_mut(to..).unwrap_or_default());
                there.take(S::F32_LANES).for_each(|(lane, y)| *y = *lane);
            }
        }
    }

    #[inline(always)]
    fn sums<S: Simd<f32s = V>, const TALL: usize>(
        &self,
        simd: S,
        x: &[&[f32]; TALL],
        y: &mut [&mut [f32]; TALL],
        columns: [usize; 2],
    ) {
        let [first, second] = columns.map(|column| column..column + S::F32_LANES);
        // Two flat arrays, and loops of a length that is known: the compiler then keeps all of it in registers.
        let mut sums = [simd.splat_f32s(0.0); TALL];
        let mut others = sums;
        for row in 0..TALL {
            sums[row] = S::as_simd_f32s(&y[row][first.clone()]).0[0];
            if PAIR {
                others[row] = S::as_simd_f32s(&y[row][second.clone()]).0[0];
            }
        }
        // Cut to one length, which they have: the loop then checks no bound against memory.
        let (one, other) = (self.one, &self.other[..self.one.len()]);
        let x: [&[f32]; TALL] = std::array::from_fn(|row| &x[row][self.from..][..one.len()]);
        for k in 0..one.len() {
            let (one, other) = (one[k][A], other[k][B]);
            for row in 0..TALL {
                let x = simd.splat_f32s(x[row][k]);
                sums[row] = simd.mul_add_f32s(x, one, sums[row]);
                if PAIR {
                    others[row] = simd.mul_add_f32s(x, other, others[row]);
                }
            }
        }
        for row in 0..TALL {
            S::as_mut_simd_f32s(&mut y[row][first.clone()]).0[0] = sums[row];
            if PAIR {
                S::as_mut_simd_f32s(&mut y[row][second.clone()]).0[0] = others[row];
            }
        }
    }
}

/// One row times panels of `size` words beside each other: so many chains do not wait for themselves. `y` may end within
/// the last panel.
#[inline(always)]
pub fn beside<S: Simd, F: Unpack, const WIDE: usize, const PANELS: usize>(
    simd: S,
    x: &[f32],
    panels: &[u32],
    size: usize,
    y: &mut [f32],
) {
    let (whole, rest) = x.split_at(x.len() / F::INPUTS * F::INPUTS);
    let blocks = x.len().div_ceil(F::INPUTS);
    // Cut to one length, which they have: the loop then checks no bound against memory.
    let part = |panel: usize| {
        let words = panels.get(panel * size..).unwrap_or_default();
        let (words, _) = S::as_simd_u32s(words.get(..blocks * F::WORDS * PANEL).unwrap_or_default());
        words.as_chunks::<WIDE>().0
    };
    let panels: [&[[S::u32s; WIDE]]; PANELS] = std::array::from_fn(part);
    let mut sums: [[S::f32s; WIDE]; PANELS] =
        std::array::from_fn(|panel| load::<S, WIDE>(y.get(panel * PANEL..).unwrap_or_default()));
    for (block, x) in whole.chunks_exact(F::INPUTS).enumerate() {
        step::<S, F, WIDE, PANELS>(simd, x, &panels, block, &mut sums);
    }
    if !rest.is_empty() {
        step::<S, F, WIDE, PANELS>(simd, rest, &panels, blocks - 1, &mut sums);
    }
    for (panel, sums) in sums.iter().enumerate() {
        store::<S, WIDE>(sums, y.get_mut(panel * PANEL..).unwrap_or_default());
    }
}

/// Inputs that stand together, of every panel.
#[inline(always)]
fn step<S: Simd, F: Unpack, const WIDE: usize, const PANELS: usize>(
    simd: S,
    x: &[f32],
    panels: &[&[[S::u32s; WIDE]]; PANELS],
    block: usize,
    sums: &mut [[S::f32s; WIDE]; PANELS],
) {
    for (sums, panel) in sums.iter_mut().zip(panels) {
        let words = &panel[block * F::WORDS..][..F::WORDS];
        for (vector, sum) in sums.iter_mut().enumerate() {
            F::unpack(
                simd,
                |which| words[which][vector],
                |which, value| {
                    if let Some(x) = x.get(which) {
                        *sum = simd.mul_add_f32s(simd.splat_f32s(*x), value, *sum);
                    }
                },
            );
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

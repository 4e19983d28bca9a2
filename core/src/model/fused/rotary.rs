//! Rotary positions: the two halves of the rotated dimensions as pairs, turned by each row's angles.

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use super::{Result, row, rows, slice};
use crate::model::ops::RopeTable;

/// [`RopeTable::rotate`]. `x` `[rows, heads, d_head]`.
pub fn rotate(x: &Tensor, table: &RopeTable) -> crate::Result<Tensor> {
    Ok(x.contiguous()?.apply_op3(&table.cos, &table.sin, Rotary { backward: false })?)
}

/// The turn, or its inverse, which is its transpose: its backward.
struct Rotary {
    backward: bool,
}

impl CustomOp3 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, heads, d_head) = layout.shape().dims3()?;
        let half = cos_layout.shape().dims2()?.1;
        if 2 * half > d_head || half == 0 {
            return Err(candle_core::Error::Msg(format!("{} rotated dimensions of {d_head}", 2 * half)));
        }
        let (x, cos, sin) = (slice(x, layout)?, slice(cos, cos_layout)?, slice(sin, sin_layout)?);
        let sign = if self.backward { -1.0 } else { 1.0 };
        let width = heads * d_head;
        let mut out = vec![0f32; x.len()];
        rows(&mut out, width, |index, out| {
            let (x, cos, sin) = (row(x, width, index), row(cos, half, index), row(sin, half, index));
            for (out, x) in out.chunks_exact_mut(d_head).zip(x.chunks_exact(d_head)) {
                out.copy_from_slice(x);
                let (left, right) = out.split_at_mut(half);
                for (((a, b), cos), sin) in left.iter_mut().zip(right).zip(cos).zip(sin) {
                    let (x, y) = (*a, *b);
                    *a = x * cos - y * (sign * sin);
                    *b = y * cos + x * (sign * sin);
                }
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let inverse = Self { backward: !self.backward };
        Ok((Some(grad.contiguous()?.apply_op3_no_bwd(cos, sin, &inverse)?), None, None))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, flat, values};
    use super::*;
    use crate::spec::{RopeScaling, RopeSpec};

    fn table(dims: usize) -> RopeTable {
        let rope = RopeSpec { dims, theta: 100.0, scaling: RopeScaling::None };
        RopeTable::new(&rope, &[0, 1, 5, 9], 10).unwrap()
    }

    #[test]
    fn as_the_plain_form() {
        for dims in [8, 6] {
            let (x, table) = (values(&[4, 3, 8], 1), table(dims));
            assert_eq!(flat(&rotate(&x, &table).unwrap()), flat(&table.rotate(&x).unwrap()), "{dims}");
        }
    }

    #[test]
    fn backward() {
        for dims in [8, 6] {
            let table = table(dims);
            check_gradient(&values(&[4, 3, 8], 2), |x| rotate(x, &table));
        }
    }
}

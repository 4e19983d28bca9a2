//! Edits of a site's value: which rows and units they touch, and what becomes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::rng;
use crate::site::{Hook, Shape, Site};
use crate::spec::{Lane, LayerRoute, Positions};

/// One change of one site.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    /// Positions.
    pub rows: Rows,
    /// Head of a head-shaped site, neuron or channel of any other; `None` = all of it.
    pub unit: Option<usize>,
    /// value = untouched + strength * (changed - untouched).
    pub strength: f32,
    /// What happens to the value.
    pub op: Op,
    /// The plan's item that it is of, in a few words.
    pub label: Option<Arc<str>>,
}

/// The rows an edit touches.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// These positions, of a prompt of so many tokens.
    Positions(Positions, usize),
    /// Positions that skip the layer, of a prompt of so many tokens.
    Skipping(LayerRoute, usize),
}

/// What happens to a value.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// 0.
    Zero,
    /// These values instead.
    Put(Values),
    /// Times a factor.
    Scale(f32),
    /// 0 where the magnitude does not exceed this.
    Threshold(f32),
    /// Plus Gaussian noise.
    Noise {
        /// Standard deviation.
        std: f32,
        /// That of a picture's rows, and their positions.
        picture: Option<(f32, Arc<[usize]>)>,
        /// Of the counter-based generator.
        seed: u64,
    },
    /// Plus a vector.
    Add {
        /// As wide as a position's value.
        values: Values,
        /// Factor on it.
        scale: f32,
        /// The sum gets the norm that the value had.
        keep_norm: bool,
    },
}

/// Values from elsewhere.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// One position's value for each, `[...]` without the position axis.
    One(Tensor),
    /// Rows of a source, position axis as in the site's shape.
    Rows(Tensor, RowMap),
}

/// Which row of a source stands for a position.
#[derive(Clone, Debug)]
pub(crate) enum RowMap {
    /// The row of the same number.
    Same,
    /// Position `to` has row `from`; those after it follow, those before it have none.
    Shift {
        /// Position in the run.
        to: usize,
        /// Row of the source.
        from: usize,
    },
    /// Positions with a row each.
    Each(BTreeMap<usize, usize>),
}

impl RowMap {
    fn row(&self, position: usize) -> Option<usize> {
        match self {
            Self::Same => Some(position),
            Self::Shift { to, from } => Some(position.checked_sub(*to)? + from),
            Self::Each(rows) => rows.get(&position).copied(),
        }
    }
}

impl Values {
    /// Whether a position has a value; a source ends.
    fn covers(&self, site: Site, position: usize) -> bool {
        match self {
            Self::One(_) => true,
            Self::Rows(source, map) => {
                map.row(position).is_some_and(|row| row < source.dim(position_axis(site)).unwrap_or(0))
            }
        }
    }

    /// In the shape of `x`, which holds `positions`; what is not covered has any value.
    fn of(&self, site: Site, x: &Tensor, positions: &[usize]) -> Result<Tensor> {
        let (source, map) = match self {
            Self::One(value) => return Ok(value.unsqueeze(0)?.broadcast_as(x.shape())?.contiguous()?),
            Self::Rows(source, map) => (source, map),
        };
        let axis = position_axis(site);
        let last = source.dim(axis)?.saturating_sub(1);
        let index: Vec<u32> = positions.iter().map(|&p| map.row(p).unwrap_or(0).min(last) as u32).collect();
        let picked = source.index_select(&Tensor::from_vec(index, positions.len(), &Device::Cpu)?, axis)?;
        if picked.dims() == x.dims() {
            return Ok(picked);
        }
        Err(Error::Plan(format!(
            "the source of {site} has shape {:?}, the run needs {:?}: both need the same number of tokens",
            picked.dims(),
            x.dims()
        )))
    }
}

impl Rows {
    /// Whether a position is touched.
    pub fn contains(&self, position: usize) -> bool {
        match self {
            Self::Positions(positions, prompt_len) => positions.contains(position, *prompt_len),
            Self::Skipping(route, prompt_len) => route.lane(position, *prompt_len) == Lane::SkipLayer,
        }
    }
}

impl Edit {
    /// The site's value after the edit. `x` has the site's shape and holds `positions`.
    pub fn apply(&self, site: Site, x: Tensor, positions: &[usize]) -> Result<Tensor> {
        let covered = |position: usize| match &self.op {
            Op::Put(values) | Op::Add { values, .. } => values.covers(site, position),
            _ => true,
        };
        let rows: Vec<bool> = positions.iter().map(|&p| self.rows.contains(p) && covered(p)).collect();
        if !rows.contains(&true) {
            return Ok(x);
        }
        let mut changed = self.op.apply(site, &x, positions)?.broadcast_as(x.shape())?.contiguous()?;
        if self.strength != 1.0 {
            changed = (&x + ((changed - &x)? * f64::from(self.strength))?)?;
        }
        if matches!(site, Site::Block { hook: Hook::AttnScores, .. }) {
            // A key that the mask hides stays hidden: -inf has no half and no multiple.
            changed = x.eq(f64::NEG_INFINITY)?.where_cond(&x, &changed)?;
        }
        if self.unit.is_none() && !rows.contains(&false) {
            return Ok(changed);
        }
        Ok(mask(site, &rows, self.unit, &x)?.where_cond(&changed, &x)?)
    }
}

impl Op {
    fn apply(&self, site: Site, x: &Tensor, positions: &[usize]) -> Result<Tensor> {
        Ok(match self {
            Self::Zero => x.zeros_like()?,
            Self::Put(values) => values.of(site, x, positions)?,
            Self::Scale(factor) => (x * f64::from(*factor))?,
            Self::Threshold(threshold) => {
                // Strictly larger ones are kept; a NaN is no number to keep, but hiding it would be worse.
                let keep = x.abs()?.le(f64::from(*threshold))?;
                keep.where_cond(&x.zeros_like()?, x)?
            }
            Self::Noise { std, picture, seed } => {
                let of = |position: usize| match picture {
                    Some((of_picture, rows)) if rows.contains(&position) => *of_picture,
                    _ => *std,
                };
                (x + noise(site, x, positions, of, *seed)?)?
            }
            Self::Add { values, scale, keep_norm } => {
                let flat = flat(x, positions.len())?;
                let vector = self::flat(&values.of(site, x, positions)?, positions.len())?;
                let sum = (&flat + (vector * f64::from(*scale))?)?;
                let sum = if *keep_norm {
                    let (before, after) = (norm(&flat)?, norm(&sum)?);
                    let scaled = sum.broadcast_mul(&(before / &after)?)?;
                    // Nothing has a direction to keep the norm in: the value stays.
                    after.eq(0.0)?.broadcast_as(flat.shape())?.contiguous()?.where_cond(&flat, &scaled)?
                } else {
                    sum
                };
                sum.reshape(x.shape())?
            }
        })
    }
}

/// Euclidean norm of every row, `[rows, 1]`, of `x` `[rows, width]`. Where the squares are past f32 they are taken of the
/// row divided by its largest value.
fn norm(x: &Tensor) -> Result<Tensor> {
    let plain = |x: &Tensor| x.sqr()?.sum_keepdim(D::Minus1)?.sqrt();
    let norm = plain(x)?;
    let past = norm.eq(f64::INFINITY)?;
    if past.sum_all()?.to_scalar::<u8>()? == 0 {
        return Ok(norm);
    }
    let largest = x.abs()?.max_keepdim(D::Minus1)?;
    let scaled = (plain(&x.broadcast_div(&largest)?)? * largest)?;
    Ok(past.where_cond(&scaled, &norm)?)
}

/// `[rows, everything else]`
fn flat(x: &Tensor, rows: usize) -> Result<Tensor> {
    Ok(x.reshape((rows, x.elem_count() / rows.max(1)))?)
}

fn position_axis(site: Site) -> usize {
    usize::from(site.shape() == Shape::Square)
}

/// 1 where the edit touches, 0 elsewhere; the shape of `x`, `[.., positions, ..]`.
fn mask(site: Site, rows: &[bool], unit: Option<usize>, x: &Tensor) -> Result<Tensor> {
    let axis = position_axis(site);
    let mut shape = vec![1; x.rank()];
    shape[axis] = rows.len();
    let rows: Vec<u8> = rows.iter().map(|&on| u8::from(on)).collect();
    let mut mask = Tensor::from_vec(rows, shape, &Device::Cpu)?.broadcast_as(x.shape())?;
    if let Some(unit) = unit {
        let unit_axis = if site.shape() == Shape::Square { 0 } else { 1 };
        let width = x.dim(unit_axis)?;
        let mut shape = vec![1; x.rank()];
        shape[unit_axis] = width;
        let one: Vec<u8> = (0..width).map(|index| u8::from(index == unit)).collect();
        mask = (mask * Tensor::from_vec(one, shape, &Device::Cpu)?.broadcast_as(x.shape())?)?;
    }
    Ok(mask.contiguous()?)
}

/// Gaussian noise of the shape of `x`, `[.., positions, ..]`, that depends on seed, site, position and channel only. `std`:
/// its standard deviation at a position.
fn noise(
    site: Site,
    x: &Tensor,
    positions: &[usize],
    std: impl Fn(usize) -> f32,
    seed: u64,
) -> Result<Tensor> {
    let stream = site.to_string().bytes().fold(0u64, |hash, byte| rng::bits(hash, u64::from(byte), 0));
    let axis = position_axis(site);
    let dims = x.dims();
    let inner: usize = dims.iter().skip(axis + 1).product();
    let outer: usize = dims.iter().take(axis).product();
    let mut values = Vec::with_capacity(x.elem_count());
    for block in 0..outer {
        for &position in positions {
            let (start, std) = (((block << 32) + position) * inner, std(position));
            values.extend((0..inner).map(|i| std * rng::normal(seed, stream, (start + i) as u64)));
        }
    }
    Ok(Tensor::from_vec(values, x.shape(), &Device::Cpu)?.to_dtype(DType::F32)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Tensor {
        let values: Vec<f32> = (0..24).map(|i| rng::normal(3, 0, i)).collect();
        Tensor::from_vec(values, (4, 6), &Device::Cpu).unwrap()
    }

    fn site() -> Site {
        Site::block(0, Hook::ResidPost)
    }

    fn applied(op: Op, strength: f32) -> Vec<f32> {
        let edit = Edit { rows: Rows::Positions(Positions::All, 4), unit: None, strength, op, label: None };
        let x = edit.apply(site(), values(), &[0, 1, 2, 3]).unwrap();
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn near(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6)
    }

    /// Past the shortcuts that leave neutral items out.
    #[test]
    fn neutral_kernels_change_nothing() {
        let x: Vec<f32> = values().flatten_all().unwrap().to_vec1().unwrap();
        let vector = values().get(1).unwrap();
        let one = || Values::One(vector.clone());
        let add = |keep_norm| Op::Add { values: one(), scale: 0.0, keep_norm };
        for op in [
            Op::Scale(1.0),
            Op::Threshold(0.0),
            Op::Noise { std: 0.0, picture: None, seed: 1 },
            Op::Put(Values::Rows(values(), RowMap::Same)),
            add(false),
            add(true),
        ] {
            assert!(near(&applied(op.clone(), 1.0), &x), "{op:?}");
        }
        for op in [Op::Zero, Op::Scale(7.0), Op::Put(one()), Op::Threshold(9.0)] {
            assert!(near(&applied(op.clone(), 0.0), &x), "{op:?}");
        }
    }

    /// Against plain arithmetic over the values.
    #[test]
    fn half_way_settings_equal_a_plain_reference() {
        let x: Vec<f32> = values().flatten_all().unwrap().to_vec1().unwrap();
        let v = &x[6..12];
        let vector = values().get(1).unwrap();
        let each = |f: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
            x.iter().enumerate().map(|(i, &x)| 0.5 * x + 0.5 * f(i, x)).collect()
        };
        assert!(near(&applied(Op::Zero, 0.5), &each(&|_, _| 0.0)));
        assert!(near(&applied(Op::Scale(3.0), 0.5), &each(&|_, x| 3.0 * x)));
        assert!(near(&applied(Op::Put(Values::One(vector.clone())), 0.5), &each(&|i, _| v[i % 6])));
        let kept = |_: usize, x: f32| if x.abs() > 0.8 { x } else { 0.0 };
        assert!(near(&applied(Op::Threshold(0.8), 0.5), &each(&kept)));
        let add = |keep_norm| Op::Add { values: Values::One(vector.clone()), scale: 2.0, keep_norm };
        assert!(near(&applied(add(false), 0.5), &each(&|i, x| x + 2.0 * v[i % 6])));
        let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
        let kept: Vec<f32> = x
            .chunks(6)
            .flat_map(|row| {
                let sum: Vec<f32> = row.iter().zip(v).map(|(x, v)| x + 2.0 * v).collect();
                let factor = norm(row) / norm(&sum);
                row.iter().zip(sum).map(|(x, y)| 0.5 * x + 0.5 * factor * y).collect::<Vec<f32>>()
            })
            .collect();
        assert!(near(&applied(add(true), 0.5), &kept));
    }

    #[test]
    fn rows_of_a_source_stand_where_the_map_says() {
        let rows = |values: &Tensor| values.to_vec2::<f32>().unwrap();
        let x = values().zeros_like().unwrap();
        let put = |map| {
            let op = Op::Put(Values::Rows(values().narrow(0, 0, 3).unwrap(), map));
            let edit =
                Edit { rows: Rows::Positions(Positions::All, 4), unit: None, strength: 1.0, op, label: None };
            rows(&edit.apply(site(), x.clone(), &[0, 1, 2, 3]).unwrap())
        };
        let (source, none) = (rows(&values()), vec![0.0; 6]);
        let (a, b, c) = (&source[0], &source[1], &source[2]);
        assert_eq!(put(RowMap::Same), [a, b, c, &none].map(Clone::clone));
        assert_eq!(put(RowMap::Shift { to: 2, from: 1 }), [&none, &none, b, c].map(Clone::clone));
        let each = RowMap::Each([(0, 2), (3, 1)].into());
        assert_eq!(put(each), [c, &none, &none, b].map(Clone::clone));
    }

    #[test]
    fn noise_depends_on_position_not_on_the_rows_beside_it() {
        let op = Op::Noise { std: 1.0, picture: Some((0.5, [1, 2].into())), seed: 5 };
        let whole = op.apply(site(), &values(), &[0, 1, 2, 3]).unwrap();
        let part = op.apply(site(), &values().narrow(0, 2, 2).unwrap(), &[2, 3]).unwrap();
        let rows: Vec<Vec<f32>> = whole.to_vec2().unwrap();
        assert_eq!(rows[2..], part.to_vec2::<f32>().unwrap());
        let plain =
            Op::Noise { std: 1.0, picture: None, seed: 5 }.apply(site(), &values(), &[0, 1, 2, 3]).unwrap();
        let moved = |x: &Tensor| -> Vec<Vec<f32>> { (x - values()).unwrap().to_vec2().unwrap() };
        for (position, (own, plain)) in moved(&whole).iter().zip(moved(&plain)).enumerate() {
            let factor = if position == 1 || position == 2 { 0.5 } else { 1.0 };
            assert!(own.iter().zip(plain).all(|(a, b)| (a - factor * b).abs() < 1e-6), "{position}");
        }
    }
}

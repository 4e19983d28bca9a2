//! Values that are no finite numbers: found at the end of a sublayer, named by doing the sublayer again and looking at every
//! site.
//!
//! The stream is looked at after every sublayer, and an edited site as it is edited: one comparison a value, beside the
//! products of a sublayer. Once a value of a strand is so large that its square overflows, every site is looked at from
//! there on: what overflows inside a sublayer may come out of it as zero. Each strand is looked at as closely as it would be
//! alone, whatever runs beside it.

use std::collections::BTreeSet;

use candle_core::{DType, Storage, Tensor};

use super::Pass;
use super::strand::Strand;
use crate::error::{Error, Result};
use crate::site::{Hook, Shape, Site};

/// Sums of squares of such magnitudes come near the end of f32.
const LARGE: f32 = 1e15;

/// How closely values are looked at, by the strands' numbers: everywhere at the stream between sublayers and at what is
/// edited.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Here at every site.
    closely: BTreeSet<usize>,
    /// An edited value of these is not finite: the sublayer is done again.
    suspects: BTreeSet<usize>,
}

impl Watch {
    /// Whether every site of some strand is looked at.
    pub fn closely(&self) -> bool {
        !self.closely.is_empty()
    }
}

/// What a stage begins with.
pub(super) struct Before {
    x: Option<Tensor>,
    parallel: Option<(Tensor, Tensor)>,
    /// Where the stage may leave rows out.
    strands: Option<Vec<Strand>>,
}

/// The largest magnitude of some values, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Size {
    Fine,
    Large,
    NotFinite,
}

impl Pass {
    /// What it takes to do a stage again; nothing where every site is looked at already.
    pub(super) fn before(&self, stage: usize) -> Option<Before> {
        let drops_rows = stage >= 2 * self.model.spec.n_layers();
        let all = self.strands.iter().all(|strand| self.watch.closely.contains(&strand.number));
        let closely = all && self.watch.closely();
        (!self.ask.lenient && !closely).then(|| Before {
            x: self.x.clone(),
            parallel: self.parallel.clone(),
            strands: drops_rows.then(|| self.strands.clone()),
        })
    }

    /// Look at what a stage leaves.
    pub(super) fn look(&mut self, stage: usize, before: Option<Before>) -> Result<()> {
        if self.ask.lenient {
            return Ok(());
        }
        let mut failed = std::mem::take(&mut self.watch.suspects);
        let mut large = BTreeSet::new();
        for x in self.x.iter().chain(self.parallel.iter().map(|(out, _)| out)) {
            for (number, size) in self.sizes(None, x)? {
                let _ = if size == Size::NotFinite { failed.insert(number) } else { large.insert(number) };
            }
        }
        let logits = self.bad_logits()?;
        if let Some((row, _)) = logits {
            failed.extend(strand_of(&self.in_number_order(), row).map(|(strand, _)| strand.number));
        }
        if let Some(before) = before.filter(|_| !failed.is_subset(&self.watch.closely)) {
            self.watch.closely.append(&mut failed);
            (self.x, self.parallel) = (before.x, before.parallel);
            if let Some(strands) = before.strands {
                self.strands = strands;
                self.forget_positions();
            }
            // Ends at the first site that is not finite, if it is a site.
            self.stage_of(stage)?;
        }
        if let Some((row, what)) = logits {
            return Err(not_finite(None, row, what, &self.in_number_order()));
        }
        self.watch.closely.append(&mut large);
        Ok(())
    }

    /// Look at a site's value, of the site's shape (`[rows, ..]`), as closely as it is due.
    pub(super) fn watch_site(&mut self, site: Site, x: &Tensor) -> Result<()> {
        if self.ask.lenient {
            return Ok(());
        }
        if self.watch.closely() {
            let rows = self.rows_of(|strand| self.watch.closely.contains(&strand.number));
            if let Some((row, what)) = first_bad(site, x, &rows)? {
                return Err(not_finite(Some(site), row, what, &self.strands.iter().collect::<Vec<_>>()));
            }
        }
        if self.edits(site) {
            let sizes = self.sizes(Some(site), x)?;
            let edits = |number: usize| {
                self.strands.iter().any(|strand| strand.number == number && strand.schedule.edits_site(site))
            };
            let edited: Vec<_> = sizes.into_iter().filter(|(number, _)| edits(*number)).collect();
            for (number, size) in edited {
                let seen = match size {
                    Size::NotFinite => &mut self.watch.suspects,
                    Size::Large | Size::Fine => &mut self.watch.closely,
                };
                seen.insert(number);
            }
        }
        Ok(())
    }

    /// For every row whether it is of a strand that is meant.
    fn rows_of(&self, meant: impl Fn(&Strand) -> bool) -> Vec<bool> {
        let row = |strand: &Strand| std::iter::repeat_n(meant(strand), strand.positions.len());
        self.strands.iter().flat_map(row).collect()
    }

    /// The strands with values that are not fine, by number, and how large those are; a strand may come twice. `x` is
    /// `[rows, d]` or of the site's shape.
    fn sizes(&self, site: Option<Site>, x: &Tensor) -> Result<Vec<(usize, Size)>> {
        // Nearly always all of them are fine.
        if on_values(x, magnitude)? < LARGE.to_bits() {
            return Ok(Vec::new());
        }
        let rows = Rows::of(site, x);
        let mut of_row = vec![Size::Fine; rows.count];
        on_values(x, |values| {
            for (row, values) in rows.chunks(values) {
                if let Some(worst) = of_row.get_mut(row) {
                    *worst = size(values, site).max(*worst);
                }
            }
        })?;
        let numbers = self.strands.iter().flat_map(|strand| strand.positions.iter().map(|_| strand.number));
        Ok(numbers.zip(of_row).filter(|(_, size)| *size != Size::Fine).collect())
    }

    /// The strands as the logits have them.
    fn in_number_order(&self) -> Vec<&Strand> {
        let mut order: Vec<&Strand> = self.strands.iter().collect();
        order.sort_by_key(|strand| strand.number);
        order
    }

    /// The first row of the logits that is of no use: NaN, an infinite logit, or all of them -inf. A single -inf keeps a
    /// token from being chosen.
    fn bad_logits(&self) -> Result<Option<(usize, &'static str)>> {
        let logits = self.out.logits.as_ref().filter(|_| self.x.is_none());
        let Some(logits) = logits else { return Ok(None) };
        let vocab = logits.dims().last().copied().unwrap_or(1).max(1);
        let bad = |values: &[f32]| {
            values.chunks(vocab).enumerate().find_map(|(row, values)| {
                if values.iter().all(|&x| x == f32::NEG_INFINITY) {
                    return Some((row, "infinite"));
                }
                let bad = |x: &&f32| x.is_nan() || **x == f32::INFINITY;
                Some((row, name(*values.iter().find(bad)?)))
            })
        };
        on_values(logits, |values| match magnitude(values) < f32::INFINITY.to_bits() {
            true => None,
            false => bad(values),
        })
    }
}

/// Where a site's rows lie in its values.
struct Rows {
    count: usize,
    /// Values of a row that lie together.
    inner: usize,
}

impl Rows {
    fn of(site: Option<Site>, x: &Tensor) -> Self {
        let axis = usize::from(site.is_some_and(|site| site.shape() == Shape::Square));
        let count = x.dims().get(axis).copied().unwrap_or(1).max(1);
        Self { count, inner: x.dims().iter().skip(axis + 1).product::<usize>().max(1) }
    }

    /// The values, a row's at a time.
    fn chunks<'a>(&self, values: &'a [f32]) -> impl Iterator<Item = (usize, &'a [f32])> {
        let count = self.count;
        values.chunks(self.inner).enumerate().map(move |(index, values)| (index % count, values))
    }
}

/// Whose row it is among some strands' rows, and its position.
fn strand_of<'a>(strands: &[&'a Strand], row: usize) -> Option<(&'a Strand, usize)> {
    strands.iter().flat_map(|&strand| strand.positions.iter().map(move |at| (strand, *at))).nth(row)
}

/// The error about a row of some strands' rows.
fn not_finite(site: Option<Site>, row: usize, what: &'static str, strands: &[&Strand]) -> Error {
    let (mut items, mut routed, mut position) = (Vec::new(), false, row);
    if let Some((strand, at)) = strand_of(strands, row) {
        position = at;
        items = strand.schedule.items_until(site);
        routed = strand.schedule.is_routed();
    }
    let site = site.map_or_else(|| "logits".into(), |site| site.to_string());
    Error::NotFinite { what, site, position, items, routed }
}

fn name(x: f32) -> &'static str {
    if x.is_nan() { "NaN" } else { "infinite" }
}

/// Whether a site may hold a value: masked scores are -inf.
fn may_hold(site: Option<Site>, x: f32) -> bool {
    let scores = matches!(site, Some(Site::Block { hook: Hook::AttnScores, .. }));
    x.is_finite() || scores && x == f32::NEG_INFINITY
}

/// How large the largest value is.
fn size(values: &[f32], site: Option<Site>) -> Size {
    let most = magnitude(values);
    if most < LARGE.to_bits() {
        return Size::Fine;
    }
    let bad = most >= f32::INFINITY.to_bits() && values.iter().any(|&x| !may_hold(site, x));
    let large = || values.iter().any(|x| x.is_finite() && x.abs() >= LARGE);
    if bad {
        Size::NotFinite
    } else if large() {
        Size::Large
    } else {
        Size::Fine
    }
}

/// Bits of the largest magnitude: those of finite values, infinity and NaN are in this order.
fn magnitude(values: &[f32]) -> u32 {
    values.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff))
}

/// The first of the rows that are looked at with a value that the site may not hold, and what that is.
fn first_bad(site: Site, x: &Tensor, looked_at: &[bool]) -> Result<Option<(usize, &'static str)>> {
    let rows = Rows::of(Some(site), x);
    on_values(x, |values| {
        let looked_at = rows.chunks(values).filter(|(row, _)| looked_at.get(*row).copied().unwrap_or(true));
        let bad = |(row, values): (usize, &[f32])| {
            let x = values.iter().find(|x| !may_hold(Some(site), **x))?;
            Some((row, name(*x)))
        };
        looked_at.filter_map(bad).min_by_key(|(row, _)| *row)
    })
}

/// A function of a tensor's values; of none where they are no f32.
fn on_values<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    if x.dtype() != DType::F32 {
        return Ok(f(&[]));
    }
    {
        let (storage, layout) = x.storage_and_layout();
        if let (Storage::Cpu(storage), Some((first, end))) = (&*storage, layout.contiguous_offsets()) {
            return Ok(f(storage.as_slice::<f32>()?.get(first..end).unwrap_or_default()));
        }
    }
    Ok(f(&x.flatten_all()?.to_vec1::<f32>()?))
}

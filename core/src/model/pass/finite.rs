//! Values that are no finite numbers: found at the end of a sublayer, named by doing the sublayer again and looking at every
//! site.
//!
//! The stream is looked at after every sublayer, and an edited site as it is edited: one comparison a value, beside the
//! products of a sublayer. Once a value is so large that its square overflows, every site is looked at from there on: what
//! overflows inside a sublayer may come out of it as zero.

use candle_core::{DType, Storage, Tensor};

use super::Pass;
use super::strand::Strand;
use crate::error::{Error, Result};
use crate::site::{Hook, Shape, Site};

/// Sums of squares of such magnitudes come near the end of f32.
const LARGE: f32 = 1e15;

/// How closely values are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watch {
    /// The stream between sublayers, and what is edited.
    #[default]
    Streams,
    /// An edited value is not finite: the sublayer is done again.
    Suspect,
    /// Every site.
    Sites,
}

impl Watch {
    /// Whether every site is looked at.
    pub fn closely(self) -> bool {
        self == Self::Sites
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
        (!self.ask.lenient && self.watch != Watch::Sites).then(|| Before {
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
        let mut worst = Size::Fine;
        for x in self.x.iter().chain(self.parallel.iter().map(|(out, _)| out)) {
            worst = worst.max(size(x, None)?);
        }
        let logits = self.bad_logits()?;
        let failed = worst == Size::NotFinite || logits.is_some() || self.watch == Watch::Suspect;
        if let Some(before) = before.filter(|_| failed) {
            self.watch = Watch::Sites;
            (self.x, self.parallel) = (before.x, before.parallel);
            if let Some(strands) = before.strands {
                self.strands = strands;
                self.forget_positions();
            }
            // Ends at the first site that is not finite, if it is a site.
            self.stage_of(stage)?;
        }
        if let Some((row, what)) = logits {
            let mut order: Vec<&Strand> = self.strands.iter().collect();
            order.sort_by_key(|strand| strand.number);
            return Err(not_finite(None, row, what, &order));
        }
        if worst == Size::Large {
            self.watch = Watch::Sites;
        }
        Ok(())
    }

    /// Look at a site's value, of the site's shape (`[rows, ..]`), as closely as it is due.
    pub(super) fn watch_site(&mut self, site: Site, x: &Tensor) -> Result<()> {
        if self.ask.lenient {
            return Ok(());
        }
        if self.watch.closely() {
            return match first_bad(site, x)? {
                Some((row, what)) => {
                    Err(not_finite(Some(site), row, what, &self.strands.iter().collect::<Vec<_>>()))
                }
                None => Ok(()),
            };
        }
        if self.edits(site) {
            match size(x, Some(site))? {
                Size::Fine => {}
                Size::Large => self.watch = Watch::Sites,
                Size::NotFinite => self.watch = Watch::Suspect,
            }
        }
        Ok(())
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

/// The error about a row of some strands' rows.
fn not_finite(site: Option<Site>, row: usize, what: &'static str, strands: &[&Strand]) -> Error {
    let rows = strands.iter().flat_map(|strand| strand.positions.iter().map(move |at| (strand, *at)));
    let (mut items, mut routed, mut position) = (Vec::new(), false, row);
    if let Some((strand, at)) = rows.into_iter().nth(row) {
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
fn size(x: &Tensor, site: Option<Site>) -> Result<Size> {
    on_values(x, |values| {
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
    })
}

/// Bits of the largest magnitude: those of finite values, infinity and NaN are in this order.
fn magnitude(values: &[f32]) -> u32 {
    values.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff))
}

/// The first row with a value that the site may not hold, and what that is.
fn first_bad(site: Site, x: &Tensor) -> Result<Option<(usize, &'static str)>> {
    let dims = x.dims();
    let axis = usize::from(site.shape() == Shape::Square);
    let rows = dims.get(axis).copied().unwrap_or(1).max(1);
    let inner = dims.iter().skip(axis + 1).product::<usize>().max(1);
    on_values(x, |values| {
        let bad = values.iter().enumerate().filter(|(_, x)| !may_hold(Some(site), **x));
        bad.map(|(index, x)| (index / inner % rows, name(*x))).min_by_key(|(row, _)| *row)
    })
}

/// A function of a tensor's values; of none where they are no f32.
fn on_values<T>(x: &Tensor, f: impl Fn(&[f32]) -> T) -> Result<T> {
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

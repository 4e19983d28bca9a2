//! Queries read keys and values: in one piece where nobody changes scores or pattern, in three where somebody does, with
//! the same bits.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Storage, Tensor};

use pulp::{Simd, WithSimd};

use super::KvCache;
use super::cache::Layer;
use super::fused::{Masked, PANEL, Visible, each, multiply_plain, slice};
use crate::error::{Error, Result};

/// Query rows of one head that are done together: their scores stay in the cache, and keys that all of them are before are
/// left out.
const TILE: usize = 48;

/// Sequences whose keys and values the rows of a pass read, in the order of the rows: the first positions of a cache, and behind them
/// some of their own.
pub struct Readers(Vec<Reader>);

/// What of attention is kept on the way.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Scores after scale, cap and mask.
    pub scores: bool,
    /// Their softmax.
    pub pattern: bool,
}

/// What attention gives.
pub struct Attended {
    /// `[rows, heads, d_head]`
    pub mixed: Tensor,
    /// `[heads, rows, keys]`, where asked for.
    pub scores: Option<Tensor>,
    /// The same.
    pub pattern: Option<Tensor>,
}

struct Reader {
    /// Query rows.
    rows: usize,
    /// Positions of the cache.
    shared: usize,
    own: Layer,
}

impl Readers {
    /// Rows that read the positions `0 .. keys` of the cache.
    pub fn of_cache(rows: usize, keys: usize) -> Self {
        Self(vec![Reader { rows, shared: keys, own: Layer::new(0, 0, 0) }])
    }

    /// Sequences that go on from one cache, each at the position and with as many rows as `forks` says. `k`, `v`
    /// `[all rows, kv_heads, d_head]`.
    pub fn of_forks(forks: &[(usize, usize)], k: &Tensor, v: &Tensor) -> Result<Self> {
        let (_, heads, d_head) = k.dims3()?;
        let [k, v] = [k, v].map(|x| x.flatten_all()?.to_vec1::<f32>());
        let (k, v) = (k?, v?);
        let (mut k, mut v) = (k.as_slice(), v.as_slice());
        let mut readers = Vec::with_capacity(forks.len());
        for &(shared, rows) in forks {
            let mut own = Layer::new(heads, d_head, rows);
            let size = rows * heads * d_head;
            let parts = k.split_off(..size).zip(v.split_off(..size));
            let (k, v) = parts.ok_or_else(|| Error::Internal("fewer rows than forks".into()))?;
            own.write(0, k, v);
            readers.push(Reader { rows, shared, own });
        }
        Ok(Self(readers))
    }

    /// q k^T of a layer, before scale, cap and mask. `q` `[rows, heads, d_head]`; returns `[heads, rows, keys]`. Query head
    /// h reads key head h / (heads / kv_heads). All readers end at one position.
    pub fn raw(&self, cache: &KvCache, layer: usize, q: &Tensor) -> Result<Tensor> {
        let shared = cache.layer(layer)?;
        Ok(q.contiguous()?.apply_op1_no_bwd(&Raw(&self.spans(&shared)))?)
    }

    /// pattern v of a layer. `pattern` `[heads, rows, keys]`; returns `[rows, heads, d_head]`.
    pub fn mix(&self, cache: &KvCache, layer: usize, pattern: &Tensor) -> Result<Tensor> {
        let shared = cache.layer(layer)?;
        Ok(pattern
            .contiguous()?
            .apply_op1_no_bwd(&Mix { spans: &self.spans(&shared), d_head: shared.d_head })?)
    }

    /// Scores, pattern and mixture in tiles, in one go. `q` `[rows, heads, d_head]`; the mixture has that shape,
    /// scores and pattern `[heads, rows, keys]` where they are kept.
    pub fn attend(
        &self,
        cache: &KvCache,
        layer: usize,
        q: &Tensor,
        masked: &Masked,
        keep: Keep,
    ) -> Result<Attended> {
        let shared = cache.layer(layer)?;
        Ok(attend(&self.spans(&shared), masked, q, keep)?)
    }

    /// Pairs of query and key of one head for which [`Readers::attend`] multiplies.
    pub fn pairs(&self, visible: &Visible) -> usize {
        let mut first = 0;
        let mut pairs = 0;
        for reader in &self.0 {
            let keys = reader.shared + reader.own.capacity;
            pairs +=
                tiles(first, reader.rows, keys, visible).map(|(rows, end)| rows.len() * end).sum::<usize>();
            first += reader.rows;
        }
        pairs
    }

    fn spans<'a>(&'a self, shared: &'a Layer) -> Vec<Span<'a>> {
        let span = |reader: &'a Reader| Span {
            rows: reader.rows,
            parts: [(shared, reader.shared), (&reader.own, reader.own.capacity)],
        };
        self.0.iter().map(span).collect()
    }
}

/// Rows that read one sequence of keys and values, in two parts.
struct Span<'a> {
    rows: usize,
    /// Whose, and how many of its positions, from the first on.
    parts: [(&'a Layer, usize); 2],
}

impl Span<'_> {
    fn keys(&self) -> usize {
        self.parts.iter().map(|(_, count)| count).sum()
    }

    /// q k^T of a query head for rows of queries. Each row of `out` is as long as the keys that are read.
    #[inline(always)]
    fn score(&self, (head, heads): (usize, usize), q: &[&[f32]], mut out: Vec<&mut [f32]>) {
        for (layer, count) in self.parts {
            let mut part: Vec<&mut [f32]> = out
                .iter_mut()
                .filter_map(|row| {
                    let count = count.min(row.len());
                    row.split_off_mut(..count)
                })
                .collect();
            let count = part.first().map_or(0, |row| row.len());
            if count == 0 {
                continue;
            }
            let [panels, _] = layer.head(head * layer.heads / heads);
            let panels = panels.get(..count.div_ceil(PANEL) * PANEL * layer.d_head).unwrap_or_default();
            multiply_plain(q, panels, layer.d_head, &mut part);
        }
    }

    /// Rows of a pattern times the values of a query head's key head.
    #[inline(always)]
    fn mix(&self, (head, heads): (usize, usize), pattern: &[&[f32]], out: &mut [&mut [f32]]) {
        let mut from = 0;
        for (layer, count) in self.parts {
            let part = |row: &&'_ [f32]| -> usize { count.min(row.len().saturating_sub(from)) };
            let count = pattern.first().map_or(0, part);
            if count == 0 {
                continue;
            }
            let x: Vec<&[f32]> = pattern.iter().filter_map(|row| row.get(from..from + count)).collect();
            let [_, panels] = layer.head(head * layer.heads / heads);
            multiply_plain(&x, panels, layer.capacity, out);
            from += count;
        }
    }
}

/// Pieces of the rows `first .. first + rows`, with the keys that are read for each: up to the last one that any of its
/// rows sees.
fn tiles(
    first: usize,
    rows: usize,
    keys: usize,
    visible: &Visible,
) -> impl Iterator<Item = (Range<usize>, usize)> {
    (first..first + rows).step_by(TILE).map(move |begin| {
        let rows = begin..(begin + TILE).min(first + rows);
        let seen = visible.get(rows.clone()).unwrap_or_default();
        let end = seen.iter().map(|seen| seen.end).max().unwrap_or(0);
        (rows, end.min(keys))
    })
}

/// Whether rows of `heads` heads of `d_head` can read the spans.
fn check(spans: &[Span], heads: usize, d_head: Option<usize>, rows: usize) -> candle_core::Result<()> {
    let fits = |(layer, keys): &(&Layer, usize)| {
        *keys == 0
            || *keys <= layer.capacity
                && heads.is_multiple_of(layer.heads.max(1))
                && d_head.is_none_or(|d_head| d_head == layer.d_head)
    };
    if spans.iter().flat_map(|span| &span.parts).all(fits)
        && spans.iter().map(|span| span.rows).sum::<usize>() == rows
    {
        return Ok(());
    }
    candle_core::bail!("{rows} rows of {heads} heads do not fit the keys and values")
}

/// The pieces `[d_head]` of rows `[rows, heads, d_head]`, head by head.
fn by_head(out: &mut [f32], heads: usize, d_head: usize) -> Vec<Vec<&mut [f32]>> {
    let mut by_head: Vec<Vec<&mut [f32]>> = Vec::new();
    by_head.resize_with(heads, Vec::new);
    for row in out.chunks_exact_mut((heads * d_head).max(1)) {
        for (head, piece) in by_head.iter_mut().zip(row.chunks_exact_mut(d_head)) {
            head.push(piece);
        }
    }
    by_head
}

/// Take the first `count`.
fn take<T>(all: &mut Vec<T>, count: usize) -> Vec<T> {
    let later = all.split_off(count.min(all.len()));
    std::mem::replace(all, later)
}

struct Raw<'a>(&'a [Span<'a>]);

impl CustomOp1 for Raw<'_> {
    fn name(&self) -> &'static str {
        "attention-raw"
    }

    fn cpu_fwd(&self, q: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, heads, d_head) = layout.shape().dims3()?;
        let spans = self.0;
        check(spans, heads, Some(d_head), rows)?;
        let keys = spans.first().map_or(0, Span::keys);
        let q = slice(q, layout)?;
        let mut out = vec![0.0; heads * rows * keys];
        let mut jobs = Vec::with_capacity(heads * spans.len());
        for (head, mut out) in out.chunks_exact_mut((rows * keys).max(1)).enumerate() {
            let mut first = 0;
            for span in spans {
                let Some(own) = out.split_off_mut(..span.rows * keys) else { break };
                jobs.push((head, first, span, own));
                first += span.rows;
            }
        }
        each(jobs, rows * keys * heads * d_head, &|(head, first, span, out): (
            usize,
            usize,
            &Span,
            &mut [f32],
        )| {
            let q = queries(q, d_head, (head, heads), first..first + span.rows);
            span.score((head, heads), &q, out.chunks_exact_mut(keys).collect());
        });
        Ok((CpuStorage::F32(out), (heads, rows, keys).into()))
    }
}

/// The queries of one head.
fn queries(q: &[f32], d_head: usize, (head, heads): (usize, usize), rows: Range<usize>) -> Vec<&[f32]> {
    q.chunks_exact(d_head).skip(rows.start * heads + head).step_by(heads).take(rows.len()).collect()
}

struct Mix<'a> {
    spans: &'a [Span<'a>],
    d_head: usize,
}

impl CustomOp1 for Mix<'_> {
    fn name(&self) -> &'static str {
        "attention-mix"
    }

    fn cpu_fwd(&self, pattern: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (heads, rows, keys) = layout.shape().dims3()?;
        let Self { spans, d_head } = *self;
        check(spans, heads, None, rows)?;
        let pattern = slice(pattern, layout)?;
        let mut out = vec![0.0; rows * heads * d_head];
        let mut jobs = Vec::with_capacity(heads * spans.len());
        for (head, mut pieces) in by_head(&mut out, heads, d_head).into_iter().enumerate() {
            let mut first = 0;
            for span in spans {
                jobs.push((head, first, span, take(&mut pieces, span.rows)));
                first += span.rows;
            }
        }
        each(jobs, rows * keys * heads * d_head, &|(head, first, span, mut y): (
            usize,
            usize,
            &Span,
            Vec<&mut [f32]>,
        )| {
            let x: Vec<&[f32]> =
                pattern.chunks_exact(keys).skip(head * rows + first).take(span.rows).collect();
            span.mix((head, heads), &x, &mut y);
        });
        Ok((CpuStorage::F32(out), (rows, heads, d_head).into()))
    }
}

fn attend(spans: &[Span], masked: &Masked, q: &Tensor, keep: Keep) -> candle_core::Result<Attended> {
    let (rows, heads, d_head) = q.dims3()?;
    check(spans, heads, Some(d_head), rows)?;
    let keys = spans.first().map_or(0, Span::keys);
    let q = q.contiguous()?;
    let (storage, layout) = q.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { candle_core::bail!("attention is done on the CPU") };
    let q = slice(storage, layout)?;
    let mut out = vec![0.0; rows * heads * d_head];
    let room = |wanted: bool, empty: f32| vec![empty; if wanted { heads * rows * keys } else { 0 }];
    let (mut scores, mut pattern) = (room(keep.scores, f32::NEG_INFINITY), room(keep.pattern, 0.0));
    let (mut scores_left, mut pattern_left) = (scores.as_mut_slice(), pattern.as_mut_slice());
    let mut jobs = Vec::new();
    let mut size = 0;
    for (head, mut pieces) in by_head(&mut out, heads, d_head).into_iter().enumerate() {
        let mut first = 0;
        for span in spans {
            for (rows, end) in tiles(first, span.rows, span.keys(), &masked.visible) {
                size += rows.len() * end * d_head;
                let kept = [&mut scores_left, &mut pattern_left]
                    .map(|left| left.split_off_mut(..rows.len() * keys).unwrap_or_default());
                let y = take(&mut pieces, rows.len());
                jobs.push(Job { head, rows, end, span, kept, y });
            }
            first += span.rows;
        }
    }
    let arch = pulp::Arch::new();
    each(jobs, size, &|Job { head, rows, end, span, kept: [kept_scores, kept_pattern], mut y }| {
        let q = queries(q, d_head, (head, heads), rows.clone());
        let width = end.max(1);
        let mut weights = vec![0.0; rows.len() * end];
        span.score((head, heads), &q, weights.chunks_exact_mut(width).collect());
        arch.dispatch(Weigh { masked, head, rows, weights: &mut weights, width, kept: kept_scores, keys });
        for (kept, weights) in kept_pattern.chunks_mut(keys.max(1)).zip(weights.chunks(width)) {
            kept.iter_mut().zip(weights).for_each(|(kept, weight)| *kept = *weight);
        }
        let weights: Vec<&[f32]> = weights.chunks_exact(width).collect();
        span.mix((head, heads), &weights, &mut y);
    });
    let kept = |values: Vec<f32>, wanted: bool| {
        wanted.then(|| Tensor::from_vec(values, (heads, rows, keys), &Device::Cpu)).transpose()
    };
    Ok(Attended {
        mixed: Tensor::from_vec(out, (rows, heads, d_head), &Device::Cpu)?,
        scores: kept(scores, keep.scores)?,
        pattern: kept(pattern, keep.pattern)?,
    })
}

/// Raw scores to weights, row by row. A struct, not a closure: see [`super::fused::jsd`].
struct Weigh<'a> {
    masked: &'a Masked,
    head: usize,
    rows: Range<usize>,
    weights: &'a mut [f32],
    width: usize,
    /// Where scores are kept; empty where they are not.
    kept: &'a mut [f32],
    keys: usize,
}

impl WithSimd for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let kept = self.kept.chunks_mut(self.keys.max(1));
        for (row, (kept, raw)) in self.rows.clone().zip(kept.zip(self.weights.chunks(self.width))) {
            self.masked.fill(row, raw, kept);
        }
        for (row, weights) in self.rows.zip(self.weights.chunks_exact_mut(self.width)) {
            self.masked.weigh(self.head, row, weights);
        }
    }
}

/// A piece of the rows of one head.
struct Job<'a, 'o> {
    head: usize,
    rows: Range<usize>,
    /// Keys that are read.
    end: usize,
    span: &'a Span<'a>,
    /// Rows of scores and pattern; empty where they are not kept.
    kept: [&'o mut [f32]; 2],
    y: Vec<&'o mut [f32]>,
}

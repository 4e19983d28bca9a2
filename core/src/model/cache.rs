//! Keys and values of a sequence, preallocated and written in place, in the panels that attention reads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::fused::{PANEL, Product, WORTH, each, slice};
use super::{AttnSpec, Spec};
use crate::error::{Error, Result};

/// Keys (after rotary) and values per layer.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<Mutex<Layer>>,
}

/// Keys and values of one layer. A product with the keys has positions as outputs, one with the values has them as
/// inputs: so keys stand in panels of positions, values in panels of channels.
#[derive(Debug)]
struct Layer {
    /// Per key head, per [`PANEL`] positions: `[d_head, PANEL]`.
    keys: Vec<f32>,
    /// Per key head, per [`PANEL`] channels: `[capacity, PANEL]`.
    values: Vec<f32>,
    heads: usize,
    d_head: usize,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for `capacity` positions.
    pub fn new(spec: &Spec, capacity: usize) -> Result<Self> {
        let layer = |attn: &AttnSpec| Mutex::new(Layer::new(attn.kv_heads, attn.d_head, capacity));
        Ok(Self { layers: spec.layers.iter().map(|block| layer(&block.attn)).collect() })
    }

    /// Bytes that [`KvCache::new`] allocates.
    pub fn bytes(spec: &Spec, capacity: usize) -> u64 {
        let per = |block: &super::LayerSpec| {
            let AttnSpec { kv_heads, d_head, .. } = block.attn;
            sizes(kv_heads, d_head, capacity).iter().sum::<usize>() as u64
        };
        4 * spec.layers.iter().map(per).sum::<u64>()
    }

    /// A cache for `capacity` positions that holds the first `rows` of this one.
    pub fn grown(&self, rows: usize, capacity: usize) -> Result<Self> {
        let layer = |index| -> Result<Mutex<Layer>> {
            let old = self.layer(index)?;
            let mut new = Layer::new(old.heads, old.d_head, capacity);
            new.take(&old, rows.min(old.capacity).min(capacity));
            Ok(Mutex::new(new))
        };
        Ok(Self { layers: (0..self.layers.len()).map(layer).collect::<Result<_>>()? })
    }

    fn layer(&self, layer: usize) -> Result<MutexGuard<'_, Layer>> {
        let layer =
            self.layers.get(layer).ok_or_else(|| Error::Internal(format!("no cache for layer {layer}")))?;
        // Whoever panicked while writing left rows that the next pass writes again.
        Ok(layer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Write the rows of positions `start ..` of a layer. `k`, `v` `[rows, kv_heads, d_head]`.
    pub fn write(&self, layer: usize, start: usize, k: &Tensor, v: &Tensor) -> Result<()> {
        let mut layer = self.layer(layer)?;
        let (rows, heads, d_head) = k.dims3()?;
        if start + rows > layer.capacity
            || (heads, d_head) != (layer.heads, layer.d_head)
            || v.dims() != k.dims()
        {
            let capacity = layer.capacity;
            return Err(Error::Internal(format!("{:?} at {start} in a cache of {capacity}", k.dims())));
        }
        let [k, v] = [k, v].map(|x| x.flatten_all()?.to_vec1::<f32>());
        layer.write(start, &k?, &v?);
        Ok(())
    }

    /// q k^T of a layer over the positions `0 .. keys`, before scale, cap and mask. `q` `[rows, heads, d_head]`; returns
    /// `[heads, rows, keys]`. Query head h reads key head h / (heads / kv_heads).
    pub fn raw(&self, layer: usize, q: &Tensor, keys: usize) -> Result<Tensor> {
        let layer = self.layer(layer)?;
        let spans = [Span { rows: q.dim(0)?, parts: [(&layer, keys), (&layer, 0)] }];
        Ok(q.contiguous()?.apply_op1_no_bwd(&Raw { spans: &spans, keys })?)
    }

    /// pattern v of a layer. `pattern` `[heads, rows, keys]`; returns `[rows, heads, d_head]`.
    pub fn mix(&self, layer: usize, pattern: &Tensor) -> Result<Tensor> {
        let layer = self.layer(layer)?;
        let (_, rows, keys) = pattern.dims3()?;
        let spans = [Span { rows, parts: [(&layer, keys), (&layer, 0)] }];
        Ok(pattern.contiguous()?.apply_op1_no_bwd(&Mix { spans: &spans })?)
    }
}

/// Keys and values of one layer for sequences that go on from one cache, each at a position of its own. What they share
/// stays in the cache.
pub struct Forks {
    own: Vec<(usize, Layer)>,
}

impl Forks {
    /// Sequences that begin at the positions of `forks` with as many rows each. `k`, `v` `[all rows, kv_heads, d_head]`.
    pub fn new(forks: &[(usize, usize)], k: &Tensor, v: &Tensor) -> Result<Self> {
        let (_, heads, d_head) = k.dims3()?;
        let [k, v] = [k, v].map(|x| x.flatten_all()?.to_vec1::<f32>());
        let (k, v) = (k?, v?);
        let (mut k, mut v) = (k.as_slice(), v.as_slice());
        let mut own = Vec::with_capacity(forks.len());
        for &(start, rows) in forks {
            let mut layer = Layer::new(heads, d_head, rows);
            let size = rows * heads * d_head;
            let parts = k.split_off(..size).zip(v.split_off(..size));
            let (k, v) = parts.ok_or_else(|| Error::Internal("fewer rows than forks".into()))?;
            layer.write(0, k, v);
            own.push((start, layer));
        }
        Ok(Self { own })
    }

    /// [`KvCache::raw`] for the rows of every fork, `rows` of each: all end at the same position.
    pub fn raw(&self, shared: &KvCache, layer: usize, q: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let shared = shared.layer(layer)?;
        let spans = self.spans(&shared, rows);
        let keys = spans.first().map_or(0, |span| span.parts.iter().map(|(_, keys)| keys).sum());
        Ok(q.contiguous()?.apply_op1_no_bwd(&Raw { spans: &spans, keys })?)
    }

    /// [`KvCache::mix`] for the rows of every fork.
    pub fn mix(&self, shared: &KvCache, layer: usize, pattern: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let shared = shared.layer(layer)?;
        Ok(pattern.contiguous()?.apply_op1_no_bwd(&Mix { spans: &self.spans(&shared, rows) })?)
    }

    fn spans<'a>(&'a self, shared: &'a Layer, rows: &[usize]) -> Vec<Span<'a>> {
        let span = |((start, own), &rows): (&'a (usize, Layer), &usize)| Span {
            rows,
            parts: [(shared, *start), (own, own.capacity)],
        };
        self.own.iter().zip(rows).map(span).collect()
    }
}

/// Rows that read one sequence of keys and values, in two parts.
struct Span<'a> {
    rows: usize,
    /// Whose, and how many of its positions, from the first on.
    parts: [(&'a Layer, usize); 2],
}

/// Elements of keys and of values.
fn sizes(heads: usize, d_head: usize, capacity: usize) -> [usize; 2] {
    [heads * capacity.next_multiple_of(PANEL) * d_head, heads * capacity * d_head.next_multiple_of(PANEL)]
}

impl Layer {
    fn new(heads: usize, d_head: usize, capacity: usize) -> Self {
        let [keys, values] = sizes(heads, d_head, capacity).map(|size| vec![0.0; size]);
        Self { keys, values, heads, d_head, capacity }
    }

    /// `k`, `v` `[rows, heads, d_head]`.
    fn write(&mut self, start: usize, k: &[f32], v: &[f32]) {
        let Self { heads, d_head, capacity, .. } = *self;
        let width = (heads * d_head).max(1);
        for (position, (k, v)) in (start..).zip(k.chunks_exact(width).zip(v.chunks_exact(width))) {
            let (panel, lane) = (position / PANEL, position % PANEL);
            for (head, (k, v)) in k.chunks_exact(d_head).zip(v.chunks_exact(d_head)).enumerate() {
                let begin = (head * capacity.div_ceil(PANEL) + panel) * d_head * PANEL + lane;
                for (slot, x) in self.keys.iter_mut().skip(begin).step_by(PANEL).zip(k) {
                    *slot = *x;
                }
                for (block, v) in v.chunks(PANEL).enumerate() {
                    let begin = ((head * d_head.div_ceil(PANEL) + block) * capacity + position) * PANEL;
                    if let Some(slots) = self.values.get_mut(begin..begin + v.len()) {
                        slots.copy_from_slice(v);
                    }
                }
            }
        }
    }

    /// Copy the first `rows` positions of another layer of the same width.
    fn take(&mut self, other: &Self, rows: usize) {
        // Whole panels of keys: what lies past the rows is written before it is read.
        let panels = rows.next_multiple_of(PANEL) * self.d_head;
        let span = |capacity: usize| (capacity.next_multiple_of(PANEL) * self.d_head).max(1);
        let heads = other.keys.chunks_exact(span(other.capacity));
        for (old, new) in heads.zip(self.keys.chunks_exact_mut(span(self.capacity))) {
            new.iter_mut().zip(old).take(panels).for_each(|(new, old)| *new = *old);
        }
        let blocks = other.values.chunks_exact((other.capacity * PANEL).max(1));
        for (old, new) in blocks.zip(self.values.chunks_exact_mut((self.capacity * PANEL).max(1))) {
            new.iter_mut().zip(old).take(rows * PANEL).for_each(|(new, old)| *new = *old);
        }
    }

    /// Keys and values of a head.
    fn head(&self, head: usize) -> [&[f32]; 2] {
        [&self.keys, &self.values].map(|all| {
            let size = all.len() / self.heads.max(1);
            all.get(head * size..(head + 1) * size).unwrap_or_default()
        })
    }
}

/// Whether rows of `heads` heads of `d_head` can read the spans.
fn check(spans: &[Span], heads: usize, d_head: Option<usize>, rows: usize) -> candle_core::Result<()> {
    let fits = |(layer, keys): &(&Layer, usize)| {
        *keys <= layer.capacity
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

struct Raw<'a> {
    spans: &'a [Span<'a>],
    keys: usize,
}

impl CustomOp1 for Raw<'_> {
    fn name(&self) -> &'static str {
        "attention-raw"
    }

    fn cpu_fwd(&self, q: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, heads, d_head) = layout.shape().dims3()?;
        let Self { spans, keys } = *self;
        check(spans, heads, Some(d_head), rows)?;
        let q = slice(q, layout)?;
        let mut out = vec![0.0; heads * rows * keys];
        // One job per query head and span.
        let mut jobs = Vec::with_capacity(heads * spans.len());
        for (head, mut out) in out.chunks_exact_mut((rows * keys).max(1)).enumerate() {
            let mut first = 0;
            for span in spans {
                let Some(own) = out.split_off_mut(..span.rows * keys) else { break };
                jobs.push((head, first, span, own));
                first += span.rows;
            }
        }
        run(jobs, rows * keys * heads * d_head, |(head, first, span, out)| {
            let x: Vec<&[f32]> =
                q.chunks_exact(d_head).skip(first * heads + head).step_by(heads).take(span.rows).collect();
            let mut y: Vec<&mut [f32]> = out.chunks_exact_mut(keys).collect();
            for (layer, count) in span.parts {
                let mut part: Vec<&mut [f32]> =
                    y.iter_mut().filter_map(|y| y.split_off_mut(..count)).collect();
                let [panels, _] = layer.head(head * layer.heads / heads);
                let panels = panels.get(..count.div_ceil(PANEL) * PANEL * d_head).unwrap_or_default();
                pulp::Arch::new().dispatch(Product { x: &x, panels, span: d_head, y: &mut part });
            }
        });
        Ok((CpuStorage::F32(out), (heads, rows, keys).into()))
    }
}

struct Mix<'a> {
    spans: &'a [Span<'a>],
}

impl CustomOp1 for Mix<'_> {
    fn name(&self) -> &'static str {
        "attention-mix"
    }

    fn cpu_fwd(&self, pattern: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (heads, rows, keys) = layout.shape().dims3()?;
        check(self.spans, heads, None, rows)?;
        let d_head = self.spans.first().map_or(0, |span| span.parts[0].0.d_head);
        let pattern = slice(pattern, layout)?;
        let mut out = vec![0.0; rows * heads * d_head];
        let mut by_head: Vec<Vec<&mut [f32]>> = Vec::new();
        by_head.resize_with(heads, || Vec::with_capacity(rows));
        for row in out.chunks_exact_mut((heads * d_head).max(1)) {
            for (head, piece) in by_head.iter_mut().zip(row.chunks_exact_mut(d_head)) {
                head.push(piece);
            }
        }
        let mut jobs = Vec::with_capacity(heads * self.spans.len());
        for (head, mut pieces) in by_head.into_iter().enumerate() {
            let mut first = 0;
            for span in self.spans {
                let later = pieces.split_off(span.rows.min(pieces.len()));
                jobs.push((head, first, span, std::mem::replace(&mut pieces, later)));
                first += span.rows;
            }
        }
        run(jobs, rows * keys * heads * d_head, |(head, first, span, mut y)| {
            let mut from = 0;
            for (layer, count) in span.parts {
                let rows = pattern.chunks_exact(keys).skip(head * rows + first).take(span.rows);
                let x: Vec<&[f32]> = rows.filter_map(|row| row.get(from..from + count)).collect();
                let [_, panels] = layer.head(head * layer.heads / heads);
                pulp::Arch::new().dispatch(Product { x: &x, panels, span: layer.capacity, y: &mut y });
                from += count;
            }
        });
        Ok((CpuStorage::F32(out), (rows, heads, d_head).into()))
    }
}

/// Jobs of `size` multiply-adds together, on all cores where that is worth it.
fn run<T: Send>(jobs: Vec<T>, size: usize, job: impl Fn(T) + Sync + Send) {
    if size < WORTH {
        jobs.into_iter().for_each(job);
    } else {
        each(jobs, job);
    }
}

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
        let layer = |attn: &AttnSpec| {
            let [keys, values] = sizes(attn, capacity).map(|size| vec![0.0; size]);
            Mutex::new(Layer { keys, values, heads: attn.kv_heads, d_head: attn.d_head, capacity })
        };
        Ok(Self { layers: spec.layers.iter().map(|block| layer(&block.attn)).collect() })
    }

    /// Bytes that [`KvCache::new`] allocates.
    pub fn bytes(spec: &Spec, capacity: usize) -> u64 {
        let per = |block: &super::LayerSpec| sizes(&block.attn, capacity).iter().sum::<usize>() as u64;
        4 * spec.layers.iter().map(per).sum::<u64>()
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
        if start + rows > layer.capacity || (heads, d_head) != (layer.heads, layer.d_head) || v.dims() != k.dims() {
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
        Ok(q.contiguous()?.apply_op1_no_bwd(&Raw { layer: &layer, keys })?)
    }

    /// pattern v of a layer. `pattern` `[heads, rows, keys]`; returns `[rows, heads, d_head]`.
    pub fn mix(&self, layer: usize, pattern: &Tensor) -> Result<Tensor> {
        let layer = self.layer(layer)?;
        Ok(pattern.contiguous()?.apply_op1_no_bwd(&Mix { layer: &layer })?)
    }
}

/// Elements of keys and of values.
fn sizes(attn: &AttnSpec, capacity: usize) -> [usize; 2] {
    [
        attn.kv_heads * capacity.next_multiple_of(PANEL) * attn.d_head,
        attn.kv_heads * capacity * attn.d_head.next_multiple_of(PANEL),
    ]
}

impl Layer {
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

    /// Keys and values of a head.
    fn head(&self, head: usize) -> [&[f32]; 2] {
        [&self.keys, &self.values].map(|all| {
            let size = all.len() / self.heads.max(1);
            all.get(head * size..(head + 1) * size).unwrap_or_default()
        })
    }
}

struct Raw<'a> {
    layer: &'a Layer,
    keys: usize,
}

impl CustomOp1 for Raw<'_> {
    fn name(&self) -> &'static str {
        "attention-raw"
    }

    fn cpu_fwd(&self, q: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, heads, d_head) = layout.shape().dims3()?;
        let Self { layer, keys } = *self;
        if d_head != layer.d_head || keys > layer.capacity || !heads.is_multiple_of(layer.heads.max(1)) {
            candle_core::bail!("queries {:?} for {keys} keys of width {}", layout.dims(), layer.d_head);
        }
        let q = slice(q, layout)?;
        let mut out = vec![0.0; heads * rows * keys];
        let group = (heads / layer.heads.max(1)).max(1);
        // One job per query head.
        let job = |(head, out): (usize, &mut [f32])| {
            let x: Vec<&[f32]> = q.chunks_exact(d_head).skip(head).step_by(heads).collect();
            let mut y: Vec<&mut [f32]> = out.chunks_exact_mut(keys).collect();
            let [panels, _] = layer.head(head / group);
            let panels = panels.get(..keys.div_ceil(PANEL) * PANEL * d_head).unwrap_or_default();
            pulp::Arch::new().dispatch(Product { x: &x, panels, span: d_head, y: &mut y });
        };
        run(out.chunks_exact_mut((rows * keys).max(1)).enumerate().collect(), rows * keys * d_head, job);
        Ok((CpuStorage::F32(out), (heads, rows, keys).into()))
    }
}

struct Mix<'a> {
    layer: &'a Layer,
}

impl CustomOp1 for Mix<'_> {
    fn name(&self) -> &'static str {
        "attention-mix"
    }

    fn cpu_fwd(&self, pattern: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (heads, rows, keys) = layout.shape().dims3()?;
        let layer = self.layer;
        let d_head = layer.d_head;
        if keys > layer.capacity || !heads.is_multiple_of(layer.heads.max(1)) {
            candle_core::bail!("pattern {:?} for a cache of {}", layout.dims(), layer.capacity);
        }
        let pattern = slice(pattern, layout)?;
        let mut out = vec![0.0; rows * heads * d_head];
        let mut by_head: Vec<Vec<&mut [f32]>> = Vec::new();
        by_head.resize_with(heads, || Vec::with_capacity(rows));
        for row in out.chunks_exact_mut(heads * d_head) {
            for (head, piece) in by_head.iter_mut().zip(row.chunks_exact_mut(d_head)) {
                head.push(piece);
            }
        }
        let group = (heads / layer.heads.max(1)).max(1);
        let job = |(head, mut y): (usize, Vec<&mut [f32]>)| {
            let x: Vec<&[f32]> = pattern.chunks_exact(keys).skip(head * rows).take(rows).collect();
            let [_, panels] = layer.head(head / group);
            pulp::Arch::new().dispatch(Product { x: &x, panels, span: layer.capacity, y: &mut y });
        };
        run(by_head.into_iter().enumerate().collect(), rows * keys * d_head, job);
        Ok((CpuStorage::F32(out), (rows, heads, d_head).into()))
    }
}

/// Jobs of `size` multiply-adds each, on all cores where that is worth it.
fn run<T: Send>(jobs: Vec<T>, size: usize, job: impl Fn(T) + Sync + Send) {
    if jobs.len() * size < WORTH {
        jobs.into_iter().for_each(job);
    } else {
        each(jobs, job);
    }
}

//! Keys and values of a sequence, preallocated and written in place, in the panels that attention reads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use super::fused::PANEL;
use crate::error::{Error, Result};
use crate::spec::{AttnSpec, LayerSpec, Spec};

/// Keys (after rotary) and values per layer.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<Mutex<Layer>>,
}

/// Keys and values of one layer. A product with the keys has positions as outputs, one with the values has them as
/// inputs: so keys stand in panels of positions, values in panels of channels.
#[derive(Debug)]
pub(super) struct Layer {
    /// Per key head, per [`PANEL`] positions: `[d_head, PANEL]`.
    keys: Vec<f32>,
    /// Per key head, per [`PANEL`] channels: `[capacity, PANEL]`.
    values: Vec<f32>,
    pub heads: usize,
    pub d_head: usize,
    pub capacity: usize,
}

impl KvCache {
    /// An empty cache for `capacity` positions.
    pub fn new(spec: &Spec, capacity: usize) -> Result<Self> {
        let layer = |attn: &AttnSpec| Mutex::new(Layer::new(attn.kv_heads, attn.d_head, capacity));
        Ok(Self { layers: spec.layers.iter().map(|block| layer(&block.attn)).collect() })
    }

    /// Bytes that [`KvCache::new`] allocates.
    pub fn bytes(spec: &Spec, capacity: usize) -> u64 {
        let per = |block: &LayerSpec| {
            let AttnSpec { kv_heads, d_head, .. } = block.attn;
            sizes(kv_heads, d_head, capacity)
                .iter()
                .fold(0, |all: u64, &size| all.saturating_add(size as u64))
        };
        spec.layers.iter().map(per).fold(0, u64::saturating_add).saturating_mul(4)
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

    pub(super) fn layer(&self, layer: usize) -> Result<MutexGuard<'_, Layer>> {
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
}

/// Elements of keys and of values; [`usize::MAX`] stands for more.
fn sizes(heads: usize, d_head: usize, capacity: usize) -> [usize; 2] {
    let panels = |count: usize| count.div_ceil(PANEL).saturating_mul(PANEL);
    [[panels(capacity), d_head], [capacity, panels(d_head)]]
        .map(|[rows, width]| heads.saturating_mul(rows).saturating_mul(width))
}

impl Layer {
    pub(super) fn new(heads: usize, d_head: usize, capacity: usize) -> Self {
        let [keys, values] = sizes(heads, d_head, capacity).map(|size| vec![0.0; size]);
        Self { keys, values, heads, d_head, capacity }
    }

    /// `k`, `v` `[rows, heads, d_head]`.
    pub(super) fn write(&mut self, start: usize, k: &[f32], v: &[f32]) {
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
    pub(super) fn head(&self, head: usize) -> [&[f32]; 2] {
        [&self.keys, &self.values].map(|all| {
            let size = all.len() / self.heads.max(1);
            all.get(head * size..(head + 1) * size).unwrap_or_default()
        })
    }
}

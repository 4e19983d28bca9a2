//! Keys and values of a sequence, preallocated and written in place.

use candle_core::{DType, Device, Tensor};

use super::Spec;
use crate::error::{Error, Result};

/// Keys (after rotary) and values per layer, `[kv_heads, capacity, d_head]` each.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<[Tensor; 2]>,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for `capacity` positions.
    pub fn new(spec: &Spec, capacity: usize) -> Result<Self> {
        let layer = |attn: &super::AttnSpec| -> Result<[Tensor; 2]> {
            let empty = || Tensor::zeros((attn.kv_heads, capacity, attn.d_head), DType::F32, &Device::Cpu);
            Ok([empty()?, empty()?])
        };
        let layers = spec.layers.iter().map(|block| layer(&block.attn)).collect::<Result<_>>()?;
        Ok(Self { layers, capacity })
    }

    /// Bytes that [`KvCache::new`] allocates.
    pub fn bytes(spec: &Spec, capacity: usize) -> u64 {
        let per = |block: &super::LayerSpec| 8 * (block.attn.kv_heads * block.attn.d_head) as u64;
        spec.layers.iter().map(per).sum::<u64>() * capacity as u64
    }

    /// Write the rows of positions `start ..` of a layer and return all keys and values up to their end,
    /// `[kv_heads, keys, d_head]`. `k`, `v` `[rows, kv_heads, d_head]`.
    pub fn write(&self, layer: usize, start: usize, k: &Tensor, v: &Tensor) -> Result<[Tensor; 2]> {
        let rows = k.dim(0)?;
        let end = start + rows;
        let stored =
            self.layers.get(layer).ok_or_else(|| Error::Internal(format!("no cache for layer {layer}")))?;
        if end > self.capacity {
            return Err(Error::Internal(format!("position {end} is past the cache's {}", self.capacity)));
        }
        for (stored, new) in stored.iter().zip([k, v]) {
            stored.slice_set(&new.transpose(0, 1)?.contiguous()?, 1, start)?;
        }
        let [k, v] = stored;
        Ok([k.narrow(1, 0, end)?, v.narrow(1, 0, end)?])
    }
}

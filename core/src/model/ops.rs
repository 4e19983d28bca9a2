//! The primitives of the forward pass, on rows `[rows, width]`, in plain tensor operations. Inference, training and
//! attribution use the same ones; every one has a backward through candle's autograd. Norms, rotary turns, activations
//! and softmax run in their [`super::fused`] forms; what stands here is the oracle these are tested against.

use candle_core::{D, DType, Device, Tensor};

use crate::error::Result;
use crate::spec::{Activation, NormKind, NormSpec, RopeScaling, RopeSpec};

/// x W^T + b. `x` `[rows, in]`, `weight` `[out, in]`, `bias` `[out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    Ok(match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

/// The parts of a normalisation that have sites.
pub struct Normed {
    /// `[rows, 1]`: root of the mean square (RMS) or of the variance (layer norm), eps inside.
    pub scale: Tensor,
    /// `[rows, width]`: x / scale, centred first in a layer norm.
    pub normalized: Tensor,
}

/// x / rms(x) or (x - mean) / std over the last dimension, before weight and bias. `x` `[rows, width]`.
pub fn normalize(x: &Tensor, norm: &NormSpec) -> Result<Normed> {
    let x = match norm.kind {
        NormKind::Rms => x.clone(),
        NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
    };
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + norm.eps)?.sqrt()?;
    let normalized = x.broadcast_div(&scale)?;
    Ok(Normed { scale, normalized })
}

/// normalized * weight + bias. `normalized` `[rows, width]`, `weight` and `bias` `[width]`.
pub fn affine(normalized: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut y = normalized.clone();
    if let Some(weight) = weight {
        y = y.broadcast_mul(weight)?;
    }
    if let Some(bias) = bias {
        y = y.broadcast_add(bias)?;
    }
    Ok(y)
}

/// An activation, element by element; the shape of `x`, `[..]`.
pub fn activate(x: &Tensor, act: Activation) -> Result<Tensor> {
    Ok(match act {
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::QuickGelu => (x * sigmoid(&(x * 1.702)?)?)?,
        Activation::Relu => x.relu()?,
        Activation::Relu2 => x.relu()?.sqr()?,
        Activation::Silu => x.silu()?,
        Activation::Tanh => x.tanh()?,
        Activation::Sigmoid => sigmoid(x)?,
    })
}

/// 1 / (1 + e^-x), element by element; the shape of `x`, `[..]`.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// cap * tanh(x / cap), element by element; the shape of `x`, `[..]`.
pub fn soft_cap(x: &Tensor, cap: Option<f32>) -> Result<Tensor> {
    Ok(match cap {
        Some(cap) => ((x / f64::from(cap))?.tanh()? * f64::from(cap))?,
        None => x.clone(),
    })
}

/// Softmax over the last dimension of `[.., width]`.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // The shift cancels, so nothing flows back through it.
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
}

/// Additive causal mask `[queries, keys]` for queries at `positions` and keys at 0, 1, 2 …: 0 where the query sees
/// the key, -inf elsewhere.
pub fn causal_mask(positions: &[usize], keys: usize, window: Option<usize>) -> Result<Tensor> {
    let sees = |query: usize, key: usize| key <= query && window.is_none_or(|window| query - key < window);
    let mask: Vec<f32> = positions
        .iter()
        .flat_map(|&query| (0..keys).map(move |key| if sees(query, key) { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Ok(Tensor::from_vec(mask, (positions.len(), keys), &Device::Cpu)?)
}

/// q k^T, before scale, cap and mask. `q` `[heads, rows, d_head]`, `k` `[kv_heads, keys, d_head]`; returns `[heads, rows,
/// keys]`. Query head h reads key head h / (heads / kv_heads).
pub fn attention_raw(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let (heads, rows, d_head) = q.dims3()?;
    let (kv_heads, keys, _) = k.dims3()?;
    let grouped = q.reshape((kv_heads, heads / kv_heads * rows, d_head))?;
    Ok(grouped.matmul(&k.t()?)?.reshape((heads, rows, keys))?)
}

/// pattern v. `pattern` `[heads, rows, keys]`, `v` `[kv_heads, keys, d_head]`; returns `[rows, heads, d_head]`.
pub fn attention_mix(pattern: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (heads, rows, keys) = pattern.dims3()?;
    let (kv_heads, _, d_head) = v.dims3()?;
    let grouped = pattern.reshape((kv_heads, heads / kv_heads * rows, keys))?;
    Ok(grouped.matmul(v)?.reshape((heads, rows, d_head))?.transpose(0, 1)?.contiguous()?)
}

/// Cosines and sines of rotary positions, each `[rows, dims / 2]`.
#[derive(Clone, Debug)]
pub struct RopeTable {
    pub(super) cos: Tensor,
    pub(super) sin: Tensor,
    dims: usize,
}

impl RopeTable {
    /// Tables for `positions` in a sequence of `len` tokens (only dynamic and longrope depend on it).
    pub fn new(rope: &RopeSpec, positions: &[usize], len: usize) -> Result<Self> {
        let (inverse, factor) = rope.frequencies(len);
        let half = inverse.len();
        let angle = |&position: &usize| inverse.iter().map(move |f| position as f32 * f);
        let angles: Vec<f32> = positions.iter().flat_map(angle).collect();
        let angles = Tensor::from_vec(angles, (positions.len(), half), &Device::Cpu)?;
        let cos = (angles.cos()? * factor)?;
        let sin = (angles.sin()? * factor)?;
        Ok(Self { cos, sin, dims: rope.rotated() })
    }

    /// Rotate the first `dims` of each head, the two halves paired. `x` `[rows, heads, d_head]`.
    pub fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, d_head) = x.dims3()?;
        let half = self.dims / 2;
        let (cos, sin) = (self.cos.unsqueeze(1)?, self.sin.unsqueeze(1)?);
        let a = x.narrow(D::Minus1, 0, half)?;
        let b = x.narrow(D::Minus1, half, half)?;
        let left = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let right = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        if self.dims == d_head {
            return Ok(Tensor::cat(&[left, right], D::Minus1)?);
        }
        let rest = x.narrow(D::Minus1, self.dims, d_head - self.dims)?;
        Ok(Tensor::cat(&[left, right, rest], D::Minus1)?)
    }
}

impl RopeSpec {
    /// Pairs of dimensions that are turned.
    pub fn pairs(&self) -> usize {
        self.dims.div_ceil(2)
    }

    /// Dimensions of each head that are turned.
    pub fn rotated(&self) -> usize {
        2 * self.pairs()
    }

    /// Longest sequence that makes sense where the checkpoint was trained on `trained` positions.
    pub fn context(&self, trained: usize) -> usize {
        let stretched = |original: usize, factor: f64| (original as f64 * factor) as usize;
        let stretched = match self.scaling {
            RopeScaling::Linear { factor } => stretched(trained, factor),
            RopeScaling::Dynamic { factor, .. } => stretched(trained, factor),
            // Checkpoints that may be stretched on demand keep the trained context in config.json (Qwen 2.5).
            RopeScaling::Yarn { factor, original, .. } => stretched(original, factor),
            _ => trained,
        };
        trained.max(stretched)
    }

    /// Sequences of one epoch share their frequencies; a cache of rotated keys is valid within one only.
    pub fn epoch(&self, len: usize) -> usize {
        match self.scaling {
            RopeScaling::Dynamic { original, .. } => len.saturating_sub(original),
            RopeScaling::LongRope { original, .. } => usize::from(len > original),
            _ => 0,
        }
    }

    /// Angle per position for each pair of dimensions, and the factor on cos and sin.
    ///
    /// In f32 and in the order of transformers: far into a long prompt a last bit of these would show.
    pub fn frequencies(&self, len: usize) -> (Vec<f32>, f64) {
        let dims = self.dims as f32;
        let powers = |theta: f32| {
            let power = move |exponent: f32| f64::from(theta).powf(f64::from(exponent)) as f32;
            (0..self.pairs()).map(move |i| power((2 * i) as f32 / dims))
        };
        let theta = self.theta as f32;
        let plain = || powers(theta).map(f32::recip);
        match &self.scaling {
            RopeScaling::None => (plain().collect(), 1.0),
            RopeScaling::Linear { factor } => (plain().map(|f| f / *factor as f32).collect(), 1.0),
            RopeScaling::Dynamic { original, .. } if len <= *original => (plain().collect(), 1.0),
            RopeScaling::Dynamic { factor, original } => {
                let ratio = *factor as f32 * len as f32 / *original as f32;
                let stretch = f64::from(ratio - (factor - 1.0) as f32);
                let exponent = self.dims as f64 / (self.dims as f64 - 2.0);
                (powers(theta * stretch.powf(exponent) as f32).map(f32::recip).collect(), 1.0)
            }
            RopeScaling::Llama3 { factor, low, high, original } => {
                let scale = |f: f32| {
                    let wavelength = std::f32::consts::TAU / f;
                    let rotations = *original as f32 / wavelength;
                    let smooth = ((rotations - *low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    (1.0 - smooth) * f / *factor as f32 + smooth * f
                };
                (plain().map(scale).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original, truncate, attention_factor } => {
                // Peng et al. 2023, sections 3.2-3.4: dimensions by the number of rotations in the trained context.
                let dims = self.dims as f64;
                let dimension = |rotations: f64| {
                    dims * (*original as f64 / (rotations * std::f64::consts::TAU)).ln()
                        / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (dimension(*beta_fast), dimension(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dims - 1.0));
                if low == high {
                    high += 0.001;
                }
                // The ramp has an entry for every two dimensions; a family with three gives both frequencies its only one.
                let last = (self.dims / 2).saturating_sub(1);
                let blend = |(i, power): (usize, f32)| {
                    let i = i.min(last);
                    let keep = 1.0 - ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    (*factor as f32 * power).recip() * (1.0 - keep) + power.recip() * keep
                };
                (powers(theta).enumerate().map(blend).collect(), *attention_factor)
            }
            RopeScaling::LongRope { short, long, original, attention_factor } => {
                let divisors = if len > *original { long } else { short };
                let divide = |(power, divisor): (f32, &f64)| (*divisor as f32 * power).recip();
                (powers(theta).zip(divisors.iter()).map(divide).collect(), *attention_factor)
            }
        }
    }
}

/// Rows of a table. `ids` u32, `[rows]`.
pub fn embedding(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
    Ok(table.index_select(&ids, 0)?)
}

/// A zero tensor `[rows, width]`, f32.
pub fn zeros(rows: usize, width: usize) -> Result<Tensor> {
    Ok(Tensor::zeros((rows, width), DType::F32, &Device::Cpu)?)
}

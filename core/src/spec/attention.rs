//! Attention and its positions.

use std::sync::Arc;

use super::NormSpec;

/// Attention of one block.
#[derive(Clone, Debug, PartialEq)]
pub struct AttnSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Factor on q · k.
    pub scale: f32,
    /// Biases on q, k, v.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub out_bias: bool,
    /// Queries, keys and values are kept between minus this and this, after any norm and before rotary (OLMoE).
    pub clip: Option<f32>,
    /// Norm of queries and keys before rotary.
    pub qk_norm: Option<QkNorm>,
    /// Rotary positions.
    pub rope: Option<RopeSpec>,
    /// A query sees itself and the `window - 1` positions before it.
    pub window: Option<usize>,
    /// scores = cap * tanh(scores / cap), before the mask.
    pub soft_cap: Option<f32>,
    /// Each head has a learned score of a key that is not there: it takes its share of the softmax and adds nothing
    /// (gpt-oss).
    pub sinks: bool,
}

/// Norm of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QkNorm {
    /// The norm.
    pub norm: NormSpec,
    /// What it runs over.
    pub over: QkNormOver,
}

/// What a query/key norm runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNormOver {
    /// Each head, one weight for all of them.
    Head,
    /// Each head, a weight of its own (StableLM).
    EachHead,
    /// All heads together (OLMo 2).
    Full,
}

/// Rotary positions; the two halves of the rotated dimensions are paired.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Dimensions of each head that the frequencies are spread over. Where odd, one more is rotated, as its pair's other half.
    pub dims: usize,
    /// Base of the frequencies.
    pub theta: f64,
    /// Change of the frequencies for long contexts.
    pub scaling: RopeScaling,
}

/// Changes of the rotary frequencies (`rope_type`).
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// `default`
    None,
    /// `linear`: positions divided by `factor`.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// `dynamic`: the base grows once the sequence passes `original`.
    Dynamic {
        /// Factor.
        factor: f64,
        /// Trained context.
        original: usize,
    },
    /// `llama3`: low frequencies divided by `factor`, high ones kept, a smooth step between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above original / low are low.
        low: f64,
        /// Wavelengths below original / high are high.
        high: f64,
        /// Trained context.
        original: usize,
    },
    /// `yarn` (Peng et al. 2023): interpolation by parts, and a factor on cos and sin.
    Yarn {
        /// Interpolation divisor.
        factor: f64,
        /// Rotations above which a dimension is kept.
        beta_fast: f64,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f64,
        /// Trained context.
        original: usize,
        /// Round the ramp's ends to whole dimensions.
        truncate: bool,
        /// Factor on cos and sin.
        attention_factor: f64,
    },
    /// `longrope` (Phi-3): per-dimension divisors, one set up to `original`, another past it. All layers share them.
    LongRope {
        /// Divisors up to `original`.
        short: Arc<[f64]>,
        /// Divisors past it.
        long: Arc<[f64]>,
        /// Trained context.
        original: usize,
        /// Factor on cos and sin.
        attention_factor: f64,
    },
}

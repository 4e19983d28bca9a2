//! An architecture as data. A family reads config.json into a [`Spec`]; the one forward pass reads nothing else.

use super::VisionSpec;
use crate::error::{Error, Result};
use crate::plan::Lane;

/// Everything that changes the arithmetic of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// `model_type` of config.json.
    pub model_type: String,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Longest sequence.
    pub context: usize,
    /// Token and position embedding.
    pub embed: EmbedSpec,
    /// One entry per block.
    pub layers: Vec<LayerSpec>,
    /// Norm before the unembedding.
    pub ln_final: Option<NormSpec>,
    /// Unembedding.
    pub unembed: UnembedSpec,
    /// Begin-of-sequence id of config.json.
    pub bos: Option<u32>,
    /// End-of-sequence ids of config.json.
    pub eos: Vec<u32>,
    /// Image tower and projector, of a model that reads images.
    pub vision: Option<VisionSpec>,
    /// Learned routers of a Duo model; each has a matrix in every block.
    pub routers: Vec<RouterSpec>,
}

/// A learned router (Duo-LLM, section 2, stage 3): per block a linear map from the normalised stream to one number per
/// lane.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterSpec {
    /// Name in the checkpoint and in plans.
    pub name: String,
    /// What it chooses between, in the order of its outputs.
    pub lanes: Vec<Lane>,
    /// Share of each lane that it was trained for, as long as `lanes`.
    pub budget: Vec<f32>,
}

/// Token and position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedSpec {
    /// Width of the table; a projection to `d_model` follows where they differ (OPT-350m).
    pub width: usize,
    /// Factor on the embedding (Gemma: root of `d_model`).
    pub scale: Option<f32>,
    /// Learned positions.
    pub positions: Option<LearnedPositions>,
}

/// A table of learned positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedPositions {
    /// Rows of the table, offset included.
    pub rows: usize,
    /// Row of position 0 (OPT: 2).
    pub offset: usize,
}

/// Unembedding: projection to the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct UnembedSpec {
    /// Shares the embedding's table.
    pub tied: bool,
    /// Has a bias.
    pub bias: bool,
    /// logits = cap * tanh(logits / cap).
    pub soft_cap: Option<f32>,
}

/// How a block's two sublayers meet the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// x += attn(ln1 x); x += ffn(ln2 x); each output may have a post-norm of its own.
    Sequential,
    /// x = ln1(x + attn x); x = ln2(x + ffn x) (OPT-350m).
    PostNorm,
    /// x += attn(ln1 x) + ffn(ln2 x); without `ln2` both read ln1.
    Parallel,
}

/// One block.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// How the sublayers meet the stream.
    pub residual: Residual,
    /// Norm before attention (`PostNorm`: after it).
    pub ln1: Option<NormSpec>,
    /// Norm on the attention output (Gemma 2, OLMo 2).
    pub ln1_post: Option<NormSpec>,
    /// Norm before the FFN (`PostNorm`: after it).
    pub ln2: Option<NormSpec>,
    /// Norm on the FFN output.
    pub ln2_post: Option<NormSpec>,
    /// Attention.
    pub attn: AttnSpec,
    /// The FFN; the big one of a Duo model; one expert of a block of experts.
    pub ffn: FfnSpec,
    /// The small FFN beside it, of a Duo model.
    pub small: Option<FfnSpec>,
    /// Experts in place of one FFN.
    pub experts: Option<ExpertsSpec>,
}

/// A mixture of experts: a router scores all of them for each token, the best few are computed, and their outputs are
/// added up with gate weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertsSpec {
    /// How many there are, shared ones apart.
    pub count: usize,
    /// How many a token goes through.
    pub top_k: usize,
    /// Router logits to scores.
    pub score: Score,
    /// Gate weights of the chosen are divided by their sum.
    pub renormalise: bool,
    /// Factor on the gate weights (DeepSeek: `routed_scaling_factor`).
    pub scale: f32,
    /// The router has a bias.
    pub router_bias: bool,
    /// A stored number per expert is added to the score for the choice, not for the gate weight (DeepSeek-V3).
    pub correction: bool,
    /// Experts are chosen from the best of these groups only: groups, and how many are open. (1, 1) = no groups.
    pub groups: (usize, usize),
    /// An FFN that every token goes through beside its experts.
    pub shared: Option<SharedSpec>,
    /// Bounds inside the gated product.
    pub clamp: Option<Clamp>,
}

/// Router logits to scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// Sigmoid of each.
    Sigmoid,
}

/// The shared expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedSpec {
    /// Inner width.
    pub d_mlp: usize,
    /// Its output is multiplied by the sigmoid of a linear map of the token (Qwen2-MoE).
    pub gated: bool,
}

/// gpt-oss: (clamp(up) + 1) * g sigmoid(alpha g) with g = min(gate, limit), up between -limit and limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Slope of the sigmoid.
    pub alpha: f32,
    /// Bound.
    pub limit: f32,
}

/// A normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    /// Root mean square or layer norm.
    pub kind: NormKind,
    /// Added to the mean square.
    pub eps: f64,
    /// Has a weight.
    pub weight: bool,
    /// Has a bias.
    pub bias: bool,
    /// The stored weight is an offset from 1 (Gemma).
    pub offset_one: bool,
}

/// The two normalisations of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// x / rms(x)
    Rms,
    /// (x - mean) / std
    Layer,
}

impl NormSpec {
    /// RMS norm with a weight.
    pub fn rms(eps: f64) -> Self {
        Self { kind: NormKind::Rms, eps, weight: true, bias: false, offset_one: false }
    }

    /// Layer norm with weight and bias.
    pub fn layer(eps: f64) -> Self {
        Self { kind: NormKind::Layer, eps, weight: true, bias: true, offset_one: false }
    }
}

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
    /// Rotated dimensions of each head, even.
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
    /// `longrope` (Phi-3): per-dimension divisors, one set up to `original`, another past it.
    LongRope {
        /// Divisors up to `original`.
        short: Vec<f64>,
        /// Divisors past it.
        long: Vec<f64>,
        /// Trained context.
        original: usize,
        /// Factor on cos and sin.
        attention_factor: f64,
    },
}

/// A feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FfnSpec {
    /// Inner width.
    pub d_mlp: usize,
    /// act(gate) * up instead of act(up).
    pub gated: bool,
    /// Activation.
    pub act: Activation,
    /// Biases on the way in.
    pub in_bias: bool,
    /// Bias on the way out.
    pub out_bias: bool,
}

/// Activations by their Hugging Face names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu`: with the error function.
    Gelu,
    /// `gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`: tanh form.
    GeluTanh,
    /// `quick_gelu`: x sigmoid(1.702 x).
    QuickGelu,
    /// `relu`
    Relu,
    /// `relu2`: relu squared.
    Relu2,
    /// `silu`, `swish`
    Silu,
    /// `tanh`
    Tanh,
    /// `sigmoid`
    Sigmoid,
}

impl Spec {
    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// A learned router by its place.
    pub fn router(&self, index: usize) -> Result<&RouterSpec> {
        self.routers.get(index).ok_or_else(|| Error::Internal(format!("no router {index}")))
    }

    /// Whether any block has experts.
    pub fn has_experts(&self) -> bool {
        self.layers.iter().any(|layer| layer.experts.is_some())
    }

    /// Whether every block has a small FFN of its own.
    pub fn is_duo(&self) -> bool {
        self.layers.iter().all(|layer| layer.small.is_some())
    }
}

impl LayerSpec {
    /// Values inside the FFN that one row takes, experts and shared ones together.
    pub fn ffn_width(&self) -> usize {
        let one = (2 + usize::from(self.ffn.gated)) * self.ffn.d_mlp;
        match self.experts {
            None => one,
            Some(experts) => {
                let shared = experts.shared.map_or(0, |shared| 3 * shared.d_mlp);
                experts.top_k * one + shared
            }
        }
    }
}

//! Feed-forward networks and mixtures of experts.

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

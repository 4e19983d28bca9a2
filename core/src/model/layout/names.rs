//! Tensor names of a family.

/// Tensor names of a family. Names inside a block are relative to [`Layout::block`].
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Prefix of everything but the unembedding; checkpoints of the bare model leave it out.
    pub prefix: &'static str,
    /// Token embedding.
    pub embed: &'static str,
    /// Learned positions.
    pub positions: &'static str,
    /// Projections between an embedding of another width and the stream (OPT).
    pub project: [&'static str; 2],
    /// Block prefix before the index: `layers`.
    pub block: &'static str,
    /// Norm before attention.
    pub ln1: &'static str,
    /// Norm on the attention output.
    pub ln1_post: &'static str,
    /// Norm before the FFN.
    pub ln2: &'static str,
    /// Norm on the FFN output.
    pub ln2_post: &'static str,
    /// Query, key and value projections.
    pub qkv: Qkv,
    /// Output projection.
    pub out: &'static str,
    /// Query and key norms.
    pub qk_norm: [&'static str; 2],
    /// Into the FFN.
    pub ffn_in: FfnIn,
    /// Out of the FFN.
    pub down: &'static str,
    /// Experts in place of an FFN.
    pub experts: ExpertsAt,
    /// Scores of the key that is not there.
    pub sinks: &'static str,
    /// Norm before the unembedding.
    pub ln_final: &'static str,
    /// Unembedding, with no prefix.
    pub unembed: &'static str,
    /// Linear weights are stored `[in, out]` (GPT-2's Conv1D).
    pub transposed: bool,
    /// Prefixes of image tower and projector.
    pub vision: [&'static str; 2],
    /// Parts of names, each with what other writers put in its place.
    pub respelt: &'static [[&'static str; 2]],
    /// Ends of names of buffers that follow from the config: masks, frequencies. Nobody reads them.
    pub buffers: &'static [&'static str],
}

/// How query, key and value projections are stored.
#[derive(Clone, Copy, Debug)]
pub enum Qkv {
    /// Three tensors.
    Split([&'static str; 3]),
    /// One tensor: all queries, all keys, all values.
    Stacked(&'static str),
    /// One tensor: query, key and value of head 0, then of head 1 … (GPT-NeoX).
    PerHead(&'static str),
}

/// How the projections into the FFN are stored.
#[derive(Clone, Copy, Debug)]
pub enum FfnIn {
    /// act(up x)
    Up(&'static str),
    /// gate and up.
    Gated([&'static str; 2]),
    /// One tensor: gate, then up.
    GatedStacked(&'static str),
}

/// Where a block of experts is stored.
#[derive(Clone, Copy, Debug)]
pub struct ExpertsAt {
    /// The router.
    pub router: &'static str,
    /// What is added to the scores for the choice; the whole name.
    pub correction: &'static str,
    /// The experts.
    pub each: EachExpert,
    /// Their whole names where they are stored as [`EachExpert::Joined`] instead, as transformers 5 can write them.
    pub joined: [&'static str; 2],
    /// The shared expert's gate, up and down.
    pub shared: [&'static str; 3],
    /// What the shared expert's output is multiplied by.
    pub shared_gate: &'static str,
}

/// How experts are stored.
#[derive(Clone, Copy, Debug)]
pub enum EachExpert {
    /// One by one: what stands before the number, and gate, up and down behind it.
    Single(&'static str, [&'static str; 3]),
    /// In one tensor `[experts, d, 2 d_mlp]`, gate and up alternating, and one `[experts, d_mlp, d]`; whole names
    /// (gpt-oss).
    Stacked([&'static str; 2]),
    /// In one tensor `[experts, 2 d_mlp, d]`, gate before up, and one `[experts, d, d_mlp]`; whole names.
    Joined([&'static str; 2]),
}

/// Experts as the Qwen families name them.
pub const EXPERTS: ExpertsAt = ExpertsAt {
    router: "mlp.gate",
    correction: "mlp.gate.e_score_correction_bias",
    each: EachExpert::Single("mlp.experts", ["gate_proj", "up_proj", "down_proj"]),
    joined: ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    shared: ["mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj"],
    shared_gate: "mlp.shared_expert_gate",
};

/// Buffers of rotary positions.
pub const ROTARY_BUFFERS: &[&str] =
    &["rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached"];

/// Names of a plain Llama; other families change a few.
pub const LLAMA: Layout = Layout {
    prefix: "model.",
    embed: "embed_tokens",
    positions: "",
    project: ["", ""],
    block: "layers",
    ln1: "input_layernorm",
    ln1_post: "",
    ln2: "post_attention_layernorm",
    ln2_post: "",
    qkv: Qkv::Split(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    out: "self_attn.o_proj",
    qk_norm: ["self_attn.q_norm", "self_attn.k_norm"],
    ffn_in: FfnIn::Gated(["mlp.gate_proj", "mlp.up_proj"]),
    down: "mlp.down_proj",
    experts: EXPERTS,
    sinks: "self_attn.sinks",
    ln_final: "norm",
    unembed: "lm_head",
    transposed: false,
    vision: ["", ""],
    respelt: &[],
    buffers: ROTARY_BUFFERS,
};

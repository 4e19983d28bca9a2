//! Where a family keeps its tensors: names and shapes, declared before anything is read.
//!
//! One list serves loading, random initialisation, saving, parameter counts and memory estimates.

use super::vision::{self, VisionRole};
use crate::spec::{ExpertsSpec, FfnSpec, LayerSpec, NormSpec, QkNormOver, Spec};

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
    /// A prefix, and what other writers put in its place.
    pub respelt: [&'static str; 2],
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
}

/// Experts as the Qwen families name them.
pub const EXPERTS: ExpertsAt = ExpertsAt {
    router: "mlp.gate",
    correction: "mlp.gate.e_score_correction_bias",
    each: EachExpert::Single("mlp.experts", ["gate_proj", "up_proj", "down_proj"]),
    shared: ["mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj"],
    shared_gate: "mlp.shared_expert_gate",
};

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
    respelt: ["", ""],
};

/// Where in the model a tensor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Block, or `None` outside.
    pub layer: Option<usize>,
    /// Which parameter.
    pub role: Role,
    /// Weight or bias.
    pub part: WeightPart,
}

/// Weight or bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightPart {
    /// The matrix, or a norm's factor.
    Weight,
    /// The bias.
    Bias,
}

/// The parameters of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Embed,
    Positions,
    ProjectIn,
    ProjectOut,
    Ln1,
    Ln1Post,
    Ln2,
    Ln2Post,
    Query,
    Key,
    Value,
    /// Fused query, key and value.
    Qkv,
    Out,
    QueryNorm,
    KeyNorm,
    /// StableLM: the norm of one query head.
    QueryNormHead(usize),
    KeyNormHead(usize),
    Gate,
    Up,
    /// Fused gate and up.
    GateUp,
    Down,
    SmallGate,
    SmallUp,
    SmallDown,
    ExpertRouter,
    ExpertCorrection,
    ExpertGate(usize),
    ExpertUp(usize),
    ExpertDown(usize),
    /// All experts in one tensor.
    ExpertsGateUp,
    ExpertsDown,
    SharedGate,
    SharedUp,
    SharedDown,
    /// What the shared expert's output is multiplied by.
    SharedShare,
    Sinks,
    LnFinal,
    Unembed,
    /// Image tower and projector.
    Vision(VisionRole),
    /// Matrix of a learned router, by its place in [`Spec::routers`].
    Router(usize),
}

/// A tensor that a checkpoint of some spec must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Decl {
    /// Where it goes.
    pub slot: Slot,
    /// Its name in the file, without the family's prefix if `prefixed`.
    pub name: String,
    /// Whether the family's prefix stands before the name.
    pub prefixed: bool,
    /// Its shape in the file.
    pub shape: Vec<usize>,
}

impl Decl {
    /// Number of parameters.
    pub fn len(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Every tensor of a model, in the order of the pass.
pub fn declare(spec: &Spec, layout: &Layout) -> Vec<Decl> {
    let mut list = Declarer { layout, layer: None, list: Vec::new() };
    let d = spec.d_model;
    list.weight(Role::Embed, layout.embed, vec![spec.vocab, spec.embed.width]);
    if let Some(positions) = spec.embed.positions {
        list.weight(Role::Positions, layout.positions, vec![positions.rows, d]);
    }
    if spec.embed.width != d {
        list.weight(Role::ProjectIn, layout.project[0], vec![d, spec.embed.width]);
    }
    for (index, layer) in spec.layers.iter().enumerate() {
        list.layer = Some(index);
        list.block(d, layer);
        for (router, number) in spec.routers.iter().zip(0..) {
            let name = format!("routers.{}", router.name);
            list.weight(Role::Router(number), &name, vec![router.lanes.len(), d]);
        }
    }
    list.layer = None;
    list.norm(Role::LnFinal, layout.ln_final, spec.ln_final, d);
    if spec.embed.width != d {
        list.weight(Role::ProjectOut, layout.project[1], vec![spec.embed.width, d]);
    }
    if !spec.unembed.tied {
        list.bare(Role::Unembed, WeightPart::Weight, layout.unembed, vec![spec.vocab, spec.embed.width]);
    }
    if spec.unembed.bias {
        list.bare(Role::Unembed, WeightPart::Bias, layout.unembed, vec![spec.vocab]);
    }
    if let Some(spec) = &spec.vision {
        let [tower, projector] = layout.vision;
        list.list.extend(vision::declare(spec, tower, projector));
    }
    list.list
}

/// Parameters of a model, tied ones counted once.
pub fn parameters(spec: &Spec, layout: &Layout) -> u64 {
    declare(spec, layout).iter().map(Decl::len).fold(0, u64::saturating_add)
}

struct Declarer<'a> {
    layout: &'a Layout,
    layer: Option<usize>,
    list: Vec<Decl>,
}

impl Declarer<'_> {
    fn push(&mut self, role: Role, part: WeightPart, name: &str, prefixed: bool, shape: Vec<usize>) {
        let suffix = match part {
            WeightPart::Weight => "weight",
            WeightPart::Bias => "bias",
        };
        let name = match self.layer {
            Some(layer) => format!("{}.{layer}.{name}.{suffix}", self.layout.block),
            None => format!("{name}.{suffix}"),
        };
        self.list.push(Decl { slot: Slot { layer: self.layer, role, part }, name, prefixed, shape });
    }

    /// A tensor of a block whose name ends with itself.
    fn whole(&mut self, role: Role, part: WeightPart, name: &str, shape: Vec<usize>) {
        let name = format!("{}.{}.{name}", self.layout.block, self.layer.unwrap_or(0));
        self.list.push(Decl { slot: Slot { layer: self.layer, role, part }, name, prefixed: true, shape });
    }

    fn weight(&mut self, role: Role, name: &str, shape: Vec<usize>) {
        self.push(role, WeightPart::Weight, name, true, shape);
    }

    fn bare(&mut self, role: Role, part: WeightPart, name: &str, shape: Vec<usize>) {
        self.push(role, part, name, false, shape);
    }

    fn linear(&mut self, role: Role, name: &str, out: usize, input: usize, bias: bool) {
        let shape = if self.layout.transposed { vec![input, out] } else { vec![out, input] };
        self.weight(role, name, shape);
        if bias {
            self.push(role, WeightPart::Bias, name, true, vec![out]);
        }
    }

    fn norm(&mut self, role: Role, name: &str, norm: Option<NormSpec>, width: usize) {
        let Some(norm) = norm else { return };
        if norm.weight {
            self.weight(role, name, vec![width]);
        }
        if norm.bias {
            self.push(role, WeightPart::Bias, name, true, vec![width]);
        }
    }

    fn block(&mut self, d: usize, layer: &LayerSpec) {
        let layout = self.layout;
        let attn = &layer.attn;
        let (q, kv) = (attn.heads * attn.d_head, attn.kv_heads * attn.d_head);
        self.norm(Role::Ln1, layout.ln1, layer.ln1, d);
        match layout.qkv {
            Qkv::Split([query, key, value]) => {
                self.linear(Role::Query, query, q, d, attn.qkv_bias);
                self.linear(Role::Key, key, kv, d, attn.qkv_bias);
                self.linear(Role::Value, value, kv, d, attn.qkv_bias);
            }
            Qkv::Stacked(name) | Qkv::PerHead(name) => {
                self.linear(Role::Qkv, name, q + 2 * kv, d, attn.qkv_bias);
            }
        }
        if let Some(qk) = attn.qk_norm {
            let [query, key] = layout.qk_norm;
            match qk.over {
                QkNormOver::Head => {
                    self.norm(Role::QueryNorm, query, Some(qk.norm), attn.d_head);
                    self.norm(Role::KeyNorm, key, Some(qk.norm), attn.d_head);
                }
                QkNormOver::Full => {
                    self.norm(Role::QueryNorm, query, Some(qk.norm), q);
                    self.norm(Role::KeyNorm, key, Some(qk.norm), kv);
                }
                QkNormOver::EachHead => {
                    for head in 0..attn.heads {
                        let name = format!("{query}.norms.{head}");
                        self.norm(Role::QueryNormHead(head), &name, Some(qk.norm), attn.d_head);
                    }
                    for head in 0..attn.kv_heads {
                        let name = format!("{key}.norms.{head}");
                        self.norm(Role::KeyNormHead(head), &name, Some(qk.norm), attn.d_head);
                    }
                }
            }
        }
        if attn.sinks {
            self.whole(Role::Sinks, WeightPart::Bias, layout.sinks, vec![attn.heads]);
        }
        self.linear(Role::Out, layout.out, d, q, attn.out_bias);
        self.norm(Role::Ln1Post, layout.ln1_post, layer.ln1_post, d);
        self.norm(Role::Ln2, layout.ln2, layer.ln2, d);
        match &layer.experts {
            Some(experts) => self.experts(d, &layer.ffn, experts),
            None => self.ffn(d, &layer.ffn),
        }
        self.norm(Role::Ln2Post, layout.ln2_post, layer.ln2_post, d);
        if let Some(small) = layer.small {
            self.linear(Role::SmallGate, "mlp_small.gate_proj", small.d_mlp, d, small.in_bias);
            self.linear(Role::SmallUp, "mlp_small.up_proj", small.d_mlp, d, small.in_bias);
            self.linear(Role::SmallDown, "mlp_small.down_proj", d, small.d_mlp, small.out_bias);
        }
    }

    fn ffn(&mut self, d: usize, ffn: &FfnSpec) {
        match self.layout.ffn_in {
            FfnIn::Up(up) => self.linear(Role::Up, up, ffn.d_mlp, d, ffn.in_bias),
            FfnIn::Gated([gate, up]) => {
                self.linear(Role::Gate, gate, ffn.d_mlp, d, ffn.in_bias);
                self.linear(Role::Up, up, ffn.d_mlp, d, ffn.in_bias);
            }
            FfnIn::GatedStacked(name) => self.linear(Role::GateUp, name, 2 * ffn.d_mlp, d, ffn.in_bias),
        }
        self.linear(Role::Down, self.layout.down, d, ffn.d_mlp, ffn.out_bias);
    }

    fn experts(&mut self, d: usize, ffn: &FfnSpec, experts: &ExpertsSpec) {
        let at = self.layout.experts;
        let (count, width) = (experts.count, ffn.d_mlp);
        self.linear(Role::ExpertRouter, at.router, count, d, experts.router_bias);
        if experts.correction {
            self.whole(Role::ExpertCorrection, WeightPart::Bias, at.correction, vec![count]);
        }
        match at.each {
            EachExpert::Single(prefix, [gate, up, down]) => {
                for expert in 0..count {
                    let name = |part: &str| format!("{prefix}.{expert}.{part}");
                    self.linear(Role::ExpertGate(expert), &name(gate), width, d, ffn.in_bias);
                    self.linear(Role::ExpertUp(expert), &name(up), width, d, ffn.in_bias);
                    self.linear(Role::ExpertDown(expert), &name(down), d, width, ffn.out_bias);
                }
            }
            EachExpert::Stacked([gate_up, down]) => {
                let both = [
                    (Role::ExpertsGateUp, gate_up, d, 2 * width, ffn.in_bias),
                    (Role::ExpertsDown, down, width, d, ffn.out_bias),
                ];
                for (role, name, input, output, bias) in both {
                    self.whole(role, WeightPart::Weight, name, vec![count, input, output]);
                    if bias {
                        self.whole(role, WeightPart::Bias, &format!("{name}_bias"), vec![count, output]);
                    }
                }
            }
        }
        if let Some(shared) = experts.shared {
            let [gate, up, down] = at.shared;
            self.linear(Role::SharedGate, gate, shared.d_mlp, d, false);
            self.linear(Role::SharedUp, up, shared.d_mlp, d, false);
            self.linear(Role::SharedDown, down, d, shared.d_mlp, false);
            if shared.gated {
                self.linear(Role::SharedShare, at.shared_gate, 1, d, false);
            }
        }
    }
}

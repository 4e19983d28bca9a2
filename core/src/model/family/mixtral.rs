//! Mixtral: Mistral with experts, gate weights renormalised over the chosen.

use super::super::fields::Fields;
use super::super::layout::{EXPERTS, EachExpert, ExpertsAt, LLAMA, Layout};
use super::{Class, Common, Family, experts, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "mixtral", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    experts: ExpertsAt {
        router: "block_sparse_moe.gate",
        each: EachExpert::Single("block_sparse_moe.experts", ["w1", "w3", "w2"]),
        ..EXPERTS
    },
    // transformers 5 in its own form.
    respelt: &[["block_sparse_moe.", "mlp."]],
    ..LLAMA
};

const CLASS: Class = Class {
    d_model: 4096,
    heads: 32,
    kv_heads: Some(8),
    n_layers: 32,
    d_mlp: 14_336,
    context: 131_072,
    window: None,
    vocab: 32_000,
    tied: false,
};

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, &CLASS)?;
    let norm = fields.rms("rms_norm_eps", 1e-5)?;
    let rope = rope::Defaults::read(fields, None, 1_000_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    layer.attn.window = common.window;
    let count = fields.alias("num_experts", "num_local_experts");
    layer.experts =
        Some(experts::plain(experts::counts(fields, (count, 8), ("num_experts_per_tok", 2))?, true));
    common.spec(fields, "mixtral", vec![layer; common.n_layers], norm)
}

//! dots.llm1: DeepSeek-V3's experts (sigmoid scores, a correction for the choice, groups, shared experts) behind attention
//! with a norm on queries and keys.

use super::super::fields::{Fields, MAX_EXPERTS};
use super::super::layout::{EXPERTS, ExpertsAt, LLAMA, Layout};
use super::{Class, Common, Family, experts, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const FAMILY: Family = Family { model_type: "dots1", spec, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    experts: ExpertsAt {
        shared: [
            "mlp.shared_experts.gate_proj",
            "mlp.shared_experts.up_proj",
            "mlp.shared_experts.down_proj",
        ],
        ..EXPERTS
    },
    ..LLAMA
};

const CLASS: Class = Class {
    d_model: 4608,
    heads: 32,
    kv_heads: Some(32),
    n_layers: 62,
    d_mlp: 10_944,
    context: 2048,
    window: Some(4096),
    vocab: 152_064,
    tied: false,
};

fn spec(fields: &Fields) -> Result<Spec> {
    let common = Common::read(fields, &CLASS)?;
    let norm = fields.rms("rms_norm_eps", 1e-6)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut dense = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    let bias = fields.flag_or("attention_bias", false)?;
    (dense.attn.qkv_bias, dense.attn.out_bias) = (bias, bias);
    dense.attn.qk_norm = Some(QkNorm { norm, over: QkNormOver::Head });

    let count = fields.alias("num_local_experts", "n_routed_experts");
    for name in [count, "num_experts_per_tok", "n_shared_experts"] {
        if fields.get(name).is_none() {
            return Err(fields.bad(name, "is required"));
        }
    }
    let counts = experts::counts(fields, (count, 1), ("num_experts_per_tok", 1))?;
    let groups = fields.count_or("n_group", 1)?;
    let open = fields.count_or("topk_group", 1)?;
    // A group's worth is that of its two best.
    if counts.0 % groups != 0 || counts.0 / groups < 2 {
        return Err(
            fields.bad("n_group", format!("does not divide {} experts into groups of two or more", counts.0))
        );
    }
    if open > groups {
        return Err(fields.bad("topk_group", format!("there are {groups} groups")));
    }
    let width = fields.count_or("moe_intermediate_size", 1408)?;
    let shared = width * fields.count_up_to_or("n_shared_experts", MAX_EXPERTS, 1)?;
    let experts = ExpertsSpec {
        score: Score::Sigmoid,
        scale: fields.positive_or("routed_scaling_factor", 1.0)? as f32,
        correction: true,
        groups: (groups, open),
        shared: Some(SharedSpec { d_mlp: shared, gated: false }),
        ..experts::plain(counts, fields.flag_or("norm_topk_prob", false)?)
    };
    let first = fields.whole("first_k_dense_replace")?.unwrap_or(0);
    let from = fields.whole("max_window_layers")?.unwrap_or(62);
    let window = common.window;
    let windowed = common.windowed(fields, |index| window.is_some() && index >= from)?;
    let layers = windowed.into_iter().enumerate().map(|(index, windowed)| {
        let mut layer = dense.clone();
        layer.attn.window = window.filter(|_| windowed);
        if index >= first {
            layer.ffn.d_mlp = width;
            layer.experts = Some(experts);
        }
        layer
    });
    common.spec(fields, "dots1", layers.collect(), norm)
}

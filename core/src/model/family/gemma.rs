//! Gemma 2 and the text part of Gemma 3: scaled embedding, norms around both sublayers with weights stored as an
//! offset from 1, soft caps, windows in some layers.

use serde_json::json;

use super::super::fields::Fields;
use super::super::layout::{LLAMA, Layout};
use super::{Class, Common, Family, heads_divide, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const GEMMA2: Family = Family { model_type: "gemma2", spec: gemma2, layout: |_| LAYOUT };
pub(super) const GEMMA3: Family = Family { model_type: "gemma3_text", spec: gemma3, layout: |_| LAYOUT };

const LAYOUT: Layout = Layout {
    ln1_post: "post_attention_layernorm",
    ln2: "pre_feedforward_layernorm",
    ln2_post: "post_feedforward_layernorm",
    ..LLAMA
};

const CLASS2: Class = Class {
    d_model: 2304,
    heads: 8,
    kv_heads: Some(4),
    n_layers: 26,
    d_mlp: 9216,
    context: 8192,
    window: Some(4096),
    vocab: 256_000,
    tied: true,
};

const CLASS3: Class = Class { context: 131_072, vocab: 262_208, ..CLASS2 };

fn gemma2(fields: &Fields) -> Result<Spec> {
    let common = common(fields, &CLASS2)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let windowed = common.windowed(fields, |index| index.is_multiple_of(2))?;
    let caps = [
        cap(fields, "attn_logit_softcapping", Some(50.0))?,
        cap(fields, "final_logit_softcapping", Some(30.0))?,
    ];
    build(fields, "gemma2", &common, &windowed, [&rope, &rope], caps, false)
}

fn gemma3(fields: &Fields) -> Result<Spec> {
    let common = common(fields, &CLASS3)?;
    let pattern = fields.count_or("sliding_window_pattern", 6)?;
    let windowed = common.windowed(fields, |index| !(index + 1).is_multiple_of(pattern))?;
    let [full, local] = gemma3_ropes(fields, &common)?;
    // Gemma 3 attention has no cap: transformers keeps the field and does not read it.
    let caps = [None, cap(fields, "final_logit_softcapping", None)?];
    build(fields, "gemma3_text", &common, &windowed, [&full, &local], caps, true)
}

/// Rotary positions of full and of windowed layers: nested in 5.x, `rope_theta` and `rope_local_base_freq` in 4.x.
fn gemma3_ropes(fields: &Fields, common: &Common) -> Result<[RopeSpec; 2]> {
    let top = rope::Defaults::read(fields, None, 1_000_000.0, common.trained)?;
    let defaults = |theta| rope::Defaults { theta, original: None, nested: true, ..top };
    let theta = top.theta;
    let local_theta = fields.positive_or("rope_local_base_freq", 10_000.0)?;
    let plain = |theta| RopeSpec { dims: common.d_head, theta, scaling: RopeScaling::None };
    let parameters = fields.object("rope_parameters")?;
    let scaling = fields.object("rope_scaling")?;
    let nested = parameters.as_ref().map(|nested| nested.object("full_attention")).transpose()?.flatten();
    let full = match (nested, scaling) {
        // Where both are written, the older object changes the newer one.
        (Some(full), Some(scaling)) => {
            rope::parse(&Fields::new(&full.changed_by(&scaling))?, common.d_head, &defaults(theta))?
        }
        (Some(full), None) | (None, Some(full)) => rope::parse(&full, common.d_head, &defaults(theta))?,
        (None, None) => plain(theta),
    };
    let local = match &parameters {
        Some(nested) => match nested.object("sliding_attention")? {
            Some(local) => rope::parse(&local, common.d_head, &defaults(local_theta))?,
            None => plain(local_theta),
        },
        None => plain(local_theta),
    };
    Ok([full, local])
}

fn common(fields: &Fields, class: &'static Class) -> Result<Common> {
    let mut common = Common::read(fields, class)?;
    heads_divide(fields, &common)?;
    // The class's default does not follow from the other fields.
    common.d_head = fields.count_or("head_dim", 256)?;
    Ok(common)
}

/// A soft cap: the class's default where left out, none where written as null.
fn cap(fields: &Fields, name: &str, default: Option<f32>) -> Result<Option<f32>> {
    let given = fields.positive(name)?.map(|cap| cap as f32);
    Ok(if given.is_none() && !fields.has(name) { default } else { given })
}

fn build(
    fields: &Fields,
    model_type: &str,
    common: &Common,
    windowed: &[bool],
    [full, local]: [&RopeSpec; 2],
    [attn_cap, final_cap]: [Option<f32>; 2],
    qk_norm: bool,
) -> Result<Spec> {
    fields.only("use_bidirectional_attention", &json!(false))?;
    let norm = NormSpec { offset_one: true, ..fields.rms("rms_norm_eps", 1e-6)? };
    let act = match fields.get("hidden_activation") {
        Some(_) => fields.activation("hidden_activation", Activation::GeluTanh)?,
        // Early files say `gelu` in hidden_act and mean the tanh form; transformers reads hidden_activation only.
        None => Activation::GeluTanh,
    };
    let scalar = fields.positive_or("query_pre_attn_scalar", 256.0)?;
    let bias = fields.flag_or("attention_bias", false)?;
    let layers = windowed.iter().map(|&windowed| {
        let mut layer = common.layer(norm, act, if windowed { local } else { full });
        layer.ln1_post = Some(norm);
        layer.ln2_post = Some(norm);
        layer.attn.scale = scalar.powf(-0.5) as f32;
        layer.attn.soft_cap = attn_cap;
        layer.attn.window = common.window.filter(|_| windowed);
        (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
        layer.attn.qk_norm = qk_norm.then_some(QkNorm { norm, over: QkNormOver::Head });
        layer
    });
    let mut spec = common.spec(fields, model_type, layers.collect(), norm)?;
    spec.embed.scale = Some((common.d_model as f32).sqrt());
    spec.unembed.soft_cap = final_cap;
    Ok(spec)
}

//! Qwen 2 (biases on queries, keys and values) and Qwen 3 (a norm on queries and keys).

use super::super::fields::Fields;
use super::super::layout::LLAMA;
use super::{Class, Common, Family, rope};
use crate::error::Result;
use crate::spec::*;

pub(super) const QWEN2: Family = Family { model_type: "qwen2", spec: qwen2, layout: |_| LLAMA };
pub(super) const QWEN3: Family = Family { model_type: "qwen3", spec: qwen3, layout: |_| LLAMA };

const CLASS: Class = Class {
    d_model: 4096,
    heads: 32,
    kv_heads: Some(32),
    n_layers: 32,
    d_mlp: 22_016,
    context: 32_768,
    window: Some(4096),
    vocab: 151_936,
    tied: false,
};

fn qwen2(fields: &Fields) -> Result<Spec> {
    read(fields, "qwen2", |layer, _| {
        layer.attn.qkv_bias = true;
        Ok(())
    })
}

fn qwen3(fields: &Fields) -> Result<Spec> {
    read(fields, "qwen3", |layer, norm| {
        let bias = fields.flag_or("attention_bias", false)?;
        (layer.attn.qkv_bias, layer.attn.out_bias) = (bias, bias);
        layer.attn.qk_norm = Some(QkNorm { norm, over: QkNormOver::Head });
        Ok(())
    })
}

fn read(
    fields: &Fields,
    model_type: &str,
    change: impl Fn(&mut LayerSpec, NormSpec) -> Result<()>,
) -> Result<Spec> {
    let mut common = Common::read(fields, &CLASS)?;
    if model_type == "qwen3" && fields.get("head_dim").is_none() {
        // The config class's default does not follow from the other fields.
        common.d_head = 128;
    }
    let norm = fields.rms("rms_norm_eps", 1e-6)?;
    let rope = rope::Defaults::read(fields, None, 10_000.0, common.trained)?;
    let rope = rope::read(fields, common.d_head, &rope)?;
    let mut layer = common.layer(norm, fields.activation("hidden_act", Activation::Silu)?, &rope);
    change(&mut layer, norm)?;
    if !fields.flag_or("use_sliding_window", false)? {
        common.window = None;
    }
    let window = common.window;
    let from = fields.whole("max_window_layers")?.unwrap_or(28);
    let windowed = common.windowed(fields, |index| window.is_some() && index >= from)?;
    let layers = windowed.into_iter().map(|on| {
        let mut layer = layer.clone();
        layer.attn.window = window.filter(|_| on);
        layer
    });
    common.spec(fields, model_type, layers.collect(), norm)
}

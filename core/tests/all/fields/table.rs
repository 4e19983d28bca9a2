//! Changes of config fields, and what each must do.

use serde_json::{Value, json};

use super::ropes::ropes;

/// What a changed field must do.
#[derive(Clone, Copy)]
pub enum Expect {
    /// The spec changes.
    Honoured,
    /// An error that names the field and holds this text.
    Refused(&'static str),
    /// The spec stays, for this reason.
    Neutral(&'static str),
}
use Expect::{Honoured, Neutral, Refused};

/// A change of one field on top of the class's defaults, with what else has to be there.
pub struct Row {
    pub families: &'static str,
    pub field: &'static str,
    pub base: Value,
    pub change: Value,
    pub expect: Expect,
}

const ALL: &str = "dots1 gemma2 gemma3_text gpt2 gpt_neo gpt_neox gpt_oss llama mistral mixtral olmo2 olmoe opt phi \
                   phi3 qwen2 qwen2_moe qwen3 qwen3_moe stablelm starcoder2";
/// Classes that rotate whole heads and have one rotary object.
pub const WHOLE: &str =
    "dots1 gemma2 llama mistral mixtral olmo2 olmoe qwen2 qwen2_moe qwen3 qwen3_moe starcoder2";
/// Classes that can rotate a part of each head.
pub const PART: &str = "gpt_neox phi phi3 stablelm";
/// Classes with a kind for each layer.
const LAYERED: &str = "gemma2 gemma3_text gpt_oss qwen2 qwen3";
/// Classes that read `hidden_act`.
const HIDDEN_ACT: &str = "dots1 gpt_neox llama mistral mixtral olmo2 olmoe phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe \
                          stablelm starcoder2";
/// A value that stands for a field left out.
pub const ABSENT: &str = "left out";

/// `change` on top of the class's defaults.
pub fn row(families: &'static str, field: &'static str, change: Value, expect: Expect) -> Row {
    on(families, field, json!({}), change, expect)
}

/// `change` on top of `base` on top of the class's defaults.
pub fn on(families: &'static str, field: &'static str, base: Value, change: Value, expect: Expect) -> Row {
    Row { families, field, base, change, expect }
}

/// `{field: value}`
pub fn one(field: &str, value: Value) -> Value {
    Value::Object([(field.to_owned(), value)].into_iter().collect())
}

/// `rope_parameters` of one kind for all layers.
pub fn rope(value: Value) -> Value {
    one("rope_parameters", value)
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(ALL, "vocab_size", json!({"vocab_size": 1000}), Honoured),
        row(ALL, "vocab_size", json!({"vocab_size": 0}), Refused("0")),
        row(ALL, "bos_token_id", json!({"bos_token_id": 9}), Honoured),
        row(ALL, "eos_token_id", json!({"eos_token_id": [7, 8]}), Honoured),
        row(ALL, "is_encoder_decoder", json!({"is_encoder_decoder": true}), Refused("true")),
        row(ALL, "add_cross_attention", json!({"add_cross_attention": true}), Refused("true")),
        row(ALL, "quantization_config", json!({"quantization_config": {"bits": 4}}), Refused("bits")),
    ];
    // Aliases of GPT-2 and GPT-Neo are fields like any other.
    rows.extend([
        row(ALL, "hidden_size", json!({"hidden_size": 7680}), Honoured),
        row(ALL, "hidden_size", json!({"hidden_size": "wide"}), Refused("wide")),
        row(ALL, "max_position_embeddings", json!({"max_position_embeddings": 300_000}), Honoured),
        row(
            ALL,
            "num_hidden_layers",
            json!({"num_hidden_layers": 2, "layer_types": null, "attention_layers": ["global", "local"]}),
            Honoured,
        ),
        row(ALL, "num_hidden_layers", json!({"num_hidden_layers": 1 << 20}), Refused("1048576")),
        row(LAYERED, "layer_types", json!({"num_hidden_layers": 2}), Refused("2 layers")),
        row(
            ALL,
            "num_attention_heads",
            json!({"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": ABSENT}),
            Honoured,
        ),
        row(ALL, "num_attention_heads", json!({"num_attention_heads": 1 << 20}), Refused("1048576")),
    ]);
    let grouped = "dots1 gemma2 gemma3_text gpt_oss llama mistral mixtral olmo2 olmoe phi phi3 qwen2 qwen2_moe qwen3 \
                   qwen3_moe stablelm starcoder2";
    let sized = "gemma2 gemma3_text gpt_neo gpt_neox gpt_oss llama mistral mixtral olmo2 olmoe phi phi3 qwen2 qwen3 stablelm \
         starcoder2";
    rows.extend([
        row(grouped, "num_key_value_heads", json!({"num_key_value_heads": 1}), Honoured),
        row(grouped, "num_key_value_heads", json!({"num_key_value_heads": 5}), Refused("5")),
        row(sized, "intermediate_size", json!({"intermediate_size": 5000}), Honoured),
        row(
            "gemma2 gemma3_text gpt_oss llama mistral mixtral qwen3",
            "head_dim",
            json!({"head_dim": 96}),
            Honoured,
        ),
        row("gpt_neox stablelm", "head_dim", json!({"head_dim": 64}), Refused("64")),
        row(HIDDEN_ACT, "hidden_act", json!({"hidden_act": "relu"}), Honoured),
        row(HIDDEN_ACT, "hidden_act", json!({"hidden_act": "mish"}), Refused("mish")),
        row("gemma2 gemma3_text", "hidden_activation", json!({"hidden_activation": "gelu"}), Honoured),
        row("gemma2 gemma3_text", "hidden_activation", json!({"hidden_activation": "mish"}), Refused("mish")),
        row("gpt2 gpt_neo opt", "activation_function", json!({"activation_function": "gelu"}), Honoured),
        row(
            "gpt2 gpt_neo opt",
            "activation_function",
            json!({"activation_function": "mish"}),
            Refused("mish"),
        ),
        row(
            "dots1 gemma2 gemma3_text gpt_oss llama mistral mixtral olmo2 olmoe phi3 qwen2 qwen2_moe qwen3 qwen3_moe",
            "rms_norm_eps",
            json!({"rms_norm_eps": 0.5}),
            Honoured,
        ),
        row("gpt_neox phi stablelm", "layer_norm_eps", json!({"layer_norm_eps": 0.5}), Honoured),
        row("gpt2 gpt_neo", "layer_norm_epsilon", json!({"layer_norm_epsilon": 0.5}), Honoured),
        row("starcoder2", "norm_epsilon", json!({"norm_epsilon": 0.5}), Honoured),
        row("starcoder2", "norm_epsilon", json!({"norm_epsilon": -1.0}), Refused("-1")),
        row(
            "gemma2 gemma3_text gpt2 gpt_neo opt starcoder2",
            "tie_word_embeddings",
            json!({"tie_word_embeddings": false}),
            Honoured,
        ),
        row(
            "dots1 gpt_neox gpt_oss llama mistral mixtral olmo2 olmoe phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe stablelm",
            "tie_word_embeddings",
            json!({"tie_word_embeddings": true}),
            Honoured,
        ),
        row(
            "dots1 gemma2 gemma3_text llama olmo2 olmoe qwen3 qwen3_moe",
            "attention_bias",
            json!({"attention_bias": true}),
            Honoured,
        ),
        row("gpt_neox", "attention_bias", json!({"attention_bias": false}), Honoured),
        row("llama", "mlp_bias", json!({"mlp_bias": true}), Honoured),
        row("stablelm", "use_qkv_bias", json!({"use_qkv_bias": true}), Honoured),
        row("starcoder2", "use_bias", json!({"use_bias": false}), Honoured),
        row("phi stablelm", "qk_layernorm", json!({"qk_layernorm": true}), Honoured),
        row("gpt_neox", "use_parallel_residual", json!({"use_parallel_residual": false}), Honoured),
        row("stablelm", "use_parallel_residual", json!({"use_parallel_residual": true}), Honoured),
    ]);
    rows.extend(windows());
    rows.extend(ropes());
    rows.extend(gemma());
    rows.extend(older());
    rows.extend(llava());
    rows.extend(experts());
    rows
}

fn windows() -> Vec<Row> {
    let full = json!(["full_attention", "full_attention"]);
    let layers = json!({"num_hidden_layers": 2, "use_sliding_window": true, "sliding_window": 64,
        "layer_types": full});
    let qwen = json!({"use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 1,
        "layer_types": null});
    let always = "gemma2 gemma3_text gpt_oss mistral mixtral phi3 starcoder2";
    vec![
        row(always, "sliding_window", json!({"sliding_window": 77}), Honoured),
        row("mistral", "sliding_window", json!({"sliding_window": null}), Honoured),
        on("qwen2 qwen3", "sliding_window", qwen.clone(), json!({"sliding_window": 77}), Honoured),
        on("qwen2 qwen3", "sliding_window", qwen.clone(), json!({"sliding_window": null}), Honoured),
        on(
            "qwen2 qwen3",
            "sliding_window",
            qwen.clone(),
            json!({"sliding_window": ABSENT}),
            Neutral("it is the class's default"),
        ),
        row(
            "qwen2 qwen3",
            "sliding_window",
            json!({"sliding_window": 77}),
            Neutral("use_sliding_window is false"),
        ),
        on("qwen2 qwen3", "use_sliding_window", qwen.clone(), json!({"use_sliding_window": false}), Honoured),
        on("qwen2 qwen3", "max_window_layers", qwen, json!({"max_window_layers": 2}), Honoured),
        on(
            LAYERED,
            "layer_types",
            layers.clone(),
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            Honoured,
        ),
        on(
            LAYERED,
            "layer_types",
            layers,
            json!({"layer_types": ["full_attention", "chunked_attention"]}),
            Refused("chunked_attention"),
        ),
        row("llama", "sliding_window", json!({"sliding_window": 77}), Neutral("the class has no window")),
        row(
            "mistral",
            "layer_types",
            json!({"layer_types": ["full_attention"]}),
            Neutral("the class has one kind of layer"),
        ),
    ]
}

fn gemma() -> Vec<Row> {
    let both = "gemma2 gemma3_text";
    let kind = |theta: f64| json!({"rope_type": "default", "rope_theta": theta});
    let ropes = |full: Value, local: Value| rope(json!({"full_attention": full, "sliding_attention": local}));
    vec![
        row(both, "query_pre_attn_scalar", json!({"query_pre_attn_scalar": 224}), Honoured),
        row(both, "final_logit_softcapping", json!({"final_logit_softcapping": 7.0}), Honoured),
        row("gemma2", "final_logit_softcapping", json!({"final_logit_softcapping": null}), Honoured),
        row("gemma2", "attn_logit_softcapping", json!({"attn_logit_softcapping": 7.0}), Honoured),
        row("gemma2", "attn_logit_softcapping", json!({"attn_logit_softcapping": null}), Honoured),
        row(
            "gemma3_text",
            "attn_logit_softcapping",
            json!({"attn_logit_softcapping": 7.0}),
            Neutral("its attention has no cap; transformers keeps the field and does not read it"),
        ),
        row(
            both,
            "use_bidirectional_attention",
            json!({"use_bidirectional_attention": true}),
            Refused("true"),
        ),
        on(
            "gemma3_text",
            "sliding_window_pattern",
            json!({"layer_types": null}),
            json!({"sliding_window_pattern": 2}),
            Honoured,
        ),
        row("gemma3_text", "rope_parameters", ropes(kind(500.0), kind(10000.0)), Honoured),
        row("gemma3_text", "rope_parameters", ropes(kind(1_000_000.0), kind(500.0)), Honoured),
        row(
            "gemma3_text",
            "rope_parameters",
            ropes(json!({"rope_type": "linear", "factor": 8.0}), kind(10000.0)),
            Honoured,
        ),
        row(
            "gemma3_text",
            "rope_parameters",
            ropes(json!({"rope_type": "spiral"}), kind(1.5)),
            Refused("spiral"),
        ),
        on(
            "gemma3_text",
            "rope_local_base_freq",
            rope(Value::Null),
            json!({"rope_local_base_freq": 500.0}),
            Honoured,
        ),
        on(
            "gemma3_text",
            "rope_scaling",
            rope(Value::Null),
            json!({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
            Honoured,
        ),
        row(
            "gemma3_text",
            "rope_scaling",
            json!({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
            Honoured,
        ),
    ]
}

/// Families before Llama.
fn older() -> Vec<Row> {
    let global = json!(vec!["global"; 24]);
    let pattern = |name: &str| json!([[[name], 24]]);
    vec![
        row("gpt2", "n_positions", json!({"n_positions": 777}), Honoured),
        row("gpt2", "n_embd", json!({"n_embd": 1536}), Honoured),
        row("gpt2", "n_layer", json!({"n_layer": 2}), Honoured),
        row("gpt2", "n_head", json!({"n_head": 6}), Honoured),
        row("gpt2", "n_head", json!({"n_head": 7}), Refused("7")),
        row("gpt2", "n_inner", json!({"n_inner": 5000}), Honoured),
        row("gpt2", "scale_attn_weights", json!({"scale_attn_weights": false}), Honoured),
        row(
            "gpt2",
            "scale_attn_by_inverse_layer_idx",
            json!({"scale_attn_by_inverse_layer_idx": true}),
            Honoured,
        ),
        row(
            "gpt2",
            "reorder_and_upcast_attn",
            json!({"reorder_and_upcast_attn": true}),
            Neutral("the same sums in another order"),
        ),
        row("gpt_neo", "num_layers", json!({"num_layers": 1, "attention_layers": ["local"]}), Honoured),
        row("gpt_neo", "attention_types", json!({"num_layers": 2}), Refused("24 layers of 2")),
        row("gpt_neo", "num_heads", json!({"num_heads": 8}), Honoured),
        row("gpt_neo", "num_heads", json!({"num_heads": 7}), Refused("7")),
        row("gpt_neo", "window_size", json!({"window_size": 7}), Honoured),
        row(
            "gpt_neo",
            "attention_types",
            json!({"attention_types": pattern("global"), "attention_layers": null}),
            Honoured,
        ),
        row(
            "gpt_neo",
            "attention_types",
            json!({"attention_types": pattern("diagonal"), "attention_layers": null}),
            Refused("diagonal"),
        ),
        row(
            "gpt_neo",
            "attention_types",
            json!({"attention_types": pattern("global")}),
            Neutral("attention_layers, beside it, wins"),
        ),
        row("gpt_neo", "attention_layers", one("attention_layers", global), Honoured),
        row("opt", "ffn_dim", json!({"ffn_dim": 5000}), Honoured),
        row("opt", "do_layer_norm_before", json!({"do_layer_norm_before": false}), Honoured),
        row("opt", "_remove_final_layer_norm", json!({"_remove_final_layer_norm": true}), Honoured),
        row("opt", "word_embed_proj_dim", json!({"word_embed_proj_dim": 512}), Honoured),
        row("opt", "enable_bias", json!({"enable_bias": false}), Honoured),
        row(
            "opt",
            "layer_norm_elementwise_affine",
            json!({"layer_norm_elementwise_affine": false}),
            Honoured,
        ),
    ]
}

/// The fields beside the two nested configs, and what those must be.
fn llava() -> Vec<Row> {
    let silent = Neutral("the preprocessor reads it");
    vec![
        row("llava", "text_config", json!({"text_config": {"num_hidden_layers": 2}}), Honoured),
        row("llava", "text_config", json!({"text_config": {"model_type": "gpt2"}}), Refused("gpt2")),
        row("llava", "text_config", json!({"text_config": {"hidden_act": "mish"}}), Refused("mish")),
        row("llava", "vision_config", json!({"vision_config": {"num_hidden_layers": 2}}), Honoured),
        row("llava", "vision_config", json!({"vision_config": {"patch_size": 5}}), Refused("5")),
        row("llava", "vision_config", json!({"vision_config": {"model_type": "siglip"}}), Refused("siglip")),
        row("llava", "vision_config", json!({"vision_config": {"num_channels": 1}}), Refused("1")),
        row("llava", "image_token_index", json!({"image_token_index": 7}), Honoured),
        row("llava", "image_token_id", json!({"image_token_id": 7}), Honoured),
        row("llava", "image_seq_length", json!({"image_seq_length": 7}), silent),
        row("llava", "projector_hidden_act", json!({"projector_hidden_act": "relu"}), Honoured),
        row("llava", "projector_hidden_act", json!({"projector_hidden_act": "mish"}), Refused("mish")),
        row("llava", "multimodal_projector_bias", json!({"multimodal_projector_bias": false}), Honoured),
        row("llava", "tie_word_embeddings", json!({"tie_word_embeddings": true}), Honoured),
        row("llava", "vision_feature_layer", json!({"vision_feature_layer": -1}), Honoured),
        row("llava", "vision_feature_layer", json!({"vision_feature_layer": 30}), Refused("30")),
        row("llava", "vision_feature_layer", json!({"vision_feature_layer": [-2, -1]}), Refused("-1")),
        row(
            "llava",
            "vision_feature_select_strategy",
            json!({"vision_feature_select_strategy": "full"}),
            Honoured,
        ),
        row(
            "llava",
            "vision_feature_select_strategy",
            json!({"vision_feature_select_strategy": "mean"}),
            Refused("mean"),
        ),
    ]
}

/// Families with experts.
fn experts() -> Vec<Row> {
    let qwen = "qwen2_moe qwen3_moe";
    let windows = json!({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 3, "layer_types": null});
    let two = json!({"num_hidden_layers": 2, "use_sliding_window": true, "sliding_window": 64,
        "layer_types": ["full_attention", "full_attention"]});
    let groups = json!({"n_group": 8, "topk_group": 4});
    vec![
        row("gpt_oss mixtral", "num_local_experts", json!({"num_local_experts": 16}), Honoured),
        row("gpt_oss mixtral", "num_experts", json!({"num_experts": 16}), Honoured),
        row("olmoe qwen2_moe", "num_experts", json!({"num_experts": 16}), Honoured),
        row("olmoe", "num_local_experts", json!({"num_local_experts": 16}), Honoured),
        row("qwen3_moe", "num_local_experts", json!({"num_local_experts": 16}), Honoured),
        on(
            "qwen3_moe",
            "num_experts",
            json!({"num_local_experts": ABSENT}),
            json!({"num_experts": 16}),
            Honoured,
        ),
        row(
            "mixtral",
            "num_hidden_layers",
            json!({"num_local_experts": 4096, "num_hidden_layers": 64}),
            Refused("experts in all"),
        ),
        row("dots1", "n_routed_experts", json!({"n_routed_experts": 16}), Honoured),
        row("dots1", "num_local_experts", json!({"num_local_experts": 16}), Honoured),
        row("dots1", "n_shared_experts", json!({"n_shared_experts": 1}), Honoured),
        row("dots1", "n_shared_experts", json!({"n_shared_experts": ABSENT}), Refused("required")),
        row(
            "dots1 gpt_oss mixtral olmoe qwen2_moe qwen3_moe",
            "num_experts_per_tok",
            json!({"num_experts_per_tok": 3}),
            Honoured,
        ),
        row(
            "dots1 gpt_oss mixtral olmoe qwen2_moe qwen3_moe",
            "num_experts_per_tok",
            json!({"num_experts_per_tok": 999}),
            Refused("999"),
        ),
        row("dots1 olmoe qwen2_moe qwen3_moe", "norm_topk_prob", json!({"norm_topk_prob": true}), Honoured),
        row(
            "dots1 qwen2_moe qwen3_moe",
            "moe_intermediate_size",
            json!({"moe_intermediate_size": 64}),
            Honoured,
        ),
        row(qwen, "decoder_sparse_step", json!({"decoder_sparse_step": 2}), Honoured),
        row(qwen, "mlp_only_layers", json!({"mlp_only_layers": [3]}), Honoured),
        row(qwen, "mlp_only_layers", json!({"mlp_only_layers": "some"}), Refused("some")),
        on(
            qwen,
            "intermediate_size",
            json!({"mlp_only_layers": [3]}),
            json!({"intermediate_size": 5000}),
            Honoured,
        ),
        on(
            "dots1",
            "intermediate_size",
            json!({"first_k_dense_replace": 1}),
            json!({"intermediate_size": 5000}),
            Honoured,
        ),
        row("dots1", "first_k_dense_replace", json!({"first_k_dense_replace": 1}), Honoured),
        row("dots1", "routed_scaling_factor", json!({"routed_scaling_factor": 2.5}), Honoured),
        on("dots1", "n_group", groups.clone(), json!({"n_group": 4}), Honoured),
        row("dots1", "n_group", json!({"n_group": 3}), Refused("3")),
        on("dots1", "topk_group", groups.clone(), json!({"topk_group": 2}), Honoured),
        on("dots1", "topk_group", groups, json!({"topk_group": 9}), Refused("9")),
        row(
            "qwen2_moe",
            "shared_expert_intermediate_size",
            json!({"shared_expert_intermediate_size": 64}),
            Honoured,
        ),
        row("qwen2_moe", "qkv_bias", json!({"qkv_bias": false}), Honoured),
        row(
            qwen,
            "use_sliding_window",
            json!({"use_sliding_window": true, "sliding_window": 64,
            "layer_types": null}),
            Honoured,
        ),
        on(qwen, "sliding_window", windows.clone(), json!({"sliding_window": 77}), Honoured),
        on("qwen2_moe", "max_window_layers", windows, json!({"max_window_layers": 1}), Honoured),
        on(
            "qwen2_moe",
            "layer_types",
            two.clone(),
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            Honoured,
        ),
        on(
            "dots1",
            "layer_types",
            two,
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            Honoured,
        ),
        on(
            "dots1",
            "sliding_window",
            json!({"max_window_layers": 2, "layer_types": null}),
            json!({"sliding_window": 77}),
            Honoured,
        ),
        on(
            "dots1",
            "max_window_layers",
            json!({"layer_types": null}),
            json!({"max_window_layers": 2}),
            Honoured,
        ),
        row("olmoe", "clip_qkv", json!({"clip_qkv": 8.0}), Honoured),
        row("olmoe", "clip_qkv", json!({"clip_qkv": "wide"}), Refused("wide")),
        row("gpt_neox", "rotary_pct", json!({"rope_parameters": null, "rotary_pct": -0.5}), Refused("-0.5")),
        row("gpt_oss", "attention_bias", json!({"attention_bias": false}), Honoured),
        row("gpt_oss", "swiglu_alpha", json!({"swiglu_alpha": 1.5}), Honoured),
        row("gpt_oss", "swiglu_limit", json!({"swiglu_limit": 5.0}), Honoured),
        row(
            "gpt_oss",
            "hidden_act",
            json!({"hidden_act": "relu"}),
            Neutral("the class writes its products out and does not read it"),
        ),
        on("gpt_oss", "rope_theta", rope(Value::Null), json!({"rope_theta": 500.0}), Honoured),
    ]
}

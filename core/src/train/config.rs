//! What the trainer makes: a LLaVA checkpoint whose Llama has a small FFN and learned routers in every layer.

use serde_json::{Value, json};

use super::vocabulary;
use crate::world::paint::{PATCH, SIDE};

/// Tokens per sequence of the trainer.
pub const LEN: usize = 128;
/// Longest prompt and continuation.
const CONTEXT: usize = 256;
/// Width of the language model.
const WIDTH: usize = 128;
/// Inner width of the big FFNs; the small ones have a sixteenth (Duo-LLM, section 3.1).
const BIG: usize = 512;

/// Routers that stage 3 trains: lanes with budgets in percent (Duo-LLM, figure 7, has 70/30 and 50/30/20).
pub const ROUTERS: [&str; 5] =
    ["big25_small75", "big50_small50", "big75_small25", "big30_small50_skip20", "big20_small30_skip50"];

/// config.json. Other readers see the all-big model; what they do not know is under `sluice`.
pub fn config(world_seed: u64, sample_prompt: &str) -> Value {
    json!({
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": 1,
        "image_seq_length": (SIDE / PATCH) * (SIDE / PATCH),
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "multimodal_projector_bias": true,
        "tie_word_embeddings": true,
        "torch_dtype": "bfloat16",
        "text_config": {
            "model_type": "llama",
            "vocab_size": vocabulary::ENTRIES,
            "hidden_size": WIDTH,
            "intermediate_size": BIG,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "hidden_act": "silu",
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": true,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "sluice": { "small_intermediate_size": BIG / 16, "routers": ROUTERS }
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": PATCH,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5
        },
        "sluice": { "world_seed": world_seed, "sample_prompt": sample_prompt }
    })
}

/// preprocessor_config.json: pixels from -1 to 1 at the tower's own size.
pub fn preprocessor() -> Value {
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "do_resize": true,
        "size": { "shortest_edge": SIDE },
        "resample": 3,
        "do_center_crop": true,
        "crop_size": { "height": SIDE, "width": SIDE },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": true
    })
}

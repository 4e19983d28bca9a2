//! Changes of fields about rotary positions, and what each must do.

use serde_json::{Value, json};

use super::table::Expect::{Honoured, Neutral, Refused};
use super::table::{ABSENT, PART, Row, WHOLE, on, one, rope, row};

pub fn ropes() -> Vec<Row> {
    let flat = "dots1 gemma2 gpt_neox gpt_oss llama mistral mixtral olmo2 olmoe phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe \
                stablelm starcoder2";
    let scaled = "dots1 gemma2 gpt_neox llama mistral mixtral olmo2 olmoe phi qwen2 qwen2_moe qwen3 qwen3_moe stablelm \
                  starcoder2";
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512});
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512});
    let mut rows = vec![
        row(flat, "rope_parameters", rope(json!({"rope_type": "default", "rope_theta": 500.0})), Honoured),
        row(flat, "rope_parameters", rope(json!({"rope_type": "spiral"})), Refused("spiral")),
        row(flat, "rope_parameters", rope(json!({"mrope_section": [16, 24, 24]})), Refused("mrope_section")),
        row(scaled, "rope_parameters", rope(json!({"rope_type": "linear", "factor": 2.0})), Honoured),
        row(scaled, "rope_parameters", rope(json!({"type": "linear", "factor": 2.0})), Honoured),
        row(scaled, "rope_parameters", rope(json!({"rope_type": "linear"})), Refused("factor")),
        row(scaled, "rope_parameters", rope(json!({"rope_type": "dynamic", "factor": 2.0})), Honoured),
        row(scaled, "rope_parameters", rope(llama3.clone()), Honoured),
        row(scaled, "rope_parameters", rope(yarn.clone()), Honoured),
        row(
            "phi3",
            "rope_parameters",
            rope(json!({"rope_type": "linear", "factor": 2.0})),
            Refused("longrope"),
        ),
        row("phi3", "rope_parameters", rope(yarn.clone()), Refused("longrope")),
        // Both forms in one file: the older one wins where it says something.
        row(scaled, "rope_scaling", json!({"rope_scaling": {"type": "linear", "factor": 2.0}}), Honoured),
        row(flat, "rope_scaling", json!({"rope_scaling": {}}), Neutral("it says nothing")),
        row(flat, "rope_scaling", json!({"rope_scaling": {"type": "spiral"}}), Refused("spiral")),
    ];
    // The 4.x form.
    let old = rope(Value::Null);
    let modern = "dots1 gemma2 gemma3_text llama mistral mixtral olmo2 olmoe phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe \
                  stablelm starcoder2";
    let rotates = Neutral("the class rotates whole heads and does not read it");
    let renamed = Neutral("the class has another name for it");
    rows.extend([
        on(modern, "rope_theta", old.clone(), json!({"rope_theta": 500.0}), Honoured),
        on("gpt_neox", "rotary_emb_base", old.clone(), json!({"rotary_emb_base": 500.0}), Honoured),
        on("gpt_neox", "rotary_pct", old.clone(), json!({"rotary_pct": 0.5}), Honoured),
        on("gpt_neox", "rope_theta", old.clone(), json!({"rope_theta": 500.0}), renamed),
        on("gpt_neox", "partial_rotary_factor", old.clone(), json!({"partial_rotary_factor": 0.5}), renamed),
        on(
            "phi phi3 stablelm",
            "partial_rotary_factor",
            old,
            json!({"partial_rotary_factor": 0.75}),
            Honoured,
        ),
        row(WHOLE, "partial_rotary_factor", json!({"partial_rotary_factor": 0.5}), rotates),
        row("gemma3_text", "partial_rotary_factor", json!({"partial_rotary_factor": 0.5}), rotates),
        on(
            WHOLE,
            "partial_rotary_factor",
            rope(json!({"rope_type": "linear", "factor": 2.0})),
            json!({"partial_rotary_factor": 0.5}),
            Refused("whole heads"),
        ),
        row(
            PART,
            "rope_parameters",
            rope(json!({"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75})),
            Honoured,
        ),
    ]);
    // Every number inside an object, on top of an object without it or with another value.
    let inside = |families, base: &Value, name: &str, value: Value| {
        let mut change = base.clone();
        change.as_object_mut().unwrap().insert(name.to_owned(), value);
        on(families, "rope_parameters", rope(base.clone()), rope(change), Honoured)
    };
    for (name, value) in [
        ("rope_theta", json!(500.0)),
        ("factor", json!(3.0)),
        ("low_freq_factor", json!(2.0)),
        ("high_freq_factor", json!(5.0)),
        ("original_max_position_embeddings", json!(256)),
    ] {
        rows.push(inside("llama", &llama3, name, value));
    }
    for (name, value) in [
        ("rope_theta", json!(500.0)),
        ("factor", json!(3.0)),
        ("beta_fast", json!(20.0)),
        ("beta_slow", json!(2.0)),
        ("truncate", json!(false)),
        ("attention_factor", json!(1.5)),
        ("original_max_position_embeddings", json!(256)),
    ] {
        rows.push(inside("llama qwen2 phi", &yarn, name, value));
    }
    let mut scales = yarn;
    scales.as_object_mut().unwrap().insert("mscale".into(), json!(0.7));
    rows.push(inside("llama", &scales, "mscale_all_dim", json!(0.9)));
    rows.extend(long_rope());
    rows
}

/// Longrope on heads of 4, so that the lists stay short.
fn long_rope() -> Vec<Row> {
    let object = |short: f64, long: f64| {
        let (short, long) = ([1.0, short], [2.0, long]);
        json!({"rope_type": "longrope", "short_factor": short, "long_factor": long})
    };
    let base = json!({"num_attention_heads": 768, "num_key_value_heads": 768, "max_position_embeddings": 131_072,
        "rope_parameters": object(1.5, 3.0)});
    let original = |value: Value| one("original_max_position_embeddings", value);
    let mut inner = object(1.5, 3.0);
    inner.as_object_mut().unwrap().insert("original_max_position_embeddings".into(), json!(2048));
    vec![
        on("phi3", "rope_parameters", base.clone(), rope(object(1.25, 3.0)), Honoured),
        on("phi3", "rope_parameters", base.clone(), rope(object(1.5, 4.0)), Honoured),
        on(
            "phi3",
            "rope_parameters",
            base.clone(),
            rope(json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0, 3.0]})),
            Refused("short_factor"),
        ),
        on("phi3", "original_max_position_embeddings", base.clone(), original(json!(2048)), Honoured),
        on(
            "phi3",
            "original_max_position_embeddings",
            base.clone(),
            original(json!(ABSENT)),
            Neutral("it is the class's default"),
        ),
        on("phi3", "rope_parameters", base, rope(inner), Neutral("the field beside the object wins")),
        row(
            "phi3",
            "original_max_position_embeddings",
            original(json!(2048)),
            Neutral("only longrope reads it"),
        ),
    ]
}

//! Real configurations: what a family reads from the config.json of popular checkpoints adds up to the published
//! number of parameters. `tests/golden/configs/SOURCES.md` says where each file and number is from.

use std::fs;

use serde_json::Value;
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, RunSize, never};
use sluice_core::model::layout::parameters;
use sluice_core::model::{KvCache, family};

use crate::support::golden;

/// Parameters, tied ones once, as transformers counts them.
const TABLE: &[(&str, u64)] = &[
    ("dots.llm1.base", 142_774_381_696),
    ("gemma-2-2b", 2_614_341_888),
    ("gemma-3-1b-it", 999_885_952),
    ("gpt-neo-125m", 125_198_592),
    ("gpt-oss-20b-bf16", 20_914_757_184),
    ("gpt2", 124_439_808),
    ("gpt2-large", 774_030_080),
    ("gpt2-medium", 354_823_168),
    ("gpt2-xl", 1_557_611_200),
    ("llama-2-7b", 6_738_415_616),
    ("llama-3.2-1b", 1_235_814_400),
    ("llava-1.5-7b", 7_063_427_072),
    ("mistral-7b-v0.1", 7_241_732_096),
    ("mistral-7b-v0.3", 7_248_023_552),
    ("mixtral-8x7b-v0.1", 46_702_792_704),
    ("olmo-2-0425-1b", 1_484_916_736),
    ("olmo-2-1124-7b", 7_298_617_344),
    ("olmoe-1b-7b-0924", 6_919_161_856),
    ("opt-125m", 125_239_296),
    ("opt-350m", 331_196_416),
    ("phi-2", 2_779_683_840),
    ("phi-3.5-mini-instruct", 3_821_079_552),
    ("phi-4-mini-instruct", 3_836_021_760),
    ("pythia-160m", 162_322_944),
    ("pythia-1b", 1_011_781_632),
    ("pythia-410m", 405_334_016),
    ("pythia-70m", 70_426_624),
    ("qwen1.5-moe-a2.7b", 14_315_784_192),
    ("qwen2-0.5b", 494_032_768),
    ("qwen2.5-0.5b", 494_032_768),
    ("qwen3-0.6b", 596_049_920),
    ("qwen3-30b-a3b", 30_532_122_624),
    ("redpajama-incite-3b-v1", 2_775_864_320),
    ("smollm2-135m", 134_515_008),
    ("stablelm-2-zephyr-1.6b", 1_644_515_328),
    ("stablelm-3b-4e1t", 2_795_443_200),
    ("starcoder2-3b", 3_030_371_328),
    ("starcoder2-7b", 7_173_923_840),
    ("tinyllama-1.1b-chat-v1.0", 1_100_048_384),
    ("tinystories-1m", 3_745_984),
];

fn config(name: &str) -> Value {
    let path = golden().join("configs").join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_file_is_in_the_table() {
    let files = fs::read_dir(golden().join("configs")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "fields")
        .collect();
    names.sort();
    let mut table: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    table.sort_unstable();
    assert_eq!(names, table);
}

#[test]
fn real_checkpoints_have_their_published_size() {
    for (name, count) in TABLE {
        let read = family::read(&config(name)).unwrap();
        assert_eq!(parameters(&read.spec, &read.layout), *count, "{name}");
    }
}

#[test]
fn every_family_has_a_real_checkpoint() {
    for family in family::FAMILIES {
        let has = |(name, _): &(&str, u64)| config(name)["model_type"] == family.model_type;
        assert!(TABLE.iter().any(has), "{}", family.model_type);
    }
}

#[test]
fn a_run_of_a_real_checkpoint_is_estimated_in_proportion() {
    const TOKENS: usize = 128;
    for (name, count) in TABLE {
        let spec = family::read(&config(name)).unwrap().spec;
        let run = RunSize::new(&spec, TOKENS).bytes();
        // Keys and values alone are needed.
        let cache = KvCache::bytes(&spec, TOKENS);
        assert!(run > cache, "{name}: {run} bytes with {cache} of keys and values");
        // Activations of a short prompt stay under the f32 weights that every real model holds, or under 16 MiB.
        let resident = 4 * count;
        assert!(run < resident.max(16 << 20), "{name}: {run} bytes beside {resident} of weights");
        // Twice the tokens cost more, but no more than twice the rows and four times the scores.
        let double = RunSize::new(&spec, 2 * TOKENS).bytes();
        assert!(run < double && double < 4 * run, "{name}: {run} then {double}");
        let boundaries = RunSize::new(&spec, TOKENS).with_boundaries().bytes() - run;
        assert_eq!(boundaries, 4 * (TOKENS * spec.d_model * (2 * spec.n_layers() + 1)) as u64, "{name}");
    }
}

/// What a config of a golden case becomes with a field replaced by text that only Python's json reads.
fn with(case: &str, field: &str, text: &str) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden().join(case).join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config[field] = "HERE".into();
    fs::write(&path, config.to_string().replace("\"HERE\"", text)).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).map_err(|error| error.to_string())?;
    let opened = engine::open(&checkpoint, &mut |_, _| {}, &never).map_err(|error| error.to_string())?;
    Ok(opened.card.warnings)
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_field_where_they_are_read() {
    for (case, field, text) in [
        ("llama", "rope_parameters", r#"{"rope_type": "linear", "factor": Infinity}"#),
        ("llama", "rms_norm_eps", "Infinity"),
        ("llama", "rms_norm_eps", "NaN"),
        ("llama", "max_position_embeddings", "Infinity"),
        ("llama", "rope_parameters", "NaN"),
        ("llama", "hidden_act", "NaN"),
        ("llama", "attention_bias", "-Infinity"),
        ("llama", "hidden_size", "1e999"),
        ("gemma2", "attn_logit_softcapping", "Infinity"),
        ("mistral", "sliding_window", "Infinity"),
        ("olmoe", "clip_qkv", "NaN"),
    ] {
        let error = with(case, field, text).unwrap_err();
        let number = if text.contains("NaN") { "NaN" } else { "Infinity" };
        assert!(error.contains(field) && error.contains(number), "{case} {field}: {error}");
    }
}

#[test]
fn numbers_that_are_not_finite_do_not_matter_where_nothing_reads_them() {
    let none: [String; 0] = [];
    for field in ["initializer_range", "router_aux_loss_coef", "attention_dropout", "task_specific_params"] {
        assert_eq!(with("llama", field, "[NaN, -Infinity]").unwrap(), none, "{field}");
    }
    let warnings = with("llama", "of_nobody", "Infinity").unwrap();
    assert_eq!(warnings, ["config fields that nothing reads: of_nobody"]);
    // A bound that bounds nothing.
    assert_eq!(with("olmoe", "clip_qkv", "Infinity").unwrap(), none);
}

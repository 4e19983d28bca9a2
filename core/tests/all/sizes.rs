//! A file must not decide the size of anything: what it asks for is counted, and compared with what there is, first.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use sluice_core::Error;
use sluice_core::checkpoint::{Checkpoint, NumberFormat, Tokenizer, save};
use sluice_core::engine::{self, never};
use sluice_core::model::family;
use sluice_core::model::layout::{Count, count, declare};
use sluice_core::model::random_tensors;
use sluice_core::plan::Plan;

use crate::support::{golden, logits};

/// A config that asks for 134 million tensors in 187 bytes.
fn many_norms() -> Value {
    json!({
        "model_type": "stablelm", "num_attention_heads": 16384, "num_key_value_heads": 16384, "hidden_size": 32768,
        "num_hidden_layers": 4096, "qk_layernorm": true,
    })
}

fn counted(config: &Value) -> Count {
    let read = family::read(config).unwrap();
    count(&read.spec, &read.layout)
}

#[test]
fn what_is_counted_is_what_is_declared() {
    let mut cases = 0;
    for folder in fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(text) = fs::read_to_string(folder.join("config.json")) else { continue };
        let read = family::read(&serde_json::from_str(&text).unwrap()).unwrap();
        let all = declare(&read.spec, &read.layout);
        let expected =
            Count { tensors: all.len() as u64, parameters: all.iter().map(|decl| decl.len()).sum() };
        assert_eq!(count(&read.spec, &read.layout), expected, "{}", folder.display());
        cases += 1;
    }
    assert!(cases > 30, "{cases}");
}

#[test]
fn tensors_by_the_million_are_counted_without_naming_one() {
    let begun = Instant::now();
    // Two norms a head and 9 other tensors a layer; embedding, unembedding and the last norm with its bias.
    let all = counted(&many_norms());
    assert_eq!(all.tensors, 4096 * (2 * 16384 + 11) + 4);
    let experts =
        counted(&json!({"model_type": "mixtral", "num_local_experts": 4096, "num_hidden_layers": 32}));
    assert_eq!(experts.tensors, 32 * (3 * 4096 + 7) + 3);
    let widest = counted(&json!({
        "model_type": "llama", "hidden_size": 1 << 24, "num_attention_heads": 1 << 14, "head_dim": 1 << 24,
        "intermediate_size": 1 << 24, "num_hidden_layers": 1 << 14, "vocab_size": 1 << 24,
    }));
    assert_eq!(widest.parameters, u64::MAX, "more than there are numbers for");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn counts_out_of_bounds_are_refused_by_field() {
    let vision = |field: &str, value: Value| {
        let mut config: Value =
            serde_json::from_str(&fs::read_to_string(golden().join("llava/config.json")).unwrap()).unwrap();
        config["vision_config"][field] = value;
        config
    };
    for value in [json!(1_000_000_000_u64), json!(-1), json!(1_u64 << 63), json!(1e30)] {
        for (model, field) in [
            ("llama", "num_hidden_layers"),
            ("llama", "num_attention_heads"),
            ("llama", "vocab_size"),
            ("mixtral", "num_local_experts"),
            ("gpt2", "n_layer"),
            ("opt", "vocab_size"),
        ] {
            let error = family::read(&json!({"model_type": model, field: value.clone()})).unwrap_err();
            assert!(error.to_string().contains(field), "{field} = {value}: {error}");
        }
        let error = family::read(&vision("num_hidden_layers", value.clone())).unwrap_err();
        assert!(error.to_string().contains("num_hidden_layers"), "{value}: {error}");
    }
    let routers = vec!["big50_small50"; 40];
    let config = json!({"model_type": "llama", "sluice": {"small_intermediate_size": 4, "routers": routers}});
    assert!(family::read(&config).unwrap_err().to_string().contains("routers"));
}

#[test]
fn a_config_that_asks_for_more_than_the_files_hold_is_told_so() {
    let tensors = BTreeMap::from([
        (
            "model.embed_tokens.weight".to_owned(),
            Tensor::zeros((50_304, 1), DType::F32, &Device::Cpu).unwrap(),
        ),
        ("lm_head.weight".to_owned(), Tensor::zeros((50_304, 1), DType::F32, &Device::Cpu).unwrap()),
    ]);
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &many_norms(), &tensors, NumberFormat::F32, None).unwrap();
    let begun = Instant::now();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let error = engine::open(&checkpoint, &mut |_, _| {}, &never).err().unwrap();
    assert!(error.to_string().contains("shape [50304, 1]"), "{error}");
    assert!(error.to_string().contains("asks for 134262788 tensors, the files hold 2"), "{error}");
    assert!(error.next_step().contains("config.json belongs to these weights"), "{}", error.next_step());
    let inspected = engine::inspect(&checkpoint).unwrap();
    assert!(inspected.warnings.iter().any(|warning| warning.contains("134262788 tensors")));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Deep and thin, with every tensor there.
#[test]
fn ten_thousand_layers_of_width_one_run() {
    let config = json!({
        "model_type": "gpt2", "n_embd": 1, "n_head": 1, "n_layer": 10_000, "n_inner": 1, "n_positions": 8, "vocab_size": 5,
    });
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &config, &random_tensors(&config, 1).unwrap(), NumberFormat::Bf16, None).unwrap();
    let begun = Instant::now();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let mut engine = engine::open(&checkpoint, &mut |_, _| {}, &never).unwrap().engine;
    assert_eq!(logits(&mut engine, &[1, 2, 3], &Plan::default()).len(), 15);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    println!("10,000 layers in {:?}", begun.elapsed());
}

/// Run an ignored test of this file in a process of its own, whose memory is its alone.
fn alone(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sizes::{test}"), "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Factors of rotary dimensions belong to all layers: a list a layer would be gigabytes.
#[test]
fn lists_of_a_config_are_not_copied_for_each_layer() {
    alone("factors_child");
}

#[test]
#[ignore = "a child of lists_of_a_config_are_not_copied_for_each_layer"]
fn factors_child() {
    let factors = vec![1; 1 << 19];
    let config = json!({
        "model_type": "phi3", "hidden_size": 1 << 20, "num_attention_heads": 1, "num_key_value_heads": 1,
        "num_hidden_layers": 16384, "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": "longrope", "short_factor": factors, "long_factor": factors},
    });
    let before = engine::reset_peak();
    let spec = family::read(&config).unwrap().spec;
    assert_eq!(spec.n_layers(), 16384);
    if let Some(added) = before.and_then(engine::peak_since) {
        assert!(added < 256 << 20, "{} MiB", added >> 20);
    }
}

/// A LLaVA checkpoint whose patches are single pixels.
fn fine_patches(side: usize, context: usize) -> (Value, tempfile::TempDir) {
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(golden().join("llava/config.json")).unwrap()).unwrap();
    config["vision_config"]["image_size"] = side.into();
    config["vision_config"]["patch_size"] = 1.into();
    config["text_config"]["max_position_embeddings"] = context.into();
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &config, &random_tensors(&config, 1).unwrap(), NumberFormat::Bf16, None).unwrap();
    (config, folder)
}

#[test]
fn a_tower_is_estimated_before_it_runs() {
    alone("tower_child");
}

#[test]
#[ignore = "a child of a_tower_is_estimated_before_it_runs"]
fn tower_child() {
    let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([7; 3]));
    // Within memory: what it takes is what was said.
    let (_, folder) = fine_patches(48, 4096);
    let engine = crate::support::open(folder.path());
    let said = engine::picture_bytes(engine.model.spec.vision.as_ref().unwrap());
    let before = engine::reset_peak();
    assert_eq!(engine.look(&picture).unwrap().rows.dims()[0], 48 * 48);
    if let Some(took) = before.and_then(engine::peak_since) {
        println!("said {} MiB, took {} MiB", said >> 20, took >> 20);
        assert!(took < said + said / 4 + (8 << 20) && said < 2 * took, "said {said}, took {took}");
    }
    // More rows than the model reads, then more than there is memory for.
    let begun = Instant::now();
    for (side, context, cause) in [
        (128, 4096, "16384 tokens are past the context of 4096"),
        (640, 1 << 20, "reading a picture as 409601 rows needs"),
    ] {
        let (_, folder) = fine_patches(side, context);
        let engine = crate::support::open(folder.path());
        let error = engine.look(&picture).unwrap_err();
        assert!(error.to_string().contains(cause), "{error}");
        assert!(!error.next_step().is_empty());
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

fn tokenizer_json(change: &dyn Fn(&mut Value)) -> String {
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                  "vocab": {"a": 0, "b": 1, "aa": 2}, "merges": ["a a"]},
    });
    change(&mut json);
    json.to_string()
}

fn tokenizer(change: &dyn Fn(&mut Value)) -> Result<Tokenizer, Error> {
    Tokenizer::from_json(Path::new("tokenizer.json"), &tokenizer_json(change))
}

fn tens(count: usize) -> Value {
    let ten = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"});
    json!({"type": "Sequence", "normalizers": vec![ten.clone(); count], "decoders": vec![ten; count]})
}

#[test]
fn a_tokenizer_that_makes_too_much_of_a_text_is_refused() {
    alone("tokenizer_child");
}

#[test]
#[ignore = "a child of a_tokenizer_that_makes_too_much_of_a_text_is_refused"]
fn tokenizer_child() {
    let (before, begun) = (engine::reset_peak(), Instant::now());
    for part in ["normalizer", "decoder"] {
        let error = tokenizer(&|json| json[part] = tens(12)).unwrap_err();
        assert!(matches!(error, Error::Tokenizer { .. }) && error.to_string().contains(part), "{error}");
        assert!(error.next_step().contains("token ids"), "{}", error.next_step());
    }
    // Within the bound of stages, and past that of the text.
    let five = tokenizer(&|json| json["normalizer"] = tens(5)).unwrap();
    assert_eq!(five.encode("b", true).unwrap(), [1]);
    let error = five.encode("aaaaaa", true).unwrap_err().to_string();
    assert!(error.contains("makes more than 256 KiB of 6 bytes"), "{error}");
    // A charsmap that says that it is 4 GiB.
    let map = json!({"type": "Precompiled", "precompiled_charsmap": "/////wAAAABhAGJjZAA="});
    assert!(tokenizer(&|json| json["normalizer"] = map.clone()).is_err());
    let odd = tokenizer(&|json| {
        json["truncation"] = json!({"max_length": u64::MAX, "stride": u64::MAX, "strategy": "LongestFirst", "direction": "Right"});
        json["padding"] = json!({"strategy": {"Fixed": 1_u64 << 62}, "direction": "Left", "pad_to_multiple_of": 1_u64 << 62,
                                 "pad_id": 7, "pad_type_id": 0, "pad_token": "a"});
        json["model"]["vocab"]["b"] = 4_000_000_000_u32.into();
    });
    let odd = odd.unwrap();
    assert_eq!(odd.encode("aaab", true).unwrap(), [2, 0, 4_000_000_000]);
    assert_eq!(
        (odd.decode(&[4_000_000_000]), odd.piece(4_294_967_295).text),
        ("b".into(), "<id 4294967295>".into())
    );
    if let Some(added) = before.and_then(engine::peak_since) {
        println!("{} MiB in {:?}", added >> 20, begun.elapsed());
        assert!(added < 64 << 20, "{} MiB", added >> 20);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn merges_that_are_drawn_are_all_done_and_named() {
    let drawn = tokenizer(&|json| json["model"]["dropout"] = 0.9.into()).unwrap();
    assert!(drawn.warnings()[0].contains("dropout 0.9"), "{:?}", drawn.warnings());
    for _ in 0..50 {
        assert_eq!(drawn.encode("aaaa", true).unwrap(), [2, 2]);
    }
    assert!(tokenizer(&|_| ()).unwrap().warnings().is_empty());
}

/// An expression that tries every way of splitting a text into groups, at every place of it.
#[test]
fn a_text_that_is_never_done_is_given_up() {
    let stuck = tokenizer(&|json| {
        let pattern = json!({"Regex": "(?:(?:a|aa|aaa|a(?=a))*)*(?<=c)c"});
        json["pre_tokenizer"] =
            json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
    });
    let stuck = stuck.unwrap();
    assert_eq!(stuck.encode("b", true).unwrap(), [1]);
    let begun = Instant::now();
    let outcome = stuck.encode(&format!("{}b", "a".repeat(20_000)), true);
    println!("{:?} {:?}", outcome.as_ref().map(Vec::len), begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    if let Err(error) = outcome {
        assert!(error.to_string().contains("not come to an end"), "{error}");
        assert!(error.next_step().contains("token ids"));
        let again = Instant::now();
        assert!(stuck.encode("b", true).is_err() && again.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn texts_cost_a_few_times_their_size() {
    alone("texts_child");
}

/// What each of these files adds to the peak, in times of its size.
#[test]
#[ignore = "a child of texts_cost_a_few_times_their_size"]
fn texts_child() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let config = fs::read_to_string(golden().join("llama/config.json")).unwrap();
    fs::copy(golden().join("llama/model.safetensors"), path("model.safetensors")).unwrap();
    let with = |more: &str| format!("{{\"more\": [{more}1],{}", config.trim_start().trim_start_matches('{'));
    let times = |name: &str, most: u64, refused: &str, read: &dyn Fn() -> Result<(), Error>| {
        let size = fs::metadata(path(name)).unwrap().len();
        let (before, begun) = (engine::reset_peak(), Instant::now());
        let outcome = read().map_err(|error| error.to_string());
        let added = before.and_then(engine::peak_since).unwrap_or(0);
        println!(
            "{name} {size}: {} MiB, {:.1} times, {:?}: {outcome:?}",
            added >> 20,
            added as f64 / size as f64,
            begun.elapsed()
        );
        match refused {
            "" => outcome.unwrap(),
            cause => assert!(outcome.unwrap_err().contains(cause)),
        }
        assert!(added <= most * size + (8 << 20), "{name}: {added} for {size}");
    };
    let open =
        || Checkpoint::open(folder.path()).and_then(|checkpoint| engine::inspect(&checkpoint)).map(drop);
    let numbers = |count: usize| "1,".repeat(count);
    for (more, refused) in [
        (with(&numbers(31 << 20)), "is over 16 MiB"),
        (with(&numbers(7 << 20)), "its values would take"),
        (with(&"{\"\":[0]},".repeat(1 << 20)), "its values would take"),
        (with(&"\"twenty characters ..\",".repeat(600 << 10)), ""),
    ] {
        fs::write(path("config.json"), more).unwrap();
        times("config.json", 24, refused, &open);
    }
    fs::write(path("config.json"), &config).unwrap();
    let plan = |values: &str| {
        format!(
            "{{\"version\":1,\"items\":[{{\"kind\":\"add\",\"site\":\"blocks.0.hook_resid_post\",\"source\":{{\"values\":[{values}1]}}}}]}}"
        )
    };
    for (more, refused) in [
        (plan(&numbers(10 << 20)), "more than 16 MiB"),
        (plan(&numbers(7 << 20)), "its values would take"),
        (plan(&"0.12345678901,".repeat(1 << 20)), ""),
    ] {
        fs::write(path("plan.json"), more).unwrap();
        times("plan.json", 24, refused, &|| Plan::read(&path("plan.json")).map(drop));
    }
    fs::remove_file(path("model.safetensors")).unwrap();
    let index = |entries: &str| format!("{{\"metadata\": {{}}, \"weight_map\": {{{entries}\"z\": \"a\"}}}}");
    let many: String = (0..3_000_000).map(|number| format!("\"{number:x}\":\"s\",")).collect();
    let shards: String = (0..200_000).map(|number| format!("\"{number:x}\":\"{number:x}\",")).collect();
    for (more, refused) in [
        (index(&many), "is not there"),
        (index(&shards), "names more than 10000 files"),
        (index(&" ".repeat(65 << 20)), "is over 64 MiB"),
    ] {
        fs::write(path("model.safetensors.index.json"), more).unwrap();
        times("model.safetensors.index.json", 6, refused, &open);
    }
}

#[test]
fn shards_by_the_hundred_thousand_are_refused_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::copy(golden().join("llama/config.json"), path("config.json")).unwrap();
    let shard = |number: usize, all: usize| path(&format!("model-{number:06}-of-{all:06}.safetensors"));
    let refused = || Checkpoint::open(folder.path()).unwrap_err().to_string();
    // Each says how many there are: one look at the folder's names for all of them.
    for number in 1..=100_000 {
        fs::File::create(shard(number, 100_000)).unwrap();
        if number == 9_000 {
            let begun = Instant::now();
            assert!(refused().contains("the file is empty"), "a count past the bound promises nothing");
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }
    assert!(refused().contains("holds 100000 safetensors files; at most 10000 are opened"), "{}", refused());
    for number in 9_001..=100_000 {
        fs::remove_file(shard(number, 100_000)).unwrap();
    }
    for number in 1..=9_000 {
        fs::rename(shard(number, 100_000), shard(number, 9_001)).unwrap();
    }
    assert!(refused().contains("holds other shards and not model-009001-of-009001.safetensors"));
}

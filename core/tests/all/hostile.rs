//! Bad input: a clear cause, never a panic, nothing sized by an unchecked field.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use sluice_core::Error;
use sluice_core::checkpoint::{Checkpoint, TensorFile};
use sluice_core::engine::{self, never};

use crate::support::{copy_of, golden, open};

fn try_open(folder: &Path) -> Result<engine::Opened, Error> {
    engine::open(&Checkpoint::open(folder)?, &mut |_, _| {}, &never)
}

fn cause(folder: &Path) -> String {
    match try_open(folder) {
        Ok(_) => panic!("opened"),
        Err(error) => {
            assert!(!error.next_step().is_empty());
            error.to_string()
        }
    }
}

fn set(folder: &Path, field: &str, value: serde_json::Value) {
    let path = folder.join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config[field] = value;
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn absurd_configs_are_refused_by_field_and_value() {
    let cases = [
        ("num_hidden_layers", serde_json::json!(0)),
        ("num_hidden_layers", serde_json::json!(1u64 << 40)),
        ("num_attention_heads", serde_json::json!(1u64 << 31)),
        ("num_key_value_heads", serde_json::json!(3)),
        ("hidden_size", serde_json::json!("wide")),
        ("hidden_size", serde_json::json!(-4)),
        ("vocab_size", serde_json::json!(1u64 << 60)),
        ("hidden_act", serde_json::json!("mish")),
        ("rms_norm_eps", serde_json::json!(-1.0)),
        ("quantization_config", serde_json::json!({"bits": 4})),
    ];
    for (field, value) in cases {
        let copy = copy_of("llama");
        set(copy.path(), field, value);
        let cause = cause(copy.path());
        assert!(cause.contains(field), "{field}: {cause}");
    }
}

#[test]
fn unknown_families_and_rope_types_are_named() {
    let copy = copy_of("llama");
    set(copy.path(), "model_type", "mamba".into());
    let text = cause(copy.path());
    assert!(text.contains("mamba") && text.contains("gpt2"), "{text}");
    let copy = copy_of("llama");
    set(copy.path(), "rope_parameters", serde_json::json!({"rope_type": "spiral"}));
    assert!(cause(copy.path()).contains("spiral"));
}

#[test]
fn files_that_lie_are_refused() {
    let good = fs::read(golden().join("llama/model.safetensors")).unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut long = good.clone();
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let text = String::from_utf8(good[8..8 + header].to_vec()).unwrap();
    let with_header = |text: String| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.extend(&good[8 + header..]);
        bytes
    };
    let cases = [
        ("empty", Vec::new()),
        ("short", good[..5].to_vec()),
        ("no data", good[..8 + header].to_vec()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("long header", long),
        ("not json", with_header(text.replace('{', "["))),
        ("wrong dtype", with_header(text.replace("F32", "F99"))),
        ("wrong width", with_header(text.replace("F32", "F64"))),
        ("overlapping", with_header(overlapped(&text))),
        ("integers", with_header(text.replace("F32", "I32"))),
        ("all at the start", with_header(text.replace("\"data_offsets\":[", "\"data_offsets\":[0,0,"))),
    ];
    for (name, bytes) in cases {
        let copy = copy_of("llama");
        fs::write(copy.path().join("model.safetensors"), bytes).unwrap();
        let text = cause(copy.path());
        assert!(text.contains("model.safetensors"), "{name}: {text}");
    }
}

/// The header with every tensor but the first moved onto the bytes of the one before it.
fn overlapped(header: &str) -> String {
    let mut map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(header).unwrap();
    let first = map.values().find_map(|tensor| tensor.get("data_offsets").cloned()).unwrap();
    let start = first[0].as_u64().unwrap();
    for tensor in map.values_mut().filter(|tensor| tensor.get("data_offsets").is_some()) {
        let offsets = tensor["data_offsets"].as_array().unwrap();
        let len = offsets[1].as_u64().unwrap() - offsets[0].as_u64().unwrap();
        tensor["data_offsets"] = serde_json::json!([start, start + len]);
    }
    serde_json::Value::from(map).to_string()
}

/// Peak resident memory of this process, KiB; `None` on systems that do not say.
fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Runs in a process of its own, started by the test below: prints what refusing a folder added to the peak.
#[test]
#[ignore = "a child of rejecting_costs_little"]
fn rejecting_child() {
    let folder = std::env::var_os("SLUICE_REJECT").unwrap();
    let before = peak_kib().unwrap();
    assert!(try_open(Path::new(&folder)).is_err());
    println!("added {} KiB", peak_kib().unwrap() - before);
}

#[test]
fn rejecting_costs_little() {
    if peak_kib().is_none() {
        println!("skipped: this system does not report peak memory");
        return;
    }
    type Break = fn(&Path);
    let cases: [(&str, Break); 6] = [
        ("absurd widths", |folder| {
            for field in ["hidden_size", "intermediate_size", "vocab_size"] {
                set(folder, field, serde_json::json!(1u64 << 24));
            }
        }),
        ("as many layers as are allowed", |folder| set(folder, "num_hidden_layers", serde_json::json!(4096))),
        ("a context of 2^31", |folder| {
            set(folder, "max_position_embeddings", serde_json::json!(1u64 << 31));
            set(folder, "vocab_size", serde_json::json!(1 << 20));
        }),
        ("a header that claims 2^62", |folder| {
            let path = folder.join("model.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            bytes[..8].copy_from_slice(&(1u64 << 62).to_le_bytes());
            fs::write(path, bytes).unwrap();
        }),
        ("a shape of 2^40", |folder| {
            let path = folder.join("model.safetensors");
            let header = br#"{"lm_head.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header);
            fs::write(path, bytes).unwrap();
        }),
        ("a deep config", |folder| {
            fs::write(folder.join("config.json"), "[".repeat(1 << 20)).unwrap();
        }),
    ];
    for (name, break_it) in cases {
        let copy = copy_of("llama");
        break_it(copy.path());
        let size: u64 =
            fs::read_dir(copy.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hostile::rejecting_child", "--ignored", "--nocapture"])
            .env("SLUICE_REJECT", copy.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let added = text
            .lines()
            .find_map(|line| line.split_once("added ")?.1.strip_suffix(" KiB")?.parse::<u64>().ok());
        let added =
            added.unwrap_or_else(|| panic!("{name}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        assert!(added << 10 <= size + (64 << 20), "{name}: {added} KiB for {size} bytes");
    }
}

#[test]
fn shapes_must_fit_the_config() {
    let copy = copy_of("llama");
    set(copy.path(), "intermediate_size", serde_json::json!(64));
    let text = cause(copy.path());
    assert!(text.contains("mlp") && text.contains("48") && text.contains("64"), "{text}");
}

#[test]
fn indices_stay_in_their_folder() {
    for (shard, needle) in
        [("../x.safetensors", "../x"), ("/etc/passwd", "/etc"), ("gone.safetensors", "gone")]
    {
        let copy = copy_of("llama");
        fs::remove_file(copy.path().join("model.safetensors")).unwrap();
        let index = serde_json::json!({"weight_map": {"lm_head.weight": shard}});
        fs::write(copy.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let text = cause(copy.path());
        assert!(text.contains(needle), "{text}");
    }
}

#[test]
fn folders_that_are_no_checkpoint() {
    let empty = tempfile::tempdir().unwrap();
    assert!(cause(empty.path()).contains("empty"));
    assert!(cause(Path::new("/nowhere/at/all")).contains("/nowhere"));
    fs::write(empty.path().join("config.json"), "{").unwrap();
    assert!(cause(empty.path()).contains("JSON"));
    fs::write(empty.path().join("config.json"), "{}").unwrap();
    assert!(cause(empty.path()).contains("safetensors"));
    // A path under a regular file cannot be read by anyone.
    assert!(cause(&empty.path().join("config.json/inner")).contains("inner"));
}

#[test]
fn a_broken_tokenizer_leaves_ids() {
    for text in [
        "{",
        "[]",
        "{\"version\": \"1.0\", \"model\": {\"type\": \"BPE\", \"vocab\": 3}}",
        &"[".repeat(1 << 20),
    ] {
        let copy = copy_of("llama");
        fs::write(copy.path().join("tokenizer.json"), text).unwrap();
        let opened = try_open(copy.path()).unwrap();
        assert!(opened.engine.tokenizer.is_none());
        assert!(opened.card.warnings.iter().any(|warning| warning.contains("tokenizer.json")));
    }
}

#[test]
fn nan_weights_open_and_are_flagged() {
    let copy = copy_of("llama");
    let path = copy.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert!(try_open(copy.path()).unwrap().card.warnings.iter().any(|warning| warning.contains("NaN")));
}

#[test]
fn prompts_that_do_not_fit() {
    let engine = open(&golden().join("llama"));
    let run = |tokens: &[u32]| engine.run_schedule(&tokens.into(), Default::default(), &never).map(|_| ());
    assert!(run(&[]).unwrap_err().to_string().contains("no tokens"));
    assert!(run(&[1, 96]).unwrap_err().to_string().contains("96"));
    assert!(run(&[1; 65]).unwrap_err().to_string().contains("context of 64"));
    assert!(run(&vec![1; 1 << 20]).unwrap_err().to_string().contains("context of 64"));
    assert!(engine.encode("text").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn mutated_headers_never_panic(edits in prop::collection::vec((0usize..4000, any::<u8>()), 1..6), cut in 0usize..4000) {
        let mut bytes = fs::read(golden().join("llama/model.safetensors")).unwrap();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let keep = bytes.len() - cut % bytes.len();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, &bytes[..keep]).unwrap();
        if let Ok(file) = TensorFile::open(&path) {
            for name in file.tensors().keys() {
                drop(file.load_f32(name));
            }
        }
    }
}

//! Forms that checkpoints come in: tied tables, shards, bare names, generation settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;
use sluice_core::checkpoint::{Checkpoint, NumberFormat, TensorFile, safetensors_bytes, save};
use sluice_core::engine::{self, Opened, never};
use sluice_core::model::fused::{PANEL, Packed};
use sluice_core::plan::Plan;

use crate::support::{bits, golden, logits, open};

const EMBED: &str = "model.embed_tokens.weight";
const UNEMBED: &str = "lm_head.weight";
const PROMPT: [u32; 4] = [3, 14, 15, 92];

fn tensors(case: &str) -> BTreeMap<String, Tensor> {
    let file = TensorFile::open(&golden().join(case).join("model.safetensors")).unwrap();
    file.tensors().keys().map(|name| (name.clone(), file.load_f32(name).unwrap().0)).collect()
}

fn config(case: &str, tied: bool) -> serde_json::Value {
    let text = fs::read_to_string(golden().join(case).join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["tie_word_embeddings"] = tied.into();
    config
}

fn try_open(folder: &Path) -> Opened {
    engine::open(&Checkpoint::open(folder).unwrap(), &mut |_, _| {}, &never).unwrap()
}

/// Logits of a Llama with these tensors.
fn of(tensors: &BTreeMap<String, Tensor>, tied: bool) -> (Vec<u32>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &config("llama", tied), tensors, NumberFormat::F32, None).unwrap();
    let mut opened = try_open(folder.path());
    (bits(&logits(&mut opened.engine, &PROMPT, &Plan::default())), opened.card.warnings)
}

#[test]
fn tied_tables_stored_once_twice_or_apart() {
    let mut both = tensors("llama");
    let embed = both[EMBED].clone();
    both.insert(UNEMBED.into(), embed.clone());
    let (twice, warnings) = of(&both, true);
    assert!(warnings.is_empty(), "{warnings:?}");
    let mut once = both.clone();
    once.remove(UNEMBED);
    assert_eq!(of(&once, true).0, twice);
    let mut other = both.clone();
    other.remove(EMBED);
    assert_eq!(of(&other, true).0, twice);
    // Two different tables under a config that ties them: transformers 5 leaves them apart.
    both.insert(UNEMBED.into(), (embed * 2.0).unwrap());
    let (apart, warnings) = of(&both, true);
    assert_eq!(apart, of(&both, false).0);
    assert_ne!(apart, twice);
    assert!(warnings.iter().any(|warning| warning.contains("two different")), "{warnings:?}");
}

#[test]
fn shards_read_like_one_file() {
    let whole = tensors("llama");
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden().join("llama/config.json"), folder.path().join("config.json")).unwrap();
    let mut map = serde_json::Map::new();
    for (index, (name, tensor)) in whole.iter().enumerate() {
        let shard = format!("model-{index:05}-of-{:05}.safetensors", whole.len());
        let one = BTreeMap::from([(name.clone(), tensor.clone())]);
        fs::write(folder.path().join(&shard), safetensors_bytes(&one, NumberFormat::F32).unwrap()).unwrap();
        map.insert(name.clone(), shard.into());
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let plan = Plan::default();
    let sharded = logits(&mut open(folder.path()), &PROMPT, &plan);
    assert_eq!(bits(&sharded), bits(&logits(&mut open(&golden().join("llama")), &PROMPT, &plan)));
}

#[test]
fn generation_settings_end_texts() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden().join("llama").join(name), folder.path().join(name)).unwrap();
    }
    let eos = |folder: &Path| try_open(folder).engine.model.spec.eos.clone();
    let own = eos(folder.path());
    let settings = folder.path().join("generation_config.json");
    fs::write(&settings, r#"{"eos_token_id": [5, 9]}"#).unwrap();
    assert_eq!(eos(folder.path()), [5, 9]);
    fs::write(&settings, r#"{"temperature": 0.7}"#).unwrap();
    assert_eq!(eos(folder.path()), own);
    fs::write(&settings, "{").unwrap();
    assert_eq!(eos(folder.path()), own);
    assert!(try_open(folder.path()).card.warnings.iter().any(|text| text.contains("generation_config")));
}

#[test]
fn a_matrix_read_into_panels_is_the_matrix() {
    for family in ["llama", "llama-bf16", "llama-f16", "opt"] {
        let checkpoint = Checkpoint::open(&golden().join(family)).unwrap();
        let matrices: Vec<(String, Vec<usize>)> = checkpoint
            .tensors()
            .filter(|(_, info)| info.shape.len() == 2)
            .map(|(name, info)| (name.to_owned(), info.shape.clone()))
            .collect();
        assert!(matrices.len() > 8);
        for (name, shape) in matrices {
            let (plain, _) = checkpoint.load_f32(&name, &shape).unwrap();
            let (words, finite) = checkpoint.load_interleaved::<PANEL>(&name, &shape).unwrap();
            let packed = Packed::from_words(words, checkpoint.held(&name), shape[0], shape[1]).unwrap();
            let flat = |x: candle_core::Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(finite && flat(packed.unpacked().unwrap()) == flat(plain), "{family} {name}");
        }
    }
    assert!(Packed::from_words(vec![0; 15], NumberFormat::F32, 1, 1).is_err());
}

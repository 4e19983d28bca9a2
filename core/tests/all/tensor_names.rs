//! Names that tensors have in the files: wrappers' prefixes, other writers' spellings, experts joined in one tensor, blocks
//! and tensors that nobody asks for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;
use serde_json::{Value, json};
use sluice_core::Error;
use sluice_core::checkpoint::{Checkpoint, NumberFormat, TensorFile, save};
use sluice_core::engine::{self, Inspected, Opened, never};
use sluice_core::plan::Plan;

use crate::support::{bits, golden, logits};

const PROMPT: [u32; 4] = [5, 14, 15, 92];

type Tensors = BTreeMap<String, Tensor>;

fn tensors(case: &str) -> Tensors {
    let file = TensorFile::open(&golden().join(case).join("model.safetensors")).unwrap();
    file.tensors().keys().map(|name| (name.clone(), file.load_f32(name).unwrap().0)).collect()
}

fn config(case: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(golden().join(case).join("config.json")).unwrap()).unwrap()
}

fn folder(config: &Value, tensors: &Tensors) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), config, tensors, NumberFormat::F32, None).unwrap();
    folder
}

fn try_open(folder: &Path) -> Result<Opened, Error> {
    engine::open(&Checkpoint::open(folder)?, &mut |_, _| {}, &never)
}

/// Logits and warnings.
fn of(config: &Value, tensors: &Tensors) -> (Vec<u32>, Vec<String>) {
    let folder = folder(config, tensors);
    let mut opened = try_open(folder.path()).unwrap();
    (bits(&logits(&mut opened.engine, &PROMPT, &Plan::default())), opened.card.warnings)
}

fn refusal(config: &Value, tensors: &Tensors) -> (String, String) {
    let folder = folder(config, tensors);
    match try_open(folder.path()) {
        Ok(_) => panic!("opened"),
        Err(error) => (error.to_string(), error.next_step()),
    }
}

fn inspected(config: &Value, tensors: &Tensors) -> Inspected {
    let folder = folder(config, tensors);
    engine::inspect(&Checkpoint::open(folder.path()).unwrap()).unwrap()
}

fn renamed(tensors: &Tensors, name: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(own, tensor)| (name(own), tensor.clone())).collect()
}

#[test]
fn a_prefix_that_all_names_have_comes_off() {
    let prefixes = [
        "_orig_mod.",
        "module.",
        "base_model.model.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "student.net.0.",
    ];
    for case in ["llama", "gpt2", "opt", "gpt_neox", "mixtral", "phi3", "llava", "gpt_oss"] {
        let (config, tensors) = (config(case), tensors(case));
        let plain = of(&config, &tensors);
        for prefix in prefixes {
            let wrapped = renamed(&tensors, |name| format!("{prefix}{name}"));
            assert_eq!(of(&config, &wrapped), plain, "{case} {prefix}");
        }
    }
}

#[test]
fn wrappers_inside_names_come_off() {
    let (config, tensors) = (config("llama"), tensors("llama"));
    let plain = of(&config, &tensors);
    // One compiled block, a compiled inner model, and FSDP with checkpointing around every block.
    let one = renamed(&tensors, |name| name.replace("layers.1.", "layers.1._orig_mod."));
    let inner = renamed(&tensors, |name| name.replace("model.", "model._orig_mod."));
    let sharded = renamed(&tensors, |name| {
        let inside = name.replace(".0.", ".0._fsdp_wrapped_module._checkpoint_wrapped_module.");
        format!("_fsdp_wrapped_module.{inside}")
    });
    for tensors in [one, inner, sharded] {
        assert_eq!(of(&config, &tensors), plain);
    }
}

#[test]
fn wrappers_that_only_some_names_have_come_off() {
    for case in ["llama", "gpt2", "gpt_neox", "mixtral"] {
        let (config, tensors) = (config(case), tensors(case));
        let plain = of(&config, &tensors);
        let mixed: [&dyn Fn(&str) -> String; 4] = [
            &|name| if name.contains(".1.") { format!("module.{name}") } else { name.to_owned() },
            &|name| {
                if name.contains("head") || name.contains("embed") {
                    name.to_owned()
                } else {
                    format!("module.{name}")
                }
            },
            &|name| {
                let front = if name.contains(".0.") { "module._orig_mod.module." } else { "_orig_mod." };
                format!("{front}{name}")
            },
            &|name| {
                if name.contains(".1.") {
                    name.replacen('.', ".module.", 1)
                } else {
                    format!("module.{name}")
                }
            },
        ];
        for (number, mixed) in mixed.iter().enumerate() {
            assert_eq!(of(&config, &renamed(&tensors, mixed)), plain, "{case} {number}");
        }
    }
}

#[test]
fn names_that_would_be_one_and_unknown_prefixes_of_some_are_refused_by_name() {
    let (config, tensors) = (config("llama"), tensors("llama"));
    for wrapper in ["_orig_mod", "module"] {
        let mut both = tensors.clone();
        both.insert(format!("{wrapper}.lm_head.weight"), tensors["lm_head.weight"].clone());
        let (cause, step) = refusal(&config, &both);
        assert!(cause.contains(&format!("{wrapper}.lm_head.weight")) && cause.contains("are one"), "{cause}");
        assert!(!step.contains("download"), "{step}");
    }
    let some = renamed(&tensors, |name| match name.contains("layers.1.") {
        true => format!("student.{name}"),
        false => name.to_owned(),
    });
    let (cause, step) = refusal(&config, &some);
    assert!(cause.contains("blocks 0") && !step.contains("download"), "{cause}; {step}");
}

#[test]
fn a_model_without_a_language_head_is_told_as_one() {
    for (case, head, class) in [
        ("llama", "lm_head.weight", "LlamaModel"),
        ("mixtral", "lm_head.weight", "MixtralModel"),
        ("gpt_neox", "embed_out.weight", "GPTNeoXModel"),
        ("phi", "lm_head.weight", "PhiForTokenClassification"),
    ] {
        let (mut config, mut tensors) = (config(case), tensors(case));
        config["architectures"] = json!([class]);
        tensors.remove(head).unwrap_or_else(|| panic!("{case} has no {head}"));
        let (cause, step) = refusal(&config, &tensors);
        assert!(cause.contains("without a language head") && cause.contains(class), "{cause}");
        assert!(cause.contains(head) && step.contains("ForCausalLM"), "{cause}; {step}");
    }
    // Where the embedding serves as the head there is nothing to miss.
    let (mut config, tensors) = (config("gpt2"), tensors("gpt2"));
    config["architectures"] = json!(["GPT2Model"]);
    let plain = of(&config, &tensors).0;
    let bare = renamed(&tensors, |name| name.replace("transformer.", ""));
    assert_eq!(of(&config, &bare).0, plain);
}

#[test]
fn an_adapter_between_the_weights_is_told_as_one() {
    let (config, tensors) = (config("llama"), tensors("llama"));
    let name = "model.layers.1.self_attn.q_proj";
    let lora = |prefix: &str, at: &str, end: &str| {
        let at = format!("{prefix}{at}");
        [(format!("{at}.lora_A.{end}"), tensors[&format!("{name}.weight")].clone())]
    };
    // Beside whole weights, as peft wraps them, and under its prefix.
    let mut beside = tensors.clone();
    beside.extend(lora("", name, "default.weight"));
    let mut wrapped = renamed(&tensors, |own| own.replace("q_proj.weight", "q_proj.base_layer.weight"));
    wrapped.extend(lora("", name, "weight"));
    let mut front = renamed(&tensors, |own| format!("base_model.model.{own}"));
    front.extend(lora("base_model.model.", name, "default.weight"));
    let mut embedding = tensors.clone();
    embedding.insert("model.embed_tokens.lora_embedding_A.default".into(), tensors["lm_head.weight"].clone());
    for (tensors, told) in [
        (beside, "q_proj.lora_A.default.weight"),
        (wrapped, "q_proj.lora_A.weight"),
        (front, "base_model.model."),
        (embedding, "lora_embedding_A"),
    ] {
        let (cause, step) = refusal(&config, &tensors);
        assert!(cause.contains("LoRA") && cause.contains("not merged") && cause.contains(told), "{cause}");
        assert!(step.contains("merge_and_unload"), "{step}");
    }
    let other = renamed(&tensors, |own| own.replace("q_proj.weight", "q_proj.base_layer.weight"));
    let (cause, step) = refusal(&config, &other);
    assert!(cause.contains("holds an adapter") && step.contains("merge"), "{cause}; {step}");
}

/// A block's experts in two tensors, by plain copying: `[experts, 2 d_mlp, d]` with gate before up, `[experts, d, d_mlp]`.
fn joined(tensors: &Tensors, [gate, up, down]: [&str; 3], inside: &str) -> Tensors {
    let mut out = Tensors::new();
    let mut stacks: BTreeMap<String, BTreeMap<usize, [Option<Tensor>; 3]>> = BTreeMap::new();
    for (name, tensor) in tensors {
        let parts: Vec<&str> = name.rsplitn(4, '.').collect();
        let which = [gate, up, down].iter().position(|part| parts.get(1) == Some(part));
        match (which, parts.get(2).and_then(|number| number.parse::<usize>().ok()), parts.get(3)) {
            (Some(which), Some(expert), Some(front)) if front.ends_with("experts") => {
                let one = stacks.entry((*front).to_owned()).or_default().entry(expert).or_default();
                one[which] = Some(tensor.clone());
            }
            _ => drop(out.insert(name.replace(inside, "mlp."), tensor.clone())),
        }
    }
    assert!(!stacks.is_empty());
    for (front, experts) in stacks {
        let (mut both, mut downs) = (Vec::new(), Vec::new());
        for [gate, up, down] in experts.into_values() {
            both.push(Tensor::cat(&[gate.unwrap(), up.unwrap()], 0).unwrap());
            downs.push(down.unwrap());
        }
        let front = front.replace(inside, "mlp.");
        out.insert(format!("{front}.gate_up_proj"), Tensor::stack(&both, 0).unwrap());
        out.insert(format!("{front}.down_proj"), Tensor::stack(&downs, 0).unwrap());
    }
    out
}

#[test]
fn experts_in_one_tensor_are_the_experts() {
    let names = ["gate_proj", "up_proj", "down_proj"];
    for (case, names, inside) in [
        ("mixtral", ["w1", "w3", "w2"], "block_sparse_moe."),
        ("olmoe", names, "mlp."),
        ("qwen2_moe", names, "mlp."),
        ("qwen3_moe", names, "mlp."),
        ("dots1", names, "mlp."),
        ("dots1-one-group", names, "mlp."),
    ] {
        let (config, tensors) = (config(case), tensors(case));
        let plain = of(&config, &tensors);
        let joined = joined(&tensors, names, inside);
        assert_eq!(of(&config, &joined), plain, "{case}");
        // Both what transformers writes and what wrappers add.
        assert_eq!(of(&config, &renamed(&joined, |name| format!("module.{name}"))), plain, "{case} wrapped");
        let (sizes, other) = (inspected(&config, &tensors), inspected(&config, &joined));
        assert_eq!((sizes.parameters, other.unread.len()), (other.parameters, 0), "{case}");
    }
}

#[test]
fn experts_of_another_orientation_are_refused_by_shape() {
    let (config, tensors) = (config("olmoe"), tensors("olmoe"));
    let mut joined = joined(&tensors, ["gate_proj", "up_proj", "down_proj"], "mlp.");
    let name = "model.layers.0.mlp.experts.gate_up_proj";
    let turned = joined[name].transpose(1, 2).unwrap().contiguous().unwrap();
    joined.insert(name.into(), turned);
    let (cause, step) = refusal(&config, &joined);
    assert!(cause.contains(name) && cause.contains("shape"), "{cause}");
    assert!(step.contains("config.json"), "{step}");
}

#[test]
fn blocks_that_are_missing_are_told_by_number() {
    let (mut config, tensors) = (config("gpt_neo"), tensors("gpt_neo"));
    let without = |blocks: &[usize]| {
        let gone = |name: &str| blocks.iter().any(|block| name.contains(&format!(".h.{block}.")));
        tensors
            .iter()
            .filter(|(name, _)| !gone(name))
            .map(|(n, t)| (n.clone(), t.clone()))
            .collect::<Tensors>()
    };
    for (blocks, told) in [(&[3][..], "0 to 2"), (&[1], "0 and 2 to 3"), (&[0, 2], "1 and 3")] {
        let (cause, step) = refusal(&config, &without(blocks));
        assert!(cause.ends_with(&format!("has blocks {told}, config.json says 4 layers")), "{cause}");
        assert!(!step.contains("download"), "{step}");
    }
    // More than the config says: opened, and said.
    config["num_layers"] = 2.into();
    config["attention_layers"] = json!(["global", "local"]);
    config["attention_types"] = json!([[["global", "local"], 1]]);
    let (_, warnings) = of(&config, &tensors);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("blocks 0 to 3") && warnings[0].contains("2 layers"), "{warnings:?}");
    let unread = inspected(&config, &tensors).unread;
    assert!(!unread.is_empty());
    assert!(unread.iter().all(|name| name.contains(".h.2.") || name.contains(".h.3.")), "{unread:?}");
}

#[test]
fn tensors_that_nothing_reads_are_told_and_buffers_are_not() {
    let zeros =
        |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    for (case, buffers) in [
        ("gpt2", &["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"][..]),
        ("gpt_neo", &["transformer.h.0.attn.attention.bias", "transformer.h.0.attn.attention.masked_bias"]),
        (
            "gpt_neox",
            &[
                "gpt_neox.layers.0.attention.bias",
                "gpt_neox.layers.0.attention.masked_bias",
                "gpt_neox.layers.0.attention.rotary_emb.inv_freq",
            ],
        ),
        ("llama", &["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"]),
        ("llava", &["vision_tower.vision_model.embeddings.position_ids"]),
    ] {
        let (config, mut tensors) = (config(case), tensors(case));
        let plain = of(&config, &tensors);
        assert!(plain.1.is_empty(), "{case}: {:?}", plain.1);
        tensors.extend(buffers.iter().map(|name| ((*name).to_owned(), zeros(&[1]))));
        assert_eq!(of(&config, &tensors), plain, "{case}");
        for name in ["score.weight", "v_head.summary.bias"] {
            tensors.insert(name.to_owned(), zeros(&[2]));
        }
        let (logits, warnings) = of(&config, &tensors);
        assert_eq!(logits, plain.0);
        assert_eq!(warnings, ["tensors that nothing reads: score.weight, v_head.summary.bias"], "{case}");
        assert_eq!(inspected(&config, &tensors).unread, ["score.weight", "v_head.summary.bias"], "{case}");
    }
    // A mask's name is a weight's in another family.
    let (config, mut tensors) = (config("llama"), tensors("llama"));
    tensors.insert("model.layers.0.attn.bias".into(), zeros(&[1]));
    assert_eq!(inspected(&config, &tensors).unread, ["model.layers.0.attn.bias"]);
}

#[test]
fn a_tensor_that_is_missing_is_no_matter_of_the_download() {
    let (config, tensors) = (config("llama"), tensors("llama"));
    let name = "model.layers.1.mlp.up_proj.weight";
    let without = |name: &str| {
        let mut tensors = tensors.clone();
        tensors.remove(name);
        tensors
    };
    let (cause, step) = refusal(&config, &without(name));
    assert!(cause.contains(name) && !step.contains("download"), "{cause}; {step}");
    // Quantised tensors and adapters without a word in config.json.
    let mut packed = without(name);
    packed.insert("model.layers.1.mlp.up_proj.qweight".into(), tensors[name].clone());
    let (cause, step) = refusal(&config, &packed);
    assert!(cause.contains("qweight") && step.contains("dequantised"), "{cause}; {step}");
    let mut adapter = without(name);
    adapter.insert("model.layers.1.mlp.up_proj.lora_A.weight".into(), tensors[name].clone());
    let (cause, step) = refusal(&config, &adapter);
    assert!(cause.contains("LoRA") && step.contains("merge"), "{cause}; {step}");
}

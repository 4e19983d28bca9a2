//! Saved models: opened again, they give the logits that the checkpoint gives under the plan.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sluice_core::checkpoint::{Checkpoint, NumberFormat};
use sluice_core::engine::{self, Engine, Opened, never};
use sluice_core::error::Result;
use sluice_core::files::There;
use sluice_core::model::Input;
use sluice_core::plan::Plan;
use sluice_core::save::{Save, Saved, save};
use sluice_core::spec::{Residual, Score, Spec};

use crate::support::{copy_of, golden, logits, open};

/// Largest difference of a logit.
const BOUND: f32 = 1e-4;
const TOKENS: [u32; 9] = [1, 17, 42, 5, 90, 33, 8, 61, 12];

fn plan(items: &Value) -> Plan {
    serde_json::from_value(json!({ "version": 1, "items": items })).unwrap()
}

fn opened(folder: &Path) -> (Checkpoint, Engine) {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let Opened { engine, .. } = engine::open(&checkpoint, &mut |_, _| {}, &never).unwrap();
    (checkpoint, engine)
}

fn saved(case: &Path, plan: &Plan, out: &Path, dtype: Option<NumberFormat>) -> Result<Saved> {
    let (checkpoint, mut engine) = opened(case);
    let prompt = Input::from(TOKENS.as_slice());
    let items = engine.foldable(plan, Some(&prompt), &never)?;
    let ask = Save { plan, items: &items, dtype, out, there: There::Keep };
    save(&checkpoint, &ask, &mut |_, _| {}, &never)
}

/// Save without a prompt.
fn promptless(
    checkpoint: &Checkpoint,
    engine: &mut Engine,
    plan: &Plan,
    out: &Path,
    there: There,
) -> Result<Saved> {
    let items = engine.foldable(plan, None, &never)?;
    let ask = Save { plan, items: &items, dtype: None, out, there };
    save(checkpoint, &ask, &mut |_, _| {}, &never)
}

/// The largest difference between the logits under the plan and those of the saved model.
fn difference(case: &Path, plan: &Plan, out: &Path) -> f32 {
    let ours = logits(&mut open(case), &TOKENS, plan);
    let theirs = logits(&mut open(out), &TOKENS, &Plan::default());
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn wave(width: usize, scale: f64) -> Vec<f64> {
    (0..width).map(|at| scale * ((at * 7 + 3) % 11) as f64 / 11.0 - scale / 2.0).collect()
}

/// Every kind of change, by a short name.
fn changes(spec: &Spec) -> Vec<(&'static str, Value)> {
    let d = spec.d_model;
    let add = |site: &str| json!([{ "kind": "add", "site": site, "positions": "all", "source": { "values": wave(d, 0.3) } }]);
    let skip = |layer: usize, part: &str| json!({ "kind": "skip", "layer": layer, "part": part });
    let ablate = |site: &str, unit: usize| json!({ "kind": "ablate", "site": site, "unit": unit });
    let scale = |site: &str, factor: f64| json!({ "kind": "scale", "site": site, "factor": factor });
    vec![
        ("nothing", json!([])),
        ("block", json!([skip(1, "attn"), skip(1, "ffn")])),
        ("sublayers", json!([skip(0, "ffn"), skip(1, "attn")])),
        ("heads", json!([ablate("blocks.0.attn.hook_z", 1), ablate("blocks.1.attn.hook_v", 0)])),
        ("neurons", json!([ablate("blocks.1.mlp.hook_post", 3), ablate("blocks.1.mlp.hook_pre", 5)])),
        (
            "parts",
            json!([{ "kind": "ablate", "site": "blocks.0.hook_attn_out", "strength": 0.25 }, scale("blocks.1.hook_mlp_out", 0.5)]),
        ),
        (
            "projections",
            json!([
                scale("blocks.0.attn.hook_q", 0.5),
                scale("blocks.1.attn.hook_k", 1.5),
                scale("blocks.1.attn.hook_v", -1.0)
            ]),
        ),
        (
            "norms",
            json!([scale("ln_final.hook_normalized", 0.5), scale("blocks.1.ln1.hook_normalized", 0.75)]),
        ),
        ("mean", json!([{ "kind": "ablate", "site": "blocks.0.hook_mlp_out", "to": "mean" }])),
        ("mean head", json!([{ "kind": "ablate", "site": "blocks.1.attn.hook_z", "unit": 0, "to": "mean" }])),
        ("add", add("blocks.0.hook_resid_post")),
        ("add between", add("blocks.1.hook_resid_mid")),
        ("add before", add("blocks.1.hook_resid_pre")),
        ("add first", add("blocks.0.hook_resid_pre")),
        (
            "steer",
            json!([{ "kind": "add", "site": "blocks.0.hook_attn_out", "positions": "all", "source": { "tokens": [3, 4, 5] }, "scale": 0.5 }]),
        ),
        (
            "put",
            json!([{ "kind": "patch", "site": "blocks.0.attn.hook_z", "unit": 1, "source": { "values": wave(spec.layers[0].attn.heads * spec.layers[0].attn.d_head, 0.2) } }]),
        ),
        (
            "all of it",
            json!([
                { "kind": "add", "site": "blocks.0.hook_mlp_out", "positions": "all", "source": { "values": wave(d, 0.2) }, "strength": 0.5 },
                scale("blocks.0.hook_mlp_out", 1.25),
                ablate("blocks.0.mlp.hook_post", 2),
                { "kind": "ablate", "site": "blocks.0.mlp.hook_post", "unit": 7, "to": "mean" },
                add("blocks.0.hook_resid_post")[0],
            ]),
        ),
        (
            "mean, then less",
            json!([
                { "kind": "ablate", "site": "blocks.0.attn.hook_z", "unit": 1, "to": "mean" },
                scale("blocks.0.attn.hook_z", 0.5),
            ]),
        ),
        (
            "put, then nothing",
            json!([
                { "kind": "patch", "site": "blocks.0.attn.hook_z", "source": { "values": wave(spec.layers[0].attn.heads * spec.layers[0].attn.d_head, 0.2) } },
                { "kind": "ablate", "site": "blocks.0.attn.hook_z" },
            ]),
        ),
        ("experts", json!([{ "kind": "experts", "knock_out": [1] }])),
        ("fewer experts", json!([{ "kind": "experts", "k": 1 }])),
        (
            "parts of experts",
            json!([{ "kind": "ablate", "site": "blocks.1.mlp.hook_expert_gates", "unit": 2 }, scale("blocks.1.mlp.hook_router_logits", 0.5)]),
        ),
    ]
}

/// Whether a change goes into the weights of an architecture, as cards and configs have them.
fn fits(change: &str, spec: &Spec) -> bool {
    // A field of the config gives some families biases that they have not.
    let llama = ["llama", "llava"].contains(&spec.model_type.as_str());
    let field = [
        "dots1",
        "gemma2",
        "gemma3_text",
        "gpt_neox",
        "gpt_oss",
        "llama",
        "llava",
        "olmo2",
        "olmoe",
        "qwen3",
        "qwen3_moe",
    ];
    let attention = spec.layers[0].attn.out_bias || field.contains(&spec.model_type.as_str());
    let posted = spec.layers[0].ln1_post.is_some();
    let experts = spec.has_experts();
    let dense = |layer: usize| spec.layers[layer].experts.is_none();
    let parallel = spec.layers[0].residual == Residual::Parallel;
    let mlp = (spec.layers[0].ffn.out_bias || llama) && !posted;
    match change {
        "neurons" => dense(1),
        "norms" => {
            [spec.ln_final, spec.layers[1].ln1].iter().all(|norm| norm.is_some_and(|norm| norm.weight))
        }
        "mean" | "add" | "add before" => mlp && dense(0),
        "mean head" | "put" | "mean, then less" => attention,
        "add between" => !parallel && !posted && attention,
        "steer" => !posted && attention,
        "add first" => spec.embed.positions.is_some() || (!spec.unembed.tied && spec.vision.is_none()),
        "all of it" => mlp && dense(0),
        "experts" => {
            experts
                && spec
                    .layers
                    .iter()
                    .filter_map(|l| l.experts)
                    .all(|e| (e.renormalise || e.score == Score::Sigmoid) && e.groups == (1, 1))
        }
        "fewer experts" => {
            experts && spec.layers.iter().filter_map(|l| l.experts).all(|e| e.groups == (1, 1))
        }
        "parts of experts" => !dense(1),
        _ => true,
    }
}

/// The committed checkpoints, one of every family and its forms.
fn cases() -> Vec<String> {
    let mut cases: Vec<String> = fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| golden().join(name).join("model.safetensors").is_file())
        .collect();
    cases.sort();
    assert!(cases.len() > 50, "{cases:?}");
    cases
}

#[test]
fn every_kind_of_change_is_in_the_weights_of_every_family_that_has_a_place_for_it() {
    let (mut worst, mut wrong) = (BTreeMap::new(), Vec::new());
    for case in cases() {
        let folder = golden().join(&case);
        let spec = open(&folder).model.spec.as_ref().clone();
        // Half the numbers' digits would hide what is compared.
        let dtype = case.ends_with("f16").then_some(NumberFormat::F32);
        for (name, items) in changes(&spec) {
            let plan = plan(&items);
            let place = tempfile::tempdir().unwrap();
            let out = place.path().join("model");
            let written = saved(&folder, &plan, &out, dtype);
            if written.is_ok() != fits(name, &spec) {
                wrong.push(format!("{case}, {name}: {:?}", written.map(|saved| saved.written)));
                continue;
            }
            match written {
                Ok(_) => {
                    let difference = difference(&folder, &plan, &out);
                    if difference > BOUND {
                        wrong.push(format!("{case}, {name}: {difference}"));
                    }
                    let worst: &mut f32 = worst.entry(name).or_default();
                    *worst = worst.max(difference);
                }
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains("plan.items["), "{case}, {name}: {said}");
                    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{case}, {name}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{worst:?}");
}

#[test]
fn blocks_that_do_nothing_are_left_out_with_their_part_of_the_config() {
    for (case, field, layers) in [
        ("gpt2", "/n_layer", 2),
        ("gpt_neo", "/num_layers", 4),
        ("llama", "/num_hidden_layers", 2),
        ("gemma2", "/num_hidden_layers", 0),
        ("olmo2", "/num_hidden_layers", 0),
        ("mixtral", "/num_hidden_layers", 2),
        ("qwen2_moe", "/num_hidden_layers", 3),
        ("gpt_oss", "/num_hidden_layers", 2),
        ("llava", "/text_config/num_hidden_layers", 0),
    ] {
        let folder = golden().join(case);
        let before = open(&folder).model.spec.n_layers();
        assert!(layers == 0 || layers == before, "{case}: {before}");
        let plan = plan(
            &json!([{ "kind": "skip", "layer": 0, "part": "ffn" }, { "kind": "skip", "layer": 0, "part": "attn" }]),
        );
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("model");
        let saved = saved(&folder, &plan, &out, None).unwrap();
        assert_eq!(saved.blocks, [before, before - 1], "{case}");
        let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        assert_eq!(config.pointer(field), Some(&json!(before - 1)), "{case}");
        for list in ["layer_types", "attention_layers"] {
            let list = config.get(list).and_then(Value::as_array).map(Vec::len);
            assert!(list.is_none_or(|len| len == before - 1), "{case}");
        }
        let difference = difference(&folder, &plan, &out);
        assert!(difference <= BOUND, "{case}: {difference}");
        // Block 1 is block 0 now, bit for bit.
        let [old, new] = [&folder, &out].map(|folder| Checkpoint::open(folder).unwrap());
        let renamed = |name: &str| {
            (1..before).fold(name.to_owned(), |name, layer| {
                name.replace(&format!(".{layer}."), &format!(".{}.", layer - 1))
            })
        };
        for name in old
            .names()
            .filter(|name| name.contains(".1.") && !name.contains("experts") && !name.contains("vision"))
        {
            let info = old.info(name).unwrap();
            let [before, after] =
                [(&old, name.to_owned()), (&new, renamed(name))].map(|(checkpoint, name)| {
                    checkpoint
                        .load_f32(&name, &info.shape)
                        .unwrap()
                        .0
                        .flatten_all()
                        .unwrap()
                        .to_vec1::<f32>()
                        .unwrap()
                });
            assert_eq!(before, after, "{case}: {name}");
        }
    }
    // Norms that follow the sublayers stay, so the block stays, with zeros.
    let folder = golden().join("opt-post-norm");
    let plan = plan(
        &json!([{ "kind": "skip", "layer": 0, "part": "ffn" }, { "kind": "skip", "layer": 0, "part": "attn" }]),
    );
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("model");
    assert_eq!(saved(&folder, &plan, &out, None).unwrap().blocks, [2, 2]);
    assert!(difference(&folder, &plan, &out) <= BOUND);
}

#[test]
fn what_is_not_changed_is_copied_to_the_bit_and_formats_are_as_asked() {
    let plan = plan(&json!([{ "kind": "ablate", "site": "blocks.0.attn.hook_z", "unit": 0 }]));
    for (case, dtype, stored, config) in [
        ("llama-bf16", None, "BF16", None),
        ("llama-f16", None, "F16", None),
        ("llama", None, "F32", None),
        ("llama", Some(NumberFormat::Bf16), "BF16", Some("bfloat16")),
        ("llama", Some(NumberFormat::F16), "F16", Some("float16")),
        ("llama-bf16", Some(NumberFormat::F32), "F32", Some("float32")),
    ] {
        let (folder, place) = (golden().join(case), tempfile::tempdir().unwrap());
        let out = place.path().join("model");
        saved(&folder, &plan, &out, dtype).unwrap();
        let [old, new] = [&folder, &out].map(|folder| Checkpoint::open(folder).unwrap());
        let names: Vec<&str> = old.names().collect();
        assert_eq!(names, new.names().collect::<Vec<_>>());
        for name in names {
            let info = new.info(name).unwrap();
            assert_eq!(format!("{:?}", info.dtype), stored, "{case}: {name}");
            let bytes = |checkpoint: &Checkpoint| {
                let mut all = Vec::new();
                checkpoint
                    .copy(name, &mut |bytes| {
                        all.extend_from_slice(bytes);
                        Ok(())
                    })
                    .unwrap();
                all
            };
            if dtype.is_none() {
                let changed = name == "model.layers.0.self_attn.o_proj.weight";
                assert_eq!(bytes(&old) == bytes(&new), !changed, "{case}: {name}");
            }
        }
        let written: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        if let Some(config) = config {
            assert!(written["dtype"] == config || written["torch_dtype"] == config, "{written}");
        }
        let about: Value = serde_json::from_slice(&fs::read(out.join("sluice.json")).unwrap()).unwrap();
        assert_eq!(about["fingerprint"], json!(old.fingerprint().unwrap()));
        assert_eq!(about["plan"]["items"][0]["kind"], "ablate");
        assert_eq!(about["written"].as_array().unwrap().len(), 1);
        assert!(fs::read_to_string(out.join("README.md")).unwrap().contains("blocks.0.attn.hook_z"));
    }
}

#[test]
fn numbers_that_a_format_has_no_room_for_are_refused() {
    let folder = copy_of("llama");
    let plan = plan(&json!([{ "kind": "scale", "site": "blocks.0.hook_attn_out", "factor": 1e7 }]));
    let place = tempfile::tempdir().unwrap();
    let error =
        saved(folder.path(), &plan, &place.path().join("model"), Some(NumberFormat::F16)).unwrap_err();
    assert!(error.to_string().contains("F16"), "{error}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn all_that_weights_cannot_do_is_named_at_once() {
    let plan = plan(&json!([
        { "kind": "threshold", "value": 0.1 },
        { "kind": "skip", "layer": 0, "part": "attn", "positions": "last" },
        { "kind": "skip", "layer": 0, "part": "ffn" },
        { "kind": "scale", "site": "blocks.0.hook_resid_post", "factor": 0.5 },
        { "kind": "ablate", "site": "blocks.0.attn.hook_pattern" },
        { "kind": "add", "site": "blocks.0.hook_mlp_out", "positions": "all", "source": "base", "keep_norm": true },
        { "kind": "skip", "layer": 9, "part": "ffn" },
        { "kind": "threshold", "value": 0.1, "on": false },
    ]));
    let place = tempfile::tempdir().unwrap();
    let said =
        saved(&golden().join("llama"), &plan, &place.path().join("model"), None).unwrap_err().to_string();
    for item in [0, 1, 3, 4, 5, 6] {
        assert!(said.contains(&format!("plan.items[{item}]")), "{item}: {said}");
    }
    for item in [2, 7] {
        assert!(!said.contains(&format!("plan.items[{item}]")), "{item}: {said}");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    // Without a prompt there is no run to take a mean of.
    let (checkpoint, mut engine) = opened(&golden().join("gpt2"));
    let mean = self::plan(&json!([{ "kind": "ablate", "site": "blocks.0.hook_mlp_out", "to": "mean" }]));
    let error =
        promptless(&checkpoint, &mut engine, &mean, &place.path().join("model"), There::Keep).unwrap_err();
    assert!(error.to_string().contains("prompt"), "{error}");
}

#[test]
fn nothing_is_written_over_unasked_and_never_a_checkpoint_of_somebody_else() {
    let (folder, place) = (golden().join("llama"), tempfile::tempdir().unwrap());
    let out = place.path().join("model");
    let none = Plan::default();
    saved(&folder, &none, &out, None).unwrap();
    let before = fs::read(out.join("model.safetensors")).unwrap();
    assert!(saved(&folder, &none, &out, None).is_err());
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let (checkpoint, mut engine) = opened(&folder);
    let half = plan(&json!([{ "kind": "scale", "site": "blocks.0.hook_attn_out", "factor": 0.5 }]));
    let mut again = |out: &Path| promptless(&checkpoint, &mut engine, &half, out, There::Replace);
    again(&out).unwrap();
    assert_ne!(before, fs::read(out.join("model.safetensors")).unwrap());
    assert_eq!(fs::read_to_string(out.join("notes.txt")).unwrap(), "mine");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    let foreign = copy_of("gpt2");
    let held = fs::read(foreign.path().join("model.safetensors")).unwrap();
    assert!(again(foreign.path()).is_err());
    assert_eq!(held, fs::read(foreign.path().join("model.safetensors")).unwrap());
    // A run that is stopped leaves nothing.
    let stopped = place.path().join("stopped");
    let ask = Save { plan: &none, items: &[], dtype: None, out: &stopped, there: There::Keep };
    assert!(save(&checkpoint, &ask, &mut |_, _| {}, &|| true).is_err());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn the_bundled_model_is_saved_with_all_that_belongs_to_it() {
    let checkpoint = engine::bundled().unwrap();
    let Opened { mut engine, .. } = engine::open(&checkpoint, &mut |_, _| {}, &never).unwrap();
    let plan = plan(
        &json!([{ "kind": "skip", "layer": 2, "part": "ffn" }, { "kind": "skip", "layer": 2, "part": "attn" }]),
    );
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("model");
    let saved = promptless(&checkpoint, &mut engine, &plan, &out, There::Keep).unwrap();
    assert_eq!(saved.blocks[1], saved.blocks[0] - 1);
    let tokens = engine.encode("Once upon a time").unwrap();
    let ours = logits(&mut engine, &tokens, &plan);
    let mut again = open(&out);
    let theirs = logits(&mut again, &tokens, &Plan::default());
    let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference <= BOUND, "{difference}");
    assert_eq!(again.encode("Once upon a time").unwrap(), tokens);
}

//! Weights held in two bytes give what they give as f32, to the bit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device};
use sluice_core::Error;
use sluice_core::checkpoint::{Checkpoint, NumberFormat, safetensors_bytes};
use sluice_core::engine::{Decoder, Engine, Opened, inspect, never, open};
use sluice_core::learn::Trainable;
use sluice_core::model::{Ask, Logits, Schedule};
use sluice_core::plan::Plan;
use sluice_core::site::Site;

use crate::identity::{kinds_for, plan};
use crate::support::{bits, golden, run};

const NARROW: [NumberFormat; 2] = [NumberFormat::Bf16, NumberFormat::F16];

/// The committed checkpoints that make tokens of tokens.
fn cases() -> Vec<String> {
    let mut cases: Vec<String> = fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("model.safetensors").is_file() && path.join("config.json").is_file())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "bundled")
        .collect();
    cases.sort();
    assert!(cases.len() > 50, "{cases:?}");
    cases
}

/// A committed checkpoint, rounded to a format.
fn rounded(case: &str, format: NumberFormat) -> tempfile::TempDir {
    let (source, folder) = (golden().join(case), tempfile::tempdir().unwrap());
    fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
    let tensors = candle_core::safetensors::load(source.join("model.safetensors"), &Device::Cpu).unwrap();
    let tensors: BTreeMap<_, _> =
        tensors.into_iter().map(|(name, x)| (name, x.to_dtype(DType::F32).unwrap())).collect();
    fs::write(folder.path().join("model.safetensors"), safetensors_bytes(&tensors, format).unwrap()).unwrap();
    folder
}

/// As the file has it, and widened.
fn both(folder: &Path) -> [Opened; 2] {
    let opened = |checkpoint: &Checkpoint| open(checkpoint, &mut |_, _| {}, &never).unwrap();
    let checkpoint = || Checkpoint::open(folder).unwrap();
    [opened(&checkpoint()), opened(&checkpoint().widened())]
}

/// Every site of a run, all logits, and those of some tokens one after the other.
fn seen(engine: &Engine, tokens: &[u32]) -> BTreeMap<String, Vec<u32>> {
    let capture = Site::all(&engine.model.spec).into_iter().collect();
    let output =
        run(engine, tokens, &Schedule::none(), Ask { capture, logits: Logits::All, ..Ask::default() });
    let flat = |x: &candle_core::Tensor| bits(&x.flatten_all().unwrap().to_vec1().unwrap());
    let mut all: BTreeMap<_, _> =
        output.captures.iter().map(|(site, value)| (site.to_string(), flat(value))).collect();
    all.insert("logits".into(), flat(&output.logits.unwrap()));
    let mut decoder =
        Decoder::new(engine.model.clone(), Schedule::none(), &tokens[..1].into(), tokens.len()).unwrap();
    for &token in &tokens[1..] {
        all.insert(format!("logits before {token}"), bits(&decoder.logits(&never).unwrap()));
        decoder.push(token);
    }
    all
}

/// The last logits under a plan: of a whole run, and of a branch of the run without it.
fn under(engine: &mut Engine, tokens: &[u32], plan: &Plan) -> Result<[Option<Vec<u32>>; 2], Error> {
    let schedule = engine.schedule(plan, &tokens.into(), &never)?;
    let whole = engine.run_schedule(&tokens.into(), schedule.clone(), &never)?;
    let base = engine.base(&tokens.into(), &never)?;
    let branch = engine.branch(&base, schedule)?.map(|branch| {
        let output = engine.branches(&base, vec![branch], Logits::Last).unwrap().run(&never).unwrap();
        bits(&output.logits.unwrap().flatten_all().unwrap().to_vec1().unwrap())
    });
    Ok([Some(bits(&whole.last)), branch])
}

#[test]
fn what_is_held_narrow_gives_what_it_gives_widened() {
    const TOKENS: [u32; 7] = [3, 14, 15, 9, 26, 5, 3];
    for case in cases() {
        for format in NARROW {
            let folder = rounded(&case, format);
            let [mut narrow, mut wide] = both(folder.path()).map(|opened| opened.engine);
            let tokens = TOKENS.map(|token| token % narrow.model.spec.vocab as u32);
            assert_eq!(seen(&narrow, &tokens), seen(&wide, &tokens), "{case} {format:?}");
            let kinds = kinds_for(&narrow);
            let mut refused = 0;
            for item in &kinds {
                let plan = plan(vec![item.clone()]);
                match [&mut narrow, &mut wide].map(|engine| under(engine, &tokens, &plan)) {
                    [Ok(ours), Ok(theirs)] => assert_eq!(ours, theirs, "{case} {format:?} {plan:?}"),
                    // Experts have no small FFN beside them, nor the sites of one FFN.
                    [Err(ours), Err(theirs)] if ours.to_string() == theirs.to_string() => refused += 1,
                    others => panic!("{case} {format:?} {plan:?}: {others:?}"),
                }
            }
            assert!(2 * refused < kinds.len(), "{case}: {refused} of {} plans are refused", kinds.len());
        }
    }
}

#[test]
fn what_is_taken_out_of_held_weights_is_what_the_file_says() {
    for (case, names) in [
        ("llama", ["blocks.0.attn.W_Q", "blocks.1.mlp.W_out"]),
        ("gpt2", ["blocks.1.attn.W_V", "blocks.0.mlp.W_in"]),
        ("mixtral", ["blocks.0.attn.W_O", "blocks.0.mlp.experts.1.W_gate"]),
    ] {
        for format in NARROW {
            let folder = rounded(case, format);
            let engines = both(folder.path()).map(|opened| opened.engine);
            let matrices = |engine: &Engine| {
                let trainable = Trainable::new(&engine.model, &names).unwrap();
                let values = trainable.vars.values().map(|var| var.flatten_all().unwrap().to_vec1().unwrap());
                let all: Vec<Vec<f32>> = values.collect();
                let weights = &trainable.packed().unwrap().weights;
                let row: Vec<f32> =
                    weights.embed.rows(&[2]).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let column: Vec<f32> = weights.unembed.matrix.column(3).unwrap().to_vec1().unwrap();
                (all, row, column)
            };
            let [narrow, wide] = engines.each_ref().map(matrices);
            assert!(narrow == wide && !narrow.0.iter().any(Vec::is_empty), "{case} {format:?}");
        }
    }
}

#[test]
fn what_is_held_is_said() {
    for case in ["llama", "gpt2", "phi3", "gpt_oss", "mixtral"] {
        for format in NARROW {
            let folder = rounded(case, format);
            let [narrow, wide] = both(folder.path()).map(|opened| opened.card);
            assert_eq!((narrow.held.as_str(), wide.held.as_str()), (format.name(), "f32"), "{case}");
            assert_eq!(narrow.parameters, wide.parameters);
            assert_eq!(wide.bytes_resident, 4 * wide.parameters, "{case}");
            // Norms, biases and positions are f32.
            let share = narrow.bytes_resident as f64 / wide.bytes_resident as f64;
            assert!((0.5..0.6).contains(&share), "{case}: {share}");
            for (checkpoint, card) in [
                (Checkpoint::open(folder.path()).unwrap(), &narrow),
                (Checkpoint::open(folder.path()).unwrap().widened(), &wide),
            ] {
                let inspected = inspect(&checkpoint).unwrap();
                let resident = inspected.resident;
                assert_eq!((resident.bytes, resident.formats()), (card.bytes_resident, card.held.clone()));
            }
            // Without weights by what config.json names.
            let name = if format == NumberFormat::F16 { "float16" } else { "bfloat16" };
            let path = folder.path().join("config.json");
            let mut config: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            config["torch_dtype"] = name.into();
            config.as_object_mut().unwrap().remove("dtype");
            fs::write(&path, config.to_string()).unwrap();
            fs::remove_file(folder.path().join("model.safetensors")).unwrap();
            let alone = inspect(&Checkpoint::open_config(folder.path()).unwrap()).unwrap();
            assert_eq!(alone.resident.bytes, narrow.bytes_resident, "{case}");
        }
    }
}

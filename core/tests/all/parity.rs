//! Against Hugging Face transformers: every case of `tests/golden` (made by `make_parity.py`), every site it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use candle_core::Tensor;
use serde_json::Value;
use sluice_core::checkpoint::{Checkpoint, TensorFile};
use sluice_core::engine::{Decoder, Engine, Sampler, never};
use sluice_core::files::write_atomic;
use sluice_core::model::family::{self, FAMILIES};
use sluice_core::model::{Ask, Input, Logits, Schedule};
use sluice_core::site::Site;

use crate::support::{golden, open, run};

/// Largest difference allowed, as a share of the site's largest magnitude; logits: absolute.
const BOUND: f32 = 1e-4;

struct Case {
    name: String,
    family: String,
    expected: BTreeMap<String, Vec<f32>>,
    tokens: Vec<u32>,
    greedy: Vec<u32>,
    pixels: Option<Tensor>,
}

impl Case {
    /// The prompt, with its image where it has one.
    fn input(&self, engine: &Engine) -> Input {
        match &self.pixels {
            Some(pixels) => Input::with_image(self.tokens.clone(), engine.see(pixels).unwrap()).unwrap(),
            None => self.tokens.clone().into(),
        }
    }
}

/// Integers of a safetensors file, which the checkpoint reader rightly refuses as weights.
fn integers(bytes: &[u8], name: &str) -> Vec<u32> {
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let data = file.tensor(name).unwrap().data().to_vec();
    data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(golden()).unwrap() {
        let folder = entry.unwrap().path();
        let path = folder.join("expected.safetensors");
        if !folder.is_dir() || !folder.join("config.json").is_file() || folder.ends_with("configs") {
            continue;
        }
        let config: Value =
            serde_json::from_str(&fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let values = |name: &String| {
            let (tensor, _) = file.load_f32(name).unwrap();
            (name.clone(), tensor.flatten_all().unwrap().to_vec1().unwrap())
        };
        let beside = ["tokens", "greedy", "pixels"];
        let names = file.tensors().keys().filter(|name| !beside.contains(&name.as_str()));
        cases.push(Case {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            family: config["model_type"].as_str().unwrap().to_owned(),
            expected: names.map(values).collect(),
            tokens: integers(&bytes, "tokens"),
            greedy: integers(&bytes, "greedy"),
            pixels: file.tensors().contains_key("pixels").then(|| file.load_f32("pixels").unwrap().0),
        });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// The cases of families that open; all families once they all do.
fn opened_cases() -> Vec<Case> {
    let known = |case: &Case| FAMILIES.iter().any(|family| family.model_type == case.family);
    cases().into_iter().filter(known).collect()
}

#[test]
fn every_family_has_a_case() {
    let cases = cases();
    for family in FAMILIES {
        assert!(
            cases.iter().any(|case| case.family == family.model_type),
            "no case of {}",
            family.model_type
        );
    }
}

#[test]
fn every_site_agrees_with_transformers() {
    let mut table: BTreeMap<(String, String), f32> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in opened_cases() {
        let engine = open(&golden().join(&case.name));
        let ask = Ask {
            capture: Site::all(&engine.model.spec).into_iter().collect(),
            logits: Logits::All,
            ..Ask::default()
        };
        let input = case.input(&engine);
        let output = engine.pass(&input, &Schedule::none(), ask, &never).unwrap().0;
        for (name, expected) in &case.expected {
            let ours = if name == "logits" {
                output.logits.clone().unwrap()
            } else if name == "image_rows" {
                input.image().unwrap().rows.clone()
            } else {
                let site: Site = name.parse().unwrap();
                match output.captures.get(&site) {
                    Some(value) => value.clone(),
                    None => {
                        failures.push(format!("{}: {name} is missing", case.name));
                        continue;
                    }
                }
            };
            let ours: Vec<f32> = ours.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(ours.len(), expected.len(), "{}: {name}", case.name);
            let largest = expected.iter().filter(|x| x.is_finite()).fold(0f32, |m, x| m.max(x.abs()));
            let scale = if name == "logits" { 1.0 } else { largest.max(f32::MIN_POSITIVE) };
            let difference = |(a, b): (&f32, &f32)| if a == b { 0.0 } else { (a - b).abs() / scale };
            let worst = ours
                .iter()
                .zip(expected)
                .map(difference)
                .fold(0f32, |m, x| if x > m || x.is_nan() { x } else { m });
            if worst.is_nan() || worst > BOUND {
                failures.push(format!("{}: {name} differs by {worst:e}", case.name));
            }
            let kind = match name.parse::<Site>() {
                Ok(Site::Block { hook, .. }) => format!("blocks.N.{}", hook.name()),
                _ => name.clone(),
            };
            let entry = table.entry((case.family.clone(), kind)).or_default();
            *entry = entry.max(worst);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if std::env::var_os("SLUICE_BLESS").is_some() {
        write_table(&table);
    }
    // A family or site that the fixtures lost, or that the table lacks.
    let text = fs::read_to_string(golden().join("../../../docs/parity.md")).unwrap();
    let listed: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"))
        .filter_map(|(family, rest)| Some((family.to_owned(), rest.split_once('`')?.0.to_owned())))
        .collect();
    let measured: BTreeSet<(String, String)> = table.keys().cloned().collect();
    assert_eq!(measured, listed, "docs/parity.md lists other families and sites than were measured");
}

/// `docs/parity.md`, bounds rounded up to a power of ten.
fn write_table(table: &BTreeMap<(String, String), f32>) {
    let mut text = String::from(
        "# Agreement with Hugging Face transformers\n\n\
         Largest difference over the cases of `core/tests/golden`, f32, as a share of the site's largest magnitude\n\
         (logits: absolute), rounded up to a power of ten. Written by\n\
         `SLUICE_BLESS=1 cargo test --release -p sluice-core parity`; the test fails past 1e-4.\n\n\
         | family | site | within |\n|---|---|---|\n",
    );
    for ((family, site), worst) in table {
        let within = if *worst == 0.0 { "0".into() } else { format!("1e{}", worst.log10().ceil() as i32) };
        text += &format!("| {family} | `{site}` | {within} |\n");
    }
    let path = golden().join("../../../docs/parity.md");
    write_atomic(&path, text.as_bytes()).unwrap();
}

#[test]
fn both_config_forms_read_alike() {
    for case in opened_cases() {
        let folder = golden().join(&case.name);
        let Ok(old) = fs::read_to_string(folder.join("config_4x.json")) else { continue };
        let old: Value = serde_json::from_str(&old).unwrap();
        let new = Checkpoint::open(&folder).unwrap();
        assert_eq!(
            family::read(&old).unwrap().spec,
            family::read(new.config()).unwrap().spec,
            "{}",
            case.name
        );
    }
}

#[test]
fn greedy_decoding_agrees_with_generate() {
    for case in opened_cases() {
        let engine = open(&golden().join(&case.name));
        let schedule = Schedule::none();
        let mut decoder = Decoder::new(engine.model.clone(), schedule, &case.input(&engine), 8).unwrap();
        let sampler = Sampler::default();
        let mut new = Vec::new();
        while new.len() < case.greedy.len() {
            let mut logits = decoder.logits(&never).unwrap();
            // The reference was kept from ending early.
            for &eos in &engine.model.spec.eos {
                logits[eos as usize] = f32::NEG_INFINITY;
            }
            new.push(sampler.pick(&logits, new.len()));
            decoder.push(*new.last().unwrap());
        }
        assert_eq!(new, case.greedy, "{}", case.name);
    }
}

#[test]
fn cached_decoding_equals_prefill() {
    for case in opened_cases() {
        let engine = open(&golden().join(&case.name));
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        for len in [2, case.tokens.len()] {
            // Short prompts of the image cases end before the image.
            let tokens = &case.tokens[..len];
            if len > 2 && case.pixels.is_some() {
                continue;
            }
            let whole = run(&engine, tokens, &Schedule::none(), ask.clone()).logits.unwrap();
            let whole: Vec<f32> = whole.get(len - 1).unwrap().to_vec1().unwrap();
            let mut decoder =
                Decoder::new(engine.model.clone(), Schedule::none(), &tokens[..1].into(), len).unwrap();
            let mut last = decoder.logits(&never).unwrap();
            for &token in &tokens[1..] {
                decoder.push(token);
                last = decoder.logits(&never).unwrap();
            }
            let largest = whole.iter().fold(0f32, |m, x| m.max(x.abs()));
            let worst = whole.iter().zip(&last).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= 1e-5 * largest, "{}: {worst:e} of {largest}", case.name);
        }
    }
}

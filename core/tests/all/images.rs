//! Pictures: the preprocessor against transformers' (`tests/golden/pictures`, made by `make_pictures.py`), and prompts
//! about a picture.

use std::fs;

use candle_core::Tensor;
use serde_json::{Value, json};
use sluice_core::checkpoint::{Preprocessor, TensorFile, read_image};
use sluice_core::engine::never;
use sluice_core::model::{Ask, Input, Schedule};

use crate::support::{golden, open};

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn config() -> Value {
    let path = golden().join("pictures/preprocessor_config.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn preprocessing_agrees_with_transformers() {
    let engine = open(&golden().join("llava"));
    let spec = engine.model.spec.vision.clone().unwrap();
    let config = config();
    let preprocessor = Preprocessor::read(Some(&config), &spec).unwrap();
    let expected = TensorFile::open(&golden().join("pictures/expected.safetensors")).unwrap();
    let std: Vec<f64> = serde_json::from_value(config["image_std"].clone()).unwrap();
    for name in ["exact", "tall", "wide", "small"] {
        let image = read_image(&golden().join(format!("pictures/{name}.png"))).unwrap();
        let ours = flat(&preprocessor.pixels(&image).unwrap());
        let theirs = flat(&expected.load_f32(name).unwrap().0);
        let per_channel = ours.len() / 3;
        let differences: Vec<f64> = ours
            .iter()
            .zip(&theirs)
            .enumerate()
            .map(|(i, (a, b))| f64::from((a - b).abs()) * std[i / per_channel])
            .collect();
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        let worst = differences.iter().fold(0f64, |m, x| m.max(*x));
        // In units of a whole pixel range; a resampled picture is rounded to 8 bits on the way.
        let bound = if name == "exact" { 1e-6 } else { 1.0 / 255.0 };
        println!("{name}: mean {mean:.2e}, worst {worst:.2e}");
        assert!(mean <= bound, "{name}: mean {mean:e}");
        assert!(name != "exact" || worst < 1e-6, "{worst:e}");
    }
}

#[test]
fn a_preprocessor_that_does_not_fit_is_refused() {
    let spec = open(&golden().join("llava")).model.spec.vision.clone().unwrap();
    assert_eq!(
        Preprocessor::read(None, &spec).unwrap(),
        Preprocessor::read(Some(&config()), &spec).unwrap(),
        "what is not written is CLIP's"
    );
    for (field, value) in [
        ("crop_size", json!({"height": 48, "width": 48})),
        ("size", json!({"shortest_edge": 0})),
        ("size", json!("large")),
        ("image_mean", json!([0.5, 0.5])),
        ("image_std", json!([0.5, 0.0, 0.5])),
        ("resample", json!(1)),
        ("rescale_factor", json!("1/255")),
        ("do_resize", json!("no")),
    ] {
        let mut config = config();
        config[field] = value;
        let error = Preprocessor::read(Some(&config), &spec).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn a_picture_stands_where_the_prompt_has_its_token_or_in_front() {
    let engine = open(&golden().join("llava"));
    let picture = read_image(&golden().join("pictures/wide.png")).unwrap();
    let image = engine.look(&picture).unwrap();
    let token = engine.model.spec.vision.as_ref().unwrap().image_token;
    let nine = [token; 9];
    let about = |ids: &[u32]| engine.about(image.clone(), ids).map(|input| input.to_vec());
    assert_eq!(about(&[1, 7, 8]).unwrap(), [&[1], &nine[..], &[7, 8]].concat(), "after BOS");
    assert_eq!(about(&[7, 8]).unwrap(), [&nine[..], &[7, 8]].concat());
    assert_eq!(about(&[1, 7, token, 8]).unwrap(), [&[1, 7], &nine[..], &[8]].concat());
    assert_eq!(about(&[&nine[..], &[8]].concat()).unwrap(), [&nine[..], &[8]].concat());
    let error = about(&[token; 4]).unwrap_err().to_string();
    assert!(error.contains('4') && error.contains('9'), "{error}");
}

#[test]
fn the_picture_changes_what_follows_and_nothing_before() {
    let engine = open(&golden().join("llava"));
    let look = |name: &str| {
        engine.look(&read_image(&golden().join(format!("pictures/{name}.png"))).unwrap()).unwrap()
    };
    let token = engine.model.spec.vision.as_ref().unwrap().image_token;
    let rows = |input: &Input| {
        let ask = Ask { logits: sluice_core::model::Logits::All, ..Ask::default() };
        engine
            .pass(input, &Schedule::none(), ask, &never)
            .unwrap()
            .0
            .logits
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
    };
    let ids = [1, 9, token, 11, 12];
    let one = rows(&engine.about(look("tall"), &ids).unwrap());
    let other = rows(&engine.about(look("wide"), &ids).unwrap());
    assert_eq!(one[..2], other[..2]);
    assert_ne!(one.last(), other.last());
    // The same picture read twice is the same run; another prompt is not.
    let (tall, wide) = (look("tall"), look("wide"));
    let input = |image| engine.about(image, &ids).unwrap();
    assert_eq!(input(std::sync::Arc::clone(&tall)), input(tall.clone()));
    assert_ne!(input(tall), input(wide));
}

#[test]
fn a_text_only_checkpoint_takes_no_picture() {
    let engine = open(&golden().join("llama"));
    let picture = read_image(&golden().join("pictures/exact.png")).unwrap();
    let error = engine.look(&picture).unwrap_err().to_string();
    assert!(error.contains("text only"), "{error}");
}

#[test]
fn what_a_config_asks_for_is_not_allocated_blindly() {
    let spec = open(&golden().join("llava")).model.spec.vision.clone().unwrap();
    let picture = read_image(&golden().join("pictures/wide.png")).unwrap();
    for size in [json!({"height": 16384, "width": 16384}), json!({"shortest_edge": 16384})] {
        let mut config = config();
        config["size"] = size;
        let error =
            Preprocessor::read(Some(&config), &spec).unwrap().pixels(&picture).unwrap_err().to_string();
        assert!(error.contains("too large"), "{error}");
    }
}

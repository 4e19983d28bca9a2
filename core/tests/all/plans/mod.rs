//! Plans as people write them: what is left out, what is empty, where files lie, which rows of a source go where, sites by
//! glob and range, and causes that say what is wrong.

mod finite;
mod reading;
mod sites;
mod sources;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use sluice_core::engine::{Engine, never};
use sluice_core::error::Error;
use sluice_core::model::{Ask, Input, Logits};
use sluice_core::plan::{Change, KINDS, Plan, Source};
use sluice_core::rng;
use sluice_core::site::{Hook, Site};

use crate::support::{bits, golden, logits, open, run};

/// Widths of the tiny llama.
const D: usize = 32;
const PROMPT: [u32; 6] = [3, 14, 15, 92, 65, 35];
const OTHER: [u32; 3] = [9, 8, 7];

fn llama() -> Engine {
    open(&golden().join("llama"))
}

fn read(items: &str) -> Result<Plan, String> {
    Plan::from_json(&format!(r#"{{"version":1,"items":[{items}]}}"#)).map_err(|error| error.to_string())
}

fn plan(items: &str) -> Plan {
    read(items).unwrap_or_else(|error| panic!("{items}: {error}"))
}

/// Why a plan is refused for the prompt.
fn refused(engine: &mut Engine, items: &str) -> String {
    match engine.schedule(&plan(items), &PROMPT.as_slice().into(), &never) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{items} is accepted"),
    }
}

fn changed(engine: &mut Engine, items: &str) -> Vec<u32> {
    bits(&logits(engine, &PROMPT, &plan(items)))
}

/// A site's rows in the unmodified run of some tokens.
fn rows(engine: &mut Engine, tokens: &[u32], site: &str) -> Vec<Vec<f32>> {
    let site: Site = site.parse().unwrap();
    let ask = Ask { capture: [site].into(), ..Ask::default() };
    let value = run(engine, tokens, &Default::default(), ask).captures.remove(&site).unwrap();
    value.flatten_from(1).unwrap().to_vec2().unwrap()
}

fn values(row: &[f32]) -> String {
    json!({ "values": row }).to_string()
}

fn noise(seed: u64, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> =
        (0..count as u64).map(|i| half::bf16::from_f32(rng::normal(seed, 0, i)).to_f32()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

// ---- which rows of a source go where

fn file(folder: &Path, tensors: &[(&str, Tensor)]) -> PathBuf {
    let path = folder.join("vectors.safetensors");
    let tensors: std::collections::HashMap<String, Tensor> =
        tensors.iter().map(|(name, tensor)| ((*name).into(), tensor.clone())).collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    path
}

//! Random weights, for training and for benchmarks at a true shape.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use serde_json::Value;

use super::layout::{Decl, Role, VisionRole, WeightPart, declare};
use super::{family, weights};
use crate::error::Result;
use crate::rng;
use crate::spec::Spec;

/// A checkpoint's tensors by name for a config.json, in file shapes: normal weights of standard deviation 0.02, output
/// projections scaled down by sqrt(2 L), norms at their identity, biases 0 (GPT-2's initialisation).
pub fn random_tensors(config: &Value, seed: u64) -> Result<BTreeMap<String, Tensor>> {
    let family::Read { spec, layout, .. } = family::read(config)?;
    let tensor = |(decl, stream): (&Decl, u64)| {
        let prefix = if decl.prefixed { layout.prefix } else { "" };
        Ok((format!("{prefix}{}", decl.name), initial(decl, &spec, seed, stream)?))
    };
    declare(&spec, &layout).iter().zip(0..).map(tensor).collect()
}

/// The initial value of a parameter, of its declaration's shape `[..]`.
pub fn initial(decl: &Decl, spec: &Spec, seed: u64, stream: u64) -> Result<Tensor> {
    let class = decl.slot.role == Role::Vision(VisionRole::Class);
    let is_norm = decl.shape.len() == 1 && decl.slot.part == WeightPart::Weight && !class;
    if is_norm {
        let offset = decl.slot.layer.and_then(|layer| spec.layers.get(layer)).and_then(|layer| layer.ln1);
        let one = if offset.or(spec.ln_final).is_some_and(|norm| norm.offset_one) { 0.0 } else { 1.0 };
        return weights::constant(&decl.shape, one);
    }
    if decl.slot.part == WeightPart::Bias {
        return weights::constant(&decl.shape, 0.0);
    }
    let residual = matches!(
        decl.slot.role,
        Role::Out | Role::Down | Role::SmallDown | Role::ExpertDown(_) | Role::ExpertsDown | Role::SharedDown
    );
    let std = if residual { 0.02 / (2.0 * spec.n_layers() as f32).sqrt() } else { 0.02 };
    let values: Vec<f32> = (0..decl.len()).map(|i| std * rng::normal(seed, stream, i)).collect();
    Ok(Tensor::from_vec(values, decl.shape.as_slice(), &Device::Cpu)?)
}

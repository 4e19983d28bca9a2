//! An early help for the tower: what does each patch show? The heads that answer train along and are thrown away.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use crate::error::{Error, Result};
use crate::learn::AdamW;
use crate::model::{Model, fused, ops, vision};
use crate::rng;
use crate::world::kind::{COLOURS, SHAPES};

const NAMES: [&str; 2] = ["patches.shape", "patches.colour"];

/// A linear head for the shape and one for the colour, `[classes + 1, width]`; the last class is nothing.
pub struct Heads([Tensor; 2]);

/// Whether a parameter is one of the heads.
pub fn is_ours(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Fresh heads by name.
pub fn fresh(width: usize, seed: u64) -> Result<BTreeMap<String, Var>> {
    let classes = [SHAPES.len() + 1, COLOURS.len() + 1];
    let head = |((name, rows), stream): ((&str, usize), u64)| {
        let values: Vec<f32> =
            (0..(rows * width) as u64).map(|i| 0.02 * rng::normal(seed, stream, i)).collect();
        Ok((name.to_owned(), Var::from_tensor(&Tensor::from_vec(values, (rows, width), &Device::Cpu)?)?))
    };
    NAMES.into_iter().zip(classes).zip(9000..).map(head).collect()
}

/// The heads that the optimiser owns.
pub fn heads(optimiser: &AdamW) -> Result<Heads> {
    let weights = optimiser.weights();
    let head = |name: &str| {
        weights.get(name).cloned().ok_or_else(|| Error::Internal(format!("no parameter {name}")))
    };
    let [shape, colour] = NAMES.map(head);
    Ok(Heads([shape?, colour?]))
}

/// Sum of the surprisals of shape and colour over all patches, nats. `seen` are the tower's rows.
pub fn surprisal(model: &Model, heads: &Heads, seen: &Tensor, truth: &[Vec<u32>; 2]) -> Result<Tensor> {
    let spec = model.spec.vision.as_ref().ok_or_else(|| Error::Internal("no tower".into()))?;
    let rows = vision::patches_of(spec, seen)?;
    let [shape, colour] = &heads.0;
    let [shapes, colours] = truth;
    let of = |head: &Tensor, truth: &[u32]| -> Result<Tensor> {
        Ok(fused::surprisal(&ops::linear(&rows, head, None)?, truth)?.sum_all()?)
    };
    Ok((of(shape, shapes)? + of(colour, colours)?)?)
}

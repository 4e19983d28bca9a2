//! One FFN neuron: its values along the prompt, and the tokens its output direction promotes and suppresses.

use super::{Neuron, Runs};
use crate::engine::{Cancelled, Engine, Run};
use crate::error::{Error, Result};
use crate::figure::{FigureId, Lines, Plot, Series};
use crate::metric;
use crate::site::{Hook, Site};

/// A neuron along the prompt.
const NEURON: FigureId = FigureId("neuron");

/// Tokens listed each way.
const TOP: usize = 10;

pub(super) fn compute(
    engine: &Engine,
    runs: &Runs,
    layer: usize,
    neuron: usize,
    cancelled: Cancelled,
) -> Result<Neuron> {
    let (spec, weights) = engine.model.layer(layer)?;
    let Some(ffn) = weights.dense() else {
        return Err(Error::Input(format!(
            "layer {layer} is made of experts: their neurons have no rows of their own"
        )));
    };
    if neuron >= spec.ffn.d_mlp {
        return Err(Error::Input(format!("layer {layer} has no neuron {neuron}")));
    }
    let site = Site::block(layer, Hook::MlpPost);
    let along = |run: &Run| -> Result<Vec<f32>> {
        let captures = engine.replay(run, layer, [site].into(), cancelled)?;
        let value = captures.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
        Ok(value.narrow(1, neuron, 1)?.flatten_all()?.to_vec1()?)
    };
    let series = vec![
        Series { name: "base".into(), y: along(&runs.base)?.into() },
        Series { name: "plan".into(), y: along(&runs.plan)?.into() },
    ];
    let lines =
        Lines { x_name: "Token".into(), y_name: "activation".into(), x_labels: runs.labels(), series };
    let direction = ffn.down.matrix.column(neuron)?.unsqueeze(0)?;
    let scores: Vec<f32> = engine.model.direction_logits(&direction)?.flatten_all()?.to_vec1()?;
    let negated: Vec<f32> = scores.iter().map(|x| -x).collect();
    let list = |values: &[f32], sign: f32| {
        metric::top_k(values, TOP).into_iter().map(|(id, x)| (engine.token(id), sign * x)).collect()
    };
    let figure = runs.figure(
        NEURON,
        &format!("layer-{layer} {neuron}"),
        format!("Neuron {neuron} of layer {layer}"),
        Plot::Lines(lines),
        vec![site.to_string()],
    );
    Ok(Neuron { figure, promoted: list(&scores, 1.0), suppressed: list(&negated, -1.0) })
}

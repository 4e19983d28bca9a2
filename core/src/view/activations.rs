//! FFN activations of one layer, neuron x token.

use super::{Activations, Runs, Side, largest, map};
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::figure::{FigureId, Plot, Scale};
use crate::site::{Hook, Site};

/// FFN activations of a layer.
const ACTIVATIONS: FigureId = FigureId("activations");

/// Which neurons are rows of the map.
pub(super) struct Rows {
    /// Largest magnitude first, else by index.
    pub sort: bool,
    /// At most so many.
    pub top: usize,
}

pub(super) fn compute(
    engine: &Engine,
    runs: &Runs,
    layer: usize,
    hook: Hook,
    side: Side,
    rows: Rows,
    cancelled: Cancelled,
) -> Result<Activations> {
    let site = Site::block(layer, hook);
    let captures = engine.replay(runs.side(side), layer, [site].into(), cancelled)?;
    let value = captures.get(&site).ok_or_else(|| Error::Input(format!("this model has no {site}")))?;
    let by_neuron: Vec<Vec<f32>> = value.t()?.contiguous()?.to_vec2()?;
    let mut order: Vec<(u32, f32)> = (0..).zip(by_neuron.iter().map(|row| largest(row))).collect();
    let total = order.len();
    if rows.sort {
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }
    order.truncate(rows.top);
    let neurons: Vec<u32> = order.into_iter().map(|(neuron, _)| neuron).collect();
    let labels = neurons.iter().map(u32::to_string).collect();
    let values: Vec<f32> =
        neurons.iter().filter_map(|&n| by_neuron.get(n as usize)).flatten().copied().collect();
    let scale = Scale::diverging(&values);
    let map = map("Neuron", labels, runs.labels(), values, scale, "activation");
    let mut notes = vec![format!("{site}, {}", side_name(side))];
    let order = if rows.sort { "largest magnitude over the prompt first" } else { "by index" };
    notes.push(format!("{} of {total} neurons, {order}", neurons.len()));
    let detail = format!("layer-{layer} {} {}", hook.name(), super::side_slug(side));
    let figure =
        runs.figure(ACTIVATIONS, &detail, format!("FFN activations, layer {layer}"), Plot::Map(map), notes);
    Ok(Activations { figure, neurons })
}

/// For notes.
pub(super) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Base => "unmodified model",
        Side::Plan => "under the plan",
    }
}

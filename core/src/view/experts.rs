//! Which experts the prompt's tokens go through: one block in detail, or all blocks at a glance.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::activations::side_name;
use super::{ExpertShow, Runs, Side, map, numbers};
use crate::engine::{Cancelled, EXPERT_SITES, Engine, block_use, entropy};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Lines, Plot, Scale, Series};
use crate::model::Captures;
use crate::site::{Hook, Site};

/// What an expert panel shows.
const EXPERTS: FigureId = FigureId("experts");

pub(super) fn compute(
    engine: &Engine,
    runs: &Runs,
    layer: usize,
    side: Side,
    show: ExpertShow,
    cancelled: Cancelled,
) -> Result<Arc<Figure>> {
    if show == ExpertShow::Blocks {
        return blocks(engine, runs, side, cancelled);
    }
    let spec = &engine.model.spec;
    let experts = spec.layers.get(layer).and_then(|layer| layer.experts);
    let experts = experts.ok_or_else(|| Error::Input(format!("block {layer} has no experts")))?;
    let capture = |hooks: &[Hook]| -> Result<Captures> {
        let sites: BTreeSet<Site> = hooks.iter().map(|&hook| Site::block(layer, hook)).collect();
        engine.replay(runs.side(side), layer, sites, cancelled)
    };
    let (hook, quantity) = match show {
        ExpertShow::Gates => (Hook::ExpertGates, "gate weight"),
        ExpertShow::Logits => (Hook::RouterLogits, "router logit"),
        ExpertShow::Norms => (Hook::ExpertNorms, "norm of the output"),
        ExpertShow::Load | ExpertShow::Coactivation | ExpertShow::Blocks => {
            return over_the_prompt(runs, &capture(&EXPERT_SITES)?, layer, experts.count, side, show);
        }
    };
    let site = Site::block(layer, hook);
    let captures = capture(&[hook])?;
    let value = captures.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
    let values: Vec<f32> = value.t()?.contiguous()?.flatten_all()?.to_vec1()?;
    let scale = if hook == Hook::RouterLogits { Scale::diverging(&values) } else { from_zero(&values) };
    let map = map("Expert", numbers(experts.count), runs.labels(), values, scale, quantity);
    let notes = vec![
        format!("{site}, {}", side_name(side)),
        format!("{} of {} experts a token", experts.top_k, experts.count),
    ];
    Ok(figure(runs, show, Some(layer), side, Plot::Map(map), notes))
}

/// Load and saliency, or who is chosen with whom.
fn over_the_prompt(
    runs: &Runs,
    captures: &Captures,
    layer: usize,
    experts: usize,
    side: Side,
    show: ExpertShow,
) -> Result<Arc<Figure>> {
    let used = block_use(captures, layer, experts)?;
    let of = format!(
        "{} tokens, {}; router entropy {:.3} nats, balance of the choices {:.3}",
        used.tokens,
        side_name(side),
        used.entropy,
        used.balance
    );
    if show == ExpertShow::Coactivation {
        let values: Vec<f32> = used.coactivation.iter().flatten().map(|share| *share as f32).collect();
        let mut map = map("Expert", numbers(experts), numbers(experts), values, Scale::Attention, "share");
        map.cols.name = "Expert beside it".into();
        let notes = vec!["share of the row expert's tokens that go through the column's too".into(), of];
        return Ok(figure(runs, show, Some(layer), side, Plot::Map(map), notes));
    }
    let series = |name: &str, values: Vec<f64>| Series {
        name: name.into(),
        y: values.into_iter().map(|x| x as f32).collect(),
    };
    let saliency: Vec<f64> = used.experts.iter().map(|expert| expert.saliency).collect();
    let largest = saliency.iter().copied().filter(|x| x.is_finite()).fold(0.0, f64::max);
    let lines = Lines {
        x_name: "Expert".into(),
        y_name: "share".into(),
        x_labels: numbers(experts),
        series: vec![
            series("load", used.experts.iter().map(|expert| expert.load).collect()),
            series("mean gate weight", used.experts.iter().map(|expert| expert.gate).collect()),
            series(
                &format!("saliency / {largest:.3}"),
                saliency.iter().map(|saliency| saliency / largest).collect(),
            ),
        ],
    };
    let notes = vec![
        of,
        "saliency = mean gate weight x norm of the output over an expert's tokens (REAP), as a share of the largest"
            .into(),
    ];
    Ok(figure(runs, show, Some(layer), side, Plot::Lines(lines), notes))
}

/// Every block of experts: how undecided the router is about each token, and whom it chooses.
fn blocks(engine: &Engine, runs: &Runs, side: Side, cancelled: Cancelled) -> Result<Arc<Figure>> {
    let (mut labels, mut values, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for (layer, spec) in engine.model.spec.layers.iter().enumerate() {
        if spec.experts.is_none() {
            continue;
        }
        let sites = [Hook::ExpertWeights, Hook::ExpertGates].map(|hook| Site::block(layer, hook));
        let captures = engine.replay(runs.side(side), layer, sites.into(), cancelled)?;
        let rows = |site: Site| -> Result<Vec<Vec<f32>>> {
            let value = captures.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
            Ok(value.to_vec2()?)
        };
        labels.push(layer.to_string());
        let [scores, gates] = sites.map(rows);
        for (scores, gates) in scores?.iter().zip(gates?) {
            let missing = scores.iter().any(|score| score.is_nan());
            values.push(match missing {
                true => f32::NAN,
                false => entropy(scores.iter().map(|score| f64::from(*score))) as f32,
            });
            let chosen = (0..gates.len()).filter(|&expert| !missing && gates.get(expert) != Some(&0.0));
            text.push(chosen.map(|expert| expert.to_string()).collect::<Vec<_>>().join(" "));
        }
    }
    if labels.is_empty() {
        return Err(Error::Input("this checkpoint has no experts".into()));
    }
    let scale = Scale::sequential(&values);
    let mut map = map("Layer", labels.into(), runs.labels(), values, scale, "router entropy (nats)");
    map.text = Some(text.into());
    let notes = vec![format!("numbers of the chosen experts, {}", side_name(side))];
    Ok(figure(runs, ExpertShow::Blocks, None, side, Plot::Map(map), notes))
}

fn from_zero(values: &[f32]) -> Scale {
    let max = values.iter().copied().filter(|x| x.is_finite()).fold(0.0, f32::max);
    Scale::Sequential { min: 0.0, max: if max > 0.0 { max } else { 1.0 } }
}

fn figure(
    runs: &Runs,
    show: ExpertShow,
    layer: Option<usize>,
    side: Side,
    plot: Plot,
    notes: Vec<String>,
) -> Arc<Figure> {
    let of = layer.map_or_else(String::new, |layer| format!(", layer {layer}"));
    let detail = match layer {
        Some(layer) => format!("{} layer-{layer} {}", show.name(), super::side_slug(side)),
        None => format!("{} {}", show.name(), super::side_slug(side)),
    };
    runs.figure(EXPERTS, &detail, format!("Experts: {}{of}", show.name()), plot, notes)
}

//! The plan's routing map, layer x token, with a column for positions past the prompt.

use std::sync::Arc;

use super::{Runs, map, numbers};
use crate::engine::{self, Engine};
use crate::figure::colour::fill;
use crate::figure::{Class, Figure, FigureId, Map, Plot, Scale};
use crate::plan::{Change, Plan, Route};
use crate::spec::Lane;

/// The lanes of the plan.
const ROUTING_MAP: FigureId = FigureId("routing-map");

pub(super) fn compute(engine: &Engine, runs: &Runs) -> Arc<Figure> {
    let routes: Vec<&Route> = runs
        .source
        .active()
        .into_iter()
        .filter_map(|item| if let Change::Route(route) = &item.change { Some(route) } else { None })
        .collect();
    let layers = engine.model.spec.n_layers();
    let len = runs.tokens.len();
    // Where several maps are stacked, the last one that leaves the big lane counts.
    let lane = |layer: usize, position: usize| {
        // A learned router's choice has the painted lanes in it.
        if let Some(chosen) = runs.plan.lanes.get(&layer).and_then(|lanes| lanes.get(position)) {
            return *chosen;
        }
        let lanes = routes.iter().rev().map(|route| route.lane(layer, position, len));
        lanes.into_iter().find(|&lane| lane != Lane::Big).unwrap_or_default()
    };
    let index = |lane: Lane| Lane::ALL.iter().position(|&known| known == lane).unwrap_or(0) as f32;
    let routed = !runs.plan.lanes.is_empty();
    // Position `len` stands for everything past the prompt; a router decides there token by token.
    let values = (0..layers)
        .flat_map(|layer| (0..=len).map(move |p| (layer, p)))
        .map(|(l, p)| if routed && p == len { f32::NAN } else { index(lane(l, p)) });
    let labels: Vec<String> = runs.labels().iter().cloned().chain(["next".to_owned()]).collect();
    let map = map(
        "Layer",
        numbers(layers),
        labels.into(),
        values.collect(),
        Scale::Classes(classes()),
        "lane of the token",
    );
    let mut notes = vec![
        format!("small FFN: {}", engine::small_label(engine, &runs.source.surrogate())),
        "skip layer, our reading: the token reads no attention, its keys and values are still written".into(),
    ];
    if let Some(share) = flops(engine, &map, len, &runs.source) {
        notes.push(format!("FFN FLOPs over the prompt, by lanes: {:.1} % of all big", 100.0 * share));
    }
    let painted = routes.iter().flat_map(|route| &route.layers).map(|layer| layer.tokens.len()).max();
    if let Some(painted) = painted.filter(|&painted| painted > len) {
        notes.push(format!(
            "painted for {painted} tokens, the prompt has {len}: the lanes past it are left out"
        ));
    }
    if !runs.plan.lanes.is_empty() {
        notes.push("lanes of a learned router; it routes generated tokens too, one by one".into());
    }
    runs.figure(ROUTING_MAP, "", "Routing map", Plot::Map(map), notes)
}

/// What the FFNs of the prompt's tokens cost, as a share of what they cost all big.
fn flops(engine: &Engine, map: &Map, len: usize, plan: &Plan) -> Option<f64> {
    let spec = &engine.model.spec;
    let (mut cost, mut full) = (0.0, 0.0);
    for (layer, row) in spec.layers.iter().zip(map.values.chunks(len + 1)) {
        let big = layer.ffn_width() as f64;
        let small = match &layer.small {
            Some(small) => ((2 + usize::from(small.gated)) * small.d_mlp) as f64,
            None => big * f64::from(plan.surrogate().share()),
        };
        for &lane in row.iter().take(len) {
            full += big;
            cost += match Lane::ALL.get(lane as usize) {
                Some(Lane::Big) => big,
                Some(Lane::Small) => small,
                _ => 0.0,
            };
        }
    }
    (cost < full).then_some(cost / full)
}

/// The lanes as classes, in the order of [`Lane::ALL`].
pub(crate) fn classes() -> Arc<[Class]> {
    Lane::ALL
        .iter()
        .map(|lane| Class {
            name: lane.name().into(),
            rgb: match lane {
                Lane::Big => Some(fill::AMBER),
                Lane::Small => Some(fill::TEAL),
                Lane::SkipFfn => Some(fill::GREY),
                Lane::SkipLayer => None,
            },
            struck: false,
        })
        .collect()
}

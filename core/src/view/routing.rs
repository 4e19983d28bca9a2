//! The plan's routing map, layer x token, with a column for positions past the prompt.

use std::sync::Arc;

use super::{Runs, map, numbers};
use crate::engine::{self, Engine};
use crate::figure::{Class, Figure, Plot, Scale};
use crate::plan::{Change, Lane, Route};

pub(super) fn compute(engine: &Engine, runs: &Runs) -> Arc<Figure> {
    let routes: Vec<&Route> = runs
        .source
        .active()
        .into_iter()
        .filter_map(|item| if let Change::Route(route) = &item.change { Some(route) } else { None })
        .collect();
    let sample = routes.iter().find(|route| route.needs_small()).and_then(|route| route.sample.as_deref());
    let layers = engine.model.spec.n_layers();
    let len = runs.tokens.len();
    // Where several maps are stacked, the last one that leaves the big lane counts.
    let lane = |layer: usize, position: usize| {
        let lanes = routes.iter().rev().map(|route| route.lane(layer, position, len));
        lanes.into_iter().find(|&lane| lane != Lane::Big).unwrap_or_default()
    };
    let index = |lane: Lane| Lane::ALL.iter().position(|&known| known == lane).unwrap_or(0) as f32;
    // Position `len` stands for everything past the prompt.
    let values =
        (0..layers).flat_map(|layer| (0..=len).map(move |p| (layer, p))).map(|(l, p)| index(lane(l, p)));
    let labels: Vec<String> = runs.labels().iter().cloned().chain(["next".to_owned()]).collect();
    let map = map(
        "Layer",
        numbers(layers),
        labels.into(),
        values.collect(),
        Scale::Classes(classes()),
        "lane of the token",
    );
    let notes = vec![
        format!("small FFN: {}", engine::small_label(engine, sample)),
        "skip layer, our reading: the token reads no attention, its keys and values are still written".into(),
    ];
    runs.figure(["routing-map", ""], "Routing map", Plot::Map(map), notes)
}

/// The lanes as classes, in the order of [`Lane::ALL`].
pub(crate) fn classes() -> Arc<[Class]> {
    Lane::ALL
        .iter()
        .map(|lane| Class {
            name: lane.name().into(),
            rgb: match lane {
                Lane::Big => Some([0xE0, 0xA0, 0x30]),
                Lane::Small => Some([0x2F, 0xA3, 0x9A]),
                Lane::SkipFfn => Some([0x8A, 0x95, 0xA5]),
                Lane::SkipLayer => None,
            },
            struck: false,
        })
        .collect()
}

//! The sublayer ladder: which attention and FFN sublayers the plan takes out.

use std::sync::Arc;

use super::{Runs, numbers};
use crate::engine::Engine;
use crate::figure::colour::fill;
use crate::figure::{Axis, Class, Figure, FigureId, Map, Plot, Scale};
use crate::plan::{Change, Part, Sublayer};
use crate::spec::Positions;

/// The sublayers of the model, in and out.
const SUBLAYERS: FigureId = FigureId("sublayers");

pub(super) fn compute(engine: &Engine, runs: &Runs) -> Arc<Figure> {
    let out = |layer: usize, part: Part| {
        runs.source.active().iter().any(|item| {
            let all = matches!(&item.change, Change::Skip(skip)
                if skip.sublayer == Sublayer { layer, part } && skip.positions == Positions::All);
            all && item.strength == 1.0
        })
    };
    let layers = engine.model.spec.n_layers();
    let values = [Part::Attn, Part::Ffn]
        .into_iter()
        .flat_map(|part| (0..layers).map(move |layer| (layer, part)))
        .map(|(layer, part)| f32::from(u8::from(out(layer, part))));
    let class = |name: &str, rgb, struck| Class { name: name.into(), rgb, struck };
    let map = Map {
        rows: Axis { name: "Sublayer".into(), labels: ["attention".to_owned(), "FFN".to_owned()].into() },
        cols: Axis { name: "Layer".into(), labels: numbers(layers) },
        values: values.collect(),
        scale: Scale::Classes([class("in", Some(fill::BLUE), false), class("taken out", None, true)].into()),
        quantity: "sublayer".into(),
        text: None,
    };
    runs.figure(SUBLAYERS, "", "Sublayers", Plot::Map(map), Vec::new())
}

//! The sublayer ladder: which attention and FFN sublayers the plan takes out.

use std::sync::Arc;

use serde::Serialize;

use super::figures::numbers;
use super::kind::{Shown, ViewKind, on_the_prompt};
use super::run::start;
use super::runs::Runs;
use crate::engine::{Cancelled, Engine};
use crate::error::Result;
use crate::figure::{Axis, Class, Figure, FigureId, Map, Plot, Scale};
use crate::method::{Fact, Group, Method, Params as _, Source, SubjectKind, as_it_is, params};
use crate::plan::{Change, Part, Plan, Sublayer};
use crate::spec::Positions;

/// The sublayers of the model, in and out.
pub static SUBLAYERS: Method = Method {
    id: "sublayers",
    aliases: &[],
    group: Group::Change,
    name: "Sublayers",
    title: "Which sublayers does the plan take out?",
    line: "the attention and FFN sublayers of the model, in and out",
    reading: "a stroke marks a sublayer that is out: it adds nothing to the stream, everything else runs",
    source: Source { paper: "FinerCut", arxiv: "2405.18218", section: "sublayers as units" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: LadderAsk::FIELDS,
    plan: as_it_is,
    start: start::<LadderAsk>,
    samples: on_the_prompt,
};

params! {
    /// Parameters of the sublayer ladder: none.
    #[derive(Copy, Eq, Hash)]
    pub struct LadderAsk {}
}

/// The sublayers of the model, in and out.
#[derive(Clone, Debug, Serialize)]
pub struct SublayerLadder {
    /// Layers of the model.
    pub layers: usize,
    /// What the plan takes out at every position, in the order of the model.
    pub out: Vec<Sublayer>,
    /// Sublayer x layer map.
    #[serde(skip)]
    pub figure: Arc<Figure>,
}

impl Shown for SublayerLadder {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        vec![
            Fact::new("sublayers", (2 * self.layers) as f64, ""),
            Fact::new("taken out", self.out.len() as f64, ""),
        ]
    }
}

impl ViewKind for LadderAsk {
    type Data = SublayerLadder;
    const METHOD: &'static Method = &SUBLAYERS;

    fn compute(&self, engine: &mut Engine, runs: &Runs, _: Cancelled) -> Result<SublayerLadder> {
        let layers = engine.model.spec.n_layers();
        let out: Vec<Sublayer> =
            (0..2 * layers).map(Sublayer::of).filter(|&sublayer| is_out(&runs.source, sublayer)).collect();
        let values = [Part::Attn, Part::Ffn]
            .into_iter()
            .flat_map(|part| (0..layers).map(move |layer| Sublayer { layer, part }))
            .map(|sublayer| f32::from(u8::from(out.contains(&sublayer))));
        let class = |name: &str, strokes| Class { name: name.into(), rgb: None, strokes };
        let map = Map {
            rows: Axis { name: "Sublayer".into(), labels: ["attention".to_owned(), "FFN".to_owned()].into() },
            cols: Axis { name: "Layer".into(), labels: numbers(layers) },
            values: values.collect(),
            scale: Scale::Classes([class("in", 0), class("taken out", 1)].into()),
            quantity: "sublayer".into(),
            text: None,
        };
        let figure = runs.figure(FigureId(SUBLAYERS.id), "", "Sublayers", Plot::Map(map), Vec::new());
        Ok(SublayerLadder { layers, out, figure })
    }
}

/// Whether a plan takes a sublayer out altogether.
fn is_out(plan: &Plan, sublayer: Sublayer) -> bool {
    plan.active().iter().any(|item| {
        let all = matches!(&item.change, Change::Skip(skip)
            if skip.sublayer == sublayer && skip.positions == Positions::All);
        all && item.strength == 1.0
    })
}

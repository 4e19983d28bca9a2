//! The plan's routing map, layer x token, with a column for positions past the prompt.

use std::sync::Arc;

use serde::Serialize;

use super::figures::{map, numbers};
use super::kind::{Shown, ViewKind, on_the_prompt};
use super::run::start;
use super::runs::Runs;
use crate::engine::{self, Cancelled, Engine};
use crate::error::Result;
use crate::figure::colour::fill;
use crate::figure::{Class, Figure, FigureId, Plot, Scale};
use crate::method::{Fact, Group, Method, Params as _, Source, SubjectKind, as_it_is, params};
use crate::plan::{Change, Plan, Route};
use crate::spec::Lane;

/// The lanes of the plan.
pub static ROUTING_MAP: Method = Method {
    id: "routing-map",
    aliases: &[],
    group: Group::Change,
    name: "Routing map",
    title: "Which FFN does each token go through?",
    line: "the lane of every token at every layer, and what the FFNs then cost",
    reading: "outlined cells run as in the model, teal ones through the small FFN, one stroke skips the FFN and two the layer",
    source: Source { paper: "Duo-LLM", arxiv: "2410.10846", section: "2" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: RoutingAsk::FIELDS,
    plan: as_it_is,
    start: start::<RoutingAsk>,
    samples: on_the_prompt,
};

params! {
    /// Parameters of the routing map: none.
    #[derive(Copy, Eq, Hash)]
    pub struct RoutingAsk {}
}

/// The lanes of the prompt's tokens.
#[derive(Clone, Debug, Serialize)]
pub struct RoutingMap {
    /// `[layers][T]`.
    pub lanes: Vec<Vec<Lane>>,
    /// By layer, of positions past the prompt; none where a learned router decides there token by token.
    pub next: Vec<Option<Lane>>,
    /// FLOPs of the FFNs over the prompt, as a share of those in the big lane alone.
    pub ffn_flops: f64,
    /// Layer x token map, with a column for positions past the prompt.
    #[serde(skip)]
    pub figure: Arc<Figure>,
}

impl Shown for RoutingMap {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        let all: usize = self.lanes.iter().map(Vec::len).sum();
        let share = |lane: Lane| {
            let count = self.lanes.iter().flatten().filter(|&&known| known == lane).count();
            Fact::new(format!("share of {}", lane.name()), count as f64 / all as f64, "")
        };
        let cost = Fact::new("FFN FLOPs, share of all big", self.ffn_flops, "");
        [cost].into_iter().chain(Lane::ALL.map(share)).collect()
    }
}

impl ViewKind for RoutingAsk {
    type Data = RoutingMap;
    const METHOD: &'static Method = &ROUTING_MAP;

    fn compute(&self, engine: &mut Engine, runs: &Runs, _: Cancelled) -> Result<RoutingMap> {
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
        let routed = !runs.plan.lanes.is_empty();
        let lanes: Vec<Vec<Lane>> =
            (0..layers).map(|layer| (0..len).map(|position| lane(layer, position)).collect()).collect();
        // Position `len` stands for everything past the prompt; a router decides there token by token.
        let next: Vec<Option<Lane>> = (0..layers).map(|layer| (!routed).then(|| lane(layer, len))).collect();
        let index = |lane: &Lane| Lane::ALL.iter().position(|known| known == lane).unwrap_or(0) as f32;
        let values = lanes
            .iter()
            .zip(&next)
            .flat_map(|(lanes, next)| lanes.iter().map(index).chain([next.as_ref().map_or(f32::NAN, index)]));
        let labels: Vec<String> = runs.labels().iter().cloned().chain(["next".to_owned()]).collect();
        let map = map(
            "Layer",
            numbers(layers),
            labels.into(),
            values.collect(),
            Scale::Classes(lane_classes(!engine.model.spec.is_duo())),
            "lane of the token",
        );
        let mut notes = vec![
            format!("small FFN: {}", engine::small_label(engine, &runs.source.surrogate())),
            "skip layer, our reading: the token reads no attention, its keys and values are still written"
                .into(),
        ];
        let ffn_flops = flops(engine, &lanes, &runs.source);
        if ffn_flops < 1.0 {
            notes.push(format!("FFN FLOPs over the prompt, by lanes: {:.1} % of all big", 100.0 * ffn_flops));
        }
        let painted = routes.iter().flat_map(|route| &route.layers).map(|layer| layer.tokens.len()).max();
        if let Some(painted) = painted.filter(|&painted| painted > len) {
            notes.push(format!(
                "painted for {painted} tokens, the prompt has {len}: the lanes past it are left out"
            ));
        }
        if routed {
            notes.push("lanes of a learned router; it routes generated tokens too, one by one".into());
        }
        let figure = runs.figure(FigureId(ROUTING_MAP.id), "", "Routing map", Plot::Map(map), notes);
        Ok(RoutingMap { lanes, next, ffn_flops, figure })
    }
}

/// What the FFNs of the prompt's tokens cost, as a share of what they cost all big. `lanes` `[layers][T]`.
fn flops(engine: &Engine, lanes: &[Vec<Lane>], plan: &Plan) -> f64 {
    let spec = &engine.model.spec;
    let (mut cost, mut full) = (0.0, 0.0);
    let whole: Vec<_> = plan.active().into_iter().filter(|item| item.strength == 1.0).collect();
    for (index, (layer, row)) in spec.layers.iter().zip(lanes).enumerate() {
        let big = layer.ffn_width() as f64;
        let small = match &layer.small {
            Some(small) => ((2 + usize::from(small.gated)) * small.d_mlp) as f64,
            None => big * f64::from(plan.surrogate().share()),
        };
        for (position, lane) in row.iter().enumerate() {
            full += big;
            if whole.iter().any(|item| item.change.takes_out_ffn(index, position, row.len())) {
                continue;
            }
            cost += match lane {
                Lane::Big => big,
                Lane::Small => small,
                Lane::SkipFfn | Lane::SkipLayer => 0.0,
            };
        }
    }
    cost / full
}

/// The lanes as classes, in the order of [`Lane::ALL`]; a small FFN that the checkpoint has not says what it is.
pub(crate) fn lane_classes(surrogate: bool) -> Arc<[Class]> {
    let name = |lane: &Lane| match lane {
        Lane::Small if surrogate => format!("{}, surrogate", lane.name()),
        lane => lane.name().into(),
    };
    Lane::ALL
        .iter()
        .map(|lane| Class {
            name: name(lane),
            // The model as it is has no colour.
            rgb: (*lane == Lane::Small).then_some(fill::TEAL),
            strokes: match lane {
                Lane::Big | Lane::Small => 0,
                Lane::SkipFfn => 1,
                Lane::SkipLayer => 2,
            },
        })
        .collect()
}

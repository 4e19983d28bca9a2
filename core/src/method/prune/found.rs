//! What pruning found: the order of removal, its curve, and the removals as an offer to the plan.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Distance, PruneRun, Removal};
use crate::error::Result;
use crate::figure::{Axis, Figure, FigureId, Lines, Map, Plot, Scale, Series};
use crate::method::{Fact, Found, Offer, raw};
use crate::plan::{Change, Item, Part, Positions, Skip, Sublayer};

/// Findings of pruning.
#[derive(Clone, Debug, Serialize)]
pub struct PruneFound {
    /// How outputs were compared.
    pub distance: Distance,
    /// Samples, and tokens of each.
    pub samples: [usize; 2],
    /// In order.
    pub steps: Vec<Removal>,
    /// Candidates, summed over steps.
    pub evaluations: usize,
    /// Removals after which the spared front blocks came back early, because nothing else was left; none = as planned.
    pub came_back: Option<usize>,
    /// Floating-point operations in the blocks, had every candidate been a pass through the whole model with a sublayer's
    /// output set to zero.
    pub flops_layers_full: u64,
    /// In the blocks, as it was done. Depends on how much memory there is for streams: it is part of the cost.
    #[serde(skip)]
    pub flops_layers: u64,
    /// The same in the unembedding.
    #[serde(skip)]
    pub flops_unembedding: u64,
    /// The curve and the order.
    #[serde(skip)]
    pub figures: Vec<Arc<Figure>>,
}

impl Found for PruneFound {
    fn facts(&self) -> Vec<Fact> {
        let step = |(number, step): (usize, &Removal)| {
            Fact::new(format!("{}. {}", number + 1, step.removed), step.distance, "")
        };
        let back = |after: usize| {
            let name = "removals after which spared blocks came back early: nothing else was left";
            Fact::new(name, after as f64, "removals")
        };
        self.steps.iter().enumerate().map(step).chain(self.came_back.map(back)).collect()
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        self.figures.clone()
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }

    fn offers(&self) -> Vec<Offer> {
        (!self.steps.is_empty()).then(|| self.offer(self.steps.len())).into_iter().collect()
    }

    fn offer_at(&self, figure: FigureId, layer: usize, col: usize) -> Option<Offer> {
        let sublayer = Sublayer { layer, part: *PARTS.get(col)? };
        let place = self.steps.iter().position(|step| step.removed == sublayer)?;
        (figure == ORDER).then(|| self.offer(place + 1))
    }
}

impl PruneFound {
    /// The first removals.
    fn offer(&self, count: usize) -> Offer {
        let item = |step: &Removal| -> Item {
            Change::Skip(Skip { sublayer: step.removed, positions: Positions::All }).into()
        };
        Offer {
            label: match count {
                1 => "First removal into the plan".into(),
                count => format!("{count} removals into the plan"),
            },
            hint: "takes these sublayers out".into(),
            items: self.steps.iter().take(count).map(item).collect(),
            replaces: &["skip"],
        }
    }
}

/// Distance by removal.
const CURVE: FigureId = FigureId("prune-curve");
/// Order of removal, layer x kind of sublayer.
const ORDER: FigureId = FigureId("prune-order");

/// Columns of the map.
const PARTS: [Part; 2] = [Part::Attn, Part::Ffn];

/// The curve of distances and the order.
pub(super) fn figures(run: &PruneRun) -> Vec<Figure> {
    let steps = &run.kept.steps;
    let quantity = match run.ask.distance {
        Distance::Jsd => "JSD (nats)",
        Distance::Kl => "KL (nats)",
        Distance::JsRepo => "JS of FinerCut's code",
    };
    let figure = |id: FigureId, detail: &str, title: &str, plot: Plot, notes: Vec<String>| Figure {
        id,
        short: title.into(),
        name: "prune".into(),
        // Files of one folder are told apart by how much was to go.
        detail: format!("{detail} {}-out", run.removals),
        title: title.into(),
        plot,
        notes,
        provenance: run.provenance.clone(),
    };
    let text = format!("{} pieces of {} tokens", run.samples, run.streams.len());
    let curve = Lines {
        x_name: "removed".into(),
        y_name: quantity.into(),
        x_labels: steps.iter().map(|step| step.removed.to_string()).collect(),
        series: vec![Series {
            name: "from the original".into(),
            y: steps.iter().map(|step| step.distance as f32).collect(),
        }],
    };
    let place = |number: usize| steps.iter().position(|step| step.removed == Sublayer::of(number));
    let values: Vec<f32> =
        (0..run.sublayers).map(|number| place(number).map_or(f32::NAN, |place| (place + 1) as f32)).collect();
    let label = |x: &f32| if x.is_nan() { String::new() } else { format!("{x}") };
    let order = Map {
        rows: Axis {
            name: "Layer".into(),
            labels: (0..run.sublayers / 2).map(|layer| layer.to_string()).collect(),
        },
        cols: Axis { name: "Sublayer".into(), labels: vec!["attention".to_owned(), "FFN".into()].into() },
        text: Some(values.iter().map(label).collect()),
        values: values.into(),
        scale: Scale::Sequential { min: 1.0, max: run.removals.max(2) as f32 },
        quantity: "removed as number".into(),
    };
    let race = "candidates that cannot be the best any more are dropped; the order is the same".to_owned();
    let back = run.kept.came_back.map(|after| {
        format!("the spared front blocks came back after {after} removals: nothing else was left to remove")
    });
    vec![
        figure(
            CURVE,
            "curve",
            "Distance from the original by removal",
            Plot::Lines(curve),
            [text.clone(), race].into_iter().chain(back.clone()).collect(),
        ),
        figure(
            ORDER,
            "order",
            "Order of removal",
            Plot::Map(order),
            std::iter::once(text).chain(back).collect(),
        ),
    ]
}

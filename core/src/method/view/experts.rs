//! Which experts the prompt's tokens go through: one block in detail, or all blocks at a glance.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::figures::{change, map, numbers, values};
use super::kind::{Shown, ViewKind, about_the_prompt, layer, layers_that};
use super::run::start;
use super::runs::{Runs, Side};
use crate::engine::{Cancelled, Card, EXPERT_SITES, Engine, block_use, entropy};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Lines, Plot, Scale, Series};
use crate::method::{
    Fact, Group, Method, Need, Params as _, Sample, Source, SubjectKind, as_it_is, choices, params,
};
use crate::model::Captures;
use crate::site::{Hook, Site};
use crate::spec::Spec;

/// Experts of the prompt's tokens.
pub static EXPERTS_VIEW: Method = Method {
    id: "experts-view",
    aliases: &[],
    group: Group::Look,
    name: "Choose experts",
    title: "Which experts do the tokens go through?",
    line: "gates, router logits, output norms, load or co-activation of a block's experts over the prompt",
    reading: "a bright cell is an expert that the router gave much of that token to; empty ones were not chosen",
    source: Source { paper: "REAP", arxiv: "2510.13999", section: "saliency" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[Need::Experts],
    measures: &[],
    fields: ExpertsViewAsk::FIELDS,
    plan: as_it_is,
    start: start::<ExpertsViewAsk>,
    samples,
};

params! {
    /// Parameters of the experts view.
    #[derive(Copy, Eq, Hash)]
    pub struct ExpertsViewAsk {
        /// Layer
        layer: usize = 0;
        /// Which of the two runs
        side: Side = Side::Plan;
        /// What of the layer's experts; blocks = of every layer's
        show: ExpertShow = ExpertShow::Gates;
    }
}

choices! {
    /// Quantity that is shown of experts.
    pub enum ExpertShow {
        /// Gate weights, expert x token
        Gates = "gates",
        /// Router logits, expert x token
        Logits = "logits",
        /// Norms of the outputs, expert x token
        Norms = "norms",
        /// Load, mean gate weight and saliency by expert
        Load = "load",
        /// Who is chosen with whom, expert x expert
        Coactivation = "coactivation",
        /// All blocks: entropy of the router and the chosen, layer x token
        Blocks = "blocks",
    }
}

impl ExpertShow {
    /// Phrase for buttons and titles.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Gates => "gates",
            Self::Logits => "router logits",
            Self::Norms => "output norms",
            Self::Load => "load and saliency",
            Self::Coactivation => "chosen together",
            Self::Blocks => "all blocks",
        }
    }
}

/// Name of the figures.
const FIGURE: FigureId = FigureId("experts");

/// Everything of the first block with experts.
fn samples(card: &Card) -> Vec<Sample> {
    let layer = card.spec.layers.iter().position(|layer| layer.experts.is_some()).unwrap_or_default();
    let sample = |show: &ExpertShow| about_the_prompt(card).with("layer", layer).with("show", show.name());
    ExpertShow::ALL.iter().map(sample).collect()
}

/// Experts by the prompt's tokens.
#[derive(Clone, Debug, Serialize)]
pub struct ExpertsView {
    /// A map, expert x token, expert x expert or layer x token; curves over the experts where the load was asked for. In
    /// JSON its values, `[rows][columns]` or `{"load": [experts] …}`.
    #[serde(rename = "values", serialize_with = "values")]
    pub figure: Arc<Figure>,
    /// Entropy and balance of the router, where the whole prompt was counted.
    #[serde(skip)]
    facts: Vec<Fact>,
}

impl Shown for ExpertsView {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        self.facts.clone()
    }
}

impl ViewKind for ExpertsViewAsk {
    type Data = ExpertsView;
    const METHOD: &'static Method = &EXPERTS_VIEW;

    fn check(&self, spec: &Spec, _: usize) -> Result<()> {
        if self.show == ExpertShow::Blocks || layer(spec, self.layer)?.experts.is_some() {
            return Ok(());
        }
        let cause = format!("layer {} has no experts", self.layer);
        Err(Error::asked(cause, &layers_that(spec, |of| of.experts.is_some())))
    }

    fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<ExpertsView> {
        let Self { layer, side, show } = *self;
        if side == Side::Change {
            let of =
                |side: Side, engine: &mut Engine| Self { side, ..*self }.compute(engine, runs, cancelled);
            let (plan, base) = (of(Side::Plan, engine)?, of(Side::Base, engine)?);
            return Ok(ExpertsView {
                figure: Arc::new(change(&plan.figure, &base.figure)),
                facts: plan.facts,
            });
        }
        if show == ExpertShow::Blocks {
            return blocks(engine, runs, side, cancelled);
        }
        let spec = &engine.model.spec;
        let experts = spec.layers.get(layer).and_then(|layer| layer.experts);
        let experts = experts.ok_or_else(|| Error::Internal(format!("layer {layer} has no experts")))?;
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
        let largest = values.iter().copied().filter(|x| x.is_finite()).fold(f32::NEG_INFINITY, f32::max);
        let facts = vec![Fact::new(format!("largest {quantity}"), f64::from(largest), "")];
        let map = map("Expert", numbers(experts.count), runs.labels(), values, scale, quantity);
        let notes = vec![
            format!("{site}, {}", side.phrase()),
            format!("{} of {} experts a token", experts.top_k, experts.count),
        ];
        let figure = figure(runs, show, Some(layer), side, Plot::Map(map), notes);
        Ok(ExpertsView { figure, facts })
    }
}

/// Load and saliency, or who is chosen with whom.
fn over_the_prompt(
    runs: &Runs,
    captures: &Captures,
    layer: usize,
    experts: usize,
    side: Side,
    show: ExpertShow,
) -> Result<ExpertsView> {
    let used = block_use(captures, layer, experts)?;
    let of = format!(
        "{} tokens, {}; router entropy {:.3} nats, balance of the choices {:.3}",
        used.tokens,
        side.phrase(),
        used.entropy,
        used.balance
    );
    let facts = vec![
        Fact::new("router entropy", used.entropy, "nats"),
        Fact::new("balance of the choices", used.balance, ""),
    ];
    if show == ExpertShow::Coactivation {
        let values: Vec<f32> = used.coactivation.iter().flatten().map(|share| *share as f32).collect();
        let mut map = map("Expert", numbers(experts), numbers(experts), values, Scale::Attention, "share");
        map.cols.name = "Expert beside it".into();
        let notes = vec!["share of the row expert's tokens that go through the column's too".into(), of];
        let figure = figure(runs, show, Some(layer), side, Plot::Map(map), notes);
        return Ok(ExpertsView { figure, facts });
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
    let figure = figure(runs, show, Some(layer), side, Plot::Lines(lines), notes);
    Ok(ExpertsView { figure, facts })
}

/// Every block of experts: how undecided the router is about each token, and whom it chooses.
fn blocks(engine: &Engine, runs: &Runs, side: Side, cancelled: Cancelled) -> Result<ExpertsView> {
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
        return Err(Error::Study("this checkpoint has no experts".into()));
    }
    let defined = values.iter().filter(|x| !x.is_nan()).map(|x| f64::from(*x));
    let (sum, count) = defined.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
    let facts = vec![Fact::new("mean router entropy", sum / count, "nats")];
    let scale = Scale::sequential(&values);
    let mut map = map("Layer", labels.into(), runs.labels(), values, scale, "router entropy (nats)");
    map.text = Some(text.into());
    let notes = vec![format!("numbers of the chosen experts, {}", side.phrase())];
    let figure = figure(runs, ExpertShow::Blocks, None, side, Plot::Map(map), notes);
    Ok(ExpertsView { figure, facts })
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
        Some(layer) => format!("{} layer-{layer} {}", show.phrase(), side.name()),
        None => format!("{} {}", show.phrase(), side.name()),
    };
    runs.figure(FIGURE, &detail, format!("Experts: {}{of}", show.phrase()), plot, notes)
}

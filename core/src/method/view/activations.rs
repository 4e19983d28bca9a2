//! FFN activations of one layer, neuron x token.

use std::sync::Arc;

use serde::Serialize;

use super::figures::{largest, less, map, rows, values};
use super::kind::{Shown, ViewKind, about_the_prompt, layer, layers_that};
use super::run::start;
use super::runs::{Runs, Side};
use crate::engine::{Cancelled, Card, Engine, Run};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Plot, Scale};
use crate::method::{
    Fact, Group, Method, Need, Params as _, Sample, Source, SubjectKind, as_it_is, choices, params,
};
use crate::site::{Hook, Site};
use crate::spec::Spec;

/// FFN activations of a layer.
pub static ACTIVATIONS: Method = Method {
    id: "activations",
    aliases: &[],
    group: Group::Look,
    name: "Activations",
    title: "Which neurons fire?",
    line: "the values of a layer's FFN neurons along the prompt",
    reading: "a row is a neuron, a column a token; sparsity methods set the values near zero to zero",
    source: Source { paper: "TransformerLens", arxiv: "", section: "names of the sites" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[Need::DenseFfn],
    measures: &[],
    fields: ActivationsAsk::FIELDS,
    plan: as_it_is,
    start: start::<ActivationsAsk>,
    samples,
};

params! {
    /// Parameters of the activations view.
    #[derive(Copy, Eq, Hash)]
    pub struct ActivationsAsk {
        /// Layer
        layer: usize = 0;
        /// Site of the FFN
        hook: FfnSite = FfnSite::Post;
        /// Which of the two runs
        side: Side = Side::Plan;
        /// Neurons by largest magnitude over the prompt, else by index
        sort: bool = true;
        /// Neurons at most; none = all
        top: Option<usize> = Some(64), from 1;
    }
}

choices! {
    /// A site inside an FFN, `[T, d_mlp]`.
    pub enum FfnSite {
        /// Before the activation; gated FFNs: the gate
        Pre = "mlp.hook_pre",
        /// Gated FFNs: the up projection
        PreLinear = "mlp.hook_pre_linear",
        /// Gated FFNs: act(gate), where thresholds act
        GatePost = "mlp.hook_gate_post",
        /// What the down projection reads
        Post = "mlp.hook_post",
    }
}

impl FfnSite {
    /// The hook.
    pub fn hook(self) -> Hook {
        match self {
            Self::Pre => Hook::MlpPre,
            Self::PreLinear => Hook::MlpPreLinear,
            Self::GatePost => Hook::MlpGatePost,
            Self::Post => Hook::MlpPost,
        }
    }

    /// Whether FFNs without a gate have it too.
    pub fn is_ungated(self) -> bool {
        matches!(self, Self::Pre | Self::Post)
    }
}

/// The first layer with neurons.
fn samples(card: &Card) -> Vec<Sample> {
    let layer = card.spec.layers.iter().position(|layer| layer.experts.is_none()).unwrap_or_default();
    vec![about_the_prompt(card).with("layer", layer)]
}

/// FFN activations of a layer.
#[derive(Clone, Debug, Serialize)]
pub struct Activations {
    /// Neuron index of each map row.
    pub neurons: Vec<u32>,
    /// Neuron x token map; its values in JSON.
    #[serde(rename = "values", serialize_with = "values")]
    pub figure: Arc<Figure>,
    #[serde(skip)]
    side: Side,
}

impl Shown for Activations {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        let by_size = |a: &f32, b: &f32| a.abs().total_cmp(&b.abs());
        let cells = self.neurons.iter().zip(rows(&self.figure)).flat_map(|(neuron, row)| {
            row.iter().enumerate().map(move |(position, &x)| (*neuron, position, x))
        });
        let most = cells.filter(|(.., x)| x.is_finite()).max_by(|a, b| by_size(&a.2, &b.2));
        let what = if self.side == Side::Change { "change of an activation" } else { "activation" };
        let name = |neuron, position| format!("largest {what}, neuron {neuron} at position {position}");
        most.map(|(neuron, position, x)| Fact::new(name(neuron, position), x, "")).into_iter().collect()
    }
}

impl ViewKind for ActivationsAsk {
    type Data = Activations;
    const METHOD: &'static Method = &ACTIVATIONS;

    fn check(&self, spec: &Spec, _: usize) -> Result<()> {
        let of = layer(spec, self.layer)?;
        if self.hook.hook().exists(of) {
            return Ok(());
        }
        let (hook, index) = (self.hook.name(), self.layer);
        if spec.layers.iter().any(|of| self.hook.hook().exists(of)) {
            let next_step = layers_that(spec, |of| self.hook.hook().exists(of));
            return Err(Error::asked(format!("layer {index} has no {hook}"), &next_step));
        }
        let has = FfnSite::ALL.iter().filter(|site| site.hook().exists(of));
        let has: Vec<&str> = has.map(|site| site.name()).collect();
        let next_step = format!("choose {} (--hook)", has.join(" or "));
        Err(Error::asked(
            format!("the FFNs of this checkpoint have no {hook}: they are not gated"),
            &next_step,
        ))
    }

    fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<Activations> {
        let Self { layer, side, .. } = *self;
        let site = Site::block(layer, self.hook.hook());
        let value = |run: &Arc<Run>| {
            let captures = engine.replay(run, layer, [site].into(), cancelled)?;
            let value =
                captures.get(&site).ok_or_else(|| Error::Study(format!("this model has no {site}")))?;
            Ok::<_, Error>(value.t()?.contiguous()?.to_vec2::<f32>()?)
        };
        let mut by_neuron = value(runs.side(side))?;
        if side == Side::Change {
            let base = value(&runs.base)?;
            by_neuron = by_neuron.iter().zip(&base).map(|(row, base)| less(row, base)).collect();
        }
        let mut order: Vec<(u32, f32)> = (0..).zip(by_neuron.iter().map(|row| largest(row))).collect();
        if self.sort && side != Side::Change && !runs.are_one() {
            // Of both runs: a neuron that the plan silences keeps its row.
            let other = value(runs.side(if side == Side::Base { Side::Plan } else { Side::Base }))?;
            order.iter_mut().zip(&other).for_each(|((_, most), row)| *most = most.max(largest(row)));
        }
        let total = order.len();
        if self.sort {
            order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        }
        order.truncate(self.top.unwrap_or(usize::MAX));
        let neurons: Vec<u32> = order.into_iter().map(|(neuron, _)| neuron).collect();
        let labels = neurons.iter().map(u32::to_string).collect();
        let values: Vec<f32> =
            neurons.iter().filter_map(|&n| by_neuron.get(n as usize)).flatten().copied().collect();
        let scale = Scale::diverging(&values);
        let quantity = if side == Side::Change { "change of the activation" } else { "activation" };
        let map = map("Neuron", labels, runs.labels(), values, scale, quantity);
        let order =
            if self.sort { "largest magnitude over the prompt, in either run, first" } else { "by index" };
        let notes = vec![
            format!("{site}, {}", side.phrase()),
            format!("{} of {total} neurons, {order}", neurons.len()),
        ];
        let detail = format!("layer-{layer} {} {}", self.hook.name(), side.name());
        let change = if side == Side::Change { ", change" } else { "" };
        let title = format!("FFN activations, layer {layer}{change}");
        let figure = runs.figure(FigureId(ACTIVATIONS.id), &detail, title, Plot::Map(map), notes);
        Ok(Activations { neurons, figure, side })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_named_as_their_hooks() {
        assert!(FfnSite::ALL.iter().all(|site| site.name() == site.hook().name()));
    }
}

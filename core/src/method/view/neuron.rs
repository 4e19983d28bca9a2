//! One FFN neuron: its values along the prompt, and the tokens its output direction promotes and suppresses.

use std::sync::Arc;

use serde::Serialize;

use super::figures::{largest, values};
use super::kind::{Shown, ViewKind, about_the_prompt, layer, layers_that, within};
use super::run::start;
use super::runs::Runs;
use crate::engine::{Cancelled, Card, Engine, Run, Token};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Lines, Plot, Series};
use crate::method::{Fact, Group, Method, Need, Params as _, Sample, Source, SubjectKind, as_it_is, params};
use crate::metric;
use crate::site::{Hook, Site};
use crate::spec::Spec;

/// A neuron along the prompt.
pub static NEURON: Method = Method {
    id: "neuron",
    aliases: &[],
    group: Group::Look,
    name: "Neuron",
    title: "What does a neuron do?",
    line: "a neuron's values along the prompt, and the tokens that it promotes and suppresses",
    reading: "the curve says when it fires, the lists what it then makes more and less likely, read through the unembedding",
    source: Source { paper: "FFN layers promote concepts", arxiv: "2203.14680", section: "3" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[Need::DenseFfn],
    measures: &[],
    fields: NeuronAsk::FIELDS,
    plan: as_it_is,
    start: start::<NeuronAsk>,
    samples,
};

params! {
    /// Parameters of the neuron view.
    #[derive(Copy, Eq, Hash)]
    pub struct NeuronAsk {
        /// Layer
        layer: usize = 0;
        /// Neuron
        neuron: usize = 0;
    }
}

/// The first neuron of the first layer with neurons.
fn samples(card: &Card) -> Vec<Sample> {
    let layer = card.spec.layers.iter().position(|layer| layer.experts.is_none()).unwrap_or_default();
    vec![about_the_prompt(card).with("layer", layer)]
}

/// Tokens listed each way.
const TOP: usize = 10;

/// One neuron.
#[derive(Clone, Debug, Serialize)]
pub struct Neuron {
    /// Its values along the prompt; in JSON `{"base": [T], "plan": [T]}`.
    #[serde(rename = "values", serialize_with = "values")]
    pub figure: Arc<Figure>,
    /// Tokens whose logits its output direction raises most, and by how much at an activation of 1 (W_down column times
    /// W_U, final norm not applied).
    pub promoted: Vec<(Token, f32)>,
    /// Tokens it lowers most.
    pub suppressed: Vec<(Token, f32)>,
}

impl Shown for Neuron {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        let Plot::Lines(lines) = &self.figure.plot else { return Vec::new() };
        let most = |one: &Series| Fact::new(format!("largest magnitude, {}", one.name), largest(&one.y), "");
        let logit = |what: &str, (token, x): &(Token, f32)| {
            Fact::new(format!("{what} {}", token.quoted()), *x, "logits")
        };
        let promoted = self.promoted.first().map(|one| logit("promotes", one));
        let suppressed = self.suppressed.first().map(|one| logit("suppresses", one));
        lines.series.iter().map(most).chain(promoted).chain(suppressed).collect()
    }
}

impl ViewKind for NeuronAsk {
    type Data = Neuron;
    const METHOD: &'static Method = &NEURON;

    fn check(&self, spec: &Spec, _: usize) -> Result<()> {
        let of = layer(spec, self.layer)?;
        if of.experts.is_some() {
            let cause =
                format!("layer {} is made of experts: their neurons have no rows of their own", self.layer);
            return Err(Error::asked(cause, &layers_that(spec, |of| of.experts.is_none())));
        }
        within("neuron", self.neuron, format!("layer {}", self.layer), of.ffn.d_mlp)
    }

    fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<Neuron> {
        let Self { layer, neuron } = *self;
        let (_, weights) = engine.model.layer(layer)?;
        let experts = || Error::Internal(format!("layer {layer} is made of experts"));
        let ffn = weights.dense().ok_or_else(experts)?;
        let site = Site::block(layer, Hook::MlpPost);
        let along = |run: &Run| -> Result<Vec<f32>> {
            let captures = engine.replay(run, layer, [site].into(), cancelled)?;
            let value = captures.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
            Ok(value.narrow(1, neuron, 1)?.flatten_all()?.to_vec1()?)
        };
        let series = vec![
            Series { name: "base".into(), y: along(&runs.base)?.into() },
            Series { name: "plan".into(), y: along(&runs.plan)?.into() },
        ];
        let lines =
            Lines { x_name: "Token".into(), y_name: "activation".into(), x_labels: runs.labels(), series };
        let direction = ffn.down.matrix.column(neuron)?.unsqueeze(0)?;
        let scores: Vec<f32> = engine.model.direction_logits(&direction)?.flatten_all()?.to_vec1()?;
        let negated: Vec<f32> = scores.iter().map(|x| -x).collect();
        let list = |values: &[f32], sign: f32| {
            metric::top_k(values, TOP).into_iter().map(|(id, x)| (engine.token(id), sign * x)).collect()
        };
        let detail = format!("layer-{layer} {neuron}");
        let title = format!("Neuron {neuron} of layer {layer}");
        let figure =
            runs.figure(FigureId(NEURON.id), &detail, title, Plot::Lines(lines), vec![site.to_string()]);
        Ok(Neuron { figure, promoted: list(&scores, 1.0), suppressed: list(&negated, -1.0) })
    }
}

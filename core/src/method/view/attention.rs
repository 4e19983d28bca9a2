//! Attention pattern of a head, or the mean over heads: destination rows, source columns.

use std::sync::Arc;

use serde::Serialize;

use super::figures::{change, map, rows, values};
use super::kind::{Shown, ViewKind, layer, on_the_prompt, within};
use super::run::start;
use super::runs::{Runs, Side};
use crate::engine::{Cancelled, Engine, entropy};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Plot, Scale};
use crate::method::{Fact, Group, Method, Params as _, Source, SubjectKind, as_it_is, params};
use crate::site::{Hook, Site};
use crate::spec::Spec;

/// The pattern of a head, or of their mean.
pub static ATTENTION: Method = Method {
    id: "attention",
    aliases: &[],
    group: Group::Look,
    name: "Attention",
    title: "Which tokens does attention read?",
    line: "the attention weights of a head, or their mean over a layer's heads",
    reading: "each row is a token that reads, each column one that is read; a row adds up to 1",
    source: Source { paper: "Attention is all you need", arxiv: "1706.03762", section: "equation 1" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: AttentionAsk::FIELDS,
    plan: as_it_is,
    start: start::<AttentionAsk>,
    samples: on_the_prompt,
};

params! {
    /// Parameters of the attention view.
    #[derive(Copy, Eq, Hash)]
    pub struct AttentionAsk {
        /// Layer
        layer: usize = 0;
        /// Head; left out = the mean over heads
        head: Option<usize> = None;
        /// Which of the two runs
        side: Side = Side::Plan;
        /// Colour by the square root of the weight: small weights are told apart
        root: bool = false;
    }
}

/// Attention weights of a head, or of the mean over heads.
#[derive(Clone, Debug, Serialize)]
pub struct AttentionPattern {
    /// Destination x source map; its weights in JSON, `[T][T]`.
    #[serde(rename = "weights", serialize_with = "values")]
    pub figure: Arc<Figure>,
    #[serde(skip)]
    side: Side,
}

impl Shown for AttentionPattern {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        if self.side == Side::Change {
            // Changes of weights are no weights.
            let cells = rows(&self.figure).flatten().copied().filter(|x| x.is_finite());
            let most = cells.map(f32::abs).fold(0.0, f32::max);
            return vec![Fact::new("largest change of a weight", f64::from(most), "")];
        }
        let mean = |of: &dyn Fn(&[f32]) -> f64| {
            let (sum, count) = rows(&self.figure).fold((0.0, 0.0), |(sum, n), row| (sum + of(row), n + 1.0));
            sum / count
        };
        let first = |row: &[f32]| row.first().map_or(f64::NAN, |x| f64::from(*x));
        let spread = |row: &[f32]| entropy(row.iter().map(|x| f64::from(*x)));
        vec![
            Fact::new("mean weight of the first token", mean(&first), ""),
            Fact::new("mean entropy of a token's weights", mean(&spread), "nats"),
        ]
    }
}

impl ViewKind for AttentionAsk {
    type Data = AttentionPattern;
    const METHOD: &'static Method = &ATTENTION;

    fn check(&self, spec: &Spec, _: usize) -> Result<()> {
        let heads = layer(spec, self.layer)?.attn.heads;
        self.head.map_or(Ok(()), |head| within("head", head, format!("layer {}", self.layer), heads))
    }

    fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<AttentionPattern> {
        let Self { layer, head, side, root } = *self;
        if side == Side::Change {
            let [plan, base] =
                [Side::Plan, Side::Base].map(|side| Self { side, ..*self }.compute(engine, runs, cancelled));
            return Ok(AttentionPattern { figure: Arc::new(change(&plan?.figure, &base?.figure)), side });
        }
        let site = Site::block(layer, Hook::Pattern);
        let captures = engine.replay(runs.side(side), layer, [site].into(), cancelled)?;
        let pattern = captures.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
        let (values, which) = match head {
            Some(head) => (pattern.get(head)?, format!("head {head}")),
            None => (pattern.mean(0)?, "mean over heads".into()),
        };
        let values: Vec<f32> = values.flatten_all()?.to_vec1()?;
        let labels = runs.labels();
        let scale = if root { Scale::Root } else { Scale::Attention };
        let mut map = map("Destination", Arc::clone(&labels), labels, values, scale, "attention weight");
        map.cols.name = "Source".into();
        let head = head.map_or_else(|| "mean".to_owned(), |head| format!("head-{head}"));
        let detail = format!("layer-{layer} {head} {}", side.name());
        let title = format!("Attention, layer {layer}, {which}");
        let notes = vec![side.phrase().into()];
        let figure = runs.figure(FigureId(ATTENTION.id), &detail, title, Plot::Map(map), notes);
        Ok(AttentionPattern { figure, side })
    }
}

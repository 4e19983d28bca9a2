//! What FCCT found: recovery rates by component, layer and category, as numbers and as maps.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{CATEGORIES, COMPONENTS, FcctRun, LAST};
use crate::engine::Token;
use crate::error::Result;
use crate::figure::{Axis, Figure, FigureId, Map, Plot, Scale};
use crate::method::trace::{AnswerScore, Component, LITTLE, Shown, change_facts, slug, spread_note};
use crate::method::{Fact, Found, Offer, Stepper as _, raw};
use crate::metric;
use crate::plan::{Change, Iri};
use crate::statistics::Resamples;

/// Findings of FCCT.
#[derive(Clone, Debug, Serialize)]
pub struct FcctFound {
    /// The followed token.
    #[serde(serialize_with = "id")]
    pub answer: Token,
    /// Names of the components, in order.
    pub components: [&'static str; 3],
    /// Tokens in each category.
    pub categories: [usize; 7],
    /// The answer in the clean run.
    pub clean: AnswerScore,
    /// In the corrupted runs, as a mean over the draws of noise.
    pub corrupted: AnswerScore,
    /// Its standard deviation over the draws; NaN of one.
    pub corrupted_spread: AnswerScore,
    /// Draws that the means are over; 0 while the first is under way.
    pub seeds: usize,
    /// Recovery rates of the means, `[component][layer][category]`; NaN = not computed yet, or not defined.
    pub rates: Vec<Vec<Vec<f32>>>,
    /// Lower ends of their intervals over the draws, at the end; NaN of one draw.
    pub low: Vec<Vec<Vec<f32>>>,
    /// Upper ends.
    pub high: Vec<Vec<Vec<f32>>>,
    /// One map a component.
    #[serde(skip)]
    pub figures: Vec<Arc<Figure>>,
    #[serde(skip)]
    done: bool,
    /// 95 % of P(answer) in the corrupted runs.
    #[serde(skip)]
    interval: Option<[f64; 2]>,
}

fn id<S: serde::Serializer>(token: &Token, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(token.id)
}

impl FcctFound {
    /// Recovery rate of the last token by layer, which IRI ranks and weighs by.
    pub fn last(&self, component: Component) -> Vec<f32> {
        last(&self.rates, component)
    }

    /// The injection that these rates lead to.
    pub fn iri(&self) -> Iri {
        Iri::new(self.last(Component::Attention), self.last(Component::Ffn))
    }
}

/// Values of the last token by layer, of one component.
fn last(values: &[Vec<Vec<f32>>], component: Component) -> Vec<f32> {
    let index = COMPONENTS.iter().position(|&known| known == component);
    let rows = index.and_then(|index| values.get(index)).map_or(&[][..], Vec::as_slice);
    rows.iter().map(|row| row.get(LAST).copied().unwrap_or(f32::NAN)).collect()
}

impl Found for FcctFound {
    fn facts(&self) -> Vec<Fact> {
        let followed = &self.answer.quoted();
        let percent = |which: &str, score: AnswerScore, interval: Option<[f64; 2]>| Fact {
            low: interval.map(|ends| 100.0 * ends[0]),
            high: interval.map(|ends| 100.0 * ends[1]),
            ..Fact::new(format!("P({followed}) {which}"), 100.0 * f64::from(score.prob), "%")
        };
        let mut facts =
            vec![percent("clean", self.clean, None), percent("corrupted", self.corrupted, self.interval)];
        facts.extend(change_facts(followed, self.corrupted.prob - self.clean.prob));
        for component in [Component::Attention, Component::Ffn] {
            let rates = self.last(component).into_iter().enumerate().filter(|(_, rate)| !rate.is_nan());
            if let Some((layer, rate)) = rates.max_by(|a, b| a.1.total_cmp(&b.1)) {
                let name = format!("recovery of the last token's {}, the most", short(component));
                let end = |ends: &[Vec<Vec<f32>>]| {
                    let value = last(ends, component).get(layer).copied()?;
                    (!value.is_nan()).then_some(f64::from(value))
                };
                facts.push(Fact { low: end(&self.low), high: end(&self.high), ..Fact::new(name, rate, "") });
                let name = format!("layer where the last token's {} recovers the most", short(component));
                facts.push(Fact::new(name, layer as f64, ""));
            }
        }
        facts.push(Fact::new("draws of noise", self.seeds as f64, "draws"));
        facts
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        self.figures.clone()
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }

    fn offers(&self) -> Vec<Offer> {
        let ready = self.done && self.clean.prob != self.corrupted.prob;
        let offer = || Offer {
            label: "Injection into the plan".into(),
            hint: "IRI by these rates: what the layers of the highest wrote is added to later ones".into(),
            items: vec![Change::Iri(self.iri()).into()],
            replaces: &["iri"],
        };
        ready.then(offer).into_iter().collect()
    }
}

/// The maps, in the order of the components.
const IDS: [FigureId; 3] = [FigureId("fcct-residual"), FigureId("fcct-attention"), FigureId("fcct-ffn")];

/// Findings so far.
pub(super) fn found(run: &FcctRun) -> FcctFound {
    let size = (run.layers * CATEGORIES.len()).max(1);
    let draws = run.draws.shown(run.is_whole());
    let (clean, corrupted) = (run.patcher.clean, draws.corrupted());
    let means = draws.cells();
    let recovery = |cell: &AnswerScore| metric::recovery(cell.prob, corrupted.prob, clean.prob);
    let rates: Vec<Vec<f32>> = means.chunks(size).map(|cells| cells.iter().map(recovery).collect()).collect();
    let [low, high] = intervals(run, &draws, means.len());
    let notes = notes(run, &draws, &rates);
    let figures = COMPONENTS.iter().zip(IDS).zip(&rates).map(|((&component, id), values)| {
        let map = Map {
            rows: Axis {
                name: "Layer".into(),
                labels: (0..run.layers).map(|layer| layer.to_string()).collect(),
            },
            cols: Axis {
                name: "Token category".into(),
                labels: CATEGORIES.into_iter().map(String::from).collect(),
            },
            values: values.as_slice().into(),
            scale: Scale::Diverging { max_abs: 1.0 },
            quantity: "RR".into(),
            text: None,
        };
        Arc::new(Figure {
            id,
            short: short(component).into(),
            name: format!("fcct-{}", slug(component)),
            detail: String::new(),
            title: format!("FCCT, {}", short(component)),
            plot: Plot::Map(map),
            notes: notes.clone(),
            provenance: run.provenance.clone(),
        })
    });
    let rows = |values: &Vec<f32>| values.chunks(CATEGORIES.len()).map(<[f32]>::to_vec).collect();
    let shaped = |values: &[f32]| values.chunks(size).map(|part| rows(&part.to_vec())).collect();
    FcctFound {
        answer: run.answer.clone(),
        components: COMPONENTS.map(Component::name),
        categories: run.categories.each_ref().map(Vec::len),
        clean,
        corrupted,
        corrupted_spread: draws.corrupted_spread(),
        seeds: draws.whole,
        figures: figures.collect(),
        rates: rates.iter().map(rows).collect(),
        low: shaped(&low),
        high: shaped(&high),
        done: run.is_done(),
        interval: draws.corrupted_interval(),
    }
}

/// 95 % of every rate at the end, resampled over the draws: lower and upper ends, NaN of one draw.
fn intervals(run: &FcctRun, draws: &Shown, cells: usize) -> [Vec<f32>; 2] {
    let mut ends = [vec![f32::NAN; cells], vec![f32::NAN; cells]];
    if !run.is_done() || draws.whole < 2 {
        return ends;
    }
    let resamples = Resamples::new(draws.whole);
    let clean = f64::from(run.patcher.clean.prob);
    let of_corrupted: Vec<f64> = draws.draws.iter().map(|draw| f64::from(draw.corrupted.prob)).collect();
    for cell in 0..cells {
        let of_cell: Vec<f64> =
            draws.draws.iter().filter_map(|draw| draw.cells.get(cell)).map(|p| f64::from(p.prob)).collect();
        let rate = |picked: &[usize]| {
            let mean = |values: &[f64]| {
                picked.iter().filter_map(|&at| values.get(at)).sum::<f64>() / picked.len() as f64
            };
            let corrupted = mean(&of_corrupted);
            (mean(&of_cell) - corrupted) / (clean - corrupted)
        };
        let interval = resamples.interval(rate);
        for (ends, end) in ends.iter_mut().zip(interval) {
            if let Some(slot) = ends.get_mut(cell) {
                *slot = end as f32;
            }
        }
    }
    ends
}

fn notes(run: &FcctRun, draws: &Shown, rates: &[Vec<f32>]) -> Vec<String> {
    let (p_clean, p_corrupted) = (run.patcher.clean.prob, draws.corrupted().prob);
    let text = run.patcher.tokens.image().is_none();
    let visual = if text { "marked context" } else { "image" };
    let mut notes = vec![format!(
        "P({}): {p_clean:.4} clean, {p_corrupted:.4} corrupted; noise {} σ on the embeddings of the whole {visual}, {} (the \
         paper's is on the image's pixels, its σ is not in the paper)",
        run.answer.quoted(),
        run.ask.sigma,
        draws.said(run.ask.seeds, Some(run.ask.seed))
    )];
    if draws.whole > 1 {
        notes.push(spread_note(draws.corrupted_spread().prob, &draws.spread()));
    }
    if text {
        notes.push(
            "text surrogate of FCCT: vis = the marked context tokens, which stand for an image; txt = the text after them"
                .into(),
        );
    }
    notes.push(
        "RR, the recovery rate: one layer's component restored at all tokens of a category at once (our reading); 0 = \
         nothing, 1 = all of the drop comes back"
            .into(),
    );
    let counts: Vec<String> = CATEGORIES
        .iter()
        .zip(&run.categories)
        .map(|(name, positions)| format!("{name} {}", positions.len()))
        .collect();
    notes.push(format!(
        "tokens: {}; early is before the first of the object, late after it; text before the {visual} is in no category (our \
         reading)",
        counts.join(", ")
    ));
    if !run.plan.active().is_empty() {
        notes.push("clean and corrupted runs are both under the plan".into());
    }
    let drop = p_clean - p_corrupted;
    if drop == 0.0 {
        notes.push("n/a: the corruption did not change the answer's probability".into());
    } else if drop < 0.0 {
        notes.push(format!(
            "the corruption raised the answer's probability by {:.4}: rates say little",
            -drop
        ));
    } else if drop < LITTLE {
        notes.push(format!(
            "the answer's probability fell by {drop:.4}, less than {LITTLE}: recoveries of so little are noise"
        ));
    }
    if run.categories.iter().any(Vec::is_empty) {
        notes.push("n/a: categories without a token".into());
    }
    if rates.iter().flatten().any(|rate| rate.abs() > 1.0) {
        notes.push("colours end at ±1, values do not".into());
    }
    notes
}

/// A component in titles that stand side by side.
fn short(component: Component) -> &'static str {
    match component {
        Component::Residual => "residual",
        Component::Attention => "attention",
        Component::Ffn => "FFN",
    }
}

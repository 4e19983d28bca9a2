//! Fine-grained cross-modal causal tracing (FCCT, arXiv 2511.05923, equation 2): corrupt the image, restore one component of
//! one layer for one category of tokens, and see how much of the answer's probability comes back. The last token's rates
//! feed IRI ([`crate::plan::Iri`]).
//!
//! The paper states neither its noise nor how patches become categories. Our readings, in the notes of every figure: noise on
//! the embeddings (the paper's is on the image's pixels), and a category restores all of its tokens at once.

use std::sync::Arc;

use super::restore::{Batch, Case, Disturbance, Restorer, slug};
use super::trace::LITTLE;
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::figure::{Axis, Cell, Figure, Map, Plot, Provenance, Scale, Table};
use crate::model::Input;
use crate::plan::{Injected, Iri};
use crate::protocol::{Component, Fcct, FcctFindings};
use crate::view;

/// The components in the order of the findings' figures.
pub(crate) const COMPONENTS: [Component; 3] = [Component::Residual, Component::Attention, Component::Ffn];
/// Categories of tokens, the columns of the maps: visual tokens before, of and after the object, then text before, of and
/// after the object's word, then the last token.
pub(crate) const CATEGORIES: [&str; 7] =
    ["vis early", "vis object", "vis late", "txt early", "txt object", "txt late", "last"];
/// Index of the last token's category.
const LAST: usize = 6;

/// A grid under way.
pub struct FcctRun {
    fcct: Fcct,
    restorer: Restorer,
    /// Positions of each category.
    categories: [Vec<usize>; 7],
    layers: usize,
    provenance: Provenance,
    /// Per component, layer x category.
    values: [Vec<f32>; 3],
    /// Cells taken up and cells done.
    next: usize,
    filled: usize,
    batch: Option<Batch>,
}

impl FcctRun {
    /// Do the clean and the corrupted run.
    pub fn new(
        engine: &mut Engine,
        fcct: Fcct,
        tokens: &Input,
        provenance: Provenance,
        cancelled: Cancelled,
    ) -> Result<Self> {
        if !fcct.sigma.is_finite() {
            return Err(Error::Input(format!("noise of {} σ is no number", fcct.sigma)));
        }
        let visual = visual(&fcct, tokens)?;
        let categories = categories(&fcct, &visual, tokens.len())?;
        let case = Case {
            plan: &fcct.plan,
            answer: &fcct.answer,
            corrupt: &visual,
            noise: Disturbance::Noise { sigma: fcct.sigma, seed: fcct.seed },
        };
        let restorer = Restorer::new(engine, &case, &COMPONENTS, tokens, cancelled)?;
        let layers = engine.model.spec.n_layers();
        let empty = || vec![f32::NAN; layers * CATEGORIES.len()];
        let mut run = Self {
            values: [empty(), empty(), empty()],
            next: 0,
            filled: 0,
            batch: None,
            fcct,
            restorer,
            categories,
            layers,
            provenance,
        };
        if run.restorer.clean.prob == run.restorer.corrupted.prob {
            // No rate is defined: there is nothing to compute.
            run.filled = run.cells();
        }
        Ok(run)
    }

    /// Cells done and cells in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.filled, self.cells())
    }

    /// Whether every cell is there.
    pub fn is_done(&self) -> bool {
        self.filled >= self.cells()
    }

    fn cells(&self) -> usize {
        COMPONENTS.len() * self.layers * CATEGORIES.len()
    }

    /// Advance by one sublayer of one batch of cells.
    pub fn step(&mut self, engine: &Engine) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.gather(engine)?,
        };
        if batch.is_empty() {
            return Ok(());
        }
        match batch.step(&mut self.restorer, engine)? {
            Some(cells) => cells.into_iter().for_each(|(cell, followed)| self.put(cell, followed.prob)),
            None => self.batch = Some(batch),
        }
        Ok(())
    }

    /// The next cells, deep layers first: they are cheap, and the pictures fill soon. A cell is numbered by component, layer
    /// and category.
    fn gather(&mut self, engine: &Engine) -> Result<Batch> {
        let mut batch = self.restorer.batch(engine);
        while self.next < self.cells() && batch.has_room() {
            let (row, category) = (self.next / CATEGORIES.len(), self.next % CATEGORIES.len());
            let (number, layer) = (row % COMPONENTS.len(), self.layers - 1 - row / COMPONENTS.len());
            let cell = (number * self.layers + layer) * CATEGORIES.len() + category;
            self.next += 1;
            match (self.categories.get(category), COMPONENTS.get(number)) {
                (Some(positions), Some(&component)) if !positions.is_empty() => {
                    batch.add(&self.restorer, engine, cell, (component, layer..layer + 1, positions))?;
                }
                // Nobody is in this category: the cell stays empty.
                _ => self.filled += 1,
            }
        }
        Ok(batch)
    }

    /// Fill a cell with the recovery of the answer's probability.
    fn put(&mut self, cell: usize, p: f32) {
        let rate = self.restorer.recovery(p);
        let size = self.layers * CATEGORIES.len();
        if let Some(value) = self.values.get_mut(cell / size).and_then(|values| values.get_mut(cell % size)) {
            *value = rate;
        }
        self.filled += 1;
    }

    /// The findings so far.
    pub fn findings(&self, engine: &Engine) -> FcctFindings {
        let answer = view::token(engine, self.restorer.answer);
        let figure = |(component, values): (Component, &Vec<f32>)| {
            let map = Map {
                rows: Axis {
                    name: "Layer".into(),
                    labels: (0..self.layers).map(|layer| layer.to_string()).collect(),
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
                name: format!("fcct-{}", slug(component)),
                detail: String::new(),
                title: format!("FCCT, {}", short(component)),
                plot: Plot::Map(map),
                notes: self.notes(&answer.text),
                provenance: self.provenance.clone(),
            })
        };
        let [residual, attention, ffn] = &self.values;
        let last = |values: &[f32]| values.iter().skip(LAST).step_by(CATEGORIES.len()).copied().collect();
        FcctFindings {
            fcct: self.fcct.clone(),
            p_clean: self.restorer.clean.prob,
            p_corrupted: self.restorer.corrupted.prob,
            tokens: self.categories.each_ref().map(Vec::len),
            figures: [
                figure((Component::Residual, residual)),
                figure((Component::Attention, attention)),
                figure((Component::Ffn, ffn)),
            ],
            attention: last(attention),
            ffn: last(ffn),
            done: self.is_done(),
            answer,
        }
    }

    fn notes(&self, answer: &str) -> Vec<String> {
        let (p_clean, p_corrupted) = (self.restorer.clean.prob, self.restorer.corrupted.prob);
        let text = self.restorer.tokens.image().is_none();
        let visual = if text { "marked context" } else { "image" };
        let mut notes = vec![format!(
            "P(\"{answer}\"): {p_clean:.4} clean, {p_corrupted:.4} corrupted; noise {} σ on the embeddings of the whole {visual}, one \
             sample, seed {} (the paper's is on the image's pixels, its σ is not in the paper)",
            self.fcct.sigma, self.fcct.seed
        )];
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
            .zip(&self.categories)
            .map(|(name, positions)| format!("{name} {}", positions.len()))
            .collect();
        notes.push(format!(
            "tokens: {}; early is before the first of the object, late after it; text before the {visual} is in no category (our \
             reading)",
            counts.join(", ")
        ));
        if !self.fcct.plan.active().is_empty() {
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
        if self.categories.iter().any(Vec::is_empty) {
            notes.push("n/a: categories without a token".into());
        }
        if self.values.iter().flatten().any(|rate| rate.abs() > 1.0) {
            notes.push("colours end at ±1, values do not".into());
        }
        notes
    }
}

/// A component in titles that stand side by side.
fn short(component: Component) -> &'static str {
    match component {
        Component::Residual => "residual",
        Component::Attention => "attention",
        Component::Ffn => "FFN",
    }
}

/// Positions of the visual tokens, ascending: the image's, or the marked context's where the prompt has none.
fn visual(fcct: &Fcct, tokens: &Input) -> Result<Vec<usize>> {
    let mut visual: Vec<usize> = match tokens.image() {
        Some(_) if !fcct.context.is_empty() => {
            return Err(Error::Input(
                "the prompt has a picture: no context can be marked in its place".into(),
            ));
        }
        Some(image) => {
            (0..).zip(tokens.iter()).filter(|(_, id)| **id == image.token).map(|(at, _)| at).collect()
        }
        None if fcct.context.is_empty() => {
            return Err(Error::Input(
                "no context is marked, and the prompt has no picture to corrupt".into(),
            ));
        }
        None => fcct.context.clone(),
    };
    visual.sort_unstable();
    visual.dedup();
    Ok(visual)
}

/// The positions of each category. The last token is its own; text before the first visual token cannot differ from the
/// clean run and is in none.
fn categories(fcct: &Fcct, visual: &[usize], len: usize) -> Result<[Vec<usize>; 7]> {
    let marked = || visual.iter().chain(&fcct.object).chain(&fcct.words);
    if let Some(position) = marked().find(|&&position| position >= len) {
        return Err(Error::Input(format!("the prompt has no position {position}")));
    }
    if let Some(position) = fcct.object.iter().find(|position| !visual.contains(position)) {
        return Err(Error::Input(format!(
            "position {position} is marked as the object but is no visual token"
        )));
    }
    if let Some(position) = fcct.words.iter().find(|position| visual.contains(position)) {
        return Err(Error::Input(format!(
            "position {position} is marked as an object word but is a visual token"
        )));
    }
    let (first_patch, first_word) = (fcct.object.iter().min(), fcct.words.iter().min());
    let late =
        |position: usize, first: Option<&usize>| usize::from(first.is_some_and(|&first| position > first));
    let mut categories: [Vec<usize>; 7] = Default::default();
    for position in visual.first().copied().unwrap_or(len)..len {
        let category = if position + 1 == len {
            LAST
        } else if fcct.object.contains(&position) {
            1
        } else if fcct.words.contains(&position) {
            4
        } else if visual.binary_search(&position).is_ok() {
            2 * late(position, first_patch)
        } else {
            3 + 2 * late(position, first_word)
        };
        if let Some(positions) = categories.get_mut(category) {
            positions.push(position);
        }
    }
    Ok(categories)
}

/// The rates that an injection ranks its layers by, with what each layer is to it, as a table.
pub fn iri_table(iri: &Iri, provenance: Provenance) -> Figure {
    let role = |part: &Injected, layer: usize| {
        let (source, target) = (part.source_layers().contains(&layer), part.target_layers().contains(&layer));
        Cell::Text(match (source, target) {
            (true, true) => "source, target".into(),
            (true, false) => "source".into(),
            (false, true) => "target".into(),
            (false, false) => String::new(),
        })
    };
    let rate = |part: &Injected, layer: usize| {
        Cell::Number(part.recovery.get(layer).map_or(f64::NAN, |&rate| f64::from(rate)))
    };
    let layers = iri.attn.recovery.len().max(iri.ffn.recovery.len());
    let row = |layer: usize| {
        vec![
            Cell::Number(layer as f64),
            rate(&iri.attn, layer),
            role(&iri.attn, layer),
            rate(&iri.ffn, layer),
            role(&iri.ffn, layer),
        ]
    };
    let table = Table {
        columns: ["Layer", "RR attention", "is", "RR FFN", "is"].map(Into::into).into(),
        rows: (0..layers).map(row).collect(),
    };
    Figure {
        name: "iri".into(),
        detail: String::new(),
        title: "IRI, layers".into(),
        plot: Plot::Table(table),
        notes: vec![
            format!("λ {} attention, {} FFN; recovery rates of the last token", iri.attn.lambda, iri.ffn.lambda),
            "a target adds the sources before it, as the unmodified run had them at the last token, so before any injection \
             (our reading), and keeps its norm"
                .into(),
        ],
        provenance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::protocol::{Answer, Words};

    fn fcct(context: &[usize], object: &[usize], words: &[usize]) -> Fcct {
        Fcct {
            prompt: Words::Tokens(Vec::new()).into(),
            plan: Plan::default(),
            answer: Answer::Top,
            context: context.to_vec(),
            object: object.to_vec(),
            words: words.to_vec(),
            sigma: 3.0,
            seed: 0,
        }
    }

    fn sorted(fcct: &Fcct, len: usize) -> Result<[Vec<usize>; 7]> {
        categories(fcct, &visual(fcct, &vec![0; len].into())?, len)
    }

    #[test]
    fn tokens_are_told_apart_by_the_object_and_its_word() {
        let got = sorted(&fcct(&[5, 1, 2, 3, 4], &[2, 4], &[8]), 11).unwrap();
        assert_eq!(got, [vec![1], vec![2, 4], vec![3, 5], vec![6, 7], vec![8], vec![9], vec![10]]);
        // Nothing marked of the object: everything is early, the others have no token.
        let got = sorted(&fcct(&[1, 2], &[], &[]), 5).unwrap();
        assert_eq!(got, [vec![1, 2], vec![], vec![], vec![3], vec![], vec![], vec![4]]);
    }

    #[test]
    fn marks_that_contradict_each_other_are_named() {
        for (fcct, needle) in [
            (fcct(&[], &[], &[]), "no context"),
            (fcct(&[1, 9], &[], &[]), "no position 9"),
            (fcct(&[1, 2], &[3], &[]), "position 3 is marked as the object"),
            (fcct(&[1, 2], &[1], &[2]), "position 2 is marked as an object word"),
        ] {
            let error = sorted(&fcct, 5).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
    }
}

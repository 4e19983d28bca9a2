//! Variants beside each other: the model, the plan as it is, and what was pinned.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_core::figure::Figure;
use sluice_core::figure::beside::Compared;
use sluice_core::method::view::{LENS, View};
use sluice_core::plan::Plan;
use sluice_core::session::Document;
use sluice_core::worker::{Column, Columns, Continuation, Failure, Prompt, Variant};

use super::State;

/// What is a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The unmodified model on the prompt as it is.
    #[default]
    Model,
    /// The plan as it is.
    Now,
    /// A pinned variant, by its index.
    Pinned(usize),
}

/// Letter of a column: `A` to `Z`, then `AA`.
fn letter(index: usize) -> String {
    let before = if index < 26 { String::new() } else { letter(index / 26 - 1) };
    format!("{before}{}", char::from(b'A' + (index % 26) as u8))
}

/// A column with its letter.
#[derive(Clone, Debug)]
pub struct Head {
    /// `A`, `B` … `Z`, `AA` …
    pub letter: String,
    /// What it is called.
    pub name: Arc<str>,
    /// What it shows.
    pub source: Source,
    /// The variant; an error says why its prompt is none.
    pub variant: Result<Variant, String>,
}

/// What is there of a column.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The newest; until then what was there before.
    pub column: Option<Arc<Column>>,
    /// Why it cannot be run.
    pub failure: Option<Failure>,
    /// The figure, on one scale with the others.
    pub figure: Option<Arc<Figure>>,
    /// That figure less the one that it is compared with; none of that itself and of what cannot be subtracted.
    pub difference: Option<Arc<Figure>>,
    /// Whether column or failure are of what was asked.
    pub fresh: bool,
    /// Whether the figures are.
    pub drawn: bool,
}

/// What came back of the columns.
#[derive(Debug, Default)]
pub struct Beside {
    /// What was asked.
    pub asked: Option<Columns>,
    /// By index of what was asked.
    pub columns: Vec<Own>,
    /// Losses of the tokens, where they are of what was asked.
    pub losses: Option<Arc<Figure>>,
    /// Continuations of the columns, by letter.
    pub text: Option<Arc<Continuation>>,
    /// What they were asked of.
    pub text_of: Vec<Variant>,
}

impl Beside {
    /// Ask something else. Until it is there, what an equal variant showed stays, else what stood in its place.
    pub fn ask(&mut self, asked: Columns) {
        let old = self.asked.take();
        let columns = std::mem::take(&mut self.columns);
        let stays = |(index, (_, variant)): (usize, &(String, Variant))| -> Own {
            let old = old.as_ref().filter(|old| old.view.method() == asked.view.method());
            let place = old.and_then(|old| {
                let equal = old.variants.iter().position(|(_, known)| known == variant);
                equal.or((old.variants.len() == asked.variants.len()).then_some(index))
            });
            let own = place.and_then(|place| columns.get(place)).cloned().unwrap_or_default();
            Own { failure: None, fresh: false, drawn: false, ..own }
        };
        self.columns = asked.variants.iter().enumerate().map(stays).collect();
        self.losses = None;
        self.asked = Some(asked);
    }

    /// A column came in, or why it does not.
    pub fn take(&mut self, index: usize, column: Result<Arc<Column>, Failure>) {
        let Some(own) = self.columns.get_mut(index) else { return };
        own.fresh = true;
        match column {
            Ok(column) => own.column = Some(column),
            Err(failure) => *own = Own { failure: Some(failure), fresh: true, ..Own::default() },
        }
    }

    /// Figures came in.
    pub fn draw(&mut self, compared: &Compared) {
        let figures = compared.figures.iter().zip(&compared.differences);
        for (own, (figure, difference)) in self.columns.iter_mut().zip(figures) {
            if figure.is_some() {
                (own.figure, own.difference, own.drawn) = (figure.clone(), difference.clone(), true);
            }
        }
        self.losses.clone_from(&compared.losses);
    }

    /// What is there of a variant, and its index: that of an equal one, or what stands in its place until it was asked.
    pub fn of(&self, place: usize, variant: &Variant) -> Option<(usize, Own)> {
        let asked = self.asked.as_ref()?;
        let is = |index: usize| asked.variants.get(index).is_some_and(|(_, known)| known == variant);
        let index = if is(place) { Some(place) } else { (0..asked.variants.len()).find(|index| is(*index)) };
        let own = self.columns.get(index.unwrap_or(place))?.clone();
        Some(match index {
            Some(index) => (index, own),
            None => (place, Own { failure: None, fresh: false, drawn: false, ..own }),
        })
    }

    /// Whether everything that was asked is there, or why it is not.
    pub fn is_whole(&self) -> bool {
        let whole = |own: &Own| own.fresh && (own.drawn || own.column.is_none());
        self.asked.is_some() && self.columns.iter().all(whole)
    }

    /// Figures that are of what was asked.
    pub fn figures(&self) -> Compared {
        let of = |own: &Own, figure: &Option<Arc<Figure>>| figure.clone().filter(|_| own.drawn);
        Compared {
            figures: self.columns.iter().map(|own| of(own, &own.figure)).collect(),
            differences: self.columns.iter().map(|own| of(own, &own.difference)).collect(),
            losses: self.losses.clone(),
        }
    }
}

impl State {
    /// The columns: the model, then the plan as it is where it changes anything, then what is pinned and shown. With
    /// `of_now` all are about the prompt as it is.
    pub fn heads(&self, of_now: bool) -> Vec<Head> {
        let now = self.history.document();
        let model = Document { plan: Arc::new(Plan::default()), ..now.clone() };
        let pinned = self.variants.iter().enumerate().filter(|(_, pinned)| pinned.shown);
        let pinned = pinned.map(|(index, pinned)| {
            let document = match of_now {
                true => Document { plan: Arc::clone(&pinned.document.plan), ..now.clone() },
                false => pinned.document.clone(),
            };
            (Source::Pinned(index), Arc::clone(&pinned.name), document)
        });
        let changed = !now.plan.active().is_empty();
        let live = changed.then(|| (Source::Now, Arc::from("the plan now"), now.clone()));
        let all = std::iter::once((Source::Model, Arc::from("the model"), model)).chain(live).chain(pinned);
        all.enumerate()
            .map(|(index, (source, name, document))| Head {
                letter: letter(index),
                name,
                source,
                variant: self.variant(&document),
            })
            .collect()
    }

    /// A document as the worker takes it.
    fn variant(&self, document: &Document) -> Result<Variant, String> {
        let words = self.parse_words(&document.words)?;
        let prompt = Prompt { words, image: document.picture.clone() };
        Ok(Variant { prompt, plan: Arc::clone(&document.plan) })
    }

    /// What variants can show: the views of the panels, each of the run under the plan.
    pub fn comparable(&self, views: Vec<View>) -> Vec<View> {
        views.into_iter().map(|view| view.under_the_plan()).collect()
    }

    /// The view that is chosen of these by its method; the lens at first.
    pub fn compared(views: &[View], chosen: &str) -> Option<View> {
        let of = |id: &str| views.iter().find(|view| view.method().id == id);
        of(chosen).or_else(|| of(LENS.id)).or(views.first()).cloned()
    }
}

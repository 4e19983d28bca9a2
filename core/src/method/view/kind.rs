//! The shape of a view.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::runs::Runs;
use crate::engine::{Cancelled, Card, Engine, Prompt};
use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::method::{Fact, Found, Measured, Method, Params, Sample, Subject, raw};
use crate::spec::{LayerSpec, Spec};

/// A view, as its parameters. Two equal ones of the same runs show the same.
pub trait ViewKind: Params + Clone + Debug + Eq + Hash + 'static {
    /// What it shows.
    type Data: Shown + Clone + Debug;

    /// The view as a method.
    const METHOD: &'static Method;

    /// Look at its parameters before anything is run. `tokens` of the prompt.
    ///
    /// # Errors
    /// What the model or the prompt does not have.
    fn check(&self, _spec: &Spec, _tokens: usize) -> Result<()> {
        Ok(())
    }

    /// Compute it.
    ///
    /// # Errors
    /// Where the model lacks what is asked for, or [`Error::Cancelled`](crate::Error::Cancelled).
    fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<Self::Data>;
}

/// Data of a view. Serialised, they are the `data` of its findings.
pub trait Shown: Serialize + Send + Sync + 'static {
    /// The data as a picture.
    fn figure(&self) -> &Arc<Figure>;

    /// Numbers to be read off, the most important first.
    fn facts(&self) -> Vec<Fact>;

    /// As [`Found::measured`].
    fn measured(&self) -> Measured {
        Ok(Vec::new())
    }
}

impl<T: Shown> Found for T {
    fn facts(&self) -> Vec<Fact> {
        Shown::facts(self)
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        vec![Arc::clone(self.figure())]
    }

    fn measured(&self) -> Measured {
        Shown::measured(self)
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }
}

/// That there is one of so many, or which there are.
pub(super) fn within(what: &'static str, given: usize, whose: impl Into<String>, count: usize) -> Result<()> {
    if given < count { Ok(()) } else { Err(Error::Past { what, given, whose: whose.into(), count }) }
}

/// A layer of the model, or which there are.
pub(super) fn layer(spec: &Spec, index: usize) -> Result<&LayerSpec> {
    let past = || Error::Past {
        what: "layer",
        given: index,
        whose: "this checkpoint".into(),
        count: spec.n_layers(),
    };
    spec.layers.get(index).ok_or_else(past)
}

/// The layers that hold, for a next step.
pub(super) fn layers_that(spec: &Spec, hold: impl Fn(&LayerSpec) -> bool) -> String {
    let layers = (0..).zip(&spec.layers).filter(|(_, layer)| hold(layer));
    let layers: Vec<String> = layers.map(|(index, _): (usize, _)| index.to_string()).collect();
    format!("choose one of the layers {} (--layer)", layers.join(", "))
}

/// The checkpoint's sample prompt, with all defaults: what shows most of many views.
pub(super) fn on_the_prompt(card: &Card) -> Vec<Sample> {
    vec![about_the_prompt(card)]
}

/// The checkpoint's sample prompt, for parameters to be added.
pub(super) fn about_the_prompt(card: &Card) -> Sample {
    Sample::of(Subject::Prompt(Prompt::from(card.sample_prompt.clone())))
}

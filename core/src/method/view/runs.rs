//! What a view is of: a prompt, run without and with its plan.

use std::sync::Arc;

use crate::engine::{Cancelled, Engine, Run, Token};
use crate::error::Result;
use crate::figure::{Figure, FigureId, Plot, Provenance};
use crate::method::choices;
use crate::model::Work;
use crate::plan::Plan;

choices! {
    /// Which of the two runs a view shows, or what is different.
    pub enum Side {
        /// Under the plan
        Plan = "plan",
        /// The unmodified model
        Base = "base",
        /// Under the plan, less the unmodified model
        Change = "change",
    }
}

impl Side {
    /// For notes.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Base => "unmodified model",
            Self::Plan => "under the plan",
            Self::Change => "under the plan, less the unmodified model",
        }
    }
}

/// A prompt run without and with its plan.
pub struct Runs {
    /// The unmodified run.
    pub base: Arc<Run>,
    /// The run under the plan; the same one where no intervention is on.
    pub plan: Arc<Run>,
    /// The plan.
    pub source: Plan,
    /// The prompt's tokens as shown.
    pub tokens: Arc<[Token]>,
    /// For the figures.
    pub provenance: Provenance,
}

impl Runs {
    /// Run the prompt of an unmodified run under a plan too.
    ///
    /// # Errors
    /// Where the plan does not fit, or [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn under(
        engine: &mut Engine,
        base: Arc<Run>,
        source: Plan,
        provenance: Provenance,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let plan = if source.active().is_empty() {
            Arc::clone(&base)
        } else {
            let schedule = engine.schedule(&source, &base.tokens, cancelled)?;
            Arc::new(engine.run_after(&base, schedule, cancelled)?)
        };
        let tokens = engine.tokens(&base.tokens);
        Ok(Self { base, plan, source, tokens, provenance })
    }

    /// One of the two runs; of a change, the one under the plan.
    pub fn side(&self, side: Side) -> &Arc<Run> {
        match side {
            Side::Base => &self.base,
            Side::Plan | Side::Change => &self.plan,
        }
    }

    /// Whether both are one run.
    pub fn are_one(&self) -> bool {
        Arc::ptr_eq(&self.base, &self.plan)
    }

    /// What the run under the plan cost, the unmodified one given.
    pub fn work(&self) -> Work {
        if self.are_one() { Work::default() } else { self.plan.work }
    }

    /// Column labels: position and token.
    pub(super) fn labels(&self) -> Arc<[String]> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }

    pub(super) fn figure(
        &self,
        id: FigureId,
        detail: &str,
        title: impl Into<String>,
        plot: Plot,
        notes: Vec<String>,
    ) -> Arc<Figure> {
        let title = title.into();
        Arc::new(Figure {
            id,
            name: id.0.into(),
            detail: detail.into(),
            short: title.clone(),
            title,
            plot,
            notes,
            provenance: self.provenance.clone(),
        })
    }
}

//! A view as a run of its own: the unmodified run, the run under the plan, then the view of both.

use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;

use super::kind::ViewKind;
use super::runs::Runs;
use crate::engine::{Cancelled, Engine, Run};
use crate::error::Result;
use crate::figure::{Figure, Provenance};
use crate::method::{Ask, Case, Fact, Found, State, Stepper, Steps, raw, read};
use crate::model::{Input, Work};
use crate::plan::Plan;

/// A view under way.
pub struct ViewRun<V: ViewKind> {
    ask: V,
    prompt: Input,
    plan: Plan,
    provenance: Provenance,
    stage: Stage<V::Data>,
    work: Work,
}

/// How far a view is.
enum Stage<D> {
    Begun,
    Base(Arc<Run>),
    Both(Box<Runs>),
    Shown(Arc<D>),
}

/// Begin a view: the `start` of its method.
pub(super) fn start<V: ViewKind>(case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    let ask: V = read(ask)?;
    ask.check(&case.engine.model.spec, case.tokens.len())?;
    Ok(Box::new(ViewRun::new(case, ask)))
}

impl<V: ViewKind> ViewRun<V> {
    /// Nothing is computed yet. What an earlier run had reached is done again: it took less than a view does.
    pub fn new(case: Case<'_>, ask: V) -> Self {
        let Case { tokens: prompt, plan, provenance, .. } = case;
        Self { ask, prompt, plan, provenance, stage: Stage::Begun, work: Work::default() }
    }
}

impl<V: ViewKind> Stepper for ViewRun<V> {
    /// One of three steps, each cancelled between sublayers.
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        self.stage = match &self.stage {
            Stage::Begun => {
                let kept = engine.has_base(&self.prompt);
                let base = engine.base(&self.prompt, cancelled)?;
                if !kept {
                    self.work += base.work;
                }
                Stage::Base(base)
            }
            Stage::Base(base) => {
                let (plan, of) = (self.plan.clone(), self.provenance.clone());
                let runs = Runs::under(engine, Arc::clone(base), plan, of, cancelled)?;
                self.work += runs.work();
                Stage::Both(Box::new(runs))
            }
            Stage::Both(runs) => Stage::Shown(Arc::new(self.ask.compute(engine, runs, cancelled)?)),
            Stage::Shown(_) => return Ok(()),
        };
        Ok(())
    }

    fn progress(&self) -> Steps {
        let done = match self.stage {
            Stage::Begun => 0,
            Stage::Base(_) => 1,
            Stage::Both(_) => 2,
            Stage::Shown(_) => 3,
        };
        Steps { done, all: 3, unit: "steps" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        match &self.stage {
            Stage::Shown(shown) => Arc::<V::Data>::clone(shown),
            _ => Arc::new(Nothing),
        }
    }

    fn work(&self) -> Work {
        self.work
    }

    fn state(&self) -> Result<State> {
        Ok(State::default())
    }
}

/// Nothing is shown yet.
struct Nothing;

impl Found for Nothing {
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        Vec::new()
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(&json!({}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{bundled, never, open};
    use crate::method::view::{LensAsk, NextAsk, Shown};
    use crate::plan::{Change, Part, Skip, Sublayer};
    use crate::spec::Positions;

    fn without_an_ffn() -> Plan {
        let sublayer = Sublayer { layer: 1, part: Part::Ffn };
        let skip = Skip { sublayer, positions: Positions::All };
        Plan { items: vec![Change::Skip(skip).into()], ..Plan::default() }
    }

    #[test]
    fn a_run_shows_what_the_view_of_its_runs_shows() {
        let mut engine = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
        let prompt: Input = engine.encode("Once upon a time").unwrap().into();
        let (ask, plan) = (LensAsk::default(), without_an_ffn());
        let case = Case { plan: plan.clone(), ..Case::new(&mut engine, prompt.clone()) };
        let mut run = ViewRun::new(case, ask);
        assert_eq!(run.found(&engine).data().unwrap().get(), "{}");
        for done in 1..=3 {
            assert!(!run.is_done());
            run.step(&mut engine, &never).unwrap();
            assert_eq!(run.progress().done, done);
        }
        let base = engine.base(&prompt, &never).unwrap();
        let runs = Runs::under(&mut engine, base, plan, Provenance::default(), &never).unwrap();
        let shown = ask.compute(&mut engine, &runs, &never).unwrap();
        assert_eq!(run.found(&engine).figures(), [Arc::clone(shown.figure())]);
        let next = NextAsk::default().compute(&mut engine, &runs, &never).unwrap();
        assert!(next.kl > 0.0 && Shown::facts(&next).len() >= 3);
    }

    #[test]
    fn a_cancelled_step_can_be_done_again() {
        let mut engine = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
        let prompt: Input = engine.encode("Once upon a time").unwrap().into();
        let mut run = ViewRun::new(Case::new(&mut engine, prompt), LensAsk::default());
        assert!(run.step(&mut engine, &|| true).is_err());
        assert_eq!(run.progress().done, 0);
        crate::method::finish(&mut run, &mut engine, &never).unwrap();
        assert_eq!(run.found(&engine).figures().len(), 1);
    }
}

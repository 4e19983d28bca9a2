//! What the plan costs on a text, measured again after each change while a person wants it.

use std::path::PathBuf;

use sluice_core::method::plan_cost::PLAN_COST;
use sluice_core::method::{Ask, Asked};
use sluice_core::worker::Request;

use super::SluiceApp;

/// What was measured last: version of the history, text, parameters.
pub(super) type Costed = (u64, Option<PathBuf>, Ask);

impl SluiceApp {
    /// Measure the plan where it, the text or a parameter changed. What a person started, or stopped, stays as it is.
    pub(super) fn follow_cost(&mut self) {
        let state = &self.state;
        let own = state.studies.running.is_none_or(|id| id == PLAN_COST.id) && self.measuring.is_empty();
        let wanted = state.settings.live_cost && self.answered && state.card.is_some();
        if !own || !wanted || state.history.plan().active().is_empty() {
            return;
        }
        let findings = state.studies.findings(PLAN_COST.id);
        if findings.is_some_and(|findings| state.earlier(findings).is_none()) {
            return;
        }
        let asked = state.studies.get(PLAN_COST.id).map(|study| (study.text.clone(), study.ask.clone()));
        let (text, ask) = asked.unwrap_or_default();
        let costed: Costed = (state.history.version(), text, ask);
        if self.costed.as_ref() == Some(&costed) {
            return;
        }
        if let Ok(asked) = state.ask_of(&PLAN_COST) {
            self.costed = Some(costed);
            self.ask_cost(asked);
        }
    }

    /// Ask what a plan costs; earlier findings stay until there are newer.
    pub(super) fn ask_cost(&mut self, asked: Asked) {
        self.state.studies.ended();
        self.state.studies.running = Some(PLAN_COST.id);
        let study = self.state.studies.get_mut(PLAN_COST.id);
        (study.failure, study.awaited, study.kept) = (None, true, None);
        self.study = self.worker.send(Request::Study(Box::new(asked.into())));
    }
}

//! Undo and redo of the plan.

use sluice_core::plan::Plan;

/// Steps kept for undo.
const MAX_STEPS: usize = 200;

/// The plan with its past and future.
#[derive(Debug, Default)]
pub struct History {
    plan: Plan,
    past: Vec<Plan>,
    future: Vec<Plan>,
    /// Key of a gesture under way: its changes are one step.
    gesture: Option<u64>,
}

impl History {
    /// The plan as it is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Change the plan. Changes with the same `gesture` are undone together.
    pub fn change(&mut self, gesture: Option<u64>, change: impl FnOnce(&mut Plan)) {
        let before = self.plan.clone();
        change(&mut self.plan);
        if self.plan == before {
            return;
        }
        self.future.clear();
        if gesture.is_none() || gesture != self.gesture {
            self.past.push(before);
            if self.past.len() > MAX_STEPS {
                self.past.remove(0);
            }
        }
        self.gesture = gesture;
    }

    /// Take back a step.
    pub fn undo(&mut self) {
        if let Some(plan) = self.past.pop() {
            self.future.push(std::mem::replace(&mut self.plan, plan));
        }
        self.gesture = None;
    }

    /// Do a step again.
    pub fn redo(&mut self) {
        if let Some(plan) = self.future.pop() {
            self.past.push(std::mem::replace(&mut self.plan, plan));
        }
        self.gesture = None;
    }

    /// Whether there is a step to take back, and one to do again.
    pub fn steps(&self) -> (bool, bool) {
        (!self.past.is_empty(), !self.future.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::plan::{Part, Sublayer};

    use super::*;
    use crate::state::edits::toggle;

    fn take_out(layer: usize) -> impl FnOnce(&mut Plan) {
        move |plan| toggle(plan, Sublayer { layer, part: Part::Ffn })
    }

    #[test]
    fn a_gesture_is_one_step() {
        let mut history = History::default();
        history.change(None, take_out(0));
        history.change(Some(7), take_out(1));
        history.change(Some(7), take_out(2));
        assert_eq!(history.plan().items.len(), 3);
        history.undo();
        assert_eq!(history.plan().items.len(), 1);
        history.redo();
        assert_eq!(history.plan().items.len(), 3);
    }

    #[test]
    fn a_new_change_ends_the_future() {
        let mut history = History::default();
        history.change(None, take_out(0));
        history.undo();
        assert_eq!(history.steps(), (false, true));
        history.change(None, take_out(1));
        assert_eq!(history.steps(), (true, false));
        history.change(None, |_| {});
        history.undo();
        assert_eq!(*history.plan(), Plan::default());
    }
}

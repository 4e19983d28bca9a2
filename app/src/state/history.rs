//! Undo and redo of the plan and of the prompt's picture.

use sluice_core::plan::Plan;

use super::Asked;

/// Steps kept for undo.
const MAX_STEPS: usize = 200;
/// Of these, steps that hold a picture.
const MAX_PICTURES: usize = 8;

/// What a step replaced.
#[derive(Debug)]
enum Step {
    Plan(Plan),
    Picture(Asked),
}

/// The plan with its past and future.
#[derive(Debug, Default)]
pub struct History {
    plan: Plan,
    past: Vec<Step>,
    future: Vec<Step>,
    /// Key of a gesture under way: its changes are one step.
    gesture: Option<u64>,
    /// Counts up whenever the plan is another.
    version: u64,
}

impl History {
    /// The plan as it is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A number that no earlier plan has.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Change the plan; whether anything is different then. Changes with the same `gesture` are undone together.
    pub fn change(&mut self, gesture: Option<u64>, change: impl FnOnce(&mut Plan)) -> bool {
        let before = self.plan.clone();
        change(&mut self.plan);
        if self.plan == before {
            return false;
        }
        self.version += 1;
        self.future.clear();
        if gesture.is_none() || gesture != self.gesture {
            self.past.push(Step::Plan(before));
            self.forget_oldest();
        }
        self.gesture = gesture;
        true
    }

    /// Note that the picture was replaced; `before` is what was there.
    pub fn replaced(&mut self, before: Asked) {
        self.future.clear();
        self.past.push(Step::Picture(before));
        self.forget_oldest();
        self.gesture = None;
    }

    /// Take back a step. `exchange` puts a picture back and returns the one that was there.
    pub fn undo(&mut self, exchange: impl FnOnce(Asked) -> Asked) {
        if let Some(step) = self.past.pop() {
            let undone = self.swap(step, exchange);
            self.future.push(undone);
        }
    }

    /// Do a step again.
    pub fn redo(&mut self, exchange: impl FnOnce(Asked) -> Asked) {
        if let Some(step) = self.future.pop() {
            let done = self.swap(step, exchange);
            self.past.push(done);
        }
    }

    fn swap(&mut self, step: Step, exchange: impl FnOnce(Asked) -> Asked) -> Step {
        self.gesture = None;
        self.version += 1;
        match step {
            Step::Plan(plan) => Step::Plan(std::mem::replace(&mut self.plan, plan)),
            Step::Picture(asked) => Step::Picture(exchange(asked)),
        }
    }

    /// Forget the pictures: they were prepared for another checkpoint.
    pub fn forget_pictures(&mut self) {
        for steps in [&mut self.past, &mut self.future] {
            steps.retain(|step| matches!(step, Step::Plan(_)));
        }
    }

    /// Pictures are large: few are kept.
    fn forget_oldest(&mut self) {
        let is_picture = |step: &Step| matches!(step, Step::Picture(_));
        if self.past.iter().filter(|step| is_picture(step)).count() > MAX_PICTURES
            && let Some(oldest) = self.past.iter().position(is_picture)
        {
            self.past.remove(oldest);
        }
        if self.past.len() > MAX_STEPS {
            self.past.remove(0);
        }
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
    use sluice_core::plan::edits::toggle;

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
        history.undo(|asked| asked);
        assert_eq!(history.plan().items.len(), 1);
        history.redo(|asked| asked);
        assert_eq!(history.plan().items.len(), 3);
    }

    #[test]
    fn a_new_change_ends_the_future() {
        let mut history = History::default();
        history.change(None, take_out(0));
        history.undo(|asked| asked);
        assert_eq!(history.steps(), (false, true));
        history.change(None, take_out(1));
        assert_eq!(history.steps(), (true, false));
        history.change(None, |_| {});
        history.undo(|asked| asked);
        assert_eq!(*history.plan(), Plan::default());
    }
}

//! What a person did to prompt, picture and plan, step by step: undo, redo, and any step by its number.

use std::sync::Arc;

use crate::checkpoint::Picture;
use crate::plan::Plan;

/// Bytes of steps kept, roughly; beyond it the oldest go.
const MOST_BYTES: usize = 64 << 20;
/// What a step takes beside what it changes.
const STEP: usize = 256;

/// A prompt with its picture, and the plan that it runs under.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The prompt as typed: text, or ids for a checkpoint without a tokenizer.
    pub words: Arc<str>,
    /// Its picture.
    pub picture: Option<Picture>,
    /// The plan.
    pub plan: Arc<Plan>,
}

/// A document with what led to it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was done, in a few words.
    pub name: Arc<str>,
    /// What came of it.
    pub document: Document,
    /// Bytes of what the step before does not share.
    bytes: usize,
}

/// The steps and where among them one is. There is always one.
#[derive(Clone, Debug)]
pub struct History {
    steps: Vec<Step>,
    at: usize,
    bytes: usize,
    /// Key of a gesture under way: its changes are one step.
    gesture: Option<u64>,
    /// Counts up whenever the document is another.
    version: u64,
}

impl Default for History {
    fn default() -> Self {
        Self::new(Document::default())
    }
}

impl History {
    /// A history that begins with a document.
    pub fn new(document: Document) -> Self {
        Self::of(vec![("opened".into(), document)], 0)
    }

    /// A history of named documents, at one of them; of none, of an empty one.
    pub fn of(steps: Vec<(Arc<str>, Document)>, at: usize) -> Self {
        let mut all =
            Self { steps: Vec::with_capacity(steps.len()), at: 0, bytes: 0, gesture: None, version: 0 };
        for (name, document) in steps {
            all.push(name, document);
        }
        if all.steps.is_empty() {
            all.push("opened".into(), Document::default());
        }
        all.at = at.min(all.steps.len() - 1);
        all.keep_within();
        all
    }

    /// The document as it is.
    pub fn document(&self) -> &Document {
        &self.step().document
    }

    /// The plan as it is.
    pub fn plan(&self) -> &Plan {
        &self.document().plan
    }

    /// A number that no earlier document has.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The steps, oldest first.
    pub fn all(&self) -> &[Step] {
        &self.steps
    }

    /// Which of them is the document.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether there is a step to take back, and one to do again.
    pub fn steps(&self) -> (bool, bool) {
        (self.at > 0, self.at + 1 < self.steps.len())
    }

    /// Change the plan; whether anything is different then. Changes of one `gesture` are one step, with the newest name.
    pub fn change(
        &mut self,
        name: impl Into<Arc<str>>,
        gesture: Option<u64>,
        change: impl FnOnce(&mut Plan),
    ) -> bool {
        let mut plan = self.plan().clone();
        change(&mut plan);
        if plan == *self.plan() {
            return false;
        }
        let document = Document { plan: Arc::new(plan), ..self.document().clone() };
        self.add(name.into(), gesture, document);
        true
    }

    /// Another document; whether it is different.
    pub fn replace(&mut self, name: impl Into<Arc<str>>, gesture: Option<u64>, document: Document) -> bool {
        if document == *self.document() {
            return false;
        }
        self.add(name.into(), gesture, document);
        true
    }

    /// Take back a step.
    pub fn undo(&mut self) {
        self.jump(self.at.saturating_sub(1));
    }

    /// Do a step again.
    pub fn redo(&mut self) {
        self.jump(self.at + 1);
    }

    /// Go to a step by its number; past the last, nothing.
    pub fn jump(&mut self, step: usize) {
        if step < self.steps.len() && step != self.at {
            (self.at, self.gesture) = (step, None);
            self.version += 1;
        }
    }

    fn step(&self) -> &Step {
        // There is always one, and `at` is one of them.
        #[expect(clippy::indexing_slicing, reason = "the invariant of this struct")]
        &self.steps[self.at]
    }

    fn add(&mut self, name: Arc<str>, gesture: Option<u64>, document: Document) {
        self.version += 1;
        for step in self.steps.drain(self.at + 1..) {
            self.bytes -= step.bytes;
        }
        let goes_on = gesture.is_some() && gesture == self.gesture && self.at > 0;
        if let Some(step) = self.steps.pop_if(|_| goes_on) {
            self.bytes -= step.bytes;
        }
        self.push(name, document);
        self.at = self.steps.len() - 1;
        self.gesture = gesture;
        self.keep_within();
    }

    fn push(&mut self, name: Arc<str>, document: Document) {
        let bytes = STEP + own_bytes(&document, self.steps.last().map(|step| &step.document));
        self.bytes += bytes;
        self.steps.push(Step { name, document, bytes });
    }

    /// Let the oldest steps go, never the one that one is at.
    fn keep_within(&mut self) {
        let mut first = 0;
        while self.bytes > MOST_BYTES && first < self.at {
            let Some([oldest, next]) = self.steps.get_mut(first..first + 2) else { break };
            self.bytes -= oldest.bytes + next.bytes;
            next.bytes = STEP + own_bytes(&next.document, None);
            self.bytes += next.bytes;
            first += 1;
        }
        self.steps.drain(..first);
        self.at -= first;
    }
}

/// Bytes of what a document does not share with the one before.
fn own_bytes(document: &Document, before: Option<&Document>) -> usize {
    let shares = |same: fn(&Document, &Document) -> bool| before.is_some_and(|before| same(document, before));
    let words = if shares(|a, b| Arc::ptr_eq(&a.words, &b.words)) { 0 } else { document.words.len() };
    let picture = match &document.picture {
        Some(picture) if !shares(|a, b| a.picture == b.picture) => picture.pixels().as_raw().len(),
        _ => 0,
    };
    let plan = if shares(|a, b| Arc::ptr_eq(&a.plan, &b.plan)) { 0 } else { document.plan.bytes() };
    words + picture + plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::edits::toggle;
    use crate::plan::{Part, Sublayer};

    fn take_out(layer: usize) -> impl FnOnce(&mut Plan) {
        move |plan| toggle(plan, Sublayer { layer, part: Part::Ffn })
    }

    fn names(history: &History) -> Vec<&str> {
        history.all().iter().map(|step| &*step.name).collect()
    }

    #[test]
    fn a_gesture_is_one_step_with_its_newest_name() {
        let mut history = History::default();
        assert!(history.change("a", None, take_out(0)));
        history.change("b", Some(7), take_out(1));
        history.change("c", Some(7), take_out(2));
        assert_eq!((history.plan().items.len(), names(&history)), (3, vec!["opened", "a", "c"]));
        history.undo();
        assert_eq!(history.plan().items.len(), 1);
        history.redo();
        assert_eq!(history.plan().items.len(), 3);
        history.change("d", Some(7), take_out(3));
        assert_eq!(history.all().len(), 4, "a step that was gone to ends its gesture");
    }

    #[test]
    fn a_new_change_ends_the_future_and_no_change_does_not() {
        let mut history = History::default();
        history.change("a", None, take_out(0));
        history.undo();
        assert_eq!(history.steps(), (false, true));
        assert!(!history.change("nothing", None, |_| {}));
        assert!(!history.replace("nothing", None, history.document().clone()));
        assert_eq!(history.steps(), (false, true));
        history.change("b", None, take_out(1));
        assert_eq!((history.steps(), names(&history)), ((true, false), vec!["opened", "b"]));
    }

    #[test]
    fn any_step_is_gone_to_and_knows_its_prompt() {
        let mut history = History::default();
        for word in ["one", "two", "three"] {
            let document = Document { words: word.into(), ..history.document().clone() };
            history.replace(word, None, document);
        }
        let version = history.version();
        history.jump(1);
        assert_eq!((&*history.document().words, history.at()), ("one", 1));
        assert!(history.version() > version);
        history.jump(9);
        assert_eq!(history.at(), 1);
        history.jump(3);
        assert_eq!(&*history.document().words, "three");
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_stays() {
        let mut history = History::default();
        let long = |letter: &str| Document { words: letter.repeat(10 << 20).into(), ..Document::default() };
        for letter in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            history.replace(letter, None, long(letter));
        }
        assert_eq!(names(&history), ["c", "d", "e", "f", "g", "h"]);
        assert!(history.bytes <= MOST_BYTES);
        history.jump(0);
        history.replace("i", None, long("i"));
        assert_eq!(names(&history), ["c", "i"]);
        assert_eq!(history.bytes, 2 * STEP + (20 << 20) + 2 * history.plan().bytes());
        history.replace(
            "all",
            None,
            Document { words: "x".repeat(MOST_BYTES).into(), ..Document::default() },
        );
        assert_eq!(names(&history), ["all"]);
    }
}

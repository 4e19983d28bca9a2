//! The window as a session, and back.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_core::method::{ListOf, find};
use sluice_core::session::{Answered, History, Inquiry, Pinned, Reference, Session, Work};
use sluice_core::worker::Target;

use crate::layout::{Layout, Saved};
use crate::state::{Choices, Kept, Shelved, State, Studies, Study, reference};

/// What the window alone knows of a session.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct OfSession {
    layout: Option<Saved>,
}

/// Of a checkpoint.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct OfWork {
    choices: Choices,
    answer: String,
    /// The prompt was continued as it is.
    continued: bool,
}

/// Of a method.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct OfMethod {
    shown: Option<(String, usize)>,
    brush: usize,
    list: Option<ListOf>,
}

/// What is chosen is made of names and numbers: JSON holds it.
fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// What cannot be read is as it is at first.
fn read<T: for<'de> Deserialize<'de> + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

/// Everything that is kept, as it is now. Copies nothing large.
pub fn session(state: &State, layout: &Layout) -> Session {
    let shelved = |of: &Shelved| {
        let Shelved { checkpoint, history, variants, studies, choices, answer, continued, .. } = of;
        work(checkpoint.clone(), (history, variants), studies, (choices, answer, *continued))
    };
    let mut shelf: Vec<&Shelved> = state.shelf.values().collect();
    shelf.sort_by_key(|shelved| shelved.order);
    let mut works: Vec<Work> = shelf.into_iter().map(shelved).collect();
    // What is being opened is what was open, and so is what could not be.
    let expected = state.expected.as_ref().filter(|_| state.card.is_none());
    let waits = |of: &Reference| works.iter().position(|work| work.checkpoint.fingerprint == of.fingerprint);
    let open = expected.and_then(waits).unwrap_or(works.len());
    let State { history, variants, studies, choices, answer, .. } = state;
    works.extend(state.card.as_ref().map(|card| {
        work(reference(card), (history, variants), studies, (choices, answer, state.is_continued()))
    }));
    let window = value(&OfSession { layout: layout.save() });
    Session { works, open, notes: state.notes.clone(), window }
}

fn work(
    checkpoint: Reference,
    (history, variants): (&History, &[Pinned]),
    studies: &Studies,
    (choices, answer, continued): (&Choices, &str, bool),
) -> Work {
    let window = OfWork { choices: choices.clone(), answer: answer.to_owned(), continued };
    Work {
        checkpoint,
        history: history.clone(),
        variants: variants.to_vec(),
        methods: studies.all().map(|(id, study)| (id, inquiry(study))).collect(),
        window: value(&window),
    }
}

fn inquiry(study: &Study) -> Inquiry {
    let found = study.kept.as_ref().map(|Kept { asked, reached }| Answered {
        asked: Arc::clone(asked),
        reached: Arc::clone(reached),
        findings: study.findings.clone(),
    });
    Inquiry {
        ask: study.ask.clone(),
        picks: study.picks.clone(),
        text: study.text.clone(),
        taken: study.taken.clone(),
        window: value(&OfMethod { shown: study.shown.clone(), brush: study.brush, list: study.list.clone() }),
        found,
    }
}

/// Take a session over; what was there before goes. The checkpoint to be opened, where one was.
pub fn restore(session: Session, state: &mut State, layout: &mut Layout) -> Option<Target> {
    let open = session.works.get(session.open).map(|work| work.checkpoint.clone());
    let of: OfSession = read(&session.window);
    *layout = of.layout.as_ref().and_then(Layout::restore).unwrap_or_default();
    state.notes = session.notes;
    state.shelf = session.works.into_iter().enumerate().map(shelved).collect::<HashMap<_, _>>();
    state.expected = open.clone();
    open.map(|open| open.path.map_or(Target::Bundled, Target::Path))
}

fn shelved((order, work): (usize, Work)) -> (String, Shelved) {
    let OfWork { choices, answer, continued } = read(&work.window);
    let mut studies = Studies::default();
    for (id, inquiry) in work.methods {
        let Some(method) = find(id) else { continue };
        let OfMethod { shown, brush, list } = read(&inquiry.window);
        *studies.get_mut(method.id) = Study {
            ask: inquiry.ask,
            picks: inquiry.picks,
            brush,
            text: inquiry.text,
            list: list.filter(|_| method.takes_lists()),
            shown,
            taken: inquiry.taken,
            kept: inquiry.found.map(|found| Kept { asked: found.asked, reached: found.reached }),
            ..Study::default()
        };
    }
    let shelved = Shelved {
        checkpoint: work.checkpoint,
        order,
        history: work.history,
        variants: work.variants,
        studies,
        choices,
        answer,
        continued,
    };
    (shelved.checkpoint.fingerprint.clone(), shelved)
}

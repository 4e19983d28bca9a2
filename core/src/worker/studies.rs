//! Studies, done in slices: one that is asked for, and earlier ones whose findings come back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Board;
use super::guard::{caught, failure, guarded, slice};
use crate::engine::{Card, Engine};
use crate::error::{Error, Result};
use crate::method::{Reached, Running, Steps};
use crate::protocol::{Event, Progress, RequestId, Slot, Study};

/// How often what a study has come to is told, at most; never so often that it takes one part in [`WRITING`] of the time.
const OFTEN: Duration = Duration::from_secs(2);
const WRITING: u32 = 20;

/// Begin a study, or go on with one.
fn start(study: Study, engine: &mut Engine, card: &Card, cancelled: &dyn Fn() -> bool) -> Result<Running> {
    match study.from {
        Some(reached) => reached.restore(study.asked, engine, card, cancelled),
        None => Running::start(study.asked, engine, card, cancelled),
    }
}

/// A study that is asked for.
pub(super) struct Studying {
    id: RequestId,
    running: Running,
    /// What was told last: how far it was, when, and how long telling took.
    told: (Steps, Instant, Duration),
}

impl Studying {
    pub(super) fn start(
        board: &Board,
        id: RequestId,
        study: Study,
        engine: &mut Engine,
        card: &Card,
    ) -> Result<Self> {
        let running = start(study, engine, card, &|| board.stale(Slot::Study, id))?;
        let told = (running.progress(), Instant::now(), Duration::ZERO);
        Ok(Self { id, running, told })
    }

    /// A slice of it. Whether there is more to do.
    pub(super) fn go_on(&mut self, board: &Board, engine: &mut Engine, card: &Card) -> bool {
        let id = self.id;
        let cancelled = || board.stale(Slot::Study, id);
        let done = guarded(board, Slot::Study, id, || {
            slice(board, Slot::Study, id, || self.running.step(engine, &cancelled))?;
            board.post(Event::Progress(id, Slot::Study, self.progress()));
            board.post(Event::Findings(id, Arc::new(self.running.findings(engine))));
            Ok(self.running.is_done())
        });
        let goes_on = done == Some(false) && !cancelled();
        let (_, at, took) = self.told;
        if !goes_on || at.elapsed() >= OFTEN.max(took * WRITING) {
            self.tell(board, card);
        }
        goes_on
    }

    /// Tell what it has come to, where that is more than was told.
    pub(super) fn tell(&mut self, board: &Board, card: &Card) {
        if !self.running.is_done() && self.running.progress().done <= self.told.0.done {
            return;
        }
        let begin = Instant::now();
        // What cannot be told is not brought back; the findings are there.
        if let Ok(reached) = Reached::of(&self.running, card) {
            board.post(Event::Reached(self.id, Arc::clone(self.running.asked()), Arc::new(reached)));
        }
        self.told = (self.running.progress(), Instant::now(), begin.elapsed());
    }

    fn progress(&self) -> Progress {
        let steps = self.running.progress();
        let label = self.running.asked().method.name.to_lowercase();
        Progress::new(label, steps.done as u64, steps.all as u64, self.running.since())
    }
}

/// Earlier studies whose findings come back, one after the other.
pub(super) struct Restoring {
    id: RequestId,
    all: usize,
    left: VecDeque<Study>,
    now: Option<(Running, Arc<Reached>)>,
    begin: Instant,
}

impl Restoring {
    pub(super) fn new(id: RequestId, studies: Vec<Study>) -> Self {
        Self { id, all: studies.len(), left: studies.into(), now: None, begin: Instant::now() }
    }

    /// A piece of it. Whether there is more to do.
    pub(super) fn go_on(&mut self, board: &Board, engine: &mut Engine, card: &Card) -> bool {
        let id = self.id;
        let cancelled = || board.stale(Slot::Restore, id);
        let now = match self.now.take() {
            Some(now) => Some(now),
            None => match self.left.pop_front() {
                Some(study) => Self::begin(board, id, study, engine, card),
                None => return false,
            },
        };
        if let Some((mut running, reached)) = now {
            let method = running.asked().method.id;
            let step = || {
                // One that had not ended is shown as far as it had come.
                if reached.done {
                    slice(board, Slot::Restore, id, || running.step(engine, &cancelled))?;
                }
                let ended = running.is_done() || !reached.done;
                Ok(ended.then(|| Arc::new(running.findings(engine))))
            };
            match caught(step) {
                Ok(Some(findings)) => board.post(Event::Restored(id, findings, reached)),
                Ok(None) => self.now = Some((running, reached)),
                Err(Error::Cancelled) => return false,
                Err(error) => board.post(Event::Lost(id, method, failure(&error))),
            }
        }
        let left = self.left.len() + usize::from(self.now.is_some());
        let (done, all) = ((self.all - left) as u64, self.all as u64);
        let progress = Progress::new("bringing findings back".into(), done, all, self.begin);
        board.post(Event::Progress(id, Slot::Restore, progress));
        left > 0 && !cancelled()
    }

    fn begin(
        board: &Board,
        id: RequestId,
        study: Study,
        engine: &mut Engine,
        card: &Card,
    ) -> Option<(Running, Arc<Reached>)> {
        let reached = study.from.clone()?;
        let method = study.asked.method.id;
        match caught(|| start(study, engine, card, &|| board.stale(Slot::Restore, id))) {
            Ok(running) => Some((running, reached)),
            Err(Error::Cancelled) => None,
            Err(error) => {
                board.post(Event::Lost(id, method, failure(&error)));
                None
            }
        }
    }
}

//! The one thread that owns the model, and the handle a front end talks to it with.
//!
//! Requests wait in one slot per kind, events in one place per topic; in both the newest wins, so neither side ever
//! waits for the other. Order of work: open, scene, then slices of at most [`SLICE`] of a continuation and a study,
//! with a look at the slots in between.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

mod columns;
mod desk;
mod drawn;
mod guard;
mod jobs;
mod studies;

pub use crate::protocol::*;

/// Longest stretch of work on a continuation or a study between two looks at the slots.
pub const SLICE: Duration = Duration::from_millis(30);

/// How long a handle that is dropped waits for the thread: one that waits for a disk keeps no program from ending.
const FAREWELL: Duration = Duration::from_secs(2);

/// Handle to the worker thread. Dropping it ends the thread after the sublayer at hand.
pub struct Worker {
    board: Arc<Board>,
    wake: Sender<()>,
    thread: Option<JoinHandle<()>>,
    /// Disconnected once the thread has ended.
    lives: Receiver<()>,
}

/// A request that was not looked at yet.
struct Waiting {
    id: RequestId,
    request: Request,
    since: Instant,
}

/// What both sides see.
struct Board {
    requests: Mutex<BTreeMap<Slot, Waiting>>,
    events: Mutex<Vec<Event>>,
    /// Newest request per slot; work for an older one stops.
    newest: [AtomicU64; 7],
    next_id: AtomicU64,
    quit: AtomicBool,
    woken: Box<dyn Fn() + Send + Sync>,
}

impl Worker {
    /// Start the thread. `woken` is called, from the thread, after each new event: a window requests a repaint.
    pub fn spawn(woken: impl Fn() + Send + Sync + 'static) -> Self {
        let board = Arc::new(Board {
            requests: Mutex::default(),
            events: Mutex::default(),
            newest: Default::default(),
            next_id: AtomicU64::new(1),
            quit: AtomicBool::new(false),
            woken: Box::new(woken),
        });
        // One wake-up in store is enough: the thread then looks at every slot.
        let (wake, woken) = bounded(1);
        let theirs = Arc::clone(&board);
        let thread = std::thread::Builder::new().name("worker".into());
        let (held, lives) = bounded(0);
        let work = move || {
            desk::work(&theirs, &woken);
            drop(held);
        };
        let thread = thread.spawn(work).ok();
        Self { board, wake, thread, lives }
    }

    /// Put a request into its slot; the newest wins. Never blocks.
    pub fn send(&self, request: Request) -> RequestId {
        let slot = request.slot();
        let id = self.board.next_id.fetch_add(1, Ordering::Relaxed);
        // First the number, then the request: the thread must not take a request that looks superseded.
        self.board.newest_of(slot).store(id, Ordering::Release);
        lock(&self.board.requests).insert(slot, Waiting { id, request, since: Instant::now() });
        // Full means that a wake-up is already in store.
        let _ = self.wake.try_send(());
        id
    }

    /// Stop what a slot is doing.
    pub fn cancel(&self, slot: Slot) {
        let id = self.board.newest_of(slot).swap(0, Ordering::AcqRel);
        lock(&self.board.requests).remove(&slot);
        if id != 0 {
            self.board.post(Event::Cancelled(id, slot));
        }
        let _ = self.wake.try_send(());
    }

    /// Events since the last poll: the newest per topic, oldest first. Never blocks.
    pub fn poll(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.board.events))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.board.quit.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
        // What it holds goes with it: then there is nobody to hear from any more.
        let ended = self.lives.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected);
        if let Some(thread) = self.thread.take_if(|_| ended) {
            drop(thread.join());
        }
    }
}

impl Board {
    fn newest_of(&self, slot: Slot) -> &AtomicU64 {
        let [open, scene, generate, study, restore, columns, fold] = &self.newest;
        match slot {
            Slot::Open => open,
            Slot::Scene => scene,
            Slot::Generate => generate,
            Slot::Study => study,
            Slot::Restore => restore,
            Slot::Columns => columns,
            Slot::Fold => fold,
        }
    }

    /// Whether work on a request should stop.
    fn stale(&self, slot: Slot, id: RequestId) -> bool {
        self.quit.load(Ordering::Acquire) || self.newest_of(slot).load(Ordering::Acquire) != id
    }

    fn take(&self, slot: Slot) -> Option<Waiting> {
        lock(&self.requests).remove(&slot)
    }

    fn has(&self, slot: Slot) -> bool {
        lock(&self.requests).contains_key(&slot)
    }

    /// Replace the event of the same topic, or append. What a cancelled or superseded request reports is dropped: with
    /// the events locked, so that nothing follows its [`Event::Cancelled`].
    fn post(&self, event: Event) {
        {
            let mut events = lock(&self.events);
            if origin(&event).is_some_and(|(slot, id)| self.newest_of(slot).load(Ordering::Acquire) != id) {
                return;
            }
            let topic = topic(&event);
            events.retain(|old| self::topic(old) != topic);
            events.push(event);
        }
        (self.woken)();
    }
}

/// The request that an event answers; none for what holds whatever was asked since.
fn origin(event: &Event) -> Option<(Slot, RequestId)> {
    match *event {
        Event::Progress(id, slot, _) | Event::Failed(id, slot, _) => Some((slot, id)),
        Event::Tokens(id, _) | Event::View(id, ..) | Event::SceneDone(id, _) | Event::Kept(id) => {
            Some((Slot::Scene, id))
        }
        Event::Text(id, _) => Some((Slot::Generate, id)),
        Event::Folded(id, _) => Some((Slot::Fold, id)),
        Event::Findings(id, _) => Some((Slot::Study, id)),
        Event::Restored(id, ..) | Event::Lost(id, ..) => Some((Slot::Restore, id)),
        Event::Column(id, ..) | Event::Compared(id, _) => Some((Slot::Columns, id)),
        Event::Reached(..) | Event::Opened(..) | Event::Closed(_) | Event::Cancelled(..) => None,
    }
}

/// Events of one topic supersede each other.
fn topic(event: &Event) -> (u8, Option<Slot>, Option<&View>, &str, usize) {
    let (kind, slot, view) = match event {
        Event::Opened(..) => (0, None, None),
        Event::Progress(_, slot, _) => (1, Some(*slot), None),
        Event::Tokens(..) => (2, None, None),
        Event::View(_, view, _) => (3, None, Some(view)),
        Event::SceneDone(..) => (4, None, None),
        Event::Text(..) => (5, None, None),
        Event::Findings(..) => (6, None, None),
        Event::Failed(_, slot, _) => (7, Some(*slot), None),
        Event::Cancelled(_, slot) => (8, Some(*slot), None),
        Event::Kept(_) => (9, None, None),
        Event::Closed(_) => (10, None, None),
        Event::Reached(..) => (11, None, None),
        Event::Restored(..) => (12, None, None),
        Event::Lost(..) => (13, None, None),
        Event::Column(..) => (14, None, None),
        Event::Compared(..) => (15, None, None),
        Event::Folded(..) => (16, None, None),
    };
    let index = if let Event::Column(_, index, _) = event { *index } else { 0 };
    let method = match event {
        Event::Reached(_, asked, _) => asked.method.id,
        Event::Restored(_, findings, _) => findings.asked.method.id,
        Event::Lost(_, method, _) => method,
        _ => "",
    };
    (kind, slot, view, method, index)
}

/// The values behind the locks stay whole whatever panics: no critical section runs foreign code.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

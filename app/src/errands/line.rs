//! Errands that wait for each other.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::after;

use super::Found;

type Work = Box<dyn FnOnce() -> Option<Found> + Send>;

/// Time between two looks at whether all is done.
const LOOK: Duration = Duration::from_millis(5);

/// Work that is done one after the other, in the order in which it was asked for.
#[derive(Default)]
pub struct Line {
    waiting: Mutex<VecDeque<Work>>,
    /// Held by the one whose turn it is.
    turn: Mutex<()>,
}

impl Line {
    /// Put work behind all other.
    pub fn push(&self, work: impl FnOnce() -> Option<Found> + Send + 'static) {
        lock(&self.waiting).push_back(Box::new(work));
    }

    /// Wait for one's turn and do what has waited longest.
    pub fn next(&self) -> Option<Found> {
        let _turn = lock(&self.turn);
        let work = lock(&self.waiting).pop_front()?;
        work()
    }

    /// Wait until everything is done, `most` at most.
    pub fn finish(&self, most: Duration) {
        let end = Instant::now() + most;
        let busy = || !lock(&self.waiting).is_empty() || self.turn.try_lock().is_err();
        while busy() && Instant::now() < end {
            let _ = after(LOOK).recv();
        }
    }
}

/// What is behind the locks stays whole whatever panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn work_is_done_in_its_order_and_waited_for() {
        let (line, done) = (Arc::new(Line::default()), Arc::new(Mutex::new(Vec::new())));
        for number in 0..20 {
            let done = Arc::clone(&done);
            line.push(move || {
                lock(&done).push(number);
                None
            });
        }
        for _ in 0..20 {
            let line = Arc::clone(&line);
            drop(std::thread::spawn(move || line.next()));
        }
        line.finish(Duration::from_secs(60));
        assert_eq!(*lock(&done), (0..20).collect::<Vec<_>>());
    }
}

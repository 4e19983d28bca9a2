//! Work that may never end, such as reading from a network disk that is gone, done by threads that nobody joins.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// How long a piece of work may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often somebody who waits looks whether he still must.
const LOOK: Duration = Duration::from_millis(20);
/// How long one waits for one of these to end before nothing more is begun.
const SOON: Duration = Duration::from_millis(500);
/// Pieces of work that are given up at most; with so many, nothing more is begun.
const MOST_STUCK: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for work.
static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());
/// Work that was given up and has not ended.
static STUCK: Mutex<usize> = Mutex::new(0);
/// Some of it has ended.
static ENDED: Condvar = Condvar::new();

fn stuck() -> MutexGuard<'static, usize> {
    STUCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work that was given up has ended.
fn ended() {
    let mut stuck = stuck();
    *stuck = stuck.saturating_sub(1);
    ENDED.notify_all();
}

/// Whether a piece of work has ended, and whether anybody waits for it: whichever side comes second knows of the other.
#[derive(Default)]
struct Ends(AtomicUsize);

impl Ends {
    /// Whether the other side came before.
    fn second(&self) -> bool {
        self.0.fetch_add(1, Ordering::AcqRel) == 1
    }
}

/// Work that was begun.
pub(super) struct Pending<T> {
    answer: Receiver<thread::Result<io::Result<T>>>,
    ends: Arc<Ends>,
}

/// Begin work that may never end.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where too much of it is stuck already, and what the system says where it gives no thread.
pub(super) fn begin<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<Pending<T>> {
    // What nobody needs any more ends soon, as a rule.
    let (stuck, _) = ENDED
        .wait_timeout_while(stuck(), SOON, |stuck| *stuck >= MOST_STUCK)
        .unwrap_or_else(PoisonError::into_inner);
    if *stuck >= MOST_STUCK {
        let cause = format!("{MOST_STUCK} earlier reads still wait for a disk that does not answer");
        return Err(io::Error::new(io::ErrorKind::TimedOut, cause));
    }
    drop(stuck);
    let (done, answer) = bounded(1);
    let ends = Arc::new(Ends::default());
    let theirs = Arc::clone(&ends);
    let job: Job = Box::new(move || {
        // Room for one is there: this never waits, and fails only where nobody listens any more.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        if theirs.second() {
            ended();
        }
    });
    hand_over(job)?;
    Ok(Pending { answer, ends })
}

impl<T> Pending<T> {
    /// The answer.
    ///
    /// # Errors
    /// What the work fails with, and [`io::ErrorKind::TimedOut`] where it takes longer than anybody waits.
    pub(super) fn wait(self) -> io::Result<T> {
        self.within(PATIENCE)
    }

    fn within(self, patience: Duration) -> io::Result<T> {
        let cause = format!("the disk has not answered for {} s", PATIENCE.as_secs());
        match self.answer.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => {
                self.give_up().unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, cause)))
            }
            answer => came(answer),
        }
    }

    /// The answer, or none where `given_up` says before it comes that nobody needs it.
    fn unless(self, given_up: &dyn Fn() -> bool) -> io::Result<Option<T>> {
        loop {
            match self.answer.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) if given_up() => return self.give_up().transpose(),
                Err(RecvTimeoutError::Timeout) => {}
                answer => return came(answer).map(Some),
            }
        }
    }

    /// Wait no longer; the answer if it came at the last moment.
    fn give_up(self) -> Option<io::Result<T>> {
        *stuck() += 1;
        let last = self.ends.second();
        if last {
            ended();
        }
        last.then(|| came(self.answer.recv()))
    }
}

/// An answer that came. A panic of the work goes on in who waits for it.
fn came<T, E: Into<RecvTimeoutError>>(answer: Result<thread::Result<io::Result<T>>, E>) -> io::Result<T> {
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(error) => Err(io::Error::other(error.into())),
    }
}

/// Work on a thread that nobody joins, waited for as long as the bytes that it counts become more.
///
/// # Errors
/// What the work fails with, and [`io::ErrorKind::TimedOut`] where they do not.
pub(crate) fn watched<T: Send + 'static>(
    work: impl FnOnce(&AtomicU64) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let bytes = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&bytes);
    let pending = begin(move || work(&theirs))?;
    let mut seen = 0;
    loop {
        match pending.answer.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) if bytes.load(Ordering::Relaxed) > seen => {
                seen = bytes.load(Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Timeout) => return pending.within(Duration::ZERO),
            answer => return came(answer),
        }
    }
}

/// Work on a thread that nobody joins, waited for until `given_up` says that nobody needs it any more: then there is none.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where too much of it is stuck already, and what the system says where it gives no thread.
pub fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    given_up: &dyn Fn() -> bool,
) -> io::Result<Option<T>> {
    begin(move || Ok(work()))?.unless(given_up)
}

/// To a thread that waits, else to a new one.
fn hand_over(mut job: Job) -> io::Result<()> {
    loop {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(thread) = idle else { break };
        match thread.send(job) {
            Ok(()) => return Ok(()),
            Err(error) => job = error.0,
        }
    }
    let (jobs, next) = bounded::<Job>(1);
    let again = jobs.clone();
    let run = move || {
        job();
        loop {
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(again.clone());
            let Ok(job) = next.recv() else { break };
            job();
        }
    };
    thread::Builder::new().name("reading".into()).spawn(run).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: what is stuck counts for the whole process.
    #[test]
    fn what_never_answers_is_given_up_and_only_so_often() {
        let short = Duration::from_millis(20);
        assert_eq!(begin(|| Ok(7)).unwrap().wait().unwrap(), 7);
        let refused = begin(|| Err::<(), _>(io::ErrorKind::NotFound.into())).unwrap().wait();
        assert_eq!(refused.err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        let (open, gate) = bounded::<()>(0);
        assert_eq!(apart(|| 9, &|| false).unwrap(), Some(9));
        let panic = catch_unwind(|| {
            apart(|| panic!("as it was said"), &|| false).map(|done: Option<()>| done.is_some())
        });
        assert_eq!(panic.err().and_then(|panic| panic.downcast_ref().copied()), Some("as it was said"));
        let theirs = gate.clone();
        assert!(apart(move || theirs.recv(), &|| true).unwrap().is_none(), "nobody needs it any more");
        for _ in 1..MOST_STUCK {
            let gate = gate.clone();
            let given_up = begin(move || gate.recv().map_err(io::Error::other)).unwrap().within(short);
            assert_eq!(given_up.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        }
        let full = begin(|| Ok(())).err().map(|error| error.to_string());
        assert!(full.is_some_and(|cause| cause.contains("4 earlier reads")));
        // The disk is there again.
        drop(open);
        drop(ENDED.wait_timeout_while(stuck(), PATIENCE, |stuck| *stuck > 0).unwrap());
        assert_eq!(begin(|| Ok(8)).unwrap().wait().unwrap(), 8);
    }
}

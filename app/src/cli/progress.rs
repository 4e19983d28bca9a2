//! How far long work over items has come, on stderr.

use std::time::{Duration, Instant};

use super::note;

/// Time between two words of progress.
const OFTEN: Duration = Duration::from_secs(5);
/// Failures of items that are named; of very many the rest is counted.
const NAMED: u64 = 20;

/// When it was said last.
pub struct Progress {
    begin: Instant,
    said: Instant,
}

impl Progress {
    /// Nothing was said yet.
    pub fn begin() -> Self {
        Self { begin: Instant::now(), said: Instant::now() }
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// Say a word where it is time for one.
    pub fn say(&mut self, word: impl FnOnce(f64) -> String) {
        if self.said.elapsed() >= OFTEN {
            self.said = Instant::now();
            note(&word(self.seconds()));
        }
    }
}

/// Name what is wrong with an item, the `number`-th that failed.
pub fn name_failure(number: u64, cause: &str) {
    match number {
        0..=NAMED => note(cause),
        _ if number == NAMED + 1 => note("more items fail; they are counted"),
        _ => {}
    }
}

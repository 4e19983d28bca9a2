//! Ctrl+C and SIGTERM during long work: it writes what it has and ends; a second signal ends it at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use sluice_core::{Error, Result};

/// What a shell adds to a signal's number.
const ENDED_BY: usize = 128;

/// The signal that came; 0 = none.
static CAME: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on a signal is a wish.
///
/// # Errors
/// Where the system refuses.
pub fn watch() -> Result<()> {
    let came = Arc::clone(CAME.get_or_init(Arc::default));
    let twice = Arc::new(AtomicBool::new(false));
    let ignored = ignored();
    for signal in [SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0) {
        // In this order: the first signal finds the flag unset, and sets it.
        let number = usize::try_from(signal).unwrap_or_default();
        let code = i32::try_from(ENDED_BY).unwrap_or_default() + signal;
        flag::register_conditional_shutdown(signal, code, Arc::clone(&twice))
            .and_then(|_| flag::register(signal, Arc::clone(&twice)))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&came), number))
            .map_err(|error| Error::asked(error, "start it again"))?;
    }
    Ok(())
}

/// Whether one came.
pub fn came() -> bool {
    number() != 0
}

/// Exit code of a program that it ended.
pub fn code() -> u8 {
    u8::try_from(ENDED_BY + number()).unwrap_or(1)
}

fn number() -> usize {
    CAME.get().map_or(0, |came| came.load(Ordering::Relaxed))
}

/// Signals that whoever started the program turned off, as bits from 1 on: a shell does so for what runs behind a script.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

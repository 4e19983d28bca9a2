//! Work that may fail, panic or take long, between two looks at the slots.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::{Board, SLICE};
use crate::error::{Error, Result};
use crate::protocol::{Event, Failure, RequestId, Slot};

/// Step a job until the slice is over, it ends, or something more urgent came in. `step` returns whether it ended.
pub(super) fn slice(
    board: &Board,
    slot: Slot,
    id: RequestId,
    mut step: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !step()? {
        let urgent = board.has(Slot::Open) || board.has(Slot::Scene);
        if urgent || start.elapsed() >= SLICE || board.stale(slot, id) {
            break;
        }
    }
    Ok(())
}

/// Run a piece of work; a panic becomes an error.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Internal(text.unwrap_or_else(|| "panic".into())))
    })
}

/// Run a piece of work; an error or a panic becomes an event. Cancelled and superseded work ends silently: whoever
/// stopped it knows.
pub(super) fn guarded<T>(
    board: &Board,
    slot: Slot,
    id: RequestId,
    work: impl FnOnce() -> Result<T>,
) -> Option<T> {
    let error = match caught(work) {
        Ok(value) => return Some(value),
        Err(Error::Cancelled) => return None,
        Err(error) => error,
    };
    if slot == Slot::Scene && matches!(error, Error::NotFinite { .. }) {
        board.post(Event::Kept(id));
    }
    board.post(Event::Failed(id, slot, failure(&error)));
    None
}

/// An error as shown.
pub(super) fn failure(error: &Error) -> Failure {
    Failure { cause: error.to_string(), next_step: error.next_step() }
}

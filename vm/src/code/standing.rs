//! Moments at which a thread must not wait for guests: its own one stands where no frame can be moved.

use crate::types::error::{ErrorKind, Failure};
use std::cell::Cell;

thread_local! {
    /// How many guests of this thread stand so.
    static STANDING: Cell<u32> = const { Cell::new(0) };
}

/// While it exists, a guest of this thread stands in the midst of an operation and waits for the embedder.
pub(crate) struct Standing;

impl Standing {
    pub(crate) fn new() -> Standing {
        STANDING.set(STANDING.get() + 1);
        Standing
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        STANDING.set(STANDING.get() - 1);
    }
}

/// Fails if this thread must not wait for guests.
pub(crate) fn check_none_stands() -> anyhow::Result<()> {
    if STANDING.get() > 0 {
        let text = "a limiter cannot change code: its guest would have to come to a safepoint, and waits for its answer";
        return Err(Failure::new(ErrorKind::Misuse, text).into());
    }
    Ok(())
}

//! A time after which the guest is stopped.

use crate::ending::{End, Ending};
use crate::failure::TRAPPED;
use crate::output;
use midair::{Error, InterruptHandle, Trap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a guest that was told to stop may take until its next safepoint.
const GRACE: Duration = Duration::from_secs(1);

/// Stops the guest when the time is over, unless the run has ended before.
pub struct Deadline {
    time: Duration,
    over: Arc<AtomicBool>,
}

impl Deadline {
    /// Starts the clock.
    ///
    /// Guest code stops at its next safepoint, with a trap. A call of the host that blocks has none:
    /// then the whole process ends.
    pub fn start(
        time: Duration,
        guest: InterruptHandle,
        ending: Arc<Ending>,
    ) -> std::io::Result<Deadline> {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        std::thread::Builder::new().name("deadline".to_owned()).spawn(move || {
            std::thread::sleep(time);
            is_over.store(true, Ordering::Release);
            guest.interrupt();
            std::thread::sleep(GRACE);
            ending.begin();
            // Whether or not anybody reads it, the process ends like this.
            let _ =
                output::tell(&format!("error: timed out after {time:?}, in a call of the host\n"));
            ending.finish(End::Status(TRAPPED)).now()
        })?;
        Ok(Deadline { time, over })
    }

    /// The error with which a run ended; it says so if that was because the time was over.
    pub fn explain(&self, error: Error) -> Error {
        let interrupted = error.downcast_ref() == Some(&Trap::Interrupt);
        if interrupted && self.over.load(Ordering::Acquire) {
            return error.context(format!("timed out after {:?}", self.time));
        }
        error
    }
}

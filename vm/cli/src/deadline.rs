//! A time after which the guest is stopped.

use crate::failure::TRAPPED;
use midair::InterruptHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a guest that was told to stop may take until its next safepoint.
const GRACE: Duration = Duration::from_secs(1);

/// Stops the guest when the time is over, unless it has been [met](Deadline::met).
pub struct Deadline {
    over: Arc<AtomicBool>,
}

impl Deadline {
    /// Starts the clock.
    ///
    /// Guest code stops at its next safepoint, with a trap. A call of the host that blocks has none:
    /// then the whole process ends.
    pub fn start(time: Duration, guest: InterruptHandle) -> std::io::Result<Deadline> {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        std::thread::Builder::new().name("deadline".to_owned()).spawn(move || {
            std::thread::sleep(time);
            guest.interrupt();
            std::thread::sleep(GRACE);
            if !seen.swap(true, Ordering::AcqRel) {
                eprintln!("error: timed out after {time:?}, in a call of the host");
                std::process::exit(TRAPPED);
            }
        })?;
        Ok(Deadline { over })
    }

    /// The guest has ended, in time or by a trap. Whoever comes first reports how.
    pub fn met(&self) {
        if self.over.swap(true, Ordering::AcqRel) {
            // The other thread is about to end the process.
            loop {
                std::thread::park();
            }
        }
    }
}

//! How a run ends: that is told once, by whoever comes first. The guest's own thread, the deadline and a signal all
//! may.

use crate::stats::Outputs;
use crate::wall_time::Loading;
use midair::Engine;
use signal_hook::low_level::emulate_default_handler;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exits with this status.
    Status(i32),
    /// By this signal, as if nobody had handled it: that is what a shell wants to see.
    Signal(i32),
}

impl End {
    /// Ends the process.
    pub fn now(self) -> ! {
        match self {
            End::Status(status) => std::process::exit(status),
            End::Signal(signal) => {
                // It fails for signals that end nothing.
                let _ = emulate_default_handler(signal);
                std::process::exit(128 + signal)
            }
        }
    }

    /// What `main` is to return.
    pub fn exit_code(self) -> ExitCode {
        match self {
            End::Status(status) => ExitCode::from(status as u8),
            End::Signal(_) => self.now(),
        }
    }
}

/// The end of a run, which comes once.
pub struct Ending {
    engine: Engine,
    stats: Outputs,
    /// When the program was loaded.
    pub loading: Loading,
    begun: Arc<AtomicBool>,
}

impl Ending {
    /// The end of a run in this engine, with statistics of it where they are wanted.
    pub fn new(engine: &Engine, stats: Outputs) -> Ending {
        let begun = Arc::new(AtomicBool::new(false));
        Ending { engine: engine.clone(), stats, loading: Loading::default(), begun }
    }

    /// Whether somebody tells the end.
    pub fn begun(&self) -> &Arc<AtomicBool> {
        &self.begun
    }

    /// Whether it is for the caller to tell the end.
    pub fn try_begin(&self) -> bool {
        !self.begun.swap(true, Ordering::AcqRel)
    }

    /// Returns if it is for the caller to tell the end. Otherwise the process is about to end.
    pub fn begin(&self) {
        while !self.try_begin() {
            std::thread::park();
        }
    }

    /// Writes the statistics where they are wanted, and says how the process ends: as it would have without them,
    /// or, if that is a success, by their failure.
    pub fn finish(&self, end: End) -> End {
        match (self.stats.write(&self.engine, &self.loading), end) {
            (Err(failure), End::Status(0)) => failure,
            _ => end,
        }
    }
}

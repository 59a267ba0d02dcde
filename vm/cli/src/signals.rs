//! Signals that end a program of which statistics are wanted.

use crate::ending::{End, Ending};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::Signals;
use std::io::Result;
use std::sync::Arc;

/// By these a user, or the system on his behalf, ends a program.
const ENDING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// From now on such a signal ends the process after the statistics have been written, and at once if the end is
/// being told already: whoever sends a second one does not want to wait.
pub fn end_with_statistics(ending: &Arc<Ending>) -> Result<()> {
    let ignored = ignored();
    let signals = ENDING.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let signals: Vec<i32> = signals.collect();
    for signal in &signals {
        register_conditional_default(*signal, ending.begun().clone())?;
    }
    let mut signals = Signals::new(signals)?;
    let ending = ending.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let end = End::Signal(signal);
            if ending.try_begin() { ending.finish(end) } else { end }.now()
        }
    })?;
    Ok(())
}

/// The signals that this process was started to ignore, as by `nohup`: bit N - 1 is signal N.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

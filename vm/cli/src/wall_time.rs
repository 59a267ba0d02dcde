//! Where the wall time of the process went, as its statistics say it.
//!
//! What the thread that runs the program does is measured, and so is the time before it ran it. What share of a guest's
//! own time each tier had is sampled, in processor time. What is left over is shown too: how far the account can be trusted.

use midair::stats::{Stats, ThreadStats};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// When the process began.
static BEGUN: OnceLock<Instant> = OnceLock::new();

/// When the process began: what it has used of a processor by now, it has taken to start.
pub fn process_began() -> Instant {
    *BEGUN.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(processor_time()).unwrap_or(now)
    })
}

/// Processor time of the process, of which this is the only thread as yet.
fn processor_time() -> Duration {
    Duration::from_nanos(schedule("/proc/thread-self/schedstat").map_or(0, |[used, _]| used))
}

/// What the system says of a thread: for how many nanoseconds it used a processor, and for how many it waited for one.
fn schedule(file: &str) -> Option<[u64; 2]> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut numbers = text.split_ascii_whitespace().map_while(|number| number.parse().ok());
    Some([numbers.next()?, numbers.next()?])
}

/// When the program was loaded.
#[derive(Debug, Default)]
pub struct Loading(Mutex<Option<(Instant, Option<Instant>)>>);

impl Loading {
    /// Loads the program.
    pub fn measure<T>(&self, load: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((begun, None));
        let loaded = load();
        let ended = Some(Instant::now());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((begun, ended));
        loaded
    }

    /// When that began and ended, counted from the beginning of the process; as if it ended now if it has not.
    fn times(&self, now: Instant) -> (Duration, Duration) {
        let (begun, ended) =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or((now, None));
        let since = |moment: Instant| moment.saturating_duration_since(process_began());
        (since(begun), since(ended.unwrap_or(now)))
    }
}

/// Where the wall time went.
#[derive(Clone, Debug, Default)]
pub struct WallTime {
    /// All of it, from the beginning of the process until now.
    pub total: Duration,
    /// Until the program was loaded: the process, and the engine.
    pub starting: Duration,
    /// Loading the program, and validating what is validated then.
    pub loading: Duration,
    /// From then until a guest ran: linking, instantiating.
    pub instantiating: Duration,
    /// The thread that ran the first guest.
    pub thread: ThreadStats,
    /// For how long that waited for a processor in the middle of guest code.
    pub processor_waits: Duration,
    /// Wall time of guest code that no sample stands for: what the guest stood still, and what samples are too coarse for.
    pub unsampled: Duration,
    /// Whatever else: between calls of the guest, and after them.
    pub rest: Duration,
    /// Other threads that have run guests.
    pub others: Vec<ThreadStats>,
}

impl WallTime {
    /// Where it went until now.
    pub fn until_now(stats: &Stats, loading: &Loading) -> WallTime {
        let now = Instant::now();
        let total = now.saturating_duration_since(process_began());
        let (starting, loaded) = loading.times(now);
        let mut threads = stats.threads.iter().cloned();
        let first = threads.next();
        let mut wall = WallTime {
            total,
            starting,
            loading: loaded.saturating_sub(starting),
            others: threads.collect(),
            ..WallTime::default()
        };
        let Some(thread) = first else {
            wall.instantiating = total.saturating_sub(loaded);
            return wall;
        };
        // The thread's account was read a moment ago, which is a part of the rest.
        let in_guests = thread.wall_time();
        wall.instantiating = total.saturating_sub(loaded).saturating_sub(in_guests);
        let not_used = thread.guest.saturating_sub(in_tiers(&thread));
        let file = format!("/proc/self/task/{}/schedstat", thread.thread);
        let waited = schedule(&file).map_or(0, |[_, waited]| waited);
        wall.processor_waits = Duration::from_nanos(waited).min(not_used);
        wall.unsampled = not_used - wall.processor_waits;
        wall.thread = thread;
        wall.rest = total.saturating_sub(wall.rows().iter().map(|(_, _, time)| *time).sum());
        wall
    }

    /// All of it: a name for programs, one for people, and the time.
    pub fn rows(&self) -> [(&'static str, &'static str, Duration); 14] {
        let thread = &self.thread;
        [
            ("starting", "starting", self.starting),
            ("loading", "loading", self.loading),
            ("instantiating", "instantiating", self.instantiating),
            ("lowering", "lowering", thread.lowering),
            ("baseline_compiling", "making baseline code", thread.baseline_compilation),
            ("optimizing", "optimizing, waited for", thread.optimized_compilation),
            ("interpreter", "in interpreter and runtime", thread.sampled.interpreter),
            ("baseline", "in baseline code", thread.sampled.baseline),
            ("optimized", "in optimized code", thread.sampled.optimized),
            ("host", "in host calls", thread.host),
            ("memory_waits", "waiting in memories", thread.memory_waits),
            ("processor_waits", "waiting for a processor", self.processor_waits),
            ("unsampled", "guest code, not sampled", self.unsampled),
            ("rest", "rest", self.rest),
        ]
    }
}

/// Processor time of guest code.
fn in_tiers(thread: &ThreadStats) -> Duration {
    let sampled = &thread.sampled;
    sampled.interpreter + sampled.baseline + sampled.optimized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_over_of_a_run_without_a_guest() {
        process_began();
        let loading = Loading::default();
        loading.measure(|| std::thread::sleep(Duration::from_millis(2)));
        let wall = WallTime::until_now(&Stats::default(), &loading);
        assert!(wall.loading >= Duration::from_millis(2));
        let sum: Duration = wall.rows().iter().map(|(_, _, time)| *time).sum();
        assert_eq!(sum, wall.total);
    }

    #[test]
    fn the_system_says_how_long_a_thread_has_run() {
        // It adds that up now and then.
        let deadline = Instant::now() + Duration::from_secs(60);
        while schedule("/proc/thread-self/schedstat").unwrap()[0] == 0 {
            assert!(Instant::now() < deadline);
        }
    }
}

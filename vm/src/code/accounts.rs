//! Where the wall time of guest threads goes: each thread that runs guests has an account, and says what it begins to do.
//!
//! Only the thread itself writes its account. Others read it at any moment, also while the thread runs a guest: a
//! sequence number tells them whether they have read in the middle of a change.

use super::sampling::monotonic_time;
use super::stats::{SampledTime, ThreadStats};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a thread does, as far as its wall time is accounted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Activity {
    /// It runs a guest's code.
    Guest,
    /// It runs a host function that a guest has called.
    Host,
    /// Its guest waits in a shared memory.
    Waiting,
    /// It lowers a function, and its guest waits for that.
    Lowering,
    /// It makes baseline code, likewise.
    Baseline,
    /// It makes code of the optimising tier, likewise.
    Optimizing,
    /// No guest is on its stack.
    Outside,
}

impl Activity {
    /// How many there are.
    const COUNT: usize = Activity::Outside as usize + 1;

    /// All but `Outside`, by number.
    pub(crate) const IN_GUESTS: [Activity; 6] = [
        Activity::Guest,
        Activity::Host,
        Activity::Waiting,
        Activity::Lowering,
        Activity::Baseline,
        Activity::Optimizing,
    ];
}

/// What a sample has found a thread to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum SampleKind {
    Interpreter,
    Baseline,
    Optimized,
    Host,
    Compiling,
}

impl SampleKind {
    pub(crate) const ALL: [SampleKind; 5] = [
        SampleKind::Interpreter,
        SampleKind::Baseline,
        SampleKind::Optimized,
        SampleKind::Host,
        SampleKind::Compiling,
    ];
}

/// The account of a thread that has ended is doing nothing since this time.
const ENDED: u64 = u64::MAX;

/// The account of one thread. Times are in nanoseconds.
#[derive(Debug)]
pub(crate) struct ThreadAccount {
    /// The [`Accounts`] that it is one of.
    of: u64,
    thread: u32,
    name: Option<String>,
    /// Odd while the next three are being changed.
    changes: AtomicU64,
    activity: AtomicUsize,
    /// When that began.
    since: AtomicU64,
    /// What was before that.
    wall: [AtomicU64; Activity::COUNT],
    /// Processor time, sampled.
    sampled: [AtomicU64; SampleKind::ALL.len()],
}

impl ThreadAccount {
    /// The thread begins to do something else. Only the account's own thread calls it.
    pub(crate) fn switch(&self, to: Activity) {
        let now = monotonic_time();
        self.change(|| {
            let since = self.since.load(Ordering::Relaxed);
            self.add(self.current(), now.saturating_sub(since) as i64);
            self.since.store(now, Ordering::Relaxed);
            self.activity.store(to as usize, Ordering::Relaxed);
        });
    }

    /// So much of what the thread is doing was something else. Only the account's own thread calls it.
    pub(crate) fn attribute(&self, to: Activity, time: Duration) {
        let time = time.as_nanos() as i64;
        self.change(|| {
            // What the current activity has not been given yet comes to it later.
            self.add(self.current(), -time);
            self.add(to as usize, time);
        });
    }

    /// The thread ends.
    fn close(&self) {
        self.switch(Activity::Outside);
        self.change(|| self.since.store(ENDED, Ordering::Relaxed));
    }

    fn change(&self, change: impl FnOnce()) {
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes.store(changes + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.changes.store(changes + 2, Ordering::Release);
    }

    fn current(&self) -> usize {
        self.activity.load(Ordering::Relaxed)
    }

    fn add(&self, activity: usize, time: i64) {
        let wall = &self.wall[activity];
        wall.store(wall.load(Ordering::Relaxed).wrapping_add_signed(time), Ordering::Relaxed);
    }

    /// Whether the thread is doing this.
    pub(crate) fn is_doing(&self, activity: Activity) -> bool {
        self.current() == activity as usize
    }

    /// Adds a sample. The signal handler calls it.
    pub(crate) fn sample(&self, kind: SampleKind, nanoseconds: u64) {
        self.sampled[kind as usize].fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The system's number of the thread.
    pub(crate) fn thread(&self) -> u32 {
        self.thread
    }

    pub(crate) fn is_of(&self, accounts: &Accounts) -> bool {
        self.of == accounts.id
    }

    /// The wall times until now.
    fn walls(&self) -> [u64; Activity::COUNT] {
        loop {
            let changes = self.changes.load(Ordering::Acquire);
            let mut walls = [0; Activity::COUNT];
            for (wall, read) in walls.iter_mut().zip(&self.wall) {
                *wall = read.load(Ordering::Relaxed);
            }
            let (current, since) = (self.current(), self.since.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if changes.is_multiple_of(2) && changes == self.changes.load(Ordering::Relaxed) {
                let open = monotonic_time().saturating_sub(since);
                walls[current] = walls[current].wrapping_add(open);
                return walls;
            }
            std::hint::spin_loop();
        }
    }

    fn stats(&self) -> ThreadStats {
        let walls = self.walls();
        let wall = |activity| Duration::from_nanos(walls[activity as usize]);
        let sampled =
            |kind| Duration::from_nanos(self.sampled[kind as usize].load(Ordering::Relaxed));
        ThreadStats {
            thread: self.thread,
            name: self.name.clone(),
            outside: wall(Activity::Outside),
            guest: wall(Activity::Guest),
            host: wall(Activity::Host),
            memory_waits: wall(Activity::Waiting),
            lowering: wall(Activity::Lowering),
            baseline_compilation: wall(Activity::Baseline),
            optimized_compilation: wall(Activity::Optimizing),
            sampled: SampledTime {
                interpreter: sampled(SampleKind::Interpreter),
                baseline: sampled(SampleKind::Baseline),
                optimized: sampled(SampleKind::Optimized),
                host: sampled(SampleKind::Host),
                compiling: sampled(SampleKind::Compiling),
            },
        }
    }
}

/// An account in the hands of its thread; closed when the thread ends.
#[derive(Debug)]
pub(crate) struct OwnAccount(pub(crate) Arc<ThreadAccount>);

impl Drop for OwnAccount {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// How many threads get accounts of their own. What more there are have
/// accounts that nobody reads.
const MOST_THREADS: usize = 4096;

/// The accounts of an engine's threads.
#[derive(Debug)]
pub(crate) struct Accounts {
    id: u64,
    /// In the order in which they first ran a guest.
    threads: Mutex<Vec<Arc<ThreadAccount>>>,
}

impl Default for Accounts {
    fn default() -> Accounts {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Accounts { id: LAST.fetch_add(1, Ordering::Relaxed) + 1, threads: Mutex::default() }
    }
}

impl Accounts {
    /// An account for this thread, which is about to run a guest.
    pub(crate) fn open(&self) -> OwnAccount {
        let account = Arc::new(ThreadAccount {
            of: self.id,
            thread: super::timeline::this_thread(),
            name: std::thread::current().name().map(str::to_owned),
            changes: AtomicU64::new(0),
            activity: AtomicUsize::new(Activity::Outside as usize),
            since: AtomicU64::new(monotonic_time()),
            wall: Default::default(),
            sampled: Default::default(),
        });
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() < MOST_THREADS {
            threads.push(account.clone());
        }
        OwnAccount(account)
    }

    pub(crate) fn stats(&self) -> Vec<ThreadStats> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().map(|account| account.stats()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_belongs_to_one_activity() {
        let accounts = Accounts::default();
        let begun = monotonic_time();
        let account = accounts.open();
        let OwnAccount(account) = &account;
        for activity in [Activity::Guest, Activity::Lowering] {
            account.switch(activity);
            std::thread::sleep(Duration::from_millis(2));
        }
        account.attribute(Activity::Baseline, Duration::from_millis(1));
        account.switch(Activity::Guest);
        let stats = &accounts.stats()[0];
        let sum = stats.wall_time().as_nanos() as u64;
        let most = monotonic_time() - begun;
        assert!(sum <= most && sum >= 4_000_000, "{sum} of {most}");
        assert_eq!(stats.baseline_compilation, Duration::from_millis(1));
        assert!(stats.lowering >= Duration::from_millis(1));
        assert_eq!(stats.host, Duration::ZERO);
    }
}

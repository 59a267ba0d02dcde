//! Who waits in a shared memory (`memory.atomic.wait`), at which address.

use super::interrupt::InterruptState;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The threads that wait in one memory, by address, each in the order in which they came.
#[derive(Default)]
pub(crate) struct Waiters {
    queues: Mutex<Queues>,
}

type Queues = HashMap<u64, VecDeque<Arc<Waiter>>>;

/// A thread that waits. What it waits for changes under the lock of the queues only.
#[derive(Default)]
struct Waiter {
    is_notified: AtomicBool,
    wake: Condvar,
}

/// Something that is to be woken when its guest is interrupted.
#[derive(Clone)]
pub(crate) struct Wakeable {
    waiters: Arc<Waiters>,
    waiter: Arc<Waiter>,
}

impl Wakeable {
    /// Has it look whether it is interrupted.
    pub(crate) fn wake(&self) {
        // With the lock held it either sleeps already, or has not looked yet.
        let _queues = self.waiters.lock();
        self.waiter.wake.notify_one();
    }
}

/// Why a wait has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitEnd {
    /// It was notified.
    Notified,
    /// What was expected was not there.
    Mismatch,
    /// The time was over.
    TimedOut,
    /// Its guest is interrupted.
    Interrupted,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics with the lock held.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at an address to be notified, for a time or for ever, if the expected value is there: whoever stores another
    /// one and then notifies is not missed.
    pub(crate) fn wait(
        self: &Arc<Self>,
        at: u64,
        is_expected: impl FnOnce() -> bool,
        timeout: Option<Duration>,
        interrupt: Option<&InterruptState>,
    ) -> WaitEnd {
        // A time that is beyond what the system's clock can count is for ever.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let waiter = Arc::new(Waiter::default());
        if let Some(interrupt) = interrupt {
            interrupt.wait_as(Some(Wakeable { waiters: self.clone(), waiter: waiter.clone() }));
        }
        let end = self.wait_as(&waiter, at, is_expected, deadline, interrupt);
        if let Some(interrupt) = interrupt {
            interrupt.wait_as(None);
        }
        end
    }

    fn wait_as(
        &self,
        waiter: &Arc<Waiter>,
        at: u64,
        is_expected: impl FnOnce() -> bool,
        deadline: Option<Instant>,
        interrupt: Option<&InterruptState>,
    ) -> WaitEnd {
        let mut queues = self.lock();
        if !is_expected() {
            return WaitEnd::Mismatch;
        }
        queues.entry(at).or_default().push_back(waiter.clone());
        let end = loop {
            if waiter.is_notified.load(Ordering::Relaxed) {
                return WaitEnd::Notified;
            }
            if interrupt.is_some_and(InterruptState::is_requested) {
                break WaitEnd::Interrupted;
            }
            let Some(deadline) = deadline else {
                queues = waiter.wake.wait(queues).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break WaitEnd::TimedOut;
            }
            let woken = waiter.wake.wait_timeout(queues, left);
            queues = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        // Nobody else has taken it out.
        if let Some(queue) = queues.get_mut(&at) {
            queue.retain(|other| !Arc::ptr_eq(other, waiter));
            if queue.is_empty() {
                queues.remove(&at);
            }
        }
        end
    }

    /// Wakes those that have waited longest at an address, at most so many; how many those are.
    pub(crate) fn notify(&self, at: u64, count: u32) -> u32 {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&at) else { return 0 };
        let count = queue.len().min(count as usize);
        for waiter in queue.drain(..count) {
            waiter.is_notified.store(true, Ordering::Relaxed);
            waiter.wake.notify_one();
        }
        if queue.is_empty() {
            queues.remove(&at);
        }
        count as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midair_watchdog::Watchdog;

    /// Waits until so many threads wait at an address.
    fn until_waiting(waiters: &Waiters, at: u64, count: usize) {
        while waiters.lock().get(&at).map_or(0, VecDeque::len) != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn as_many_are_woken_as_asked_for_and_the_longest_waiting_first() {
        let _watchdog = Watchdog::start();
        let waiters = Arc::new(Waiters::default());
        std::thread::scope(|scope| {
            let mut threads = VecDeque::new();
            for n in 1..=4 {
                let waiters = &waiters;
                threads.push_back(scope.spawn(move || waiters.wait(8, || true, None, None)));
                until_waiting(waiters, 8, n);
            }
            assert_eq!(waiters.notify(12, 9), 0);
            assert_eq!(waiters.notify(8, 0), 0);
            assert_eq!(waiters.notify(8, 1), 1);
            assert_eq!(threads.pop_front().unwrap().join().unwrap(), WaitEnd::Notified);
            until_waiting(&waiters, 8, 3);
            assert!(threads.iter().all(|thread| !thread.is_finished()));
            assert_eq!(waiters.notify(8, 2), 2);
            for _ in 0..2 {
                assert_eq!(threads.pop_front().unwrap().join().unwrap(), WaitEnd::Notified);
            }
            assert_eq!(waiters.notify(8, u32::MAX), 1);
        });
        assert!(waiters.lock().is_empty());
    }

    #[test]
    fn who_does_not_find_what_it_expects_or_has_no_time_does_not_wait() {
        let _watchdog = Watchdog::within(Duration::from_secs(20));
        let waiters = Arc::new(Waiters::default());
        assert_eq!(waiters.wait(0, || false, None, None), WaitEnd::Mismatch);
        let short = Some(Duration::from_millis(1));
        assert_eq!(waiters.wait(0, || true, Some(Duration::ZERO), None), WaitEnd::TimedOut);
        assert_eq!(waiters.wait(0, || true, short, None), WaitEnd::TimedOut);
        assert_eq!(waiters.notify(0, 1), 0);
        assert!(waiters.lock().is_empty());
    }
}

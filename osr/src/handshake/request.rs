//! A request: an operation under way on a set of stacks, and the requester's wait for its end.

use super::{Mutator, Operation, Stack, State, Stepwise};
use crate::sync::{
    AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, heavy_fence, is_soon, processors,
    wait_briefly,
};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// An operation under way.
pub(super) struct Request<S: Stack> {
    pub(super) operation: Arc<dyn Operation<S>>,
    /// The same, if it is to be done step by step.
    pub(super) steps: Option<Arc<dyn Stepwise<S>>>,
    /// Stacks that it has not come to the end of, and one for the requester itself. [`ASLEEP`] is added while
    /// the requester sleeps.
    ///
    /// Who has come to the end of a stack, and has removed the request or its task from what that mutator's
    /// lock protects, acknowledges: so that is once for each stack.
    waiting: AtomicUsize,
    /// Nobody performs it before this is set: see [`Handshake::begin_around`](super::Handshake::begin_around).
    open: AtomicBool,
    /// A heavy fence has been executed since it was published, and mutators that were not running managed
    /// code then have been served. Written and read by the requester only.
    pub(super) delivered: AtomicBool,
    /// Mutators at their polls go on with it themselves.
    pub(super) left_to_mutators: bool,
    /// On some stack there are frames for the requester to go through.
    work: AtomicBool,
    /// A mutator has completed it. Set before the last acknowledgement.
    completed: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

const ASLEEP: usize = 1 << 32;

/// How long mutators that do not find a processor at once take to come to a poll, or to the end of a stack.
const A_TURN: Duration = Duration::from_millis(1);

impl<S: Stack> Request<S> {
    pub(super) fn new(
        operation: Arc<dyn Operation<S>>,
        steps: Option<Arc<dyn Stepwise<S>>>,
        mutators: &[Arc<Mutator<S>>],
    ) -> Arc<Request<S>> {
        let request = Request::publish(operation, steps, mutators, true);
        if !mutators.iter().all(|mutator| mutator.deliver_if_managed(&request)) {
            request.deliver(mutators);
        }
        request
    }

    /// A request that is seen sooner or later; by all mutators after a heavy fence.
    pub(super) fn publish(
        operation: Arc<dyn Operation<S>>,
        steps: Option<Arc<dyn Stepwise<S>>>,
        mutators: &[Arc<Mutator<S>>],
        open: bool,
    ) -> Arc<Request<S>> {
        debug_assert!(is_each_once(mutators), "a mutator performs an operation once");
        let running = mutators.iter().filter(|mutator| mutator.state() == State::Managed);
        let are_many = running.count() >= processors();
        let left_to_mutators = operation.is_left_to_mutators().unwrap_or(are_many);
        let request = Arc::new(Request {
            operation,
            steps,
            waiting: AtomicUsize::new(mutators.len() + 1),
            open: AtomicBool::new(open),
            delivered: AtomicBool::new(false),
            left_to_mutators,
            work: AtomicBool::new(false),
            completed: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        for mutator in mutators {
            mutator.publish(&request);
        }
        request
    }

    /// Sees to it that each mutator is served or serves itself soon, whatever it does.
    pub(super) fn deliver(self: &Arc<Self>, mutators: &[Arc<Mutator<S>>]) {
        heavy_fence();
        self.delivered.store(true, Ordering::Relaxed);
        for mutator in mutators {
            mutator.deliver(self);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Lets it be performed.
    pub(super) fn open(&self) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.open.store(true, Ordering::Release);
        drop(guard);
        self.wake.notify_all();
    }

    /// Waits until it may be performed.
    pub(super) fn wait_until_open(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_open() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stacks that it has not come to the end of, and one if there is a requester that waits for them.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire) % ASLEEP
    }

    /// A stack has frames left for the requester to go through.
    pub(super) fn leave_rest(&self) {
        self.work.store(true, Ordering::Release);
        // A read-modify-write: if it comes before the requester's own, that sees the work and does not sleep.
        if self.waiting.fetch_add(0, Ordering::AcqRel) >= ASLEEP {
            self.wake_requester();
        }
    }

    fn wake_requester(&self) {
        // The lock keeps the requester from missing this between its look and its sleep.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Completes the operation on behalf of a requester that sleeps, if all that is missing is the
    /// acknowledgement that the caller is about to make, and the operation allows it.
    pub(super) fn complete_if_last(&self) {
        // Nobody else acknowledges any more, and the requester waits for it. Acquire: what the others have done
        // before they acknowledged is seen.
        let last = self.waiting.load(Ordering::Acquire) == ASLEEP + 2;
        if last && self.operation.completes_briefly() {
            self.operation.complete();
            self.completed.store(true, Ordering::Relaxed);
        }
    }

    /// It has come to the end of a stack, or the requester does not wait any more.
    pub(super) fn acknowledge(&self) {
        let before = self.waiting.fetch_sub(1, Ordering::AcqRel);
        if before == ASLEEP + 2 {
            self.wake_requester();
        } else if before == 1 && !self.completed.load(Ordering::Relaxed) {
            self.operation.complete();
        }
    }

    /// Waits until it has come to the end of all stacks, those of these mutators, and goes through what these
    /// leave.
    pub(super) fn wait(self: &Arc<Self>, mutators: &[Arc<Mutator<S>>]) {
        let is_over = || self.waiting.load(Ordering::Acquire) == 1;
        let has_work = || self.work.load(Ordering::Acquire);
        while !is_over() {
            if has_work() {
                // Before the looks: what comes later is seen the next time.
                self.work.swap(false, Ordering::AcqRel);
                for mutator in mutators {
                    while mutator.go_on(self) {}
                }
                continue;
            }
            let delivered = self.delivered.load(Ordering::Relaxed);
            if !self.left_to_mutators {
                if is_soon(|| is_over() || has_work()) {
                    continue;
                }
            } else if !delivered {
                // Without the processor of this thread mutators come sooner.
                self.sleep(Some(A_TURN), has_work);
            }
            if is_over() || has_work() {
                continue;
            }
            match delivered {
                true => self.sleep(None, has_work),
                false => self.deliver(mutators),
            }
        }
    }

    /// Sleeps until all mutators have acknowledged or there is work, or for so long.
    fn sleep(&self, limit: Option<Duration>, has_work: impl Fn() -> bool) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(ASLEEP, Ordering::AcqRel);
        while self.waiting.load(Ordering::Acquire) != ASLEEP + 1 && !has_work() {
            match limit {
                None => guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    drop(wait_briefly(&self.wake, guard, limit));
                    break;
                }
            }
        }
        self.waiting.fetch_sub(ASLEEP, Ordering::AcqRel);
    }
}

/// Whether no mutator is listed twice.
fn is_each_once<S: Stack>(mutators: &[Arc<Mutator<S>>]) -> bool {
    let mut seen = HashSet::new();
    mutators.iter().all(|mutator| seen.insert(Arc::as_ptr(mutator)))
}

//! Handshakes that overlap, and such whose requester or stack goes away in the middle.

use midair_osr::handshake::{Handshake, Mutator, Operation, Stack, State, Stepwise, request};
use midair_watchdog::Watchdog;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A stack without frames.
#[derive(Default)]
struct NoFrames {
    polled: AtomicBool,
    served: AtomicUsize,
}

impl Stack for NoFrames {
    type Cursor = usize;
    type Records = ();
    const AT_STOP: usize = 1;
    const AT_POLL: usize = 1;
    const AT_ONCE: usize = 1;

    unsafe fn arm(this: *const NoFrames) {
        // SAFETY: it is alive.
        unsafe { (*this).polled.store(true, Ordering::Release) };
    }

    unsafe fn innermost(_: *const NoFrames) -> Option<usize> {
        None
    }

    unsafe fn records<'a>(_: *mut NoFrames) -> &'a mut () {
        unreachable!("there is no frame")
    }

    unsafe fn divide(_: *mut NoFrames, _: usize) {
        unreachable!("there is no frame")
    }

    unsafe fn unite(_: *mut NoFrames, _: ()) {
        unreachable!("it is never divided")
    }
}

/// Counts the stacks that it is done to.
#[derive(Default)]
struct Count {
    completed: AtomicUsize,
}

impl Operation<NoFrames> for Count {
    unsafe fn perform(&self, stack: *mut NoFrames) {
        // SAFETY: as the caller vouches.
        unsafe { self.stop(stack) };
    }

    fn complete(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Stepwise<NoFrames> for Count {
    unsafe fn stop(&self, stack: *mut NoFrames) {
        // SAFETY: the stack is alive.
        unsafe { (*stack).served.fetch_add(1, Ordering::Relaxed) };
    }

    unsafe fn step(&self, _: &mut (), _: usize, _: usize) -> Option<usize> {
        unreachable!("there is no frame")
    }
}

/// One guest is outside, one in the host, and one runs: each is served once, and the requester ends its part.
#[test]
fn a_change_that_panics_leaves_nobody_waiting() {
    let _watchdog = Watchdog::start();
    let stacks: [NoFrames; 3] = Default::default();
    let mutators: Vec<Arc<Mutator<NoFrames>>> = stacks
        .iter()
        .map(|stack| {
            let mutator = Arc::new(Mutator::new());
            // SAFETY: it is detached below; everything that is used meanwhile is atomic or the mutator's own.
            unsafe { mutator.attach(std::ptr::from_ref(stack).cast_mut()) };
            mutator
        })
        .collect();
    // SAFETY: here and below, the mutators of this thread, whose stacks stand still.
    unsafe {
        mutators[1].enter();
        mutators[1].leave(State::Host);
        mutators[2].enter();
    }
    let operation = Arc::new(Count::default());
    let panicked = std::thread::scope(|scope| {
        let (running, stack) = (&mutators[2], &stacks[2]);
        scope.spawn(move || {
            while !stack.polled.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            // SAFETY: the mutator is this thread's from now on, and its stack stands still.
            unsafe {
                running.serve();
                running.leave(State::Outside);
            }
        });
        let begin = || {
            let change = || panic!("the change fails");
            Handshake::begin_around(mutators.clone(), operation.clone(), change).wait();
        };
        catch_unwind(AssertUnwindSafe(begin)).is_err()
    });
    assert!(panicked);
    for (stack, mutator) in stacks.iter().zip(&mutators) {
        assert_eq!(stack.served.load(Ordering::Relaxed), 1);
        assert!(!mutator.is_requested());
        mutator.detach();
    }
    assert_eq!(operation.completed.load(Ordering::Relaxed), 1);
}

fn attached(stack: &NoFrames) -> Arc<Mutator<NoFrames>> {
    let mutator = Arc::new(Mutator::new());
    // SAFETY: tests detach it; everything that is used meanwhile is atomic or the mutator's own.
    unsafe { mutator.attach(std::ptr::from_ref(stack).cast_mut()) };
    mutator
}

/// The first request waits for two guests; the second one, for one of them, ends while the first still waits.
#[test]
fn of_two_overlapping_requests_the_second_may_end_first() {
    let _watchdog = Watchdog::start();
    let stacks: [NoFrames; 2] = Default::default();
    let mutators: Vec<_> = stacks.iter().map(attached).collect();
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let completed = |operation: &Count| operation.completed.load(Ordering::Relaxed);
    // SAFETY: here and below, the mutators of this thread, whose stacks stand still.
    unsafe {
        mutators[0].enter();
        mutators[1].enter();
    }
    let first_progress = request(&mutators, first.clone());
    let second_progress = request(&mutators[1..], second.clone());
    assert_eq!((first_progress.waiting(), second_progress.waiting()), (2, 1));
    assert!(stacks.iter().all(|stack| stack.polled.load(Ordering::Acquire)));
    // SAFETY: as above.
    unsafe { mutators[1].serve() };
    assert_eq!((first_progress.waiting(), second_progress.waiting()), (1, 0));
    assert_eq!((completed(&first), completed(&second)), (0, 1));
    // SAFETY: as above.
    unsafe { mutators[0].leave(State::Outside) };
    assert_eq!((completed(&first), completed(&second)), (1, 1));
    assert_eq!(first_progress.waiting(), 0);
    assert_eq!(stacks.map(|stack| stack.served.into_inner()), [1, 2]);
    mutators.iter().for_each(|mutator| mutator.detach());
}

/// A stack that goes away acknowledges, before it has been asked to poll and after, and while the request must not
/// be performed yet.
#[test]
fn a_stack_that_goes_away_in_any_phase_of_a_request_keeps_nobody_waiting() {
    let _watchdog = Watchdog::start();
    // It goes before the request.
    let stack = NoFrames::default();
    let mutator = attached(&stack);
    mutator.detach();
    let operation = Arc::new(Count::default());
    Handshake::begin(vec![mutator.clone()], operation.clone()).wait();
    assert_eq!(operation.completed.load(Ordering::Relaxed), 1);
    // It goes when it has been asked to poll and has not polled.
    let stack = NoFrames::default();
    let mutator = attached(&stack);
    // SAFETY: the mutator of this thread, whose stack stands still.
    unsafe { mutator.enter() };
    let operation = Arc::new(Count::default());
    let progress = request(std::slice::from_ref(&mutator), operation.clone());
    assert_eq!(progress.waiting(), 1);
    // SAFETY: as above.
    unsafe { mutator.leave(State::Outside) };
    mutator.detach();
    assert_eq!((progress.waiting(), operation.completed.load(Ordering::Relaxed)), (0, 1));
    // It goes during the change, before which the operation must not be performed: outside, nobody waits for it.
    let stack = NoFrames::default();
    let mutator = attached(&stack);
    let operation = Arc::new(Count::default());
    let change = || mutator.detach();
    Handshake::begin_around(vec![mutator.clone()], operation.clone(), change).wait();
    assert_eq!(operation.completed.load(Ordering::Relaxed), 1);
    assert_eq!(stack.served.load(Ordering::Relaxed), 0);
    assert!(!mutator.is_requested());
}

/// Who drops a handshake instead of waiting for it has waited: the stack is not touched afterwards.
#[test]
fn a_handshake_that_is_dropped_waits_for_its_end() {
    let _watchdog = Watchdog::start();
    let stack = NoFrames::default();
    let mutator = attached(&stack);
    // SAFETY: the mutator of the thread below from then on; its stack stands still.
    unsafe { mutator.enter() };
    let operation = Arc::new(Count::default());
    std::thread::scope(|scope| {
        let (mutator, stack) = (&mutator, &stack);
        scope.spawn(move || {
            while !stack.polled.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            // SAFETY: as above.
            unsafe { mutator.leave(State::Outside) };
        });
        drop(Handshake::begin_stepwise(vec![mutator.clone()], operation.clone()));
        assert_eq!(operation.completed.load(Ordering::Relaxed), 1);
        assert_eq!(stack.served.load(Ordering::Relaxed), 1);
    });
    mutator.detach();
}

//! A handshake whose requester panics.

use midair_osr::handshake::{Handshake, Mutator, Operation, Stack, State, Stepwise};
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

//! What the handshake promises, whatever the threads do when: code is freed only when no mutator can be
//! running it or return into it, and nobody waits for ever.
//!
//! A model's stack has a few frames, suspended in old code. The requester links new code, has all frames in
//! the old one redirected, and frees it. Running old code is looking at its cell; freeing it is writing
//! there, so that `loom` finds both what happens too early and what is not ordered.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;
use midair_model::handshake::{Handshake, Mutator, Operation, Stack, State, Stepwise};
use midair_model::sync::{Fault, build_in, set_processors};
use std::sync::Arc;

/// Code that is linked until it is replaced.
struct Code {
    linked: AtomicBool,
    freed: UnsafeCell<bool>,
}

// SAFETY: a cell of the model, whose uses it checks.
unsafe impl Sync for Code {}

impl Code {
    fn new() -> Arc<Code> {
        Arc::new(Code { linked: AtomicBool::new(true), freed: UnsafeCell::new(false) })
    }

    /// A mutator runs it, between two safepoints.
    fn run(&self) {
        // SAFETY: nobody writes there, if the protocol is right; if not, the model says so.
        self.freed.with(|freed| assert!(!unsafe { *freed }, "freed code runs"));
    }

    /// A mutator calls the function: the code, if it is linked.
    fn call(&self) {
        if self.linked.load(Ordering::Relaxed) {
            self.run();
        }
    }
}

/// In place of the code of a frame whose memory is used for something else.
const DROPPED: usize = usize::MAX;

/// Which code a frame is suspended in, and what its return address has become.
#[derive(Clone, Copy)]
struct Frame {
    code: usize,
    lands: bool,
}

/// A stack of frames. Cursors are their numbers, from the innermost one, 0, outwards.
struct Frames {
    poll: AtomicBool,
    frames: Vec<UnsafeCell<Frame>>,
    innermost: UnsafeCell<usize>,
    records: UnsafeCell<Vec<usize>>,
    /// The frame with the barrier.
    barrier: UnsafeCell<Option<usize>>,
}

impl Stack for Frames {
    type Cursor = usize;
    /// Frames that move when they are returned to.
    type Records = Vec<usize>;
    const AT_STOP: usize = 1;
    const AT_POLL: usize = 1;
    const AT_ONCE: usize = 1;

    unsafe fn arm(this: *const Frames) {
        // SAFETY: it is alive.
        unsafe { (*this).poll.store(true, Ordering::Release) };
    }

    unsafe fn innermost(this: *const Frames) -> Option<usize> {
        // SAFETY: it is alive and stands still.
        unsafe {
            let innermost = (*this).innermost.with(|innermost| *innermost);
            let frames = &(*this).frames;
            (innermost < frames.len()).then_some(innermost)
        }
    }

    unsafe fn records<'a>(this: *mut Frames) -> &'a mut Vec<usize> {
        // SAFETY: as the caller vouches.
        unsafe { (*this).records.with_mut(|records| &mut *records) }
    }

    unsafe fn divide(this: *mut Frames, at: usize) -> Vec<usize> {
        // SAFETY: as the caller vouches.
        unsafe {
            (&(*this).frames)[at].with_mut(|frame| {
                assert_ne!((*frame).code, DROPPED, "a barrier is put where no frame is any more");
                (*frame).lands = true;
            });
            (*this).barrier.with_mut(|barrier| *barrier = Some(at));
            let records = Frames::records(this);
            let outer = records.iter().copied().filter(|&frame| frame > at).collect();
            records.retain(|&frame| frame <= at);
            outer
        }
    }

    unsafe fn unite(this: *mut Frames, outer: Vec<usize>) {
        // SAFETY: as the caller vouches.
        unsafe {
            Frames::records(this).extend(outer);
            (*this).barrier.with_mut(|barrier| *barrier = None);
        }
    }
}

/// A mutator with its stack, which is suspended in these codes.
struct Guest {
    stack: Box<Frames>,
    mutator: Arc<Mutator<Frames>>,
}

impl Guest {
    /// In state `Managed`, if there are frames.
    fn new(codes: &[usize]) -> Guest {
        let frame = |&code: &usize| UnsafeCell::new(Frame { code, lands: false });
        let stack = Box::new(Frames {
            poll: AtomicBool::new(false),
            frames: codes.iter().map(frame).collect(),
            innermost: UnsafeCell::new(0),
            records: UnsafeCell::default(),
            barrier: UnsafeCell::default(),
        });
        let mutator = Arc::new(Mutator::new());
        let pointer = std::ptr::from_ref(&*stack).cast_mut();
        // SAFETY: the stack is detached before it is dropped, and all of it is in cells.
        unsafe { mutator.attach(pointer) };
        let guest = Guest { stack, mutator };
        if !codes.is_empty() {
            guest.enter();
        }
        guest
    }

    fn pointer(&self) -> *mut Frames {
        std::ptr::from_ref(&*self.stack).cast_mut()
    }

    fn enter(&self) {
        // SAFETY: this is the only thread that the mutator belongs to, and its stack stands still.
        unsafe { self.mutator.enter() };
    }

    fn leave(&self, to: State) {
        // SAFETY: as above.
        unsafe { self.mutator.leave(to) };
    }

    fn poll(&self) {
        if self.stack.poll.load(Ordering::Relaxed) {
            if self.mutator.is_requested() {
                // SAFETY: as above.
                unsafe { self.mutator.serve() };
            } else if self.mutator.can_help() {
                // SAFETY: as above.
                unsafe { self.mutator.help(self.pointer()) };
            }
            self.stack.poll.store(false, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if self.mutator.is_requested() || self.mutator.can_help() {
                self.mutator.arm();
            }
        }
    }

    /// Returns into the innermost frame, and runs its code unless it has been redirected.
    fn ret(&self, codes: &[Arc<Code>]) {
        self.ret_over(codes, true);
    }

    /// The same; does not stop at the barrier if it shall not.
    fn ret_over(&self, codes: &[Arc<Code>], cross: bool) {
        let stack = &self.stack;
        // SAFETY: cells of this thread's stack, which nobody uses meanwhile; if that is wrong, the model
        // says so.
        unsafe {
            let at = stack.innermost.with(|innermost| *innermost);
            let frame = stack.frames[at].with(|frame| *frame);
            let mut moves = false;
            if frame.lands {
                if cross && stack.barrier.with(|barrier| *barrier) == Some(at) {
                    self.mutator.cross(self.pointer());
                }
                moves = stack.records.with(|records| (*records).contains(&at));
            }
            stack.innermost.with_mut(|innermost| *innermost = at + 1);
            if !moves {
                codes[frame.code].run();
            }
        }
    }

    /// Drops so many frames, as a trap does.
    fn unwind(&self, count: usize) {
        // SAFETY: as in `ret`.
        unsafe {
            let at = self.stack.innermost.with(|innermost| *innermost) + count;
            if self.stack.barrier.with(|barrier| *barrier).is_some_and(|barrier| barrier < at) {
                let outer = (at < self.stack.frames.len()).then_some(at);
                self.mutator.unwind(self.pointer(), outer);
            }
            self.stack.innermost.with_mut(|innermost| *innermost = at);
            // The memory of the frames is used for something else.
            for frame in &self.stack.frames[..at] {
                frame.with_mut(|frame| (*frame).code = DROPPED);
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.mutator.detach();
    }
}

// SAFETY: cells of the model, whose uses it checks.
unsafe impl Send for Guest {}

/// Frees code when no frame is left in it.
struct Retirement {
    code: Arc<Code>,
    /// Its number.
    number: usize,
    /// The stack that is walked: the model's records know nothing of their frames.
    stack: *const Frames,
    completed: AtomicBool,
}

// SAFETY: cells of the model, whose uses it checks.
unsafe impl Send for Retirement {}
// SAFETY: as above.
unsafe impl Sync for Retirement {}

impl Operation<Frames> for Retirement {
    unsafe fn perform(&self, stack: *mut Frames) {
        // SAFETY: as the caller vouches.
        unsafe {
            if let Some(innermost) = Frames::innermost(stack) {
                self.step(Frames::records(stack), innermost, usize::MAX);
            }
        }
    }

    fn completes_briefly(&self) -> bool {
        true
    }

    fn complete(&self) {
        assert!(!self.completed.swap(true, Ordering::Relaxed), "completed twice");
        // SAFETY: nobody looks there any more, if the protocol is right; if not, the model says so.
        self.code.freed.with_mut(|freed| unsafe { *freed = true });
    }
}

impl Stepwise<Frames> for Retirement {
    unsafe fn step(&self, records: &mut Vec<usize>, from: usize, most: usize) -> Option<usize> {
        // SAFETY: the stack outlives the model's requests.
        let frames = unsafe { &(*self.stack).frames };
        let end = frames.len().min(from.saturating_add(most));
        for (number, frame) in frames.iter().enumerate().take(end).skip(from) {
            // SAFETY: the frames stand still, if the protocol is right; if not, the model says so.
            let code = frame.with(|frame| unsafe { (*frame).code });
            assert_ne!(code, DROPPED, "a frame is gone through after it was dropped");
            if code == self.number && !records.contains(&number) {
                // What is known of the frame is found by the code's address, while the code is there.
                self.code.run();
                // SAFETY: as above.
                frame.with_mut(|frame| unsafe { (*frame).lands = true });
                records.push(number);
            }
        }
        (end < frames.len()).then_some(end)
    }
}

/// Explores a model, with so many switches to other threads as a thread would not have made by itself: where the
/// requester goes through frames, and where processors are so few that guests do so.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let model = Arc::new(model);
    for processors in [usize::MAX, 1] {
        set_processors(processors);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        let model = model.clone();
        builder.check(move || model());
    }
}

/// Replaces and frees code that a guest may run.
fn retire(code: &Arc<Code>, number: usize, guest: &Guest) -> impl FnOnce() + Send + 'static {
    let mutators = vec![guest.mutator.clone()];
    let retirement = Arc::new(Retirement {
        code: code.clone(),
        number,
        stack: guest.pointer(),
        completed: AtomicBool::new(false),
    });
    move || {
        retirement.code.linked.store(false, Ordering::Relaxed);
        Handshake::begin_stepwise(mutators, retirement).wait();
    }
}

/// A guest that is called from outside, twice, while its code is replaced.
fn called_from_outside() {
    explore(3, || {
        let code = Code::new();
        let guest = Guest::new(&[]);
        let requester = thread::spawn(retire(&code, 0, &guest));
        for _ in 0..2 {
            guest.enter();
            code.call();
            guest.poll();
            code.call();
            guest.leave(State::Outside);
        }
        requester.join().unwrap();
    });
}

/// A guest that goes into the host and comes back to a frame of code that is replaced.
fn comes_back_from_the_host() {
    explore(3, || {
        let codes = [Code::new()];
        let guest = Guest::new(&[0, 0]);
        let requester = thread::spawn(retire(&codes[0], 0, &guest));
        codes[0].call();
        guest.leave(State::Host);
        guest.enter();
        guest.ret(&codes);
        codes[0].call();
        guest.ret(&codes);
        guest.leave(State::Outside);
        requester.join().unwrap();
    });
}

#[test]
fn code_is_not_freed_under_a_guest_that_is_called() {
    called_from_outside();
}

#[test]
fn code_is_not_freed_under_a_guest_that_comes_back_from_the_host() {
    comes_back_from_the_host();
}

#[test]
#[should_panic]
fn without_the_light_fence_a_called_guest_runs_freed_code() {
    build_in(Fault::NoLightFence);
    called_from_outside();
}

#[test]
#[should_panic]
fn without_the_heavy_fence_a_called_guest_runs_freed_code() {
    build_in(Fault::NoHeavyFence);
    called_from_outside();
}

#[test]
#[should_panic]
fn without_the_light_fence_a_guest_from_the_host_runs_freed_code() {
    build_in(Fault::NoLightFence);
    comes_back_from_the_host();
}

/// A guest at a poll completes for a requester that sleeps, in some run; and the requester itself in others.
#[test]
fn a_guest_completes_for_a_requester_that_sleeps() {
    static BY_GUEST: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    static BY_REQUESTER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    struct Completed(thread::ThreadId);
    impl Operation<Frames> for Completed {
        unsafe fn perform(&self, _: *mut Frames) {}

        fn completes_briefly(&self) -> bool {
            true
        }

        fn complete(&self) {
            let by_guest = thread::current().id() == self.0;
            let count = if by_guest { &BY_GUEST } else { &BY_REQUESTER };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    explore(3, || {
        let guest = Guest::new(&[0]);
        let mutators = vec![guest.mutator.clone()];
        let operation = Arc::new(Completed(thread::current().id()));
        let requester = thread::spawn(move || Handshake::begin(mutators, operation).wait());
        guest.poll();
        guest.leave(State::Outside);
        requester.join().unwrap();
    });
    assert!(BY_GUEST.load(Ordering::Relaxed) > 0 && BY_REQUESTER.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_guest_that_waits_in_the_host_delays_nobody() {
    explore(3, || {
        let codes = [Code::new()];
        let guest = Guest::new(&[0, 0]);
        let retire = retire(&codes[0], 0, &guest);
        guest.leave(State::Host);
        // The host function returns when the code has been freed.
        thread::spawn(retire).join().unwrap();
        guest.enter();
        guest.ret(&codes);
        guest.ret(&codes);
        guest.leave(State::Outside);
    });
}

/// A guest with frames left for later goes into the host, where it cannot go on with them.
#[test]
fn a_guest_that_leaves_amid_its_frames_delays_nobody() {
    explore(3, || {
        let codes = [Code::new()];
        let guest = Guest::new(&[0; 4]);
        let requester = thread::spawn(retire(&codes[0], 0, &guest));
        guest.poll();
        guest.leave(State::Host);
        // The host function returns when the code has been freed.
        requester.join().unwrap();
        guest.enter();
        for _ in 0..4 {
            guest.ret(&codes);
        }
        guest.leave(State::Outside);
    });
}

/// Counts, over all runs of a model, by whom steps were made that lie outside the first one.
struct Steps {
    guest: thread::ThreadId,
    by_guest: &'static std::sync::atomic::AtomicUsize,
    by_requester: &'static std::sync::atomic::AtomicUsize,
}

impl Operation<Frames> for Steps {
    unsafe fn perform(&self, _: *mut Frames) {}
}

impl Stepwise<Frames> for Steps {
    unsafe fn step(&self, _: &mut Vec<usize>, from: usize, most: usize) -> Option<usize> {
        if from >= 2 {
            let by_guest = thread::current().id() == self.guest;
            let count = if by_guest { self.by_guest } else { self.by_requester };
            count.fetch_add(1, Ordering::Relaxed);
        }
        (from + most < 4).then_some(from + most)
    }
}

#[test]
fn a_guest_at_its_polls_goes_through_its_frames_where_processors_are_few() {
    use std::sync::atomic::AtomicUsize;
    static BY_GUEST: AtomicUsize = AtomicUsize::new(0);
    static BY_REQUESTER: AtomicUsize = AtomicUsize::new(0);
    explore(3, || {
        let guest = Guest::new(&[0; 4]);
        let mutators = vec![guest.mutator.clone()];
        let steps = Steps {
            guest: thread::current().id(),
            by_guest: &BY_GUEST,
            by_requester: &BY_REQUESTER,
        };
        let requester =
            thread::spawn(move || Handshake::begin_stepwise(mutators, Arc::new(steps)).wait());
        for _ in 0..3 {
            guest.poll();
        }
        guest.leave(State::Host);
        requester.join().unwrap();
        guest.enter();
        guest.unwind(4);
        guest.leave(State::Outside);
    });
    assert!(BY_GUEST.load(Ordering::Relaxed) > 0, "a guest goes on at its polls");
    assert!(BY_REQUESTER.load(Ordering::Relaxed) > 0, "a requester where the guest has left");
}

/// The guest returns over the barrier while the requester goes through the frames outside it.
#[test]
fn a_guest_returns_over_the_barrier() {
    for codes in [[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 1, 1, 1]] {
        explore(3, move || {
            let all = [Code::new(), Code::new()];
            let guest = Guest::new(&codes);
            let requester = thread::spawn(retire(&all[0], 0, &guest));
            guest.poll();
            for _ in 0..codes.len() {
                guest.ret(&all);
            }
            guest.leave(State::Outside);
            requester.join().unwrap();
        });
    }
}

#[test]
#[should_panic]
fn a_guest_that_ignores_the_barrier_meets_the_requester() {
    explore(2, move || {
        let codes = [Code::new()];
        let guest = Guest::new(&[0; 4]);
        let requester = thread::spawn(retire(&codes[0], 0, &guest));
        guest.poll();
        for _ in 0..4 {
            guest.ret_over(&codes, false);
        }
        guest.leave(State::Outside);
        requester.join().unwrap();
    });
}

#[test]
fn a_guest_unwinds_over_the_barrier() {
    for dropped in [2, 3, 4] {
        explore(3, move || {
            let codes = [Code::new()];
            let guest = Guest::new(&[0; 4]);
            let requester = thread::spawn(retire(&codes[0], 0, &guest));
            guest.poll();
            guest.unwind(dropped);
            for _ in dropped..4 {
                guest.ret(&codes);
            }
            guest.leave(State::Outside);
            requester.join().unwrap();
        });
    }
}

#[test]
fn a_guest_walks_over_its_frames_under_way() {
    explore(3, || {
        let codes = [Code::new()];
        let guest = Guest::new(&[0; 3]);
        let requester = thread::spawn(retire(&codes[0], 0, &guest));
        guest.poll();
        // SAFETY: the guest's frames stand still.
        unsafe {
            guest.mutator.stopped(guest.pointer(), |stack| {
                for frame in &(*stack).frames {
                    frame.with_mut(|frame| (*frame).code += 0);
                }
            });
        }
        for _ in 0..3 {
            guest.ret(&codes);
        }
        guest.leave(State::Outside);
        requester.join().unwrap();
    });
}

/// Notes on the stack that it has been performed: as a record of a frame that does not exist.
struct Note;

const NOTED: usize = usize::MAX;

impl Operation<Frames> for Note {
    unsafe fn perform(&self, stack: *mut Frames) {
        // SAFETY: as the caller vouches.
        unsafe { self.stop(stack) };
    }
}

impl Stepwise<Frames> for Note {
    unsafe fn stop(&self, stack: *mut Frames) {
        // SAFETY: as the caller vouches.
        unsafe { Frames::records(stack).push(NOTED) };
    }

    unsafe fn step(&self, _: &mut Vec<usize>, _: usize, _: usize) -> Option<usize> {
        None
    }
}

/// What a guest sees of a change that an operation belongs to: whether it has changed, and been noted.
#[test]
fn a_guest_at_a_poll_sees_a_change_and_its_operation_or_neither() {
    explore(3, || {
        let changed = Arc::new(AtomicBool::new(false));
        let guest = Guest::new(&[]);
        let requester = {
            let (mutators, changed) = (vec![guest.mutator.clone()], changed.clone());
            thread::spawn(move || {
                let change = || changed.store(true, Ordering::Release);
                Handshake::begin_around(mutators, Arc::new(Note), change).wait();
            })
        };
        let noted = || {
            // SAFETY: the records are this thread's while it is in managed code.
            unsafe { guest.stack.records.with(|records| (*records).contains(&NOTED)) }
        };
        guest.enter();
        for _ in 0..2 {
            let seen = changed.load(Ordering::Acquire);
            // New code polls when it is called.
            guest.poll();
            assert!(noted() || !seen, "changed, but not noted");
            assert!(changed.load(Ordering::Acquire) || !noted(), "noted before it changed");
        }
        guest.leave(State::Outside);
        requester.join().unwrap();
    });
}

#[test]
fn two_requesters_serve_one_guest() {
    explore(2, || {
        let codes = [Code::new(), Code::new()];
        let guest = Guest::new(&[0, 1, 0]);
        let requesters = [0, 1].map(|number| thread::spawn(retire(&codes[number], number, &guest)));
        guest.poll();
        guest.ret(&codes);
        guest.poll();
        guest.ret(&codes);
        guest.ret(&codes);
        guest.leave(State::Outside);
        for requester in requesters {
            requester.join().unwrap();
        }
    });
}

#[test]
fn two_guests_are_served_by_one_request() {
    explore(2, || {
        let codes = [Code::new()];
        // The second one is only called: frames are walked on the first.
        let guests = [Guest::new(&[0, 0]), Guest::new(&[])];
        let mutators = guests.iter().map(|guest| guest.mutator.clone()).collect();
        let stack = guests[0].pointer();
        let [first, second] = guests;
        let retirement = Arc::new(Retirement {
            code: codes[0].clone(),
            number: 0,
            stack,
            completed: AtomicBool::new(false),
        });
        let code = codes[0].clone();
        let other = thread::spawn(move || {
            second.enter();
            code.call();
            second.leave(State::Outside);
        });
        let requester = thread::spawn(move || {
            retirement.code.linked.store(false, Ordering::Relaxed);
            Handshake::begin_stepwise(mutators, retirement).wait();
        });
        first.poll();
        first.ret(&codes);
        first.ret(&codes);
        first.leave(State::Outside);
        other.join().unwrap();
        requester.join().unwrap();
    });
}

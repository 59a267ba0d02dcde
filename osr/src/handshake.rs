//! The handshake: something is done to every stack of a set exactly once, at a moment at which the stack's
//! frames stand still.
//!
//! A [`Mutator`] stands for a stack and whoever runs on it. It is in one of three states:
//!
//! ```text
//!              enter                    leave to the host
//!   Outside ----------->  Managed  ----------------------->  Host
//!           <-----------  frames    <-----------------------  frames are suspended
//!              leave      change             enter            and stand still
//! ```
//!
//! A requester publishes its [`Operation`] to all mutators, executes one heavy fence, and then looks at
//! each state. A mutator stores its state, executes a light fence, and looks whether something is requested.
//! So at least one of the two sees what the other one wrote:
//!
//! * The requester sees `Outside` or `Host`: it performs the operation itself, with the mutator's lock held.
//!   If the mutator wants back in meanwhile, it sees the request, and waits for the lock.
//! * The requester sees `Managed`: it raises what managed code polls. The mutator performs the operation at
//!   its next poll, or on its way out.
//!
//! Both may see the other; then the lock decides who finds the operation in the list. The hot ways of a
//! mutator are a store and a load: no lock, no read-modify-write, and no fence of the processor.
//!
//! The heavy fence interrupts every processor that runs the process, which costs each guest more than what is
//! done to it. So a requester that sees `Managed` everywhere does without at first, for then it does nothing
//! itself but raise what is polled. Only if somebody has not come after a moment, it may have left without
//! seeing the request, or have lowered what was raised. Then the fence is made up for, and each state is looked
//! at again.
//!
//! A requester that waits does not wait for long: managed code polls, and a mutator in the host is served
//! without it. A requester that is itself in `Managed` (at a poll) must not wait: two of them would wait for
//! each other. It makes a [`request`] instead, whose last mutator completes it.
//!
//! # Barriers
//!
//! An operation that goes through all frames of a deep stack need not stop its mutator for so long. If it is
//! [`Stepwise`], only the innermost frames are gone through at the stop. On the next one a *barrier* is put:
//!
//! ```text
//!   innermost   frames that have been gone through     the mutator's: it runs on, calls, returns
//!               ------- the frame with the barrier ---------------------------------------------
//!               frames that have been gone through     the requester's: looked at and changed with
//!               ------- a task's cursor --------        the mutator's lock held, a few at a time
//!   outermost   frames that have not
//! ```
//!
//! What is known of the frames ([`Stack::Records`]) is divided in the same way. A mutator that returns into
//! the frame with the barrier [crosses](Mutator::cross) it: it takes the lock, and puts the barrier further
//! out, where nobody has been yet. It also settles with the requester before it drops frames outside the
//! barrier ([`Mutator::unwind`]) or walks over them ([`Mutator::settle`]). Several operations can be under
//! way on one stack, each with a cursor of its own; the barrier is at the innermost.

#[path = "handshake/requester.rs"]
mod requester;

pub use requester::{Handshake, HandshakeProgress, request};

use crate::sync::{
    AtomicBool, AtomicU8, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, full_fence,
    heavy_fence, is_soon, light_fence, prepare_fences, symmetric, yield_now,
};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Where a mutator is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// There are no frames.
    Outside,
    /// Managed code runs, or the runtime on its behalf.
    Managed,
    /// There are frames, and they are suspended: the host runs.
    Host,
}

/// A stack that other threads make requests to.
pub trait Stack {
    /// Where a walk over the frames goes on. Ordered from the innermost frame outwards.
    type Cursor: Copy + Ord + Send;
    /// What is known of frames that an operation has gone through.
    type Records: Default + Send;
    /// How many frames an operation goes through while its mutator stands still.
    const AT_STOP: usize;
    /// How many frames a requester goes through before a mutator that waits for it is let in.
    const AT_ONCE: usize;

    /// Makes the managed code of this stack poll soon. Called by any thread.
    ///
    /// The stack's own thread lowers what is polled at safepoints only, and executes a sequentially consistent
    /// fence before it looks whether something has been requested meanwhile. So a request that is published,
    /// with such a fence, before this is called is either seen there, or what is raised here stays.
    ///
    /// # Safety
    /// `this` must be alive. Everything but what is polled may be in use by the stack's own thread.
    unsafe fn arm(this: *const Self);

    /// A walk from the innermost frame on; `None` if there are no frames.
    ///
    /// # Safety
    /// `this` must be alive and stand still: its own thread is this one, at a safepoint, or is kept out of
    /// managed code.
    unsafe fn innermost(this: *const Self) -> Option<Self::Cursor>;

    /// The stack's records, but for those that have been divided off.
    ///
    /// # Safety
    /// `this` must be alive and its records not be in use meanwhile.
    unsafe fn records<'a>(this: *mut Self) -> &'a mut Self::Records;

    /// Puts the barrier on the frame at `at`, which exists, and returns the records of the frames outside it.
    ///
    /// # Safety
    /// As for [`Stack::records`], and the stack's own thread is this one or kept out of managed code.
    unsafe fn divide(this: *mut Self, at: Self::Cursor) -> Self::Records;

    /// Undoes [`Stack::divide`], but for the frame's mark: a mutator crosses where there is nothing to cross.
    ///
    /// # Safety
    /// As for [`Stack::divide`].
    unsafe fn unite(this: *mut Self, outer: Self::Records);
}

/// What is done to each stack.
pub trait Operation<S: Stack>: Send + Sync {
    /// Does it to one stack.
    ///
    /// # Safety
    /// The frames of the stack stand still until this returns, and nothing else uses the stack but for what
    /// is polled: the thread that owns it is this one, at a safepoint, or is kept out of managed code.
    unsafe fn perform(&self, stack: *mut S);

    /// Called each time that managed code has stood still for this operation, or would have if it had come
    /// back from the host at the wrong moment; with the time.
    fn paused(&self, time: Duration) {
        let _ = time;
    }

    /// Called once, when it has been done to all stacks: by the thread that waits, or if none does, by the
    /// last one that performed it.
    fn complete(&self) {}
}

/// An operation that goes through the frames of a stack step by step.
pub trait Stepwise<S: Stack>: Operation<S> {
    /// Called once for each stack, before the first step.
    ///
    /// # Safety
    /// As for [`Operation::perform`].
    unsafe fn stop(&self, stack: *mut S) {
        let _ = stack;
    }

    /// Goes through at most so many frames. Answers where to go on; `None` if it has come to the end.
    ///
    /// # Safety
    /// The frames from the cursor outwards stand still, `records` are theirs (and perhaps of frames inside
    /// them too), and nothing else uses these meanwhile.
    unsafe fn step(
        &self,
        records: &mut S::Records,
        from: S::Cursor,
        most: usize,
    ) -> Option<S::Cursor>;
}

/// An operation under way.
struct Request<S: Stack> {
    operation: Arc<dyn Operation<S>>,
    /// The same, if it is to be done step by step.
    steps: Option<Arc<dyn Stepwise<S>>>,
    /// Mutators that have not acknowledged, and one for the requester itself. [`SLEEPING`] is added while
    /// the requester sleeps.
    waiting: AtomicUsize,
    /// Nobody performs it before this is set: see [`Handshake::begin_around`].
    open: AtomicBool,
    /// A heavy fence has been executed since it was published, and mutators that were not running managed
    /// code then have been served. Written and read by the requester only.
    delivered: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

const SLEEPING: usize = 1 << 32;

impl<S: Stack> Request<S> {
    fn new(
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
    fn publish(
        operation: Arc<dyn Operation<S>>,
        steps: Option<Arc<dyn Stepwise<S>>>,
        mutators: &[Arc<Mutator<S>>],
        open: bool,
    ) -> Arc<Request<S>> {
        debug_assert!(is_each_once(mutators), "a mutator performs an operation once");
        let request = Arc::new(Request {
            operation,
            steps,
            waiting: AtomicUsize::new(mutators.len() + 1),
            open: AtomicBool::new(open),
            delivered: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        for mutator in mutators {
            mutator.publish(&request);
        }
        request
    }

    /// Sees to it that each mutator is served or serves itself soon, whatever it does.
    fn deliver(self: &Arc<Self>, mutators: &[Arc<Mutator<S>>]) {
        heavy_fence();
        self.delivered.store(true, Ordering::Relaxed);
        for mutator in mutators {
            mutator.deliver(self);
        }
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Lets it be performed.
    fn open(&self) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.open.store(true, Ordering::Release);
        drop(guard);
        self.wake.notify_all();
    }

    /// Waits until it may be performed.
    fn wait_until_open(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_open() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One mutator has been served, or the requester does not wait any more.
    fn acknowledge(&self) {
        let before = self.waiting.fetch_sub(1, Ordering::AcqRel);
        if before == 1 {
            self.operation.complete();
        } else if before == SLEEPING + 2 {
            // The lock keeps the requester from missing this between its look and its sleep.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_one();
        }
    }

    /// Waits until all mutators have acknowledged, which these are.
    fn wait(self: &Arc<Self>, mutators: &[Arc<Mutator<S>>]) {
        if is_soon(|| self.waiting.load(Ordering::Acquire) == 1) {
            return;
        }
        if !self.delivered.load(Ordering::Relaxed) {
            self.deliver(mutators);
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.waiting.fetch_add(SLEEPING, Ordering::AcqRel) != 1 {
            while self.waiting.load(Ordering::Acquire) != SLEEPING + 1 {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
        self.waiting.fetch_sub(SLEEPING, Ordering::AcqRel);
    }
}

/// Whether no mutator is listed twice.
fn is_each_once<S: Stack>(mutators: &[Arc<Mutator<S>>]) -> bool {
    let mut seen = HashSet::new();
    mutators.iter().all(|mutator| seen.insert(Arc::as_ptr(mutator)))
}

/// A stepwise operation that has not come to the end of a stack.
struct Task<S: Stack> {
    request: Arc<Request<S>>,
    cursor: S::Cursor,
}

impl<S: Stack> Task<S> {
    /// Goes through some frames. Returns whether there may be more.
    ///
    /// # Safety
    /// As for [`Stepwise::step`].
    unsafe fn step(&mut self, records: &mut S::Records, most: usize) -> bool {
        let Some(steps) = &self.request.steps else { return false };
        // SAFETY: as the caller vouches.
        match unsafe { steps.step(records, self.cursor, most) } {
            Some(next) => {
                self.cursor = next;
                true
            }
            None => false,
        }
    }
}

/// What the lock of a mutator protects.
struct Guarded<S: Stack> {
    /// The stack, while there is one.
    stack: Option<StackPointer<S>>,
    /// What has been requested and not been performed. If this is not empty, [`REQUESTED`] is set.
    pending: Vec<Arc<Request<S>>>,
    /// Operations that have not come to the end of the stack. If there are any, the stack is divided inside
    /// all their cursors.
    tasks: Vec<Task<S>>,
    /// Records of the frames outside the barrier, while the stack is divided.
    outer: Option<S::Records>,
}

struct StackPointer<S>(*mut S);

// SAFETY: the stack is only used as `Stack` and `Operation` say, which is sound from any thread.
unsafe impl<S> Send for StackPointer<S> {}

impl<S: Stack> Guarded<S> {
    /// Makes managed code poll soon, if there is a stack.
    fn arm(&self) {
        if let Some(StackPointer(stack)) = self.stack {
            // SAFETY: the stack is alive while it is attached, and the lock is held.
            unsafe { S::arm(stack) };
        }
    }

    /// Takes the barrier away.
    ///
    /// # Safety
    /// As for [`Stack::unite`].
    unsafe fn unite(&mut self, stack: *mut S) {
        if let Some(outer) = self.outer.take() {
            // SAFETY: as the caller vouches.
            unsafe { S::unite(stack, outer) };
        }
    }

    /// Puts the barrier where it has to be, if there are tasks.
    ///
    /// # Safety
    /// As for [`Stack::divide`]; the stack must not be divided.
    unsafe fn divide(&mut self, stack: *mut S) {
        while let Some(at) = self.tasks.iter().map(|task| task.cursor).min() {
            // The frame that gets the barrier has to be gone through: only what lies outside is left.
            // SAFETY: the whole stack stands still, and all records are here.
            self.tasks
                .retain_mut(|task| task.cursor != at || unsafe { task.step(S::records(stack), 1) });
            if !self.tasks.is_empty() {
                // SAFETY: as above. There is a frame at `at`: a task has gone on from there, or would have
                // come to the end.
                self.outer = Some(unsafe { S::divide(stack, at) });
                return;
            }
        }
    }

    /// Performs everything that is pending and may be performed, with the whole stack standing still.
    ///
    /// # Safety
    /// As for [`Operation::perform`].
    unsafe fn perform(&mut self) -> Vec<Arc<Request<S>>> {
        let (requests, closed) =
            std::mem::take(&mut self.pending).into_iter().partition(|request| request.is_open());
        self.pending = closed;
        let Some(StackPointer(stack)) = self.stack else { return requests };
        // SAFETY: as the caller vouches.
        unsafe {
            self.unite(stack);
            for request in &requests {
                let Some(steps) = &request.steps else {
                    request.operation.perform(stack);
                    continue;
                };
                steps.stop(stack);
                if let Some(cursor) = S::innermost(stack) {
                    let mut task = Task { request: request.clone(), cursor };
                    if task.step(S::records(stack), S::AT_STOP) {
                        self.tasks.push(task);
                    }
                }
            }
            self.divide(stack);
        }
        requests
    }
}

/// Something is pending.
const REQUESTED: u8 = 1;
/// The mutator has to execute a full fence before it looks whether something is pending.
const FENCE: u8 = 2;

/// A stack as requesters see it. See the module's documentation.
pub struct Mutator<S: Stack> {
    state: AtomicU8,
    /// [`REQUESTED`] and [`FENCE`]. Written with the lock held.
    flags: AtomicU8,
    /// The mutator waits for the lock.
    waits: AtomicBool,
    guarded: Mutex<Guarded<S>>,
}

impl<S: Stack> Default for Mutator<S> {
    fn default() -> Self {
        Mutator::new()
    }
}

impl<S: Stack> Mutator<S> {
    /// A mutator outside managed code, without a stack.
    pub fn new() -> Mutator<S> {
        prepare_fences();
        let guarded = Guarded { stack: None, pending: Vec::new(), tasks: Vec::new(), outer: None };
        Mutator {
            state: AtomicU8::new(State::Outside as u8),
            flags: AtomicU8::new(if symmetric() { FENCE } else { 0 }),
            waits: AtomicBool::new(false),
            guarded: Mutex::new(guarded),
        }
    }

    fn guarded(&self) -> MutexGuard<'_, Guarded<S>> {
        // Nothing that can panic happens between two changes that belong together.
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for the mutator's own thread, before which requesters stand back.
    fn guarded_by_mutator(&self) -> MutexGuard<'_, Guarded<S>> {
        self.waits.store(true, Ordering::Relaxed);
        let guarded = self.guarded();
        self.waits.store(false, Ordering::Relaxed);
        guarded
    }

    /// Tells where the stack is.
    ///
    /// # Safety
    /// The stack must stay there until [`Mutator::detach`] is called. No reference to the whole of it may
    /// be alive while other threads may make requests, only ones to its parts.
    pub unsafe fn attach(&self, stack: *mut S) {
        self.guarded().stack = Some(StackPointer(stack));
    }

    /// The stack goes away; the mutator is outside. Requests to it are acknowledged as they come.
    pub fn detach(&self) {
        self.guarded().stack = None;
    }

    /// Where the mutator is. What another thread sees may be old.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Outside,
            1 => State::Managed,
            _ => State::Host,
        }
    }

    /// Managed code is about to run, or to go on. Waits while a requester works on the stack.
    ///
    /// # Safety
    /// Called by the thread that owns the stack, in state `Outside` or `Host`, with the stack as
    /// [`Operation::perform`] needs it. Entry addresses are loaded after this.
    #[inline(always)]
    pub unsafe fn enter(&self) {
        // SAFETY: as the caller vouches.
        unsafe { self.go(State::Managed) };
    }

    /// Managed code has ended ([`State::Outside`]), or is suspended ([`State::Host`]).
    ///
    /// # Safety
    /// As for [`Mutator::enter`], in state `Managed`. `Outside` says that there are no frames.
    #[inline(always)]
    pub unsafe fn leave(&self, to: State) {
        // SAFETY: as the caller vouches.
        unsafe { self.go(to) };
    }

    /// Changes the state.
    ///
    /// # Safety
    /// As for [`Mutator::enter`] and [`Mutator::leave`].
    #[inline(always)]
    unsafe fn go(&self, to: State) {
        // Release: who reads it and works on the stack sees what this thread did to it.
        self.state.store(to as u8, Ordering::Release);
        light_fence();
        // Acquire: if this is reset, what is seen of the stack is what has been done to it.
        if self.flags.load(Ordering::Acquire) != 0 {
            // SAFETY: on the way in and on the way out frames stand still.
            unsafe { self.look_again() };
        }
    }

    /// Something is requested, or fences are symmetric.
    ///
    /// # Safety
    /// As for [`Mutator::serve`].
    #[cold]
    #[inline(never)]
    unsafe fn look_again(&self) {
        if self.flags.load(Ordering::Relaxed) & FENCE != 0 {
            full_fence();
        }
        if self.is_requested() {
            // SAFETY: as the caller vouches.
            unsafe { self.serve() };
        }
    }

    /// Whether something is requested.
    #[inline(always)]
    pub fn is_requested(&self) -> bool {
        self.flags.load(Ordering::Acquire) & REQUESTED != 0
    }

    /// Performs what is requested, or waits until a requester has done so.
    ///
    /// # Safety
    /// Called by the thread that owns the stack, with the stack as [`Operation::perform`] needs it.
    #[cold]
    #[inline(never)]
    pub unsafe fn serve(&self) {
        let started = Instant::now();
        loop {
            let mut guarded = self.guarded_by_mutator();
            // SAFETY: as the caller vouches; the lock keeps requesters off.
            let requests = unsafe { self.perform_pending(&mut guarded) };
            let closed = guarded.pending.first().cloned();
            drop(guarded);
            let time = started.elapsed();
            for request in requests {
                request.operation.paused(time);
                request.acknowledge();
            }
            // The lock is free meanwhile: the requester needs it before it opens its request.
            let Some(closed) = closed else { return };
            closed.wait_until_open();
        }
    }

    /// Performs everything that is pending and may be performed.
    ///
    /// # Safety
    /// As for [`Operation::perform`]; `guarded` is this mutator's.
    unsafe fn perform_pending(&self, guarded: &mut Guarded<S>) -> Vec<Arc<Request<S>>> {
        // SAFETY: as the caller vouches.
        let requests = unsafe { guarded.perform() };
        // Only now: until here a mutator that comes in has to wait for the lock. Release: one that does not
        // take the lock any more sees what has been done to its stack.
        if guarded.pending.is_empty() {
            self.flags.fetch_and(!REQUESTED, Ordering::Release);
        }
        requests
    }

    /// First half of a request.
    fn publish(&self, request: &Arc<Request<S>>) {
        let mut guarded = self.guarded();
        guarded.pending.push(request.clone());
        self.flags.fetch_or(REQUESTED, Ordering::Relaxed);
    }

    /// Second half, if the mutator runs managed code for all that is known without a heavy fence. If this
    /// answers false, a heavy fence and [`Mutator::deliver`] are needed.
    fn deliver_if_managed(&self, request: &Arc<Request<S>>) -> bool {
        let guarded = self.guarded();
        if !guarded.pending.iter().any(|pending| Arc::ptr_eq(pending, request)) {
            return true;
        }
        if self.state() != State::Managed {
            return false;
        }
        guarded.arm();
        true
    }

    /// Second half, after the heavy fence.
    fn deliver(&self, request: &Arc<Request<S>>) {
        let mut guarded = self.guarded();
        if !guarded.pending.iter().any(|pending| Arc::ptr_eq(pending, request)) {
            return;
        }
        let state = self.state();
        if state == State::Managed {
            guarded.arm();
            return;
        }
        // The mutator stays out: it sees the request if it comes, and waits for the lock.
        let started = Instant::now();
        // SAFETY: the mutator is out, and is kept out by the lock.
        let requests = unsafe { self.perform_pending(&mut guarded) };
        drop(guarded);
        let time = started.elapsed();
        for request in requests {
            if state == State::Host {
                request.operation.paused(time);
            }
            request.acknowledge();
        }
    }

    /// Goes on with a request on this stack, as the requester: through the frames outside the barrier.
    /// Returns whether there may be more.
    fn go_on(&self, request: &Arc<Request<S>>) -> bool {
        while self.waits.load(Ordering::Relaxed) {
            yield_now();
        }
        let guarded = &mut *self.guarded();
        let is_its = |task: &Task<S>| Arc::ptr_eq(&task.request, request);
        let Some(i) = guarded.tasks.iter().position(is_its) else { return false };
        let outer = guarded.outer.as_mut().expect("a stack with tasks is divided");
        // SAFETY: frames outside the barrier stand still: the mutator takes the lock before it returns to
        // one of them, drops it or looks at it. Their records are here.
        let more = unsafe { guarded.tasks[i].step(outer, S::AT_ONCE) };
        if !more {
            guarded.tasks.swap_remove(i);
        }
        more
    }

    /// The mutator has returned to the frame with the barrier. Afterwards the frame's record is among those
    /// of the stack, and the barrier is further out, or gone.
    ///
    /// # Safety
    /// Called by the thread that owns `stack`, which is this mutator's, in state `Managed`, when it has
    /// returned to the frame and has not changed anything outside it.
    #[cold]
    pub unsafe fn cross(&self, stack: *mut S) {
        let started = Instant::now();
        let guarded = &mut *self.guarded_by_mutator();
        // SAFETY: the whole stack stands still: it is this thread's, and the lock keeps requesters off.
        unsafe {
            guarded.unite(stack);
            if let Some(at) = guarded.tasks.iter().map(|task| task.cursor).min() {
                // The requester has not come further: it is not left to return after return.
                guarded.tasks.retain_mut(|task| {
                    task.cursor != at || task.step(S::records(stack), S::AT_STOP)
                });
            }
            guarded.divide(stack);
        }
        for task in &guarded.tasks {
            task.request.operation.paused(started.elapsed());
        }
    }

    /// The mutator is about to drop all frames inside `outer`, the barrier's among them, and goes on with
    /// the frames from `outer` on; `None` if there are none.
    ///
    /// # Safety
    /// Called by the thread that owns `stack`, which is this mutator's, in state `Managed`, before the
    /// memory of the frames is used for anything else.
    #[cold]
    pub unsafe fn unwind(&self, stack: *mut S, outer: Option<S::Cursor>) {
        let guarded = &mut *self.guarded_by_mutator();
        // SAFETY: as in `cross`.
        unsafe { guarded.unite(stack) };
        guarded.tasks.retain_mut(|task| match outer {
            Some(outer) => {
                task.cursor = task.cursor.max(outer);
                true
            }
            None => false,
        });
        // SAFETY: as above; the cursors are at frames that stay.
        unsafe { guarded.divide(stack) };
    }

    /// Completes what is under way on the stack, and takes the barrier away, so that all frames can be
    /// looked at.
    ///
    /// # Safety
    /// Called by the thread that owns `stack`, which is this mutator's, in state `Managed`, while its
    /// frames stand still.
    #[cold]
    pub unsafe fn settle(&self, stack: *mut S) {
        let guarded = &mut *self.guarded_by_mutator();
        // SAFETY: as in `cross`.
        unsafe { guarded.settle(stack) };
    }

    /// Runs `f` on the stack while its frames stand still, with nothing under way on it, and no requester at
    /// work.
    ///
    /// # Safety
    /// Called by the thread that owns `stack`, which is this mutator's, in state `Managed` at a safepoint,
    /// `Host` or `Outside`. `f` must not run managed code, and must make no requests.
    pub unsafe fn stopped<R>(&self, stack: *mut S, f: impl FnOnce(*mut S) -> R) -> R {
        let mut guarded = self.guarded_by_mutator();
        // SAFETY: as in `cross`; in the other states too the lock keeps requesters off.
        unsafe { guarded.settle(stack) };
        f(stack)
    }

    /// Makes managed code poll soon, for a purpose of the caller's: who wants to be sure that it is seen
    /// executes a sequentially consistent fence between telling that purpose and this ([`Stack::arm`]).
    pub fn arm(&self) {
        self.guarded().arm();
    }

    /// Runs `f` on the stack, if there is one. It is not freed meanwhile.
    pub fn with_stack<R>(&self, f: impl FnOnce(*mut S) -> R) -> Option<R> {
        let guarded = self.guarded();
        guarded.stack.as_ref().map(|stack| f(stack.0))
    }
}

impl<S: Stack> Guarded<S> {
    /// Completes all tasks.
    ///
    /// # Safety
    /// As for [`Stack::divide`].
    unsafe fn settle(&mut self, stack: *mut S) {
        // SAFETY: as the caller vouches.
        unsafe {
            self.unite(stack);
            for mut task in self.tasks.drain(..) {
                let more = task.step(S::records(stack), usize::MAX);
                debug_assert!(!more, "a stack has an end");
            }
        }
    }
}

impl<S: Stack> std::fmt::Debug for Mutator<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutator").finish_non_exhaustive()
    }
}

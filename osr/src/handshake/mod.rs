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
//! A requester publishes its [`Operation`] to all mutators, executes one heavy fence (mostly it need not, see
//! below), and then looks at each state. A mutator stores its state, executes a light fence, and looks whether something is requested.
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
//!
//! # As many mutators as processors
//!
//! Then a requester that goes through frames takes a processor from a mutator, and gets none for milliseconds
//! when it has slept. So it does not: each mutator goes on with what is under way on its own stack, some frames
//! at each poll ([`Mutator::help`]), or leaves it to the requester when it leaves managed code. And the last one
//! to come to the end of its stack completes the operation, if the requester sleeps and that
//! [takes little time](Operation::completes_briefly).

mod guarded;
mod request;
mod requester;

pub use requester::{Handshake, HandshakeProgress, request};

use crate::sync::{
    AtomicBool, AtomicU8, Mutex, MutexGuard, Ordering, full_fence, is_long, light_fence,
    prepare_fences, symmetric, yield_now,
};
use guarded::{Guarded, StackPointer};
use request::Request;
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
    /// How many more it goes through at a time at its polls, if it is left to mutators.
    const AT_POLL: usize;
    /// How many frames a requester goes through before a mutator that waits for it is let in.
    const AT_ONCE: usize;

    /// Makes the managed code of this stack poll soon. Called by any thread.
    ///
    /// The stack's own thread lowers what is polled at safepoints and outside managed code only, and executes a
    /// sequentially consistent fence before it looks whether something has been requested meanwhile. So if the
    /// caller has published that and executed such a fence too, it is seen there, or what is raised here stays.
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

    /// Called once, when it has been done to all stacks: by the thread that waits, or if none does, or that is
    /// asleep and this [is done briefly](Operation::completes_briefly), by the one that came to the end of the
    /// last stack. That may be any thread that works on stacks: it must not panic, and must not need a lock that
    /// somebody may hold who makes requests or comes to a safepoint.
    fn complete(&self) {}

    /// Whether [`Operation::complete`] takes so little time that a mutator may do it at its safepoint.
    fn completes_briefly(&self) -> bool {
        false
    }

    /// Whether mutators go on with it themselves at their polls. `None`: if as many run as there are processors.
    fn is_left_to_mutators(&self) -> Option<bool> {
        None
    }
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

/// Something is pending.
const REQUESTED: u8 = 1;
/// The mutator has to execute a full fence before it looks whether something is pending.
const FENCE: u8 = 2;
/// There are tasks that are left to the mutator.
const HELPS: u8 = 4;

/// A stack as requesters see it. See the module's documentation.
pub struct Mutator<S: Stack> {
    state: AtomicU8,
    /// [`REQUESTED`], [`FENCE`] and [`HELPS`]. Written with the lock held.
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
        Mutator {
            state: AtomicU8::new(State::Outside as u8),
            flags: AtomicU8::new(if symmetric() { FENCE } else { 0 }),
            waits: AtomicBool::new(false),
            guarded: Mutex::new(Guarded::new()),
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
        let mut guarded = self.guarded();
        guarded.stack = None;
        guarded.drop_frames(None);
        release(guarded, None, Rest::ToRequester);
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
        if self.can_help() && self.state() != State::Managed {
            self.hand_over();
        }
    }

    /// Leaves what the mutator goes on with at its polls to the requesters: there may be none for long.
    fn hand_over(&self) {
        let mut guarded = self.guarded_by_mutator();
        let tasks = guarded.tasks.iter().map(|task| task.request.clone());
        guarded.begun = tasks.filter(|request| request.left_to_mutators).collect();
        self.flags.fetch_and(!HELPS, Ordering::Relaxed);
        release(guarded, None, Rest::ToRequester);
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
            unsafe { self.perform_pending(&mut guarded) };
            self.go_on_later(&guarded);
            let closed = guarded.pending.first().cloned();
            release(guarded, Some(started), Rest::AsRequested);
            // The lock is free meanwhile: the requester needs it before it opens its request.
            let Some(closed) = closed else { return };
            closed.wait_until_open();
        }
    }

    /// Performs everything that is pending and may be performed.
    ///
    /// # Safety
    /// As for [`Operation::perform`]; `guarded` is this mutator's.
    unsafe fn perform_pending(&self, guarded: &mut Guarded<S>) {
        // SAFETY: as the caller vouches.
        unsafe { guarded.perform() };
        // Only now: until here a mutator that comes in has to wait for the lock. Release: one that does not
        // take the lock any more sees what has been done to its stack.
        if guarded.pending.is_empty() {
            self.flags.fetch_and(!REQUESTED, Ordering::Release);
        }
    }

    /// Whether there is something that [`Mutator::help`] goes on with.
    #[inline]
    pub fn can_help(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & HELPS != 0
    }

    /// Sees to it that this mutator goes on at its next poll with what is left to it.
    fn go_on_later(&self, guarded: &Guarded<S>) {
        if guarded.has_tasks_of_mutator() {
            self.flags.fetch_or(HELPS, Ordering::Relaxed);
            guarded.arm();
        } else {
            self.flags.fetch_and(!HELPS, Ordering::Relaxed);
        }
    }

    /// Goes on with what is under way on the stack and left to its mutator.
    ///
    /// # Safety
    /// Called by the thread that owns `stack`, which is this mutator's, in state `Managed` at a safepoint.
    #[cold]
    #[inline(never)]
    pub unsafe fn help(&self, stack: *mut S) {
        let started = Instant::now();
        let mut guarded = self.guarded_by_mutator();
        // SAFETY: the whole stack stands still: it is this thread's, and the lock keeps requesters off.
        unsafe {
            guarded.unite(stack);
            // Taking the barrier away and putting it elsewhere has a price, which shall not be most of it all.
            while guarded.has_tasks_of_mutator() {
                guarded.step(S::records(stack), S::AT_POLL, |task| task.request.left_to_mutators);
                if is_long(started.elapsed()) {
                    break;
                }
            }
            guarded.divide(stack);
        }
        self.go_on_later(&guarded);
        for task in guarded.tasks.iter().filter(|task| task.request.left_to_mutators) {
            task.request.operation.paused(started.elapsed());
        }
        release(guarded, Some(started), Rest::AsRequested);
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
        let since = (state == State::Host).then(Instant::now);
        // SAFETY: the mutator is out, and is kept out by the lock.
        unsafe { self.perform_pending(&mut guarded) };
        release(guarded, since, Rest::ToRequester);
    }

    /// Goes on with a request on this stack, as the requester: through the frames outside the barrier.
    /// Returns whether there may be more.
    fn go_on(&self, request: &Arc<Request<S>>) -> bool {
        while self.waits.load(Ordering::Relaxed) {
            yield_now();
        }
        let mut guarded = self.guarded();
        // SAFETY: frames outside the barrier stand still: the mutator takes the lock before it returns to
        // one of them, drops it or looks at it.
        let more =
            unsafe { guarded.step_outer(S::AT_ONCE, |task| Arc::ptr_eq(&task.request, request)) };
        release(guarded, None, Rest::ToRequester);
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
        let mut guarded = self.guarded_by_mutator();
        // SAFETY: the whole stack stands still: it is this thread's, and the lock keeps requesters off.
        unsafe {
            guarded.unite(stack);
            if let Some(at) = guarded.tasks.iter().map(|task| task.cursor).min() {
                // The requester has not come further: it is not left to return after return.
                guarded.step(S::records(stack), S::AT_STOP, |task| task.cursor == at);
            }
            guarded.divide(stack);
        }
        self.go_on_later(&guarded);
        for task in &guarded.tasks {
            task.request.operation.paused(started.elapsed());
        }
        release(guarded, Some(started), Rest::AsRequested);
    }

    /// The mutator is about to drop all frames inside `outer`, the barrier's among them, and goes on with
    /// the frames from `outer` on; `None` if there are none.
    ///
    /// # Safety
    /// Called by the thread that owns `stack`, which is this mutator's, in state `Managed`, before the
    /// memory of the frames is used for anything else.
    #[cold]
    pub unsafe fn unwind(&self, stack: *mut S, outer: Option<S::Cursor>) {
        let mut guarded = self.guarded_by_mutator();
        // SAFETY: as in `cross`; the frames from `outer` on stay.
        unsafe {
            guarded.unite(stack);
            guarded.drop_frames(outer);
            guarded.divide(stack);
        }
        self.go_on_later(&guarded);
        release(guarded, None, Rest::ToRequester);
    }

    /// Completes what is under way on the stack, and takes the barrier away, so that all frames can be
    /// looked at.
    ///
    /// # Safety
    /// Called by the thread that owns `stack`, which is this mutator's, in state `Managed`, while its
    /// frames stand still.
    #[cold]
    pub unsafe fn settle(&self, stack: *mut S) {
        let mut guarded = self.guarded_by_mutator();
        // SAFETY: as in `cross`.
        unsafe { guarded.settle(stack) };
        release(guarded, None, Rest::ToRequester);
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
        // Also if `f` panics: requesters wait.
        let _released = ReleaseOnDrop(Some(guarded));
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

/// Who goes through the frames that an operation leaves at its stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The requester: this mutator is not in managed code, or leaves it.
    ToRequester,
    /// The mutator, if the request is left to mutators.
    AsRequested,
}

/// See [`release`].
struct ReleaseOnDrop<'a, S: Stack>(Option<MutexGuard<'a, Guarded<S>>>);

impl<S: Stack> Drop for ReleaseOnDrop<'_, S> {
    fn drop(&mut self) {
        if let Some(guarded) = self.0.take() {
            release(guarded, None, Rest::ToRequester);
        }
    }
}

/// Gives the lock back, acknowledges what has come to the end of the stack, and tells requesters of what they have
/// to go on with. `since`: since when managed code has stood still for it.
fn release<S: Stack>(mut guarded: MutexGuard<'_, Guarded<S>>, since: Option<Instant>, rest: Rest) {
    let finished = std::mem::take(&mut guarded.finished);
    let mut begun = std::mem::take(&mut guarded.begun);
    if let Some(since) = since {
        for request in &begun {
            request.operation.paused(since.elapsed());
        }
    }
    drop(guarded);
    for request in finished {
        request.complete_if_last();
        if let Some(since) = since {
            request.operation.paused(since.elapsed());
        }
        request.acknowledge();
    }
    begun.retain(|request| rest == Rest::ToRequester || !request.left_to_mutators);
    // Who is woken by this may take the processor away at once: so not with the lock held.
    for request in begun {
        request.leave_rest();
    }
}

impl<S: Stack> std::fmt::Debug for Mutator<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutator").finish_non_exhaustive()
    }
}

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
//! A requester that waits does not wait for long: managed code polls, and a mutator in the host is served
//! without it. A requester that is itself in `Managed` (at a poll) must not wait: two of them would wait for
//! each other. It [detaches](Handshake::detach) instead.

use crate::sync::{
    AtomicBool, AtomicU8, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, heavy_fence,
    light_fence, prepare_fences,
};
use std::sync::{Arc, PoisonError, Weak};
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
    /// Makes the managed code of this stack poll soon. Called by any thread.
    ///
    /// # Safety
    /// `this` must be alive. Everything but what is polled may be in use by the stack's own thread.
    unsafe fn arm(this: *const Self);
}

/// What is done to each stack.
pub trait Operation<S>: Send + Sync {
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

/// An operation under way.
struct Request<S> {
    operation: Arc<dyn Operation<S>>,
    /// Mutators that have not acknowledged, and one for the requester itself. [`SLEEPING`] is added while
    /// the requester sleeps.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

const SLEEPING: usize = 1 << 32;

impl<S> Request<S> {
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
}

/// What the lock of a mutator protects.
struct Guarded<S> {
    /// The stack, while there is one.
    stack: Option<StackPointer<S>>,
    /// What has been requested and not been performed. If this is not empty, `Mutator::requested` is set.
    pending: Vec<Arc<Request<S>>>,
}

struct StackPointer<S>(*mut S);

// SAFETY: the stack is only used as `Stack::arm` and `Operation::perform` say, which is sound from any
// thread.
unsafe impl<S> Send for StackPointer<S> {}

/// A stack as requesters see it. See the module's documentation.
pub struct Mutator<S> {
    state: AtomicU8,
    /// Whether something is pending. Written with the lock held.
    requested: AtomicBool,
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
            requested: AtomicBool::new(false),
            guarded: Mutex::new(Guarded { stack: None, pending: Vec::new() }),
        }
    }

    fn guarded(&self) -> MutexGuard<'_, Guarded<S>> {
        // Nothing that can panic happens between two changes that belong together.
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
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
        if self.is_requested() {
            // SAFETY: on the way in and on the way out frames stand still.
            unsafe { self.serve() };
        }
    }

    /// Whether something is requested.
    #[inline(always)]
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Performs what is requested, or waits until a requester has done so.
    ///
    /// # Safety
    /// Called by the thread that owns the stack, with the stack as [`Operation::perform`] needs it.
    #[cold]
    #[inline(never)]
    pub unsafe fn serve(&self) {
        let started = Instant::now();
        let mut guarded = self.guarded();
        // SAFETY: as the caller vouches; the lock keeps requesters off.
        let requests = unsafe { self.perform_pending(&mut guarded) };
        drop(guarded);
        let time = started.elapsed();
        for request in requests {
            request.operation.paused(time);
            request.acknowledge();
        }
    }

    /// Performs everything that is pending.
    ///
    /// # Safety
    /// As for [`Operation::perform`]; `guarded` is this mutator's.
    unsafe fn perform_pending(&self, guarded: &mut Guarded<S>) -> Vec<Arc<Request<S>>> {
        let requests = std::mem::take(&mut guarded.pending);
        if let Some(StackPointer(stack)) = guarded.stack {
            for request in &requests {
                // SAFETY: as the caller vouches.
                unsafe { request.operation.perform(stack) };
            }
        }
        // Only now: until here a mutator that comes in has to wait for the lock. Release: one that does not
        // take the lock any more sees what has been done to its stack.
        self.requested.store(false, Ordering::Release);
        requests
    }

    /// First half of a request.
    fn publish(&self, request: &Arc<Request<S>>) {
        let mut guarded = self.guarded();
        guarded.pending.push(request.clone());
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Second half, after the heavy fence.
    fn deliver(&self, request: &Arc<Request<S>>) {
        let mut guarded = self.guarded();
        if !guarded.pending.iter().any(|pending| Arc::ptr_eq(pending, request)) {
            return;
        }
        let state = self.state();
        if state == State::Managed {
            if let Some(StackPointer(stack)) = guarded.stack {
                // SAFETY: the stack is alive while it is attached, and the lock is held.
                unsafe { S::arm(stack) };
            }
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

    /// Makes managed code poll soon, for a purpose of the caller's: who wants to be sure that it is seen
    /// makes a [`fence`] between telling that purpose and this.
    pub fn arm(&self) {
        let guarded = self.guarded();
        if let Some(StackPointer(stack)) = guarded.stack {
            // SAFETY: the stack is alive while it is attached, and the lock is held.
            unsafe { S::arm(stack) };
        }
    }

    /// Runs `f` on the stack, if there is one. It is not freed meanwhile.
    pub fn with_stack<R>(&self, f: impl FnOnce(*mut S) -> R) -> Option<R> {
        let guarded = self.guarded();
        guarded.stack.as_ref().map(|stack| f(stack.0))
    }
}

impl<S> std::fmt::Debug for Mutator<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutator").finish_non_exhaustive()
    }
}

/// The requester's half of the asymmetric fence whose other half mutators execute between storing what they
/// poll and looking for requests: see [`Mutator::arm`].
pub fn fence() {
    heavy_fence();
}

/// The mutator's half.
#[inline(always)]
pub fn mutator_fence() {
    light_fence();
}

/// An operation that has been requested. When this is dropped the thread waits for its end.
#[must_use]
pub struct Handshake<S> {
    request: Option<Arc<Request<S>>>,
}

impl<S: Stack> Handshake<S> {
    /// Requests an operation of all these mutators, each of which must be listed once. Stacks that are not
    /// running managed code have been served when this returns.
    pub fn begin(mutators: &[Arc<Mutator<S>>], operation: Arc<dyn Operation<S>>) -> Handshake<S> {
        let request = Arc::new(Request {
            operation,
            waiting: AtomicUsize::new(mutators.len() + 1),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        for mutator in mutators {
            mutator.publish(&request);
        }
        heavy_fence();
        for mutator in mutators {
            mutator.deliver(&request);
        }
        Handshake { request: Some(request) }
    }
}

/// How far a handshake has come, for somebody who only watches.
pub struct HandshakeProgress<S>(Weak<Request<S>>);

impl<S> HandshakeProgress<S> {
    /// Mutators that have not been served. 0 when the handshake is over.
    pub fn waiting(&self) -> usize {
        let Some(request) = self.0.upgrade() else { return 0 };
        (request.waiting.load(Ordering::Acquire) % SLEEPING).saturating_sub(1)
    }
}

impl<S> Handshake<S> {
    /// What somebody else can watch it by.
    pub fn progress(&self) -> HandshakeProgress<S> {
        HandshakeProgress(self.request.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    /// Whether all mutators have been served.
    pub fn is_done(&self) -> bool {
        let waiting = |request: &Arc<Request<S>>| request.waiting.load(Ordering::Acquire);
        self.request.as_ref().is_none_or(|request| waiting(request) == 1)
    }

    /// Waits until all mutators have been served, and completes the operation.
    ///
    /// Must not be called by a thread that a mutator in state `Managed` belongs to.
    pub fn wait(mut self) {
        self.finish();
    }

    /// Does not wait: the last mutator that is served completes the operation, which may have happened
    /// already.
    pub fn detach(mut self) {
        if let Some(request) = self.request.take() {
            request.acknowledge();
        }
    }

    fn finish(&mut self) {
        let Some(request) = self.request.take() else { return };
        if request.waiting.load(Ordering::Acquire) != 1 {
            let mut guard = request.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if request.waiting.fetch_add(SLEEPING, Ordering::AcqRel) != 1 {
                while request.waiting.load(Ordering::Acquire) != SLEEPING + 1 {
                    guard = request.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
            }
            request.waiting.fetch_sub(SLEEPING, Ordering::AcqRel);
        }
        request.acknowledge();
    }
}

impl<S> Drop for Handshake<S> {
    fn drop(&mut self) {
        self.finish();
    }
}

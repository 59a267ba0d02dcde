//! What `osr/src/sync.rs` is for the production build, for models.
//!
//! Both halves of the asymmetric fence are sequentially consistent fences here, which is what they are to
//! each other. A model can leave one half out, to show that it would find that.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

use std::cell::Cell;
use std::time::Duration;

/// Something that a faulty protocol would lack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Mutators do not fence between telling their state and looking for requests.
    NoLightFence,
    /// Requesters do not fence between publishing a request and looking at states.
    NoHeavyFence,
}

thread_local! {
    // All threads of a model are coroutines of the thread that explores it.
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
    static PROCESSORS: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Lets the models that this thread explores from now on have so many processors. The threads of a model run one
/// at a time; what it changes is who does the work.
pub fn set_processors(count: usize) {
    PROCESSORS.set(count);
}

/// Builds a fault into the models that this thread explores from now on.
pub fn build_in(fault: Fault) {
    FAULT.set(Some(fault));
}

fn has(fault: Fault) -> bool {
    FAULT.get() == Some(fault)
}

pub(crate) fn prepare_fences() {}

pub(crate) fn symmetric() -> bool {
    false
}

pub(crate) fn light_fence() {
    if !has(Fault::NoLightFence) {
        full_fence();
    }
}

pub(crate) fn full_fence() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

pub(crate) fn heavy_fence() {
    if !has(Fault::NoHeavyFence) {
        full_fence();
    }
}

/// Whether something is true: the model explores both answers.
pub(crate) fn is_soon(mut is_true: impl FnMut() -> bool) -> bool {
    is_true()
}

/// A step at a time is what there is most to explore of.
pub(crate) fn is_long(_: Duration) -> bool {
    true
}

/// The time is over before anybody gets the lock.
pub(crate) fn wait_briefly<'a>(
    _: &Condvar,
    guard: MutexGuard<'a, ()>,
    _: Duration,
) -> MutexGuard<'a, ()> {
    guard
}

pub(crate) fn processors() -> usize {
    PROCESSORS.get()
}

pub(crate) fn yield_now() {
    loom::thread::yield_now();
}

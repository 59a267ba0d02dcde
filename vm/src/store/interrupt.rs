//! Stopping a guest from another thread.

use super::waiters::Wakeable;
use midair_osr::{Mutator, Process};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

/// What interrupt handles and their store share.
pub(crate) struct InterruptState {
    requested: AtomicBool,
    process: Process,
    mutator: Arc<Mutator>,
    /// The guest, while it waits in a shared memory.
    waiting: Mutex<Option<Wakeable>>,
}

impl InterruptState {
    /// For a store of this process, whose stack is the mutator's.
    pub(crate) fn new(process: Process, mutator: Arc<Mutator>) -> InterruptState {
        InterruptState {
            requested: AtomicBool::new(false),
            process,
            mutator,
            waiting: Mutex::new(None),
        }
    }

    /// Whether an interruption is pending.
    #[inline]
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Says whether the guest waits. It looks for a request after that, and before it sleeps.
    pub(crate) fn wait_as(&self, wakeable: Option<Wakeable>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = wakeable;
    }

    /// Takes the pending interruption: true once for each time that it was asked for.
    pub(crate) fn take(&self) -> bool {
        self.is_requested() && self.requested.swap(false, Ordering::AcqRel)
    }
}

/// Stops the guest of one store, from any thread.
///
/// The guest traps with [`Trap::Interrupt`](crate::Trap::Interrupt) at its next function entry or loop
/// iteration, or before it next fills, copies or initialises 4 KiB or more; also while it waits in a
/// [`SharedMemory`](crate::SharedMemory). What it is doing of these when it is
/// interrupted is done to the end. If no guest is running, the next call traps.
///
/// ```
/// use midair::{Engine, Instance, Module, Store, Trap};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
///
/// let handle = store.interrupt_handle();
/// let timer = std::thread::spawn(move || {
///     std::thread::sleep(std::time::Duration::from_millis(10));
///     handle.interrupt();
/// });
/// let error = f.call(&mut store, ()).unwrap_err();
/// assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::Interrupt));
/// timer.join().unwrap();
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone)]
pub struct InterruptHandle(pub(crate) Arc<InterruptState>);

impl InterruptHandle {
    /// Asks the guest to stop. In a process that was forked from the guest's it does nothing.
    pub fn interrupt(&self) {
        if !self.0.process.is_current() {
            return;
        }
        self.0.requested.store(true, Ordering::SeqCst);
        // Either the store sees the request when it has reset what its guest polls, or what is raised here
        // stays: see `StoreOpaque::rearm`.
        fence(Ordering::SeqCst);
        self.0.mutator.arm();
        let waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl std::fmt::Debug for InterruptHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InterruptHandle").finish_non_exhaustive()
    }
}

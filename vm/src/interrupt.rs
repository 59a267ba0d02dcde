//! Stopping a guest from another thread.

use midair_osr::StackContext;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What interrupt handles and their store share.
pub(crate) struct InterruptState {
    requested: AtomicBool,
    /// The store's stack while the store exists. The lock keeps the store from being freed under a
    /// handle that is writing to it.
    stack: Mutex<Option<StackPointer>>,
}

#[derive(Clone, Copy)]
struct StackPointer(*const StackContext);

// SAFETY: other threads only touch the two atomic fields, and only while the lock is held and the
// pointer is there.
unsafe impl Send for StackPointer {}

impl InterruptState {
    /// For a store whose stack is `stack`.
    ///
    /// # Safety
    /// `stack` must be valid until [`InterruptState::detach`] is called.
    pub(crate) unsafe fn new(stack: *const StackContext) -> InterruptState {
        InterruptState {
            requested: AtomicBool::new(false),
            stack: Mutex::new(Some(StackPointer(stack))),
        }
    }

    fn stack(&self) -> std::sync::MutexGuard<'_, Option<StackPointer>> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store is going away.
    pub(crate) fn detach(&self) {
        *self.stack() = None;
    }

    /// Whether an interruption is pending.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Takes the pending interruption: true once for each time that it was asked for.
    pub(crate) fn take(&self) -> bool {
        self.requested.swap(false, Ordering::AcqRel)
    }

    /// Raises the poll flag and the stack limit if an interruption is pending. Called by the store's
    /// thread after it has set either of them.
    pub(crate) fn arm_if_requested(&self) {
        if self.is_requested() {
            self.arm();
        }
    }

    fn arm(&self) {
        if let Some(StackPointer(stack)) = *self.stack() {
            // SAFETY: the stack is valid while it is attached, and the lock is held; both fields are
            // atomic, and the reference to each is made from its place alone.
            unsafe {
                (*(&raw const (*stack).poll_flag)).store(1, Ordering::Release);
                (*(&raw const (*stack).stack_limit)).store(usize::MAX, Ordering::Release);
            }
        }
    }
}

/// Stops the guest of one store, from any thread.
///
/// The guest traps with [`Trap::Interrupt`](crate::Trap::Interrupt) at its next function entry or loop
/// iteration. If no guest is running, the next call does.
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
    /// Asks the guest to stop.
    pub fn interrupt(&self) {
        // Ordered before the flags are raised: see `StoreOpaque::take_interrupt`.
        self.0.requested.store(true, Ordering::SeqCst);
        self.0.arm();
    }
}

impl std::fmt::Debug for InterruptHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InterruptHandle").finish_non_exhaustive()
    }
}

//! Stopping a guest from another thread.

use crate::code::Ticket;
use midair_osr::StackContext;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What interrupt handles, threads that retire code, and their store share.
pub(crate) struct InterruptState {
    requested: AtomicBool,
    /// Whether the store's guest is running, or suspended in a host function.
    running: AtomicBool,
    /// Whether `tickets` holds something. Written under its lock.
    ticketed: AtomicBool,
    /// Retired code that the store has to look for on its stack.
    tickets: Mutex<Vec<Arc<Ticket>>>,
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
            running: AtomicBool::new(false),
            ticketed: AtomicBool::new(false),
            tickets: Mutex::default(),
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

    /// Raises the poll flag and the stack limit if an interruption or a ticket is pending. Called by the
    /// store's thread after it has set either of them.
    pub(crate) fn arm_if_requested(&self) {
        if self.is_requested() || self.ticketed.load(Ordering::Acquire) {
            self.arm();
        }
    }

    fn tickets(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Ticket>>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the store has guest frames.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    /// The store's first guest call begins. A sequentially consistent fence has to follow, before an entry is
    /// loaded: then a thread that unlinks code sees that the guest runs, or the guest sees that the code is
    /// unlinked. [`StoreOpaque::rearm`](crate::store::StoreOpaque::rearm), which has to follow too, has it.
    pub(crate) fn begin_running(&self) {
        self.running.store(true, Ordering::Relaxed);
    }

    /// The store's last guest frame is gone.
    ///
    /// Takes no lock unless there are tickets, for this is on the way out of every call from the host. This
    /// thread writes `running` and then reads `ticketed`; one that hands a ticket over writes `ticketed`
    /// and then reads `running`. All four are sequentially consistent, so at least one of the two sees what
    /// the other wrote. If this thread sees the ticket, it acknowledges it here; if only the other one sees
    /// that the guest is gone, it takes its ticket back. If both do, the lock decides who finds the ticket
    /// in the list, and it is acknowledged once. And if the other one reads `running` only after the next
    /// call has set it again, its ticket stays in the list and is served during that call or at its end.
    pub(crate) fn end_running(&self) {
        self.running.store(false, Ordering::SeqCst);
        if self.ticketed.load(Ordering::SeqCst) {
            self.acknowledge_tickets();
        }
    }

    /// Acknowledges all tickets: there are no frames.
    #[cold]
    fn acknowledge_tickets(&self) {
        let mut tickets = self.tickets();
        self.ticketed.store(false, Ordering::SeqCst);
        let served = std::mem::take(&mut *tickets);
        drop(tickets);
        for ticket in served {
            ticket.acknowledge();
        }
    }

    /// Hands a ticket over to the store, if it is running; otherwise it has no frames, and the caller
    /// acknowledges the ticket. See [`InterruptState::end_running`].
    pub(crate) fn hand_over(&self, ticket: &Arc<Ticket>) -> bool {
        let mut tickets = self.tickets();
        if !self.is_running() {
            return false;
        }
        tickets.push(ticket.clone());
        self.ticketed.store(true, Ordering::SeqCst);
        if !self.is_running() {
            // The lock has been held since the push, so the last one is ours.
            tickets.pop();
            self.ticketed.store(!tickets.is_empty(), Ordering::SeqCst);
            return false;
        }
        drop(tickets);
        self.arm();
        true
    }

    /// Moves the pending tickets to `to`.
    pub(crate) fn take_tickets(&self, to: &mut Vec<Arc<Ticket>>) {
        if self.ticketed.load(Ordering::Acquire) {
            let mut tickets = self.tickets();
            self.ticketed.store(false, Ordering::Release);
            to.append(&mut tickets);
        }
    }

    fn arm(&self) {
        if let Some(StackPointer(stack)) = *self.stack() {
            // SAFETY: the stack is valid while it is attached, and the lock is held; both fields are
            // atomic, and nothing but they is borrowed.
            unsafe {
                (*stack).poll_flag.store(1, Ordering::Release);
                (*stack).stack_limit.store(usize::MAX, Ordering::Release);
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

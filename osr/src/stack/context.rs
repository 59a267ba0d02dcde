//! The two structures that machine code reaches through `rdi`.

use super::callout_frame::CalloutHandler;
use super::captured_frame::TransferHook;
use super::redirect_table::RedirectTable;
use crate::handshake::{Mutator, Stack};
use crate::process::Process;
use crate::stack::position::Position;
use crate::stub_addresses;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

thread_local! {
    /// The stack whose managed code this thread runs. A landing has no other way to find it: when a
    /// callee has returned, no register points to a context.
    static CURRENT: Cell<*mut StackContext> = const { Cell::new(std::ptr::null_mut()) };
}

/// Runs `f` with `stack` as this thread's current one.
pub(crate) fn with_current<R>(stack: *mut StackContext, f: impl FnOnce() -> R) -> R {
    let before = CURRENT.replace(stack);
    #[cfg(feature = "verify-walks")]
    let _interleaved = Interleaved::new(stack, before);
    let result = f();
    CURRENT.set(before);
    result
}

/// Counts a call to managed code of one stack that is nested in managed code of another.
#[cfg(feature = "verify-walks")]
struct Interleaved(Option<*mut StackContext>);

#[cfg(feature = "verify-walks")]
impl Interleaved {
    fn new(stack: *mut StackContext, before: *mut StackContext) -> Interleaved {
        let nested = (!before.is_null() && before != stack).then_some(stack);
        if let Some(stack) = nested {
            // SAFETY: the stack is alive and this thread's.
            unsafe { (*stack).interleaved.fetch_add(1, Ordering::Relaxed) };
        }
        Interleaved(nested)
    }
}

#[cfg(feature = "verify-walks")]
impl Drop for Interleaved {
    fn drop(&mut self) {
        if let Some(stack) = self.0 {
            // SAFETY: the stack outlives the call that the guard was made for.
            unsafe { (*stack).interleaved.fetch_sub(1, Ordering::Relaxed) };
        }
    }
}

/// The stack whose managed code this thread runs, or null.
pub(crate) fn current() -> *mut StackContext {
    CURRENT.get()
}

/// The head of every context that managed code or an entry thunk is called with.
///
/// ```text
/// rdi -> +0   callout     address of the callout stub (`stubs::callout_address`)
///        +8   on_callout  the Rust function that the callout stub calls
///        +16  stack       the StackContext of the thread that runs
///        +24  poll        address of the poll stub (`stubs::poll_address`)
/// ```
#[repr(C)]
#[derive(Debug)]
pub struct ContextHeader {
    /// Where an entry thunk jumps to: see [`crate::CodeHeap::entry_thunk`].
    pub callout: *const u8,
    /// Called by the callout stub.
    pub on_callout: CalloutHandler,
    /// State of the stack that this context runs on.
    pub stack: *mut StackContext,
    /// What a poll site calls.
    pub poll: *const u8,
}

impl ContextHeader {
    /// Offset of `stack`.
    pub const STACK: i32 = 16;
    /// Offset of `poll`.
    pub const POLL: i32 = 24;

    /// A header whose callouts go to `on_callout`.
    pub fn new(on_callout: CalloutHandler, stack: *mut StackContext) -> ContextHeader {
        ContextHeader {
            callout: stub_addresses::callout_address(),
            on_callout,
            stack,
            poll: stub_addresses::poll_address(),
        }
    }
}

/// State of one stack of managed frames. The first five fields are read and written by machine code.
#[repr(C)]
pub struct StackContext {
    /// Lowest stack pointer that managed code may run at. Other threads raise it to `usize::MAX` to
    /// bring the next function entry to its poll.
    pub stack_limit: AtomicUsize,
    /// Not zero: the next loop poll calls the poll stub.
    pub poll_flag: AtomicU64,
    /// Frame pointer of the stub through which managed code last left for Rust; 0 when no managed
    /// frame is below.
    pub exit_fp: usize,
    /// Stack pointer inside the innermost entry trampoline: where unwinding goes.
    pub entry_sp: usize,
    /// The state that an OSR entry loads its frame from: slots of 64 bits in the order of the frame
    /// map's values.
    pub resume: *mut u64,
    /// Results that do not fit into registers: see [`crate::CallShape`].
    pub results: *mut u64,
    /// Called at polls (`0`: continue, after any redirection; else unwind).
    pub on_poll: unsafe extern "sysv64" fn(*mut ContextHeader, *mut StackContext) -> usize,
    /// Called to raise the trap that a signal found: `code` is the trap site's code. Afterwards the
    /// stack is unwound to the innermost entry.
    pub on_trap: unsafe extern "sysv64" fn(*mut StackContext, code: u32, pc: usize, fp: usize),
    /// Registers of the frame that is unwound to: the callee-saved ones in the order of
    /// [`CALLEE_SAVED`](crate::registers::CALLEE_SAVED), frame pointer, stack pointer. See
    /// [`StackContext::unwind_to_frame`].
    pub(crate) unwind_to: [u64; 7],
    /// Return addresses that have been redirected on this stack.
    pub redirected: RedirectTable,
    /// How many calls from Rust into managed code are under way.
    pub entries: usize,
    /// Decides where a captured frame goes on.
    pub transfer: Option<Box<dyn TransferHook>>,
    /// How many calls of this stack's code are nested in code of another stack, or are made on another native
    /// stack than the one outside.
    #[cfg(feature = "verify-walks")]
    interleaved: AtomicUsize,
    /// The frame with the barrier, if the stack is divided: see [`crate::handshake`].
    pub(crate) barrier: Option<Position>,
    /// The stack as other threads see it.
    pub(crate) mutator: Arc<Mutator<StackContext>>,
    /// Where it was made. Elsewhere another thread's work on it may have been cut off by the fork, so that there its
    /// table is not touched, nor the mutator's lock taken.
    pub(crate) process: Process,
}

impl StackContext {
    /// A stack without frames. `resume` and `results` are null and have to be set before managed code
    /// that uses them runs.
    pub fn new(
        on_poll: unsafe extern "sysv64" fn(*mut ContextHeader, *mut StackContext) -> usize,
        on_trap: unsafe extern "sysv64" fn(*mut StackContext, code: u32, pc: usize, fp: usize),
    ) -> StackContext {
        StackContext {
            stack_limit: AtomicUsize::new(0),
            poll_flag: AtomicU64::new(0),
            exit_fp: 0,
            entry_sp: 0,
            resume: std::ptr::null_mut(),
            results: std::ptr::null_mut(),
            on_poll,
            on_trap,
            unwind_to: [0; 7],
            redirected: RedirectTable::default(),
            entries: 0,
            transfer: None,
            #[cfg(feature = "verify-walks")]
            interleaved: AtomicUsize::new(0),
            barrier: None,
            mutator: Arc::new(Mutator::new()),
            process: Process::current(),
        }
    }

    /// The position of something at this address that the innermost call from Rust has entered.
    pub(crate) fn position(&self, address: usize) -> Position {
        Position { entries: self.entries, address }
    }

    /// The thread has come to another native stack than that of the frames outside, and is about to run managed
    /// code there; or that is over. Nothing depends on its being told, but for those who verify walks: from here
    /// other walkers do not find the way to the frames outside.
    pub fn on_another_native_stack(&self, begins: bool) {
        #[cfg(feature = "verify-walks")]
        self.interleaved.fetch_add(if begins { 1 } else { usize::MAX }, Ordering::Relaxed);
        #[cfg(not(feature = "verify-walks"))]
        let _ = begins;
    }

    /// Managed code of this stack is about to go on in this thread, after a callout in which the thread may have
    /// switched to other native stacks, and run managed code of other stack contexts there which is suspended now.
    ///
    /// # Safety
    /// The stack is that of the callout.
    #[inline]
    pub unsafe fn goes_on(this: *mut StackContext) {
        CURRENT.set(this);
    }

    /// Whether frames of other stacks may lie between those of this one.
    #[cfg(feature = "verify-walks")]
    pub(crate) fn is_interleaved(&self) -> bool {
        self.interleaved.load(Ordering::Relaxed) > 0
    }

    /// The stack as other threads see it.
    pub fn mutator(&self) -> &Arc<Mutator<StackContext>> {
        &self.mutator
    }

    /// Lets other threads make requests to the stack, until it is dropped.
    ///
    /// # Safety
    /// The stack must stay at this address until it is dropped. From now on the fields that are atomic are
    /// written by other threads; no reference to the whole structure may be alive while managed code can
    /// run or a request can come, only ones to fields.
    pub unsafe fn attach(this: *mut StackContext) {
        // SAFETY: the stack is alive and, as the caller vouches, stays where it is until `drop` detaches it.
        unsafe { (*this).mutator.attach(this) };
    }

    /// Offset of `stack_limit`.
    pub const STACK_LIMIT: i32 = 0;
    /// Offset of `poll_flag`.
    pub const POLL_FLAG: i32 = 8;
    /// Offset of `exit_fp`.
    pub const EXIT_FP: i32 = 16;
    /// Offset of `entry_sp`.
    pub const ENTRY_SP: i32 = 24;
    /// Offset of `resume`.
    pub const RESUME: i32 = 32;
    /// Offset of `results`.
    pub const RESULTS: i32 = 40;
    /// Offset of `on_poll`.
    pub const ON_POLL: i32 = 48;
    /// Offset of `on_trap`.
    pub const ON_TRAP: i32 = 56;
    /// Offset of `unwind_to`.
    pub(crate) const UNWIND_TO: i32 = 64;
}

impl Drop for StackContext {
    fn drop(&mut self) {
        if self.process.is_current() {
            self.mutator.detach();
        } else {
            std::mem::forget(std::mem::take(&mut self.redirected));
            std::mem::forget(self.mutator.clone());
        }
    }
}

impl Stack for StackContext {
    /// The frame record whose return address is looked at next.
    type Cursor = Position;
    type Records = RedirectTable;
    const AT_STOP: usize = 32;
    const AT_POLL: usize = 64;
    const AT_ONCE: usize = 256;

    unsafe fn arm(this: *const StackContext) {
        // SAFETY: the stack is alive; both fields are atomic, and nothing but they is borrowed.
        unsafe {
            (*this).poll_flag.store(1, Ordering::Release);
            (*this).stack_limit.store(usize::MAX, Ordering::Release);
        }
    }

    unsafe fn innermost(this: *const StackContext) -> Option<Position> {
        // SAFETY: the stack is alive and stands still.
        let (exit_fp, entries) = unsafe { ((*this).exit_fp, (*this).entries) };
        #[cfg(feature = "verify-walks")]
        // SAFETY: as above, and it is not divided.
        unsafe {
            crate::verify_walks::verify(&*this, crate::verify_walks::Start::Exit);
        }
        (exit_fp != 0).then_some(Position { entries, address: exit_fp })
    }

    unsafe fn records<'a>(this: *mut StackContext) -> &'a mut RedirectTable {
        // SAFETY: as the caller vouches.
        unsafe { &mut (*this).redirected }
    }

    unsafe fn divide(this: *mut StackContext, at: Position) -> RedirectTable {
        // SAFETY: as the caller vouches.
        let (barrier, outer) = unsafe { (*this).redirected.put_barrier(at) };
        // SAFETY: as above; the field is only used by who may divide the stack.
        unsafe { (*this).barrier = Some(barrier) };
        outer
    }

    unsafe fn unite(this: *mut StackContext, outer: RedirectTable) {
        // SAFETY: as the caller vouches.
        unsafe {
            (*this).redirected.unite(outer);
            (*this).barrier = None;
        }
    }
}

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(ContextHeader, stack) == ContextHeader::STACK as usize);
    assert!(offset_of!(ContextHeader, poll) == ContextHeader::POLL as usize);
    assert!(offset_of!(ContextHeader, on_callout) == 8);
    assert!(offset_of!(StackContext, stack_limit) == StackContext::STACK_LIMIT as usize);
    assert!(offset_of!(StackContext, poll_flag) == StackContext::POLL_FLAG as usize);
    assert!(offset_of!(StackContext, exit_fp) == StackContext::EXIT_FP as usize);
    assert!(offset_of!(StackContext, entry_sp) == StackContext::ENTRY_SP as usize);
    assert!(offset_of!(StackContext, resume) == StackContext::RESUME as usize);
    assert!(offset_of!(StackContext, results) == StackContext::RESULTS as usize);
    assert!(offset_of!(StackContext, on_poll) == StackContext::ON_POLL as usize);
    assert!(offset_of!(StackContext, on_trap) == StackContext::ON_TRAP as usize);
    assert!(offset_of!(StackContext, unwind_to) == StackContext::UNWIND_TO as usize);
};

//! Walking the managed frames of a stack by frame pointers.
//!
//! Managed code and stubs keep frame records (`push rbp; mov rbp, rsp`), so from the record of the stub
//! through which managed code left for Rust, the chain leads from callee to caller until a return address
//! lies in the entry trampoline. The trampoline's frame holds the record of the previous exit: any number
//! of Rust frames in between is skipped in one step, whatever they look like, and on whatever native stack
//! they and the frames outside them lie: see [`Position`].
//!
//! A tail call can have put a frame of its stub between a callee and its caller, which is skipped too.
//!
//! ```text
//!   exit_fp ->  stub frame        [fp+8] return address into frame 0, [fp] frame 0's fp
//!               frame 0           [fp+8] return address into frame 1, ...
//!               ...
//!               entry trampoline  [fp-64] exit_fp of the segment below, or 0
//!               Rust frames
//!               stub frame of the segment below ...
//! ```

use crate::code::code_object::CodeObject;
use crate::code::registry;
use crate::stack::context::StackContext;
use crate::stack::position::Position;
use crate::stack::redirect_table::RedirectTable;
use crate::stub_addresses;
use std::sync::Arc;

/// A suspended managed frame.
#[derive(Debug)]
#[non_exhaustive]
pub struct WalkedFrame {
    /// Its frame pointer: address of its frame record.
    pub fp: usize,
    /// Where it goes on in its own code: the original return address, also when that is redirected.
    pub pc: usize,
    /// How many calls from Rust into managed code were under way when the frame was called.
    pub entries: usize,
    /// The stack slot that holds the return address.
    pub(crate) return_slot: *mut usize,
    /// The frame record of the managed frame or stub that runs inside it. Usually the return slot belongs to it.
    pub(crate) inside: usize,
    /// Whether the frame will leave its code when it is returned to.
    pub redirected: bool,
    /// Whether the slot leads to the landing stub.
    lands: bool,
    object: *const CodeObject,
}

impl WalkedFrame {
    /// Where it lies among the frames of its stack.
    pub(crate) fn position(&self) -> Position {
        Position { entries: self.entries, address: self.fp }
    }

    /// Whether the frame is returned to through the landing stub.
    pub(crate) fn lands(&self) -> bool {
        self.lands
    }

    /// The code object that the frame runs.
    pub fn object(&self) -> &CodeObject {
        // SAFETY: a code object with a suspended frame is alive: registered, or kept by the redirect
        // table, whose entry stays as long as the frame.
        unsafe { &*self.object }
    }

    /// The same, owned.
    pub fn object_arc(&self) -> Arc<CodeObject> {
        // SAFETY: as above; code objects live in `Arc`s only.
        unsafe { CodeObject::counted(self.object) }
    }
}

/// Iterator over the managed frames of a stack, innermost first.
#[derive(Debug)]
pub struct StackWalk<'a> {
    /// Frame record whose return address is looked at next; 0: end.
    record: usize,
    /// The number of the call from Rust that it lies inside.
    entries: usize,
    table: &'a RedirectTable,
}

impl StackContext {
    /// Walks the frames below the innermost exit. See [`StackWalk`].
    ///
    /// # Safety
    /// The thread that owns this stack is in Rust code reached through a callout or a poll, or has no
    /// managed frames; and is this thread, or stopped while the iterator lives.
    pub unsafe fn walk(&mut self) -> StackWalk<'_> {
        // SAFETY: as the caller vouches.
        unsafe {
            self.settle();
            #[cfg(feature = "verify-walks")]
            crate::verify_walks::verify(self, crate::verify_walks::Start::Exit);
        }
        self.walk_unverified(self.exit_fp)
    }

    /// Walks the frames that called the function whose frame record is at `fp`.
    ///
    /// # Safety
    /// `fp` must be the frame pointer of a managed frame of this stack that is stopped past its prologue,
    /// and otherwise as for [`StackContext::walk`].
    pub unsafe fn walk_callers(&mut self, fp: usize) -> StackWalk<'_> {
        // SAFETY: as the caller vouches.
        unsafe {
            self.settle();
            #[cfg(feature = "verify-walks")]
            crate::verify_walks::verify(self, crate::verify_walks::Start::Frame(fp));
        }
        self.walk_unverified(fp)
    }

    /// Walks the frames that called the function with this frame record, which was entered last.
    pub(crate) fn walk_unverified(&self, record: usize) -> StackWalk<'_> {
        StackWalk { record, entries: self.entries, table: &self.redirected }
    }

    /// Completes what requesters have under way on this stack: the frames outside a barrier are theirs.
    ///
    /// # Safety
    /// As for [`StackContext::walk`].
    pub(crate) unsafe fn settle(&mut self) {
        if self.barrier.is_some() {
            let mutator = self.mutator.clone();
            // SAFETY: this is the stack's thread; its frames stand still.
            unsafe { mutator.settle(self) };
        }
    }
}

impl<'a> StackWalk<'a> {
    /// Walks the frames from a frame record on, of which `table` knows the redirected ones.
    ///
    /// # Safety
    /// The frames stand still while the iterator lives.
    pub(crate) unsafe fn new(table: &'a RedirectTable, from: Position) -> StackWalk<'a> {
        StackWalk { record: from.address, entries: from.entries, table }
    }

    /// The frame record to go on from; `None` at the end.
    pub(crate) fn at(&self) -> Option<Position> {
        let at = Position { entries: self.entries, address: self.record };
        (self.record != 0).then_some(at)
    }
}

/// Distance from the entry trampoline's frame pointer to the saved `exit_fp`: see `stubs`.
const TRAMPOLINE_EXIT_FP: usize = 64;

impl Iterator for StackWalk<'_> {
    type Item = WalkedFrame;

    fn next(&mut self) -> Option<WalkedFrame> {
        let mut inside = self.record;
        loop {
            if self.record == 0 {
                return None;
            }
            let return_slot = (self.record + 8) as *mut usize;
            // SAFETY: `record` is a frame record: `exit_fp` is one, and so is each that a frame record
            // of managed code points to.
            let (pc, fp) = unsafe { (*return_slot, *(self.record as *const usize)) };
            if pc == stub_addresses::enter_return_address() {
                // SAFETY: the record belongs to a frame called by the trampoline, so `fp` is the
                // trampoline's frame pointer.
                self.record = unsafe { *((fp - TRAMPOLINE_EXIT_FP) as *const usize) };
                self.entries -= 1;
                inside = self.record;
                continue;
            }
            self.record = fp;
            if pc == stub_addresses::more_arguments_return() as *const () as usize {
                // What keeps arguments of a tail call is a frame like any other, but nobody's.
                continue;
            }
            if pc == stub_addresses::landing_address() {
                let at = Position { entries: self.entries, address: fp };
                let entry = self.table.get(at).expect("a redirected return address has an entry");
                return Some(WalkedFrame {
                    fp,
                    pc: entry.return_address,
                    entries: self.entries,
                    return_slot,
                    inside,
                    redirected: entry.moves,
                    lands: true,
                    object: entry.object(),
                });
            }
            let object = registry::lookup(pc - 1).expect("managed code calls from registered code");
            return Some(WalkedFrame {
                fp,
                pc,
                entries: self.entries,
                return_slot,
                inside,
                redirected: false,
                lands: false,
                object,
            });
        }
    }
}

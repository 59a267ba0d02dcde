//! Redirection: the only module that writes return addresses.
//!
//! ```text
//!           callee's frame                         callee's frame
//!   slot:   return address into F        ->        landing stub
//!           F's frame (machine code retired)       F's frame, until the callee returns
//! ```
//!
//! The original address is kept in the stack's [`RedirectTable`], together with the code object, whose
//! tables outlive its bytes. From then on no register, no stack slot and no table refers to the bytes.
//!
//! An address can also be redirected to serve as a barrier: see [`crate::handshake`]. If nothing else is to
//! happen to its frame, that goes on where it was.

use crate::handshake::Stack;
use crate::stack::context::StackContext;
use crate::stack::position::Position;
pub use crate::stack::redirect_table::RedirectTable;
use crate::stack::redirect_table::{Redirected, count_objects};
use crate::stack::walk::{StackWalk, WalkedFrame};
use crate::stub_addresses;
#[cfg(feature = "verify-walks")]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "verify-walks")]
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// How many return addresses have been rewritten in this process: those of redirected frames, and of frames
/// with barriers. Counted for tests only: it is one word that all threads write.
#[cfg(feature = "verify-walks")]
pub fn return_addresses_written() -> u64 {
    WRITTEN.load(Ordering::Relaxed)
}

/// The one place that writes a return address.
///
/// # Safety
/// `slot` must hold a return address into a managed frame for which the redirect table of its stack gets
/// an entry, and the thread that owns the stack must be this one, or stopped.
unsafe fn write_return_address(slot: *mut usize) {
    // SAFETY: the caller vouches for the slot.
    unsafe { *slot = stub_addresses::landing_address() };
    #[cfg(feature = "verify-walks")]
    WRITTEN.fetch_add(1, Ordering::Relaxed);
}

/// What [`StackContext::redirect_frames`] does about a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Redirect it, unless that has been done.
    Redirect,
    /// Leave it.
    Skip,
    /// Leave it, and all frames outside it.
    Stop,
}

/// Room for the entries of as many frames is made at once.
const FIRST_ENTRIES: usize = 64;

impl RedirectTable {
    /// Redirects frames as `choose` says, from the frame record `from` on, which is that of what the first
    /// of them has called. Goes through at most so many frames. Returns how many were redirected, and the
    /// record to go on from, if there may be more.
    ///
    /// # Safety
    /// The table is that of the frames' stack or, if that is divided, of the frames outside the barrier.
    /// Until it has been merged nothing returns into them: the frames stand still. As for selected frames:
    /// see [`StackContext::redirect_frames`].
    pub unsafe fn redirect(
        &mut self,
        from: Position,
        most: usize,
        mut choose: impl FnMut(&WalkedFrame) -> Choice,
    ) -> (usize, Option<Position>) {
        let mut added = Vec::with_capacity(most.min(FIRST_ENTRIES));
        // Frames that have an entry, but so far only as a barrier.
        let mut moved = Vec::new();
        // SAFETY: as the caller vouches.
        let mut walk = unsafe { StackWalk::new(self, from) };
        let mut left = most;
        let next = loop {
            if left == 0 {
                break walk.at();
            }
            left -= 1;
            let Some(frame) = walk.next() else { break None };
            match choose(&frame) {
                Choice::Stop => break None,
                Choice::Redirect if !frame.redirected => {}
                Choice::Redirect | Choice::Skip => continue,
            }
            if frame.lands() {
                moved.push(frame.position());
                continue;
            }
            // SAFETY: they are counted and added below, while the frames stand still.
            added.push(unsafe { Redirected::uncounted(&frame) });
            // SAFETY: the walk found a managed return address there, and the entry is added below,
            // before anything can return.
            unsafe { write_return_address(frame.return_slot) };
        };
        let count = added.len() + moved.len();
        // SAFETY: what the frames' return addresses were looked up by is registered until this has been done
        // on all stacks.
        unsafe { count_objects(&mut added) };
        self.add(added);
        for at in moved {
            self.get_mut(at).expect("it has an entry").moves = true;
        }
        (count, next)
    }

    /// Puts a barrier on the first frame from the frame record `from` on. Returns where it is, and the
    /// entries of the frames outside it.
    ///
    /// # Safety
    /// As for [`RedirectTable::redirect`]; there must be such a frame, at a site with a frame map.
    pub(crate) unsafe fn put_barrier(&mut self, from: Position) -> (Position, RedirectTable) {
        // SAFETY: as the caller vouches.
        let frame = unsafe { StackWalk::new(self, from) }.next().expect("a frame for the barrier");
        if !frame.lands() {
            self.add(vec![Redirected::new(&frame, false)]);
            // SAFETY: as in `redirect`.
            unsafe { write_return_address(frame.return_slot) };
        }
        (frame.position(), self.split_outside(frame.position()))
    }
}

impl StackContext {
    /// Redirects every suspended frame that `choose` chooses and that is not redirected yet: when it is
    /// returned to, it is captured and transferred instead. Frames are asked for from the innermost
    /// outwards. Returns how many were redirected.
    ///
    /// # Safety
    /// The thread that owns this stack is in Rust code reached through a callout or a poll (or has no
    /// managed frames), and is this thread or stopped. Every selected frame must be at a site with a frame
    /// map, which holds for all calls that managed code makes except runtime calls.
    pub unsafe fn redirect_frames(&mut self, choose: impl FnMut(&WalkedFrame) -> Choice) -> usize {
        // SAFETY: as the caller vouches.
        unsafe {
            self.settle();
            match Self::innermost(self) {
                Some(from) => self.redirected.redirect(from, usize::MAX, choose).0,
                None => 0,
            }
        }
    }

    /// Redirects the innermost managed frame alone: the one that made the poll or callout. Returns
    /// whether there was one to redirect.
    ///
    /// # Safety
    /// As for [`StackContext::redirect_frames`].
    pub unsafe fn redirect_innermost(&mut self) -> bool {
        let exit = self.position(self.exit_fp);
        if exit.address == 0 {
            return false;
        }
        self.redirected.forget_inside(exit);
        // SAFETY: as the caller vouches. The innermost frame is inside the barrier: it has been returned to.
        unsafe { self.redirected.redirect(exit, 1, |_| Choice::Redirect).0 == 1 }
    }
}

/// Called by the unwinding stub before it drops all frames up to the innermost entry.
///
/// # Safety
/// Only the stub calls it, with the stack of this thread.
pub(crate) unsafe extern "sysv64" fn unwinding(stack: *mut StackContext) {
    // SAFETY: the stack is this thread's. The trampoline's frame and those outside it stay.
    unsafe {
        if !(*stack).process.is_current() {
            // A host function has forked: there are no requesters any more.
            return;
        }
        let entries = (*stack).entries;
        if (*stack).barrier.is_none_or(|barrier| barrier.entries < entries) {
            return;
        }
        let address = stub_addresses::exit_fp_before_entry((*stack).entry_sp);
        let mutator = (*stack).mutator.clone();
        let outer = Position { entries: entries - 1, address };
        mutator.unwind(stack, (address != 0).then_some(outer));
    }
}

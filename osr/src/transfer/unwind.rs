//! Unwinding to a frame: those inside it are dropped, and it goes on elsewhere, as if what it has called had
//! returned to the landing.
//!
//! ```text
//!   callout stub      asked for it: its handler answers `CalloutOutcome::UnwindToFrame`
//!   frame 0           dropped: the registers that its prologue saved are given back
//!   ...
//!   frame n           captured by the landing in its canonical form; the hook knows where it goes on
//!   entry trampoline  stays, and all outside it
//! ```
//!
//! That is how exceptions reach their handlers. No machine code belongs to a handler: a frame leaves its code
//! to get there, so that it makes no difference whether that is still there.

use crate::code::registers::{CALLEE_SAVED, RBP, RSP};
use crate::stack::context::{ContextHeader, StackContext};
use crate::stack::read_frames::FrameReader;
use crate::stack::redirect_table::Redirected;
use crate::stack::walk::WalkedFrame;
use std::ops::ControlFlow;

/// The context pointer of the frame that is asked about.
pub type ContextOfFrame<'a> = dyn Fn() -> Option<*mut ContextHeader> + 'a;

impl StackContext {
    /// Looks for a frame to unwind to among those that the innermost call from Rust has entered, from the
    /// innermost one outwards, until `choose` breaks: with `true` at the frame, with `false` if there is none.
    ///
    /// Whether there is one: then the handler of the callout that the thread is in must answer
    /// [`CalloutOutcome::UnwindToFrame`](crate::CalloutOutcome::UnwindToFrame), and
    /// [`TransferHook::transfer`](crate::TransferHook::transfer) is given the frame next. What its callee has
    /// returned means nothing.
    ///
    /// # Safety
    /// The thread that owns this stack is this one. It is in a callout, and nothing has called managed code
    /// since that has not ended. If a frame is found, no managed code runs on this stack before the handler
    /// answers, and no request is served.
    pub unsafe fn unwind_to_frame(
        &mut self,
        mut choose: impl FnMut(&WalkedFrame, &ContextOfFrame<'_>) -> ControlFlow<bool>,
    ) -> bool {
        // SAFETY: as the caller vouches.
        unsafe {
            self.settle();
            #[cfg(feature = "verify-walks")]
            crate::verify_walks::verify(self, crate::verify_walks::Start::Exit);
        }
        let entries = self.entries;
        let mut reader = FrameReader::new(self.walk_unverified(self.exit_fp));
        let (at, entry, gpr) = loop {
            let Some(found) = reader.advance().map(|frame| frame.entries) else { return false };
            if found != entries {
                return false;
            }
            let Some(frame) = reader.frame() else { return false };
            match choose(frame, &|| reader.context()) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(false) => return false,
                ControlFlow::Break(true) => {
                    let entry = (!frame.lands()).then(|| Redirected::new(frame, true));
                    break (frame.position(), entry, *reader.registers());
                }
            }
        };
        self.redirected.forget_inside(at);
        match entry {
            Some(entry) => self.redirected.add_innermost(entry),
            None => self.redirected.get_mut(at).expect("it has an entry").moves = true,
        }
        let [rbx, r12, r13, r14, r15] = CALLEE_SAVED.map(|n| gpr[usize::from(n)]);
        self.unwind_to = [rbx, r12, r13, r14, r15, gpr[RBP], gpr[RSP]];
        true
    }
}

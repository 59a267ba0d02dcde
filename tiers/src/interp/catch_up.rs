//! Frames of the interpreter catch up with replaced functions.
//!
//! Whoever replaces functions counts `StoreContext::epoch` up, and that is all that happens at that moment,
//! however many frames there are. Each activation knows the epoch as of which its frames have been looked
//! at, and compares wherever control comes back to its handlers: when a call into machine code or of the
//! host returns, and at safepoints where the poll flag is set. If the epoch is another one, the top frame
//! is looked at: if its function has another body now, the embedder says whether the frame goes on in that
//! one, stays in its own, or traps. And the return address of the top frame is replaced by that of an
//! instruction, the *landing*, which does the same for the frame that is returned to.
//!
//! ```text
//!  innermost                                                             base
//!  +-----------+ return  +-----------+         +-----------+            +-----------+
//!  | top       |-------->| caller    |-------->|           |--- ... --->|           |---> EXIT
//!  +-----------+    |    +-----------+         +-----------+            +-----------+
//!   looked at    LANDING  looked at when         ... one after the other
//!                         returned to
//! ```
//!
//! So an activation has one landing at most, the frames inside it have been looked at as of the
//! activation's epoch, and those outside have not. When the epoch changes again, the landing goes back to
//! the top. Frames pushed meanwhile run code that was current when they were pushed.
//!
//! A frame that moves is written anew at the same place of the value stack. It is on top, so that nothing
//! is above it but the results of the call that has returned.

use super::code::LoweredCode;
use super::frame::{self, CALLER_FP, RETURN_IP};
use super::machine::Machine;
use super::ops::control::LOOP_HEADER;
use super::{Activation, CanonicalFrame, Position};
use crate::context::{FrameContinuation, StoreContext, SuspendedFrame};
use crate::trap::TrapCode;
use midair_osr::SiteKind;
use std::sync::atomic::Ordering;

/// Where the top frame goes on.
pub(super) struct GoOn {
    pub(super) ip: *const u8,
    pub(super) fp: *mut u64,
}

/// Ends a handler after control has been outside: goes on where the `Option<GoOn>` says, or traps.
///
/// A macro and not a function, because a handler must pass its registers on and not their address.
macro_rules! go_on {
    ($m:ident, $go_on:expr) => {
        match $go_on {
            Some($crate::interp::catch_up::GoOn { ip, fp }) => {
                ($m.ip, $m.fp) = (ip, fp);
                $m.reload_memory();
                $m.dispatch()
            }
            None => $crate::interp::machine::Flow::TRAPPED,
        }
    };
}
pub(super) use go_on;

/// Whether functions have been replaced since the innermost activation has caught up.
///
/// # Safety
/// `st` must be the context of a live store, on whose thread an activation runs.
#[inline(always)]
pub(super) unsafe fn is_due(st: *const StoreContext) -> bool {
    // SAFETY: an activation runs, so the store context points to it.
    unsafe {
        let activation = (*st).activation.cast::<Activation>();
        (*st).epoch.load(Ordering::Acquire) != (*activation).epoch
    }
}

/// Looks at the top frame, which is at `position`, and lets its return lead to the landing. At a call,
/// that has returned and its results are in place. Answers where the frame goes on, for a loop behind its
/// header; `None` if a trap was raised.
///
/// # Safety
/// The registers must be those of a running activation.
#[cold]
#[inline(never)]
pub(super) unsafe fn catch_up(mut m: Machine, position: Position) -> Option<GoOn> {
    // SAFETY: an activation runs, so the store context points to it; its frames are alive.
    unsafe {
        let activation = (*m.st).activation.cast::<Activation>();
        // First of all: what is replaced from here on is for the next time.
        (*activation).epoch = (*m.st).epoch.load(Ordering::Acquire);
        m.ip = (*activation).lift_landing(m.ip);
        m.save(position);
        let go_on = look_at(m, position)?;
        (*activation).set_landing(go_on.fp);
        Some(go_on)
    }
}

/// Lets the top frame go on in the body that the embedder wants it to.
///
/// # Safety
/// As for [`catch_up`]; the top frame must have been saved.
unsafe fn look_at(m: Machine, position: Position) -> Option<GoOn> {
    // SAFETY: the caller's contract; the saved frame is alive, and so is its code.
    unsafe {
        let stays = match position {
            Position::Loop => GoOn { ip: m.ip.add(LOOP_HEADER), fp: m.fp },
            _ => GoOn { ip: m.ip, fp: m.fp },
        };
        let code: &LoweredCode = &*frame::code(m.fp);
        let env = &*(*m.cx).env;
        let state = (*m.cx).functions.add((code.body().function - env.imported_functions) as usize);
        if std::ptr::eq((*state).lowered.load(Ordering::Acquire).cast(), code.usual()) {
            return Some(stays);
        }
        let mut suspended = {
            let top = (*(*m.st).activation.cast::<Activation>()).frames().next()?;
            let values = top.capture_returned().expect("the frame is at a safepoint");
            SuspendedFrame { code: top.code(), point: top.point(), values }
        };
        match ((*(*m.cx).builtins).continuation)(m.cx, &mut suspended) {
            FrameContinuation::Stay => return Some(stays),
            FrameContinuation::Move => {}
            FrameContinuation::Trap(code) => {
                m.raise_at(position, code as u32);
                return None;
            }
        }
        let kind = if position == Position::Call { SiteKind::Call } else { SiteKind::Poll };
        let SuspendedFrame { code: to, point, values } = &suspended;
        let moved = CanonicalFrame { kind, point: *point, values };
        let (to, offset) = moved.place(&**to, env);
        let base = m.fp.sub(code.locals as usize);
        let linkage = [m.fp.add(RETURN_IP).read(), m.fp.add(CALLER_FP).read()];
        let Some(top) = m.push(to, base, linkage) else {
            m.raise_at(position, TrapCode::StackOverflow as u32);
            return None;
        };
        moved.write(to, top.fp);
        Some(GoOn { ip: top.ip.add(offset as usize), fp: top.fp })
    }
}

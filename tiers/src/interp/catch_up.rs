//! Frames of the interpreter catch up with replaced functions.
//!
//! Whoever replaces functions counts the module's `InstanceContext::epoch` up, and that is all that happens
//! at that moment, however many frames there are. Each activation knows the epoch as of which its frames have been looked
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
//! A frame that stays in an old body runs a form of it ([`LoweredCode::with_exits`]) in which it is looked at
//! again wherever it need not stay.
//!
//! A frame that moves is written anew at the same place of the value stack. It is on top, so that nothing
//! is above it but the results of the call that has returned.

use super::machine::Machine;
use super::ops::control::LOOP_HEADER;
use super::{Activation, CanonicalFrame, Position, epoch};
use crate::context::{FrameContinuation, SuspendedFrame};
use crate::lowered::code::LoweredCode;
use crate::lowered::frame::{self, CALLER_FP, RETURN_IP};
use crate::trap::TrapCode;
use midair_osr::SiteKind;
use std::sync::atomic::Ordering;

/// Ends a handler after control has been outside: if `$came_back`, goes on where the activation says, and
/// else traps.
///
/// A macro and not a function, because a handler must pass its registers on and not their address. For
/// the same reason the way goes through the activation: a handler that has memory for the results of a
/// call might end in a call and not in a jump.
macro_rules! go_on {
    ($m:ident, $came_back:expr) => {{
        if !$came_back {
            return $crate::interp::machine::Flow::TRAPPED;
        }
        $m.restore();
        $m.reload_memory();
        $m.dispatch()
    }};
}
pub(super) use go_on;

/// Whether functions have been replaced since the innermost activation has caught up.
///
/// # Safety
/// The registers must be those of a running activation.
#[inline(always)]
pub(super) unsafe fn is_due(m: Machine) -> bool {
    // SAFETY: an activation runs, so the store context points to it.
    unsafe {
        let activation = (*m.st).activation.cast::<Activation>();
        epoch(m.cx) != (*activation).epoch
    }
}

/// Looks at the top frame, which is at `position`, and lets its return lead to the landing. At a call,
/// that has returned and its results are in place. Afterwards the activation says where the frame goes on,
/// for a loop behind its header. Answers false if a trap was raised.
///
/// # Safety
/// The registers must be those of a running activation.
#[cold]
#[inline(never)]
pub(super) unsafe fn catch_up(mut m: Machine, position: Position) -> bool {
    // SAFETY: an activation runs, so the store context points to it; its frames are alive.
    unsafe {
        let activation = (*m.st).activation.cast::<Activation>();
        // First of all: what is replaced from here on is for the next time.
        (*activation).epoch = epoch(m.cx);
        m.ip = (*activation).lift_landing(m.ip);
        m.save(position);
        let Some(m) = look_at(m, position) else { return false };
        (*activation).set_landing(m.fp);
        m.save(Position::Call);
        true
    }
}

/// Lets the top frame go on in the body that the embedder wants it to. Answers with the registers there;
/// `None` if a trap was raised.
///
/// # Safety
/// As for [`catch_up`]; the top frame must have been saved.
pub(super) unsafe fn look_at(m: Machine, position: Position) -> Option<Machine> {
    // SAFETY: the caller's contract; the saved frame is alive, and so is its code.
    unsafe {
        let code: &LoweredCode = &*frame::code(m.fp);
        let env = &*(*m.cx).env;
        let state = (*m.cx).functions.add((code.body().function - env.imported_functions) as usize);
        if std::ptr::eq((*state).lowered.load(Ordering::Acquire).cast(), code.usual()) {
            return Some(m.behind_loop_header(position));
        }
        let mut suspended = {
            let top = (*(*m.st).activation.cast::<Activation>()).frames().next()?;
            let values = top.capture_returned().expect("the frame is at a safepoint");
            SuspendedFrame { code: top.code(), point: top.point(), values }
        };
        match ((*(*m.cx).builtins).continuation)(m.cx, &mut suspended) {
            FrameContinuation::Stay => return Some(m.behind_loop_header(position)),
            FrameContinuation::Move => {}
            FrameContinuation::Trap(code) => {
                m.raise_at(position, code as u32);
                return None;
            }
        }
        let kind = if position == Position::Call { SiteKind::Call } else { SiteKind::Poll };
        let SuspendedFrame { code: to, point, values } = &suspended;
        if std::ptr::eq(*to, code) {
            // It stays, and runs code with exits already.
            return Some(m.behind_loop_header(position));
        }
        let moved = CanonicalFrame { kind, point: *point, values };
        let (to, offset) = moved.place(&**to, env);
        let base = m.fp.sub(code.locals as usize);
        let linkage = [m.fp.add(RETURN_IP).read(), m.fp.add(CALLER_FP).read()];
        let Some(mut top) = m.push(to, base, linkage) else {
            m.raise_at(position, TrapCode::StackOverflow as u32);
            return None;
        };
        moved.write(to, top.fp);
        top.ip = to.at(offset);
        Some(top)
    }
}

impl Machine {
    /// Goes behind the loop header, if the position is one.
    ///
    /// # Safety
    /// The machine must be at this position.
    unsafe fn behind_loop_header(mut self, position: Position) -> Machine {
        if position == Position::Loop {
            // SAFETY: the caller's contract.
            self.ip = unsafe { self.ip.add(LOOP_HEADER) };
        }
        self
    }
}

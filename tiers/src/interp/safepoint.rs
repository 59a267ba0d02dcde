//! Safepoints of the interpreter: function entry and loop headers.

use super::catch_up::{self, go_on};
use super::machine::{Flow, Machine, handlers};
use super::ops::calls::leave;
use super::ops::control::LOOP_HEADER;
use super::{Activation, Position, TailCall};
use crate::body::FunctionBody;
use crate::context::{SafepointAction, StoreContext};
use crate::lowered::code::LoweredCode;
use crate::lowered::frame::{self, CALLER_FP, RETURN_IP};
use std::sync::atomic::Ordering;

/// Whether someone asks for the attention of this store.
///
/// # Safety
/// `st` must be the context of a live store.
#[inline(always)]
pub(crate) unsafe fn pending(st: *const StoreContext) -> bool {
    // SAFETY: callers pass the store context of a running activation.
    unsafe { (*st).stack.poll_flag.load(Ordering::Relaxed) != 0 }
}

handlers! {
    /// The frame's function was called; the instruction is its first, and has not been executed.
    #[cold]
    #[inline(never)]
    fn at_entry(m) {
        m.save(Position::Entry);
        match ask(m, FunctionBody::ENTRY) {
            SafepointAction::Trap(code) => m.raise_at(Position::Entry, code as u32),
            // Whatever code was offered may be that of an old body.
            _ if catch_up::is_due(m) => {
                go_on!(m, catch_up::catch_up(m, Position::Entry))
            }
            SafepointAction::Continue => {
                m.reload_memory();
                // There may be baseline code by now.
                m.ip = (*frame::code(m.fp)).entry();
                m.dispatch()
            }
            SafepointAction::Enter(native) => go_on_in(m, native),
        }
    }
    /// The instruction is a loop header.
    #[cold]
    #[inline(never)]
    fn at_loop(m) {
        m.save(Position::Loop);
        match ask(m, m.operand(12)) {
            SafepointAction::Trap(code) => m.raise_at(Position::Loop, code as u32),
            // Whatever code was offered may be that of an old body.
            _ if catch_up::is_due(m) => {
                go_on!(m, catch_up::catch_up(m, Position::Loop))
            }
            SafepointAction::Continue => {
                m.reload_memory();
                // There may be baseline code by now.
                let code: &LoweredCode = &*frame::code(m.fp);
                m.ip = code.at(code.offset_of(m.ip) + LOOP_HEADER as u32);
                m.dispatch()
            }
            SafepointAction::Enter(native) => {
                // At a loop header everything lies in its place.
                let code: &LoweredCode = &*frame::code(m.fp);
                let (locals, temps) = (code.locals as usize, m.fp.add(code.first_temp as usize));
                let height = m.operand::<u32>(16) as usize;
                let resume = (*m.st).stack.resume;
                std::ptr::copy_nonoverlapping(m.fp.sub(locals), resume, locals);
                std::ptr::copy_nonoverlapping(temps, resume.add(locals), height);
                go_on_in(m, native)
            }
        }
    }
}

handlers! {
    /// The instruction is a loop header at which frames of this body may go on in a newer one.
    #[cold]
    #[inline(never)]
    fn at_loop_exit(m) {
        m.save(Position::Loop);
        match ask(m, m.operand(12)) {
            SafepointAction::Trap(code) => m.raise_at(Position::Loop, code as u32),
            // Whatever code was offered is that of the old body.
            _ => go_on!(m, catch_up::catch_up(m, Position::Loop)),
        }
    }
}

/// Asks the embedder what to do at `point` of the top frame.
///
/// # Safety
/// The registers must be those of a running activation and saved in it, and its top frame must be at
/// the safepoint `point`.
unsafe fn ask(m: Machine, point: u32) -> SafepointAction {
    // SAFETY: the registers are those of a running activation.
    unsafe {
        let code: &LoweredCode = &*frame::code(m.fp);
        let function = code.body().function;
        let builtins = &*(*m.cx).builtins;
        let imported = (*(*m.cx).env).imported_functions;
        let state = (*m.cx).functions.add((function - imported) as usize);
        if (*state).countdown.load(Ordering::Relaxed) < 0 {
            let action = (builtins.hot)(m.cx, function, point);
            if action != SafepointAction::Continue {
                return action;
            }
        }
        if pending(m.st) {
            (builtins.safepoint)(m.cx, function, point)
        } else {
            SafepointAction::Continue
        }
    }
}

/// Gives the top frame up for machine code that takes its place. The state that an OSR entry loads
/// has been put into `StackContext::resume`; the ordinary entry finds the arguments in the frame.
///
/// # Safety
/// The registers must be those of a running activation at a safepoint. `native` must be an entry of the
/// top frame's function: the ordinary one if the frame is at its entry, or else an OSR entry for its
/// safepoint whose state `StackContext::resume` holds.
#[inline(always)]
unsafe fn go_on_in(mut m: Machine, native: *const u8) -> Flow {
    // SAFETY: the frame's arguments lie in its caller's operand stack.
    unsafe {
        let code: &LoweredCode = &*frame::code(m.fp);
        let first = m.fp.sub(code.locals as usize);
        m.ip = m.fp.add(RETURN_IP).read() as *const u8;
        m.fp = m.fp.add(CALLER_FP).read() as *mut u64;
        let type_index = (&(*(*m.cx).env).functions)[code.body().function as usize];
        if m.fp.is_null() {
            // It need not be the function that was called.
            let activation = (*m.st).activation.cast::<Activation>();
            (*activation).give_up_base_for(TailCall { code: native, context: m.cx, type_index });
            return Flow::TAIL_CALL;
        }
        go_on!(m, leave(m, native, m.cx, type_index, first))
    }
}

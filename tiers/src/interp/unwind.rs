//! Exceptions on their way through the frames of an activation.
//!
//! An exception comes out of the top frame's `throw`, or out of a call that it has made. Frames are dropped from the
//! top until one has a handler for it, which goes on there; if none has, the activation ends as with a trap, and
//! whoever began it asks the frames outside.
//!
//! A frame whose function has been replaced is moved first, as if its call had returned: the handlers are those of the
//! body that it goes on in.

use super::catch_up::{is_due, look_at};
use super::machine::Machine;
use super::{Activation, Position, epoch};
use crate::context::{InstanceContext, StoreContext};
use crate::lowered::code::{Handler, LoweredCode};
use crate::lowered::frame::{self, CALLER_FP, RETURN_IP};
use crate::trap::TrapCode;

/// Throws a new exception, with its values at `values`. The top frame has been saved, suspended at the `throw`. If a frame
/// of the activation handles it, the activation says where that goes on; if the answer is false, the exception or a
/// trap is on its way.
///
/// What is handed over are registers and not a [`Machine`], whose address would escape: handlers that throw must end in a
/// jump.
///
/// # Safety
/// The registers must be those of a running activation; the values must be those of the tag.
#[cold]
#[inline(never)]
pub(super) unsafe fn throw(
    cx: *mut InstanceContext,
    st: *mut StoreContext,
    tag: u32,
    values: *const u64,
) -> bool {
    // SAFETY: the caller's contract.
    unsafe {
        let top = expose_frames(st);
        ((*(*cx).builtins).throw)(cx, tag, values);
        (*st).value_top = top;
        unwind(cx, st)
    }
}

/// The same for an exception that has been caught by reference.
///
/// # Safety
/// As for [`throw`]; `exception` must be an `exnref` that is not null.
#[cold]
#[inline(never)]
pub(super) unsafe fn throw_ref(
    cx: *mut InstanceContext,
    st: *mut StoreContext,
    exception: u64,
) -> bool {
    // SAFETY: the caller's contract.
    unsafe {
        let top = expose_frames(st);
        ((*(*cx).builtins).throw_ref)(cx, exception);
        (*st).value_top = top;
        unwind(cx, st)
    }
}

/// Lets who looks for references find those of all frames, which lie below `value_top`. Answers what that was.
///
/// # Safety
/// As for [`throw`].
unsafe fn expose_frames(st: *mut StoreContext) -> *mut u64 {
    // SAFETY: an activation runs, whose top frame has been saved.
    unsafe {
        let (fp, _) = (*(*st).activation.cast::<Activation>()).saved();
        std::mem::replace(&mut (*st).value_top, fp.add((*frame::code(fp)).slots_above as usize))
    }
}

/// Whether what is on its way is an exception.
///
/// # Safety
/// `st` must be the context of a live store.
pub(super) unsafe fn is_exception(st: *const StoreContext) -> bool {
    // SAFETY: the store's context is alive.
    unsafe { (*st).trap == TrapCode::UncaughtException as u32 }
}

/// An exception is on its way out of the call that the top frame is suspended at, which has been saved. The answer is
/// that of [`throw`].
///
/// # Safety
/// As for [`throw`].
#[cold]
#[inline(never)]
pub(super) unsafe fn unwind(cx: *mut InstanceContext, st: *mut StoreContext) -> bool {
    // SAFETY: an activation runs, so the store context points to it; its frames are alive, and so is their code.
    unsafe {
        let activation = (*st).activation.cast::<Activation>();
        let mut m = Machine::outside(cx);
        (m.fp, m.ip) = (*activation).saved();
        // Whether some frames have not been looked at as of the present epoch.
        let unseen = is_due(m) || (*activation).has_landing();
        (*activation).epoch = epoch(m.cx);
        m.ip = (*activation).lift_landing(m.ip);
        let env = &*(*m.cx).env;
        loop {
            m.save(Position::Call);
            if unseen {
                clear_results(m);
                let Some(moved) = look_at(m, Position::Call) else { return false };
                m = moved;
            }
            let code: &LoweredCode = &*frame::code(m.fp);
            if code.has_handlers
                && let Some(handler) = handler(m, code)
            {
                let sites = code.sites(env);
                let to = m.fp.add(code.first_temp as usize + handler.height as usize);
                ((*(*m.cx).builtins).catch)(m.cx, &handler, to);
                let site = sites.site(handler.point).expect("handlers are safepoints");
                m.ip = code.at(site.resume);
                if unseen {
                    (*activation).set_landing(m.fp);
                }
                m.save(Position::Call);
                return true;
            }
            let caller = m.fp.add(CALLER_FP).read() as *mut u64;
            if caller.is_null() {
                return false;
            }
            m.ip = m.fp.add(RETURN_IP).read() as *const u8;
            m.fp = caller;
        }
    }
}

/// The handler of the exception that comes out of the call that the top frame is suspended at.
///
/// # Safety
/// The registers must be those of a running activation, with an exception on its way; `code` must be that of the top
/// frame.
unsafe fn handler(m: Machine, code: &LoweredCode) -> Option<Handler> {
    // SAFETY: the caller's contract; handlers name tags of the module.
    unsafe {
        let env = &*(*m.cx).env;
        // Behind the call: any byte of it will do.
        let point = code.sites(env).point_at(code.offset_of(m.ip) - 1);
        let thrown = (*(*m.st).exception).tag;
        code.handler(env, point, |tag| *(*m.cx).tags.add(tag as usize) == thrown)
    }
}

/// Gives the call that the top frame is suspended at results, as it has where frames are moved.
///
/// # Safety
/// The registers must be those of a running activation, suspended at a call that does not return.
unsafe fn clear_results(m: Machine) {
    // SAFETY: the caller's contract; the frame has room for the call's results.
    unsafe {
        let code: &LoweredCode = &*frame::code(m.fp);
        let sites = code.sites(&*(*m.cx).env);
        let point = sites.point_at(code.offset_of(m.ip) - 1);
        let Some(site) = sites.site(point) else { return };
        let temps = m.fp.add(code.first_temp as usize + site.height as usize);
        temps.write_bytes(0, site.results as usize);
    }
}

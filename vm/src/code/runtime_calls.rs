//! The runtime calls of the interpreter that are about code.

use super::ModuleCode;
use crate::builtins::store;
use crate::store::PendingExit;
use crate::trap::Trap;
use midair_tiers::context::{SafepointAction, Status};
use midair_tiers::{InstanceContext, TrapCode};
use std::sync::atomic::Ordering;

/// The code of the module that a runtime call comes from.
///
/// # Safety
/// `cx` must be the context of an instance whose store is alive.
unsafe fn code<'a>(cx: *mut InstanceContext) -> &'a ModuleCode {
    // SAFETY: the context points to its module's code, which the instance keeps alive.
    unsafe { &*(*cx).code.cast::<ModuleCode>() }
}

/// A function is called that has no code yet.
pub(crate) unsafe extern "sysv64" fn prepare(cx: *mut InstanceContext, function: u32) -> Status {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits.
    let (code, store) = unsafe { (code(cx), store(cx)) };
    match code.prepare(function) {
        Ok(()) => 0,
        Err(error) => {
            let error = crate::Error::new(Trap::InvalidFunction)
                .context(format!("function {function} is invalid: {error}"));
            store.pending = Some(PendingExit::Error(error));
            TrapCode::InvalidFunction as Status
        }
    }
}

/// A function's countdown has run out.
pub(crate) unsafe extern "sysv64" fn hot(
    cx: *mut InstanceContext,
    function: u32,
    _point: u32,
) -> SafepointAction {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits.
    let code = unsafe { code(cx) };
    code.state(function).countdown.store(i32::MAX, Ordering::Relaxed);
    SafepointAction::Continue
}

/// The poll flag is set.
pub(crate) unsafe extern "sysv64" fn safepoint(
    cx: *mut InstanceContext,
    _function: u32,
    _point: u32,
) -> SafepointAction {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits.
    let store = unsafe { store(cx) };
    if store.take_interrupt() {
        return SafepointAction::Trap(TrapCode::Interrupt);
    }
    SafepointAction::Continue
}

//! The runtime calls of the interpreter that are about code.

use super::builtins::store;
use crate::stack::{interpreter_frames, transition};
use crate::store::opaque::PendingExit;
use crate::types::trap::Trap;
use midair_tiers::context::{FrameContinuation, SafepointAction, Status, SuspendedFrame};
use midair_tiers::{InstanceContext, TrapCode};

/// A function is called that has no code yet.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the code that calls
/// must wait for the answer, so that nothing else uses the store. `function` must be one that the
/// instance's module defines.
pub(crate) unsafe extern "sysv64" fn prepare(cx: *mut InstanceContext, function: u32) -> Status {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits.
    let (code, mutator) = unsafe { (transition::module_of(cx), store(cx).mutator.clone()) };
    // SAFETY: as above; the function's code is looked up when it has some.
    match unsafe { transition::while_suspended(&mutator, || code.prepare(function)) } {
        Ok(()) => 0,
        Err(error) => {
            // SAFETY: as above.
            let store = unsafe { store(cx) };
            let error = anyhow::Error::new(Trap::InvalidFunction)
                .context(format!("function {function} is invalid: {error}"));
            store.pending = Some(PendingExit::Error(error));
            TrapCode::InvalidFunction as Status
        }
    }
}

/// A function's countdown has run out.
///
/// # Safety
/// As for [`prepare`]; the function must be at the safepoint `point` in the innermost frame, which the
/// interpreter has saved.
pub(crate) unsafe extern "sysv64" fn hot(
    cx: *mut InstanceContext,
    function: u32,
    point: u32,
) -> SafepointAction {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits.
    unsafe { transition::hot(cx, function, point) }
}

/// The poll flag is set.
///
/// # Safety
/// As for [`hot`].
pub(crate) unsafe extern "sysv64" fn safepoint(
    cx: *mut InstanceContext,
    function: u32,
    point: u32,
) -> SafepointAction {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits.
    unsafe { transition::safepoint(cx, function, point) }
}

/// Functions have been replaced, and a frame of the interpreter is about to go on.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and `frame` a frame of a
/// function of its module.
pub(crate) unsafe extern "sysv64" fn continuation(
    cx: *mut InstanceContext,
    frame: &mut SuspendedFrame,
) -> FrameContinuation {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits: at a call that
    // has returned, or at a safepoint.
    unsafe { interpreter_frames::continuation(cx, frame) }
}

//! Machine code calls a function that has no machine code: the interpreter runs it.

use crate::builtins::store;
use crate::{backtrace, invoke};
use midair_osr::{CalloutFrame, CalloutOutcome, ContextHeader, StackContext};
use midair_tiers::interp::{self, Exit};
use midair_tiers::{InstanceContext, TrapCode};

/// Handles the callout: `token` is the function's index.
///
/// # Safety
/// Only the callout stub calls it: `context` is an [`InstanceContext`], and `frame` what the stub saved.
pub(crate) unsafe extern "sysv64" fn on_callout(
    context: *mut ContextHeader,
    token: u32,
    frame: *mut CalloutFrame,
) -> usize {
    // SAFETY: as the caller vouches.
    unsafe { interpret(context.cast(), token, &mut *frame) }.into_word()
}

/// Runs a function in the interpreter with the arguments of a callout.
///
/// # Safety
/// As for [`on_callout`].
unsafe fn interpret(
    cx: *mut InstanceContext,
    function: u32,
    frame: &mut CalloutFrame,
) -> CalloutOutcome {
    // SAFETY: contexts with this handler are complete instance contexts; guest code waits for the
    // callout, so that the store is free.
    unsafe {
        let env = &*(*cx).env;
        let shape = env.shape(function);
        let runtime = (*cx).store();
        let base = (*runtime).value_top;
        let room = ((*runtime).value_limit as usize).saturating_sub(base as usize) / 8;
        // Between two runs of the interpreter lie frames of Rust.
        let native_overflow = invoke::stack_pointer() < store(cx).stack_limit;
        if native_overflow || room < shape.slot_count() {
            return raise(cx, TrapCode::StackOverflow);
        }
        shape.read_arguments(frame, std::slice::from_raw_parts_mut(base, shape.param_count()));
        match interp::call(cx, function, base) {
            Exit::Returned => {
                let results = std::slice::from_raw_parts(base, shape.result_count());
                let stack: *mut StackContext = (*cx).header.stack;
                shape.write_results(frame, &mut *stack, results);
                CalloutOutcome::Return
            }
            Exit::Trapped => CalloutOutcome::Unwind,
            Exit::Enter(code) => CalloutOutcome::TailCall(code),
        }
    }
}

/// Raises a trap that belongs to no frame of the function that is being called.
///
/// # Safety
/// As for [`on_callout`].
unsafe fn raise(cx: *mut InstanceContext, code: TrapCode) -> CalloutOutcome {
    // SAFETY: as the caller vouches.
    unsafe {
        (*(*cx).store()).trap = code as u32;
        backtrace::capture(store(cx), None);
    }
    CalloutOutcome::Unwind
}


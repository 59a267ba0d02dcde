//! Tail calls that leave the interpreter: the frame that made one is gone, and its callee is called in its place.
//!
//! That is a jump out of the callout that had called the interpreter, and takes no stack:
//!
//! ```text
//!   caller's machine code --callout--> interpreter      becomes      caller's machine code ----> callee
//! ```
//!
//! Where the host had called the interpreter, it calls the callee.

use midair_osr::call::call_native;
use midair_osr::{CallShape, CalloutFrame, CalloutOutcome, NativeOutcome, StackContext};
use midair_tiers::InstanceContext;
use midair_tiers::interp::TailCall;

/// Ends a callout whose interpreter has tail-called something. `shape` is that of the callout; the arguments lie at
/// `base`.
///
/// # Safety
/// `call` must come from the interpreter, which has run in this callout for a function of `cx`.
pub(crate) unsafe fn leave_for(
    cx: *mut InstanceContext,
    call: TailCall,
    shape: &CallShape,
    frame: &mut CalloutFrame,
    base: *const u64,
) -> CalloutOutcome {
    // SAFETY: the caller vouches for the context, whose guest waits for the callout; the callee is of this type, and its
    // arguments are in place. The buffer for results has room for those of any function; an OSR entry's
    // state, which may be under way, is in the other one.
    unsafe {
        let callee = callee_shape(cx, call);
        let arguments = std::slice::from_raw_parts(base, callee.param_slots());
        let stack: *mut StackContext = (*cx).header.stack;
        let buffer = (*stack).results;
        callee.tail_call(call.code, call.context.cast(), arguments, shape, frame, buffer)
    }
}

/// Calls what was tail-called, with the arguments at `base`, where the results are put.
///
/// # Safety
/// As for [`leave_for`]; or the interpreter was called by the host.
pub(crate) unsafe fn run(
    cx: *mut InstanceContext,
    call: TailCall,
    base: *mut u64,
) -> NativeOutcome {
    // SAFETY: the caller's contract. What lies above `base` is nobody's any more.
    unsafe { call_native(call.code, call.context.cast(), callee_shape(cx, call), base) }
}

/// # Safety
/// `cx` must be the instance whose function makes the call.
unsafe fn callee_shape<'a>(cx: *mut InstanceContext, call: TailCall) -> &'a CallShape {
    // SAFETY: the caller's contract; modules outlive their instances.
    unsafe { &(&(*(*cx).env).shapes)[call.type_index as usize] }
}

//! Tail calls that leave the interpreter: the frame that made one is gone, and its callee is called in its place.
//!
//! Usually that is a jump out of the callout that had called the interpreter, and takes no stack:
//!
//! ```text
//!   caller's machine code --callout--> interpreter      becomes      caller's machine code ----> callee
//! ```
//!
//! Only where the callee has more arguments on the native stack than there is room for, it is called from here; and so that
//! a chain of such calls takes no stack either, the next of them unwinds the one before and is called in its place, by the
//! loop that has called that.

use crate::stack::exceptions::propagate;
use crate::store::of_context::store_of;
use crate::store::tail_calls::NextCall;
use midair_osr::call::call_native;
use midair_osr::{CallShape, CalloutFrame, CalloutOutcome, NativeOutcome, StackContext};
use midair_tiers::InstanceContext;
use midair_tiers::interp::TailCall;

/// Ends a callout whose interpreter has tail-called something. `shape` is that of the callout; the arguments lie at
/// `base`, from which there is room for the results.
///
/// # Safety
/// `call` must come from the interpreter, which has run in this callout for a function of `cx`.
pub(crate) unsafe fn leave_for(
    cx: *mut InstanceContext,
    call: TailCall,
    shape: &CallShape,
    frame: &mut CalloutFrame,
    base: *mut u64,
) -> CalloutOutcome {
    // SAFETY: the caller vouches for the context, whose guest waits for the callout; the callee is of this type, and its
    // arguments are in place.
    unsafe {
        let callee = callee_shape(cx, call);
        if callee.stack_slots() <= shape.stack_slots() {
            let arguments = std::slice::from_raw_parts(base, callee.param_slots());
            callee.write_arguments(frame, arguments);
            frame.set_context(call.context.cast());
            return CalloutOutcome::TailCall(call.code);
        }
        let store = store_of(cx);
        let entries = (*store.stack()).entries;
        if store.tail_calls.loops.last() == Some(&entries) && frame.returns_to_entry() {
            store.tail_calls.next = Some(NextCall { call, caller: cx, arguments: base });
            return CalloutOutcome::Unwind;
        }
        match run(cx, call, base) {
            NativeOutcome::Returned => {
                let results = std::slice::from_raw_parts(base, shape.result_slots());
                let stack: *mut StackContext = (*cx).header.stack;
                shape.write_results(frame, &mut *stack, results);
                CalloutOutcome::Return
            }
            NativeOutcome::Unwound => propagate(store_of(cx)),
        }
    }
}

/// Calls what was tail-called, with the arguments at `base`, where the results are put.
///
/// # Safety
/// As for [`leave_for`]; or the interpreter was called by the host.
pub(crate) unsafe fn run(
    mut cx: *mut InstanceContext,
    mut call: TailCall,
    base: *mut u64,
) -> NativeOutcome {
    // SAFETY: the caller's contract, also for what comes next. What lies above `base` is nobody's any more.
    unsafe {
        loop {
            let store = store_of(cx);
            store.tail_calls.loops.push((*store.stack()).entries + 1);
            let shape = callee_shape(cx, call);
            let outcome = call_native(call.code, call.context.cast(), shape, base);
            let store = store_of(cx);
            store.tail_calls.loops.pop();
            let Some(next) = store.tail_calls.next.take() else { return outcome };
            let slots = callee_shape(next.caller, next.call).param_slots();
            std::ptr::copy(next.arguments, base, slots);
            (cx, call) = (next.caller, next.call);
        }
    }
}

/// # Safety
/// `cx` must be the instance whose function makes the call.
unsafe fn callee_shape<'a>(cx: *mut InstanceContext, call: TailCall) -> &'a CallShape {
    // SAFETY: the caller's contract; modules outlive their instances.
    unsafe { &(&(*(*cx).env).shapes)[call.type_index as usize] }
}

//! Machine code calls a function that has no machine code: the interpreter runs it.

use crate::call::tail_calls;
use crate::call::waits::wait_in_code;
use crate::code::version::CodeOwner;
use crate::config::Tier;
use crate::stack::exceptions::{propagate, throw_from_code};
use crate::stack::raise::raise;
use crate::store::of_context::store_of;
use crate::store::transitions::Resumption;
use midair_osr::{
    CallShape, CalloutFrame, CalloutOutcome, ContextHeader, REQUEST_TOKEN, RESUME_TOKEN,
    StackContext,
};
use midair_tiers::compile::EntryPoint;
use midair_tiers::context::{WAITS_32, WAITS_64};
use midair_tiers::interp::{self, CanonicalFrame, Exit};
use midair_tiers::{FunctionBody, InstanceContext, TrapCode};

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
    unsafe {
        match token {
            RESUME_TOKEN => resume(context.cast(), &mut *frame),
            REQUEST_TOKEN => match (*frame).integer_argument(0) as u32 {
                WAITS_32 | WAITS_64 => wait_in_code(context.cast(), &mut *frame),
                _ => throw_from_code(context.cast(), &*frame),
            },
            function => interpret(context.cast(), function, &mut *frame),
        }
    }
    .into_word()
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
        let shape = (*(*cx).env).shape(function);
        let defined = function - (*(*cx).env).imported_functions;
        (*(*cx).functions.add(defined as usize)).count_crossing();
        let base = (*(*cx).store()).value_top;
        if !store_of(cx).has_room(shape.slot_count()) {
            return trap(cx, TrapCode::StackOverflow);
        }
        shape.read_arguments(frame, std::slice::from_raw_parts_mut(base, shape.param_slots()));
        let exit = interp::call(cx, function, base);
        leave(cx, shape, frame, base, exit)
    }
}

/// Goes on with a frame that has left its machine code: the callout is that of `resume_entry`, in place of
/// the frame's own function.
///
/// # Safety
/// As for [`on_callout`].
unsafe fn resume(cx: *mut InstanceContext, frame: &mut CalloutFrame) -> CalloutOutcome {
    // SAFETY: as in `interpret`. A transfer has just put the frame into the store.
    unsafe {
        let resumption = store_of(cx).transitions.resumption.take();
        let mut resumption = resumption.expect("a transfer comes first");
        resumption.serve(cx);
        let Resumption {
            module,
            origin,
            departure,
            version,
            kind,
            point,
            values,
            to_interpreter,
            trap: trapped,
            epoch,
            ..
        } = &*resumption;
        let (kind, point, departure) = (*kind, *point, *departure);
        if let Some(code) = *trapped {
            origin.frame_trapped(module);
            return trap(cx, code);
        }
        let shape = module.env.shape(version.body.function);
        if point == FunctionBody::ENTRY && !*to_interpreter {
            // The function has not begun: its code can be called as if for the first time.
            let code = version.code().object(EntryPoint::Function).cloned();
            if let Some(code) = code {
                shape.write_arguments(frame, &values[..shape.param_slots()]);
                store_of(cx).transitions.entering();
                let to = CodeOwner::of(&code).tier();
                origin.frame_moved(module, departure, to, version);
                return CalloutOutcome::TailCall(code.start());
            }
        }
        origin.frame_moved(module, departure, Tier::Interp, version);
        let lowered = match module.lowered(version) {
            Ok(lowered) => lowered,
            Err(_) => return trap(cx, TrapCode::InvalidFunction),
        };
        let lowered = version.code_of_frames(&module.env, lowered);
        let base = (*(*cx).store()).value_top;
        // The machine frame that is gone had room, and what it was about to call had: so they have it again.
        let limit = store_of(cx).lower_stack_limit();
        if !store_of(cx).has_room(shape.slot_count().max(lowered.frame_slots())) {
            store_of(cx).move_stack_limit(limit);
            return trap(cx, TrapCode::StackOverflow);
        }
        let canonical = CanonicalFrame { kind, point, values };
        let exit = interp::resume(cx, lowered, canonical, base, *epoch);
        store_of(cx).move_stack_limit(limit);
        leave(cx, shape, frame, base, exit)
    }
}

/// Ends a callout as the interpreter has ended.
///
/// # Safety
/// As for [`on_callout`]; `base` is where the interpreter has put the results.
unsafe fn leave(
    cx: *mut InstanceContext,
    shape: &CallShape,
    frame: &mut CalloutFrame,
    base: *mut u64,
    exit: Exit,
) -> CalloutOutcome {
    match exit {
        // SAFETY: as the caller vouches.
        Exit::Returned => unsafe {
            let results = std::slice::from_raw_parts(base, shape.result_slots());
            let stack: *mut StackContext = (*cx).header.stack;
            shape.write_results(frame, &mut *stack, results);
            CalloutOutcome::Return
        },
        // SAFETY: as the caller vouches: the interpreter has ended.
        Exit::Trapped => unsafe { propagate(store_of(cx)) },
        // At an entry the arguments are still in the frame; an OSR entry does not look at them.
        Exit::Enter(code) => CalloutOutcome::TailCall(code),
        // SAFETY: as the caller vouches.
        Exit::TailCall(call) => unsafe { tail_calls::leave_for(cx, call, shape, frame, base) },
    }
}

/// Raises a trap that belongs to no frame of the function that is being called.
///
/// # Safety
/// As for [`on_callout`].
unsafe fn trap(cx: *mut InstanceContext, code: TrapCode) -> CalloutOutcome {
    // SAFETY: as the caller vouches.
    raise(unsafe { store_of(cx) }, code);
    CalloutOutcome::Unwind
}

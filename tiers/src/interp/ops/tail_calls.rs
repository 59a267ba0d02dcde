//! Tail calls: the callee's frame takes the place of its caller's.
//!
//! ```text
//!   first slot                fp                       args
//!   | caller's locals         | header | operands ..   | arguments |
//!   | arguments | callee's other locals | header | temps ..
//! ```
//!
//! The callee returns to where its caller would have. What is not interpreted in the same activation is called when the
//! caller's frame is gone: from the frame below, or, if there is none, by whoever has called the activation
//! ([`crate::interp::Exit::TailCall`]). So a chain of tail calls takes no stack, whatever its functions run in.

use super::calls::{callee, fits, is_subtype, leave, own_function, referenced, stack_overflow};
use super::control::count_down;
use crate::context::{FuncRef, FunctionState, InstanceContext};
use crate::interp::catch_up::go_on;
use crate::interp::machine::{Flow, Machine, handlers};
use crate::interp::{Activation, LANDING, TailCall, safepoint};
use crate::lowered::code::LoweredCode;
use crate::lowered::frame::{self, CALLER_FP, CODE, RETURN_IP};
use crate::trap::TrapCode;
use std::sync::atomic::Ordering;

/// The usual tail call: puts a frame of the function of `$state` in the place of the top one and goes on at its entry. Goes
/// to `$slow`, which starts the same instruction over, if there is anything unusual about it.
///
/// A macro for the same reason as the one for calls.
macro_rules! replace {
    ($m:ident, $state:expr, $args:expr, $slow:ident) => {{
        let state: *const FunctionState = $state;
        let code = (*state).lowered.load(Ordering::Acquire) as *const LoweredCode;
        let returns_to = $m.fp.add(RETURN_IP).read();
        if code.is_null()
            || !(*state).native.load(Ordering::Acquire).is_null()
            || returns_to == &raw const LANDING as u64
        {
            return $slow($m.ip, $m.fp, $m.mem, $m.mem_len, $m.cx, $m.st);
        }
        if count_down(state) || safepoint::pending($m.st) {
            return $slow($m.ip, $m.fp, $m.mem, $m.mem_len, $m.cx, $m.st);
        }
        let args: *mut u64 = $args;
        if !fits($m, code, first_slot($m)) {
            return stack_overflow($m.ip, $m.fp, $m.mem, $m.mem_len, $m.cx, $m.st);
        }
        replace_frame(&mut $m, code, args);
        $m.dispatch()
    }};
}

/// The tail calls, given how they name the first argument's slot: its operand is their last.
macro_rules! tail_calls {
    ($slot:ident, $call:ident, $call_slow:ident, $call_import:ident, $call_indirect:ident,
     $call_indirect_slow:ident, $call_foreign:ident, $call_subtype:ident, $call_ref:ident,
     $call_ref_slow:ident, $call_ref_foreign:ident) => {
        handlers! {
            fn $call(m) {
                replace!(m, callee(m), m.$slot(12), $call_slow)
            }
            #[cold]
            #[inline(never)]
            fn $call_slow(m) {
                tail_call_unusual(m, callee(m), m.$slot(12))
            }
            #[inline(never)]
            fn $call_import(m) {
                let function = m.operand::<u32>(8);
                let reference = (*m.cx).func_refs.add(function as usize);
                let call = TailCall {
                    code: (*(*reference).entry).load(Ordering::Acquire),
                    context: (*reference).context.cast(),
                    type_index: (&(*(*m.cx).env).functions)[function as usize],
                };
                tail_call_machine_code(m, call, m.$slot(12))
            }
            fn $call_indirect(m) {
                let table = *(*m.cx).tables.add(m.operand::<u32>(10) as usize);
                let index = m.get::<u64>(8) as usize;
                if index >= (*table).len {
                    return m.trap(TrapCode::TableOutOfBounds);
                }
                let reference = *(*table).base.add(index) as *const FuncRef;
                if reference.is_null() {
                    return m.trap(TrapCode::IndirectCallToNull);
                }
                let signature = *(*m.cx).signatures.add(m.operand::<u32>(14) as usize);
                if (*reference).signature != signature {
                    return $call_subtype(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st);
                }
                if (*reference).context.cast::<InstanceContext>() != m.cx {
                    return $call_foreign(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st);
                }
                let state = own_function(m, reference, 18);
                replace!(m, state, m.$slot(22), $call_indirect_slow)
            }
            /// The function has another type, which may be a subtype.
            #[cold]
            #[inline(never)]
            fn $call_subtype(m) {
                let (reference, expected) = (referenced(m), m.operand::<u32>(14));
                if !is_subtype(m, reference, expected) {
                    return m.trap(TrapCode::BadSignature);
                }
                if (*reference).context.cast::<InstanceContext>() != m.cx {
                    return $call_foreign(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st);
                }
                $call_indirect_slow(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st)
            }
            #[cold]
            #[inline(never)]
            fn $call_indirect_slow(m) {
                tail_call_unusual(m, own_function(m, referenced(m), 18), m.$slot(22))
            }
            #[inline(never)]
            fn $call_foreign(m) {
                let reference = referenced(m);
                let call = TailCall {
                    code: (*(*reference).entry).load(Ordering::Acquire),
                    context: (*reference).context.cast(),
                    type_index: m.operand(14),
                };
                tail_call_machine_code(m, call, m.$slot(22))
            }
            fn $call_ref(m) {
                let reference = m.get::<u64>(8) as *const FuncRef;
                if reference.is_null() {
                    return m.trap(TrapCode::NullReference);
                }
                if (*reference).context.cast::<InstanceContext>() != m.cx {
                    return $call_ref_foreign(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st);
                }
                let state = own_function(m, reference, 14);
                replace!(m, state, m.$slot(18), $call_ref_slow)
            }
            #[cold]
            #[inline(never)]
            fn $call_ref_slow(m) {
                let state = own_function(m, m.get::<u64>(8) as *const FuncRef, 14);
                tail_call_unusual(m, state, m.$slot(18))
            }
            #[inline(never)]
            fn $call_ref_foreign(m) {
                let reference = m.get::<u64>(8) as *const FuncRef;
                let call = TailCall {
                    code: (*(*reference).entry).load(Ordering::Acquire),
                    context: (*reference).context.cast(),
                    type_index: m.operand(10),
                };
                tail_call_machine_code(m, call, m.$slot(18))
            }
        }
    };
}

tail_calls! {
    slot, return_call, return_call_slow, return_call_import, return_call_indirect,
    return_call_indirect_slow, return_call_foreign, return_call_subtype, return_call_ref,
    return_call_ref_slow, return_call_ref_foreign
}
tail_calls! {
    far_slot, return_call_far, return_call_far_slow, return_call_import_far,
    return_call_indirect_far, return_call_indirect_far_slow, return_call_foreign_far,
    return_call_subtype_far, return_call_ref_far, return_call_ref_far_slow, return_call_ref_foreign_far
}

/// The top frame's first slot.
///
/// # Safety
/// The registers must be those of a running activation.
#[inline(always)]
unsafe fn first_slot(m: Machine) -> *mut u64 {
    // SAFETY: the top frame and its code are alive.
    unsafe { m.fp.sub((*frame::code(m.fp)).locals as usize) }
}

/// Puts a frame that fits in the place of the top one; the machine is then at the entry of `code`.
///
/// # Safety
/// The registers must be those of a running activation. `code` must be live code, `args` must hold its arguments in the
/// top frame's operand stack, and the frame must fit.
#[inline(always)]
unsafe fn replace_frame(m: &mut Machine, code: *const LoweredCode, args: *mut u64) {
    // SAFETY: callers have checked that the frame fits. The header is read before anything is written over it;
    // arguments lie above the place that they move to.
    unsafe {
        let first = first_slot(*m);
        let linkage = [m.fp.add(RETURN_IP).read(), m.fp.add(CALLER_FP).read()];
        let params = (*code).params as usize;
        std::ptr::copy(args, first, params);
        let fp = first.add((*code).locals as usize);
        frame::zero_locals(first.add(params), fp);
        fp.add(RETURN_IP).write(linkage[0]);
        fp.add(CALLER_FP).write(linkage[1]);
        fp.add(CODE).write(code as u64);
        m.fp = fp;
        m.ip = (*code).entry();
    }
}

/// Calls a function of this instance in one of the unusual ways.
///
/// # Safety
/// The registers must be those of a running activation at a tail call of the function of `state`, which is an element of
/// the instance's `functions`; `args` must hold its arguments in the top frame's operand stack.
#[inline(always)]
unsafe fn tail_call_unusual(mut m: Machine, state: *const FunctionState, args: *mut u64) -> Flow {
    // SAFETY: the caller's contract.
    unsafe {
        let env = &*(*m.cx).env;
        let function = state.offset_from((*m.cx).functions) as u32 + env.imported_functions;
        let code = loop {
            let native = (*state).native.load(Ordering::Acquire);
            if !native.is_null() {
                let type_index = env.functions[function as usize];
                let call = TailCall { code: native, context: m.cx, type_index };
                return tail_call_machine_code(m, call, args);
            }
            let code = (*state).lowered.load(Ordering::Acquire) as *const LoweredCode;
            if !code.is_null() {
                break code;
            }
            m.save(crate::interp::Position::Trap);
            let status = ((*(*m.cx).builtins).prepare)(m.cx, function);
            if status != 0 {
                return m.raise(status);
            }
            // Not begun anew, as for a call.
        };
        if !fits(m, code, first_slot(m)) {
            return m.raise(TrapCode::StackOverflow as u32);
        }
        let activation = (*m.st).activation.cast::<Activation>();
        let lands = m.fp.add(RETURN_IP).read() == &raw const LANDING as u64;
        if lands {
            (*activation).lift_landing(m.ip);
        }
        replace_frame(&mut m, code, args);
        if lands {
            // Those below wait to be looked at as before.
            (*activation).set_landing(m.fp);
        }
        safepoint::at_entry(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st)
    }
}

/// Calls machine code, or an entry thunk, in the place of the top frame.
///
/// # Safety
/// The registers must be those of a running activation at a tail call of this callee; `args` must hold its arguments in the
/// top frame's operand stack.
unsafe fn tail_call_machine_code(mut m: Machine, call: TailCall, args: *mut u64) -> Flow {
    // SAFETY: the caller's contract. The header is read before anything is written over it.
    unsafe {
        let first = first_slot(m);
        let shape = &(&(*(*m.cx).env).shapes)[call.type_index as usize];
        m.ip = m.fp.add(RETURN_IP).read() as *const u8;
        m.fp = m.fp.add(CALLER_FP).read() as *mut u64;
        std::ptr::copy(args, first, shape.param_slots());
        if m.fp.is_null() {
            let activation = (*m.st).activation.cast::<Activation>();
            (*activation).give_up_base_for(call);
            return Flow::TAIL_CALL;
        }
        go_on!(m, leave(m, call.code, call.context, call.type_index, first))
    }
}

//! Calls: within the instance on the same run of handlers, anything else through machine code.

use super::control::count_down;
use crate::context::{FuncRef, FunctionState, InstanceContext, StoreContext};
use crate::interp::catch_up::{self, go_on};
use crate::interp::machine::{Flow, Machine, handlers};
use crate::interp::safepoint;
use crate::interp::unwind;
use crate::lowered::code::LoweredCode;
use crate::lowered::frame::{self, CALLER_FP, CODE, RETURN_IP};
use crate::trap::TrapCode;
use std::sync::atomic::Ordering;

/// The usual call: pushes a frame for the function of `$state` over its arguments and goes on at its
/// entry. Goes to `$slow`, which starts the same instruction over, if there is anything unusual about
/// it: no lowered code, machine code, or a safepoint that wants attention.
///
/// A macro and not a function, because `return` must leave the handler with the machine registers
/// still in place. The order keeps few values alive at a time: besides the machine registers only
/// three are free.
macro_rules! enter {
    ($m:ident, $state:expr, $args:expr, $size:expr, $slow:ident) => {{
        let state: *const FunctionState = $state;
        let code = (*state).lowered.load(Ordering::Acquire) as *const LoweredCode;
        if code.is_null() || !(*state).native.load(Ordering::Acquire).is_null() {
            return $slow($m.ip, $m.fp, $m.mem, $m.mem_len, $m.cx, $m.st);
        }
        if count_down(state) || safepoint::pending($m.st) {
            return $slow($m.ip, $m.fp, $m.mem, $m.mem_len, $m.cx, $m.st);
        }
        let args: *mut u64 = $args;
        if !fits($m, code, args) {
            return stack_overflow($m.ip, $m.fp, $m.mem, $m.mem_len, $m.cx, $m.st);
        }
        push_frame(&mut $m, code, args, $size);
        $m.dispatch()
    }};
}

/// The calls, given how they name the first argument's slot: its operand is their last.
macro_rules! calls {
    ($slot:ident, $bytes:expr, $call:ident, $call_slow:ident, $call_import:ident, $call_indirect:ident,
     $call_indirect_slow:ident, $call_foreign:ident, $call_subtype:ident, $call_ref:ident,
     $call_ref_slow:ident, $call_ref_foreign:ident) => {
        handlers! {
            fn $call(m) {
                enter!(m, callee(m), m.$slot(12), 12 + $bytes, $call_slow)
            }
            #[cold]
            #[inline(never)]
            fn $call_slow(m) {
                let state = callee(m);
                call_unusual(m, state, m.$slot(12), 12 + $bytes)
            }
            fn $call_import(m) {
                let function = m.operand::<u32>(8);
                let reference = (*m.cx).func_refs.add(function as usize);
                let type_index = (&(*(*m.cx).env).functions)[function as usize];
                call_machine_code(
                    m,
                    (*(*reference).entry).load(Ordering::Acquire),
                    (*reference).context.cast(),
                    type_index,
                    m.$slot(12),
                    12 + $bytes,
                )
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
                enter!(m, state, m.$slot(22), 22 + $bytes, $call_indirect_slow)
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
                let state = own_function(m, referenced(m), 18);
                call_unusual(m, state, m.$slot(22), 22 + $bytes)
            }
            #[inline(never)]
            fn $call_foreign(m) {
                let reference = referenced(m);
                call_machine_code(
                    m,
                    (*(*reference).entry).load(Ordering::Acquire),
                    (*reference).context.cast(),
                    m.operand(14),
                    m.$slot(22),
                    22 + $bytes,
                )
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
                enter!(m, state, m.$slot(18), 18 + $bytes, $call_ref_slow)
            }
            #[cold]
            #[inline(never)]
            fn $call_ref_slow(m) {
                let state = own_function(m, m.get::<u64>(8) as *const FuncRef, 14);
                call_unusual(m, state, m.$slot(18), 18 + $bytes)
            }
            #[inline(never)]
            fn $call_ref_foreign(m) {
                let reference = m.get::<u64>(8) as *const FuncRef;
                call_machine_code(
                    m,
                    (*(*reference).entry).load(Ordering::Acquire),
                    (*reference).context.cast(),
                    m.operand(10),
                    m.$slot(18),
                    18 + $bytes,
                )
            }
        }
    };
}

calls! {
    slot, 2, call, call_slow, call_import, call_indirect, call_indirect_slow, call_foreign,
    call_subtype, call_ref, call_ref_slow, call_ref_foreign
}
calls! {
    far_slot, 4, call_far, call_far_slow, call_import_far, call_indirect_far, call_indirect_far_slow,
    call_foreign_far, call_subtype_far, call_ref_far, call_ref_far_slow, call_ref_foreign_far
}

handlers! {
    #[cold]
    #[inline(never)]
    fn stack_overflow(m) {
        m.raise(TrapCode::StackOverflow as u32)
    }
}

/// Whether a frame of `code` with its arguments at `args` fits into the value stack.
///
/// # Safety
/// The registers must be those of a running activation, and `code` must be alive.
#[inline(always)]
pub(super) unsafe fn fits(m: Machine, code: *const LoweredCode, args: *mut u64) -> bool {
    // SAFETY: callers pass live code. Addresses are compared as numbers: a frame that does not fit
    // may lie outside the stack's allocation.
    unsafe {
        let end = (args as usize).wrapping_add((*code).frame_bytes);
        end <= (*m.st).value_limit as usize
    }
}

/// Pushes a frame that fits; the machine is then at the entry of `code`.
///
/// # Safety
/// The registers must be those of a running activation at a call instruction of `size` bytes, and
/// `code` must be live code of a function that the call names. `args` must hold its arguments at the
/// top of the operand stack, and the frame must fit: see [`fits`].
#[inline(always)]
unsafe fn push_frame(m: &mut Machine, code: *const LoweredCode, args: *mut u64, size: usize) {
    // SAFETY: callers have checked that the frame fits.
    unsafe {
        let fp = args.add((*code).locals as usize);
        fp.add(RETURN_IP).write(m.ip.add(size) as u64);
        fp.add(CALLER_FP).write(m.fp as u64);
        fp.add(CODE).write(code as u64);
        m.fp = fp;
        m.ip = (*code).entry();
        frame::zero_locals(args.add((*code).params as usize), fp);
    }
}

/// The function that a `call` names.
///
/// # Safety
/// The instruction must be a `call` of a function that the module defines, whose operand lowering has
/// made an offset into `functions`.
#[inline(always)]
pub(super) unsafe fn callee(m: Machine) -> *const FunctionState {
    // SAFETY: the operand is the offset of an element of the instance's `functions`.
    unsafe { (*m.cx).functions.byte_add(m.operand::<u32>(8) as usize) }
}

/// The reference that a `call_indirect` found; it has passed all checks.
///
/// # Safety
/// The instruction must be a `call_indirect` that has checked its index against the table's length, and
/// the element against null and the type.
#[inline(always)]
pub(super) unsafe fn referenced(m: Machine) -> *const FuncRef {
    // SAFETY: the same handler has just checked the index against the table's length.
    unsafe {
        let table = *(*m.cx).tables.add(m.operand::<u32>(10) as usize);
        *(*table).base.add(m.get::<u64>(8) as usize) as *const FuncRef
    }
}

/// Whether the function that a `call_indirect` has found has a subtype of this type of the module.
///
/// # Safety
/// The registers must be those of a running activation, `reference` a function's, and the type one of the module's.
pub(super) unsafe fn is_subtype(m: Machine, reference: *const FuncRef, expected: u32) -> bool {
    // SAFETY: the caller's contract.
    unsafe {
        let signature = *(*m.cx).signatures.add(expected as usize);
        (*(*m.cx).env).can_have_subtypes(expected)
            && ((*(*m.cx).builtins).is_subtype)(m.cx, (*reference).signature, signature) != 0
    }
}

/// The function that a reference with this instance's context names. The number of imported functions is the
/// operand at byte `imported_at`.
///
/// # Safety
/// The instruction must be a call with that operand, and `reference` one with this instance's context, so that
/// it names a function that the module defines.
#[inline(always)]
pub(super) unsafe fn own_function(
    m: Machine,
    reference: *const FuncRef,
    imported_at: usize,
) -> *const FunctionState {
    // SAFETY: such references name functions that the module defines.
    unsafe {
        let imported = m.operand::<u32>(imported_at);
        (*m.cx).functions.add(((*reference).index - imported) as usize)
    }
}

/// Calls a function of this instance in one of the unusual ways.
///
/// # Safety
/// As for [`push_frame`], but for what it says about code and fit; `state` must be an element of the
/// instance's `functions`.
#[inline(always)]
unsafe fn call_unusual(
    mut m: Machine,
    state: *const FunctionState,
    args: *mut u64,
    size: usize,
) -> Flow {
    // SAFETY: `state` is an element of the instance's `functions`.
    unsafe {
        let env = &*(*m.cx).env;
        let function = state.offset_from((*m.cx).functions) as u32 + env.imported_functions;
        let code = loop {
            let native = (*state).native.load(Ordering::Acquire);
            if !native.is_null() {
                let caller = (*frame::code(m.fp)).body().function - env.imported_functions;
                (*(*m.cx).functions.add(caller as usize)).count_crossing();
                let type_index = env.functions[function as usize];
                return call_machine_code(m, native, m.cx, type_index, args, size);
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
            // Now it has code of either kind. The instruction is not begun anew: tables may have changed
            // meanwhile, and what they say now is for callers that have been replaced with them.
        };
        if !fits(m, code, args) {
            return m.raise(TrapCode::StackOverflow as u32);
        }
        push_frame(&mut m, code, args, size);
        safepoint::at_entry(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st)
    }
}

/// Calls machine code, or an entry thunk, with the arguments at `args`; the results come back there.
///
/// # Safety
/// As for [`leave`]; `m` must be at a call instruction of `size` bytes.
#[inline(always)]
unsafe fn call_machine_code(
    mut m: Machine,
    native: *const u8,
    context: *mut InstanceContext,
    type_index: u32,
    args: *mut u64,
    size: usize,
) -> Flow {
    // SAFETY: the reference or function that the call names has this type; its arguments lie in
    // place.
    unsafe {
        m.ip = m.ip.add(size);
        go_on!(m, leave(m, native, context, type_index, args))
    }
}

/// Leaves the interpreter for machine code. The top frame is suspended at the call behind which
/// `m.ip` stands. If the call has returned, or an exception that has come out of it is handled here, the activation
/// says where the top frame goes on; if the answer is false, a trap or an exception is on its way.
///
/// # Safety
/// `native` must be code for functions of the type, and `args` must hold their arguments, in the top
/// frame's operand stack.
#[inline(never)]
pub(in crate::interp) unsafe fn leave(
    m: Machine,
    native: *const u8,
    context: *mut InstanceContext,
    type_index: u32,
    args: *mut u64,
) -> bool {
    // SAFETY: the caller's contract. Activations that start meanwhile use the value stack above the
    // top frame. Behind the end of the value stack there is room for what a call may read.
    unsafe {
        m.save(crate::interp::Position::Call);
        let st: *mut StoreContext = m.st;
        let code = frame::code(m.fp);
        let top = (*st).value_top;
        (*st).value_top = m.fp.add((*code).slots_above as usize);
        let env = &*(*m.cx).env;
        let shape = &env.shapes[type_index as usize];
        let outcome = midair_osr::call::call_in_place(native, context.cast(), shape, args);
        (*st).value_top = top;
        if outcome != midair_osr::NativeOutcome::Returned {
            return unwind::is_exception(st) && unwind::unwind(m.cx, st);
        }
        let results = std::slice::from_raw_parts(args, shape.result_slots());
        shape.verify_results("results in the interpreter", results);
        // Otherwise the activation still says what was saved above.
        !catch_up::is_due(m) || catch_up::catch_up(m, crate::interp::Position::Call)
    }
}

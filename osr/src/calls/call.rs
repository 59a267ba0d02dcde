//! Calls between Rust and managed code: the shape of a call, the entry trampoline, callouts.

use super::stubs;
use super::trap_signal;
use crate::code::frame_map::{ValueClass, ValueKind};
use crate::code::verify_slots::verify_slots;
use crate::shadow_stack::note_shadow_stack;
use crate::stack::callout_frame::{CalloutFrame, GPR_PARAMS, XMM_PARAMS};
use crate::stack::context::{ContextHeader, StackContext, with_current};
use crate::stub_addresses;
use smallvec::SmallVec;
use std::cell::Cell;

/// The token of callouts that come through [`resume_entry`].
pub const RESUME_TOKEN: u32 = u32::MAX;

/// Code that makes a callout with [`RESUME_TOKEN`]: what a [`crate::TransferHook`] answers when the frame
/// is to go on in Rust code, an interpreter for one. The arguments of that callout are undefined.
pub fn resume_entry() -> *const u8 {
    stub_addresses::resume_address()
}

/// Answer of a callout handler, as the machine word that the stub understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CalloutOutcome {
    /// The results are in the frame (or the result buffer): return to the caller.
    Return,
    /// Unwind to the innermost entry: a trap is pending.
    Unwind,
    /// Jump to this code with the arguments in the frame and the original return address.
    TailCall(*const u8),
}

impl CalloutOutcome {
    /// The machine word.
    pub fn into_word(self) -> usize {
        match self {
            CalloutOutcome::Return => 0,
            CalloutOutcome::Unwind => usize::MAX,
            CalloutOutcome::TailCall(code) => code as usize,
        }
    }
}

/// How a call from Rust into managed code ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum NativeOutcome {
    /// The results are in the slots.
    Returned,
    /// A trap unwound the stack to this call.
    Unwound,
}

/// Where one parameter lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ParamPlace {
    /// `n`th integer argument register after `rdi`.
    Gpr(u8),
    /// Vector register.
    Xmm(u8),
    /// 64-bit slot of the caller's outgoing area.
    Stack(u32),
}

/// Where the arguments and results of a function lie. Parameter 0 is always the context, in `rdi`,
/// and is not part of the shape. Parameters follow System V. Results: at most two `Int` (`rax`,
/// `rdx`) and two `Float` (`xmm0`, `xmm1`) are returned in registers; any more, and *all* results
/// go through the buffer at `StackContext::results`, one 64-bit slot each, in canonical form.
///
/// What it reads out of registers and from the stack is in the canonical form of slots, whatever machine code has left in upper
/// halves; what it is given to write there is in that form already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallShape {
    params: SmallVec<[(ParamPlace, ValueKind); 8]>,
    results: SmallVec<[ValueKind; 4]>,
    stack_slots: u32,
    results_in_registers: bool,
}

impl CallShape {
    /// The shape of a function with these parameters and results.
    pub fn new(
        params: impl Iterator<Item = ValueKind>,
        results: impl Iterator<Item = ValueKind>,
    ) -> CallShape {
        let (mut gprs, mut xmms, mut stack_slots) = (0u8, 0u8, 0u32);
        let mut place = |class| match class {
            ValueClass::Int if usize::from(gprs) < GPR_PARAMS => {
                gprs += 1;
                ParamPlace::Gpr(gprs - 1)
            }
            ValueClass::Float if usize::from(xmms) < XMM_PARAMS => {
                xmms += 1;
                ParamPlace::Xmm(xmms - 1)
            }
            _ => {
                stack_slots += 1;
                ParamPlace::Stack(stack_slots - 1)
            }
        };
        let params = params.map(|kind| (place(kind.class()), kind)).collect();
        let results: SmallVec<[ValueKind; 4]> = results.collect();
        let ints = results.iter().filter(|r| r.class() == ValueClass::Int).count();
        let results_in_registers = ints <= 2 && results.len() - ints <= 2;
        CallShape { params, results, stack_slots, results_in_registers }
    }

    /// Whether results are returned in registers.
    pub fn results_in_registers(&self) -> bool {
        self.results_in_registers
    }

    /// Number of parameters.
    pub fn param_count(&self) -> usize {
        self.params.len()
    }

    /// Number of results.
    pub fn result_count(&self) -> usize {
        self.results.len()
    }

    /// Slots that [`call_native`] needs: parameters or results, whichever is more.
    pub fn slot_count(&self) -> usize {
        self.params.len().max(self.results.len())
    }

    /// Checks, in builds that verify slots, that slots with the arguments of a call are in canonical form.
    #[inline(always)]
    pub fn verify_arguments(&self, boundary: &str, slots: &[u64]) {
        verify_slots(boundary, slots, self.params.iter().map(|p| p.1));
    }

    /// The same for the results of a call.
    #[inline(always)]
    pub fn verify_results(&self, boundary: &str, slots: &[u64]) {
        verify_slots(boundary, slots, self.results.iter().copied());
    }

    /// Reads the arguments of a callout into `slots`, one 64-bit slot each.
    ///
    /// # Safety
    /// `frame` must be the frame of a callout that was called with this shape.
    pub unsafe fn read_arguments(&self, frame: &CalloutFrame, slots: &mut [u64]) {
        for (slot, (place, kind)) in slots.iter_mut().zip(&self.params) {
            *slot = kind.canonical(match *place {
                ParamPlace::Gpr(n) => frame.gpr[usize::from(n)],
                ParamPlace::Xmm(n) => frame.xmm[usize::from(n)][0],
                // SAFETY: the caller passed an argument of this shape there.
                ParamPlace::Stack(n) => unsafe { *frame.stack_args.add(n as usize) },
            });
        }
    }

    /// Replaces the arguments of a callout, for [`CalloutOutcome::TailCall`] to code of this shape.
    ///
    /// # Safety
    /// As for [`CallShape::read_arguments`].
    pub unsafe fn write_arguments(&self, frame: &mut CalloutFrame, slots: &[u64]) {
        self.verify_arguments("arguments of a tail call", slots);
        for (slot, (place, _)) in slots.iter().zip(&self.params) {
            match *place {
                ParamPlace::Gpr(n) => frame.gpr[usize::from(n)] = *slot,
                ParamPlace::Xmm(n) => frame.xmm[usize::from(n)] = [*slot, 0],
                // SAFETY: the callee owns its incoming argument slots.
                ParamPlace::Stack(n) => unsafe { *frame.stack_args.add(n as usize) = *slot },
            }
        }
    }

    /// Writes the results of a callout, one 64-bit slot each in `slots`.
    ///
    /// # Safety
    /// `stack` must be the stack that the callout came from; its result buffer must have room.
    pub unsafe fn write_results(
        &self,
        frame: &mut CalloutFrame,
        stack: &mut StackContext,
        slots: &[u64],
    ) {
        self.verify_results("results of a callout", slots);
        if !self.results_in_registers {
            for (i, slot) in slots.iter().take(self.results.len()).enumerate() {
                // SAFETY: the buffer has room for every result of this shape.
                unsafe { *stack.results.add(i) = *slot };
            }
            return;
        }
        let (mut ints, mut floats) = (0, 0);
        for (slot, kind) in slots.iter().zip(&self.results) {
            match kind.class() {
                ValueClass::Int => {
                    frame.result_gpr[ints] = *slot;
                    ints += 1;
                }
                ValueClass::Float => {
                    frame.result_xmm[floats] = [*slot, 0];
                    floats += 1;
                }
            }
        }
    }

    /// Reads results that a call left in registers or in the result buffer.
    ///
    /// # Safety
    /// A call of this shape must have just returned on `stack` with these registers.
    pub unsafe fn read_results(
        &self,
        gpr: [u64; 2],
        xmm: [u64; 2],
        stack: &StackContext,
        mut put: impl FnMut(usize, u64),
    ) {
        if !self.results_in_registers {
            for (i, kind) in self.results.iter().enumerate() {
                // SAFETY: the callee has filled the buffer, with slots in canonical form.
                let slot = unsafe { *stack.results.add(i) };
                verify_slots("the buffer for results", &[slot], std::iter::once(*kind));
                put(i, slot);
            }
            return;
        }
        let (mut ints, mut floats) = (0, 0);
        for (i, kind) in self.results.iter().enumerate() {
            let bits = match kind.class() {
                ValueClass::Int => {
                    ints += 1;
                    gpr[ints - 1]
                }
                ValueClass::Float => {
                    floats += 1;
                    xmm[floats - 1]
                }
            };
            put(i, kind.canonical(bits));
        }
    }
}

/// What the entry trampoline needs: see `stubs`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct NativeCall {
    pub(crate) code: *const u8,
    pub(crate) context: *mut ContextHeader,
    pub(crate) gpr: [u64; GPR_PARAMS],
    pub(crate) xmm: [u64; XMM_PARAMS],
    pub(crate) stack_count: usize,
    pub(crate) stack_slots: *const u64,
    pub(crate) result_gpr: [u64; 2],
    pub(crate) result_xmm: [u64; 2],
}

thread_local! {
    /// Whether this thread has been prepared.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
}

/// What a thread needs before it runs managed code for the first time.
#[cold]
fn prepare_thread() {
    trap_signal::install();
    trap_signal::unblock();
    note_shadow_stack();
    PREPARED.set(true);
}

/// Calls managed code.
///
/// `slots` holds the arguments, one 64-bit slot each in the order of the parameters, and receives the
/// results from its start on.
///
/// # Safety
/// `code` must be managed code (or an entry thunk) of this shape that expects `context`, `slots` must be
/// valid for [`CallShape::slot_count`] slots, and `(*context).stack` must be the stack context of this
/// thread, with all its pointers and hooks set up. Both have been made by this process. If it is forked inside the
/// call, the callout that forked must answer [`CalloutOutcome::Unwind`] in the child.
pub unsafe fn call_native(
    code: *const u8,
    context: *mut ContextHeader,
    shape: &CallShape,
    slots: *mut u64,
) -> NativeOutcome {
    let mut call = NativeCall {
        code,
        context,
        gpr: [0; GPR_PARAMS],
        xmm: [0; XMM_PARAMS],
        stack_count: shape.stack_slots as usize,
        stack_slots: std::ptr::null(),
        result_gpr: [0; 2],
        result_xmm: [0; 2],
    };
    // Small: a guest that goes back and forth between tiers has one of these frames for each of its own.
    let mut stack_slots: SmallVec<[u64; 4]> = SmallVec::new();
    #[cfg(feature = "verify-slots")]
    // SAFETY: the caller provides a slot for every parameter.
    unsafe {
        let arguments = std::slice::from_raw_parts(slots, shape.params.len());
        shape.verify_arguments("arguments of machine code", arguments);
    }
    for (i, (place, _)) in shape.params.iter().enumerate() {
        // SAFETY: the caller provides a slot for every parameter.
        let value = unsafe { *slots.add(i) };
        match *place {
            ParamPlace::Gpr(n) => call.gpr[usize::from(n)] = value,
            ParamPlace::Xmm(n) => call.xmm[usize::from(n)] = value,
            // Parameters are numbered in order, so stack slots come in order too.
            ParamPlace::Stack(_) => stack_slots.push(value),
        }
    }
    call.stack_slots = stack_slots.as_ptr();
    // SAFETY: the caller vouches for the context and its stack.
    let stack = unsafe { (*context).stack };
    // SAFETY: as above.
    unsafe { (*stack).entries += 1 };
    if !PREPARED.get() {
        prepare_thread();
    }
    // SAFETY: `call` describes a call of this shape, as the caller vouches.
    let status = with_current(stack, || unsafe { stubs::midair_osr_enter(&mut call, stack) });
    // SAFETY: the stack is this thread's and no managed code runs inside this call now.
    unsafe {
        (*stack).entries -= 1;
        if status != 0 {
            if (*stack).process.is_current() {
                // What this call entered is inside whatever the call outside it entered.
                let here = (*stack).position(0);
                (*stack).redirected.forget_inside(here);
            }
            return NativeOutcome::Unwound;
        }
    }
    // SAFETY: a call of this shape has just returned.
    unsafe {
        shape.read_results(call.result_gpr, call.result_xmm, &*stack, |i, value| {
            *slots.add(i) = value;
        });
    }
    NativeOutcome::Returned
}

#[cfg(test)]
mod tests {
    use super::*;
    use ValueKind::{F32, F64, I32, I64};

    #[test]
    fn parameters_beyond_the_registers_lie_on_the_stack_in_order() {
        let params = [I32, I64, F32, I32, I32, I64, I32, F64, I32];
        let shape = CallShape::new(params.into_iter(), std::iter::empty());
        assert_eq!(shape.stack_slots, 2);
        assert_eq!(shape.params[6], (ParamPlace::Stack(0), I32));
        assert_eq!(shape.params[7], (ParamPlace::Xmm(1), F64));
        assert_eq!(shape.params[8], (ParamPlace::Stack(1), I32));
    }

    #[test]
    fn three_integers_go_through_the_result_buffer() {
        let in_registers = |results: &[ValueKind]| {
            CallShape::new(std::iter::empty(), results.iter().copied()).results_in_registers()
        };
        assert!(in_registers(&[]));
        assert!(in_registers(&[I32, F64, I64, F32]));
        assert!(!in_registers(&[I32, I64, I32]));
        assert!(!in_registers(&[F32, F64, F64]));
    }

    /// # Safety
    /// None needed.
    unsafe extern "sysv64" fn no_poll(_: *mut ContextHeader, _: *mut StackContext) -> usize {
        0
    }

    /// # Safety
    /// None needed.
    unsafe extern "sysv64" fn no_trap(_: *mut StackContext, _: u32, _: usize, _: usize) {}

    #[test]
    fn what_is_read_has_lost_what_machine_code_left_in_upper_halves() {
        let kinds = [I32, F32, I64, F64];
        let shape = CallShape::new(std::iter::empty(), kinds.into_iter());
        let mut read = [0; 4];
        let stack = StackContext::new(no_poll, no_trap);
        // SAFETY: the shape's results are in registers, so the buffer is not looked at.
        unsafe {
            shape.read_results([u64::MAX; 2], [u64::MAX; 2], &stack, |i, bits| read[i] = bits)
        };
        assert_eq!(read, [0xffff_ffff, 0xffff_ffff, u64::MAX, u64::MAX]);
    }
}

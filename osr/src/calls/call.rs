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

/// The token of callouts that come through [`request_entry`].
pub const REQUEST_TOKEN: u32 = u32::MAX - 1;

/// Code that makes a callout with [`REQUEST_TOKEN`], whatever heap its caller lies in: a call of the language's runtime
/// at which frames can be taken, as at calls of functions. Its arguments and results are the language's choice.
pub const fn request_entry() -> unsafe extern "sysv64" fn() {
    stub_addresses::request_entry()
}

/// Code that a tail call jumps to whose callee has more arguments on the stack than its caller: with the registers as the
/// callee wants them, and in [`StackContext::results`] the code to call, the number of words of arguments on the stack (even,
/// and not 0), and these words. A chain of such calls takes constant stack.
pub const fn more_arguments_entry() -> unsafe extern "sysv64" fn() {
    stub_addresses::more_arguments_entry()
}

/// The return address of callees of [`more_arguments_entry`], which nothing calls. A function that finds it at its own entry
/// has room for arguments up to its caller's frame record, which is where `rbp` points then:
///
/// ```text
///   rbp -> rbp of the caller's caller
///          stack arguments              <- rsp + 8 at the entry
/// ```
pub const fn more_arguments_return() -> unsafe extern "sysv64" fn() {
    stub_addresses::more_arguments_return()
}

/// Answer of a callout handler, as the machine word that the stub understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CalloutOutcome {
    /// The results are in the frame (or the result buffer): return to the caller.
    Return,
    /// Unwind to the innermost entry: a trap is pending.
    Unwind,
    /// Unwind to the frame that [`StackContext::unwind_to_frame`] has found.
    UnwindToFrame,
    /// Jump to this code with the arguments and the context in the frame, and the original return address. It may have no
    /// more arguments on the stack than the callout has: see [`CallShape::tail_call`].
    TailCall(*const u8),
}

impl CalloutOutcome {
    /// The machine word.
    pub fn into_word(self) -> usize {
        match self {
            CalloutOutcome::Return => 0,
            CalloutOutcome::Unwind => usize::MAX,
            CalloutOutcome::UnwindToFrame => usize::MAX - 1,
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
    /// 64-bit slot of the caller's outgoing area; of a `V128` the first of two.
    Stack(u32),
}

/// Where the arguments and results of a function lie. Parameter 0 is always the context, in `rdi`,
/// and is not part of the shape. Parameters follow System V. Results: at most two `Int` (`rax`,
/// `rdx`) and two `Float` (`xmm0`, `xmm1`) are returned in registers; any more, and *all* results
/// go through the buffer at `StackContext::results`, in canonical form.
///
/// Arrays of arguments and of results hold [`ValueKind::slots`] slots for each value, one behind the other.
///
/// What it reads out of registers and from the stack is in the canonical form of slots, whatever machine code has left in upper
/// halves; what it is given to write there is in that form already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallShape {
    params: SmallVec<[(ParamPlace, ValueKind); 8]>,
    results: SmallVec<[ValueKind; 4]>,
    stack_slots: u32,
    param_slots: u32,
    result_slots: u32,
    /// Whether a parameter or result has two slots.
    has_vectors: bool,
    results_in_registers: bool,
    /// The result of a plain call: see [`call_in_place`].
    plain: Option<PlainResult>,
}

/// What a call returns whose arguments are a few integers, if it returns one integer or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PlainResult {
    Nothing,
    Integer(ValueKind),
}

impl CallShape {
    /// The shape of a function with these parameters and results.
    pub fn new(
        params: impl Iterator<Item = ValueKind>,
        results: impl Iterator<Item = ValueKind>,
    ) -> CallShape {
        let (mut gprs, mut xmms, mut stack_slots) = (0u8, 0u8, 0u32);
        let mut place = |kind: ValueKind| match kind.class() {
            ValueClass::Int if usize::from(gprs) < GPR_PARAMS => {
                gprs += 1;
                ParamPlace::Gpr(gprs - 1)
            }
            ValueClass::Float if usize::from(xmms) < XMM_PARAMS => {
                xmms += 1;
                ParamPlace::Xmm(xmms - 1)
            }
            _ => {
                // Vectors lie at multiples of their size.
                let slots = kind.slots() as u32;
                let first = stack_slots.next_multiple_of(slots);
                stack_slots = first + slots;
                ParamPlace::Stack(first)
            }
        };
        let params: SmallVec<[(ParamPlace, ValueKind); 8]> =
            params.map(|kind| (place(kind), kind)).collect();
        let results: SmallVec<[ValueKind; 4]> = results.collect();
        let ints = results.iter().filter(|r| r.class() == ValueClass::Int).count();
        let slots = |kinds: &mut dyn Iterator<Item = ValueKind>| {
            kinds.map(ValueKind::slots).sum::<usize>() as u32
        };
        let param_slots = slots(&mut params.iter().map(|p| p.1));
        let result_slots = slots(&mut results.iter().copied());
        let plain = match results[..] {
            [] => Some(PlainResult::Nothing),
            [kind] if ints == 1 => Some(PlainResult::Integer(kind)),
            _ => None,
        };
        let in_gprs = params.iter().all(|(place, _)| matches!(place, ParamPlace::Gpr(_)));
        CallShape {
            plain: plain.filter(|_| in_gprs),
            stack_slots,
            param_slots,
            result_slots,
            has_vectors: (param_slots, result_slots) != (params.len() as u32, results.len() as u32),
            results_in_registers: ints <= 2 && results.len() - ints <= 2,
            params,
            results,
        }
    }

    /// Whether results are returned in registers.
    pub fn results_in_registers(&self) -> bool {
        self.results_in_registers
    }

    /// Slots that arguments take on the native stack.
    pub fn stack_slots(&self) -> usize {
        self.stack_slots as usize
    }

    /// The first slot of an argument on the native stack; `None` if it is passed in a register.
    pub fn stack_slot(&self, param: usize) -> Option<u32> {
        match self.params[param].0 {
            ParamPlace::Stack(slot) => Some(slot),
            ParamPlace::Gpr(_) | ParamPlace::Xmm(_) => None,
        }
    }

    /// Slots of all arguments.
    pub fn param_slots(&self) -> usize {
        self.param_slots as usize
    }

    /// Slots of all results.
    pub fn result_slots(&self) -> usize {
        self.result_slots as usize
    }

    /// Slots that [`call_native`] needs: those of the arguments or of the results, whichever are more.
    pub fn slot_count(&self) -> usize {
        self.param_slots.max(self.result_slots) as usize
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

    /// Reads the arguments of a callout into `slots`.
    ///
    /// # Safety
    /// `frame` must be the frame of a callout that was called with this shape.
    pub unsafe fn read_arguments(&self, frame: &CalloutFrame, slots: &mut [u64]) {
        let mut slots = slots.iter_mut();
        for (place, kind) in &self.params {
            let is_vector = kind.slots() > 1;
            let [low, high] = match *place {
                ParamPlace::Gpr(n) => [frame.gpr[usize::from(n)], 0],
                ParamPlace::Xmm(n) => frame.xmm[usize::from(n)],
                // SAFETY: the caller passed an argument of this shape there.
                ParamPlace::Stack(n) => unsafe {
                    let at = frame.stack_args.add(n as usize);
                    [*at, if is_vector { *at.add(1) } else { 0 }]
                },
            };
            let Some(slot) = slots.next() else { return };
            *slot = kind.canonical(low);
            if is_vector && let Some(slot) = slots.next() {
                *slot = high;
            }
        }
    }

    /// Replaces the arguments of a callout, for [`CalloutOutcome::TailCall`] to code of this shape.
    ///
    /// # Safety
    /// `frame` must be the frame of a callout that was called with this shape, or with another one that has at least as
    /// many [`CallShape::stack_slots`].
    pub unsafe fn write_arguments(&self, frame: &mut CalloutFrame, slots: &[u64]) {
        let on_stack = frame.stack_args;
        // SAFETY: the callee owns its incoming argument slots.
        unsafe { self.put_arguments(frame, on_stack, slots) };
    }

    /// Puts arguments into the registers of a frame, and what goes on the stack to `on_stack`.
    ///
    /// # Safety
    /// There must be room for it.
    unsafe fn put_arguments(&self, frame: &mut CalloutFrame, on_stack: *mut u64, slots: &[u64]) {
        self.verify_arguments("arguments of a tail call", slots);
        let mut at = 0;
        for (place, kind) in &self.params {
            let (low, high) = halves(slots, at, *kind);
            at += kind.slots();
            match *place {
                ParamPlace::Gpr(n) => frame.gpr[usize::from(n)] = low,
                ParamPlace::Xmm(n) => frame.xmm[usize::from(n)] = [low, high.unwrap_or(0)],
                // SAFETY: the caller's contract.
                ParamPlace::Stack(n) => unsafe {
                    let argument = on_stack.add(n as usize);
                    *argument = low;
                    if let Some(high) = high {
                        *argument.add(1) = high;
                    }
                },
            }
        }
    }

    /// The answer of a callout that was called with the shape `callout`, and in whose place `code` of this shape is to be
    /// called with `context` and these arguments.
    ///
    /// # Safety
    /// `frame` must be that of the callout, and `buffer` the [one for results](StackContext::results) of the stack that it came from,
    /// with room for the arguments and two words more. The results of both shapes must be alike.
    pub unsafe fn tail_call(
        &self,
        code: *const u8,
        context: *mut ContextHeader,
        slots: &[u64],
        callout: &CallShape,
        frame: &mut CalloutFrame,
        buffer: *mut u64,
    ) -> CalloutOutcome {
        frame.set_context(context);
        if self.stack_slots <= callout.stack_slots {
            // SAFETY: as the caller vouches.
            unsafe { self.write_arguments(frame, slots) };
            return CalloutOutcome::TailCall(code);
        }
        // SAFETY: the buffer has room.
        unsafe {
            buffer.write(code as u64);
            buffer.add(1).write(u64::from(self.stack_slots.next_multiple_of(2)));
            self.put_arguments(frame, buffer.add(2), slots);
        }
        CalloutOutcome::TailCall(more_arguments_entry() as *const u8)
    }

    /// Writes the results of a callout.
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
            for (i, slot) in slots.iter().take(self.result_slots()).enumerate() {
                // SAFETY: the buffer has room for every result of this shape.
                unsafe { *stack.results.add(i) = *slot };
            }
            return;
        }
        let (mut at, mut ints, mut floats) = (0, 0, 0);
        for kind in &self.results {
            let (low, high) = halves(slots, at, *kind);
            at += kind.slots();
            match kind.class() {
                ValueClass::Int => {
                    frame.result_gpr[ints] = low;
                    ints += 1;
                }
                ValueClass::Float => {
                    frame.result_xmm[floats] = [low, high.unwrap_or(0)];
                    floats += 1;
                }
            }
        }
    }

    /// Reads results that a call left in registers or in the result buffer: `put` is told each slot by its
    /// number. `xmm` is asked for the halves of vector registers where they hold results.
    ///
    /// # Safety
    /// A call of this shape must have just returned on `stack` with these registers.
    pub unsafe fn read_results(
        &self,
        gpr: [u64; 2],
        xmm: impl Fn(usize) -> [u64; 2],
        stack: &StackContext,
        mut put: impl FnMut(usize, u64),
    ) {
        if !self.results_in_registers {
            let results = self.result_slots();
            // SAFETY: the callee has filled the buffer, with slots in canonical form.
            let buffer = unsafe { std::slice::from_raw_parts(stack.results, results) };
            self.verify_results("the buffer for results", buffer);
            buffer.iter().enumerate().for_each(|(i, &slot)| put(i, slot));
            return;
        }
        let (mut at, mut ints, mut floats) = (0, 0, 0);
        for kind in &self.results {
            let [low, high] = match kind.class() {
                ValueClass::Int => {
                    ints += 1;
                    [gpr[ints - 1], 0]
                }
                ValueClass::Float => {
                    floats += 1;
                    xmm(floats - 1)
                }
            };
            put(at, kind.canonical(low));
            if kind.slots() > 1 {
                put(at + 1, high);
            }
            at += kind.slots();
        }
    }
}

/// The slots of the value of this kind that begins at slot `at`: the second, if it has one.
fn halves(slots: &[u64], at: usize, kind: ValueKind) -> (u64, Option<u64>) {
    (slots[at], (kind.slots() > 1).then(|| slots[at + 1]))
}

/// What the entry trampoline needs: see `stubs`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct NativeCall {
    pub(crate) code: *const u8,
    pub(crate) context: *mut ContextHeader,
    pub(crate) gpr: [u64; GPR_PARAMS],
    /// Low halves. A load of both halves would wait for the two stores of them.
    pub(crate) xmm: [u64; XMM_PARAMS],
    pub(crate) stack_count: usize,
    pub(crate) stack_slots: *const u64,
    pub(crate) result_gpr: [u64; 2],
    /// Low halves, then high ones.
    pub(crate) result_xmm: [[u64; 2]; 2],
    /// High halves of `xmm`, or null if no vector is passed.
    pub(crate) xmm_high: *const [u64; XMM_PARAMS],
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
/// `slots` holds the arguments in the order of the parameters, and receives the results from its start on.
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
        result_xmm: [[0; 2]; 2],
        xmm_high: std::ptr::null(),
    };
    // Small: a guest that goes back and forth between tiers has one of these frames for each of its own.
    let mut stack_slots: SmallVec<[u64; 4]> = SmallVec::new();
    #[cfg(feature = "verify-slots")]
    // SAFETY: the caller provides a slot for every parameter.
    unsafe {
        let arguments = std::slice::from_raw_parts(slots, shape.param_slots());
        shape.verify_arguments("arguments of machine code", arguments);
    }
    if shape.has_vectors {
        // SAFETY: as the caller vouches.
        return unsafe { call_with_vectors(&mut call, shape, slots) };
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
    // SAFETY: `call` describes a call of this shape, as the caller vouches.
    unsafe { enter(&mut call, shape, slots) }
}

/// The same for arguments that lie where there are more slots behind them, as on the stack of an interpreter: calls that pass
/// and return nothing but a few integers take a shorter way.
///
/// # Safety
/// As for [`call_native`]; and `slots` must be valid for reads of [`SLOTS_IN_PLACE`] slots, whatever they hold.
pub unsafe fn call_in_place(
    code: *const u8,
    context: *mut ContextHeader,
    shape: &CallShape,
    slots: *mut u64,
) -> NativeOutcome {
    let Some(result) = shape.plain else {
        // SAFETY: the caller's contract.
        return unsafe { call_native(code, context, shape, slots) };
    };
    #[cfg(feature = "verify-slots")]
    // SAFETY: the caller provides a slot for every parameter.
    unsafe {
        let arguments = std::slice::from_raw_parts(slots, shape.param_slots());
        shape.verify_arguments("arguments of machine code", arguments);
    }
    // SAFETY: the caller vouches for the context and its stack, and for the code and its arguments.
    unsafe {
        let stack = (*context).stack;
        let enter = || {
            let entered = stubs::midair_osr_enter_plain(code, context, slots, stack);
            (entered.unwound == 0).then_some(entered.result)
        };
        match within_entry(stack, enter) {
            Some(value) => {
                if let PlainResult::Integer(kind) = result {
                    *slots = kind.canonical(value);
                }
                NativeOutcome::Returned
            }
            None => NativeOutcome::Unwound,
        }
    }
}

/// How many slots [`call_in_place`] may read.
pub const SLOTS_IN_PLACE: usize = GPR_PARAMS;

/// Runs `enter`, which enters managed code; `None` is that the stack has been unwound to here.
///
/// # Safety
/// `stack` must be this thread's, and managed code that `enter` has entered must have ended when it ends.
#[inline(always)]
unsafe fn within_entry<R>(
    stack: *mut StackContext,
    enter: impl FnOnce() -> Option<R>,
) -> Option<R> {
    // SAFETY: the caller's contract.
    unsafe { (*stack).entries += 1 };
    if !PREPARED.get() {
        prepare_thread();
    }
    let returned = with_current(stack, enter);
    // SAFETY: the stack is this thread's and no managed code runs inside this call now.
    unsafe {
        (*stack).entries -= 1;
        if returned.is_none() && (*stack).process.is_current() {
            // What this call entered is inside whatever the call outside it entered.
            let here = (*stack).position(0);
            (*stack).redirected.forget_inside(here);
        }
    }
    returned
}

/// The rest of [`call_native`] where an argument or a result has two slots.
///
/// # Safety
/// As for [`call_native`].
#[inline(never)]
unsafe fn call_with_vectors(
    call: &mut NativeCall,
    shape: &CallShape,
    slots: *mut u64,
) -> NativeOutcome {
    let mut xmm_high = [0; XMM_PARAMS];
    let mut stack_slots: SmallVec<[u64; 16]> = SmallVec::from_elem(0, shape.stack_slots as usize);
    // SAFETY: the caller provides slots for every parameter.
    let arguments = unsafe { std::slice::from_raw_parts(slots, shape.param_slots()) };
    let mut at = 0;
    for (place, kind) in &shape.params {
        let (low, high) = halves(arguments, at, *kind);
        at += kind.slots();
        match *place {
            ParamPlace::Gpr(n) => call.gpr[usize::from(n)] = low,
            ParamPlace::Xmm(n) => {
                call.xmm[usize::from(n)] = low;
                xmm_high[usize::from(n)] = high.unwrap_or(0);
            }
            ParamPlace::Stack(n) => {
                stack_slots[n as usize] = low;
                if let Some(high) = high {
                    stack_slots[n as usize + 1] = high;
                }
            }
        }
    }
    call.stack_slots = stack_slots.as_ptr();
    call.xmm_high = &raw const xmm_high;
    // SAFETY: `call` describes a call of this shape, as the caller vouches.
    unsafe { enter(call, shape, slots) }
}

/// Makes the call, and reads its results.
///
/// # Safety
/// As for [`call_native`]; `call` must describe the call.
#[inline(always)]
unsafe fn enter(call: &mut NativeCall, shape: &CallShape, slots: *mut u64) -> NativeOutcome {
    let context = call.context;
    // SAFETY: the caller vouches for the context and its stack.
    let stack = unsafe { (*context).stack };
    // SAFETY: `call` describes a call of this shape, as the caller vouches, whose stack is this thread's.
    let returned = unsafe {
        within_entry(stack, || (stubs::midair_osr_enter(call, stack) == 0).then_some(()))
    };
    if returned.is_none() {
        return NativeOutcome::Unwound;
    }
    // SAFETY: a call of this shape has just returned.
    unsafe {
        // Each half by itself: a load of two would wait for the two stores of them.
        let xmm = |n: usize| call.result_xmm.map(|halves| halves[n]);
        shape.read_results(call.result_gpr, xmm, &*stack, |i, value| {
            *slots.add(i) = value;
        });
    }
    NativeOutcome::Returned
}

#[cfg(test)]
mod tests {
    use super::*;
    use ValueKind::{F32, F64, I32, I64, V128};

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
    fn calls_of_a_few_integers_are_plain() {
        let plain = |params: &[ValueKind], results: &[ValueKind]| {
            CallShape::new(params.iter().copied(), results.iter().copied()).plain
        };
        assert_eq!(plain(&[], &[]), Some(PlainResult::Nothing));
        assert_eq!(plain(&[I32, I64, I32, I32, I64], &[I32]), Some(PlainResult::Integer(I32)));
        for params in [&[I64, F64][..], &[I32; 6], &[V128]] {
            assert_eq!(plain(params, &[]), None, "{params:?}");
        }
        for results in [&[F32][..], &[V128], &[I32, I32], &[I64, F64], &[I64; 3]] {
            assert_eq!(plain(&[I64], results), None, "{results:?}");
        }
    }

    #[test]
    fn vectors_have_two_slots_and_are_aligned_on_the_stack() {
        let params = [I32, V128, F64, V128, V128, V128, V128, V128, V128, F32, V128, I64];
        let shape = CallShape::new(params.into_iter(), [V128, I32, V128].into_iter());
        assert_eq!(shape.params[1], (ParamPlace::Xmm(0), V128));
        assert_eq!(shape.params[8], (ParamPlace::Xmm(7), V128));
        assert_eq!(shape.params[9], (ParamPlace::Stack(0), F32));
        assert_eq!(shape.params[10], (ParamPlace::Stack(2), V128));
        assert_eq!(shape.params[11], (ParamPlace::Gpr(1), I64));
        assert_eq!((shape.param_slots(), shape.result_slots(), shape.stack_slots), (20, 5, 4));
        assert!(shape.results_in_registers());
        let mut read = [0; 5];
        let stack = StackContext::new(no_poll, no_trap);
        // SAFETY: the shape's results are in registers, so the buffer is not looked at.
        unsafe {
            let xmm = |n: usize| [[1, 2], [3, 4]][n];
            shape.read_results([u64::MAX; 2], xmm, &stack, |i, bits| read[i] = bits)
        };
        assert_eq!(read, [1, 2, 0xffff_ffff, 3, 4]);
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
            shape.read_results([u64::MAX; 2], |_| [u64::MAX; 2], &stack, |i, bits| read[i] = bits)
        };
        assert_eq!(read, [0xffff_ffff, 0xffff_ffff, u64::MAX, u64::MAX]);
    }
}

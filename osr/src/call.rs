//! Calls between Rust and managed code: the shape of a call, the entry trampoline, callouts.

use crate::context::{ContextHeader, StackContext};

/// Register class of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueClass {
    /// In a general register, 64 bits.
    Int,
    /// In a vector register (the low 64 bits are carried).
    Float,
}

/// What Rust does at a callout: managed code called an entry thunk. `token` is the thunk's number;
/// see [`CalloutOutcome`] for the answer.
pub type CalloutHandler = unsafe extern "sysv64" fn(
    context: *mut ContextHeader,
    token: u32,
    frame: *mut CalloutFrame,
) -> usize;

/// Answer of a callout handler, as the machine word that the stub understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CalloutOutcome {
    /// The results are in the frame (or the result buffer): return to the caller.
    Return,
    /// Unwind to the innermost entry: a trap is pending.
    Unwind,
    /// Jump to this code with the original arguments and return address.
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

/// Where the arguments and results of a function lie. Parameter 0 is always the context, in `rdi`,
/// and is not part of the shape. Parameters follow System V. Results: at most two `Int` (`rax`,
/// `rdx`) and two `Float` (`xmm0`, `xmm1`) are returned in registers; any more, and *all* results
/// go through the buffer at `StackContext::results`, one 64-bit slot each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallShape {
    params: smallvec::SmallVec<[ParamPlace; 8]>,
    results: smallvec::SmallVec<[ValueClass; 4]>,
    stack_slots: u32,
    results_in_registers: bool,
}

/// Where one parameter lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ParamPlace {
    /// `n`th integer argument register after `rdi`.
    Gpr(u8),
    /// `xmm` register.
    Xmm(u8),
    /// 64-bit slot of the caller's outgoing area.
    Stack(u32),
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

/// Calls managed code.
///
/// `slots` holds the arguments, one 64-bit slot each in the order of the parameters, and receives the
/// results from its start on.
///
/// # Safety
/// `code` must be managed code (or an entry thunk) of this shape that expects `context`, `slots` must be
/// valid for as many slots as there are parameters or results, whichever is more, and
/// `(*context).stack` must be the stack context of this thread.
pub unsafe fn call_native(
    code: *const u8,
    context: *mut ContextHeader,
    shape: &CallShape,
    slots: *mut u64,
) -> NativeOutcome {
    let _ = (code, context, shape, slots);
    todo!()
}

/// What the callout stub saved.
#[repr(C)]
pub struct CalloutFrame {
    _private: (),
}

impl CallShape {
    /// The shape of a function with these parameters and results.
    pub fn new(
        _params: impl Iterator<Item = ValueClass>,
        _results: impl Iterator<Item = ValueClass>,
    ) -> CallShape {
        todo!()
    }
    /// Whether results are returned in registers.
    pub fn results_in_registers(&self) -> bool {
        self.results_in_registers
    }
}

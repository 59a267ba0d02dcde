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
// CalloutFrame, CallShape { new, read_arguments, write_results, results_in_registers }, NativeOutcome,
// call_native: being written by the owner of osr/.

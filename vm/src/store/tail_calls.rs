//! What a store remembers of tail calls that are made by loops: see `call/tail_calls.rs`.

use midair_tiers::InstanceContext;
use midair_tiers::interp::TailCall;

/// A call that waits for the loop that has called its caller.
pub(crate) struct NextCall {
    pub(crate) call: TailCall,
    /// The caller's instance, which knows the callee's type.
    pub(crate) caller: *mut InstanceContext,
    /// Its arguments, on the value stack: nothing has been put there since.
    pub(crate) arguments: *const u64,
}

/// The loops of a store that call what was tail-called, and what the innermost one is to call next.
#[derive(Default)]
pub(crate) struct TailCalls {
    /// By the number of calls into machine code that are under way inside each.
    pub(crate) loops: Vec<usize>,
    pub(crate) next: Option<NextCall>,
}

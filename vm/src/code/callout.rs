//! Machine code calls a function that has no machine code.

use midair_osr::{CalloutFrame, CalloutOutcome, ContextHeader};

/// Runs the function in the interpreter.
pub(crate) unsafe extern "sysv64" fn on_callout(
    _context: *mut ContextHeader,
    _token: u32,
    _frame: *mut CalloutFrame,
) -> usize {
    CalloutOutcome::Unwind.into_word()
}

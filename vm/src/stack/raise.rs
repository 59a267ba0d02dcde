//! Raising traps.

use super::backtrace;
use crate::store::opaque::StoreOpaque;
use midair_osr::StackContext;
use midair_tiers::TrapCode;
use midair_tiers::compile::clif;

/// A trap site of machine code was hit.
///
/// # Safety
/// Only the trap stub calls it, with the stack of a store that is alive; `pc` and `fp` are those of the
/// frame that trapped.
pub(crate) unsafe extern "sysv64" fn on_trap(
    stack: *mut StackContext,
    code: u32,
    pc: usize,
    fp: usize,
) {
    // SAFETY: as the caller vouches; the guest waits.
    unsafe {
        let store = StoreOpaque::from_runtime(stack.cast()).as_mut();
        let code =
            clif::trap_code_of_site(code).expect("trap sites of guest code have guest codes");
        (*store.runtime()).trap = code as u32;
        backtrace::capture(store, Some((pc, fp)));
    }
}

/// Sets the trap that is being raised by machine code that has left for Rust.
pub(crate) fn raise(store: &mut StoreOpaque, code: TrapCode) {
    // SAFETY: the runtime context lives as long as the store.
    unsafe { (*store.runtime()).trap = code as u32 };
    backtrace::capture(store, None);
}

//! Calls from the host into guest code.

use crate::Result;
use crate::engine::Signature;
use crate::store::StoreOpaque;
use midair_osr::{ContextHeader, StackContext};
use midair_tiers::{FuncRef, StoreContext};
use std::ptr::NonNull;

/// A runtime context that no guest code runs on.
pub(crate) fn new_runtime_context() -> StoreContext {
    StoreContext {
        stack: StackContext::new(on_poll, on_trap),
        fuel: 0,
        value_top: std::ptr::null_mut(),
        value_limit: std::ptr::null_mut(),
        activation: std::ptr::null_mut(),
        trap: 0,
        stress: 0,
        owner: std::ptr::null_mut(),
    }
}

unsafe extern "sysv64" fn on_poll(_header: *mut ContextHeader, _stack: *mut StackContext) -> usize {
    0
}

unsafe extern "sysv64" fn on_trap(_stack: *mut StackContext, _code: u32, _pc: usize, _fp: usize) {}

/// Calls a function. `slots` holds its arguments, and its results afterwards.
///
/// # Safety
/// The function must belong to the store and have this signature, `slots` must have room for its
/// parameters and results, and nothing else may use the store during the call.
pub(crate) unsafe fn invoke(
    _store: NonNull<StoreOpaque>,
    _func_ref: NonNull<FuncRef>,
    _signature: &Signature,
    _slots: &mut [u64],
) -> Result<()> {
    todo!()
}

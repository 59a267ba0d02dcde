//! Host functions, as their store keeps them.

use super::instance::InstanceEntity;
use super::opaque::StoreOpaque;
use crate::types::signatures::Signature;
use anyhow::Result;
use midair_osr::ContextHeader;
use midair_tiers::types::FuncType;
use midair_tiers::{FuncRef, FunctionState};
use std::ptr::NonNull;
use std::sync::Arc;

/// What a host function is called with.
pub struct HostCall<'a> {
    /// The store, which nothing else uses during the call.
    pub(crate) store: NonNull<StoreOpaque>,
    /// The instance that imports the function, if an instance does.
    pub(crate) instance: Option<NonNull<InstanceEntity>>,
    /// Arguments on entry, results on return.
    pub(crate) slots: &'a mut [u64],
}

/// Type-erased code of a host function.
pub(crate) type HostCode = Box<dyn Fn(HostCall<'_>) -> Result<()> + Send + Sync>;

/// A host function that is not bound to a store.
pub struct HostDefinition {
    pub(crate) ty: FuncType,
    pub(crate) code: HostCode,
}

/// A host function in a store: the context that it is called with. Each instance that imports a host
/// function has one of its own, so that the function knows its caller.
#[repr(C)]
pub(crate) struct HostFunction {
    pub(crate) header: ContextHeader,
    /// Its entry and its native code are an entry thunk.
    pub(crate) state: FunctionState,
    pub(crate) func_ref: FuncRef,
    pub(crate) signature: Arc<Signature>,
    pub(crate) definition: Arc<HostDefinition>,
    pub(crate) instance: Option<NonNull<InstanceEntity>>,
}

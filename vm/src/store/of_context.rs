//! From the context that code runs with to what it belongs to.

use super::instance::InstanceEntity;
use super::opaque::StoreOpaque;
use crate::code::module_code::ModuleCode;
use midair_tiers::InstanceContext;
use std::sync::Arc;

/// The instance that a runtime call comes from.
///
/// # Safety
/// `cx` must be the context of an instance whose store is alive, and nothing else may use the instance
/// while the reference lives.
pub(crate) unsafe fn instance_of<'a>(cx: *mut InstanceContext) -> &'a mut InstanceEntity {
    // SAFETY: the owner of a complete instance context is its instance.
    unsafe { &mut *(*cx).owner.cast() }
}

/// The store that a runtime call comes from.
///
/// # Safety
/// As for [`instance_of`], for the store.
pub(crate) unsafe fn store_of<'a>(cx: *mut InstanceContext) -> &'a mut StoreOpaque {
    // SAFETY: as the caller vouches; the guest waits for the runtime call.
    unsafe { StoreOpaque::from_runtime((*cx).store()).as_mut() }
}

/// The module's code of an instance.
///
/// # Safety
/// `instance` must be a live instance's context.
pub(crate) unsafe fn module_of(instance: *mut InstanceContext) -> Arc<ModuleCode> {
    // SAFETY: `code` points into the `Arc` that the instance's module holds.
    unsafe {
        let code = (*instance).code.cast::<ModuleCode>();
        Arc::increment_strong_count(code);
        Arc::from_raw(code)
    }
}

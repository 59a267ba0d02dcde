//! Bytes that an update writes into memories.
//!
//! A store's own thread writes them, at its next safepoint or when it next enters guest code. Until then, host
//! functions and embedders may have borrowed the memory.

use super::changes::ChangedData;
use super::in_each_store::InEachStore;
use crate::instance::InstanceEntity;
use crate::module::ModuleState;
use crate::store::{Contents, LockedContents};
use midair_osr::{Operation, StackContext};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Leaves bytes to be written with each store, and makes its guest come to a safepoint.
struct Writing<F>(InEachStore<F>);

impl<F> Operation<StackContext> for Writing<F>
where
    F: Fn(&Arc<Contents>, &mut LockedContents, &InstanceEntity) + Send + Sync + 'static,
{
    unsafe fn perform(&self, stack: *mut StackContext) {
        // SAFETY: as the caller vouches.
        unsafe { self.0.perform(stack) };
        // SAFETY: the stack is alive; both fields are atomic, and nothing but they is borrowed.
        unsafe {
            (*stack).poll_flag.store(1, Ordering::Release);
            (*stack).stack_limit.store(usize::MAX, Ordering::Release);
        }
    }
}

/// Writes these bytes in all instances: to be performed on each store.
pub(super) fn writing(
    module: &Arc<ModuleState>,
    data: &[ChangedData],
) -> Arc<dyn Operation<StackContext>> {
    let data = data.to_vec();
    Arc::new(Writing(InEachStore::new(module, move |shared, contents, instance| {
        for ChangedData { memory, address, bytes } in &data {
            contents.write_later(instance.memory(*memory), *address, bytes.clone());
        }
        shared.set_data_pending();
    })))
}

//! Bytes that an update writes into memories.
//!
//! A store's own thread writes them, at its next safepoint or when it next enters guest code. Until then, host
//! functions and embedders may have borrowed the memory.

use super::changes::ChangedData;
use super::in_each_store::{InEachStore, LeftToStore};
use crate::module::ModuleState;
use midair_osr::{Operation, StackContext};
use std::sync::Arc;

/// Writes these bytes in all instances: to be performed on each store.
pub(super) fn writing(
    module: &Arc<ModuleState>,
    data: &[ChangedData],
) -> Arc<dyn Operation<StackContext>> {
    let data = data.to_vec();
    Arc::new(LeftToStore(InEachStore::new(module, move |shared, contents, instance| {
        for ChangedData { memory, address, bytes } in &data {
            contents.write_later(instance.memory(*memory), *address, bytes);
        }
        shared.set_memory_pending();
    })))
}

//! Bytes that an update writes into memories.
//!
//! A store's own thread writes them, at its next safepoint or when it next enters guest code. Until then, host
//! functions and embedders may have borrowed the memory. Nobody borrows shared memories: what goes there is written once
//! for all threads of the program, when the first store is served.

use super::changes::ChangedData;
use super::in_each_store::{InEachStore, LeftToStore};
use crate::module::ModuleState;
use crate::module::patches::Patches;
use crate::store::contents;
use midair_osr::{Operation, StackContext};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Writes these bytes in all instances: to be performed on each store.
pub(super) fn writing(
    module: &Arc<ModuleState>,
    data: &[ChangedData],
) -> Arc<dyn Operation<StackContext>> {
    let data = data.to_vec();
    let shared_memories = Mutex::new(HashSet::new());
    Arc::new(LeftToStore(InEachStore::new(module, move |shared, contents, instance| {
        let mut written = shared_memories.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at_once = HashMap::<_, Patches>::new();
        for ChangedData { memory, address, bytes } in &data {
            let memory = instance.memory(*memory);
            // SAFETY: memories live as long as the stores of their instances.
            if !unsafe { memory.as_ref() }.is_shared() {
                contents.write_later(memory, *address, bytes);
            } else if !written.contains(&(memory.as_ptr() as usize)) {
                at_once.entry(memory).or_default().write(*address, bytes);
            }
        }
        for (memory, patches) in at_once {
            written.insert(memory.as_ptr() as usize);
            // SAFETY: as above; it is shared.
            unsafe { contents::write(memory, &patches) };
        }
        shared.set_memory_pending();
    })))
}

//! Memories that an update makes larger.
//!
//! Whether they can be is found out beforehand, in every instance, so that the update happens everywhere or
//! nowhere. They grow when the store's own thread comes to its next safepoint, as all memories do.

use super::changes::AtLeast;
use super::in_each_store::{InEachStore, LeftToStore};
use crate::Result;
use crate::instance::InstanceEntity;
use crate::module::ModuleState;
use crate::store::{Contents, LockedContents};
use midair_osr::{Operation, StackContext};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memories of an update, in all instances.
#[derive(Default)]
struct LargerMemories {
    sizes: Vec<AtLeast<u64>>,
    /// Bytes that are counted in stores, by the address of their contents.
    reserved: Mutex<HashMap<usize, Reserved>>,
    /// Why there is no room.
    refusal: Mutex<Option<String>>,
}

struct Reserved {
    contents: Arc<Contents>,
    bytes: u64,
}

/// Sizes that there is room for. When this is dropped, what has not been used is given back.
#[derive(Default)]
pub(super) struct ReservedMemories(Arc<LargerMemories>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change stands for itself.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LargerMemories {
    fn reserve_in(
        &self,
        shared: &Arc<Contents>,
        contents: &mut LockedContents,
        instance: &InstanceEntity,
    ) {
        let mut reserved = lock(&self.reserved);
        let address = Arc::as_ptr(shared) as usize;
        let reserved = reserved
            .entry(address)
            .or_insert_with(|| Reserved { contents: shared.clone(), bytes: 0 });
        for &AtLeast { index, size } in &self.sizes {
            // SAFETY: the memory is one of the store's.
            match unsafe { contents.reserve_memory(instance.memory(index), size) } {
                Some(counted) => reserved.bytes += counted,
                None => {
                    let refusal =
                        format!("memory {index} of an instance cannot grow to {size} pages");
                    *lock(&self.refusal) = Some(refusal);
                }
            }
        }
    }

    /// Leaves the memories of an instance to be grown.
    fn extend_in(
        &self,
        shared: &Arc<Contents>,
        contents: &mut LockedContents,
        instance: &InstanceEntity,
    ) {
        let address = Arc::as_ptr(shared) as usize;
        // What is counted for all memories of the store is kept with the first of them.
        let mut counted =
            lock(&self.reserved).remove(&address).map_or(0, |reserved| reserved.bytes);
        for &AtLeast { index, size } in &self.sizes {
            contents.extend_memory_later(
                instance.memory(index),
                size,
                std::mem::take(&mut counted),
            );
        }
        shared.set_memory_pending();
    }
}

impl ReservedMemories {
    /// Makes sure that in all instances of the module these memories can have these sizes. Waits for all
    /// stores.
    pub(super) fn new(
        module: &Arc<ModuleState>,
        sizes: &[AtLeast<u64>],
    ) -> Result<ReservedMemories> {
        if sizes.is_empty() {
            return Ok(ReservedMemories::default());
        }
        let memories = LargerMemories { sizes: sizes.to_vec(), ..LargerMemories::default() };
        let memories = ReservedMemories(Arc::new(memories));
        let all = memories.0.clone();
        let reserve = InEachStore::new(module, move |shared, contents, instance| {
            all.reserve_in(shared, contents, instance);
        });
        reserve.perform_and_wait();
        if let Some(refusal) = lock(&memories.0.refusal).take() {
            anyhow::bail!(refusal);
        }
        Ok(memories)
    }

    /// What makes the memories of a store larger, if any are: an operation on each store.
    pub(super) fn extending(
        &self,
        module: &Arc<ModuleState>,
    ) -> Option<Arc<dyn Operation<StackContext>>> {
        if self.0.sizes.is_empty() {
            return None;
        }
        let memories = self.0.clone();
        let extend = InEachStore::new(module, move |shared, contents, instance| {
            memories.extend_in(shared, contents, instance);
        });
        Some(Arc::new(LeftToStore(extend)))
    }

    /// Says what they are to instances that are made later.
    pub(super) fn add_to(&self, module: &ModuleState) {
        let mut added = module.added.memories();
        for &AtLeast { index, size } in &self.0.sizes {
            let memory = added.entry(index).or_default();
            memory.pages = memory.pages.max(size);
        }
    }
}

impl Drop for ReservedMemories {
    fn drop(&mut self) {
        let reserved = std::mem::take(&mut *lock(&self.0.reserved));
        for Reserved { contents, bytes } in reserved.into_values() {
            contents.lock().uncount_bytes(bytes);
        }
    }
}

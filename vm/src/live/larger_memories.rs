//! Memories that an update makes larger.
//!
//! Whether they can be is found out beforehand, in every instance, so that the update happens everywhere or
//! nowhere. They grow when the store's own thread comes to its next safepoint, as all memories do.

use super::changes::AtLeast;
use super::in_each_store::{InEachStore, LeftToStore};
use super::reservations::Reservations;
use crate::module::ModuleState;
use crate::store::contents::{Contents, LockedContents};
use crate::store::instance::InstanceEntity;
use anyhow::Result;
use midair_osr::{Operation, StackContext};
use std::sync::Arc;

/// Memories of an update, in all instances.
#[derive(Default)]
struct LargerMemories {
    sizes: Vec<AtLeast<u64>>,
    /// Bytes.
    reserved: Reservations,
}

/// Sizes that there is room for. When this is dropped, what has not been used is given back.
#[derive(Default)]
pub(super) struct ReservedMemories(Arc<LargerMemories>);

impl LargerMemories {
    fn reserve_in(
        &self,
        shared: &Arc<Contents>,
        contents: &mut LockedContents,
        instance: &InstanceEntity,
    ) {
        for &AtLeast { index, size } in &self.sizes {
            // SAFETY: the memory is one of the store's.
            match unsafe { contents.reserve_memory(instance.memory(index), size) } {
                Some(counted) => self.reserved.add(shared, counted),
                None => self
                    .reserved
                    .refuse(format!("memory {index} of an instance cannot grow to {size} pages")),
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
        // What is counted for all memories of the store is kept with the first of them.
        let mut counted = self.reserved.take(shared);
        for &AtLeast { index, size } in &self.sizes {
            let memory = instance.memory(index);
            // SAFETY: memories live as long as the stores of their instances.
            if unsafe { memory.as_ref() }.is_shared() {
                // Nobody can have borrowed it, and what the update writes into it is written at once.
                contents.uncount_bytes(std::mem::take(&mut counted));
                // SAFETY: it is shared.
                unsafe { contents.extend_memory(memory, size) };
                continue;
            }
            contents.extend_memory_later(memory, size, std::mem::take(&mut counted));
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
        memories.0.reserved.check()?;
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
        self.0.reserved.give_back(LockedContents::uncount_bytes);
    }
}

//! What other threads change of a store: its tables, and its instances when their module grows.
//!
//! Memories are only changed by the store's own thread, because host functions may have borrowed them: what
//! others want to become of them waits here. They grow under the lock, so that others can look at their sizes.
//!
//! Guest code reads and writes tables without a lock. So whoever changes a store from another thread does
//! it while the guest is at a safepoint, or not running; and holds the lock of the contents, which keeps out
//! the store's owner, who may be using the embedding API meanwhile. The owner takes the lock for as long as a
//! call of that API takes, and not while guest code runs.

use super::instance::InstanceEntity;
use super::limits::StoreLimits;
use super::memory::MemoryEntity;
use super::table::TableEntity;
use crate::module::patches::Patches;
use midair_osr::Process;
use midair_tiers::{ValType, shared_bytes};
use std::collections::{BTreeMap, HashMap};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock. In an allocation of its own, for the store may be borrowed mutably by its owner.
pub(crate) struct Contents {
    process: Process,
    locked: Mutex<LockedContents>,
    /// Whether memories wait to be changed.
    memory_pending: AtomicBool,
}

/// What the lock guards: the fields here, and the tables of the store.
#[derive(Default)]
pub(crate) struct LockedContents {
    /// Those whose imports are connected. They live as long as the store.
    pub(crate) instances: Vec<NonNull<InstanceEntity>>,
    /// Types of globals of the host that hold references to functions, but not to any: by their cells' addresses.
    pub(crate) narrow_globals: HashMap<usize, ValType>,
    /// Elements of all tables, and those that updates are about to add.
    table_elements: u64,
    /// Bytes of all memories, and those that updates are about to add.
    memory_bytes: u64,
    limits: StoreLimits,
    /// What the store's thread is to do to memories at its next safepoint.
    pending: BTreeMap<NonNull<MemoryEntity>, PendingMemory>,
}

/// What a memory waits for.
#[derive(Default)]
struct PendingMemory {
    /// Pages that it has to have at least.
    pages: u64,
    /// Bytes that are counted for that already.
    counted: u64,
    /// Bytes that are written into it.
    data: Patches,
}

// SAFETY: instances are only used as long as their store exists, and in the way that the module's
// documentation describes.
unsafe impl Send for LockedContents {}

impl Contents {
    /// Nothing, of a store of this process's.
    pub(crate) fn new(process: Process) -> Contents {
        Contents { process, locked: Mutex::default(), memory_pending: AtomicBool::new(false) }
    }

    /// Keeps others from changing the contents.
    ///
    /// # Panics
    /// In another process than the store's.
    pub(crate) fn lock(&self) -> MutexGuard<'_, LockedContents> {
        self.process.assert_current();
        // What panics under the lock has changed nothing before.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// Whether memories wait to be changed.
    pub(crate) fn is_memory_pending(&self) -> bool {
        self.memory_pending.load(Ordering::Acquire)
    }

    /// Says that memories wait, after [`write_later`](LockedContents::write_later) and
    /// [`extend_memory_later`](LockedContents::extend_memory_later).
    pub(crate) fn set_memory_pending(&self) {
        self.memory_pending.store(true, Ordering::Release);
    }

    /// Does to memories what waits for the store's thread.
    ///
    /// # Safety
    /// Called by the store's thread, while nothing has borrowed the contents of memories.
    #[cold]
    pub(crate) unsafe fn change_memories(&self) {
        let pending = {
            let mut locked = self.lock();
            self.memory_pending.store(false, Ordering::Release);
            let pending = std::mem::take(&mut locked.pending);
            for (memory, PendingMemory { pages, counted, .. }) in &pending {
                locked.uncount_bytes(*counted);
                // SAFETY: memories live as long as their store; as the caller vouches.
                unsafe { locked.extend_memory(*memory, *pages) };
            }
            pending
        };
        for (memory, PendingMemory { data, .. }) in &pending {
            // SAFETY: as above.
            unsafe { write(*memory, data) };
        }
    }
}

/// Writes bytes into a memory, as far as it reaches.
///
/// # Safety
/// The memory must be alive, and nothing else may use its contents, unless it is shared.
pub(crate) unsafe fn write(memory: NonNull<MemoryEntity>, data: &Patches) {
    // SAFETY: the memory is alive.
    let (base, len, is_shared) = unsafe {
        let def = &memory.as_ref().def;
        (def.base, def.len(), memory.as_ref().is_shared())
    };
    for (address, bytes) in data.pieces() {
        let Ok(address) = usize::try_from(address) else { return };
        let count = bytes.len().min(len.saturating_sub(address));
        if is_shared {
            // SAFETY: so many bytes from the address on are in the memory.
            unsafe { shared_bytes::copy(bytes.as_ptr(), base.wrapping_add(address), count) };
        } else if count > 0 {
            // SAFETY: so many bytes from the address on are in the memory, and nothing else uses them.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(address), count) };
        }
    }
}

impl LockedContents {
    /// Leaves bytes to be written by the store's thread.
    pub(crate) fn write_later(
        &mut self,
        memory: NonNull<MemoryEntity>,
        address: u64,
        bytes: &[u8],
    ) {
        self.pending.entry(memory).or_default().data.write(address, bytes);
    }

    /// Bytes that wait to be written, for each memory that anything waits for.
    #[cfg(test)]
    pub(crate) fn pending_data(&self) -> impl Iterator<Item = &Patches> {
        self.pending.values().map(|pending| &pending.data)
    }

    /// Leaves a memory to be grown by the store's thread, to at least so many pages, for which so many bytes
    /// [have been counted](LockedContents::reserve_memory).
    pub(crate) fn extend_memory_later(
        &mut self,
        memory: NonNull<MemoryEntity>,
        pages: u64,
        counted: u64,
    ) {
        let pending = self.pending.entry(memory).or_default();
        pending.pages = pending.pages.max(pages);
        pending.counted += counted;
    }

    /// Sets the limits. What there is stays.
    pub(crate) fn set_limits(&mut self, limits: StoreLimits) {
        self.limits = limits;
    }

    /// Counts so many more bytes of memories, unless that is more than the limit.
    pub(crate) fn count_bytes(&mut self, count: u64) -> bool {
        let total = self.memory_bytes.saturating_add(count);
        let fits = count == 0 || total <= self.limits.memory_bytes;
        if fits {
            self.memory_bytes = total;
        }
        fits
    }

    /// Counts so many bytes less.
    pub(crate) fn uncount_bytes(&mut self, count: u64) {
        self.memory_bytes -= count;
    }

    /// Grows a memory of this store by `delta` pages; the size before, in pages. `None` if that is more than
    /// its type, the store's limits or the host allow; then nothing has changed.
    ///
    /// # Safety
    /// The memory must belong to this store, whose thread calls.
    pub(crate) unsafe fn grow_memory(
        &mut self,
        memory: NonNull<MemoryEntity>,
        delta: u64,
    ) -> Option<u64> {
        // SAFETY: as the caller vouches.
        unsafe { memory.as_ref() }.grow(delta, Some(self))
    }

    /// Finds out whether a memory can have at least so many pages, now and when that is asked for; how many
    /// bytes have been counted for that. `None` if it cannot; then nothing has changed.
    ///
    /// # Safety
    /// The memory must belong to this store.
    pub(crate) unsafe fn reserve_memory(
        &mut self,
        memory: NonNull<MemoryEntity>,
        pages: u64,
    ) -> Option<u64> {
        // SAFETY: as the caller vouches; memories grow only with the lock held.
        let memory = unsafe { memory.as_ref() };
        let bytes = memory.missing(pages)?;
        if !self.count_bytes(bytes) {
            return None;
        }
        if !memory.has_room_for(bytes) {
            self.uncount_bytes(bytes);
            return None;
        }
        Some(bytes)
    }

    /// Grows a memory to at least so many pages, whatever the limits are. If the host has lost the room that it
    /// had for that, the memory stays as it is, and accesses beyond its end trap.
    ///
    /// # Safety
    /// As for [`LockedContents::grow_memory`].
    pub(crate) unsafe fn extend_memory(&mut self, memory: NonNull<MemoryEntity>, pages: u64) {
        // SAFETY: as in `grow_memory`.
        self.memory_bytes += unsafe { memory.as_ref() }.grow_to(pages);
    }

    /// Counts so many more elements, unless that is more than the limit.
    pub(crate) fn count_elements(&mut self, count: u64) -> bool {
        let total = self.table_elements.saturating_add(count);
        let fits = count == 0 || total <= self.limits.table_elements;
        if fits {
            self.table_elements = total;
        }
        fits
    }

    /// Counts so many elements less.
    pub(crate) fn uncount_elements(&mut self, count: u64) {
        self.table_elements -= count;
    }

    /// Grows a table of this store by `delta` elements; the size before. `None` if that is more than its
    /// type, the store's limits or the host allow; then nothing has changed.
    ///
    /// # Safety
    /// The table must belong to this store, and nothing else may use it during the call.
    pub(crate) unsafe fn grow_table(
        &mut self,
        table: NonNull<TableEntity>,
        value: u64,
        delta: u64,
    ) -> Option<u32> {
        // SAFETY: as the caller vouches.
        let table = unsafe { &mut *table.as_ptr() };
        let old = table.def.len;
        let new = table.possible_size(delta)?;
        if !self.count_elements(delta) {
            return None;
        }
        if !table.has_room_for(new) {
            self.uncount_elements(delta);
            return None;
        }
        table.extend_to(new, value);
        Some(old as u32)
    }

    /// Makes sure that a table can have `size` elements from now on, whatever happens meanwhile; how many
    /// elements have been counted for that. `None` if it cannot; then nothing has changed.
    ///
    /// # Safety
    /// As for [`LockedContents::grow_table`].
    pub(crate) unsafe fn reserve_table(
        &mut self,
        table: NonNull<TableEntity>,
        size: usize,
    ) -> Option<u64> {
        // SAFETY: as the caller vouches.
        let table = unsafe { &mut *table.as_ptr() };
        let delta = size.saturating_sub(table.def.len) as u64;
        table.possible_size(delta)?;
        if !self.count_elements(delta) {
            return None;
        }
        if !table.has_room_for(size) {
            self.uncount_elements(delta);
            return None;
        }
        Some(delta)
    }

    /// Grows a table to `size` elements, unless it has so many; new ones are null. Whatever the limits are.
    ///
    /// # Safety
    /// As for [`LockedContents::grow_table`]; there must be room, see [`LockedContents::reserve_table`].
    pub(crate) unsafe fn extend_table(&mut self, table: NonNull<TableEntity>, size: usize) {
        // SAFETY: as the caller vouches.
        let table = unsafe { &mut *table.as_ptr() };
        self.table_elements += size.saturating_sub(table.def.len) as u64;
        table.extend_to(size, 0);
    }
}

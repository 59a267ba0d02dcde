//! What other threads change of a store: its tables, and its instances when their module grows.
//!
//! Guest code reads and writes tables without a lock. So whoever changes a store from another thread does
//! it while the guest is at a safepoint, or not running; and holds the lock of the contents, which keeps out
//! the store's owner, who may be using the embedding API meanwhile. The owner takes the lock for as long as a
//! call of that API takes, and not while guest code runs.

use crate::instance::InstanceEntity;
use crate::limits::StoreLimits;
use crate::memory::MemoryEntity;
use crate::table::TableEntity;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock. In an allocation of its own, for the store may be borrowed mutably by its owner.
#[derive(Default)]
pub(crate) struct Contents {
    locked: Mutex<LockedContents>,
    /// Whether bytes wait to be written into memories.
    data_pending: AtomicBool,
}

/// What the lock guards: the fields here, and the tables of the store.
pub(crate) struct LockedContents {
    /// Those whose imports are connected. They live as long as the store.
    pub(crate) instances: Vec<NonNull<InstanceEntity>>,
    /// Elements of all tables, and those that updates are about to add.
    table_elements: u64,
    /// Most of them.
    table_limit: u64,
    /// Bytes that the store's thread is to write into memories at its next safepoint. It does so itself,
    /// because until then host functions may have borrowed the memory.
    pending_data: Vec<PendingData>,
}

struct PendingData {
    memory: NonNull<MemoryEntity>,
    address: u64,
    bytes: Vec<u8>,
}

// SAFETY: instances are only used as long as their store exists, and in the way that the module's
// documentation describes.
unsafe impl Send for LockedContents {}

impl Default for LockedContents {
    fn default() -> LockedContents {
        let table_limit = StoreLimits::default().table_elements;
        LockedContents {
            instances: Vec::new(),
            table_elements: 0,
            table_limit,
            pending_data: Vec::new(),
        }
    }
}

impl Contents {
    /// Keeps others from changing the contents.
    pub(crate) fn lock(&self) -> MutexGuard<'_, LockedContents> {
        // What panics under the lock has changed nothing before.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// Whether bytes wait to be written into memories.
    pub(crate) fn is_data_pending(&self) -> bool {
        self.data_pending.load(Ordering::Acquire)
    }

    /// Says that there are bytes to be written into memories, after
    /// [`write_later`](LockedContents::write_later).
    pub(crate) fn set_data_pending(&self) {
        self.data_pending.store(true, Ordering::Release);
    }

    /// Writes the bytes that wait into memories.
    ///
    /// # Safety
    /// Called by the store's thread, while nothing has borrowed the contents of memories.
    #[cold]
    pub(crate) unsafe fn write_pending_data(&self) {
        let pending = {
            let mut locked = self.lock();
            self.data_pending.store(false, Ordering::Release);
            std::mem::take(&mut locked.pending_data)
        };
        for PendingData { memory, address, bytes } in pending {
            // SAFETY: memories live as long as their store; as the caller vouches.
            unsafe { write(memory, address, &bytes) };
        }
    }
}

/// Writes bytes into a memory, as far as it reaches.
///
/// # Safety
/// The memory must be alive, and nothing else may use its contents.
pub(crate) unsafe fn write(memory: NonNull<MemoryEntity>, address: u64, bytes: &[u8]) {
    // SAFETY: the memory is alive.
    let (base, len) = unsafe {
        let def = &memory.as_ref().def;
        (def.base, def.len)
    };
    let Ok(address) = usize::try_from(address) else { return };
    let count = bytes.len().min(len.saturating_sub(address));
    if count > 0 {
        // SAFETY: so many bytes from the address on are in the memory, and nothing else uses them.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(address), count) };
    }
}

impl LockedContents {
    /// Leaves bytes to be written by the store's thread.
    pub(crate) fn write_later(
        &mut self,
        memory: NonNull<MemoryEntity>,
        address: u64,
        bytes: Vec<u8>,
    ) {
        self.pending_data.push(PendingData { memory, address, bytes });
    }

    /// Sets how many elements all tables can have together. Those that there are stay.
    pub(crate) fn set_limits(&mut self, limits: StoreLimits) {
        self.table_limit = limits.table_elements;
    }

    /// Counts so many more elements, unless that is more than the limit.
    pub(crate) fn count_elements(&mut self, count: u64) -> bool {
        let total = self.table_elements.saturating_add(count);
        let fits = total <= self.table_limit;
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

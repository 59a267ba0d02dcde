//! Table entries that an update sets.
//!
//! The room for them is set aside beforehand, in every instance, so that setting them cannot fail whatever
//! the guests do meanwhile.

use super::changes::ChangedElements;
use super::in_each_store::InEachStore;
use crate::Result;
use crate::instance::InstanceEntity;
use crate::module::ModuleState;
use crate::store::{Contents, LockedContents};
use midair_osr::{Operation, StackContext};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries of an update.
#[derive(Default)]
pub(super) struct Entries {
    /// Functions, or null, by table and index.
    values: BTreeMap<(u32, u32), Option<u32>>,
    /// Stores in which elements are counted that have not been added yet, by the address of their contents.
    reserved: Mutex<HashMap<usize, Reserved>>,
    /// Why there is no room.
    refusal: Mutex<Option<String>>,
}

struct Reserved {
    contents: Arc<Contents>,
    elements: u64,
}

/// Entries that there is room for. When this is dropped, what has not been used is given back.
#[derive(Default)]
pub(super) struct ReservedEntries(Arc<Entries>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change stands for itself.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entries {
    /// Makes sure that all instances of the module have room for these entries. Waits for all stores.
    pub(super) fn reserve(
        module: &Arc<ModuleState>,
        elements: &[ChangedElements],
    ) -> Result<ReservedEntries> {
        let mut entries = Entries::default();
        for ChangedElements { table, offset, functions } in elements {
            let places = (*offset..).map(|index| (*table, index));
            entries.values.extend(places.zip(functions.iter().copied()));
        }
        if entries.values.is_empty() {
            return Ok(ReservedEntries::default());
        }
        let entries = ReservedEntries(Arc::new(entries));
        let all = entries.0.clone();
        let reserve = InEachStore::new(module, move |shared, contents, instance| {
            all.reserve_in(shared, contents, instance);
        });
        reserve.perform_and_wait();
        if let Some(refusal) = lock(&entries.0.refusal).take() {
            anyhow::bail!(refusal);
        }
        module.code.update_step("room in tables")?;
        Ok(entries)
    }

    /// How many elements each table needs.
    fn sizes(&self) -> BTreeMap<u32, usize> {
        sizes(self.values.keys())
    }

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
            .or_insert_with(|| Reserved { contents: shared.clone(), elements: 0 });
        for (table, size) in self.sizes() {
            // SAFETY: the table is one of the store's, whose guest stands still; its contents are locked.
            match unsafe { contents.reserve_table(instance.table(table), size) } {
                Some(counted) => reserved.elements += counted,
                None => {
                    let refusal =
                        format!("table {table} of an instance cannot grow to {size} elements");
                    *lock(&self.refusal) = Some(refusal);
                }
            }
        }
    }

    /// Sets the entries of an instance.
    fn set_in(
        &self,
        shared: &Arc<Contents>,
        contents: &mut LockedContents,
        instance: &InstanceEntity,
    ) {
        let address = Arc::as_ptr(shared) as usize;
        if let Some(reserved) = lock(&self.reserved).remove(&address) {
            contents.uncount_elements(reserved.elements);
        }
        // SAFETY: the instance is one of the store's, whose guest stands still; its contents are locked.
        // There is room: it was made when the entries were reserved, and no instance has come since.
        unsafe { set(contents, instance, &self.values) };
    }
}

impl ReservedEntries {
    /// The entries, as an operation on each store; `None` if there are none.
    pub(super) fn setting(
        &self,
        module: &Arc<ModuleState>,
    ) -> Option<Arc<dyn Operation<StackContext>>> {
        if self.0.values.is_empty() {
            return None;
        }
        let entries = self.0.clone();
        Some(Arc::new(InEachStore::new(module, move |shared, contents, instance| {
            entries.set_in(shared, contents, instance);
        })))
    }

    /// Functions, or null, by table and index.
    pub(super) fn values(&self) -> impl Iterator<Item = ((u32, u32), Option<u32>)> {
        self.0.values.iter().map(|(place, function)| (*place, *function))
    }
}

impl Drop for ReservedEntries {
    fn drop(&mut self) {
        let reserved = std::mem::take(&mut *lock(&self.0.reserved));
        for Reserved { contents, elements } in reserved.into_values() {
            contents.lock().uncount_elements(elements);
        }
    }
}

fn sizes<'a>(places: impl Iterator<Item = &'a (u32, u32)>) -> BTreeMap<u32, usize> {
    // In the order of the places the last one of a table is the one with the greatest index.
    places.map(|&(table, index)| (table, index as usize + 1)).collect()
}

/// Sets the entries that updates have set so far, in an instance that is being made. Fails if its tables
/// cannot grow as needed.
///
/// # Safety
/// As for [`LockedContents::reserve_table`], for the tables of the instance.
pub(crate) unsafe fn set_earlier(
    contents: &mut LockedContents,
    instance: &InstanceEntity,
) -> Result<()> {
    let values = instance.module.added.elements();
    for (table, size) in sizes(values.keys()) {
        // SAFETY: as the caller vouches.
        match unsafe { contents.reserve_table(instance.table(table), size) } {
            Some(counted) => contents.uncount_elements(counted),
            None => anyhow::bail!("table {table} cannot grow to the {size} elements of an update"),
        }
    }
    // SAFETY: as the caller vouches; there is room.
    unsafe { set(contents, instance, &values) };
    Ok(())
}

/// # Safety
/// As for [`LockedContents::reserve_table`], for the tables of the instance, in which there must be room.
unsafe fn set(
    contents: &mut LockedContents,
    instance: &InstanceEntity,
    values: &BTreeMap<(u32, u32), Option<u32>>,
) {
    for (table, size) in sizes(values.keys()) {
        // SAFETY: as the caller vouches.
        unsafe { contents.extend_table(instance.table(table), size) };
    }
    for (&(table, index), function) in values {
        let slot = function.map_or(0, |function| instance.func_ref(function).as_ptr() as u64);
        // SAFETY: the table is large enough, and nobody else uses it now.
        unsafe {
            let base = (*instance.table(table).as_ptr()).def.base;
            base.add(index as usize).write(slot);
        }
    }
}

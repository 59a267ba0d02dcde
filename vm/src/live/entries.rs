//! Table entries that an update sets.
//!
//! The room for them is set aside beforehand, in every instance, so that setting them cannot fail whatever
//! the guests do meanwhile.

use super::changes::{AtLeast, ChangedElements};
use super::in_each_store::InEachStore;
use super::reservations::Reservations;
use crate::module::ModuleState;
use crate::module::added::AddedEntries;
use crate::store::contents::{Contents, LockedContents};
use crate::store::instance::InstanceEntity;
use anyhow::Result;
use midair_osr::{Operation, StackContext};
use std::sync::Arc;

/// Entries of an update.
#[derive(Default)]
pub(super) struct Entries {
    entries: AddedEntries,
    /// Elements that have not been added yet.
    reserved: Reservations,
}

/// Entries that there is room for. When this is dropped, what has not been used is given back.
#[derive(Default)]
pub(super) struct ReservedEntries(Arc<Entries>);

impl Entries {
    /// Makes sure that all instances of the module have room for these entries, and for tables of these sizes.
    /// Waits for all stores.
    pub(super) fn reserve(
        module: &Arc<ModuleState>,
        elements: &[ChangedElements],
        sizes: &[AtLeast<u32>],
    ) -> Result<ReservedEntries> {
        let mut entries = Entries::default();
        for ChangedElements { table, offset, functions } in elements {
            let places = (*offset..).map(|index| (*table, index));
            entries.entries.values.extend(places.zip(functions.iter().copied()));
        }
        entries.entries.sizes.extend(sizes.iter().map(|table| (table.index, table.size)));
        if entries.is_empty() {
            return Ok(ReservedEntries::default());
        }
        let entries = ReservedEntries(Arc::new(entries));
        let all = entries.0.clone();
        let reserve = InEachStore::new(module, move |shared, contents, instance| {
            all.reserve_in(shared, contents, instance);
        });
        reserve.perform_and_wait();
        entries.0.reserved.check()?;
        module.code.update_step("room in tables")?;
        Ok(entries)
    }

    fn is_empty(&self) -> bool {
        self.entries.values.is_empty() && self.entries.sizes.is_empty()
    }

    fn reserve_in(
        &self,
        shared: &Arc<Contents>,
        contents: &mut LockedContents,
        instance: &InstanceEntity,
    ) {
        for (table, size) in self.entries.sizes() {
            // SAFETY: the table is one of the store's, whose guest stands still; its contents are locked.
            match unsafe { contents.reserve_table(instance.table(table), size as usize) } {
                Some(counted) => self.reserved.add(shared, counted),
                None => self
                    .reserved
                    .refuse(format!("table {table} of an instance cannot grow to {size} elements")),
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
        contents.uncount_elements(self.reserved.take(shared));
        // SAFETY: the instance is one of the store's, whose guest stands still; its contents are locked.
        // There is room: it was made when the entries were reserved, and no instance has come since.
        unsafe { set(contents, instance, &self.entries) };
    }
}

impl ReservedEntries {
    /// The entries, as an operation on each store; `None` if there are none.
    pub(super) fn setting(
        &self,
        module: &Arc<ModuleState>,
    ) -> Option<Arc<dyn Operation<StackContext>>> {
        if self.0.is_empty() {
            return None;
        }
        let entries = self.0.clone();
        Some(Arc::new(InEachStore::new(module, move |shared, contents, instance| {
            entries.set_in(shared, contents, instance);
        })))
    }

    /// What they are, for instances that are made later.
    pub(super) fn add_to(&self, added: &mut AddedEntries) {
        let AddedEntries { values, sizes } = &self.0.entries;
        added.values.extend(values);
        for (&table, &size) in sizes {
            let before = added.sizes.entry(table).or_default();
            *before = size.max(*before);
        }
    }
}

impl Drop for ReservedEntries {
    fn drop(&mut self) {
        self.0.reserved.give_back(LockedContents::uncount_elements);
    }
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
    let entries = instance.module.added.tables();
    for (table, size) in entries.sizes() {
        // SAFETY: as the caller vouches.
        match unsafe { contents.reserve_table(instance.table(table), size as usize) } {
            Some(counted) => contents.uncount_elements(counted),
            None => anyhow::bail!("table {table} cannot grow to the {size} elements of an update"),
        }
    }
    // SAFETY: as the caller vouches; there is room.
    unsafe { set(contents, instance, &entries) };
    Ok(())
}

/// # Safety
/// As for [`LockedContents::reserve_table`], for the tables of the instance, in which there must be room.
unsafe fn set(contents: &mut LockedContents, instance: &InstanceEntity, entries: &AddedEntries) {
    for (table, size) in entries.sizes() {
        // SAFETY: as the caller vouches.
        unsafe { contents.extend_table(instance.table(table), size as usize) };
    }
    for (&(table, index), function) in &entries.values {
        let slot = function.map_or(0, |function| instance.func_ref(function).as_ptr() as u64);
        // SAFETY: the table is large enough, and nobody else uses it now.
        unsafe {
            let base = (*instance.table(table).as_ptr()).def.base;
            base.add(index as usize).write(slot);
        }
    }
}

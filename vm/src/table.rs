//! Tables of references.

use crate::Result;
use crate::store::{AsContext, AsContextMut, StoreId, StoreOpaque};
use crate::types::{TableType, ValType};
use crate::value::Val;
use anyhow::Context as _;
use midair_tiers::TableDef;
use std::ptr::NonNull;

/// Most elements of a table: bounds what a guest can make the host allocate.
pub(crate) const MAX_ELEMENTS: u32 = 10_000_000;

/// A table as its store keeps it. The definition comes first: instances point to it.
#[repr(C)]
pub(crate) struct TableEntity {
    /// Address and length of `elements`.
    pub(crate) def: TableDef,
    ty: TableType,
    elements: Vec<u64>,
}

impl TableEntity {
    /// The type, with the present size as its minimum.
    pub(crate) fn ty(&self) -> TableType {
        TableType::new(self.ty.element, self.def.len as u32, self.ty.maximum)
    }
}

impl StoreOpaque {
    /// A new table whose elements are all `value`.
    pub(crate) fn new_table(&mut self, ty: TableType, value: u64) -> Result<NonNull<TableEntity>> {
        anyhow::ensure!(
            ty.minimum <= MAX_ELEMENTS && ty.maximum.is_none_or(|maximum| ty.minimum <= maximum),
            "a table of {} elements is not possible",
            ty.minimum
        );
        let total = self.table_elements + u64::from(ty.minimum);
        anyhow::ensure!(
            total <= self.limits.table_elements,
            "a table of {} elements exceeds the store's limit",
            ty.minimum
        );
        let mut elements = Vec::new();
        elements.try_reserve_exact(ty.minimum as usize).context("cannot allocate a table")?;
        elements.resize(ty.minimum as usize, value);
        self.table_elements = total;
        Ok(self.tables.alloc(TableEntity {
            def: TableDef { base: elements.as_mut_ptr(), len: elements.len() },
            ty,
            elements,
        }))
    }

    /// Grows a table of this store by `delta` elements; the size before. `None` if that is more than
    /// its type, the store's limits or the host allow; then nothing has changed.
    pub(crate) fn grow_table(
        &mut self,
        table: NonNull<TableEntity>,
        value: u64,
        delta: u64,
    ) -> Option<u32> {
        // SAFETY: the table belongs to this store, which is borrowed mutably.
        let table = unsafe { &mut *table.as_ptr() };
        let old = table.def.len as u64;
        let new = old.checked_add(delta)?;
        if new > u64::from(table.ty.maximum.unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS)) {
            return None;
        }
        let total = self.table_elements + delta;
        if total > self.limits.table_elements {
            return None;
        }
        table.elements.try_reserve(delta as usize).ok()?;
        table.elements.resize(new as usize, value);
        table.def = TableDef { base: table.elements.as_mut_ptr(), len: table.elements.len() };
        self.table_elements = total;
        Some(old as u32)
    }
}

/// A handle to a table.
///
/// ```
/// use midair::{Engine, ExternRef, Store, Table, TableType, Val, ValType};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let ty = TableType::new(ValType::ExternRef, 2, None);
/// let table = Table::new(&mut store, ty, Val::null_extern_ref())?;
/// table.set(&mut store, 1, ExternRef::new(5_u32).into())?;
/// let element = table.get(&mut store, 1).unwrap();
/// let value = element.extern_ref().unwrap().unwrap().data();
/// assert_eq!(value.downcast_ref(), Some(&5_u32));
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Table {
    store: StoreId,
    entity: NonNull<TableEntity>,
}

// SAFETY: the pointer is only followed after the handle has been checked against a store that is
// borrowed, which is what makes the access sound on any thread.
unsafe impl Send for Table {}
// SAFETY: as for `Send`.
unsafe impl Sync for Table {}

impl Table {
    /// A new table whose elements are all `init`.
    pub fn new(mut store: impl AsContextMut, ty: TableType, init: Val) -> Result<Table> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        anyhow::ensure!(
            matches!(ty.element, ValType::FuncRef | ValType::ExternRef),
            "a table cannot have elements of type {}",
            ty.element
        );
        let init = element_slot(store, ty.element, init)?;
        let entity = store.new_table(ty, init)?;
        Ok(Table::from_raw(store, entity))
    }

    /// The handle of a table of `store`.
    pub(crate) fn from_raw(store: &StoreOpaque, entity: NonNull<TableEntity>) -> Table {
        Table { store: store.id(), entity }
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store
    }

    /// # Panics
    /// If the table belongs to another store.
    #[track_caller]
    pub(crate) fn raw(&self, store: &StoreOpaque) -> NonNull<TableEntity> {
        self.store.check(store);
        self.entity
    }

    #[track_caller]
    fn entity<'a>(&self, store: &'a StoreOpaque) -> &'a TableEntity {
        // SAFETY: the table belongs to this store, which is borrowed for `'a`.
        unsafe { self.raw(store).as_ref() }
    }

    pub(crate) fn ty_in(&self, store: &StoreOpaque) -> TableType {
        self.entity(store).ty()
    }

    /// Its type; the minimum is the present size.
    pub fn ty(&self, store: impl AsContext) -> TableType {
        self.ty_in(store.as_context().opaque())
    }

    /// Number of elements.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.entity(store.as_context().opaque()).def.len as u64
    }

    /// The element at `index`; `None` beyond the end.
    pub fn get(&self, mut store: impl AsContextMut, index: u64) -> Option<Val> {
        let store = store.as_context_mut();
        let store = store.opaque();
        let table = self.entity(store);
        let index = usize::try_from(index).ok().filter(|i| *i < table.def.len)?;
        // SAFETY: the index is below the length.
        let slot = unsafe { *table.def.base.add(index) };
        // SAFETY: elements are of the table's element type and belong to the table's store.
        Some(unsafe { Val::from_slot(slot, table.ty.element, store) })
    }

    /// Sets the element at `index`.
    pub fn set(&self, mut store: impl AsContextMut, index: u64, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        let element = self.entity(store).ty.element;
        let slot = element_slot(store, element, value)?;
        let def = &self.entity(store).def;
        let index = usize::try_from(index)
            .ok()
            .filter(|index| *index < def.len)
            .context("table element index out of bounds")?;
        // SAFETY: the index is below the length, and the store is borrowed mutably.
        unsafe { *def.base.add(index) = slot };
        Ok(())
    }

    /// Grows it by `delta` elements, all `init`, and returns the size before, or fails and changes
    /// nothing.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64, init: Val) -> Result<u64> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        let element = self.entity(store).ty.element;
        let slot = element_slot(store, element, init)?;
        let entity = self.raw(store);
        store
            .grow_table(entity, slot, delta)
            .map(u64::from)
            .with_context(|| format!("failed to grow table by {delta} elements"))
    }
}

/// The slot of a value that is to become an element of a table.
fn element_slot(store: &mut StoreOpaque, element: ValType, value: Val) -> Result<u64> {
    anyhow::ensure!(value.ty() == element, "value of type {} for a table of {element}", value.ty());
    value.check_store(store)?;
    Ok(value.into_slot(store))
}

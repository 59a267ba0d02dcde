//! Tables of references.

use super::limits::{Question, Resource};
use super::opaque::PendingExit;
use super::opaque::{StoreId, StoreOpaque};
use super::value::Val;
use super::{AsContext, AsContextMut};
use crate::types::error::{ErrorKind, Failure, OfKind as _};
use anyhow::{Context as _, Result};
use midair_tiers::TableDef;
use midair_tiers::module_env::TableType;
use midair_tiers::types::ValType;
use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;

/// Most elements of a table: bounds what a guest can make the host allocate.
pub(crate) const MAX_ELEMENTS: u64 = 10_000_000;

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
    fn ty(&self) -> TableType {
        let mut ty = self.ty;
        ty.minimum = self.def.len as u64;
        ty
    }

    /// Whether its elements are references to exceptions.
    pub(crate) fn holds_exceptions(&self) -> bool {
        self.ty.element.is_exn_ref()
    }

    /// Whether its elements are references to functions.
    pub(crate) fn holds_functions(&self) -> bool {
        self.ty.element.is_func_ref()
    }

    /// Whether indices have 64 bits.
    pub(crate) fn is_64(&self) -> bool {
        self.ty.is_64
    }

    /// The type of its elements.
    pub(crate) fn element(&self) -> ValType {
        self.ty.element
    }

    /// The size after growing by `delta`, unless the type forbids it.
    pub(crate) fn possible_size(&self, delta: u64) -> Option<usize> {
        let size = (self.def.len as u64).checked_add(delta)?;
        let most = self.ty.maximum.unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS);
        (size <= most).then_some(size as usize)
    }

    /// Makes room for so many elements, if the host has the memory. Room that is there stays.
    pub(crate) fn has_room_for(&mut self, size: usize) -> bool {
        let additional = size.saturating_sub(self.elements.len());
        let has_room = self.elements.try_reserve(additional).is_ok();
        self.def.base = self.elements.as_mut_ptr();
        has_room
    }

    /// Sets all elements.
    pub(crate) fn fill(&mut self, value: u64) {
        self.elements.fill(value);
    }

    /// Grows to so many elements, if it is not as large yet. There must be room.
    pub(crate) fn extend_to(&mut self, size: usize, value: u64) {
        debug_assert!(size <= self.elements.capacity());
        if size > self.elements.len() {
            self.elements.resize(size, value);
        }
        self.def = TableDef { base: self.elements.as_mut_ptr(), len: self.elements.len() };
    }
}

/// So many elements; `None` if the host has not the memory. Null ones take none before they are written.
fn elements(count: usize, value: u64) -> Option<Vec<u64>> {
    let mut elements = Vec::new();
    if value != 0 || count == 0 {
        elements.try_reserve_exact(count).ok()?;
        elements.resize(count, value);
        return Some(elements);
    }
    let layout = Layout::array::<u64>(count).ok()?;
    // SAFETY: the size is not zero.
    let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
    // SAFETY: the memory comes from the allocator that vectors use, has the layout of so many numbers, and zeroes are
    // numbers.
    Some(unsafe { Vec::from_raw_parts(base.as_ptr().cast(), count, count) })
}

impl StoreOpaque {
    /// A new table whose elements are all `value`.
    pub(crate) fn new_table(&mut self, ty: TableType, value: u64) -> Result<NonNull<TableEntity>> {
        self.process.check()?;
        let fail = |text: String| Err(Failure::new(ErrorKind::Limit, text).into());
        if ty.minimum > MAX_ELEMENTS || ty.maximum.is_some_and(|maximum| ty.minimum > maximum) {
            return fail(format!("a table of {} elements is not possible", ty.minimum));
        }
        let count = ty.minimum;
        let granted = self.ask_limiter(Question::Growing {
            resource: Resource::Table,
            current: 0,
            desired: ty.minimum as usize,
            maximum: ty.maximum.map(|maximum| maximum as usize),
        });
        if !granted.map_err(PendingExit::into_error)? {
            return fail(format!("the limiter has denied a table of {count} elements"));
        }
        if !self.contents.lock().count_elements(count) {
            self.tell_limiter_of_failure(Resource::Table).map_err(PendingExit::into_error)?;
            return fail(format!("a table of {count} elements exceeds the store's limit"));
        }
        let Some(mut elements) = elements(ty.minimum as usize, value) else {
            self.contents.lock().uncount_elements(count);
            self.tell_limiter_of_failure(Resource::Table).map_err(PendingExit::into_error)?;
            let text = format!("cannot allocate a table of {count} elements");
            return Err(Failure::new(ErrorKind::System, text).into());
        };
        Ok(self.tables.alloc(TableEntity {
            def: TableDef { base: elements.as_mut_ptr(), len: elements.len() },
            ty,
            elements,
        }))
    }

    /// Grows a table of this store by `delta` elements; the size before. `None` if that is more than
    /// its type, the store's limits, its limiter or the host allow; then nothing has changed. Fails as the limiter does.
    pub(crate) fn grow_table(
        &mut self,
        table: NonNull<TableEntity>,
        value: u64,
        delta: u64,
    ) -> Result<Option<u64>, PendingExit> {
        if self.limiter.is_some() {
            let (current, maximum, desired) = {
                let _contents = self.contents.lock();
                // SAFETY: the table belongs to this store; the lock keeps others from changing it.
                let table = unsafe { table.as_ref() };
                (table.def.len, table.ty.maximum, table.possible_size(delta))
            };
            let Some(desired) = desired else { return Ok(None) };
            let question = Question::Growing {
                resource: Resource::Table,
                current,
                desired,
                maximum: maximum.map(|maximum| maximum as usize),
            };
            if desired > current && !self.ask_limiter(question)? {
                return Ok(None);
            }
        }
        // SAFETY: the table belongs to this store, which is borrowed mutably; the lock keeps others out.
        let old = unsafe { self.contents.lock().grow_table(table, value, delta) };
        if old.is_none() {
            self.tell_limiter_of_failure(Resource::Table)?;
        }
        Ok(old.map(u64::from))
    }
}

/// A handle to a table.
///
/// ```
/// use midair::{Engine, ExternRef, Store, Table, TableType, Val, ValType};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let ty = TableType::new(ValType::EXTERNREF, 2, None);
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
            matches!(ty.element, ValType::Ref(_)),
            "a table cannot have elements of type {}",
            ty.element
        );
        store.hold_type(ty.element)?;
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

    pub(crate) fn ty_in(&self, store: &StoreOpaque) -> TableType {
        self.with(store, |table| table.ty())
    }

    /// Works on the table while nobody else does.
    ///
    /// # Panics
    /// If the table belongs to another store.
    #[track_caller]
    fn with<R>(&self, store: &StoreOpaque, work: impl FnOnce(&TableEntity) -> R) -> R {
        let entity = self.raw(store);
        let _contents = store.contents.lock();
        // SAFETY: the table belongs to this store, which is borrowed; the lock keeps others from changing it.
        work(unsafe { entity.as_ref() })
    }

    /// Type of the elements.
    #[track_caller]
    fn element(&self, store: &StoreOpaque) -> ValType {
        self.ty_in(store).element
    }

    /// Its type; the minimum is the present size.
    pub fn ty(&self, store: impl AsContext) -> TableType {
        self.ty_in(store.as_context().opaque())
    }

    /// Number of elements.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.with(store.as_context().opaque(), |table| table.def.len as u64)
    }

    /// The element at `index`; `None` beyond the end.
    pub fn get(&self, mut store: impl AsContextMut, index: u64) -> Option<Val> {
        let store = store.as_context_mut();
        let store = store.opaque();
        let (slot, element) = self.with(store, |table| {
            let index = usize::try_from(index).ok().filter(|i| *i < table.def.len)?;
            // SAFETY: the index is below the length.
            Some((unsafe { *table.def.base.add(index) }, table.ty.element))
        })?;
        // SAFETY: elements are of the table's element type and belong to the table's store.
        Some(unsafe { Val::from_slots([slot, 0], element, store) })
    }

    /// Sets the element at `index`.
    pub fn set(&self, mut store: impl AsContextMut, index: u64, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        store.process.check()?;
        let slot = element_slot(store, self.element(store), value)?;
        let set: Result<()> = self.with(store, |table| {
            let index = usize::try_from(index)
                .ok()
                .filter(|index| *index < table.def.len)
                .context("table element index out of bounds")?;
            // SAFETY: the index is below the length, the store is borrowed mutably, and others are kept
            // out.
            unsafe { *table.def.base.add(index) = slot };
            Ok(())
        });
        set.of_kind(ErrorKind::Misuse)
    }

    /// Grows it by `delta` elements, all `init`, and returns the size before, or fails and changes
    /// nothing.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64, init: Val) -> Result<u64> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        store.process.check()?;
        let slot = element_slot(store, self.element(store), init)?;
        let entity = self.raw(store);
        let old = store.grow_table(entity, slot, delta).map_err(PendingExit::into_error)?;
        let failure =
            || Failure::new(ErrorKind::Limit, format!("failed to grow table by {delta} elements"));
        old.ok_or_else(|| failure().into())
    }
}

/// The slot of a value that is to become an element of a table.
fn element_slot(store: &mut StoreOpaque, element: ValType, value: Val) -> Result<u64> {
    value.check_store(store)?;
    if !value.is_of(element, store) {
        let text = format!("value of type {} for a table of {element}", value.ty());
        return Err(Failure::new(ErrorKind::Misuse, text).into());
    }
    Ok(value.into_slot(store))
}

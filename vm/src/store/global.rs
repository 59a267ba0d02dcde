//! Globals.

use super::contents::LockedContents;
use super::opaque::{StoreId, StoreOpaque};
use super::value::Val;
use super::{AsContext, AsContextMut};
use anyhow::Result;
use midair_osr::verify_slots::verify_slots;
use midair_tiers::GlobalCell;
use midair_tiers::module_env::GlobalType;
use midair_tiers::types::ValType;
use std::ptr::NonNull;
use std::sync::MutexGuard;

/// A handle to a global.
///
/// ```
/// use midair::{Engine, Global, GlobalType, Store, Val, ValType};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let global = Global::new(&mut store, GlobalType::new(ValType::I32, true), Val::I32(1))?;
/// global.set(&mut store, Val::I32(2))?;
/// assert_eq!(global.get(&mut store).i32(), Some(2));
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Global {
    store: StoreId,
    cell: NonNull<GlobalCell>,
    ty: GlobalType,
}

// SAFETY: the pointer is only followed after the handle has been checked against a store that is
// borrowed, which is what makes the access sound on any thread.
unsafe impl Send for Global {}
// SAFETY: as for `Send`.
unsafe impl Sync for Global {}

impl Global {
    /// A new global.
    pub fn new(mut store: impl AsContextMut, ty: GlobalType, value: Val) -> Result<Global> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        store.hold_type(ty.content)?;
        value.check_store(store)?;
        check_type(&ty, &value, store)?;
        let slots = value.into_slots(store);
        let cell = store.globals.alloc(GlobalCell(slots));
        if ty.content.is_func_ref() && ty.content != ValType::FUNCREF {
            let mut contents = store.contents.lock();
            contents.narrow_globals.insert(cell.as_ptr() as usize, ty.content);
        }
        Ok(Global::from_raw(store, cell, ty))
    }

    /// The handle of a global of `store`.
    pub(crate) fn from_raw(
        store: &StoreOpaque,
        cell: NonNull<GlobalCell>,
        ty: GlobalType,
    ) -> Global {
        Global { store: store.id(), cell, ty }
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store
    }

    /// # Panics
    /// If the global belongs to another store.
    #[track_caller]
    pub(crate) fn raw(&self, store: &StoreOpaque) -> NonNull<GlobalCell> {
        self.store.check(store);
        self.cell
    }

    pub(crate) fn ty_in(&self, store: &StoreOpaque) -> GlobalType {
        self.store.check(store);
        self.ty
    }

    /// Keeps others from changing it: updates move references to functions.
    fn lock<'a>(&self, store: &'a StoreOpaque) -> Option<MutexGuard<'a, LockedContents>> {
        self.ty.content.is_func_ref().then(|| store.contents.lock())
    }

    /// Its type.
    pub fn ty(&self, store: impl AsContext) -> GlobalType {
        self.ty_in(store.as_context().opaque())
    }

    /// Its value.
    pub fn get(&self, mut store: impl AsContextMut) -> Val {
        let store = store.as_context_mut();
        let store = store.opaque();
        let _contents = self.lock(store);
        // SAFETY: the global belongs to this store, which is borrowed.
        let cell = unsafe { *self.raw(store).as_ptr() };
        verify_slots("a global", &cell.0, std::iter::once(self.ty.content.kind()));
        // SAFETY: the cell's value is of the global's type.
        unsafe { Val::from_slots(cell.0, self.ty.content, store) }
    }

    /// Sets its value.
    pub fn set(&self, mut store: impl AsContextMut, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        let cell = self.raw(store);
        anyhow::ensure!(self.ty.mutable, "immutable global cannot be set");
        value.check_store(store)?;
        check_type(&self.ty, &value, store)?;
        let slots = value.into_slots(store);
        let _contents = self.lock(store);
        // SAFETY: the global belongs to this store, which is borrowed mutably.
        unsafe { (*cell.as_ptr()).0 = slots };
        Ok(())
    }
}

/// Fails if the value, which is of this store, is not one for globals of this type.
fn check_type(ty: &GlobalType, value: &Val, store: &StoreOpaque) -> Result<()> {
    anyhow::ensure!(
        value.is_of(ty.content, store),
        "value of type {} for a global of type {}",
        value.ty(),
        ty.content
    );
    Ok(())
}

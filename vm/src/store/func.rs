//! Handles to functions.

use super::AsContext;
use super::opaque::{StoreId, StoreOpaque};
use crate::types::signatures::Signature;
use midair_tiers::FuncRef;
use midair_tiers::types::{FuncType, TypeId};
use std::ptr::NonNull;
use std::sync::Arc;

/// A handle to a function: of an instance, or of the host.
///
/// ```
/// use midair::{Engine, Func, FuncType, Store, Val, ValType};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let add = Func::wrap(&mut store, |a: i32, b: i32| a + b);
/// let mut results = [Val::I32(0)];
/// add.call(&mut store, &[Val::I32(2), Val::I32(3)], &mut results)?;
/// assert_eq!(results[0].i32(), Some(5));
///
/// let typed = add.typed::<(i32, i32), i32>(&store)?;
/// assert_eq!(typed.call(&mut store, (20, 22))?, 42);
///
/// let ty = FuncType::new([ValType::I64], [ValType::I64]);
/// let double = Func::new(&mut store, ty, |_caller, params, results| {
///     results[0] = Val::I64(params[0].unwrap_i64() * 2);
///     Ok(())
/// });
/// double.call(&mut store, &[Val::I64(4)], &mut results)?;
/// assert_eq!(results[0].i64(), Some(8));
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Func {
    store: StoreId,
    func_ref: NonNull<FuncRef>,
}

// SAFETY: the pointer is only followed after the handle has been checked against a store that is
// borrowed, which is what makes the access sound on any thread.
unsafe impl Send for Func {}
// SAFETY: as for `Send`.
unsafe impl Sync for Func {}

impl Func {
    /// The handle of a function of `store`.
    pub(crate) fn from_raw(store: &StoreOpaque, func_ref: NonNull<FuncRef>) -> Func {
        Func { store: store.id(), func_ref }
    }

    /// The function that a slot refers to.
    ///
    /// # Safety
    /// The slot must hold a function reference of this store, or null.
    pub(crate) unsafe fn from_slot(slot: u64, store: &StoreOpaque) -> Option<Func> {
        NonNull::new(slot as *mut FuncRef).map(|func_ref| Func::from_raw(store, func_ref))
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store
    }

    /// # Panics
    /// If the function belongs to another store.
    #[track_caller]
    pub(crate) fn raw(&self, store: &StoreOpaque) -> NonNull<FuncRef> {
        self.store.check(store);
        self.func_ref
    }

    #[track_caller]
    pub(crate) fn signature(&self, store: &StoreOpaque) -> Arc<Signature> {
        store.engine().signature(self.type_id(store).number())
    }

    /// What its type is in its engine.
    #[track_caller]
    pub(crate) fn type_id(&self, store: &StoreOpaque) -> TypeId {
        // SAFETY: the function belongs to this store, which is borrowed.
        TypeId::from_number(unsafe { self.raw(store).as_ref().signature })
    }

    /// Its type.
    pub fn ty(&self, store: impl AsContext) -> FuncType {
        self.signature(store.as_context().opaque()).ty.clone()
    }
}

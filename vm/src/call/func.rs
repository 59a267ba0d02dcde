//! Functions.

use super::host::{HostCall, HostCode, HostDefinition};
use super::into_func::IntoFunc;
use super::invoke::{invoke, with_slots};
use super::typed_func::{TypedFunc, WasmParams, WasmResults};
use crate::store::caller::Caller;
use crate::store::opaque::{StoreId, StoreOpaque};
use crate::store::value::Val;
use crate::store::{AsContext, AsContextMut, StoreContextMut};
use crate::types::signatures::Signature;
use anyhow::Result;
use midair_tiers::FuncRef;
use midair_tiers::types::{FuncType, ValType};
use smallvec::SmallVec;
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
    /// A function of the host whose type is only known when the program runs.
    ///
    /// `code` gets the arguments, of the types of `ty`, and a slice of zeroes to put the results into.
    pub fn new<T: 'static>(
        mut store: impl AsContextMut<Data = T>,
        ty: FuncType,
        code: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Func {
        Func::from_definition(store.as_context_mut().opaque_mut(), dynamic_definition(ty, code))
    }

    /// A function of the host whose type is that of a Rust closure: see [`IntoFunc`].
    pub fn wrap<T: 'static, Params, Results>(
        mut store: impl AsContextMut<Data = T>,
        code: impl IntoFunc<T, Params, Results>,
    ) -> Func {
        Func::from_definition(store.as_context_mut().opaque_mut(), code.into_definition())
    }

    fn from_definition(store: &mut StoreOpaque, definition: HostDefinition) -> Func {
        let func_ref = store
            .new_host_function(Arc::new(definition), None)
            .expect("an engine has an entry thunk for host functions");
        Func::from_raw(store, func_ref)
    }

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
        // SAFETY: the function belongs to this store, which is borrowed.
        let number = unsafe { self.raw(store).as_ref().signature };
        store.engine().signature(number)
    }

    /// Its type.
    pub fn ty(&self, store: impl AsContext) -> FuncType {
        self.signature(store.as_context().opaque()).ty.clone()
    }

    /// Calls it, and puts its results into `results`.
    ///
    /// Fails if the arguments do not fit the type, if the guest traps, or if a host function fails.
    ///
    /// # Panics
    /// If the function belongs to another store, or if a host function panics.
    pub fn call(
        &self,
        mut store: impl AsContextMut,
        params: &[Val],
        results: &mut [Val],
    ) -> Result<()> {
        let mut store = store.as_context_mut();
        store.opaque().process.check()?;
        let signature = self.signature(store.opaque());
        let ty = &signature.ty;
        anyhow::ensure!(
            params.len() == ty.params.len(),
            "expected {} arguments, got {}",
            ty.params.len(),
            params.len()
        );
        anyhow::ensure!(
            results.len() == ty.results.len(),
            "expected room for {} results, got {}",
            ty.results.len(),
            results.len()
        );
        for (i, (param, ty)) in params.iter().zip(&ty.params).enumerate() {
            anyhow::ensure!(
                param.ty() == *ty,
                "argument {i} is of type {}, expected {ty}",
                param.ty()
            );
            param.check_store(store.opaque())?;
        }
        with_slots(signature.slots, |slots| {
            for (slot, param) in slots.iter_mut().zip(params) {
                *slot = param.clone().into_slot(store.opaque_mut());
            }
            // SAFETY: the function belongs to the store, which is borrowed mutably, and the slots are
            // its arguments.
            unsafe { invoke(store.opaque_ptr(), self.func_ref, &signature, slots)? };
            for ((result, slot), ty) in results.iter_mut().zip(slots).zip(&ty.results) {
                // SAFETY: the function has returned values of its result types.
                *result = unsafe { Val::from_slot(*slot, *ty, store.opaque()) };
            }
            Ok(())
        })
    }

    /// The function with its type known to Rust: faster to call. Fails if it has another type.
    pub fn typed<Params: WasmParams, Results: WasmResults>(
        &self,
        store: impl AsContext,
    ) -> Result<TypedFunc<Params, Results>> {
        let store = store.as_context();
        store.opaque().process.check()?;
        TypedFunc::new(*self, self.signature(store.opaque()))
    }
}

/// The definition of a host function that gets its arguments as values.
pub(crate) fn dynamic_definition<T: 'static>(
    ty: FuncType,
    code: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
) -> HostDefinition {
    let erased: HostCode = {
        let ty = ty.clone();
        Box::new(move |call: HostCall<'_>| {
            let HostCall { store, instance, slots } = call;
            // SAFETY: the function was made for stores of `T`, and has this store for itself.
            let mut store = unsafe { StoreContextMut::<T>::from_opaque(store) };
            let mut values: SmallVec<[Val; 8]> = SmallVec::new();
            for (slot, ty) in slots.iter().zip(&ty.params) {
                // SAFETY: the caller passed arguments of these types.
                values.push(unsafe { Val::from_slot(*slot, *ty, store.opaque()) });
            }
            let zero = |ty: &ValType| Val::default_for_ty(*ty).expect("v128 is refused at load");
            values.extend(ty.results.iter().map(zero));
            let (params, results) = values.split_at_mut(ty.params.len());
            code(Caller::new(store.reborrow(), instance), params, results)?;
            let opaque = store.opaque_mut();
            for (i, (result, ty)) in results.iter().zip(&ty.results).enumerate() {
                anyhow::ensure!(
                    result.ty() == *ty,
                    "host function returned {} as result {i}, expected {ty}",
                    result.ty()
                );
                result.check_store(opaque)?;
                slots[i] = result.clone().into_slot(opaque);
            }
            Ok(())
        })
    };
    HostDefinition { ty, code: erased }
}

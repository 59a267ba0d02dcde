//! Calling functions, and making them of closures.

use super::into_func::IntoFunc;
use super::invoke::{invoke, with_slots};
use super::typed_func::{TypedFunc, WasmParams, WasmResults};
use crate::store::caller::Caller;
use crate::store::func::Func;
use crate::store::host_function::{HostCall, HostCode, HostDefinition};
use crate::store::opaque::StoreOpaque;
use crate::store::value::Val;
use crate::store::{AsContext, AsContextMut, StoreContextMut};
use crate::types::error::{ErrorKind, OfKind as _};
use crate::types::slots::SlotCursor;
use anyhow::Result;
use midair_tiers::types::{FuncType, ValType};
use smallvec::SmallVec;
use std::sync::Arc;

impl Func {
    /// A function of the host whose type is only known when the program runs.
    ///
    /// `code` gets the arguments, of the types of `ty`, and a slice of zeroes and nulls to put the results into.
    ///
    /// # Panics
    /// If the type refers to a defined type that the store's engine does not know.
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
            .expect("an engine has an entry thunk for host functions, and knows their types");
        Func::from_raw(store, func_ref)
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
        check_call(&signature.ty, params, results, store.opaque()).of_kind(ErrorKind::Misuse)?;
        let ty = &signature.ty;
        with_slots(signature.slots, |slots| {
            let mut cursor = SlotCursor(slots.iter_mut());
            for param in params {
                cursor.put(param.clone().into_slots(store.opaque_mut()), param.ty());
            }
            let func_ref = self.raw(store.opaque());
            // SAFETY: the function belongs to the store, which is borrowed mutably, and the slots are
            // its arguments.
            unsafe { invoke(store.opaque_ptr(), func_ref, &signature, slots)? };
            let mut cursor = SlotCursor(slots.iter());
            for (result, &ty) in results.iter_mut().zip(&ty.results) {
                // SAFETY: the function has returned values of its result types.
                *result = unsafe { Val::from_slots(cursor.next(ty), ty, store.opaque()) };
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
        TypedFunc::new(*self, self.signature(store.opaque())).of_kind(ErrorKind::Misuse)
    }
}

/// Whether a function of this type can be called with these parameters, and has these results.
fn check_call(ty: &FuncType, params: &[Val], results: &[Val], store: &StoreOpaque) -> Result<()> {
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
        param.check_store(store)?;
        let found = param.ty();
        anyhow::ensure!(param.is_of(*ty, store), "argument {i} is of type {found}, expected {ty}");
    }
    Ok(())
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
            let mut cursor = SlotCursor(slots.iter());
            for &ty in &ty.params {
                // SAFETY: the caller passed arguments of these types.
                values.push(unsafe { Val::from_slots(cursor.next(ty), ty, store.opaque()) });
            }
            let zero = |ty: &ValType| Val::zero(*ty).expect("every type has a zero");
            values.extend(ty.results.iter().map(zero));
            let (params, results) = values.split_at_mut(ty.params.len());
            code(Caller::new(store.reborrow(), instance), params, results)?;
            let opaque = store.opaque_mut();
            let mut cursor = SlotCursor(slots.iter_mut());
            for (i, (result, ty)) in results.iter().zip(&ty.results).enumerate() {
                result.check_store(opaque)?;
                anyhow::ensure!(
                    result.is_of(*ty, opaque),
                    "host function returned {} as result {i}, expected {ty}",
                    result.ty()
                );
                cursor.put(result.clone().into_slots(opaque), *ty);
            }
            Ok(())
        })
    };
    HostDefinition { ty, code: erased }
}

//! Rust closures as host functions.

use super::typed_func::slot::Slots;
use super::typed_func::{WasmTy, for_each_arity};
use crate::store::StoreContextMut;
use crate::store::caller::Caller;
use crate::store::host_function::{HostCall, HostDefinition};
use crate::store::opaque::StoreOpaque;
use anyhow::{Error, Result};
use midair_tiers::types::{FuncType, ValType};

/// What a host function may return: results, or a [`Result`] with an error that ends the guest's run.
pub trait WasmRet: Sized {
    #[doc(hidden)]
    type Results: Slots;

    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Results>;
}

impl<V: Slots> WasmRet for V {
    type Results = V;

    fn into_result(self) -> Result<V> {
        Ok(self)
    }
}

impl<V: Slots, E: Into<Error>> WasmRet for std::result::Result<V, E> {
    type Results = V;

    fn into_result(self) -> Result<V> {
        self.map_err(Into::into)
    }
}

/// A Rust closure that can be a host function.
///
/// Its parameters are up to 16 [`WasmTy`], with a [`Caller`] first if it needs one; it returns a
/// [`WasmRet`]. `Params` and `Results` tell the implementations apart and are always inferred.
pub trait IntoFunc<T: 'static, Params, Results>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_definition(self) -> HostDefinition;
}

/// Puts what a host function returned into the call's slots.
fn finish<R: WasmRet>(returned: R, store: &mut StoreOpaque, slots: &mut [u64]) -> Result<()> {
    returned.into_result()?.into_slots(store, slots)
}

fn func_type<R: WasmRet>(params: Vec<ValType>) -> FuncType {
    FuncType::new(params, R::Results::types())
}

macro_rules! into_func {
    ($($name:ident)*) => {
        impl<T: 'static, F, R, $($name: WasmTy),*> IntoFunc<T, ($($name,)*), R> for F
        where
            F: Fn($($name),*) -> R + Send + Sync + 'static,
            R: WasmRet,
        {
            #[allow(non_snake_case, clippy::let_unit_value)]
            fn into_definition(self) -> HostDefinition {
                HostDefinition {
                    ty: func_type::<R>(<($($name,)*)>::types()),
                    code: Box::new(move |call: HostCall<'_>| {
                        // SAFETY: the call has the store for itself.
                        let store = unsafe { &mut *call.store.as_ptr() };
                        // SAFETY: the guest passed arguments of these types.
                        let params: ($($name,)*) = unsafe { Slots::from_slots(call.slots, store) };
                        let ($($name,)*) = params;
                        finish(self($($name),*), store, call.slots)
                    }),
                }
            }
        }

        impl<T: 'static, F, R, $($name: WasmTy),*> IntoFunc<T, (Caller<'_, T>, $($name,)*), R> for F
        where
            F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
            R: WasmRet,
        {
            #[allow(non_snake_case, clippy::let_unit_value)]
            fn into_definition(self) -> HostDefinition {
                HostDefinition {
                    ty: func_type::<R>(<($($name,)*)>::types()),
                    code: Box::new(move |call: HostCall<'_>| {
                        // SAFETY: the function was made for stores of `T`, and the call has the
                        // store for itself.
                        let mut store = unsafe { StoreContextMut::<T>::from_opaque(call.store) };
                        // SAFETY: the guest passed arguments of these types.
                        let params: ($($name,)*) = unsafe { Slots::from_slots(call.slots, store.opaque()) };
                        let ($($name,)*) = params;
                        let caller = Caller::new(store.reborrow(), call.instance);
                        finish(self(caller, $($name),*), store.opaque_mut(), call.slots)
                    }),
                }
            }
        }
    };
}

for_each_arity!(into_func);

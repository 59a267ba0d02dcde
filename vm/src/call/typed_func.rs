//! Functions whose types Rust knows.

use super::invoke::{invoke, with_slots};
use crate::store::AsContextMut;
use crate::store::func::Func;
use crate::store::opaque::StoreOpaque;
use crate::store::value::{ExternRef, Val};
use crate::types::signatures::Signature;
use crate::types::slots::{SlotCursor, halves, vector};
use anyhow::Result;
use midair_tiers::types::{RefType, ValType};
use std::marker::PhantomData;
use std::sync::Arc;

/// How Rust types map to slots. Sealed: only this crate implements it.
pub mod slot {
    use super::*;

    /// A value in a slot of a canonical frame, or in two.
    pub trait Slot: Send + Sized {
        /// The WebAssembly type.
        const TYPE: ValType;

        /// Fails if the value belongs to another store.
        fn check_store(&self, _store: &StoreOpaque) -> Result<()> {
            Ok(())
        }

        /// The slots; the second is not used unless it is a vector. The store has been checked.
        fn into_slot(self, store: &mut StoreOpaque) -> [u64; 2];

        /// The value in these slots.
        ///
        /// # Safety
        /// The slots must hold a value of this type that belongs to `store`.
        unsafe fn from_slot(slots: [u64; 2], store: &StoreOpaque) -> Self;
    }

    /// Any number of values.
    pub trait Slots: Send + Sized {
        /// The WebAssembly types.
        fn types() -> Vec<ValType>;

        /// Whether these are the WebAssembly types.
        fn matches(types: &[ValType]) -> bool;

        /// Puts the values into slots. Fails if one belongs to another store.
        fn into_slots(self, store: &mut StoreOpaque, slots: &mut [u64]) -> Result<()>;

        /// The values in slots.
        ///
        /// # Safety
        /// The slots must hold values of these types that belong to `store`.
        unsafe fn from_slots(slots: &[u64], store: &StoreOpaque) -> Self;
    }
}

use slot::{Slot, Slots};

macro_rules! number_slots {
    ($($rust:ty, $wasm:ident, $into:expr, $from:expr;)*) => {$(
        impl Slot for $rust {
            const TYPE: ValType = ValType::$wasm;

            fn into_slot(self, _store: &mut StoreOpaque) -> [u64; 2] {
                let into: fn($rust) -> u64 = $into;
                [into(self), 0]
            }

            unsafe fn from_slot([slot, _]: [u64; 2], _store: &StoreOpaque) -> Self {
                let from: fn(u64) -> $rust = $from;
                from(slot)
            }
        }

        impl WasmTy for $rust {}
    )*};
}

number_slots! {
    i32, I32, |value| u64::from(value as u32), |slot| slot as u32 as i32;
    u32, I32, u64::from, |slot| slot as u32;
    i64, I64, |value| value as u64, |slot| slot as i64;
    u64, I64, |value| value, |slot| slot;
    f32, F32, |value| u64::from(value.to_bits()), |slot| f32::from_bits(slot as u32);
    f64, F64, f64::to_bits, f64::from_bits;
}

impl Slot for u128 {
    const TYPE: ValType = ValType::V128;

    fn into_slot(self, _store: &mut StoreOpaque) -> [u64; 2] {
        halves(self)
    }

    unsafe fn from_slot(slots: [u64; 2], _store: &StoreOpaque) -> Self {
        vector(slots)
    }
}

impl WasmTy for u128 {}

impl Slot for Option<Func> {
    const TYPE: ValType = ValType::FUNCREF;

    fn check_store(&self, store: &StoreOpaque) -> Result<()> {
        Val::FuncRef(*self).check_store(store)
    }

    fn into_slot(self, store: &mut StoreOpaque) -> [u64; 2] {
        Val::FuncRef(self).into_slots(store)
    }

    unsafe fn from_slot([slot, _]: [u64; 2], store: &StoreOpaque) -> Self {
        // SAFETY: as the caller vouches.
        unsafe { Func::from_slot(slot, store) }
    }
}

impl WasmTy for Option<Func> {}

impl Slot for Func {
    const TYPE: ValType = ValType::Ref(RefType::FUNCREF.as_non_null());

    fn check_store(&self, store: &StoreOpaque) -> Result<()> {
        Val::from(*self).check_store(store)
    }

    fn into_slot(self, store: &mut StoreOpaque) -> [u64; 2] {
        Val::from(self).into_slots(store)
    }

    unsafe fn from_slot(slots: [u64; 2], store: &StoreOpaque) -> Self {
        // SAFETY: as the caller vouches.
        let func = unsafe { Func::from_slot(slots[0], store) };
        func.expect("null is not of this type")
    }
}

impl WasmTy for Func {}

impl Slot for Option<ExternRef> {
    const TYPE: ValType = ValType::EXTERNREF;

    fn into_slot(self, store: &mut StoreOpaque) -> [u64; 2] {
        [store.extern_ref_slot(self), 0]
    }

    unsafe fn from_slot([slot, _]: [u64; 2], store: &StoreOpaque) -> Self {
        store.extern_ref_from_slot(slot)
    }
}

impl WasmTy for Option<ExternRef> {}

/// A Rust type that stands for a WebAssembly type: `i32` and `u32` for i32, `i64` and `u64` for i64,
/// `f32`, `f64`, `u128` for v128 (its lowest bits are lane 0), `Option<Func>` for funcref, `Func` for functions that are not
/// null, `Option<ExternRef>` for externref.
///
/// Functions of narrower types of references than these can be called where that is sound: a result that is some function,
/// or one of a certain type, is a funcref too.
pub trait WasmTy: Slot {}

/// Parameters of a typed function: nothing, one [`WasmTy`], or a tuple of up to 16.
pub trait WasmParams: Slots {}

/// Results of a typed function: nothing, one [`WasmTy`], or a tuple of up to 16.
pub trait WasmResults: Slots {}

impl<V: Slots> WasmParams for V {}
impl<V: Slots> WasmResults for V {}

impl<V: WasmTy> Slots for V {
    fn types() -> Vec<ValType> {
        vec![V::TYPE]
    }

    fn matches(types: &[ValType]) -> bool {
        types == [V::TYPE]
    }

    fn into_slots(self, store: &mut StoreOpaque, slots: &mut [u64]) -> Result<()> {
        self.check_store(store)?;
        SlotCursor(slots.iter_mut()).put(self.into_slot(store), V::TYPE);
        Ok(())
    }

    unsafe fn from_slots(slots: &[u64], store: &StoreOpaque) -> Self {
        // SAFETY: as the caller vouches.
        unsafe { V::from_slot(SlotCursor(slots.iter()).next(V::TYPE), store) }
    }
}

macro_rules! tuple_slots {
    ($($name:ident)*) => {
        #[allow(non_snake_case, unused, clippy::unused_unit)]
        impl<$($name: WasmTy),*> Slots for ($($name,)*) {
            fn types() -> Vec<ValType> {
                vec![$($name::TYPE),*]
            }

            fn matches(types: &[ValType]) -> bool {
                types == [$($name::TYPE),*]
            }

            fn into_slots(self, store: &mut StoreOpaque, slots: &mut [u64]) -> Result<()> {
                let ($($name,)*) = self;
                let mut slots = SlotCursor(slots.iter_mut());
                $(
                    $name.check_store(store)?;
                    slots.put($name.into_slot(store), $name::TYPE);
                )*
                Ok(())
            }

            unsafe fn from_slots(slots: &[u64], store: &StoreOpaque) -> Self {
                let mut slots = SlotCursor(slots.iter());
                $(
                    let value = slots.next($name::TYPE);
                    // SAFETY: as the caller vouches.
                    let $name = unsafe { $name::from_slot(value, store) };
                )*
                ($($name,)*)
            }
        }
    };
}

/// Calls `$macro` with every list of up to 16 type names.
macro_rules! for_each_arity {
    ($macro:ident) => {
        $macro!();
        $macro!(A1);
        $macro!(A1 A2);
        $macro!(A1 A2 A3);
        $macro!(A1 A2 A3 A4);
        $macro!(A1 A2 A3 A4 A5);
        $macro!(A1 A2 A3 A4 A5 A6);
        $macro!(A1 A2 A3 A4 A5 A6 A7);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8 A9);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15);
        $macro!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16);
    };
}
pub(crate) use for_each_arity;

for_each_arity!(tuple_slots);

/// Whether values of the first types can be passed where the others are expected. Types of Rust name no defined types.
fn all_match(found: &[ValType], expected: &[ValType]) -> bool {
    let matches = |(found, expected): (&ValType, &ValType)| found.matches(*expected, |_, _| false);
    found.len() == expected.len() && found.iter().zip(expected).all(matches)
}

/// A function whose type is known to Rust, so that calls convert nothing at run time.
///
/// ```
/// use midair::{Engine, Instance, Module, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(
///     &engine,
///     r#"(module (func (export "divmod") (param i32 i32) (result i32 i32)
///         (i32.div_u (local.get 0) (local.get 1))
///         (i32.rem_u (local.get 0) (local.get 1))))"#,
/// )?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let divmod = instance.get_typed_func::<(u32, u32), (u32, u32)>(&mut store, "divmod")?;
/// assert_eq!(divmod.call(&mut store, (17, 5))?, (3, 2));
/// # Ok::<(), midair::Error>(())
/// ```
pub struct TypedFunc<Params, Results> {
    func: Func,
    signature: Arc<Signature>,
    types: PhantomData<fn(Params) -> Results>,
}

impl<Params, Results> Clone for TypedFunc<Params, Results> {
    fn clone(&self) -> Self {
        TypedFunc { func: self.func, signature: self.signature.clone(), types: PhantomData }
    }
}

impl<Params, Results> std::fmt::Debug for TypedFunc<Params, Results> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TypedFunc").field("type", &self.signature.ty).finish_non_exhaustive()
    }
}

impl<Params: WasmParams, Results: WasmResults> TypedFunc<Params, Results> {
    pub(crate) fn new(func: Func, signature: Arc<Signature>) -> Result<Self> {
        let ty = &signature.ty;
        anyhow::ensure!(
            (Params::matches(&ty.params) || all_match(&Params::types(), &ty.params))
                && (Results::matches(&ty.results) || all_match(&ty.results, &Results::types())),
            "function has type {ty}, expected {}",
            midair_tiers::types::FuncType::new(Params::types(), Results::types())
        );
        Ok(TypedFunc { func, signature, types: PhantomData })
    }

    /// The function without its Rust type.
    pub fn func(&self) -> &Func {
        &self.func
    }

    /// Calls it: see [`Func::call`].
    ///
    /// # Panics
    /// If the function belongs to another store, or if a host function panics.
    pub fn call(&self, mut store: impl AsContextMut, params: Params) -> Result<Results> {
        let mut store = store.as_context_mut();
        let func_ref = self.func.raw(store.opaque());
        with_slots(self.signature.slots, |slots| {
            params.into_slots(store.opaque_mut(), slots)?;
            // SAFETY: the function belongs to the store, which is borrowed mutably, and the slots are
            // its arguments.
            unsafe { invoke(store.opaque_ptr(), func_ref, &self.signature, slots)? };
            // SAFETY: the function has returned values of its result types.
            Ok(unsafe { Results::from_slots(slots, store.opaque()) })
        })
    }
}

//! Values that pass between host and guest.

use super::exceptions::ExnRef;
use super::func::Func;
use super::opaque::StoreOpaque;
use crate::types::slots::{halves, vector};
use midair_tiers::types::{HeapType, RefType, ValType};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A value of the host that guests can hold and pass on, but not look into.
///
/// A store keeps every value that its guests have been given until the store is dropped.
///
/// ```
/// use midair::ExternRef;
///
/// let reference = ExternRef::new("some text");
/// assert_eq!(reference.data().downcast_ref::<&str>(), Some(&"some text"));
/// ```
#[derive(Clone)]
pub struct ExternRef(pub(crate) Arc<dyn Any + Send + Sync>);

impl ExternRef {
    /// A reference to `value`.
    pub fn new<V: Any + Send + Sync>(value: V) -> ExternRef {
        ExternRef(Arc::new(value))
    }

    /// The value.
    pub fn data(&self) -> &(dyn Any + Send + Sync) {
        &*self.0
    }

    /// Whether two references are to the same value.
    pub fn ptr_eq(a: &ExternRef, b: &ExternRef) -> bool {
        Arc::as_ptr(&a.0).cast::<()>() == Arc::as_ptr(&b.0).cast::<()>()
    }
}

impl fmt::Debug for ExternRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternRef({:p})", Arc::as_ptr(&self.0))
    }
}

/// A value of a WebAssembly type.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Val {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// 32-bit float, as its bits.
    F32(u32),
    /// 64-bit float, as its bits.
    F64(u64),
    /// 128-bit vector, as its bits: the lowest are those of lane 0.
    V128(u128),
    /// A function, or null.
    FuncRef(Option<Func>),
    /// A value of the host, or null.
    ExternRef(Option<ExternRef>),
    /// An exception that a guest has caught, or null.
    ExnRef(Option<ExnRef>),
}

impl Val {
    /// A null function reference.
    pub const fn null_func_ref() -> Val {
        Val::FuncRef(None)
    }

    /// A null host reference.
    pub const fn null_extern_ref() -> Val {
        Val::ExternRef(None)
    }

    /// The value's type; of references the most general one.
    pub fn ty(&self) -> ValType {
        match self {
            Val::I32(_) => ValType::I32,
            Val::I64(_) => ValType::I64,
            Val::F32(_) => ValType::F32,
            Val::F64(_) => ValType::F64,
            Val::V128(_) => ValType::V128,
            Val::FuncRef(_) => ValType::FUNCREF,
            Val::ExternRef(_) => ValType::EXTERNREF,
            Val::ExnRef(_) => ValType::EXNREF,
        }
    }

    /// Zero or null of a type; `None` for types of references that are not null, and for those that values cannot have
    /// yet.
    pub fn default_for_ty(ty: ValType) -> Option<Val> {
        if ty.has_default() { Val::zero(ty) } else { None }
    }

    /// Zero, or null even if that is not of the type.
    pub(crate) fn zero(ty: ValType) -> Option<Val> {
        Some(match ty {
            ValType::I32 => Val::I32(0),
            ValType::I64 => Val::I64(0),
            ValType::F32 => Val::F32(0),
            ValType::F64 => Val::F64(0),
            ValType::V128 => Val::V128(0),
            ValType::Ref(ty) if ty.is_func() => Val::FuncRef(None),
            ValType::Ref(ty) if ty.is_exn() => Val::ExnRef(None),
            ValType::Ref(_) => Val::ExternRef(None),
            _ => return None,
        })
    }

    /// Whether it is a value of this type. It must be of this store.
    pub(crate) fn is_of(&self, ty: ValType, store: &StoreOpaque) -> bool {
        let ValType::Ref(ty) = ty else { return self.ty() == ty };
        let (is_null, heap) = match self {
            Val::FuncRef(None) => (true, HeapType::NoFunc),
            Val::FuncRef(Some(func)) => (false, HeapType::Concrete(func.type_id(store))),
            Val::ExternRef(None) => (true, HeapType::NoExtern),
            Val::ExternRef(Some(_)) => (false, HeapType::Extern),
            Val::ExnRef(None) => (true, HeapType::NoExn),
            Val::ExnRef(Some(_)) => (false, HeapType::Exn),
            _ => return false,
        };
        store.engine().is_subtype(RefType::new(is_null, heap).into(), ty.into())
    }

    /// The value, if it is an `i32`.
    pub fn i32(&self) -> Option<i32> {
        match self {
            Val::I32(value) => Some(*value),
            _ => None,
        }
    }

    /// The value, if it is an `i64`.
    pub fn i64(&self) -> Option<i64> {
        match self {
            Val::I64(value) => Some(*value),
            _ => None,
        }
    }

    /// The value, if it is an `f32`.
    pub fn f32(&self) -> Option<f32> {
        match self {
            Val::F32(bits) => Some(f32::from_bits(*bits)),
            _ => None,
        }
    }

    /// The value, if it is an `f64`.
    pub fn f64(&self) -> Option<f64> {
        match self {
            Val::F64(bits) => Some(f64::from_bits(*bits)),
            _ => None,
        }
    }

    /// The bits, if it is a `v128`.
    pub fn v128(&self) -> Option<u128> {
        match self {
            Val::V128(bits) => Some(*bits),
            _ => None,
        }
    }

    /// The value, if it is an `i32`.
    ///
    /// # Panics
    /// If it is of another type.
    pub fn unwrap_i32(&self) -> i32 {
        self.i32().expect("an i32")
    }

    /// The value, if it is an `i64`.
    ///
    /// # Panics
    /// If it is of another type.
    pub fn unwrap_i64(&self) -> i64 {
        self.i64().expect("an i64")
    }

    /// The value, if it is an `f32`.
    ///
    /// # Panics
    /// If it is of another type.
    pub fn unwrap_f32(&self) -> f32 {
        self.f32().expect("an f32")
    }

    /// The value, if it is an `f64`.
    ///
    /// # Panics
    /// If it is of another type.
    pub fn unwrap_f64(&self) -> f64 {
        self.f64().expect("an f64")
    }

    /// The bits, if it is a `v128`.
    ///
    /// # Panics
    /// If it is of another type.
    pub fn unwrap_v128(&self) -> u128 {
        self.v128().expect("a v128")
    }

    /// The function or null, if it is a function reference.
    pub fn func_ref(&self) -> Option<Option<&Func>> {
        match self {
            Val::FuncRef(func) => Some(func.as_ref()),
            _ => None,
        }
    }

    /// The host value or null, if it is a host reference.
    pub fn extern_ref(&self) -> Option<Option<&ExternRef>> {
        match self {
            Val::ExternRef(value) => Some(value.as_ref()),
            _ => None,
        }
    }

    /// The exception or null, if it is a reference to one.
    pub fn exn_ref(&self) -> Option<Option<&ExnRef>> {
        match self {
            Val::ExnRef(exception) => Some(exception.as_ref()),
            _ => None,
        }
    }

    /// Fails if it is a function or an exception of another store.
    pub(crate) fn check_store(&self, store: &StoreOpaque) -> anyhow::Result<()> {
        if let Val::FuncRef(Some(func)) = self {
            anyhow::ensure!(
                func.store_id() == store.id(),
                "a function of another store is used as a value"
            );
        }
        if let Val::ExnRef(Some(exception)) = self {
            anyhow::ensure!(
                exception.store_id() == store.id(),
                "an exception of another store is used as a value"
            );
        }
        Ok(())
    }

    /// The slots of a canonical frame that hold this value; the second one only if it is a vector.
    ///
    /// # Panics
    /// If it is a function of another store.
    pub(crate) fn into_slots(self, store: &mut StoreOpaque) -> [u64; 2] {
        match self {
            Val::V128(bits) => halves(bits),
            other => [other.into_slot(store), 0],
        }
    }

    /// The slot of a canonical frame that holds this value, which is no vector.
    ///
    /// # Panics
    /// If it is a function of another store, or a vector.
    pub(crate) fn into_slot(self, store: &mut StoreOpaque) -> u64 {
        match self {
            Val::V128(_) => unreachable!("a vector has two slots"),
            Val::I32(value) => u64::from(value as u32),
            Val::I64(value) => value as u64,
            Val::F32(bits) => u64::from(bits),
            Val::F64(bits) => bits,
            Val::FuncRef(func) => func.map_or(0, |func| func.raw(store).as_ptr() as u64),
            Val::ExternRef(value) => store.extern_ref_slot(value),
            Val::ExnRef(exception) => exception.map_or(0, |exception| exception.slot()),
        }
    }

    /// The value in two slots, of which the second says nothing unless it is a vector.
    ///
    /// # Safety
    /// The slots must hold a value of this type that belongs to `store`.
    pub(crate) unsafe fn from_slots(
        [slot, high]: [u64; 2],
        ty: ValType,
        store: &StoreOpaque,
    ) -> Val {
        match ty {
            ValType::V128 => Val::V128(vector([slot, high])),
            ValType::I32 => Val::I32(slot as u32 as i32),
            ValType::I64 => Val::I64(slot as i64),
            ValType::F32 => Val::F32(slot as u32),
            ValType::F64 => Val::F64(slot),
            ValType::Ref(ty) if ty.is_func() => {
                // SAFETY: the caller says that the slot is a function reference of this store.
                Val::FuncRef(unsafe { Func::from_slot(slot, store) })
            }
            ValType::Ref(ty) if ty.is_exn() => {
                // SAFETY: the caller says that the slot is a reference to an exception of this store.
                Val::ExnRef(unsafe { ExnRef::from_slot(slot, store) })
            }
            ValType::Ref(_) => Val::ExternRef(store.extern_ref_from_slot(slot)),
            _ => unreachable!("modules with other types are refused at load"),
        }
    }
}

impl From<i32> for Val {
    fn from(value: i32) -> Val {
        Val::I32(value)
    }
}

impl From<u32> for Val {
    fn from(value: u32) -> Val {
        Val::I32(value as i32)
    }
}

impl From<i64> for Val {
    fn from(value: i64) -> Val {
        Val::I64(value)
    }
}

impl From<u64> for Val {
    fn from(value: u64) -> Val {
        Val::I64(value as i64)
    }
}

impl From<f32> for Val {
    fn from(value: f32) -> Val {
        Val::F32(value.to_bits())
    }
}

impl From<f64> for Val {
    fn from(value: f64) -> Val {
        Val::F64(value.to_bits())
    }
}

impl From<u128> for Val {
    fn from(bits: u128) -> Val {
        Val::V128(bits)
    }
}

impl From<Func> for Val {
    fn from(func: Func) -> Val {
        Val::FuncRef(Some(func))
    }
}

impl From<Option<Func>> for Val {
    fn from(func: Option<Func>) -> Val {
        Val::FuncRef(func)
    }
}

impl From<ExternRef> for Val {
    fn from(value: ExternRef) -> Val {
        Val::ExternRef(Some(value))
    }
}

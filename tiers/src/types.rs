//! Value and function types as the tiers see them.

use midair_osr::ValueKind;
use std::fmt;
use wasmparser::{AbstractHeapType, UnpackedIndex};

/// A value type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// A reference. To a function: `*const FuncRef`, or 0 for null. To a value of the host: an opaque non-zero 64-bit
    /// handle, or 0 for null. To an exception: `*const Exception`, or 0 for null.
    Ref(RefType),
}

/// A type of references.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct RefType {
    nullable: bool,
    heap: HeapType,
}

/// What a reference refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum HeapType {
    /// Any function.
    Func,
    /// No function: only null is of such a type.
    NoFunc,
    /// Any value of the host.
    Extern,
    /// No value of the host: only null is of such a type.
    NoExtern,
    /// Any exception.
    Exn,
    /// No exception: only null is of such a type.
    NoExn,
    /// A function of this type, or of a subtype of it.
    Concrete(TypeId),
}

/// A defined type, the same in all modules of an engine that define an equal one.
///
/// It means its type for as long as something of the engine is of that type; afterwards nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(transparent)]
pub struct TypeId(u32);

impl TypeId {
    /// The type of this number.
    pub const fn from_number(number: u32) -> TypeId {
        TypeId(number)
    }

    /// Its number in its engine: what `FuncRef::signature` holds.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl HeapType {
    /// The most general type of the hierarchy that it belongs to.
    pub const fn top(self) -> HeapType {
        match self {
            HeapType::Func | HeapType::NoFunc | HeapType::Concrete(_) => HeapType::Func,
            HeapType::Extern | HeapType::NoExtern => HeapType::Extern,
            HeapType::Exn | HeapType::NoExn => HeapType::Exn,
        }
    }

    /// Whether everything of this type is of the type `other` too. `is_subtype` says that of two defined types.
    pub fn matches(self, other: HeapType, is_subtype: impl FnOnce(TypeId, TypeId) -> bool) -> bool {
        match (self, other) {
            (HeapType::Concrete(a), HeapType::Concrete(b)) => a == b || is_subtype(a, b),
            (HeapType::NoFunc | HeapType::NoExtern | HeapType::NoExn, _) => {
                self.top() == other.top()
            }
            _ => self == other || self.top() == other,
        }
    }

    /// From the parser's type; `None` for types of proposals that are not built yet. `resolve` knows the types that a
    /// module defines.
    pub fn from_wasm(
        ty: wasmparser::HeapType,
        resolve: impl FnOnce(UnpackedIndex) -> Option<TypeId>,
    ) -> Option<HeapType> {
        Some(match ty {
            wasmparser::HeapType::Abstract { shared: false, ty } => match ty {
                AbstractHeapType::Func => HeapType::Func,
                AbstractHeapType::NoFunc => HeapType::NoFunc,
                AbstractHeapType::Extern => HeapType::Extern,
                AbstractHeapType::NoExtern => HeapType::NoExtern,
                AbstractHeapType::Exn => HeapType::Exn,
                AbstractHeapType::NoExn => HeapType::NoExn,
                _ => return None,
            },
            wasmparser::HeapType::Concrete(index) => HeapType::Concrete(resolve(index)?),
            _ => return None,
        })
    }
}

impl RefType {
    /// `funcref`: any function, or null.
    pub const FUNCREF: RefType = RefType::new(true, HeapType::Func);
    /// `externref`: any value of the host, or null.
    pub const EXTERNREF: RefType = RefType::new(true, HeapType::Extern);
    /// `exnref`: any exception, or null.
    pub const EXNREF: RefType = RefType::new(true, HeapType::Exn);

    /// References to what `heap` says, and null if `nullable`.
    pub const fn new(nullable: bool, heap: HeapType) -> RefType {
        RefType { nullable, heap }
    }

    /// Whether null is of this type.
    pub const fn is_nullable(self) -> bool {
        self.nullable
    }

    /// What it refers to.
    pub const fn heap_type(self) -> HeapType {
        self.heap
    }

    /// The same type without null.
    pub const fn as_non_null(self) -> RefType {
        RefType { nullable: false, heap: self.heap }
    }

    /// Whether it is a reference to a function: of any type, or of one type.
    pub const fn is_func(self) -> bool {
        matches!(self.heap.top(), HeapType::Func)
    }

    /// Whether it is a reference to an exception.
    pub const fn is_exn(self) -> bool {
        matches!(self.heap.top(), HeapType::Exn)
    }

    /// Whether every value of this type is of the type `other` too. `is_subtype` says that of two defined types.
    pub fn matches(self, other: RefType, is_subtype: impl FnOnce(TypeId, TypeId) -> bool) -> bool {
        (other.nullable || !self.nullable) && self.heap.matches(other.heap, is_subtype)
    }

    /// From the parser's type: see [`HeapType::from_wasm`].
    pub fn from_wasm(
        ty: wasmparser::RefType,
        resolve: impl FnOnce(UnpackedIndex) -> Option<TypeId>,
    ) -> Option<RefType> {
        HeapType::from_wasm(ty.heap_type(), resolve)
            .map(|heap| RefType::new(ty.is_nullable(), heap))
    }
}

impl ValType {
    /// Any function, or null.
    pub const FUNCREF: ValType = ValType::Ref(RefType::FUNCREF);
    /// Any value of the host, or null.
    pub const EXTERNREF: ValType = ValType::Ref(RefType::EXTERNREF);
    /// Any exception, or null.
    pub const EXNREF: ValType = ValType::Ref(RefType::EXNREF);

    /// Representation in a canonical frame.
    pub const fn kind(self) -> ValueKind {
        match self {
            ValType::I32 => ValueKind::I32,
            ValType::I64 => ValueKind::I64,
            ValType::F32 => ValueKind::F32,
            ValType::F64 => ValueKind::F64,
            ValType::V128 => ValueKind::V128,
            ValType::Ref(_) => ValueKind::Ref,
        }
    }

    /// The type of references, if it is one.
    pub const fn as_ref(self) -> Option<RefType> {
        match self {
            ValType::Ref(ty) => Some(ty),
            _ => None,
        }
    }

    /// Whether it is a reference to a function: of any type, or of one type.
    pub const fn is_func_ref(self) -> bool {
        matches!(self, ValType::Ref(ty) if ty.is_func())
    }

    /// Whether it is a reference to an exception.
    pub const fn is_exn_ref(self) -> bool {
        matches!(self, ValType::Ref(ty) if ty.is_exn())
    }

    /// Whether variables of it have a value before they are set: zero, or null.
    pub const fn has_default(self) -> bool {
        !matches!(self, ValType::Ref(ty) if !ty.nullable)
    }

    /// Whether every value of this type is of the type `other` too. `is_subtype` says that of two defined types.
    pub fn matches(self, other: ValType, is_subtype: impl FnOnce(TypeId, TypeId) -> bool) -> bool {
        match (self, other) {
            (ValType::Ref(a), ValType::Ref(b)) => a.matches(b, is_subtype),
            _ => self == other,
        }
    }

    /// From the parser's type: see [`HeapType::from_wasm`].
    pub fn from_wasm(
        ty: wasmparser::ValType,
        resolve: impl FnOnce(UnpackedIndex) -> Option<TypeId>,
    ) -> Option<ValType> {
        Some(match ty {
            wasmparser::ValType::I32 => ValType::I32,
            wasmparser::ValType::I64 => ValType::I64,
            wasmparser::ValType::F32 => ValType::F32,
            wasmparser::ValType::F64 => ValType::F64,
            wasmparser::ValType::V128 => ValType::V128,
            wasmparser::ValType::Ref(ty) => ValType::Ref(RefType::from_wasm(ty, resolve)?),
        })
    }
}

impl From<RefType> for ValType {
    fn from(ty: RefType) -> ValType {
        ValType::Ref(ty)
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeapType::Func => f.write_str("func"),
            HeapType::NoFunc => f.write_str("nofunc"),
            HeapType::Extern => f.write_str("extern"),
            HeapType::NoExtern => f.write_str("noextern"),
            HeapType::Exn => f.write_str("exn"),
            HeapType::NoExn => f.write_str("noexn"),
            HeapType::Concrete(id) => write!(f, "(type {})", id.number()),
        }
    }
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.nullable, self.heap) {
            (true, HeapType::Func) => f.write_str("funcref"),
            (true, HeapType::NoFunc) => f.write_str("nullfuncref"),
            (true, HeapType::Extern) => f.write_str("externref"),
            (true, HeapType::NoExtern) => f.write_str("nullexternref"),
            (true, HeapType::Exn) => f.write_str("exnref"),
            (true, HeapType::NoExn) => f.write_str("nullexnref"),
            (true, heap) => write!(f, "(ref null {heap})"),
            (false, heap) => write!(f, "(ref {heap})"),
        }
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValType::I32 => f.write_str("i32"),
            ValType::I64 => f.write_str("i64"),
            ValType::F32 => f.write_str("f32"),
            ValType::F64 => f.write_str("f64"),
            ValType::V128 => f.write_str("v128"),
            ValType::Ref(ty) => ty.fmt(f),
        }
    }
}

/// How many slots values of these types take in canonical form.
pub fn slot_count(types: &[ValType]) -> usize {
    types.iter().map(|ty| ty.kind().slots()).sum()
}

/// A function type.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Default)]
#[non_exhaustive]
pub struct FuncType {
    /// Parameter types.
    pub params: Box<[ValType]>,
    /// Result types.
    pub results: Box<[ValType]>,
}

impl FuncType {
    /// A function type of these parameters and results.
    pub fn new(
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> FuncType {
        FuncType { params: params.into_iter().collect(), results: results.into_iter().collect() }
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValType]| {
            f.write_str("(")?;
            for (i, ty) in types.iter().enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                write!(f, "{ty}")?;
            }
            f.write_str(")")
        };
        list(f, &self.params)?;
        f.write_str(" -> ")?;
        list(f, &self.results)
    }
}

//! Traps as embedders see them.

use midair_tiers::TrapCode;
use std::fmt;

/// Why guest code was stopped.
///
/// An error that a call returns carries one when the guest trapped:
///
/// ```
/// use midair::{Engine, Instance, Module, Store, Trap};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module (func (export "f") unreachable))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
/// let error = f.call(&mut store, ()).unwrap_err();
/// assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Trap {
    /// `unreachable` was executed.
    UnreachableCodeReached,
    /// A memory access beyond the memory's end.
    MemoryOutOfBounds,
    /// A table access beyond the table's end.
    TableOutOfBounds,
    /// A null table element was called.
    IndirectCallToNull,
    /// A table element of another type was called.
    BadSignature,
    /// A signed division overflowed, or a float was out of the integer's range.
    IntegerOverflow,
    /// Division by zero.
    IntegerDivisionByZero,
    /// NaN was converted to an integer.
    BadConversionToInteger,
    /// The call stack is exhausted.
    StackOverflow,
    /// The fuel is used up.
    OutOfFuel,
    /// The embedder asked the guest to stop: [`InterruptHandle`](crate::InterruptHandle).
    Interrupt,
    /// A null reference was used where a value is needed.
    NullReference,
    /// A function was called whose body is invalid or uses what is not supported
    /// ([`Config::lazy_validation`](crate::Config::lazy_validation) only). The error says what loading the
    /// module would have said.
    InvalidFunction,
    /// The function got a new body while it was suspended or in a loop, by an update that said
    /// [`Policy::Trap`](crate::Policy::Trap).
    FunctionReplaced,
    /// An atomic access at an address that is no multiple of its size.
    UnalignedAtomic,
    /// A wait in a memory that is not shared.
    WaitInUnsharedMemory,
}

impl Trap {
    /// The specification's wording.
    pub fn message(self) -> &'static str {
        self.code().message()
    }

    pub(crate) fn code(self) -> TrapCode {
        match self {
            Trap::UnreachableCodeReached => TrapCode::Unreachable,
            Trap::MemoryOutOfBounds => TrapCode::MemoryOutOfBounds,
            Trap::TableOutOfBounds => TrapCode::TableOutOfBounds,
            Trap::IndirectCallToNull => TrapCode::IndirectCallToNull,
            Trap::BadSignature => TrapCode::BadSignature,
            Trap::IntegerOverflow => TrapCode::IntegerOverflow,
            Trap::IntegerDivisionByZero => TrapCode::IntegerDivisionByZero,
            Trap::BadConversionToInteger => TrapCode::BadConversionToInteger,
            Trap::StackOverflow => TrapCode::StackOverflow,
            Trap::OutOfFuel => TrapCode::OutOfFuel,
            Trap::Interrupt => TrapCode::Interrupt,
            Trap::NullReference => TrapCode::NullReference,
            Trap::InvalidFunction => TrapCode::InvalidFunction,
            Trap::FunctionReplaced => TrapCode::FunctionReplaced,
            Trap::UnalignedAtomic => TrapCode::UnalignedAtomic,
            Trap::WaitInUnsharedMemory => TrapCode::WaitInUnsharedMemory,
        }
    }

    /// `None` for codes that stand for something else than a trap of the guest.
    pub(crate) fn from_code(code: TrapCode) -> Option<Trap> {
        Some(match code {
            TrapCode::Unreachable => Trap::UnreachableCodeReached,
            TrapCode::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
            TrapCode::TableOutOfBounds => Trap::TableOutOfBounds,
            TrapCode::IndirectCallToNull => Trap::IndirectCallToNull,
            TrapCode::BadSignature => Trap::BadSignature,
            TrapCode::IntegerOverflow => Trap::IntegerOverflow,
            TrapCode::IntegerDivisionByZero => Trap::IntegerDivisionByZero,
            TrapCode::BadConversionToInteger => Trap::BadConversionToInteger,
            TrapCode::StackOverflow => Trap::StackOverflow,
            TrapCode::OutOfFuel => Trap::OutOfFuel,
            TrapCode::Interrupt => Trap::Interrupt,
            TrapCode::NullReference => Trap::NullReference,
            TrapCode::InvalidFunction => Trap::InvalidFunction,
            TrapCode::FunctionReplaced => Trap::FunctionReplaced,
            TrapCode::UnalignedAtomic => Trap::UnalignedAtomic,
            TrapCode::WaitInUnsharedMemory => Trap::WaitInUnsharedMemory,
            _ => return None,
        })
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wasm trap: {}", self.message())
    }
}

impl std::error::Error for Trap {}

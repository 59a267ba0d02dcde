//! Reasons for which guest code stops.

/// Why the guest trapped. The numbers are what compiled code and runtime calls hand over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum TrapCode {
    /// `unreachable` was executed.
    Unreachable = 1,
    /// A memory access beyond the memory's end.
    MemoryOutOfBounds = 2,
    /// A table access beyond the table's end.
    TableOutOfBounds = 3,
    /// A null table element was called.
    IndirectCallToNull = 4,
    /// A table element of another type was called.
    BadSignature = 5,
    /// A signed division overflowed, or a float was out of the integer's range.
    IntegerOverflow = 6,
    /// Division by zero.
    IntegerDivisionByZero = 7,
    /// NaN was converted to an integer.
    BadConversionToInteger = 8,
    /// The call stack is exhausted.
    StackOverflow = 9,
    /// The fuel is used up.
    OutOfFuel = 10,
    /// The embedder asked the guest to stop (deadline, cancellation).
    Interrupt = 11,
    /// A null reference was used where a value is needed.
    NullReference = 12,
    /// A function whose body fails validation was called (lazy validation only).
    InvalidFunction = 13,
    /// A host function returned an error; the error itself lies with the store.
    HostError = 14,
    /// The function got a new body, and its suspended frames were to trap.
    FunctionReplaced = 15,
    /// An exception is on its way, and has not been caught so far: it is at `StoreContext::exception`.
    UncaughtException = 16,
    /// An atomic access at an address that is no multiple of its size.
    UnalignedAtomic = 17,
    /// A wait in a memory that is not shared.
    WaitInUnsharedMemory = 18,
}

impl TrapCode {
    /// All codes, in order of their numbers.
    pub const ALL: [TrapCode; 18] = [
        TrapCode::Unreachable,
        TrapCode::MemoryOutOfBounds,
        TrapCode::TableOutOfBounds,
        TrapCode::IndirectCallToNull,
        TrapCode::BadSignature,
        TrapCode::IntegerOverflow,
        TrapCode::IntegerDivisionByZero,
        TrapCode::BadConversionToInteger,
        TrapCode::StackOverflow,
        TrapCode::OutOfFuel,
        TrapCode::Interrupt,
        TrapCode::NullReference,
        TrapCode::InvalidFunction,
        TrapCode::HostError,
        TrapCode::FunctionReplaced,
        TrapCode::UncaughtException,
        TrapCode::UnalignedAtomic,
        TrapCode::WaitInUnsharedMemory,
    ];

    /// The code with this number.
    pub fn from_number(number: u32) -> Option<TrapCode> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// The specification's wording.
    pub fn message(self) -> &'static str {
        match self {
            TrapCode::Unreachable => "unreachable",
            TrapCode::MemoryOutOfBounds => "out of bounds memory access",
            TrapCode::TableOutOfBounds => "out of bounds table access",
            TrapCode::IndirectCallToNull => "uninitialized element",
            TrapCode::BadSignature => "indirect call type mismatch",
            TrapCode::IntegerOverflow => "integer overflow",
            TrapCode::IntegerDivisionByZero => "integer divide by zero",
            TrapCode::BadConversionToInteger => "invalid conversion to integer",
            TrapCode::StackOverflow => "call stack exhausted",
            TrapCode::OutOfFuel => "all fuel consumed",
            TrapCode::Interrupt => "interrupt",
            TrapCode::NullReference => "null reference",
            TrapCode::InvalidFunction => "invalid function body",
            TrapCode::HostError => "host function failed",
            TrapCode::FunctionReplaced => "function was replaced while it was suspended",
            TrapCode::UncaughtException => "uncaught exception",
            TrapCode::UnalignedAtomic => "unaligned atomic",
            TrapCode::WaitInUnsharedMemory => "expected shared memory",
        }
    }
}

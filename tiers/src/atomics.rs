//! The operators of threads: what each does, so that not everybody has to know all of them by name.

use crate::types::ValType;
use wasmparser::{MemArg, Operator};

/// An atomic operator on a memory. Its address must be a multiple of `bytes`, or it traps.
#[derive(Clone, Copy, Debug)]
pub struct Atomic {
    /// What it does.
    pub kind: AtomicKind,
    /// Bytes of the memory that it works on. What is loaded is extended with zeroes, what is stored is wrapped.
    pub bytes: u32,
    /// Type of what is loaded, stored, and expected.
    pub ty: ValType,
    /// Memory and offset.
    pub memarg: MemArg,
}

/// What an [`Atomic`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtomicKind {
    /// Loads.
    Load,
    /// Stores.
    Store,
    /// Loads, and stores what this makes of that and its operand.
    Modify(Modification),
    /// Loads, and stores its second operand if that equals the first.
    CompareExchange,
    /// Waits until it is notified, if the expected value is there.
    Wait,
    /// Wakes those that wait.
    Notify,
}

/// How an [`AtomicKind::Modify`] modifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Modification {
    Add,
    Sub,
    And,
    Or,
    Xor,
    Exchange,
}

impl Atomic {
    /// What the operator is, if it is one of these.
    pub fn of(operator: &Operator<'_>) -> Option<Atomic> {
        use AtomicKind::{CompareExchange, Load, Modify, Notify, Store, Wait};
        use Modification::{Add, And, Exchange, Or, Sub, Xor};
        use Operator as O;
        use ValType::{I32, I64};
        let (kind, bytes, ty, memarg) = match *operator {
            O::MemoryAtomicNotify { memarg } => (Notify, 4, I32, memarg),
            O::MemoryAtomicWait32 { memarg } => (Wait, 4, I32, memarg),
            O::MemoryAtomicWait64 { memarg } => (Wait, 8, I64, memarg),
            O::I32AtomicLoad { memarg } => (Load, 4, I32, memarg),
            O::I64AtomicLoad { memarg } => (Load, 8, I64, memarg),
            O::I32AtomicLoad8U { memarg } => (Load, 1, I32, memarg),
            O::I32AtomicLoad16U { memarg } => (Load, 2, I32, memarg),
            O::I64AtomicLoad8U { memarg } => (Load, 1, I64, memarg),
            O::I64AtomicLoad16U { memarg } => (Load, 2, I64, memarg),
            O::I64AtomicLoad32U { memarg } => (Load, 4, I64, memarg),
            O::I32AtomicStore { memarg } => (Store, 4, I32, memarg),
            O::I64AtomicStore { memarg } => (Store, 8, I64, memarg),
            O::I32AtomicStore8 { memarg } => (Store, 1, I32, memarg),
            O::I32AtomicStore16 { memarg } => (Store, 2, I32, memarg),
            O::I64AtomicStore8 { memarg } => (Store, 1, I64, memarg),
            O::I64AtomicStore16 { memarg } => (Store, 2, I64, memarg),
            O::I64AtomicStore32 { memarg } => (Store, 4, I64, memarg),
            O::I32AtomicRmwAdd { memarg } => (Modify(Add), 4, I32, memarg),
            O::I64AtomicRmwAdd { memarg } => (Modify(Add), 8, I64, memarg),
            O::I32AtomicRmw8AddU { memarg } => (Modify(Add), 1, I32, memarg),
            O::I32AtomicRmw16AddU { memarg } => (Modify(Add), 2, I32, memarg),
            O::I64AtomicRmw8AddU { memarg } => (Modify(Add), 1, I64, memarg),
            O::I64AtomicRmw16AddU { memarg } => (Modify(Add), 2, I64, memarg),
            O::I64AtomicRmw32AddU { memarg } => (Modify(Add), 4, I64, memarg),
            O::I32AtomicRmwSub { memarg } => (Modify(Sub), 4, I32, memarg),
            O::I64AtomicRmwSub { memarg } => (Modify(Sub), 8, I64, memarg),
            O::I32AtomicRmw8SubU { memarg } => (Modify(Sub), 1, I32, memarg),
            O::I32AtomicRmw16SubU { memarg } => (Modify(Sub), 2, I32, memarg),
            O::I64AtomicRmw8SubU { memarg } => (Modify(Sub), 1, I64, memarg),
            O::I64AtomicRmw16SubU { memarg } => (Modify(Sub), 2, I64, memarg),
            O::I64AtomicRmw32SubU { memarg } => (Modify(Sub), 4, I64, memarg),
            O::I32AtomicRmwAnd { memarg } => (Modify(And), 4, I32, memarg),
            O::I64AtomicRmwAnd { memarg } => (Modify(And), 8, I64, memarg),
            O::I32AtomicRmw8AndU { memarg } => (Modify(And), 1, I32, memarg),
            O::I32AtomicRmw16AndU { memarg } => (Modify(And), 2, I32, memarg),
            O::I64AtomicRmw8AndU { memarg } => (Modify(And), 1, I64, memarg),
            O::I64AtomicRmw16AndU { memarg } => (Modify(And), 2, I64, memarg),
            O::I64AtomicRmw32AndU { memarg } => (Modify(And), 4, I64, memarg),
            O::I32AtomicRmwOr { memarg } => (Modify(Or), 4, I32, memarg),
            O::I64AtomicRmwOr { memarg } => (Modify(Or), 8, I64, memarg),
            O::I32AtomicRmw8OrU { memarg } => (Modify(Or), 1, I32, memarg),
            O::I32AtomicRmw16OrU { memarg } => (Modify(Or), 2, I32, memarg),
            O::I64AtomicRmw8OrU { memarg } => (Modify(Or), 1, I64, memarg),
            O::I64AtomicRmw16OrU { memarg } => (Modify(Or), 2, I64, memarg),
            O::I64AtomicRmw32OrU { memarg } => (Modify(Or), 4, I64, memarg),
            O::I32AtomicRmwXor { memarg } => (Modify(Xor), 4, I32, memarg),
            O::I64AtomicRmwXor { memarg } => (Modify(Xor), 8, I64, memarg),
            O::I32AtomicRmw8XorU { memarg } => (Modify(Xor), 1, I32, memarg),
            O::I32AtomicRmw16XorU { memarg } => (Modify(Xor), 2, I32, memarg),
            O::I64AtomicRmw8XorU { memarg } => (Modify(Xor), 1, I64, memarg),
            O::I64AtomicRmw16XorU { memarg } => (Modify(Xor), 2, I64, memarg),
            O::I64AtomicRmw32XorU { memarg } => (Modify(Xor), 4, I64, memarg),
            O::I32AtomicRmwXchg { memarg } => (Modify(Exchange), 4, I32, memarg),
            O::I64AtomicRmwXchg { memarg } => (Modify(Exchange), 8, I64, memarg),
            O::I32AtomicRmw8XchgU { memarg } => (Modify(Exchange), 1, I32, memarg),
            O::I32AtomicRmw16XchgU { memarg } => (Modify(Exchange), 2, I32, memarg),
            O::I64AtomicRmw8XchgU { memarg } => (Modify(Exchange), 1, I64, memarg),
            O::I64AtomicRmw16XchgU { memarg } => (Modify(Exchange), 2, I64, memarg),
            O::I64AtomicRmw32XchgU { memarg } => (Modify(Exchange), 4, I64, memarg),
            O::I32AtomicRmwCmpxchg { memarg } => (CompareExchange, 4, I32, memarg),
            O::I64AtomicRmwCmpxchg { memarg } => (CompareExchange, 8, I64, memarg),
            O::I32AtomicRmw8CmpxchgU { memarg } => (CompareExchange, 1, I32, memarg),
            O::I32AtomicRmw16CmpxchgU { memarg } => (CompareExchange, 2, I32, memarg),
            O::I64AtomicRmw8CmpxchgU { memarg } => (CompareExchange, 1, I64, memarg),
            O::I64AtomicRmw16CmpxchgU { memarg } => (CompareExchange, 2, I64, memarg),
            O::I64AtomicRmw32CmpxchgU { memarg } => (CompareExchange, 4, I64, memarg),
            _ => return None,
        };
        Some(Atomic { kind, bytes, ty, memarg })
    }

    /// Whether the operator is a `memory.atomic.wait32` or `memory.atomic.wait64`: a call in all that concerns frames,
    /// with [three operands](WAIT_OPERANDS) and one result, an `i32`.
    pub fn is_wait(operator: &Operator<'_>) -> bool {
        matches!(
            operator,
            Operator::MemoryAtomicWait32 { .. } | Operator::MemoryAtomicWait64 { .. }
        )
    }
}

/// How many operands a wait has: address, expected value, time.
pub const WAIT_OPERANDS: usize = 3;

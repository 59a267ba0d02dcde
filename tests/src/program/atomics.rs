//! Operators of threads: on memories of which some are shared, though a program has one thread, so that its results are known.

use super::body::Body;
use wasm_encoder::{Instruction, MemArg, ValType};

impl Body<'_, '_> {
    /// Pushes what an atomic operator answers.
    pub(super) fn atomic(&mut self, ty: ValType) {
        use Instruction::*;
        let long = ty == ValType::I64;
        if !long && self.choices.one_in(4) {
            return self.wait_or_notify();
        }
        // Logarithm of the bytes.
        let width = self.choices.below(if long { 4 } else { 3 });
        let at = self.atomic_address(width);
        if self.choices.one_in(5) {
            let load = match (long, width) {
                (false, 0) => I32AtomicLoad8U(at),
                (false, 1) => I32AtomicLoad16U(at),
                (false, _) => I32AtomicLoad(at),
                (true, 0) => I64AtomicLoad8U(at),
                (true, 1) => I64AtomicLoad16U(at),
                (true, 2) => I64AtomicLoad32U(at),
                (true, _) => I64AtomicLoad(at),
            };
            return self.emit(load);
        }
        self.expression(ty);
        if self.choices.one_in(4) {
            self.expression(ty);
            return self.emit(match (long, width) {
                (false, 0) => I32AtomicRmw8CmpxchgU(at),
                (false, 1) => I32AtomicRmw16CmpxchgU(at),
                (false, _) => I32AtomicRmwCmpxchg(at),
                (true, 0) => I64AtomicRmw8CmpxchgU(at),
                (true, 1) => I64AtomicRmw16CmpxchgU(at),
                (true, 2) => I64AtomicRmw32CmpxchgU(at),
                (true, _) => I64AtomicRmwCmpxchg(at),
            });
        }
        let operators = match (long, width) {
            (false, 0) => [
                I32AtomicRmw8AddU(at),
                I32AtomicRmw8SubU(at),
                I32AtomicRmw8AndU(at),
                I32AtomicRmw8OrU(at),
                I32AtomicRmw8XorU(at),
                I32AtomicRmw8XchgU(at),
            ],
            (false, 1) => [
                I32AtomicRmw16AddU(at),
                I32AtomicRmw16SubU(at),
                I32AtomicRmw16AndU(at),
                I32AtomicRmw16OrU(at),
                I32AtomicRmw16XorU(at),
                I32AtomicRmw16XchgU(at),
            ],
            (false, _) => [
                I32AtomicRmwAdd(at),
                I32AtomicRmwSub(at),
                I32AtomicRmwAnd(at),
                I32AtomicRmwOr(at),
                I32AtomicRmwXor(at),
                I32AtomicRmwXchg(at),
            ],
            (true, 0) => [
                I64AtomicRmw8AddU(at),
                I64AtomicRmw8SubU(at),
                I64AtomicRmw8AndU(at),
                I64AtomicRmw8OrU(at),
                I64AtomicRmw8XorU(at),
                I64AtomicRmw8XchgU(at),
            ],
            (true, 1) => [
                I64AtomicRmw16AddU(at),
                I64AtomicRmw16SubU(at),
                I64AtomicRmw16AndU(at),
                I64AtomicRmw16OrU(at),
                I64AtomicRmw16XorU(at),
                I64AtomicRmw16XchgU(at),
            ],
            (true, 2) => [
                I64AtomicRmw32AddU(at),
                I64AtomicRmw32SubU(at),
                I64AtomicRmw32AndU(at),
                I64AtomicRmw32OrU(at),
                I64AtomicRmw32XorU(at),
                I64AtomicRmw32XchgU(at),
            ],
            (true, _) => [
                I64AtomicRmwAdd(at),
                I64AtomicRmwSub(at),
                I64AtomicRmwAnd(at),
                I64AtomicRmwOr(at),
                I64AtomicRmwXor(at),
                I64AtomicRmwXchg(at),
            ],
        };
        let operator = self.choices.of(&operators);
        self.emit(operator);
    }

    /// Stores atomically, or fences.
    pub(super) fn atomic_statement(&mut self) {
        use Instruction::*;
        if self.choices.one_in(4) {
            return self.emit(AtomicFence(wasm_encoder::Ordering::SeqCst));
        }
        let long = self.choices.one_in(2);
        let width = self.choices.below(if long { 4 } else { 3 });
        let at = self.atomic_address(width);
        self.expression(if long { ValType::I64 } else { ValType::I32 });
        self.emit(match (long, width) {
            (false, 0) => I32AtomicStore8(at),
            (false, 1) => I32AtomicStore16(at),
            (false, _) => I32AtomicStore(at),
            (true, 0) => I64AtomicStore8(at),
            (true, 1) => I64AtomicStore16(at),
            (true, 2) => I64AtomicStore32(at),
            (true, _) => I64AtomicStore(at),
        });
    }

    /// Nobody else is there: a wait ends at once, or after a moment.
    fn wait_or_notify(&mut self) {
        use Instruction::*;
        let long = self.choices.one_in(2);
        let at = self.atomic_address(if long { 3 } else { 2 });
        if self.choices.one_in(3) {
            let at = MemArg { align: 2, ..at };
            self.expression(ValType::I32);
            return self.emit(MemoryAtomicNotify(at));
        }
        self.expression(if long { ValType::I64 } else { ValType::I32 });
        let nanoseconds = self.choices.below(1000).into();
        self.emit(I64Const(nanoseconds));
        self.emit(if long { MemoryAtomicWait64(at) } else { MemoryAtomicWait32(at) });
    }

    /// Pushes an address that is mostly within a memory, and mostly a multiple of so many bytes.
    fn atomic_address(&mut self, width: u32) -> MemArg {
        let memory = self.memory();
        self.address(memory);
        let at = self.mem_arg(memory);
        let mut offset = at.offset;
        if !self.choices.one_in(60) {
            let mask = (1 << width) - 1;
            self.align(memory, mask);
            offset &= !(mask as u64);
        }
        MemArg { offset, align: width, ..at }
    }
}

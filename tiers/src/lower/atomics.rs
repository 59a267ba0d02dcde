//! The operators of threads.

use super::memory_access::memory_operand;
use super::{Lowerer, Unsupported};
use crate::atomics::{Atomic, AtomicKind, Modification};
use crate::interp::op::Op;
use crate::types::ValType;

/// The instruction for this many bytes, of those for 1, 2, 4 and 8.
fn of_size(ops: [Op; 4], bytes: u32) -> Op {
    ops[bytes.trailing_zeros() as usize]
}

impl Lowerer<'_> {
    pub(super) fn atomic(&mut self, atomic: Atomic, point: u32) -> Result<(), Unsupported> {
        let memory = memory_operand(atomic.memarg)?;
        let offset = atomic.memarg.offset;
        let bytes = atomic.bytes;
        match atomic.kind {
            AtomicKind::Load => {
                let ops =
                    [Op::atomic_load8, Op::atomic_load16, Op::atomic_load32, Op::atomic_load64];
                let address = self.pop_slot();
                let dst = self.push_temp();
                self.code.op(of_size(ops, bytes)).slot(dst).slot(address);
            }
            AtomicKind::Store => {
                let ops =
                    [Op::atomic_store8, Op::atomic_store16, Op::atomic_store32, Op::atomic_store64];
                let value = self.pop_slot();
                let address = self.pop_slot();
                self.code.op(of_size(ops, bytes)).slot(address).slot(value);
            }
            AtomicKind::Modify(how) => {
                let value = self.pop_slot();
                let address = self.pop_slot();
                let dst = self.push_temp();
                self.code.op(of_size(modifications(how), bytes));
                self.code.slot(dst).slot(address).slot(value);
            }
            AtomicKind::CompareExchange => {
                let ops = [
                    Op::atomic_cmpxchg8,
                    Op::atomic_cmpxchg16,
                    Op::atomic_cmpxchg32,
                    Op::atomic_cmpxchg64,
                ];
                let new = self.pop_slot();
                let expected = self.pop_slot();
                let address = self.pop_slot();
                let dst = self.push_temp();
                self.code.op(of_size(ops, bytes)).slot(dst).slot(address).slot(expected).slot(new);
            }
            AtomicKind::Notify => {
                let count = self.pop_slot();
                let address = self.pop_slot();
                let dst = self.push_temp();
                self.code.op(Op::notify).slot(dst).slot(address).slot(count);
            }
            AtomicKind::Wait => {
                // Each takes a slot, whatever the types of address and value are.
                let params = [ValType::I64; crate::atomics::WAIT_OPERANDS];
                let operands = self.place_arguments(&params);
                let op = match (bytes, self.code.is_far(operands)) {
                    (4, false) => Op::wait32,
                    (4, true) => Op::wait32_far,
                    (_, false) => Op::wait64,
                    (_, true) => Op::wait64_far,
                };
                self.code.op(op).uint(memory).quad(offset);
                self.first_argument(operands);
                self.finish_call(&params, &[ValType::I32], point);
                return Ok(());
            }
        }
        self.code.quad(offset).uint(memory);
        Ok(())
    }
}

fn modifications(how: Modification) -> [Op; 4] {
    match how {
        Modification::Add => {
            [Op::atomic_add8, Op::atomic_add16, Op::atomic_add32, Op::atomic_add64]
        }
        Modification::Sub => {
            [Op::atomic_sub8, Op::atomic_sub16, Op::atomic_sub32, Op::atomic_sub64]
        }
        Modification::And => {
            [Op::atomic_and8, Op::atomic_and16, Op::atomic_and32, Op::atomic_and64]
        }
        Modification::Or => [Op::atomic_or8, Op::atomic_or16, Op::atomic_or32, Op::atomic_or64],
        Modification::Xor => {
            [Op::atomic_xor8, Op::atomic_xor16, Op::atomic_xor32, Op::atomic_xor64]
        }
        Modification::Exchange => {
            [Op::atomic_xchg8, Op::atomic_xchg16, Op::atomic_xchg32, Op::atomic_xchg64]
        }
    }
}

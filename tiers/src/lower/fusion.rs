//! Pairs of operators that become one instruction, other than comparisons and branches.
//!
//! All of them take the last instruction back, whose result is the popped operand and read by nobody
//! else, and emit one that does the work of both.

use super::Lowerer;
use super::arithmetic::Forms;
use super::code_buffer::TakenBack;
use super::operands::Operand;
use crate::interp::op::Op;

/// An address that is a sum.
pub(super) struct Sum {
    base: i32,
    index: i32,
    /// Bits by which the index is shifted, if it is.
    shift: Option<u32>,
}

impl Lowerer<'_> {
    /// Takes the last instruction back if it is one of `ops` and computes this operand.
    fn take_computed(&mut self, operand: Operand, temp: usize, ops: &[Op]) -> Option<TakenBack> {
        let op = self.code.last_result(self.temp_slot(temp))?;
        if operand != Operand::Temp || !ops.contains(&op) {
            return None;
        }
        self.code.take_back()
    }

    /// The slot of an operand that is in one.
    fn present_slot(&self, operand: Operand, temp: usize) -> Option<i32> {
        match operand {
            Operand::Temp => Some(self.temp_slot(temp)),
            Operand::Local(local) => Some(self.local_slot(local)),
            Operand::Const(_) => None,
        }
    }

    /// `i32.add`; of a shifted or multiplied index one instruction.
    pub(super) fn add(&mut self, forms: Forms) {
        const SCALED: [Op; 2] = [Op::i32_shl_si, Op::i32_mul_si];
        let (rhs, rhs_temp) = self.pop();
        let (lhs, lhs_temp) = self.pop();
        let slots = (self.present_slot(lhs, lhs_temp), self.present_slot(rhs, rhs_temp));
        if let (Some(a), Some(b)) = slots {
            let right = self.take_computed(rhs, rhs_temp, &SCALED);
            let (scaled, base) = match right {
                Some(scaled) => (Some(scaled), a),
                None => (self.take_computed(lhs, lhs_temp, &SCALED), b),
            };
            if let Some(scaled) = scaled {
                let op =
                    if scaled.op() == Op::i32_shl_si { Op::i32_shl_add } else { Op::i32_mul_add };
                let (index, factor) = (scaled.slot(1), scaled.imm() as u32);
                let dst = self.push_temp();
                let code = self.code.op(op).slot(dst);
                code.slot(base).slot(index).uint(factor);
                return;
            }
        }
        self.binary_of(forms, (lhs, lhs_temp), (rhs, rhs_temp));
    }

    /// `i32.and`; of a shifted word one instruction.
    pub(super) fn and(&mut self, forms: Forms) {
        let (rhs, rhs_temp) = self.pop();
        let (lhs, lhs_temp) = self.pop();
        if let Operand::Const(mask) = rhs
            && let Some(shifted) = self.take_computed(lhs, lhs_temp, &[Op::i32_shr_u_si])
        {
            let (word, shift) = (shifted.slot(1), shifted.imm() as u32);
            let dst = self.push_temp();
            let code = self.code.op(Op::i32_shr_u_and).slot(dst);
            code.slot(word).uint(shift).uint(mask as u32);
            return;
        }
        self.binary_of(forms, (lhs, lhs_temp), (rhs, rhs_temp));
    }

    /// Takes the computation of an address back if it is a sum.
    pub(super) fn take_sum(&mut self, address: Operand, temp: usize) -> Option<Sum> {
        let sum = self.take_computed(address, temp, &[Op::i32_add_ss, Op::i32_shl_add])?;
        Some(Sum {
            base: sum.slot(1),
            index: sum.slot(2),
            shift: (sum.op() == Op::i32_shl_add).then(|| sum.imm() as u32),
        })
    }

    /// A load from a sum: `sum` and `scaled` are the instructions.
    pub(super) fn load_sum(&mut self, at: &Sum, offset: u32, sum: Op, scaled: Op) {
        let dst = self.push_temp();
        let op = if at.shift.is_some() { scaled } else { sum };
        let code = self.code.op(op).slot(dst).slot(at.base).slot(at.index);
        if let Some(shift) = at.shift {
            code.uint(shift);
        }
        code.uint(offset);
    }

    /// A store of a slot to a sum.
    pub(super) fn store_sum(&mut self, at: &Sum, value: i32, offset: u32, sum: Op, scaled: Op) {
        let op = if at.shift.is_some() { scaled } else { sum };
        let code = self.code.op(op).slot(at.base).slot(at.index).slot(value);
        if let Some(shift) = at.shift {
            code.uint(shift);
        }
        code.uint(offset);
    }
}

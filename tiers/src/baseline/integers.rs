//! Integers: arithmetic and comparisons.

use super::assembler::{Alu, Cond, Load, Mem, Reg, Shift, Width};
use super::instruction::Instruction;
use super::registers::{IP, MEMORY, MEMORY_LEN, SCRATCH};
use super::translator::Translator;
use crate::interp::op::Op;
use crate::trap::TrapCode;
use Width::{W32, W64};

/// `op dst, lhs, rhs`.
impl Translator<'_> {
    pub(super) fn binary(&mut self, i: Instruction<'_>, width: Width, op: Alu) {
        let rhs = self.registers.read(&mut self.asm, i.slot(12));
        let dst = self.registers.change(&mut self.asm, i.slot(10), i.slot(8));
        self.was_rhs(i);
        self.asm.alu(op, width, dst, rhs);
    }

    /// The right operand of `op dst, lhs, rhs` was read, unless the result has its slot.
    pub(super) fn was_rhs(&mut self, i: Instruction<'_>) {
        if i.slot(12) != i.slot(8) {
            self.registers.was_read(i.slot(12));
        }
    }

    pub(super) fn binary_imm(&mut self, i: Instruction<'_>, width: Width, op: Alu) {
        let dst = self.registers.change(&mut self.asm, i.slot(10), i.slot(8));
        self.asm.alu_imm(op, width, dst, i.int(12));
    }

    pub(super) fn add_imm(&mut self, i: Instruction<'_>, width: Width) {
        if i.slot(8) == i.slot(10) {
            return self.binary_imm(i, width, Alu::Add);
        }
        let lhs = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        let dst = self.registers.define(&mut self.asm, i.slot(8));
        self.asm.lea(width, dst, Mem::at(lhs, i.int(12)));
    }

    pub(super) fn multiply(&mut self, i: Instruction<'_>, width: Width) {
        let rhs = self.registers.read(&mut self.asm, i.slot(12));
        let dst = self.registers.change(&mut self.asm, i.slot(10), i.slot(8));
        self.was_rhs(i);
        self.asm.imul(width, dst, rhs);
    }

    pub(super) fn multiply_imm(&mut self, i: Instruction<'_>, width: Width) {
        let lhs = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        let dst = self.registers.define(&mut self.asm, i.slot(8));
        self.asm.imul_imm(width, dst, lhs, i.int(12));
    }

    pub(super) fn shift(&mut self, i: Instruction<'_>, width: Width, op: Shift) {
        let count = self.registers.read(&mut self.asm, i.slot(12));
        let dst = self.registers.change(&mut self.asm, i.slot(10), i.slot(8));
        self.was_rhs(i);
        // The count is taken from `cl`, where the memory's length is.
        self.asm.mov(W64, SCRATCH, MEMORY_LEN);
        self.asm.mov(W32, Reg::RCX, count);
        self.asm.shift_cl(op, width, dst);
        self.asm.mov(W64, MEMORY_LEN, SCRATCH);
    }

    pub(super) fn shift_imm(&mut self, i: Instruction<'_>, width: Width, op: Shift) {
        let count = i.uint(12) & if width == W64 { 63 } else { 31 };
        let dst = self.registers.change(&mut self.asm, i.slot(10), i.slot(8));
        if count == 0 && width == W64 {
            return;
        }
        self.asm.shift_imm(op, width, dst, count as u8);
    }

    pub(super) fn divide(
        &mut self,
        i: Instruction<'_>,
        width: Width,
        signed: bool,
        remainder: bool,
    ) {
        let divisor = self.registers.read(&mut self.asm, i.slot(12));
        let dividend = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        self.asm.test(width, divisor, divisor);
        self.trap_if(Cond::Equal, i, TrapCode::IntegerDivisionByZero);
        let done = self.asm.label();
        if signed {
            // The processor does not divide the least integer by -1.
            let usual = self.asm.label();
            self.asm.alu_imm(Alu::Cmp, width, divisor, -1);
            self.asm.jcc(Cond::NotEqual, usual);
            if remainder {
                self.asm.mov_imm(SCRATCH, 0);
            } else {
                self.asm.mov(width, SCRATCH, dividend);
                self.asm.neg(width, SCRATCH);
                self.trap_if(Cond::Overflow, i, TrapCode::IntegerOverflow);
            }
            self.asm.jmp(done);
            self.asm.bind(usual);
        }
        self.divide_by(width, signed, remainder, dividend, divisor);
        self.asm.bind(done);
        let dst = self.registers.define(&mut self.asm, i.slot(8));
        self.asm.mov(W64, dst, SCRATCH);
    }

    /// Leaves the result in the scratch register.
    pub(super) fn divide_by(
        &mut self,
        width: Width,
        signed: bool,
        remainder: bool,
        dividend: Reg,
        divisor: Reg,
    ) {
        // The base of memory is in one of the two registers that the instruction takes.
        self.asm.mov(W64, IP, MEMORY);
        self.asm.mov(width, SCRATCH, dividend);
        if signed {
            self.asm.sign_into_rdx(width);
        } else {
            self.asm.mov_imm(Reg::RDX, 0);
        }
        self.asm.divide(signed, width, divisor);
        if remainder {
            self.asm.mov(width, SCRATCH, Reg::RDX);
        }
        self.asm.mov(W64, MEMORY, IP);
    }

    pub(super) fn divide_imm(
        &mut self,
        i: Instruction<'_>,
        width: Width,
        signed: bool,
        remainder: bool,
    ) {
        let imm = i.int(12);
        if imm == 0 || imm == -1 {
            return self.leave_to_handler(i);
        }
        let bits = if width == W64 { i64::from(imm) as u64 } else { u64::from(imm as u32) };
        if !signed && bits.is_power_of_two() {
            let dst = self.registers.change(&mut self.asm, i.slot(10), i.slot(8));
            if !remainder {
                self.asm.shift_imm(Shift::Shr, width, dst, bits.trailing_zeros() as u8);
            } else if let Ok(mask) = i32::try_from(bits - 1) {
                self.asm.alu_imm(Alu::And, width, dst, mask);
            } else {
                self.asm.mov_imm(SCRATCH, bits - 1);
                self.asm.alu(Alu::And, width, dst, SCRATCH);
            }
            return;
        }
        let dividend = self.registers.read(&mut self.asm, i.slot(10));
        let divisor = self.registers.scratch(&mut self.asm);
        self.have_read(i);
        self.asm.mov_imm(divisor, bits);
        self.divide_by(width, signed, remainder, dividend, divisor);
        let dst = self.registers.define(&mut self.asm, i.slot(8));
        self.asm.mov(W64, dst, SCRATCH);
    }

    pub(super) fn count_bits(&mut self, i: Instruction<'_>, width: Width, opcode: u8) {
        let from = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        let dst = self.registers.define(&mut self.asm, i.slot(8));
        self.asm.count_bits(opcode, width, dst, from);
    }

    pub(super) fn extend(&mut self, i: Instruction<'_>, load: Load) {
        let from = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        let dst = self.registers.define(&mut self.asm, i.slot(8));
        self.asm.extend(load, dst, from);
    }

    /// `base + (index << shift)`, of 32 bits. The result may be in the scratch register.
    pub(super) fn scaled_sum(&mut self, dst: Reg, base: Reg, index: Reg, shift: u32) {
        if shift <= 3 {
            self.asm.lea(W32, dst, Mem::indexed(base, index, shift as u8, 0));
        } else {
            self.asm.mov(W32, SCRATCH, index);
            self.asm.shift_imm(Shift::Shl, W32, SCRATCH, shift as u8);
            self.asm.lea(W32, dst, Mem::indexed(base, SCRATCH, 0, 0));
        }
    }
}

/// Comparisons, as values and as conditions of branches.
impl Translator<'_> {
    /// Sets a slot to 1 if the condition holds, else to 0.
    pub(super) fn set(&mut self, slot: i32, cond: Cond) {
        self.asm.setcc(cond, SCRATCH);
        let dst = self.registers.define(&mut self.asm, slot);
        self.asm.extend(Load::U8, dst, SCRATCH);
    }

    pub(super) fn compare(&mut self, i: Instruction<'_>, width: Width, cond: Cond) {
        let lhs = self.registers.read(&mut self.asm, i.slot(10));
        let rhs = self.registers.read(&mut self.asm, i.slot(12));
        // What a difference of 128 bits borrows is found by this comparison, and the operands are then read again.
        if i.op != Op::i64_lt_u_ss {
            self.have_read(i);
        }
        self.asm.alu(Alu::Cmp, width, lhs, rhs);
        self.set(i.slot(8), cond);
    }

    pub(super) fn compare_imm(&mut self, i: Instruction<'_>, width: Width, cond: Cond) {
        let lhs = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        self.compare_with_imm(width, lhs, i.int(12));
        self.set(i.slot(8), cond);
    }

    pub(super) fn compare_with_imm(&mut self, width: Width, lhs: Reg, imm: i32) {
        if imm == 0 {
            // The same flags, but for those that no condition of integers looks at.
            self.asm.test(width, lhs, lhs);
        } else {
            self.asm.alu_imm(Alu::Cmp, width, lhs, imm);
        }
    }

    pub(super) fn branch_compared(&mut self, i: Instruction<'_>, width: Width, cond: Cond) {
        let lhs = self.registers.read(&mut self.asm, i.slot(8));
        let rhs = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        self.registers.write_all(&mut self.asm);
        self.asm.alu(Alu::Cmp, width, lhs, rhs);
        self.branch_if(cond, i.target(12));
    }

    pub(super) fn branch_compared_imm(&mut self, i: Instruction<'_>, width: Width, cond: Cond) {
        let lhs = self.registers.read(&mut self.asm, i.slot(8));
        // A branch on a reference that is null reads it without taking it.
        if !matches!(i.op, Op::br_if_i64_eq_si | Op::br_if_i64_ne_si) {
            self.have_read(i);
        }
        self.registers.write_all(&mut self.asm);
        self.compare_with_imm(width, lhs, i.int(10));
        self.branch_if(cond, i.target(14));
    }

    pub(super) fn branch_tested(&mut self, i: Instruction<'_>, cond: Cond) {
        let lhs = self.registers.read(&mut self.asm, i.slot(8));
        let rhs = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        self.registers.write_all(&mut self.asm);
        self.asm.test(W32, lhs, rhs);
        self.branch_if(cond, i.target(12));
    }

    pub(super) fn branch_tested_imm(&mut self, i: Instruction<'_>, cond: Cond) {
        let lhs = self.registers.read(&mut self.asm, i.slot(8));
        self.have_read(i);
        self.registers.write_all(&mut self.asm);
        self.asm.test_imm(lhs, i.int(10));
        self.branch_if(cond, i.target(14));
    }

    pub(super) fn branch_on_zero(&mut self, i: Instruction<'_>, cond: Cond) {
        let value = self.registers.read(&mut self.asm, i.slot(8));
        self.have_read(i);
        self.registers.write_all(&mut self.asm);
        self.asm.test(W32, value, value);
        self.branch_if(cond, i.target(10));
    }
}

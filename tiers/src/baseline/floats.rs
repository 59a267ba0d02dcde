//! Floats: arithmetic, comparisons and conversions.

use super::assembler::{Alu, Cond, Float, FloatOp, Load, Width, Xmm};
use super::instruction::Instruction;
use super::registers::{FLOAT_SCRATCH, IP, SCRATCH};
use super::translator::Translator;
use crate::interp::op::Op;
use Float::F32;
use Width::{W32, W64};

/// Comparisons of floats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatCond {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    NotLess,
    NotLessOrEqual,
}

/// The range of an integer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    I32,
    U32,
    I64,
    U64,
}

/// Whether the operands are floats that are wanted in vector registers.
pub(super) fn takes_floats(op: Op) -> bool {
    let (first, last) = (Op::f32_add_ss as u16, Op::f64_sqrt as u16);
    let conversions = Op::f32_demote_f64 as u16..=Op::i64_trunc_sat_f64_u as u16;
    let comparisons = Op::f32_eq_ss as u16..=Op::br_if_f64_nle_ss as u16;
    let is_sign = matches!(
        op,
        Op::f32_abs
            | Op::f32_neg
            | Op::f64_abs
            | Op::f64_neg
            | Op::f32_copysign_ss
            | Op::f64_copysign_ss
    );
    let op_number = op as u16;
    let is_from_integer =
        (Op::f64_convert_i32_s as u16..=Op::f64_convert_i64_u as u16).contains(&op_number);
    ((first..=last).contains(&op_number)
        || conversions.contains(&op_number)
        || comparisons.contains(&op_number))
        && !is_sign
        && !is_from_integer
}

impl Translator<'_> {
    /// Compares such that the answer is the condition that is returned, and for some also that no operand is a NaN.
    pub(super) fn flags_of_floats(&mut self, ty: Float, a: Xmm, b: Xmm, cond: FloatCond) -> Cond {
        // A NaN sets carry and zero, so that `above` is false with one.
        match cond {
            FloatCond::Equal => {
                self.asm.compare_floats(ty, a, b);
                Cond::Equal
            }
            FloatCond::NotEqual => {
                self.asm.compare_floats(ty, a, b);
                Cond::NotEqual
            }
            FloatCond::Less => {
                self.asm.compare_floats(ty, b, a);
                Cond::Above
            }
            FloatCond::LessOrEqual => {
                self.asm.compare_floats(ty, b, a);
                Cond::AboveOrEqual
            }
            FloatCond::NotLess => {
                self.asm.compare_floats(ty, b, a);
                Cond::BelowOrEqual
            }
            FloatCond::NotLessOrEqual => {
                self.asm.compare_floats(ty, b, a);
                Cond::Below
            }
        }
    }

    pub(super) fn compare_floats(&mut self, i: Instruction<'_>, ty: Float, cond: FloatCond) {
        let a = self.registers.read_float(&mut self.asm, i.slot(10));
        let b = self.registers.read_float(&mut self.asm, i.slot(12));
        self.have_read(i);
        let flag = self.flags_of_floats(ty, a, b, cond);
        let dst = self.registers.define(&mut self.asm, i.slot(8));
        self.asm.setcc(flag, SCRATCH);
        match cond {
            FloatCond::Equal => {
                self.asm.setcc(Cond::NoParity, IP);
                self.asm.alu(Alu::And, W32, SCRATCH, IP);
            }
            FloatCond::NotEqual => {
                self.asm.setcc(Cond::Parity, IP);
                self.asm.alu(Alu::Or, W32, SCRATCH, IP);
            }
            _ => {}
        }
        self.asm.extend(Load::U8, dst, SCRATCH);
    }

    pub(super) fn branch_floats(&mut self, i: Instruction<'_>, ty: Float, cond: FloatCond) {
        let a = self.registers.read_float(&mut self.asm, i.slot(8));
        let b = self.registers.read_float(&mut self.asm, i.slot(10));
        self.have_read(i);
        self.registers.write_all(&mut self.asm);
        let flag = self.flags_of_floats(ty, a, b, cond);
        let target = i.target(12);
        match cond {
            FloatCond::Equal => {
                let differ = self.asm.label();
                self.asm.jcc(Cond::Parity, differ);
                self.branch_if(flag, target);
                self.asm.bind(differ);
            }
            FloatCond::NotEqual => {
                self.branch_if(Cond::Parity, target);
                self.branch_if(flag, target);
            }
            _ => self.branch_if(flag, target),
        }
    }

    pub(super) fn float(&mut self, i: Instruction<'_>, ty: Float, op: FloatOp) {
        let rhs = self.registers.read_float(&mut self.asm, i.slot(12));
        let dst = self.registers.change_float(&mut self.asm, i.slot(10), i.slot(8));
        self.was_rhs(i);
        self.asm.float(op, ty, dst, rhs);
    }

    /// Sets a free vector register to a constant.
    pub(super) fn float_constant(&mut self, bits: u64) -> Xmm {
        if bits == 0 {
            self.asm.zero_xmm(FLOAT_SCRATCH);
        } else {
            self.asm.mov_imm(SCRATCH, bits);
            self.asm.xmm_from_reg(FLOAT_SCRATCH, SCRATCH);
        }
        FLOAT_SCRATCH
    }

    /// The constant operand, whose upper bits do not count for an f32.
    pub(super) fn float_operand(ty: Float, bits: u64) -> u64 {
        if ty == F32 { u64::from(bits as u32) } else { bits }
    }

    pub(super) fn float_imm(&mut self, i: Instruction<'_>, ty: Float, op: FloatOp) {
        let dst = self.registers.change_float(&mut self.asm, i.slot(10), i.slot(8));
        let rhs = self.float_constant(Self::float_operand(ty, i.quad(12)));
        self.asm.float(op, ty, dst, rhs);
    }

    pub(super) fn float_imm_first(&mut self, i: Instruction<'_>, ty: Float, op: FloatOp) {
        let rhs = self.registers.read_float(&mut self.asm, i.slot(10));
        self.have_read(i);
        let lhs = self.float_constant(Self::float_operand(ty, i.quad(12)));
        self.asm.float(op, ty, lhs, rhs);
        let dst = self.registers.define_float(&mut self.asm, i.slot(8));
        self.asm.mov_xmm(dst, lhs);
    }

    pub(super) fn square_root(&mut self, i: Instruction<'_>, ty: Float) {
        let dst = self.registers.change_float(&mut self.asm, i.slot(10), i.slot(8));
        self.asm.float(FloatOp::Sqrt, ty, dst, dst);
    }

    pub(super) fn round(&mut self, i: Instruction<'_>, ty: Float, mode: u8) {
        let dst = self.registers.change_float(&mut self.asm, i.slot(10), i.slot(8));
        self.asm.round(ty, dst, dst, mode);
    }

    /// Sign operations work on the bits.
    pub(super) fn sign(&mut self, i: Instruction<'_>, op: Alu, bits: u64) {
        let dst = self.registers.change(&mut self.asm, i.slot(10), i.slot(8));
        self.asm.mov_imm(SCRATCH, bits);
        self.asm.alu(op, W64, dst, SCRATCH);
    }

    pub(super) fn float_of_integer(&mut self, i: Instruction<'_>, ty: Float, width: Width) {
        let from = self.registers.read(&mut self.asm, i.slot(10));
        self.have_read(i);
        let dst = self.registers.define_float(&mut self.asm, i.slot(8));
        self.asm.zero_xmm(dst);
        self.asm.float_from_integer(ty, width, dst, from);
    }

    pub(super) fn convert_float(&mut self, i: Instruction<'_>, to: Float) {
        let from = self.registers.read_float(&mut self.asm, i.slot(10));
        self.have_read(i);
        // It may be the same register.
        self.asm.zero_xmm(FLOAT_SCRATCH);
        self.asm.convert_float(to, FLOAT_SCRATCH, from);
        let dst = self.registers.define_float(&mut self.asm, i.slot(8));
        self.asm.mov_xmm(dst, FLOAT_SCRATCH);
    }

    /// To an integer. What does not fit is left to the handler.
    pub(super) fn truncate(&mut self, i: Instruction<'_>, ty: Float, range: Range) {
        let from = self.registers.read_float(&mut self.asm, i.slot(10));
        let dst = self.registers.scratch(&mut self.asm);
        // The handler finds the operand in its slot.
        let unwritten = self.registers.write_all_elsewhere();
        self.have_read(i);
        self.registers.define_scratch(dst, i.slot(8));
        let done = self.asm.label();
        let then = self.registers.state();
        let unusual = self.handler_aside(i, unwritten, then, done);
        let width = if range == Range::I32 { W32 } else { W64 };
        self.asm.integer_from_float(ty, width, dst, from);
        match range {
            // The least integer is what comes out for what does not fit.
            Range::I32 | Range::I64 => {
                self.asm.alu_imm(Alu::Cmp, width, dst, 1);
                self.asm.jcc(Cond::Overflow, unusual);
            }
            Range::U64 => {
                self.asm.test(W64, dst, dst);
                self.asm.jcc(Cond::Sign, unusual);
            }
            Range::U32 => {
                self.asm.mov(W32, SCRATCH, dst);
                self.asm.alu(Alu::Cmp, W64, SCRATCH, dst);
                self.asm.jcc(Cond::NotEqual, unusual);
            }
        }
        self.asm.bind(done);
    }
}

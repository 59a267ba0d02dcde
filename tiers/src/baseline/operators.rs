//! The instructions, one by one.

use super::assembler::{Alu, Cond, Float, FloatOp, Load, Mem, Shift, Width};
use super::floats::{FloatCond, Range};
use super::instruction::Instruction;
use super::memory::{Address, Stored, scaled_of_load, scaled_of_store, sum_of_load, sum_of_store};
use super::registers::{CX, SCRATCH};
use super::translator::Translator;
use crate::context::InstanceContext;
use crate::interp::op::Op;
use crate::lowered::frame::HEADER;
use crate::trap::TrapCode;
use Float::{F32, F64};
use Width::{W32, W64};

impl Translator<'_> {
    pub(super) fn instruction(&mut self, i: Instruction<'_>) {
        use Op::*;
        match i.op {
            copy => self.registers.copy(&mut self.asm, i.slot(8), i.slot(10)),
            copy2 => {
                let (to, a, b) = (i.slot(8), i.slot(10), i.slot(12));
                if b == to {
                    return self.leave_to_handler(i);
                }
                self.registers.copy(&mut self.asm, to, a);
                self.registers.copy(&mut self.asm, to + 1, b);
            }
            copy_far => self.copy_far(i.int(8), i.int(12)),
            copy_imm32 => self.constant(i.slot(8), i.uint(10).into()),
            copy_imm64 => self.constant(i.slot(8), i.quad(10)),
            select => self.select(i),
            br => self.branch(i.target(8)),
            br_table => self.br_table(i),
            return0 => self.return0(),
            return1 => {
                let value = self.registers.read(&mut self.asm, i.slot(10));
                self.return1(i.slot(8), value);
            }
            return1_imm => {
                let value = self.registers.scratch(&mut self.asm);
                self.asm.mov_imm(value, i.quad(10));
                self.return1(i.slot(8), value);
            }
            loop_header => self.loop_header(i),
            fuel => self.fuel(i),
            count_call => self.count_call(),
            call => self.call(i, i.slot(12)),
            call_far => self.call(i, i.int(12)),
            call_indirect => self.call_indirect(i, i.slot(22)),
            call_indirect_far => self.call_indirect(i, i.int(22)),
            call_ref => self.call_ref(i, i.slot(18)),
            call_ref_far => self.call_ref(i, i.int(18)),

            i32_add_ss => self.binary(i, W32, Alu::Add),
            i32_add_si => self.add_imm(i, W32),
            i32_sub_ss => self.binary(i, W32, Alu::Sub),
            i32_sub_si => self.binary_imm(i, W32, Alu::Sub),
            i32_mul_ss => self.multiply(i, W32),
            i32_mul_si => self.multiply_imm(i, W32),
            i32_and_ss => self.binary(i, W32, Alu::And),
            i32_and_si => self.binary_imm(i, W32, Alu::And),
            i32_or_ss => self.binary(i, W32, Alu::Or),
            i32_or_si => self.binary_imm(i, W32, Alu::Or),
            i32_xor_ss => self.binary(i, W32, Alu::Xor),
            i32_xor_si => self.binary_imm(i, W32, Alu::Xor),
            i32_shl_ss => self.shift(i, W32, Shift::Shl),
            i32_shl_si => self.shift_imm(i, W32, Shift::Shl),
            i32_shr_s_ss => self.shift(i, W32, Shift::Sar),
            i32_shr_s_si => self.shift_imm(i, W32, Shift::Sar),
            i32_shr_u_ss => self.shift(i, W32, Shift::Shr),
            i32_shr_u_si => self.shift_imm(i, W32, Shift::Shr),
            i32_rotl_ss => self.shift(i, W32, Shift::Rol),
            i32_rotl_si => self.shift_imm(i, W32, Shift::Rol),
            i32_rotr_ss => self.shift(i, W32, Shift::Ror),
            i32_rotr_si => self.shift_imm(i, W32, Shift::Ror),
            i32_div_s_ss => self.divide(i, W32, true, false),
            i32_div_u_ss => self.divide(i, W32, false, false),
            i32_rem_s_ss => self.divide(i, W32, true, true),
            i32_rem_u_ss => self.divide(i, W32, false, true),
            i32_div_s_si => self.divide_imm(i, W32, true, false),
            i32_div_u_si => self.divide_imm(i, W32, false, false),
            i32_rem_s_si => self.divide_imm(i, W32, true, true),
            i32_rem_u_si => self.divide_imm(i, W32, false, true),
            i64_add_ss => self.binary(i, W64, Alu::Add),
            i64_add_si => self.add_imm(i, W64),
            i64_sub_ss => self.binary(i, W64, Alu::Sub),
            i64_sub_si => self.binary_imm(i, W64, Alu::Sub),
            i64_mul_ss => self.multiply(i, W64),
            i64_mul_si => self.multiply_imm(i, W64),
            i64_and_ss => self.binary(i, W64, Alu::And),
            i64_and_si => self.binary_imm(i, W64, Alu::And),
            i64_or_ss => self.binary(i, W64, Alu::Or),
            i64_or_si => self.binary_imm(i, W64, Alu::Or),
            i64_xor_ss => self.binary(i, W64, Alu::Xor),
            i64_xor_si => self.binary_imm(i, W64, Alu::Xor),
            i64_shl_ss => self.shift(i, W64, Shift::Shl),
            i64_shl_si => self.shift_imm(i, W64, Shift::Shl),
            i64_shr_s_ss => self.shift(i, W64, Shift::Sar),
            i64_shr_s_si => self.shift_imm(i, W64, Shift::Sar),
            i64_shr_u_ss => self.shift(i, W64, Shift::Shr),
            i64_shr_u_si => self.shift_imm(i, W64, Shift::Shr),
            i64_rotl_ss => self.shift(i, W64, Shift::Rol),
            i64_rotl_si => self.shift_imm(i, W64, Shift::Rol),
            i64_rotr_ss => self.shift(i, W64, Shift::Ror),
            i64_rotr_si => self.shift_imm(i, W64, Shift::Ror),
            i64_div_s_ss => self.divide(i, W64, true, false),
            i64_div_u_ss => self.divide(i, W64, false, false),
            i64_rem_s_ss => self.divide(i, W64, true, true),
            i64_rem_u_ss => self.divide(i, W64, false, true),
            i64_div_s_si => self.divide_imm(i, W64, true, false),
            i64_div_u_si => self.divide_imm(i, W64, false, false),
            i64_rem_s_si => self.divide_imm(i, W64, true, true),
            i64_rem_u_si => self.divide_imm(i, W64, false, true),
            i32_clz if self.features.lzcnt => self.count_bits(i, W32, 0xbd),
            i64_clz if self.features.lzcnt => self.count_bits(i, W64, 0xbd),
            i32_ctz if self.features.bmi1 => self.count_bits(i, W32, 0xbc),
            i64_ctz if self.features.bmi1 => self.count_bits(i, W64, 0xbc),
            i32_popcnt if self.features.popcnt => self.count_bits(i, W32, 0xb8),
            i64_popcnt if self.features.popcnt => self.count_bits(i, W64, 0xb8),
            i32_extend8_s => self.extend(i, Load::S8To32),
            i32_extend16_s => self.extend(i, Load::S16To32),
            i64_extend8_s => self.extend(i, Load::S8),
            i64_extend16_s => self.extend(i, Load::S16),
            i64_extend32_s => self.extend(i, Load::S32),
            i32_wrap_i64 => self.extend(i, Load::U32),
            i32_shl_add => {
                let (dst, base, index) = (i.slot(8), i.slot(10), i.slot(12));
                let shift = i.uint(14) & 31;
                let base = self.registers.read(&mut self.asm, base);
                let index = self.registers.read(&mut self.asm, index);
                self.have_read(i);
                let dst = self.registers.define(&mut self.asm, dst);
                self.scaled_sum(dst, base, index, shift);
            }
            i32_mul_add => {
                let base = self.registers.read(&mut self.asm, i.slot(10));
                let index = self.registers.read(&mut self.asm, i.slot(12));
                self.have_read(i);
                self.asm.imul_imm(W32, SCRATCH, index, i.int(14));
                let dst = self.registers.define(&mut self.asm, i.slot(8));
                self.asm.lea(W32, dst, Mem::indexed(base, SCRATCH, 0, 0));
            }
            i32_shr_u_and => {
                let (shift, mask) = (i.uint(12) & 31, i.int(16));
                let dst = self.registers.change(&mut self.asm, i.slot(10), i.slot(8));
                self.asm.shift_imm(Shift::Shr, W32, dst, shift as u8);
                self.asm.alu_imm(Alu::And, W32, dst, mask);
            }

            i32_eq_ss => self.compare(i, W32, Cond::Equal),
            i32_ne_ss => self.compare(i, W32, Cond::NotEqual),
            i32_lt_s_ss => self.compare(i, W32, Cond::Less),
            i32_lt_u_ss => self.compare(i, W32, Cond::Below),
            i32_le_s_ss => self.compare(i, W32, Cond::LessOrEqual),
            i32_le_u_ss => self.compare(i, W32, Cond::BelowOrEqual),
            i64_eq_ss => self.compare(i, W64, Cond::Equal),
            i64_ne_ss => self.compare(i, W64, Cond::NotEqual),
            i64_lt_s_ss => self.compare(i, W64, Cond::Less),
            i64_lt_u_ss => self.compare(i, W64, Cond::Below),
            i64_le_s_ss => self.compare(i, W64, Cond::LessOrEqual),
            i64_le_u_ss => self.compare(i, W64, Cond::BelowOrEqual),
            i32_eq_si => self.compare_imm(i, W32, Cond::Equal),
            i32_ne_si => self.compare_imm(i, W32, Cond::NotEqual),
            i32_lt_s_si => self.compare_imm(i, W32, Cond::Less),
            i32_lt_u_si => self.compare_imm(i, W32, Cond::Below),
            i32_gt_s_si => self.compare_imm(i, W32, Cond::Greater),
            i32_gt_u_si => self.compare_imm(i, W32, Cond::Above),
            i32_le_s_si => self.compare_imm(i, W32, Cond::LessOrEqual),
            i32_le_u_si => self.compare_imm(i, W32, Cond::BelowOrEqual),
            i32_ge_s_si => self.compare_imm(i, W32, Cond::GreaterOrEqual),
            i32_ge_u_si => self.compare_imm(i, W32, Cond::AboveOrEqual),
            i64_eq_si => self.compare_imm(i, W64, Cond::Equal),
            i64_ne_si => self.compare_imm(i, W64, Cond::NotEqual),
            i64_lt_s_si => self.compare_imm(i, W64, Cond::Less),
            i64_lt_u_si => self.compare_imm(i, W64, Cond::Below),
            i64_gt_s_si => self.compare_imm(i, W64, Cond::Greater),
            i64_gt_u_si => self.compare_imm(i, W64, Cond::Above),
            i64_le_s_si => self.compare_imm(i, W64, Cond::LessOrEqual),
            i64_le_u_si => self.compare_imm(i, W64, Cond::BelowOrEqual),
            i64_ge_s_si => self.compare_imm(i, W64, Cond::GreaterOrEqual),
            i64_ge_u_si => self.compare_imm(i, W64, Cond::AboveOrEqual),
            br_if_i32_eq_ss => self.branch_compared(i, W32, Cond::Equal),
            br_if_i32_ne_ss => self.branch_compared(i, W32, Cond::NotEqual),
            br_if_i32_lt_s_ss => self.branch_compared(i, W32, Cond::Less),
            br_if_i32_lt_u_ss => self.branch_compared(i, W32, Cond::Below),
            br_if_i32_le_s_ss => self.branch_compared(i, W32, Cond::LessOrEqual),
            br_if_i32_le_u_ss => self.branch_compared(i, W32, Cond::BelowOrEqual),
            br_if_i64_eq_ss => self.branch_compared(i, W64, Cond::Equal),
            br_if_i64_ne_ss => self.branch_compared(i, W64, Cond::NotEqual),
            br_if_i64_lt_s_ss => self.branch_compared(i, W64, Cond::Less),
            br_if_i64_lt_u_ss => self.branch_compared(i, W64, Cond::Below),
            br_if_i64_le_s_ss => self.branch_compared(i, W64, Cond::LessOrEqual),
            br_if_i64_le_u_ss => self.branch_compared(i, W64, Cond::BelowOrEqual),
            br_if_i32_eq_si => self.branch_compared_imm(i, W32, Cond::Equal),
            br_if_i32_ne_si => self.branch_compared_imm(i, W32, Cond::NotEqual),
            br_if_i32_lt_s_si => self.branch_compared_imm(i, W32, Cond::Less),
            br_if_i32_lt_u_si => self.branch_compared_imm(i, W32, Cond::Below),
            br_if_i32_gt_s_si => self.branch_compared_imm(i, W32, Cond::Greater),
            br_if_i32_gt_u_si => self.branch_compared_imm(i, W32, Cond::Above),
            br_if_i32_le_s_si => self.branch_compared_imm(i, W32, Cond::LessOrEqual),
            br_if_i32_le_u_si => self.branch_compared_imm(i, W32, Cond::BelowOrEqual),
            br_if_i32_ge_s_si => self.branch_compared_imm(i, W32, Cond::GreaterOrEqual),
            br_if_i32_ge_u_si => self.branch_compared_imm(i, W32, Cond::AboveOrEqual),
            br_if_i64_eq_si => self.branch_compared_imm(i, W64, Cond::Equal),
            br_if_i64_ne_si => self.branch_compared_imm(i, W64, Cond::NotEqual),
            br_if_i64_lt_s_si => self.branch_compared_imm(i, W64, Cond::Less),
            br_if_i64_lt_u_si => self.branch_compared_imm(i, W64, Cond::Below),
            br_if_i64_gt_s_si => self.branch_compared_imm(i, W64, Cond::Greater),
            br_if_i64_gt_u_si => self.branch_compared_imm(i, W64, Cond::Above),
            br_if_i64_le_s_si => self.branch_compared_imm(i, W64, Cond::LessOrEqual),
            br_if_i64_le_u_si => self.branch_compared_imm(i, W64, Cond::BelowOrEqual),
            br_if_i64_ge_s_si => self.branch_compared_imm(i, W64, Cond::GreaterOrEqual),
            br_if_i64_ge_u_si => self.branch_compared_imm(i, W64, Cond::AboveOrEqual),
            br_if_i32_and_ss => self.branch_tested(i, Cond::NotEqual),
            br_if_i32_nand_ss => self.branch_tested(i, Cond::Equal),
            br_if_i32_and_si => self.branch_tested_imm(i, Cond::NotEqual),
            br_if_i32_nand_si => self.branch_tested_imm(i, Cond::Equal),
            br_if_nez => self.branch_on_zero(i, Cond::NotEqual),
            br_if_eqz => self.branch_on_zero(i, Cond::Equal),
            f32_eq_ss => self.compare_floats(i, F32, FloatCond::Equal),
            f32_ne_ss => self.compare_floats(i, F32, FloatCond::NotEqual),
            f32_lt_ss => self.compare_floats(i, F32, FloatCond::Less),
            f32_le_ss => self.compare_floats(i, F32, FloatCond::LessOrEqual),
            f64_eq_ss => self.compare_floats(i, F64, FloatCond::Equal),
            f64_ne_ss => self.compare_floats(i, F64, FloatCond::NotEqual),
            f64_lt_ss => self.compare_floats(i, F64, FloatCond::Less),
            f64_le_ss => self.compare_floats(i, F64, FloatCond::LessOrEqual),
            br_if_f32_eq_ss => self.branch_floats(i, F32, FloatCond::Equal),
            br_if_f32_ne_ss => self.branch_floats(i, F32, FloatCond::NotEqual),
            br_if_f32_lt_ss => self.branch_floats(i, F32, FloatCond::Less),
            br_if_f32_le_ss => self.branch_floats(i, F32, FloatCond::LessOrEqual),
            br_if_f32_nlt_ss => self.branch_floats(i, F32, FloatCond::NotLess),
            br_if_f32_nle_ss => self.branch_floats(i, F32, FloatCond::NotLessOrEqual),
            br_if_f64_eq_ss => self.branch_floats(i, F64, FloatCond::Equal),
            br_if_f64_ne_ss => self.branch_floats(i, F64, FloatCond::NotEqual),
            br_if_f64_lt_ss => self.branch_floats(i, F64, FloatCond::Less),
            br_if_f64_le_ss => self.branch_floats(i, F64, FloatCond::LessOrEqual),
            br_if_f64_nlt_ss => self.branch_floats(i, F64, FloatCond::NotLess),
            br_if_f64_nle_ss => self.branch_floats(i, F64, FloatCond::NotLessOrEqual),

            f32_add_ss => self.float(i, F32, FloatOp::Add),
            f32_sub_ss => self.float(i, F32, FloatOp::Sub),
            f32_mul_ss => self.float(i, F32, FloatOp::Mul),
            f32_div_ss => self.float(i, F32, FloatOp::Div),
            f64_add_ss => self.float(i, F64, FloatOp::Add),
            f64_sub_ss => self.float(i, F64, FloatOp::Sub),
            f64_mul_ss => self.float(i, F64, FloatOp::Mul),
            f64_div_ss => self.float(i, F64, FloatOp::Div),
            f32_add_si => self.float_imm(i, F32, FloatOp::Add),
            f32_sub_si => self.float_imm(i, F32, FloatOp::Sub),
            f32_mul_si => self.float_imm(i, F32, FloatOp::Mul),
            f32_div_si => self.float_imm(i, F32, FloatOp::Div),
            f64_add_si => self.float_imm(i, F64, FloatOp::Add),
            f64_sub_si => self.float_imm(i, F64, FloatOp::Sub),
            f64_mul_si => self.float_imm(i, F64, FloatOp::Mul),
            f64_div_si => self.float_imm(i, F64, FloatOp::Div),
            f32_add_is => self.float_imm_first(i, F32, FloatOp::Add),
            f32_sub_is => self.float_imm_first(i, F32, FloatOp::Sub),
            f32_mul_is => self.float_imm_first(i, F32, FloatOp::Mul),
            f32_div_is => self.float_imm_first(i, F32, FloatOp::Div),
            f64_add_is => self.float_imm_first(i, F64, FloatOp::Add),
            f64_sub_is => self.float_imm_first(i, F64, FloatOp::Sub),
            f64_mul_is => self.float_imm_first(i, F64, FloatOp::Mul),
            f64_div_is => self.float_imm_first(i, F64, FloatOp::Div),
            f32_sqrt => self.square_root(i, F32),
            f64_sqrt => self.square_root(i, F64),
            f32_nearest if self.features.sse41 => self.round(i, F32, 0),
            f32_floor if self.features.sse41 => self.round(i, F32, 1),
            f32_ceil if self.features.sse41 => self.round(i, F32, 2),
            f32_trunc if self.features.sse41 => self.round(i, F32, 3),
            f64_nearest if self.features.sse41 => self.round(i, F64, 0),
            f64_floor if self.features.sse41 => self.round(i, F64, 1),
            f64_ceil if self.features.sse41 => self.round(i, F64, 2),
            f64_trunc if self.features.sse41 => self.round(i, F64, 3),
            f32_abs => self.sign(i, Alu::And, 0x7fff_ffff),
            f32_neg => self.sign(i, Alu::Xor, 0x8000_0000),
            f64_abs => self.sign(i, Alu::And, u64::MAX >> 1),
            f64_neg => self.sign(i, Alu::Xor, 1 << 63),

            f32_convert_i32_s => self.float_of_integer(i, F32, W32),
            f32_convert_i64_s => self.float_of_integer(i, F32, W64),
            f64_convert_i32_s => self.float_of_integer(i, F64, W32),
            f64_convert_i64_s => self.float_of_integer(i, F64, W64),
            // The upper bits are zero.
            f32_convert_i32_u => self.float_of_integer(i, F32, W64),
            f64_convert_i32_u => self.float_of_integer(i, F64, W64),
            f32_demote_f64 => self.convert_float(i, F32),
            f64_promote_f32 => self.convert_float(i, F64),
            i32_trunc_f32_s | i32_trunc_sat_f32_s => self.truncate(i, F32, Range::I32),
            i32_trunc_f64_s | i32_trunc_sat_f64_s => self.truncate(i, F64, Range::I32),
            i32_trunc_f32_u | i32_trunc_sat_f32_u => self.truncate(i, F32, Range::U32),
            i32_trunc_f64_u | i32_trunc_sat_f64_u => self.truncate(i, F64, Range::U32),
            i64_trunc_f32_s | i64_trunc_sat_f32_s => self.truncate(i, F32, Range::I64),
            i64_trunc_f64_s | i64_trunc_sat_f64_s => self.truncate(i, F64, Range::I64),
            i64_trunc_f32_u | i64_trunc_sat_f32_u => self.truncate(i, F32, Range::U64),
            i64_trunc_f64_u | i64_trunc_sat_f64_u => self.truncate(i, F64, Range::U64),

            load8_u => self.load_slot(i, Load::U8),
            load16_u => self.load_slot(i, Load::U16),
            load32 => self.load_slot(i, Load::U32),
            load64 => self.load_slot(i, Load::U64),
            i32_load8_s => self.load_slot(i, Load::S8To32),
            i32_load16_s => self.load_slot(i, Load::S16To32),
            i64_load8_s => self.load_slot(i, Load::S8),
            i64_load16_s => self.load_slot(i, Load::S16),
            i64_load32_s => self.load_slot(i, Load::S32),
            load8_u_at => self.load(i, Load::U8, Address::At(i.uint(10))),
            load16_u_at => self.load(i, Load::U16, Address::At(i.uint(10))),
            load32_at => self.load(i, Load::U32, Address::At(i.uint(10))),
            load64_at => self.load(i, Load::U64, Address::At(i.uint(10))),
            i32_load8_s_at => self.load(i, Load::S8To32, Address::At(i.uint(10))),
            i32_load16_s_at => self.load(i, Load::S16To32, Address::At(i.uint(10))),
            i64_load8_s_at => self.load(i, Load::S8, Address::At(i.uint(10))),
            i64_load16_s_at => self.load(i, Load::S16, Address::At(i.uint(10))),
            i64_load32_s_at => self.load(i, Load::S32, Address::At(i.uint(10))),
            load8_u_sum => self.load(i, Load::U8, sum_of_load(i)),
            load16_u_sum => self.load(i, Load::U16, sum_of_load(i)),
            load32_sum => self.load(i, Load::U32, sum_of_load(i)),
            load64_sum => self.load(i, Load::U64, sum_of_load(i)),
            load8_u_scaled => self.load(i, Load::U8, scaled_of_load(i)),
            load16_u_scaled => self.load(i, Load::U16, scaled_of_load(i)),
            load32_scaled => self.load(i, Load::U32, scaled_of_load(i)),
            load64_scaled => self.load(i, Load::U64, scaled_of_load(i)),
            store8 => self.store_slot(i, 1),
            store16 => self.store_slot(i, 2),
            store32 => self.store_slot(i, 4),
            store64 => self.store_slot(i, 8),
            store8_si => self.store_slot_imm(i, 1),
            store16_si => self.store_slot_imm(i, 2),
            store32_si => self.store_slot_imm(i, 4),
            store64_si => self.store_slot_imm(i, 8),
            store8_at => self.store(i, 1, Address::At(i.uint(10)), Stored::Slot(i.slot(8))),
            store16_at => self.store(i, 2, Address::At(i.uint(10)), Stored::Slot(i.slot(8))),
            store32_at => self.store(i, 4, Address::At(i.uint(10)), Stored::Slot(i.slot(8))),
            store64_at => self.store(i, 8, Address::At(i.uint(10)), Stored::Slot(i.slot(8))),
            store8_sum => self.store(i, 1, sum_of_store(i), Stored::Slot(i.slot(12))),
            store16_sum => self.store(i, 2, sum_of_store(i), Stored::Slot(i.slot(12))),
            store32_sum => self.store(i, 4, sum_of_store(i), Stored::Slot(i.slot(12))),
            store64_sum => self.store(i, 8, sum_of_store(i), Stored::Slot(i.slot(12))),
            store8_scaled => self.store(i, 1, scaled_of_store(i), Stored::Slot(i.slot(12))),
            store16_scaled => self.store(i, 2, scaled_of_store(i), Stored::Slot(i.slot(12))),
            store32_scaled => self.store(i, 4, scaled_of_store(i), Stored::Slot(i.slot(12))),
            store64_scaled => self.store(i, 8, scaled_of_store(i), Stored::Slot(i.slot(12))),

            global_get_own => {
                let dst = self.registers.define(&mut self.asm, i.slot(8));
                self.asm.load(Load::U64, dst, Mem::at(CX, i.int(10)));
            }
            global_set_own => {
                let value = self.registers.read(&mut self.asm, i.slot(8));
                self.have_read(i);
                self.asm.store(8, Mem::at(CX, i.int(10)), value);
            }
            global_get => {
                self.global_cell(i);
                let dst = self.registers.define(&mut self.asm, i.slot(8));
                self.asm.load(Load::U64, dst, Mem::at(SCRATCH, 0));
            }
            global_set => {
                let value = self.registers.read(&mut self.asm, i.slot(8));
                self.have_read(i);
                self.global_cell(i);
                self.asm.store(8, Mem::at(SCRATCH, 0), value);
            }
            ref_is_null => {
                let value = self.registers.read(&mut self.asm, i.slot(10));
                self.have_read(i);
                self.asm.test(W64, value, value);
                self.set(i.slot(8), Cond::Equal);
            }
            ref_as_non_null => {
                // It stays where it is.
                let value = self.registers.read(&mut self.asm, i.slot(8));
                self.asm.test(W64, value, value);
                self.trap_if(Cond::Equal, i, TrapCode::NullReference);
            }
            _ => self.leave_to_handler(i),
        }
    }

    /// All operands that the instruction reads are in registers.
    pub(super) fn have_read(&mut self, i: Instruction<'_>) {
        for slot in i.sources() {
            self.registers.was_read(slot);
        }
    }

    fn copy_far(&mut self, to: i32, from: i32) {
        let is_scratch = (HEADER as i32..self.lowered.first_temp as i32).contains(&to);
        if is_scratch {
            // For an instruction that cannot name it. There may be another one: what is paid for by its length is then
            // done, and a reference that is not null stays.
            self.registers.copy_and_keep(&mut self.asm, to, from);
        } else {
            self.registers.copy(&mut self.asm, to, from);
        }
    }

    fn constant(&mut self, slot: i32, bits: u64) {
        let dst = self.registers.define(&mut self.asm, slot);
        self.asm.mov_imm(dst, bits);
    }

    fn select(&mut self, i: Instruction<'_>) {
        let (dst, condition, a, b) = (i.slot(8), i.slot(10), i.slot(12), i.slot(14));
        let condition_reg = self.registers.read(&mut self.asm, condition);
        let other = self.registers.read(&mut self.asm, b);
        self.registers.was_read(condition);
        let dst = self.registers.change(&mut self.asm, a, dst);
        self.registers.was_read(b);
        self.asm.test(W32, condition_reg, condition_reg);
        self.asm.cmov(Cond::Equal, dst, other);
    }

    /// Sets the scratch register to the address of a global's cell.
    fn global_cell(&mut self, i: Instruction<'_>) {
        self.asm.load(Load::U64, SCRATCH, Mem::at(CX, InstanceContext::GLOBALS));
        self.asm.load(Load::U64, SCRATCH, Mem::at(SCRATCH, i.int(10) * 8));
    }
}

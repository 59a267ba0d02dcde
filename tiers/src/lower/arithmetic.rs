//! Which form of an operator to use: for each side a slot or a constant, and comparisons as values
//! or as conditions of branches.

use super::Lowerer;
use super::code_buffer::{CodeBuffer, Label, TakenBack};
use super::operands::Operand;
use crate::interp::op::Op;

/// The forms of an integer operator.
#[derive(Clone, Copy)]
pub(super) struct Forms {
    pub(super) ss: Op,
    pub(super) si: Op,
    /// The operator that gives the same result with its operands swapped.
    pub(super) swapped: Option<(Op, Op)>,
    pub(super) width: Width,
}

/// Width of an integer operator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    W32,
    W64,
}

impl Width {
    /// The constant as an immediate, which instructions sign-extend.
    pub(super) fn immediate(self, bits: u64) -> Option<i32> {
        match self {
            Width::W32 => Some(bits as u32 as i32),
            Width::W64 => i32::try_from(bits as i64).ok(),
        }
    }
}

impl Lowerer<'_> {
    /// An integer operator of two operands.
    pub(super) fn binary(&mut self, forms: Forms) {
        let rhs = self.pop();
        let lhs = self.pop();
        self.binary_of(forms, lhs, rhs);
    }

    /// An integer operator of two operands that have been popped, with their temporaries.
    pub(super) fn binary_of(
        &mut self,
        forms: Forms,
        (lhs, lhs_temp): (Operand, usize),
        (rhs, rhs_temp): (Operand, usize),
    ) {
        let width = forms.width;
        let (op, a, b) = match (lhs, rhs, forms.swapped) {
            (_, Operand::Const(bits), _) if width.immediate(bits).is_some() => {
                let imm = width.immediate(bits).unwrap_or_default();
                let a = self.slot_of(lhs, lhs_temp);
                return self.binary_immediate(forms.si, a, imm);
            }
            (Operand::Const(bits), _, Some((_, si))) if width.immediate(bits).is_some() => {
                let imm = width.immediate(bits).unwrap_or_default();
                let b = self.slot_of(rhs, rhs_temp);
                return self.binary_immediate(si, b, imm);
            }
            _ => (forms.ss, self.slot_of(lhs, lhs_temp), self.slot_of(rhs, rhs_temp)),
        };
        let dst = self.push_temp();
        self.code.op(op).slot(dst).slot(a).slot(b);
    }

    fn binary_immediate(&mut self, op: Op, a: i32, imm: i32) {
        let dst = self.push_temp();
        self.code.op(op).slot(dst).slot(a).imm(imm);
    }

    /// `gt` and `ge` of two slots are `lt` and `le` with the operands swapped, and have forms of
    /// their own only with an immediate.
    pub(super) fn compare_swapped(&mut self, less: Forms, greater_si: Op) {
        let (rhs, rhs_temp) = self.pop();
        let (lhs, lhs_temp) = self.pop();
        let width = less.width;
        if let Operand::Const(bits) = rhs
            && let Some(imm) = width.immediate(bits)
        {
            let a = self.slot_of(lhs, lhs_temp);
            return self.binary_immediate(greater_si, a, imm);
        }
        if let Operand::Const(bits) = lhs
            && let Some(imm) = width.immediate(bits)
        {
            let b = self.slot_of(rhs, rhs_temp);
            return self.binary_immediate(less.si, b, imm);
        }
        let a = self.slot_of(lhs, lhs_temp);
        let b = self.slot_of(rhs, rhs_temp);
        let dst = self.push_temp();
        self.code.op(less.ss).slot(dst).slot(b).slot(a);
    }

    /// `eqz`: negates a comparison that has just been computed, or compares with 0.
    pub(super) fn eqz(&mut self, equals_zero: Op) {
        let (operand, temp) = self.pop();
        if operand == Operand::Temp
            && let Some(op) = self.code.last_result(self.temp_slot(temp))
            && let Some((negated, swap)) = negated_value(op)
            && let Some(taken) = self.code.take_back()
        {
            let dst = self.push_temp();
            let a = taken.slot(1);
            if negated.layout() == "dss" {
                let b = taken.slot(2);
                let (a, b) = if swap { (b, a) } else { (a, b) };
                self.code.op(negated).slot(dst).slot(a).slot(b);
            } else {
                self.code.op(negated).slot(dst).slot(a).imm(taken.imm());
            }
            return;
        }
        let slot = self.slot_of(operand, temp);
        self.binary_immediate(equals_zero, slot, 0);
    }

    /// A float operator with a constant form for either side.
    pub(super) fn float_arithmetic(&mut self, ss: Op, si: Op, is: Op) {
        let (rhs, rhs_temp) = self.pop();
        let (lhs, lhs_temp) = self.pop();
        let (op, slot, bits) = match (lhs, rhs) {
            (_, Operand::Const(bits)) => (si, self.slot_of(lhs, lhs_temp), bits),
            (Operand::Const(bits), _) => (is, self.slot_of(rhs, rhs_temp), bits),
            _ => {
                let a = self.slot_of(lhs, lhs_temp);
                let b = self.slot_of(rhs, rhs_temp);
                let dst = self.push_temp();
                self.code.op(ss).slot(dst).slot(a).slot(b);
                return;
            }
        };
        let dst = self.push_temp();
        self.code.op(op).slot(dst).slot(slot).quad(bits);
    }

    /// An operator of two operands that has only one form; `swap` exchanges them.
    pub(super) fn binary_slots(&mut self, op: Op, swap: bool) {
        let (rhs, rhs_temp) = self.pop();
        let (lhs, lhs_temp) = self.pop();
        let a = self.slot_of(lhs, lhs_temp);
        let b = self.slot_of(rhs, rhs_temp);
        let dst = self.push_temp();
        let (a, b) = if swap { (b, a) } else { (a, b) };
        self.code.op(op).slot(dst).slot(a).slot(b);
    }

    /// An operator of one operand.
    pub(super) fn unary(&mut self, op: Op) {
        let a = self.pop_slot();
        let dst = self.push_temp();
        self.code.op(op).slot(dst).slot(a);
    }
}

/// What a conditional branch tests.
pub(super) enum Condition {
    /// The value of a slot is not zero.
    Slot(i32),
    /// The result of this instruction, which was the last.
    Fused(TakenBack),
}

impl Condition {
    /// Whether an instruction can be the condition of a branch instead of being executed.
    pub(super) fn can_fuse(op: Op) -> bool {
        as_branch(op).is_some()
    }

    /// Emits a branch to `label` that is taken when the condition is `when`.
    pub(super) fn emit(&self, code: &mut CodeBuffer, when: bool, label: &mut Label) {
        let taken = match self {
            Condition::Slot(slot) => {
                let op = if when { Op::br_if_nez } else { Op::br_if_eqz };
                code.op(op).slot(*slot).branch(label);
                return;
            }
            Condition::Fused(taken) => taken,
        };
        let Some((yes, no, swap)) = as_branch(taken.op()) else {
            return;
        };
        let op = if when { yes } else { no };
        let a = taken.slot(1);
        if op.layout() == "ssb" {
            let b = taken.slot(2);
            let (a, b) = if swap && !when { (b, a) } else { (a, b) };
            code.op(op).slot(a).slot(b).branch(label);
        } else {
            code.op(op).slot(a).imm(taken.imm()).branch(label);
        }
    }
}

/// The branches that are taken when the comparison is true and when it is false, and whether the
/// latter has its operands swapped.
fn as_branch(op: Op) -> Option<(Op, Op, bool)> {
    use Op::*;
    Some(match op {
        i32_eq_ss => (br_if_i32_eq_ss, br_if_i32_ne_ss, false),
        i32_ne_ss => (br_if_i32_ne_ss, br_if_i32_eq_ss, false),
        i32_lt_s_ss => (br_if_i32_lt_s_ss, br_if_i32_le_s_ss, true),
        i32_le_s_ss => (br_if_i32_le_s_ss, br_if_i32_lt_s_ss, true),
        i32_lt_u_ss => (br_if_i32_lt_u_ss, br_if_i32_le_u_ss, true),
        i32_le_u_ss => (br_if_i32_le_u_ss, br_if_i32_lt_u_ss, true),
        i32_eq_si => (br_if_i32_eq_si, br_if_i32_ne_si, false),
        i32_ne_si => (br_if_i32_ne_si, br_if_i32_eq_si, false),
        i32_lt_s_si => (br_if_i32_lt_s_si, br_if_i32_ge_s_si, false),
        i32_ge_s_si => (br_if_i32_ge_s_si, br_if_i32_lt_s_si, false),
        i32_lt_u_si => (br_if_i32_lt_u_si, br_if_i32_ge_u_si, false),
        i32_ge_u_si => (br_if_i32_ge_u_si, br_if_i32_lt_u_si, false),
        i32_gt_s_si => (br_if_i32_gt_s_si, br_if_i32_le_s_si, false),
        i32_le_s_si => (br_if_i32_le_s_si, br_if_i32_gt_s_si, false),
        i32_gt_u_si => (br_if_i32_gt_u_si, br_if_i32_le_u_si, false),
        i32_le_u_si => (br_if_i32_le_u_si, br_if_i32_gt_u_si, false),
        i64_eq_ss => (br_if_i64_eq_ss, br_if_i64_ne_ss, false),
        i64_ne_ss => (br_if_i64_ne_ss, br_if_i64_eq_ss, false),
        i64_lt_s_ss => (br_if_i64_lt_s_ss, br_if_i64_le_s_ss, true),
        i64_le_s_ss => (br_if_i64_le_s_ss, br_if_i64_lt_s_ss, true),
        i64_lt_u_ss => (br_if_i64_lt_u_ss, br_if_i64_le_u_ss, true),
        i64_le_u_ss => (br_if_i64_le_u_ss, br_if_i64_lt_u_ss, true),
        i64_eq_si => (br_if_i64_eq_si, br_if_i64_ne_si, false),
        i64_ne_si => (br_if_i64_ne_si, br_if_i64_eq_si, false),
        i64_lt_s_si => (br_if_i64_lt_s_si, br_if_i64_ge_s_si, false),
        i64_ge_s_si => (br_if_i64_ge_s_si, br_if_i64_lt_s_si, false),
        i64_lt_u_si => (br_if_i64_lt_u_si, br_if_i64_ge_u_si, false),
        i64_ge_u_si => (br_if_i64_ge_u_si, br_if_i64_lt_u_si, false),
        i64_gt_s_si => (br_if_i64_gt_s_si, br_if_i64_le_s_si, false),
        i64_le_s_si => (br_if_i64_le_s_si, br_if_i64_gt_s_si, false),
        i64_gt_u_si => (br_if_i64_gt_u_si, br_if_i64_le_u_si, false),
        i64_le_u_si => (br_if_i64_le_u_si, br_if_i64_gt_u_si, false),
        f32_eq_ss => (br_if_f32_eq_ss, br_if_f32_ne_ss, false),
        f32_ne_ss => (br_if_f32_ne_ss, br_if_f32_eq_ss, false),
        f32_lt_ss => (br_if_f32_lt_ss, br_if_f32_nlt_ss, false),
        f32_le_ss => (br_if_f32_le_ss, br_if_f32_nle_ss, false),
        f64_eq_ss => (br_if_f64_eq_ss, br_if_f64_ne_ss, false),
        f64_ne_ss => (br_if_f64_ne_ss, br_if_f64_eq_ss, false),
        f64_lt_ss => (br_if_f64_lt_ss, br_if_f64_nlt_ss, false),
        f64_le_ss => (br_if_f64_le_ss, br_if_f64_nle_ss, false),
        i32_and_ss => (br_if_i32_and_ss, br_if_i32_nand_ss, false),
        i32_and_si => (br_if_i32_and_si, br_if_i32_nand_si, false),
        _ => return None,
    })
}

/// The comparison that is true when this one is not, and whether it has its operands swapped.
fn negated_value(op: Op) -> Option<(Op, bool)> {
    use Op::*;
    Some(match op {
        i32_eq_ss => (i32_ne_ss, false),
        i32_ne_ss => (i32_eq_ss, false),
        i32_lt_s_ss => (i32_le_s_ss, true),
        i32_le_s_ss => (i32_lt_s_ss, true),
        i32_lt_u_ss => (i32_le_u_ss, true),
        i32_le_u_ss => (i32_lt_u_ss, true),
        i32_eq_si => (i32_ne_si, false),
        i32_ne_si => (i32_eq_si, false),
        i32_lt_s_si => (i32_ge_s_si, false),
        i32_ge_s_si => (i32_lt_s_si, false),
        i32_lt_u_si => (i32_ge_u_si, false),
        i32_ge_u_si => (i32_lt_u_si, false),
        i32_gt_s_si => (i32_le_s_si, false),
        i32_le_s_si => (i32_gt_s_si, false),
        i32_gt_u_si => (i32_le_u_si, false),
        i32_le_u_si => (i32_gt_u_si, false),
        i64_eq_ss => (i64_ne_ss, false),
        i64_ne_ss => (i64_eq_ss, false),
        i64_lt_s_ss => (i64_le_s_ss, true),
        i64_le_s_ss => (i64_lt_s_ss, true),
        i64_lt_u_ss => (i64_le_u_ss, true),
        i64_le_u_ss => (i64_lt_u_ss, true),
        i64_eq_si => (i64_ne_si, false),
        i64_ne_si => (i64_eq_si, false),
        i64_lt_s_si => (i64_ge_s_si, false),
        i64_ge_s_si => (i64_lt_s_si, false),
        i64_lt_u_si => (i64_ge_u_si, false),
        i64_ge_u_si => (i64_lt_u_si, false),
        i64_gt_s_si => (i64_le_s_si, false),
        i64_le_s_si => (i64_gt_s_si, false),
        i64_gt_u_si => (i64_le_u_si, false),
        i64_le_u_si => (i64_gt_u_si, false),
        f32_eq_ss => (f32_ne_ss, false),
        f32_ne_ss => (f32_eq_ss, false),
        f64_eq_ss => (f64_ne_ss, false),
        f64_ne_ss => (f64_eq_ss, false),
        _ => return None,
    })
}

//! Operators on vectors.

use super::memory_access::memory_operand;
use super::operands::Operand;
use super::{Lowerer, Unsupported};
use crate::interp::op::Op;
use wasmparser::{MemArg, Operator};

impl Lowerer<'_> {
    /// Pops a vector to read it from two slots; answers the first.
    pub(super) fn pop_vector(&mut self) -> i32 {
        let (high, _) = self.pop();
        let (low, temp) = self.pop();
        // Both halves are in the same form.
        match (low, high) {
            (Operand::Const(low), Operand::Const(high)) => {
                let slot = self.temp_slot(temp);
                self.code.op(Op::v128_const).slot(slot).quad(low).quad(high);
                slot
            }
            _ => self.slot_of(low, temp),
        }
    }

    /// Pushes the result of the next instruction, a vector, and answers the first slot where it goes.
    pub(super) fn push_vector_temp(&mut self) -> i32 {
        let temp = self.stack.push_vector(Operand::Temp, Operand::Temp);
        self.temp_slot(temp)
    }

    /// `local.set` of a vector whose first slot is the `first`th of the locals.
    pub(super) fn set_vector_local(&mut self, first: u32) {
        let (high, _) = self.pop();
        let (low, temp) = self.pop();
        if low == Operand::Local(first) {
            return;
        }
        let slot = self.local_slot(first);
        let temp_slot = self.temp_slot(temp);
        if low == Operand::Temp && self.code.last_result_is_vector(temp_slot) {
            // The result goes straight into the local, as with scalars.
            if (self.stack.is_pending(first) || self.stack.is_pending(first + 1))
                && let Some(last) = self.code.take_back()
            {
                self.preserve(first);
                self.preserve(first + 1);
                self.code.put_back(&last);
            }
            self.code.retarget(slot);
            return;
        }
        self.preserve(first);
        self.preserve(first + 1);
        match (low, high) {
            (Operand::Const(low), Operand::Const(high)) => {
                self.code.op(Op::v128_const).slot(slot).quad(low).quad(high);
            }
            _ => {
                let source = self.slot_of(low, temp);
                self.code.op(Op::v128_copy).slot(slot).slot(source);
            }
        }
    }

    /// Lowers an operator that no other kind of code knows.
    pub(super) fn vector_operator(&mut self, operator: &Operator<'_>) -> Result<(), Unsupported> {
        if let Some(op) = unary(operator) {
            let a = self.pop_vector();
            let dst = self.push_vector_temp();
            self.code.op(op).slot(dst).slot(a);
        } else if let Some((op, swap)) = binary(operator) {
            let b = self.pop_vector();
            let a = self.pop_vector();
            let dst = self.push_vector_temp();
            let (a, b) = if swap { (b, a) } else { (a, b) };
            self.code.op(op).slot(dst).slot(a).slot(b);
        } else if let Some(op) = ternary(operator) {
            let c = self.pop_vector();
            let b = self.pop_vector();
            let a = self.pop_vector();
            let dst = self.push_vector_temp();
            self.code.op(op).slot(dst).slot(a).slot(b).slot(c);
        } else if let Some(op) = shift(operator) {
            let amount = self.pop_slot();
            let a = self.pop_vector();
            let dst = self.push_vector_temp();
            self.code.op(op).slot(dst).slot(a).slot(amount);
        } else if let Some(op) = test(operator) {
            let a = self.pop_vector();
            let dst = self.push_temp();
            self.code.op(op).slot(dst).slot(a);
        } else if let Some((access, memarg)) = VectorAccess::of(operator) {
            self.vector_access(access, memarg)?;
        } else {
            self.lane_operator(operator)?;
        }
        Ok(())
    }

    /// Constants, shuffles, and operators that move lanes to and from scalars.
    fn lane_operator(&mut self, operator: &Operator<'_>) -> Result<(), Unsupported> {
        match *operator {
            Operator::V128Const { value } => {
                let bits = u128::from_le_bytes(*value.bytes());
                let (low, high) = (bits as u64, (bits >> 64) as u64);
                self.stack.push_vector(Operand::Const(low), Operand::Const(high));
            }
            Operator::I8x16Shuffle { lanes } => {
                let b = self.pop_vector();
                let a = self.pop_vector();
                let dst = self.push_vector_temp();
                let lanes = u128::from_le_bytes(lanes);
                let code = self.code.op(Op::i8x16_shuffle).slot(dst).slot(a).slot(b);
                code.quad(lanes as u64).quad((lanes >> 64) as u64);
            }
            Operator::I8x16Splat => self.splat(Op::i8x16_splat),
            Operator::I16x8Splat => self.splat(Op::i16x8_splat),
            Operator::I32x4Splat | Operator::F32x4Splat => self.splat(Op::i32x4_splat),
            Operator::I64x2Splat | Operator::F64x2Splat => self.splat(Op::i64x2_splat),
            Operator::I8x16ExtractLaneS { lane } => {
                self.extract_lane(Op::i8x16_extract_lane_s, lane)
            }
            Operator::I8x16ExtractLaneU { lane } => {
                self.extract_lane(Op::i8x16_extract_lane_u, lane)
            }
            Operator::I16x8ExtractLaneS { lane } => {
                self.extract_lane(Op::i16x8_extract_lane_s, lane)
            }
            Operator::I16x8ExtractLaneU { lane } => {
                self.extract_lane(Op::i16x8_extract_lane_u, lane)
            }
            Operator::I32x4ExtractLane { lane } | Operator::F32x4ExtractLane { lane } => {
                self.extract_lane(Op::i32x4_extract_lane, lane)
            }
            Operator::I64x2ExtractLane { lane } | Operator::F64x2ExtractLane { lane } => {
                self.extract_lane(Op::i64x2_extract_lane, lane)
            }
            Operator::I8x16ReplaceLane { lane } => self.replace_lane(Op::i8x16_replace_lane, lane),
            Operator::I16x8ReplaceLane { lane } => self.replace_lane(Op::i16x8_replace_lane, lane),
            Operator::I32x4ReplaceLane { lane } | Operator::F32x4ReplaceLane { lane } => {
                self.replace_lane(Op::i32x4_replace_lane, lane)
            }
            Operator::I64x2ReplaceLane { lane } | Operator::F64x2ReplaceLane { lane } => {
                self.replace_lane(Op::i64x2_replace_lane, lane)
            }
            _ => return Err(Unsupported),
        }
        Ok(())
    }

    fn splat(&mut self, op: Op) {
        let lane = self.pop_slot();
        let dst = self.push_vector_temp();
        self.code.op(op).slot(dst).slot(lane);
    }

    fn extract_lane(&mut self, op: Op, lane: u8) {
        let vector = self.pop_vector();
        let dst = self.push_temp();
        self.code.op(op).slot(dst).slot(vector).uint(lane.into());
    }

    fn replace_lane(&mut self, op: Op, lane: u8) {
        let value = self.pop_slot();
        let vector = self.pop_vector();
        let dst = self.push_vector_temp();
        self.code.op(op).slot(dst).slot(vector).slot(value).uint(lane.into());
    }

    fn vector_access(&mut self, access: VectorAccess, memarg: MemArg) -> Result<(), Unsupported> {
        let memory = memory_operand(memarg)?;
        let ty = self.env.memories[memory as usize];
        // Those of shared memories have offsets of 64 bits too.
        let is_64 = ty.is_64 || ty.shared;
        let choose = |(own, other, long, shared)| match memory {
            _ if ty.shared => shared,
            _ if is_64 => long,
            0 => own,
            _ => other,
        };
        match access {
            VectorAccess::Load(ops) => {
                let address = self.pop_slot();
                let dst = self.push_vector_temp();
                self.code.op(choose(ops)).slot(dst).slot(address);
                self.access_offset(memarg.offset, is_64);
            }
            VectorAccess::LoadLane(ops, lane) => {
                let vector = self.pop_vector();
                let address = self.pop_slot();
                let dst = self.push_vector_temp();
                self.code.op(choose(ops)).slot(dst).slot(address).slot(vector);
                self.access_offset(memarg.offset, is_64);
                self.code.uint(lane.into());
            }
            VectorAccess::StoreLane(ops, lane) => {
                let vector = self.pop_vector();
                let address = self.pop_slot();
                self.code.op(choose(ops)).slot(address).slot(vector);
                self.access_offset(memarg.offset, is_64);
                self.code.uint(lane.into());
            }
        }
        if memory != 0 || is_64 {
            self.code.uint(memory);
        }
        Ok(())
    }

    fn access_offset(&mut self, offset: u64, is_64: bool) {
        if is_64 {
            self.code.quad(offset);
        } else {
            // It has been validated to have as many bits as addresses.
            self.code.uint(offset as u32);
        }
    }
}

/// A load or store, with its instructions for memory 0, for any other, for memories with
/// addresses of 64 bits, and for shared ones.
#[derive(Clone, Copy)]
enum VectorAccess {
    Load((Op, Op, Op, Op)),
    LoadLane((Op, Op, Op, Op), u8),
    /// A whole vector is lane 0 of one.
    StoreLane((Op, Op, Op, Op), u8),
}

impl VectorAccess {
    fn of(operator: &Operator<'_>) -> Option<(VectorAccess, MemArg)> {
        use VectorAccess::{Load, LoadLane, StoreLane};
        Some(match *operator {
            Operator::V128Load { memarg } => (
                Load((Op::v128_load, Op::v128_load_m, Op::v128_load_64, Op::v128_load_shared)),
                memarg,
            ),
            Operator::V128Load8x8S { memarg } => (
                Load((
                    Op::v128_load8x8_s,
                    Op::v128_load8x8_s_m,
                    Op::v128_load8x8_s_64,
                    Op::v128_load8x8_s_shared,
                )),
                memarg,
            ),
            Operator::V128Load8x8U { memarg } => (
                Load((
                    Op::v128_load8x8_u,
                    Op::v128_load8x8_u_m,
                    Op::v128_load8x8_u_64,
                    Op::v128_load8x8_u_shared,
                )),
                memarg,
            ),
            Operator::V128Load16x4S { memarg } => (
                Load((
                    Op::v128_load16x4_s,
                    Op::v128_load16x4_s_m,
                    Op::v128_load16x4_s_64,
                    Op::v128_load16x4_s_shared,
                )),
                memarg,
            ),
            Operator::V128Load16x4U { memarg } => (
                Load((
                    Op::v128_load16x4_u,
                    Op::v128_load16x4_u_m,
                    Op::v128_load16x4_u_64,
                    Op::v128_load16x4_u_shared,
                )),
                memarg,
            ),
            Operator::V128Load32x2S { memarg } => (
                Load((
                    Op::v128_load32x2_s,
                    Op::v128_load32x2_s_m,
                    Op::v128_load32x2_s_64,
                    Op::v128_load32x2_s_shared,
                )),
                memarg,
            ),
            Operator::V128Load32x2U { memarg } => (
                Load((
                    Op::v128_load32x2_u,
                    Op::v128_load32x2_u_m,
                    Op::v128_load32x2_u_64,
                    Op::v128_load32x2_u_shared,
                )),
                memarg,
            ),
            Operator::V128Load8Splat { memarg } => (
                Load((
                    Op::v128_load8_splat,
                    Op::v128_load8_splat_m,
                    Op::v128_load8_splat_64,
                    Op::v128_load8_splat_shared,
                )),
                memarg,
            ),
            Operator::V128Load16Splat { memarg } => (
                Load((
                    Op::v128_load16_splat,
                    Op::v128_load16_splat_m,
                    Op::v128_load16_splat_64,
                    Op::v128_load16_splat_shared,
                )),
                memarg,
            ),
            Operator::V128Load32Splat { memarg } => (
                Load((
                    Op::v128_load32_splat,
                    Op::v128_load32_splat_m,
                    Op::v128_load32_splat_64,
                    Op::v128_load32_splat_shared,
                )),
                memarg,
            ),
            Operator::V128Load64Splat { memarg } => (
                Load((
                    Op::v128_load64_splat,
                    Op::v128_load64_splat_m,
                    Op::v128_load64_splat_64,
                    Op::v128_load64_splat_shared,
                )),
                memarg,
            ),
            Operator::V128Load32Zero { memarg } => (
                Load((
                    Op::v128_load32_zero,
                    Op::v128_load32_zero_m,
                    Op::v128_load32_zero_64,
                    Op::v128_load32_zero_shared,
                )),
                memarg,
            ),
            Operator::V128Load64Zero { memarg } => (
                Load((
                    Op::v128_load64_zero,
                    Op::v128_load64_zero_m,
                    Op::v128_load64_zero_64,
                    Op::v128_load64_zero_shared,
                )),
                memarg,
            ),
            Operator::V128Store { memarg } => (
                StoreLane(
                    (Op::v128_store, Op::v128_store_m, Op::v128_store_64, Op::v128_store_shared),
                    0,
                ),
                memarg,
            ),
            Operator::V128Load8Lane { memarg, lane } => (
                LoadLane(
                    (
                        Op::v128_load8_lane,
                        Op::v128_load8_lane_m,
                        Op::v128_load8_lane_64,
                        Op::v128_load8_lane_shared,
                    ),
                    lane,
                ),
                memarg,
            ),
            Operator::V128Load16Lane { memarg, lane } => (
                LoadLane(
                    (
                        Op::v128_load16_lane,
                        Op::v128_load16_lane_m,
                        Op::v128_load16_lane_64,
                        Op::v128_load16_lane_shared,
                    ),
                    lane,
                ),
                memarg,
            ),
            Operator::V128Load32Lane { memarg, lane } => (
                LoadLane(
                    (
                        Op::v128_load32_lane,
                        Op::v128_load32_lane_m,
                        Op::v128_load32_lane_64,
                        Op::v128_load32_lane_shared,
                    ),
                    lane,
                ),
                memarg,
            ),
            Operator::V128Load64Lane { memarg, lane } => (
                LoadLane(
                    (
                        Op::v128_load64_lane,
                        Op::v128_load64_lane_m,
                        Op::v128_load64_lane_64,
                        Op::v128_load64_lane_shared,
                    ),
                    lane,
                ),
                memarg,
            ),
            Operator::V128Store8Lane { memarg, lane } => (
                StoreLane(
                    (
                        Op::v128_store8_lane,
                        Op::v128_store8_lane_m,
                        Op::v128_store8_lane_64,
                        Op::v128_store8_lane_shared,
                    ),
                    lane,
                ),
                memarg,
            ),
            Operator::V128Store16Lane { memarg, lane } => (
                StoreLane(
                    (
                        Op::v128_store16_lane,
                        Op::v128_store16_lane_m,
                        Op::v128_store16_lane_64,
                        Op::v128_store16_lane_shared,
                    ),
                    lane,
                ),
                memarg,
            ),
            Operator::V128Store32Lane { memarg, lane } => (
                StoreLane(
                    (
                        Op::v128_store32_lane,
                        Op::v128_store32_lane_m,
                        Op::v128_store32_lane_64,
                        Op::v128_store32_lane_shared,
                    ),
                    lane,
                ),
                memarg,
            ),
            Operator::V128Store64Lane { memarg, lane } => (
                StoreLane(
                    (
                        Op::v128_store64_lane,
                        Op::v128_store64_lane_m,
                        Op::v128_store64_lane_64,
                        Op::v128_store64_lane_shared,
                    ),
                    lane,
                ),
                memarg,
            ),
            _ => return None,
        })
    }
}

/// The instruction of an operator on one vector.
fn unary(operator: &Operator<'_>) -> Option<Op> {
    Some(match operator {
        Operator::V128Not => Op::v128_not,
        Operator::I8x16Abs => Op::i8x16_abs,
        Operator::I8x16Neg => Op::i8x16_neg,
        Operator::I8x16Popcnt => Op::i8x16_popcnt,
        Operator::I16x8ExtAddPairwiseI8x16S => Op::i16x8_extadd_pairwise_i8x16_s,
        Operator::I16x8ExtAddPairwiseI8x16U => Op::i16x8_extadd_pairwise_i8x16_u,
        Operator::I16x8Abs => Op::i16x8_abs,
        Operator::I16x8Neg => Op::i16x8_neg,
        Operator::I16x8ExtendLowI8x16S => Op::i16x8_extend_low_i8x16_s,
        Operator::I16x8ExtendHighI8x16S => Op::i16x8_extend_high_i8x16_s,
        Operator::I16x8ExtendLowI8x16U => Op::i16x8_extend_low_i8x16_u,
        Operator::I16x8ExtendHighI8x16U => Op::i16x8_extend_high_i8x16_u,
        Operator::I32x4ExtAddPairwiseI16x8S => Op::i32x4_extadd_pairwise_i16x8_s,
        Operator::I32x4ExtAddPairwiseI16x8U => Op::i32x4_extadd_pairwise_i16x8_u,
        Operator::I32x4Abs => Op::i32x4_abs,
        Operator::I32x4Neg => Op::i32x4_neg,
        Operator::I32x4ExtendLowI16x8S => Op::i32x4_extend_low_i16x8_s,
        Operator::I32x4ExtendHighI16x8S => Op::i32x4_extend_high_i16x8_s,
        Operator::I32x4ExtendLowI16x8U => Op::i32x4_extend_low_i16x8_u,
        Operator::I32x4ExtendHighI16x8U => Op::i32x4_extend_high_i16x8_u,
        Operator::I64x2Abs => Op::i64x2_abs,
        Operator::I64x2Neg => Op::i64x2_neg,
        Operator::I64x2ExtendLowI32x4S => Op::i64x2_extend_low_i32x4_s,
        Operator::I64x2ExtendHighI32x4S => Op::i64x2_extend_high_i32x4_s,
        Operator::I64x2ExtendLowI32x4U => Op::i64x2_extend_low_i32x4_u,
        Operator::I64x2ExtendHighI32x4U => Op::i64x2_extend_high_i32x4_u,
        Operator::F32x4Ceil => Op::f32x4_ceil,
        Operator::F32x4Floor => Op::f32x4_floor,
        Operator::F32x4Trunc => Op::f32x4_trunc,
        Operator::F32x4Nearest => Op::f32x4_nearest,
        Operator::F32x4Abs => Op::f32x4_abs,
        Operator::F32x4Neg => Op::f32x4_neg,
        Operator::F32x4Sqrt => Op::f32x4_sqrt,
        Operator::F64x2Ceil => Op::f64x2_ceil,
        Operator::F64x2Floor => Op::f64x2_floor,
        Operator::F64x2Trunc => Op::f64x2_trunc,
        Operator::F64x2Nearest => Op::f64x2_nearest,
        Operator::F64x2Abs => Op::f64x2_abs,
        Operator::F64x2Neg => Op::f64x2_neg,
        Operator::F64x2Sqrt => Op::f64x2_sqrt,
        Operator::I32x4TruncSatF32x4S => Op::i32x4_trunc_sat_f32x4_s,
        Operator::I32x4TruncSatF32x4U => Op::i32x4_trunc_sat_f32x4_u,
        Operator::F32x4ConvertI32x4S => Op::f32x4_convert_i32x4_s,
        Operator::F32x4ConvertI32x4U => Op::f32x4_convert_i32x4_u,
        Operator::I32x4TruncSatF64x2SZero => Op::i32x4_trunc_sat_f64x2_s_zero,
        Operator::I32x4TruncSatF64x2UZero => Op::i32x4_trunc_sat_f64x2_u_zero,
        Operator::F64x2ConvertLowI32x4S => Op::f64x2_convert_low_i32x4_s,
        Operator::F64x2ConvertLowI32x4U => Op::f64x2_convert_low_i32x4_u,
        Operator::F32x4DemoteF64x2Zero => Op::f32x4_demote_f64x2_zero,
        Operator::F64x2PromoteLowF32x4 => Op::f64x2_promote_low_f32x4,
        Operator::I32x4RelaxedTruncF32x4S => Op::i32x4_trunc_sat_f32x4_s,
        Operator::I32x4RelaxedTruncF32x4U => Op::i32x4_trunc_sat_f32x4_u,
        Operator::I32x4RelaxedTruncF64x2SZero => Op::i32x4_trunc_sat_f64x2_s_zero,
        Operator::I32x4RelaxedTruncF64x2UZero => Op::i32x4_trunc_sat_f64x2_u_zero,
        _ => return None,
    })
}

/// The instruction of an operator on two vectors, and whether they change places: what is greater is what the
/// other is less than.
fn binary(operator: &Operator<'_>) -> Option<(Op, bool)> {
    let op = match operator {
        Operator::I8x16Swizzle => Op::i8x16_swizzle,
        Operator::I8x16Eq => Op::i8x16_eq,
        Operator::I8x16Ne => Op::i8x16_ne,
        Operator::I8x16LtS => Op::i8x16_lt_s,
        Operator::I8x16LtU => Op::i8x16_lt_u,
        Operator::I8x16LeS => Op::i8x16_le_s,
        Operator::I8x16LeU => Op::i8x16_le_u,
        Operator::I16x8Eq => Op::i16x8_eq,
        Operator::I16x8Ne => Op::i16x8_ne,
        Operator::I16x8LtS => Op::i16x8_lt_s,
        Operator::I16x8LtU => Op::i16x8_lt_u,
        Operator::I16x8LeS => Op::i16x8_le_s,
        Operator::I16x8LeU => Op::i16x8_le_u,
        Operator::I32x4Eq => Op::i32x4_eq,
        Operator::I32x4Ne => Op::i32x4_ne,
        Operator::I32x4LtS => Op::i32x4_lt_s,
        Operator::I32x4LtU => Op::i32x4_lt_u,
        Operator::I32x4LeS => Op::i32x4_le_s,
        Operator::I32x4LeU => Op::i32x4_le_u,
        Operator::I64x2Eq => Op::i64x2_eq,
        Operator::I64x2Ne => Op::i64x2_ne,
        Operator::I64x2LtS => Op::i64x2_lt_s,
        Operator::I64x2LeS => Op::i64x2_le_s,
        Operator::F32x4Eq => Op::f32x4_eq,
        Operator::F32x4Ne => Op::f32x4_ne,
        Operator::F32x4Lt => Op::f32x4_lt,
        Operator::F32x4Le => Op::f32x4_le,
        Operator::F64x2Eq => Op::f64x2_eq,
        Operator::F64x2Ne => Op::f64x2_ne,
        Operator::F64x2Lt => Op::f64x2_lt,
        Operator::F64x2Le => Op::f64x2_le,
        Operator::V128And => Op::v128_and,
        Operator::V128AndNot => Op::v128_andnot,
        Operator::V128Or => Op::v128_or,
        Operator::V128Xor => Op::v128_xor,
        Operator::I8x16NarrowI16x8S => Op::i8x16_narrow_i16x8_s,
        Operator::I8x16NarrowI16x8U => Op::i8x16_narrow_i16x8_u,
        Operator::I8x16Add => Op::i8x16_add,
        Operator::I8x16AddSatS => Op::i8x16_add_sat_s,
        Operator::I8x16AddSatU => Op::i8x16_add_sat_u,
        Operator::I8x16Sub => Op::i8x16_sub,
        Operator::I8x16SubSatS => Op::i8x16_sub_sat_s,
        Operator::I8x16SubSatU => Op::i8x16_sub_sat_u,
        Operator::I8x16MinS => Op::i8x16_min_s,
        Operator::I8x16MinU => Op::i8x16_min_u,
        Operator::I8x16MaxS => Op::i8x16_max_s,
        Operator::I8x16MaxU => Op::i8x16_max_u,
        Operator::I8x16AvgrU => Op::i8x16_avgr_u,
        Operator::I16x8Q15MulrSatS => Op::i16x8_q15mulr_sat_s,
        Operator::I16x8NarrowI32x4S => Op::i16x8_narrow_i32x4_s,
        Operator::I16x8NarrowI32x4U => Op::i16x8_narrow_i32x4_u,
        Operator::I16x8Add => Op::i16x8_add,
        Operator::I16x8AddSatS => Op::i16x8_add_sat_s,
        Operator::I16x8AddSatU => Op::i16x8_add_sat_u,
        Operator::I16x8Sub => Op::i16x8_sub,
        Operator::I16x8SubSatS => Op::i16x8_sub_sat_s,
        Operator::I16x8SubSatU => Op::i16x8_sub_sat_u,
        Operator::I16x8Mul => Op::i16x8_mul,
        Operator::I16x8MinS => Op::i16x8_min_s,
        Operator::I16x8MinU => Op::i16x8_min_u,
        Operator::I16x8MaxS => Op::i16x8_max_s,
        Operator::I16x8MaxU => Op::i16x8_max_u,
        Operator::I16x8AvgrU => Op::i16x8_avgr_u,
        Operator::I16x8ExtMulLowI8x16S => Op::i16x8_extmul_low_i8x16_s,
        Operator::I16x8ExtMulHighI8x16S => Op::i16x8_extmul_high_i8x16_s,
        Operator::I16x8ExtMulLowI8x16U => Op::i16x8_extmul_low_i8x16_u,
        Operator::I16x8ExtMulHighI8x16U => Op::i16x8_extmul_high_i8x16_u,
        Operator::I32x4Add => Op::i32x4_add,
        Operator::I32x4Sub => Op::i32x4_sub,
        Operator::I32x4Mul => Op::i32x4_mul,
        Operator::I32x4MinS => Op::i32x4_min_s,
        Operator::I32x4MinU => Op::i32x4_min_u,
        Operator::I32x4MaxS => Op::i32x4_max_s,
        Operator::I32x4MaxU => Op::i32x4_max_u,
        Operator::I32x4DotI16x8S => Op::i32x4_dot_i16x8_s,
        Operator::I32x4ExtMulLowI16x8S => Op::i32x4_extmul_low_i16x8_s,
        Operator::I32x4ExtMulHighI16x8S => Op::i32x4_extmul_high_i16x8_s,
        Operator::I32x4ExtMulLowI16x8U => Op::i32x4_extmul_low_i16x8_u,
        Operator::I32x4ExtMulHighI16x8U => Op::i32x4_extmul_high_i16x8_u,
        Operator::I64x2Add => Op::i64x2_add,
        Operator::I64x2Sub => Op::i64x2_sub,
        Operator::I64x2Mul => Op::i64x2_mul,
        Operator::I64x2ExtMulLowI32x4S => Op::i64x2_extmul_low_i32x4_s,
        Operator::I64x2ExtMulHighI32x4S => Op::i64x2_extmul_high_i32x4_s,
        Operator::I64x2ExtMulLowI32x4U => Op::i64x2_extmul_low_i32x4_u,
        Operator::I64x2ExtMulHighI32x4U => Op::i64x2_extmul_high_i32x4_u,
        Operator::F32x4Add => Op::f32x4_add,
        Operator::F32x4Sub => Op::f32x4_sub,
        Operator::F32x4Mul => Op::f32x4_mul,
        Operator::F32x4Div => Op::f32x4_div,
        Operator::F32x4Min => Op::f32x4_min,
        Operator::F32x4Max => Op::f32x4_max,
        Operator::F32x4PMin => Op::f32x4_pmin,
        Operator::F32x4PMax => Op::f32x4_pmax,
        Operator::F64x2Add => Op::f64x2_add,
        Operator::F64x2Sub => Op::f64x2_sub,
        Operator::F64x2Mul => Op::f64x2_mul,
        Operator::F64x2Div => Op::f64x2_div,
        Operator::F64x2Min => Op::f64x2_min,
        Operator::F64x2Max => Op::f64x2_max,
        Operator::F64x2PMin => Op::f64x2_pmin,
        Operator::F64x2PMax => Op::f64x2_pmax,
        Operator::I8x16RelaxedSwizzle => Op::i8x16_swizzle,
        Operator::F32x4RelaxedMin => Op::f32x4_min,
        Operator::F32x4RelaxedMax => Op::f32x4_max,
        Operator::F64x2RelaxedMin => Op::f64x2_min,
        Operator::F64x2RelaxedMax => Op::f64x2_max,
        Operator::I16x8RelaxedQ15mulrS => Op::i16x8_q15mulr_sat_s,
        Operator::I16x8RelaxedDotI8x16I7x16S => Op::i16x8_relaxed_dot_i8x16_i7x16_s,
        _ => return swapped(operator).map(|op| (op, true)),
    };
    Some((op, false))
}

fn swapped(operator: &Operator<'_>) -> Option<Op> {
    Some(match operator {
        Operator::I8x16GtS => Op::i8x16_lt_s,
        Operator::I8x16GtU => Op::i8x16_lt_u,
        Operator::I8x16GeS => Op::i8x16_le_s,
        Operator::I8x16GeU => Op::i8x16_le_u,
        Operator::I16x8GtS => Op::i16x8_lt_s,
        Operator::I16x8GtU => Op::i16x8_lt_u,
        Operator::I16x8GeS => Op::i16x8_le_s,
        Operator::I16x8GeU => Op::i16x8_le_u,
        Operator::I32x4GtS => Op::i32x4_lt_s,
        Operator::I32x4GtU => Op::i32x4_lt_u,
        Operator::I32x4GeS => Op::i32x4_le_s,
        Operator::I32x4GeU => Op::i32x4_le_u,
        Operator::I64x2GtS => Op::i64x2_lt_s,
        Operator::I64x2GeS => Op::i64x2_le_s,
        Operator::F32x4Gt => Op::f32x4_lt,
        Operator::F32x4Ge => Op::f32x4_le,
        Operator::F64x2Gt => Op::f64x2_lt,
        Operator::F64x2Ge => Op::f64x2_le,
        _ => return None,
    })
}

/// The instruction of an operator on three vectors.
fn ternary(operator: &Operator<'_>) -> Option<Op> {
    Some(match operator {
        Operator::V128Bitselect => Op::v128_bitselect,
        Operator::F32x4RelaxedMadd => Op::f32x4_relaxed_madd,
        Operator::F32x4RelaxedNmadd => Op::f32x4_relaxed_nmadd,
        Operator::F64x2RelaxedMadd => Op::f64x2_relaxed_madd,
        Operator::F64x2RelaxedNmadd => Op::f64x2_relaxed_nmadd,
        Operator::I8x16RelaxedLaneselect => Op::v128_bitselect,
        Operator::I16x8RelaxedLaneselect => Op::v128_bitselect,
        Operator::I32x4RelaxedLaneselect => Op::v128_bitselect,
        Operator::I64x2RelaxedLaneselect => Op::v128_bitselect,
        Operator::I32x4RelaxedDotI8x16I7x16AddS => Op::i32x4_relaxed_dot_i8x16_i7x16_add_s,
        _ => return None,
    })
}

/// The instruction of an operator that shifts the lanes of a vector by a scalar.
fn shift(operator: &Operator<'_>) -> Option<Op> {
    Some(match operator {
        Operator::I8x16Shl => Op::i8x16_shl,
        Operator::I8x16ShrS => Op::i8x16_shr_s,
        Operator::I8x16ShrU => Op::i8x16_shr_u,
        Operator::I16x8Shl => Op::i16x8_shl,
        Operator::I16x8ShrS => Op::i16x8_shr_s,
        Operator::I16x8ShrU => Op::i16x8_shr_u,
        Operator::I32x4Shl => Op::i32x4_shl,
        Operator::I32x4ShrS => Op::i32x4_shr_s,
        Operator::I32x4ShrU => Op::i32x4_shr_u,
        Operator::I64x2Shl => Op::i64x2_shl,
        Operator::I64x2ShrS => Op::i64x2_shr_s,
        Operator::I64x2ShrU => Op::i64x2_shr_u,
        _ => return None,
    })
}

/// The instruction of an operator on one vector whose result is an integer.
fn test(operator: &Operator<'_>) -> Option<Op> {
    Some(match operator {
        Operator::V128AnyTrue => Op::v128_any_true,
        Operator::I8x16AllTrue => Op::i8x16_all_true,
        Operator::I8x16Bitmask => Op::i8x16_bitmask,
        Operator::I16x8AllTrue => Op::i16x8_all_true,
        Operator::I16x8Bitmask => Op::i16x8_bitmask,
        Operator::I32x4AllTrue => Op::i32x4_all_true,
        Operator::I32x4Bitmask => Op::i32x4_bitmask,
        Operator::I64x2AllTrue => Op::i64x2_all_true,
        Operator::I64x2Bitmask => Op::i64x2_bitmask,
        _ => return None,
    })
}

//! The operators, one by one.

use super::arithmetic::{Forms, Width};
use super::memory_access::{Load, Store};
use super::operands::Operand;
use super::{Lowerer, Unsupported};
use crate::atomics::Atomic;
use crate::context::InstanceContext;
use crate::fuel::Bulk;
use crate::interp::op::Op;
use crate::types::ValType;
use wasmparser::Operator;

impl Lowerer<'_> {
    /// Lowers one operator.
    pub(super) fn operator(
        &mut self,
        point: u32,
        operator: &Operator<'_>,
    ) -> Result<(), Unsupported> {
        if let Some(depth) = &mut self.unreachable {
            match operator {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Try { .. }
                | Operator::TryTable { .. } => *depth += 1,
                Operator::Else => self.else_(),
                Operator::Catch { tag_index } => self.catch(Some(*tag_index), point),
                Operator::CatchAll => self.catch(None, point),
                Operator::Delegate { relative_depth } => self.delegate(*relative_depth, point),
                Operator::End => self.end(point),
                _ => {}
            }
            return Ok(());
        }
        match *operator {
            Operator::Nop => {}
            Operator::Unreachable => {
                self.code.op(Op::unreachable);
                self.unreachable = Some(0);
            }
            Operator::Block { blockty } => self.block(blockty),
            Operator::Loop { blockty } => self.loop_(blockty, point),
            Operator::If { blockty } => self.if_(blockty),
            Operator::Else => self.else_(),
            Operator::End => self.end(point),
            Operator::TryTable { ref try_table } => self.try_table(try_table, point),
            Operator::Try { blockty } => self.try_(blockty, point),
            Operator::Catch { tag_index } => self.catch(Some(tag_index), point),
            Operator::CatchAll => self.catch(None, point),
            Operator::Delegate { relative_depth } => self.delegate(relative_depth, point),
            Operator::Throw { tag_index } => self.throw(tag_index, point),
            Operator::ThrowRef => self.throw_ref(point),
            Operator::Rethrow { relative_depth } => self.rethrow(relative_depth, point),
            Operator::Br { relative_depth } => self.br(relative_depth),
            Operator::BrIf { relative_depth } => self.br_if(relative_depth),
            Operator::BrTable { ref targets } => self.br_table(targets),
            Operator::BrOnNull { relative_depth } => self.br_on_null(relative_depth),
            Operator::BrOnNonNull { relative_depth } => self.br_on_non_null(relative_depth),
            Operator::Return => self.return_(),
            Operator::Call { function_index } => self.call(function_index, point),
            Operator::CallIndirect { type_index, table_index } => {
                self.call_indirect(type_index, table_index, point)
            }
            Operator::CallRef { type_index } => self.call_ref(type_index, point),
            Operator::ReturnCall { function_index } => self.return_call(function_index),
            Operator::ReturnCallIndirect { type_index, table_index } => {
                self.return_call_indirect(type_index, table_index)
            }
            Operator::ReturnCallRef { type_index } => self.return_call_ref(type_index),

            Operator::Drop => {
                if self.stack.is_top_vector() {
                    self.pop();
                }
                self.pop();
            }
            Operator::Select | Operator::TypedSelect { .. } => self.select(),
            Operator::LocalGet { local_index } => {
                self.get_local(local_index);
            }
            Operator::LocalSet { local_index } => self.set_local(local_index),
            Operator::LocalTee { local_index } => {
                self.set_local(local_index);
                self.get_local(local_index);
            }
            Operator::GlobalGet { global_index } if self.is_vector_global(global_index) => {
                let dst = self.push_vector_temp();
                self.code.op(Op::v128_global_get).slot(dst).uint(global_index);
            }
            Operator::GlobalSet { global_index } if self.is_vector_global(global_index) => {
                let value = self.pop_vector();
                self.code.op(Op::v128_global_set).slot(value).uint(global_index);
            }
            Operator::GlobalGet { global_index } => {
                let (own, at) = self.global(global_index);
                let op = if own { Op::global_get_own } else { Op::global_get };
                let dst = self.push_temp();
                self.code.op(op).slot(dst).uint(at);
            }
            Operator::GlobalSet { global_index } => {
                let (own, at) = self.global(global_index);
                let op = if own { Op::global_set_own } else { Op::global_set };
                let value = self.pop_slot();
                self.code.op(op).slot(value).uint(at);
            }

            Operator::I32Const { value } => self.constant(u64::from(value as u32)),
            Operator::I64Const { value } => self.constant(value as u64),
            Operator::F32Const { value } => self.constant(u64::from(value.bits())),
            Operator::F64Const { value } => self.constant(value.bits()),
            Operator::RefNull { .. } => self.constant(0),
            Operator::RefIsNull => self.unary(Op::ref_is_null),
            Operator::RefAsNonNull => {
                let (operand, temp) = self.pop();
                let slot = self.slot_of(operand, temp);
                self.code.op(Op::ref_as_non_null).slot(slot);
                self.stack.push(operand);
            }
            Operator::RefFunc { function_index } => {
                let dst = self.push_temp();
                self.code.op(Op::ref_func).slot(dst).uint(function_index);
            }

            Operator::MemorySize { mem } => {
                let dst = self.push_temp();
                let ty = self.env.memories[mem as usize];
                if ty.is_guarded() {
                    self.code.op(Op::memory_size).slot(dst).uint(mem);
                } else {
                    let shift = ty.page_size_log2.into();
                    self.code.op(Op::memory_size_of).slot(dst).uint(mem).uint(shift);
                }
            }
            Operator::MemoryGrow { mem } => {
                let delta = self.pop_slot();
                let dst = self.push_temp();
                self.code.op(Op::memory_grow).slot(dst).slot(delta).uint(mem);
            }
            Operator::MemoryFill { mem } => self.bulk(Bulk::Bytes, Op::memory_fill, mem, None),
            Operator::MemoryCopy { dst_mem, src_mem } => {
                self.bulk(Bulk::Bytes, Op::memory_copy, dst_mem, Some(src_mem));
            }
            Operator::MemoryInit { data_index, mem } => {
                self.bulk(Bulk::Bytes, Op::memory_init, mem, Some(data_index));
            }
            Operator::DataDrop { data_index } => {
                self.code.op(Op::data_drop).uint(data_index);
            }
            Operator::TableGet { table } => {
                let index = self.pop_slot();
                let dst = self.push_temp();
                self.code.op(Op::table_get).slot(dst).slot(index).uint(table);
            }
            Operator::TableSet { table } => {
                let value = self.pop_slot();
                let index = self.pop_slot();
                self.code.op(Op::table_set).slot(index).slot(value).uint(table);
            }
            Operator::TableSize { table } => {
                let dst = self.push_temp();
                self.code.op(Op::table_size).slot(dst).uint(table);
            }
            Operator::TableGrow { table } => {
                let delta = self.pop_slot();
                let value = self.pop_slot();
                let dst = self.push_temp();
                self.code.op(Op::table_grow).slot(dst).slot(value).slot(delta).uint(table);
            }
            Operator::TableFill { table } => self.bulk(Bulk::Elements, Op::table_fill, table, None),
            Operator::TableCopy { dst_table, src_table } => {
                self.bulk(Bulk::Elements, Op::table_copy, dst_table, Some(src_table))
            }
            Operator::TableInit { elem_index, table } => {
                self.bulk(Bulk::Elements, Op::table_init, table, Some(elem_index));
            }
            Operator::ElemDrop { elem_index } => {
                self.code.op(Op::elem_drop).uint(elem_index);
            }

            Operator::I32Load { memarg }
            | Operator::F32Load { memarg }
            | Operator::I64Load32U { memarg } => {
                self.load(Load::BITS_32, memarg)?;
            }
            Operator::I64Load { memarg } | Operator::F64Load { memarg } => {
                self.load(Load::BITS_64, memarg)?;
            }
            Operator::I32Load8S { memarg } => {
                self.load(Load::I32_8_S, memarg)?;
            }
            Operator::I32Load8U { memarg } | Operator::I64Load8U { memarg } => {
                self.load(Load::BITS_8_U, memarg)?;
            }
            Operator::I32Load16S { memarg } => {
                self.load(Load::I32_16_S, memarg)?;
            }
            Operator::I32Load16U { memarg } | Operator::I64Load16U { memarg } => {
                self.load(Load::BITS_16_U, memarg)?;
            }
            Operator::I64Load8S { memarg } => {
                self.load(Load::I64_8_S, memarg)?;
            }
            Operator::I64Load16S { memarg } => {
                self.load(Load::I64_16_S, memarg)?;
            }
            Operator::I64Load32S { memarg } => {
                self.load(Load::I64_32_S, memarg)?;
            }
            Operator::I32Store { memarg }
            | Operator::F32Store { memarg }
            | Operator::I64Store32 { memarg } => {
                self.store(Store::BITS_32, memarg)?;
            }
            Operator::I64Store { memarg } | Operator::F64Store { memarg } => {
                self.store(Store::BITS_64, memarg)?;
            }
            Operator::I32Store8 { memarg } | Operator::I64Store8 { memarg } => {
                self.store(Store::BITS_8, memarg)?;
            }
            Operator::I32Store16 { memarg } | Operator::I64Store16 { memarg } => {
                self.store(Store::BITS_16, memarg)?;
            }

            Operator::I32Add => self.add(Forms {
                ss: Op::i32_add_ss,
                si: Op::i32_add_si,
                swapped: Some((Op::i32_add_ss, Op::i32_add_si)),
                width: Width::W32,
            }),
            Operator::I32Sub => self.binary(Forms {
                ss: Op::i32_sub_ss,
                si: Op::i32_sub_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32Mul => self.binary(Forms {
                ss: Op::i32_mul_ss,
                si: Op::i32_mul_si,
                swapped: Some((Op::i32_mul_ss, Op::i32_mul_si)),
                width: Width::W32,
            }),
            Operator::I32And => self.and(Forms {
                ss: Op::i32_and_ss,
                si: Op::i32_and_si,
                swapped: Some((Op::i32_and_ss, Op::i32_and_si)),
                width: Width::W32,
            }),
            Operator::I32Or => self.binary(Forms {
                ss: Op::i32_or_ss,
                si: Op::i32_or_si,
                swapped: Some((Op::i32_or_ss, Op::i32_or_si)),
                width: Width::W32,
            }),
            Operator::I32Xor => self.binary(Forms {
                ss: Op::i32_xor_ss,
                si: Op::i32_xor_si,
                swapped: Some((Op::i32_xor_ss, Op::i32_xor_si)),
                width: Width::W32,
            }),
            Operator::I32Shl => self.binary(Forms {
                ss: Op::i32_shl_ss,
                si: Op::i32_shl_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32ShrS => self.binary(Forms {
                ss: Op::i32_shr_s_ss,
                si: Op::i32_shr_s_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32ShrU => self.binary(Forms {
                ss: Op::i32_shr_u_ss,
                si: Op::i32_shr_u_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32Rotl => self.binary(Forms {
                ss: Op::i32_rotl_ss,
                si: Op::i32_rotl_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32Rotr => self.binary(Forms {
                ss: Op::i32_rotr_ss,
                si: Op::i32_rotr_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32DivS => self.binary(Forms {
                ss: Op::i32_div_s_ss,
                si: Op::i32_div_s_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32DivU => self.binary(Forms {
                ss: Op::i32_div_u_ss,
                si: Op::i32_div_u_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32RemS => self.binary(Forms {
                ss: Op::i32_rem_s_ss,
                si: Op::i32_rem_s_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32RemU => self.binary(Forms {
                ss: Op::i32_rem_u_ss,
                si: Op::i32_rem_u_si,
                swapped: None,
                width: Width::W32,
            }),
            Operator::I32Eq => self.binary(Forms {
                ss: Op::i32_eq_ss,
                si: Op::i32_eq_si,
                swapped: Some((Op::i32_eq_ss, Op::i32_eq_si)),
                width: Width::W32,
            }),
            Operator::I32Ne => self.binary(Forms {
                ss: Op::i32_ne_ss,
                si: Op::i32_ne_si,
                swapped: Some((Op::i32_ne_ss, Op::i32_ne_si)),
                width: Width::W32,
            }),
            Operator::I32LtS => self.binary(Forms {
                ss: Op::i32_lt_s_ss,
                si: Op::i32_lt_s_si,
                swapped: Some((Op::i32_lt_s_ss, Op::i32_gt_s_si)),
                width: Width::W32,
            }),
            Operator::I32LtU => self.binary(Forms {
                ss: Op::i32_lt_u_ss,
                si: Op::i32_lt_u_si,
                swapped: Some((Op::i32_lt_u_ss, Op::i32_gt_u_si)),
                width: Width::W32,
            }),
            Operator::I32LeS => self.binary(Forms {
                ss: Op::i32_le_s_ss,
                si: Op::i32_le_s_si,
                swapped: Some((Op::i32_le_s_ss, Op::i32_ge_s_si)),
                width: Width::W32,
            }),
            Operator::I32LeU => self.binary(Forms {
                ss: Op::i32_le_u_ss,
                si: Op::i32_le_u_si,
                swapped: Some((Op::i32_le_u_ss, Op::i32_ge_u_si)),
                width: Width::W32,
            }),
            Operator::I32GtS => self.compare_swapped(
                Forms {
                    ss: Op::i32_lt_s_ss,
                    si: Op::i32_lt_s_si,
                    swapped: None,
                    width: Width::W32,
                },
                Op::i32_gt_s_si,
            ),
            Operator::I32GtU => self.compare_swapped(
                Forms {
                    ss: Op::i32_lt_u_ss,
                    si: Op::i32_lt_u_si,
                    swapped: None,
                    width: Width::W32,
                },
                Op::i32_gt_u_si,
            ),
            Operator::I32GeS => self.compare_swapped(
                Forms {
                    ss: Op::i32_le_s_ss,
                    si: Op::i32_le_s_si,
                    swapped: None,
                    width: Width::W32,
                },
                Op::i32_ge_s_si,
            ),
            Operator::I32GeU => self.compare_swapped(
                Forms {
                    ss: Op::i32_le_u_ss,
                    si: Op::i32_le_u_si,
                    swapped: None,
                    width: Width::W32,
                },
                Op::i32_ge_u_si,
            ),
            Operator::I32Eqz => self.eqz(Op::i32_eq_si),
            Operator::I32Clz => self.unary(Op::i32_clz),
            Operator::I32Ctz => self.unary(Op::i32_ctz),
            Operator::I32Popcnt => self.unary(Op::i32_popcnt),
            Operator::I32Extend8S => self.unary(Op::i32_extend8_s),
            Operator::I32Extend16S => self.unary(Op::i32_extend16_s),
            Operator::I64Add => self.binary(Forms {
                ss: Op::i64_add_ss,
                si: Op::i64_add_si,
                swapped: Some((Op::i64_add_ss, Op::i64_add_si)),
                width: Width::W64,
            }),
            Operator::I64Sub => self.binary(Forms {
                ss: Op::i64_sub_ss,
                si: Op::i64_sub_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64Mul => self.binary(Forms {
                ss: Op::i64_mul_ss,
                si: Op::i64_mul_si,
                swapped: Some((Op::i64_mul_ss, Op::i64_mul_si)),
                width: Width::W64,
            }),
            Operator::I64And => self.binary(Forms {
                ss: Op::i64_and_ss,
                si: Op::i64_and_si,
                swapped: Some((Op::i64_and_ss, Op::i64_and_si)),
                width: Width::W64,
            }),
            Operator::I64Or => self.binary(Forms {
                ss: Op::i64_or_ss,
                si: Op::i64_or_si,
                swapped: Some((Op::i64_or_ss, Op::i64_or_si)),
                width: Width::W64,
            }),
            Operator::I64Xor => self.binary(Forms {
                ss: Op::i64_xor_ss,
                si: Op::i64_xor_si,
                swapped: Some((Op::i64_xor_ss, Op::i64_xor_si)),
                width: Width::W64,
            }),
            Operator::I64Shl => self.binary(Forms {
                ss: Op::i64_shl_ss,
                si: Op::i64_shl_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64ShrS => self.binary(Forms {
                ss: Op::i64_shr_s_ss,
                si: Op::i64_shr_s_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64ShrU => self.binary(Forms {
                ss: Op::i64_shr_u_ss,
                si: Op::i64_shr_u_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64Rotl => self.binary(Forms {
                ss: Op::i64_rotl_ss,
                si: Op::i64_rotl_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64Rotr => self.binary(Forms {
                ss: Op::i64_rotr_ss,
                si: Op::i64_rotr_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64DivS => self.binary(Forms {
                ss: Op::i64_div_s_ss,
                si: Op::i64_div_s_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64DivU => self.binary(Forms {
                ss: Op::i64_div_u_ss,
                si: Op::i64_div_u_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64RemS => self.binary(Forms {
                ss: Op::i64_rem_s_ss,
                si: Op::i64_rem_s_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64RemU => self.binary(Forms {
                ss: Op::i64_rem_u_ss,
                si: Op::i64_rem_u_si,
                swapped: None,
                width: Width::W64,
            }),
            Operator::I64Eq => self.binary(Forms {
                ss: Op::i64_eq_ss,
                si: Op::i64_eq_si,
                swapped: Some((Op::i64_eq_ss, Op::i64_eq_si)),
                width: Width::W64,
            }),
            Operator::I64Ne => self.binary(Forms {
                ss: Op::i64_ne_ss,
                si: Op::i64_ne_si,
                swapped: Some((Op::i64_ne_ss, Op::i64_ne_si)),
                width: Width::W64,
            }),
            Operator::I64LtS => self.binary(Forms {
                ss: Op::i64_lt_s_ss,
                si: Op::i64_lt_s_si,
                swapped: Some((Op::i64_lt_s_ss, Op::i64_gt_s_si)),
                width: Width::W64,
            }),
            Operator::I64LtU => self.binary(Forms {
                ss: Op::i64_lt_u_ss,
                si: Op::i64_lt_u_si,
                swapped: Some((Op::i64_lt_u_ss, Op::i64_gt_u_si)),
                width: Width::W64,
            }),
            Operator::I64LeS => self.binary(Forms {
                ss: Op::i64_le_s_ss,
                si: Op::i64_le_s_si,
                swapped: Some((Op::i64_le_s_ss, Op::i64_ge_s_si)),
                width: Width::W64,
            }),
            Operator::I64LeU => self.binary(Forms {
                ss: Op::i64_le_u_ss,
                si: Op::i64_le_u_si,
                swapped: Some((Op::i64_le_u_ss, Op::i64_ge_u_si)),
                width: Width::W64,
            }),
            Operator::I64GtS => self.compare_swapped(
                Forms {
                    ss: Op::i64_lt_s_ss,
                    si: Op::i64_lt_s_si,
                    swapped: None,
                    width: Width::W64,
                },
                Op::i64_gt_s_si,
            ),
            Operator::I64GtU => self.compare_swapped(
                Forms {
                    ss: Op::i64_lt_u_ss,
                    si: Op::i64_lt_u_si,
                    swapped: None,
                    width: Width::W64,
                },
                Op::i64_gt_u_si,
            ),
            Operator::I64GeS => self.compare_swapped(
                Forms {
                    ss: Op::i64_le_s_ss,
                    si: Op::i64_le_s_si,
                    swapped: None,
                    width: Width::W64,
                },
                Op::i64_ge_s_si,
            ),
            Operator::I64GeU => self.compare_swapped(
                Forms {
                    ss: Op::i64_le_u_ss,
                    si: Op::i64_le_u_si,
                    swapped: None,
                    width: Width::W64,
                },
                Op::i64_ge_u_si,
            ),
            Operator::I64Eqz => self.eqz(Op::i64_eq_si),
            Operator::I64Clz => self.unary(Op::i64_clz),
            Operator::I64Ctz => self.unary(Op::i64_ctz),
            Operator::I64Popcnt => self.unary(Op::i64_popcnt),
            Operator::I64Extend8S => self.unary(Op::i64_extend8_s),
            Operator::I64Extend16S => self.unary(Op::i64_extend16_s),
            Operator::I64Extend32S | Operator::I64ExtendI32S => self.unary(Op::i64_extend32_s),
            Operator::I32WrapI64 => self.wrap(),
            // The bits in the slot are the same before and after.
            Operator::I64ExtendI32U
            | Operator::I32ReinterpretF32
            | Operator::I64ReinterpretF64
            | Operator::F32ReinterpretI32
            | Operator::F64ReinterpretI64 => {}

            Operator::F32Add => {
                self.float_arithmetic(Op::f32_add_ss, Op::f32_add_si, Op::f32_add_is)
            }
            Operator::F32Sub => {
                self.float_arithmetic(Op::f32_sub_ss, Op::f32_sub_si, Op::f32_sub_is)
            }
            Operator::F32Mul => {
                self.float_arithmetic(Op::f32_mul_ss, Op::f32_mul_si, Op::f32_mul_is)
            }
            Operator::F32Div => {
                self.float_arithmetic(Op::f32_div_ss, Op::f32_div_si, Op::f32_div_is)
            }
            Operator::F32Min => self.binary_slots(Op::f32_min_ss, false),
            Operator::F32Max => self.binary_slots(Op::f32_max_ss, false),
            Operator::F32Copysign => self.binary_slots(Op::f32_copysign_ss, false),
            Operator::F32Eq => self.binary_slots(Op::f32_eq_ss, false),
            Operator::F32Ne => self.binary_slots(Op::f32_ne_ss, false),
            Operator::F32Lt => self.binary_slots(Op::f32_lt_ss, false),
            Operator::F32Le => self.binary_slots(Op::f32_le_ss, false),
            Operator::F32Gt => self.binary_slots(Op::f32_lt_ss, true),
            Operator::F32Ge => self.binary_slots(Op::f32_le_ss, true),
            Operator::F32Abs => self.unary(Op::f32_abs),
            Operator::F32Neg => self.unary(Op::f32_neg),
            Operator::F32Ceil => self.unary(Op::f32_ceil),
            Operator::F32Floor => self.unary(Op::f32_floor),
            Operator::F32Trunc => self.unary(Op::f32_trunc),
            Operator::F32Nearest => self.unary(Op::f32_nearest),
            Operator::F32Sqrt => self.unary(Op::f32_sqrt),
            Operator::F64Add => {
                self.float_arithmetic(Op::f64_add_ss, Op::f64_add_si, Op::f64_add_is)
            }
            Operator::F64Sub => {
                self.float_arithmetic(Op::f64_sub_ss, Op::f64_sub_si, Op::f64_sub_is)
            }
            Operator::F64Mul => {
                self.float_arithmetic(Op::f64_mul_ss, Op::f64_mul_si, Op::f64_mul_is)
            }
            Operator::F64Div => {
                self.float_arithmetic(Op::f64_div_ss, Op::f64_div_si, Op::f64_div_is)
            }
            Operator::F64Min => self.binary_slots(Op::f64_min_ss, false),
            Operator::F64Max => self.binary_slots(Op::f64_max_ss, false),
            Operator::F64Copysign => self.binary_slots(Op::f64_copysign_ss, false),
            Operator::F64Eq => self.binary_slots(Op::f64_eq_ss, false),
            Operator::F64Ne => self.binary_slots(Op::f64_ne_ss, false),
            Operator::F64Lt => self.binary_slots(Op::f64_lt_ss, false),
            Operator::F64Le => self.binary_slots(Op::f64_le_ss, false),
            Operator::F64Gt => self.binary_slots(Op::f64_lt_ss, true),
            Operator::F64Ge => self.binary_slots(Op::f64_le_ss, true),
            Operator::F64Abs => self.unary(Op::f64_abs),
            Operator::F64Neg => self.unary(Op::f64_neg),
            Operator::F64Ceil => self.unary(Op::f64_ceil),
            Operator::F64Floor => self.unary(Op::f64_floor),
            Operator::F64Trunc => self.unary(Op::f64_trunc),
            Operator::F64Nearest => self.unary(Op::f64_nearest),
            Operator::F64Sqrt => self.unary(Op::f64_sqrt),
            Operator::F32ConvertI32S => self.unary(Op::f32_convert_i32_s),
            Operator::F32ConvertI32U => self.unary(Op::f32_convert_i32_u),
            Operator::F32ConvertI64S => self.unary(Op::f32_convert_i64_s),
            Operator::F32ConvertI64U => self.unary(Op::f32_convert_i64_u),
            Operator::F32DemoteF64 => self.unary(Op::f32_demote_f64),
            Operator::F64ConvertI32S => self.unary(Op::f64_convert_i32_s),
            Operator::F64ConvertI32U => self.unary(Op::f64_convert_i32_u),
            Operator::F64ConvertI64S => self.unary(Op::f64_convert_i64_s),
            Operator::F64ConvertI64U => self.unary(Op::f64_convert_i64_u),
            Operator::F64PromoteF32 => self.unary(Op::f64_promote_f32),
            Operator::I32TruncF32S => self.unary(Op::i32_trunc_f32_s),
            Operator::I32TruncF32U => self.unary(Op::i32_trunc_f32_u),
            Operator::I32TruncF64S => self.unary(Op::i32_trunc_f64_s),
            Operator::I32TruncF64U => self.unary(Op::i32_trunc_f64_u),
            Operator::I32TruncSatF32S => self.unary(Op::i32_trunc_sat_f32_s),
            Operator::I32TruncSatF32U => self.unary(Op::i32_trunc_sat_f32_u),
            Operator::I32TruncSatF64S => self.unary(Op::i32_trunc_sat_f64_s),
            Operator::I32TruncSatF64U => self.unary(Op::i32_trunc_sat_f64_u),
            Operator::I64TruncF32S => self.unary(Op::i64_trunc_f32_s),
            Operator::I64TruncF32U => self.unary(Op::i64_trunc_f32_u),
            Operator::I64TruncF64S => self.unary(Op::i64_trunc_f64_s),
            Operator::I64TruncF64U => self.unary(Op::i64_trunc_f64_u),
            Operator::I64TruncSatF32S => self.unary(Op::i64_trunc_sat_f32_s),
            Operator::I64TruncSatF32U => self.unary(Op::i64_trunc_sat_f32_u),
            Operator::I64TruncSatF64S => self.unary(Op::i64_trunc_sat_f64_s),
            Operator::I64TruncSatF64U => self.unary(Op::i64_trunc_sat_f64_u),
            Operator::I64Add128 => self.wide_sum(Op::i64_add_carries, Op::i64_add3, Op::i64_add_ss),
            Operator::I64Sub128 => self.wide_sum(Op::i64_lt_u_ss, Op::i64_sub3, Op::i64_sub_ss),
            Operator::I64MulWideS => self.wide_product(Op::i64_mul_high_s),
            Operator::I64MulWideU => self.wide_product(Op::i64_mul_high_u),
            Operator::AtomicFence { .. } => {
                self.code.op(Op::atomic_fence);
            }
            _ => {
                return match Atomic::of(operator) {
                    Some(atomic) => self.atomic(atomic, point),
                    None => self.vector_operator(operator),
                };
            }
        }
        Ok(())
    }

    /// `local.get`.
    pub(super) fn get_local(&mut self, local: u32) {
        let first = self.local_slots.first(local);
        if self.local_slots.is_vector(local) {
            self.stack.push_vector(Operand::Local(first), Operand::Local(first + 1));
        } else {
            self.stack.push(Operand::Local(first));
        }
    }

    fn is_vector_global(&self, global: u32) -> bool {
        self.env.globals[global as usize].content == ValType::V128
    }

    fn constant(&mut self, bits: u64) {
        self.stack.push(Operand::Const(bits));
    }

    /// Whether a global lies behind the instance's context, and its offset there or else its index.
    fn global(&self, index: u32) -> (bool, u32) {
        match index.checked_sub(self.env.imported_globals) {
            Some(own) => (true, InstanceContext::global_offset(own) as u32),
            None => (false, index),
        }
    }

    fn select(&mut self) {
        let condition = self.pop_slot();
        if self.stack.is_top_vector() {
            let b = self.pop_vector();
            let a = self.pop_vector();
            let dst = self.push_vector_temp();
            self.code.op(Op::v128_select).slot(dst).slot(condition).slot(a).slot(b);
            return;
        }
        let b = self.pop_slot();
        let a = self.pop_slot();
        let dst = self.push_temp();
        self.code.op(Op::select).slot(dst).slot(condition).slot(a).slot(b);
    }

    /// A sum or difference of numbers of 128 bits: what the lower halves carry goes into the upper one of the result.
    fn wide_sum(&mut self, carry: Op, upper: Op, lower: Op) {
        let (b_upper, b_lower) = (self.pop_slot(), self.pop_slot());
        let (a_upper, a_lower) = (self.pop_slot(), self.pop_slot());
        let (dst_lower, dst_upper) = (self.push_temp(), self.push_temp());
        // Behind the operands, of which none is overwritten before it has been read.
        let height = self.stack.height();
        let [.., carried] = [(); 3].map(|()| self.push_temp());
        self.stack.truncate(height);
        self.code.op(carry).slot(carried).slot(a_lower).slot(b_lower);
        self.code.op(upper).slot(dst_upper).slot(a_upper).slot(b_upper).slot(carried);
        self.code.op(lower).slot(dst_lower).slot(a_lower).slot(b_lower);
    }

    /// The product of two numbers of 64 bits, with 128.
    fn wide_product(&mut self, upper: Op) {
        let (b, a) = (self.pop_slot(), self.pop_slot());
        let (dst_lower, dst_upper) = (self.push_temp(), self.push_temp());
        // As above.
        let height = self.stack.height();
        let high = self.push_temp();
        self.stack.truncate(height);
        self.code.op(upper).slot(high).slot(a).slot(b);
        self.code.op(Op::i64_mul_ss).slot(dst_lower).slot(a).slot(b);
        self.emit_copy_slot(dst_upper, high);
    }

    fn wrap(&mut self) {
        let (operand, temp) = self.pop();
        if let Operand::Const(bits) = operand {
            return self.constant(bits & 0xffff_ffff);
        }
        let slot = self.slot_of(operand, temp);
        let dst = self.push_temp();
        self.code.op(Op::i32_wrap_i64).slot(dst).slot(slot);
    }

    /// An operator on three operands, the last of which is a length, and one or two indices.
    fn bulk(&mut self, what: Bulk, op: Op, first: u32, second: Option<u32>) {
        let c = self.pop_slot();
        let b = self.pop_slot();
        let a = self.pop_slot();
        if self.env.consume_fuel {
            self.code.op(Op::fuel_for_length).slot(c).uint(what.shift());
        }
        self.code.op(op).slot(a).slot(b).slot(c).uint(first);
        if let Some(second) = second {
            self.code.uint(second);
        }
    }
}

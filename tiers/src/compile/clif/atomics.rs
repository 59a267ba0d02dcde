//! The operators of threads.
//!
//! An address is checked for alignment first, then for the memory's end, which in guarded memories the access itself does.

use super::memory::accessed_memory;
use super::operand_stack::clif_type;
use super::runtime::{element_offset, load_constant};
use super::translator::{TranslateError, Translator};
use crate::atomics::{Atomic, AtomicKind, Modification};
use crate::context::{BuiltinIndex, InstanceContext, WAITS_32, WAITS_64};
use crate::trap::TrapCode;
use crate::types::ValType;
use cranelift_codegen::ir::{
    AbiParam, AtomicRmwOp, BlockArg, BlockCall, ExceptionTableData, InstBuilder, Signature, Type,
    Value, types,
};
use cranelift_codegen::isa::CallConv;
use midair_osr::SiteKind;
use wasmparser::{MemArg, Operator};

impl Translator<'_, '_> {
    /// Translates the operator if it is one of threads; returns whether it is.
    pub(super) fn translate_atomic(
        &mut self,
        operator: &Operator<'_>,
        point: u32,
    ) -> Result<bool, TranslateError> {
        if let Operator::AtomicFence { .. } = operator {
            self.builder.ins().fence();
            return Ok(true);
        }
        let Some(atomic) = Atomic::of(operator) else { return Ok(false) };
        let narrow = match atomic.bytes {
            1 => types::I8,
            2 => types::I16,
            4 => types::I32,
            _ => types::I64,
        };
        match atomic.kind {
            AtomicKind::Load => {
                let address = self.atomic_address(&atomic)?;
                let flags = self.heap_flags();
                let loaded = self.builder.ins().atomic_load(narrow, flags, address);
                self.push_widened(loaded, atomic.ty);
            }
            AtomicKind::Store => {
                let value = self.pop_narrowed(narrow);
                let address = self.atomic_address(&atomic)?;
                let flags = self.heap_flags();
                // One exchange; a store of Cranelift's is followed by a fence, which takes twice as long.
                let exchange = AtomicRmwOp::Xchg;
                self.builder.ins().atomic_rmw(narrow, flags, exchange, address, value);
            }
            AtomicKind::Modify(how) => {
                let value = self.pop_narrowed(narrow);
                let address = self.atomic_address(&atomic)?;
                let flags = self.heap_flags();
                let how = match how {
                    Modification::Add => AtomicRmwOp::Add,
                    Modification::Sub => AtomicRmwOp::Sub,
                    Modification::And => AtomicRmwOp::And,
                    Modification::Or => AtomicRmwOp::Or,
                    Modification::Xor => AtomicRmwOp::Xor,
                    Modification::Exchange => AtomicRmwOp::Xchg,
                };
                let old = self.builder.ins().atomic_rmw(narrow, flags, how, address, value);
                self.push_widened(old, atomic.ty);
            }
            AtomicKind::CompareExchange => {
                let new = self.pop_narrowed(narrow);
                let expected = self.pop_narrowed(narrow);
                let address = self.atomic_address(&atomic)?;
                let flags = self.heap_flags();
                let old = self.builder.ins().atomic_cas(flags, address, expected, new);
                self.push_widened(old, atomic.ty);
            }
            AtomicKind::Notify => {
                let count = self.pop();
                let (memory, at) = self.effective_address(atomic.memarg, atomic.bytes)?;
                let arguments = [memory, at, count];
                let call = self.call_builtin(BuiltinIndex::Notify, &arguments, Some(types::I64));
                let woken = self.builtin_result(call);
                let outside = self.builder.ins().ushr_imm_u(woken, 32);
                self.builder.ins().trapnz(outside, Self::trap_code(TrapCode::MemoryOutOfBounds));
                let woken = self.builder.ins().ireduce(types::I32, woken);
                self.push(woken, ValType::I32);
            }
            AtomicKind::Wait => self.wait(&atomic, point)?,
        }
        Ok(true)
    }

    fn pop_narrowed(&mut self, narrow: Type) -> Value {
        let value = self.pop();
        if self.builder.func.dfg.value_type(value) == narrow {
            return value;
        }
        self.builder.ins().ireduce(narrow, value)
    }

    fn push_widened(&mut self, value: Value, ty: ValType) {
        let wide = clif_type(ty);
        let value = if self.builder.func.dfg.value_type(value) == wide {
            value
        } else {
            self.builder.ins().uextend(wide, value)
        };
        self.push(value, ty);
    }

    /// Traps unless index plus offset are a multiple of so many bytes.
    fn check_alignment(&mut self, index: Value, offset: u64, bytes: u32) {
        if bytes == 1 {
            return;
        }
        let mask = u64::from(bytes) - 1;
        let index = match offset & mask {
            0 => index,
            rest => self.builder.ins().iadd_imm_u(index, rest as i64),
        };
        let rest = self.builder.ins().band_imm_u(index, mask as i64);
        self.builder.ins().trapnz(rest, Self::trap_code(TrapCode::UnalignedAtomic));
    }

    /// Pops an index; returns the address in the host.
    fn atomic_address(&mut self, atomic: &Atomic) -> Result<Value, TranslateError> {
        let index = self.pop_heap_index(atomic.memarg)?;
        self.check_alignment(index, atomic.memarg.offset, atomic.bytes);
        let bytes = atomic.bytes.into();
        let (address, offset) = self.heap_address_at(index, atomic.memarg, bytes)?;
        Ok(match offset {
            0 => address,
            offset => self.builder.ins().iadd_imm_u(address, i64::from(offset)),
        })
    }

    /// Pops an index; returns the memory and the address in it, for a runtime call, which looks where the memory ends.
    fn effective_address(
        &mut self,
        memarg: MemArg,
        bytes: u32,
    ) -> Result<(Value, Value), TranslateError> {
        let index = self.pop_heap_index(memarg)?;
        self.check_alignment(index, memarg.offset, bytes);
        let memory = accessed_memory(memarg)?;
        let offset = self.builder.ins().iconst(types::I64, memarg.offset as i64);
        let outside = Self::trap_code(TrapCode::MemoryOutOfBounds);
        let at = if self.source.env.memories[memory as usize].is_64 {
            self.builder.ins().uadd_overflow_trap(index, offset, outside)
        } else {
            self.builder.ins().iadd(index, offset)
        };
        let memory = self.builder.ins().iconst(types::I32, i64::from(memory));
        Ok((memory, at))
    }

    /// Waits: a call of the runtime at which the frame can be taken, as at calls of functions.
    fn wait(&mut self, atomic: &Atomic, point: u32) -> Result<(), TranslateError> {
        let timeout = self.pop();
        let expected = self.pop();
        let is_64 = atomic.bytes == 8;
        let expected =
            if is_64 { expected } else { self.builder.ins().uextend(types::I64, expected) };
        let (memory, at) = self.effective_address(atomic.memarg, atomic.bytes)?;
        let kind = i64::from(if is_64 { WAITS_64 } else { WAITS_32 });
        let kind = self.builder.ins().iconst(types::I32, kind);
        let mut signature = Signature::new(CallConv::SystemV);
        let params = [types::I64, types::I32, types::I32, types::I64, types::I64, types::I64];
        signature.params.extend(params.map(AbiParam::new));
        signature.returns.push(AbiParam::new(types::I32));
        let signature = self.builder.import_signature(signature);
        let builtins = self.runtime.context_field(&mut self.builder, InstanceContext::BUILTINS);
        let entry = element_offset(BuiltinIndex::RequestEntry as u32, 8);
        let code = load_constant(&mut self.builder, types::I64, builtins, entry);
        let state = self.frame_state(point);
        let next = self.builder.create_block();
        let result = self.builder.append_block_param(next, types::I32);
        let dfg = &mut self.builder.func.dfg;
        let normal_return = BlockCall::new(next, [BlockArg::TryCallRet(0)], &mut dfg.value_lists);
        // The items are filled in when the frame states are resolved.
        let table = ExceptionTableData::new(signature, normal_return, []);
        let table = dfg.exception_tables.push(table);
        let arguments = [self.runtime.context, kind, memory, at, expected, timeout];
        let call = self.builder.ins().try_call_indirect(code, &arguments, table);
        self.states.push(SiteKind::Call, point, call, state)?;
        self.builder.seal_block(next);
        self.builder.switch_to_block(next);
        self.push(result, ValType::I32);
        Ok(())
    }
}

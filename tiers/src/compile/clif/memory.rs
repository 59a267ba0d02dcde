//! Memories, tables, globals, references, fuel.

use super::operand_stack::clif_type;
use super::runtime::{self, Region, load, load_constant, store};
use super::translator::{TranslateError, Translator};
use crate::context::{BuiltinIndex, GROW_TRAPS, InstanceContext};
use crate::fuel::Bulk;
use crate::trap::TrapCode;
use crate::types::{HeapType, RefType, ValType};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Opcode, Type, Value, types};
use wasmparser::{MemArg, MemArgTarget, Operator};

impl Translator<'_, '_> {
    /// Translates the operator if it works on the store; returns whether it does.
    pub(super) fn translate_memory(
        &mut self,
        operator: &Operator<'_>,
    ) -> Result<bool, TranslateError> {
        use Opcode::{
            Istore8, Istore16, Istore32, Load, Sload8, Sload16, Sload32, Store, Uload8, Uload16,
            Uload32,
        };
        match *operator {
            Operator::I32Load { memarg } => self.heap_load(memarg, Load, ValType::I32)?,
            Operator::I64Load { memarg } => self.heap_load(memarg, Load, ValType::I64)?,
            Operator::F32Load { memarg } => self.heap_load(memarg, Load, ValType::F32)?,
            Operator::F64Load { memarg } => self.heap_load(memarg, Load, ValType::F64)?,
            Operator::I32Load8S { memarg } => self.heap_load(memarg, Sload8, ValType::I32)?,
            Operator::I32Load8U { memarg } => self.heap_load(memarg, Uload8, ValType::I32)?,
            Operator::I32Load16S { memarg } => self.heap_load(memarg, Sload16, ValType::I32)?,
            Operator::I32Load16U { memarg } => self.heap_load(memarg, Uload16, ValType::I32)?,
            Operator::I64Load8S { memarg } => self.heap_load(memarg, Sload8, ValType::I64)?,
            Operator::I64Load8U { memarg } => self.heap_load(memarg, Uload8, ValType::I64)?,
            Operator::I64Load16S { memarg } => self.heap_load(memarg, Sload16, ValType::I64)?,
            Operator::I64Load16U { memarg } => self.heap_load(memarg, Uload16, ValType::I64)?,
            Operator::I64Load32S { memarg } => self.heap_load(memarg, Sload32, ValType::I64)?,
            Operator::I64Load32U { memarg } => self.heap_load(memarg, Uload32, ValType::I64)?,
            Operator::I32Store { memarg }
            | Operator::I64Store { memarg }
            | Operator::F32Store { memarg }
            | Operator::F64Store { memarg } => self.heap_store(memarg, Store)?,
            Operator::I32Store8 { memarg } | Operator::I64Store8 { memarg } => {
                self.heap_store(memarg, Istore8)?
            }
            Operator::I32Store16 { memarg } | Operator::I64Store16 { memarg } => {
                self.heap_store(memarg, Istore16)?
            }
            Operator::I64Store32 { memarg } => self.heap_store(memarg, Istore32)?,

            Operator::MemorySize { mem } => {
                let ty = self.source.env.memories[mem as usize];
                let len = self.runtime.memory_len(&mut self.builder, mem);
                let pages = self.builder.ins().ushr_imm_u(len, i64::from(ty.page_size_log2));
                self.push_index(pages, ty.is_64);
            }
            Operator::MemoryGrow { mem } => {
                let is_64 = self.memory_is_64(mem);
                let delta = self.pop_index(is_64);
                let memory = self.index(mem);
                let arguments = [memory, delta];
                self.grow(BuiltinIndex::MemoryGrow, &arguments, is_64);
            }
            Operator::MemoryFill { mem } => {
                let is_64 = self.memory_is_64(mem);
                let len = self.pop_index(is_64);
                let value = self.pop();
                let dst = self.pop_index(is_64);
                let memory = self.index(mem);
                self.bulk_memory(BuiltinIndex::MemoryFill, &[memory, dst, value, len], is_64);
            }
            Operator::MemoryCopy { dst_mem, src_mem } => {
                let (to, from) = (self.memory_is_64(dst_mem), self.memory_is_64(src_mem));
                let (dst, src, len) = self.pop_range(to, from);
                let long = to && from;
                let (to, from) = (self.index(dst_mem), self.index(src_mem));
                self.bulk_memory(BuiltinIndex::MemoryCopy, &[to, from, dst, src, len], long);
            }
            Operator::MemoryInit { data_index, mem } => {
                let (dst, src, len) = self.pop_range(self.memory_is_64(mem), false);
                let (memory, segment) = (self.index(mem), self.index(data_index));
                let arguments = [memory, segment, dst, src, len];
                self.bulk_memory(BuiltinIndex::MemoryInit, &arguments, false);
            }
            Operator::DataDrop { data_index } => {
                let segment = self.index(data_index);
                self.call_builtin(BuiltinIndex::DataDrop, &[segment], None);
            }

            Operator::TableGet { table } => {
                let index = self.pop();
                let address = self.table_element_address(table, index);
                let value = load(&mut self.builder, types::I64, Region::Tables, address, 0);
                self.push(value, self.source.env.tables[table as usize].element);
            }
            Operator::TableSet { table } => {
                let (index, value) = self.pop2();
                let address = self.table_element_address(table, index);
                store(&mut self.builder, Region::Tables, value, address, 0);
            }
            Operator::TableSize { table } => {
                let len = self.table_len(table);
                self.push_index(len, self.table_is_64(table));
            }
            Operator::TableGrow { table } => {
                let is_64 = self.table_is_64(table);
                let delta = self.pop_index(is_64);
                let value = self.pop();
                let table = self.index(table);
                self.grow(BuiltinIndex::TableGrow, &[table, value, delta], is_64);
            }
            Operator::TableFill { table } => {
                let is_64 = self.table_is_64(table);
                let len = self.pop_index(is_64);
                let value = self.pop();
                let dst = self.pop_index(is_64);
                let table = self.index(table);
                self.bulk_table(BuiltinIndex::TableFill, &[table, dst, value, len], is_64);
            }
            Operator::TableCopy { dst_table, src_table } => {
                let (to, from) = (self.table_is_64(dst_table), self.table_is_64(src_table));
                let (dst, src, len) = self.pop_range(to, from);
                let long = to && from;
                let (to, from) = (self.index(dst_table), self.index(src_table));
                self.bulk_table(BuiltinIndex::TableCopy, &[to, from, dst, src, len], long);
            }
            Operator::TableInit { elem_index, table } => {
                let (dst, src, len) = self.pop_range(self.table_is_64(table), false);
                let (table, segment) = (self.index(table), self.index(elem_index));
                let arguments = [table, segment, dst, src, len];
                self.bulk_table(BuiltinIndex::TableInit, &arguments, false);
            }
            Operator::ElemDrop { elem_index } => {
                let segment = self.index(elem_index);
                self.call_builtin(BuiltinIndex::ElemDrop, &[segment], None);
            }

            Operator::GlobalGet { global_index } => self.global_get(global_index),
            Operator::GlobalSet { global_index } => self.global_set(global_index),

            Operator::RefNull { hty } => {
                let heap = HeapType::from_wasm(hty, |index| self.source.env.type_id(index));
                let Some(heap) = heap else {
                    return Err(TranslateError::Unsupported(format!("reference type {hty:?}")));
                };
                let null = self.builder.ins().iconst(types::I64, 0);
                self.push(null, RefType::new(true, heap).into());
            }
            Operator::RefIsNull => {
                let value = self.pop();
                let is_null = self.builder.ins().icmp_imm_u(IntCC::Equal, value, 0);
                self.push_bool(is_null);
            }
            Operator::RefAsNonNull => {
                let reference = self.stack.pop(&mut self.builder);
                let null = Self::trap_code(TrapCode::NullReference);
                self.builder.ins().trapz(reference.value, null);
                self.stack.push(&mut self.builder, reference);
            }
            Operator::RefFunc { function_index } => {
                let function = self.index(function_index);
                let call = self.call_builtin(BuiltinIndex::RefFunc, &[function], Some(types::I64));
                self.push(self.builtin_result(call), ValType::FUNCREF);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A module's index as an argument of a runtime call.
    fn index(&mut self, index: u32) -> Value {
        self.builder.ins().iconst(types::I32, i64::from(index))
    }

    fn memory_is_64(&self, memory: u32) -> bool {
        self.source.env.memories[memory as usize].is_64
    }

    fn table_is_64(&self, table: u32) -> bool {
        self.source.env.tables[table as usize].is_64
    }

    /// Pops an address, an index or a length; the answer always has 64 bits.
    fn pop_index(&mut self, is_64: bool) -> Value {
        let value = self.pop();
        if is_64 { value } else { self.builder.ins().uextend(types::I64, value) }
    }

    /// Operands of copies: destination, source, length. `to` and `from`: whether those have indices of 64 bits; the
    /// length has if both have.
    fn pop_range(&mut self, to: bool, from: bool) -> (Value, Value, Value) {
        let len = self.pop_index(to && from);
        let src = self.pop_index(from);
        (self.pop_index(to), src, len)
    }

    /// Pushes an index or a length of 64 bits, or what it has of them in its type.
    fn push_index(&mut self, value: Value, is_64: bool) {
        if is_64 {
            return self.push(value, ValType::I64);
        }
        let value = self.builder.ins().ireduce(types::I32, value);
        self.push(value, ValType::I32);
    }

    fn grow(&mut self, builtin: BuiltinIndex, arguments: &[Value], is_64: bool) {
        let call = self.call_builtin(builtin, arguments, Some(types::I64));
        let old = self.builtin_result(call);
        let traps = if is_64 {
            let code = self.builder.ins().iconst(types::I64, GROW_TRAPS as i64);
            self.builder.ins().icmp(IntCC::Equal, old, code)
        } else {
            // All other answers have 32 bits.
            self.builder.ins().ushr_imm_u(old, 32)
        };
        self.builder.ins().trapnz(traps, Self::trap_code(TrapCode::HostError));
        self.push_index(old, is_64);
    }

    /// Fills, copies or initialises; the length is the last argument, and has 64 bits if it is `long`.
    fn bulk_memory(&mut self, builtin: BuiltinIndex, arguments: &[Value], long: bool) {
        self.charge_length(Bulk::Bytes, arguments, long);
        self.call_fallible_builtin(builtin, arguments, TrapCode::MemoryOutOfBounds);
    }

    /// As [`Translator::bulk_memory`], for tables.
    fn bulk_table(&mut self, builtin: BuiltinIndex, arguments: &[Value], long: bool) {
        self.charge_length(Bulk::Elements, arguments, long);
        self.call_fallible_builtin(builtin, arguments, TrapCode::TableOutOfBounds);
    }

    fn charge_length(&mut self, what: Bulk, arguments: &[Value], long: bool) {
        if let (true, Some(&len)) = (self.source.env.consume_fuel, arguments.last()) {
            let cost = self.builder.ins().ushr_imm_u(len, i64::from(what.shift()));
            let cost = if long {
                // It may be more than all fuel that there can be.
                let most = self.builder.ins().iconst(types::I64, i64::MAX);
                self.builder.ins().umin(cost, most)
            } else {
                cost
            };
            self.charge(cost);
        }
    }

    pub(super) fn heap_flags(&mut self) -> MemFlagsData {
        let region = runtime::flags(self.builder.func, Region::Heap).alias_region();
        MemFlagsData::new()
            .with_endianness(Endianness::Little)
            .with_trap_code(Some(Self::trap_code(TrapCode::MemoryOutOfBounds)))
            .with_alias_region(region)
    }

    /// Pops an index; returns the address and the offset of the access, which is of so many bytes.
    pub(super) fn heap_address(
        &mut self,
        memarg: MemArg,
        bytes: u64,
    ) -> Result<(Value, i32), TranslateError> {
        let index = self.pop_heap_index(memarg)?;
        self.heap_address_at(index, memarg, bytes)
    }

    /// Pops an index into a memory; the answer always has 64 bits.
    pub(super) fn pop_heap_index(&mut self, memarg: MemArg) -> Result<Value, TranslateError> {
        let memory = accessed_memory(memarg)?;
        Ok(self.pop_index(self.memory_is_64(memory)))
    }

    /// The same with an index that [has been popped](Self::pop_heap_index).
    pub(super) fn heap_address_at(
        &mut self,
        index: Value,
        memarg: MemArg,
        bytes: u64,
    ) -> Result<(Value, i32), TranslateError> {
        let memory = accessed_memory(memarg)?;
        let ty = self.source.env.memories[memory as usize];
        if !ty.is_guarded() {
            self.check_address(memory, index, memarg.offset, bytes);
        }
        let base = self.runtime.memory_base(&mut self.builder, memory);
        // In a guarded memory no check: index and offset have 32 bits each, and all that a sum of two can reach is
        // reserved address space, in which everything beyond the memory's end faults.
        let address = self.builder.ins().iadd(base, index);
        match i32::try_from(memarg.offset) {
            Ok(offset) => Ok((address, offset)),
            Err(_) => {
                let offset = memarg.offset as i64;
                Ok((self.builder.ins().iadd_imm_u(address, offset), 0))
            }
        }
    }

    /// Traps unless so many bytes from index plus offset on lie in a memory.
    fn check_address(&mut self, memory: u32, index: Value, offset: u64, bytes: u64) {
        let outside = Self::trap_code(TrapCode::MemoryOutOfBounds);
        let Some(behind) = offset.checked_add(bytes) else {
            let always = self.builder.ins().iconst(types::I32, 1);
            self.builder.ins().trapnz(always, outside);
            return;
        };
        let behind = self.builder.ins().iconst(types::I64, behind as i64);
        let end = if self.memory_is_64(memory) {
            self.builder.ins().uadd_overflow_trap(index, behind, outside)
        } else {
            self.builder.ins().iadd(index, behind)
        };
        let len = self.runtime.memory_len(&mut self.builder, memory);
        let is_outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThan, end, len);
        self.builder.ins().trapnz(is_outside, outside);
    }

    fn heap_load(
        &mut self,
        memarg: MemArg,
        opcode: Opcode,
        ty: ValType,
    ) -> Result<(), TranslateError> {
        let bytes = match opcode {
            Opcode::Uload8 | Opcode::Sload8 => 1,
            Opcode::Uload16 | Opcode::Sload16 => 2,
            Opcode::Uload32 | Opcode::Sload32 => 4,
            _ => clif_type(ty).bytes().into(),
        };
        let (address, offset) = self.heap_address(memarg, bytes)?;
        let flags = self.heap_flags();
        let builder = &mut self.builder;
        let (clif, ins) = (clif_type(ty), builder.ins());
        let value = match opcode {
            Opcode::Uload8 => ins.uload8(clif, flags, address, offset),
            Opcode::Sload8 => ins.sload8(clif, flags, address, offset),
            Opcode::Uload16 => ins.uload16(clif, flags, address, offset),
            Opcode::Sload16 => ins.sload16(clif, flags, address, offset),
            Opcode::Uload32 => ins.uload32(flags, address, offset),
            Opcode::Sload32 => ins.sload32(flags, address, offset),
            _ => ins.load(clif, flags, address, offset),
        };
        self.push(value, ty);
        Ok(())
    }

    /// Pops an index; loads a value of exactly this type.
    pub(super) fn heap_load_value(
        &mut self,
        memarg: MemArg,
        ty: Type,
    ) -> Result<Value, TranslateError> {
        let (address, offset) = self.heap_address(memarg, ty.bytes().into())?;
        let flags = self.heap_flags();
        Ok(self.builder.ins().load(ty, flags, address, offset))
    }

    /// Pops an index; stores a value there.
    pub(super) fn heap_store_value(
        &mut self,
        memarg: MemArg,
        value: Value,
    ) -> Result<(), TranslateError> {
        let bytes = self.builder.func.dfg.value_type(value).bytes();
        let (address, offset) = self.heap_address(memarg, bytes.into())?;
        let flags = self.heap_flags();
        self.builder.ins().store(flags, value, address, offset);
        Ok(())
    }

    fn heap_store(&mut self, memarg: MemArg, opcode: Opcode) -> Result<(), TranslateError> {
        let value = self.pop();
        let bytes = match opcode {
            Opcode::Istore8 => 1,
            Opcode::Istore16 => 2,
            Opcode::Istore32 => 4,
            _ => self.builder.func.dfg.value_type(value).bytes().into(),
        };
        let (address, offset) = self.heap_address(memarg, bytes)?;
        let flags = self.heap_flags();
        let ins = self.builder.ins();
        match opcode {
            Opcode::Istore8 => ins.istore8(flags, value, address, offset),
            Opcode::Istore16 => ins.istore16(flags, value, address, offset),
            Opcode::Istore32 => ins.istore32(flags, value, address, offset),
            _ => ins.store(flags, value, address, offset),
        };
        Ok(())
    }

    /// Whether a table's length and address never change.
    fn table_is_fixed(&self, table: u32) -> bool {
        let ty = self.source.env.tables[table as usize];
        ty.maximum == Some(ty.minimum)
    }

    fn table_len(&mut self, table: u32) -> Value {
        let ty = self.source.env.tables[table as usize];
        if self.table_is_fixed(table) {
            return self.builder.ins().iconst(types::I64, ty.minimum as i64);
        }
        let builder = &mut self.builder;
        let definition = self.runtime.array_element(builder, InstanceContext::TABLES, table);
        load(builder, types::I64, Region::TableDefs, definition, 8)
    }

    /// The address of a table's element; traps if there is none.
    pub(super) fn table_element_address(&mut self, table: u32, index: Value) -> Value {
        let index = if self.table_is_64(table) {
            index
        } else {
            self.builder.ins().uextend(types::I64, index)
        };
        let len = self.table_len(table);
        let outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, len);
        self.builder.ins().trapnz(outside, Self::trap_code(TrapCode::TableOutOfBounds));
        let fixed = self.table_is_fixed(table);
        let builder = &mut self.builder;
        let definition = self.runtime.array_element(builder, InstanceContext::TABLES, table);
        let base = if fixed {
            load_constant(builder, types::I64, definition, 0)
        } else {
            load(builder, types::I64, Region::TableDefs, definition, 0)
        };
        let offset = builder.ins().ishl_imm_u(index, 3);
        builder.ins().iadd(base, offset)
    }

    /// Where a global is: address, offset, and the region of a mutable one.
    fn global_place(&mut self, global: u32) -> (Value, i32, Option<Region>) {
        let env = self.source.env;
        let mutable = env.globals[global as usize].mutable;
        match global.checked_sub(env.imported_globals) {
            Some(defined) => {
                let offset = InstanceContext::global_offset(defined);
                let region = Region::Global(defined);
                (self.runtime.context, offset, mutable.then_some(region))
            }
            None => {
                let builder = &mut self.builder;
                let cell = self.runtime.array_element(builder, InstanceContext::GLOBALS, global);
                (cell, 0, mutable.then_some(Region::ImportedGlobals))
            }
        }
    }

    fn global_get(&mut self, global: u32) {
        let ty = self.source.env.globals[global as usize].content;
        let (address, offset, region) = self.global_place(global);
        let builder = &mut self.builder;
        let value = match region {
            Some(region) => load(builder, clif_type(ty), region, address, offset),
            None => load_constant(builder, clif_type(ty), address, offset),
        };
        self.push(value, ty);
    }

    /// Writes as many bytes as the type has: the upper bits of the cell of an `i32` or `f32` are zero
    /// and stay so.
    fn global_set(&mut self, global: u32) {
        let value = self.pop();
        let (address, offset, region) = self.global_place(global);
        let region = region.unwrap_or(Region::ImportedGlobals);
        store(&mut self.builder, region, value, address, offset);
    }

    /// Charges fuel; traps, with the fuel as it was, if there is not enough.
    pub(super) fn charge_fuel(&mut self, cost: u32) {
        let cost = self.builder.ins().iconst(types::I64, i64::from(cost));
        self.charge(cost);
    }

    fn charge(&mut self, cost: Value) {
        let fuel = self.runtime.fuel(&mut self.builder);
        let rest = self.builder.ins().isub(fuel, cost);
        let out = self.builder.ins().icmp_imm_s(IntCC::SignedLessThan, rest, 0);
        self.builder.ins().trapnz(out, Self::trap_code(TrapCode::OutOfFuel));
        self.runtime.set_fuel(&mut self.builder, rest);
    }
}

/// The memory of an access.
pub(super) fn accessed_memory(memarg: MemArg) -> Result<u32, TranslateError> {
    match memarg.target {
        MemArgTarget::Memory(memory) => Ok(memory),
        _ => Err(TranslateError::Unsupported("access to an array".into())),
    }
}

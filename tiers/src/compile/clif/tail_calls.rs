//! Tail calls, and functions that end in them.
//!
//! Cranelift makes tail calls only in functions of its own convention `Tail`, to functions of the same one. On x86-64 that
//! preserves the registers that System V does, and has arguments and results in the same ones, but for two things: the
//! callee takes its arguments off the stack, and the second integer result is in `rcx`. So a function of this convention is
//! one of System V if Cranelift knows of no arguments on the stack, and returns the second integer in both registers.
//!
//! ```text
//!   rbp+16..  arguments on the stack: read at the entry, and written for a callee that has no more of them
//!   rbp+8     return address
//!   rbp       caller's rbp
//! ```
//!
//! All others call these functions, and are called by them, as usual. A callee that has more arguments on the stack gets a
//! place for them, and those after it take that if there is room: see `midair_osr::more_arguments_entry`.

use super::calls::Callee;
use super::operand_stack::clif_type;
use super::runtime::{Region, element_offset, load, load_constant, store};
use super::translator::{TranslateError, Translator};
use crate::context::{BuiltinIndex, InstanceContext};
use crate::types::{FuncType, ValType};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, InstBuilder, SigRef, Signature, Value, types};
use cranelift_codegen::isa::CallConv;
use midair_osr::{CallShape, ValueClass};
use smallvec::SmallVec;
use wasmparser::Operator;

/// Where the arguments on the stack begin, from the frame pointer: behind the frame record.
const STACK_ARGUMENTS: i32 = 16;

/// The machine signature of functions of a type that end in tail calls, and of what they call so, as far as Cranelift is
/// told.
pub(super) fn signature(ty: &FuncType) -> Signature {
    let shape = crate::abi::call_shape(ty);
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.push(AbiParam::new(types::I64));
    for (index, &ty) in ty.params.iter().enumerate() {
        if shape.stack_slot(index).is_none() {
            signature.params.push(AbiParam::new(clif_type(ty)));
        }
    }
    if crate::abi::results_in_registers(ty) {
        let results = in_registers(&ty.results, ty.results.iter().copied());
        signature.returns.extend(results.iter().map(|&ty| AbiParam::new(clif_type(ty))));
    }
    signature
}

/// What is returned in registers for these results: the second integer twice, for `Tail` has it in `rcx`, and a third one
/// in `rdx`, where System V has the second.
fn in_registers<T: Copy>(types: &[ValType], results: impl Iterator<Item = T>) -> SmallVec<[T; 4]> {
    let mut integers = 0;
    let mut returned = SmallVec::new();
    for (ty, result) in types.iter().zip(results) {
        if ty.kind().class() == ValueClass::Int {
            integers += 1;
            if integers == 2 {
                returned.push(result);
            }
        }
        returned.push(result);
    }
    returned
}

impl Translator<'_, '_> {
    /// Whether the function ends in tail calls.
    pub(super) fn has_tail_calls(&self) -> bool {
        self.source.liveness.tail_calls()
    }

    /// The parameters of a function that ends in tail calls which come in registers: those values.
    pub(super) fn define_register_parameters(&mut self, registers: &[Value]) {
        let shape = crate::abi::call_shape(self.ty);
        let in_registers = |&param: &usize| shape.stack_slot(param).is_none();
        let params = (0..self.ty.params.len()).filter(in_registers);
        for (param, &value) in params.zip(registers) {
            self.set_local(param as u32, value);
        }
    }

    /// Loads those that come on the stack.
    pub(super) fn load_stack_parameters(&mut self) {
        let shape = crate::abi::call_shape(self.ty);
        if shape.stack_slots() == 0 {
            return;
        }
        let frame = self.builder.ins().get_frame_pointer(types::I64);
        for (param, &ty) in self.ty.params.iter().enumerate() {
            if let Some(slot) = shape.stack_slot(param) {
                let offset = STACK_ARGUMENTS + element_offset(slot, 8);
                let ty = clif_type(ty);
                let value = load(&mut self.builder, ty, Region::Arguments, frame, offset);
                self.set_local(param as u32, value);
            }
        }
    }

    /// What the function returns in registers.
    pub(super) fn returned(&self, results: &[Value]) -> SmallVec<[Value; 4]> {
        in_registers(&self.ty.results, results.iter().copied())
    }

    /// Translates the operator if it is a tail call; returns whether it is.
    pub(super) fn translate_tail_call(
        &mut self,
        operator: &Operator<'_>,
    ) -> Result<bool, TranslateError> {
        let callee = match *operator {
            Operator::ReturnCall { function_index } => self.direct_callee(function_index),
            Operator::ReturnCallIndirect { type_index, table_index } => {
                let callee = self.indirect_callee(type_index, table_index);
                self.expect_own(callee)
            }
            Operator::ReturnCallRef { type_index } => {
                let callee = self.referenced_callee(type_index);
                self.expect_own(callee)
            }
            _ => return Ok(false),
        };
        self.tail_call(callee)?;
        Ok(true)
    }

    /// The same callee, with the function's own context if it is that: then what the callee loads through its context need
    /// not wait for what has been loaded here, and so on along the chain.
    fn expect_own(&mut self, callee: Callee) -> Callee {
        let own = self.runtime.context;
        let builder = &mut self.builder;
        let (foreign, next) = (builder.create_block(), builder.create_block());
        builder.set_cold_block(foreign);
        let context = builder.append_block_param(next, types::I64);
        let is_own = builder.ins().icmp(IntCC::Equal, callee.context, own);
        builder.ins().brif(is_own, next, &[own.into()], foreign, &[]);
        builder.seal_block(foreign);
        builder.switch_to_block(foreign);
        builder.ins().jump(next, &[callee.context.into()]);
        builder.seal_block(next);
        builder.switch_to_block(next);
        Callee { context, ..callee }
    }

    /// Pops the arguments, and leaves the function for the callee.
    fn tail_call(&mut self, callee: Callee) -> Result<(), TranslateError> {
        let Callee { type_index, code, context } = callee;
        let ty = &self.source.env.types[type_index as usize];
        self.count_values_in_memory(crate::abi::values_in_memory(ty))?;
        let shape = crate::abi::call_shape(ty);
        let arguments = self.pop_many(ty.params.len());
        let mut passed: SmallVec<[Value; 8]> = SmallVec::new();
        passed.push(context);
        let in_registers = |&(index, _): &(usize, &Value)| shape.stack_slot(index).is_none();
        passed.extend(arguments.iter().enumerate().filter(in_registers).map(|(_, &value)| value));
        let signature = self.tail_signature(type_index);
        if shape.stack_slots() > crate::abi::call_shape(self.ty).stack_slots() {
            let there_is_room = self.has_room(shape.stack_slots());
            let (room, no_room) = (self.builder.create_block(), self.builder.create_block());
            self.builder.set_cold_block(no_room);
            self.builder.ins().brif(there_is_room, room, &[], no_room, &[]);
            self.builder.seal_block(room);
            self.builder.seal_block(no_room);
            self.builder.switch_to_block(no_room);
            let entry = self.put_in_buffer(code, &shape, &arguments);
            self.builder.ins().return_call_indirect(signature, entry, &passed);
            self.builder.switch_to_block(room);
        }
        if shape.stack_slots() > 0 {
            let frame = self.builder.ins().get_frame_pointer(types::I64);
            self.put_on_stack(&shape, &arguments, Region::Arguments, frame, STACK_ARGUMENTS);
        }
        self.builder.ins().return_call_indirect(signature, code, &passed);
        self.reachable = false;
        Ok(())
    }

    /// Whether there is room for so many words of arguments on the stack, although the function itself has less of them:
    /// because it was called from a frame that was put in between for an earlier callee.
    fn has_room(&mut self, words: usize) -> Value {
        let builtins = self.runtime.context_field(&mut self.builder, InstanceContext::BUILTINS);
        let builder = &mut self.builder;
        let of_such_frames = element_offset(BuiltinIndex::MoreArgumentsReturn as u32, 8);
        let of_such_frames = load_constant(builder, types::I64, builtins, of_such_frames);
        let frame = builder.ins().get_frame_pointer(types::I64);
        let callers_frame = load(builder, types::I64, Region::Arguments, frame, 0);
        let return_address = load(builder, types::I64, Region::Arguments, frame, 8);
        let is_such_frame = builder.ins().icmp(IntCC::Equal, return_address, of_such_frames);
        let room = builder.ins().isub(callers_frame, frame);
        let needed = i64::from(STACK_ARGUMENTS) + 8 * words as i64;
        let is_enough = builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, room, needed);
        builder.ins().band(is_such_frame, is_enough)
    }

    /// Leaves the code to call, and its arguments on the stack, for the stub that makes room for them, and returns that.
    fn put_in_buffer(&mut self, code: Value, shape: &CallShape, arguments: &[Value]) -> Value {
        let buffer = self.runtime.results_buffer(&mut self.builder);
        let words = shape.stack_slots().next_multiple_of(2);
        let words = self.builder.ins().iconst(types::I64, words as i64);
        store(&mut self.builder, Region::Buffers, code, buffer, 0);
        store(&mut self.builder, Region::Buffers, words, buffer, 8);
        self.put_on_stack(shape, arguments, Region::Buffers, buffer, 16);
        let builtins = self.runtime.context_field(&mut self.builder, InstanceContext::BUILTINS);
        let entry = element_offset(BuiltinIndex::MoreArgumentsEntry as u32, 8);
        load_constant(&mut self.builder, types::I64, builtins, entry)
    }

    /// Stores the arguments that go on the stack.
    fn put_on_stack(
        &mut self,
        shape: &CallShape,
        arguments: &[Value],
        region: Region,
        address: Value,
        first: i32,
    ) {
        for (index, &value) in arguments.iter().enumerate() {
            if let Some(slot) = shape.stack_slot(index) {
                store(&mut self.builder, region, value, address, first + element_offset(slot, 8));
            }
        }
    }

    fn tail_signature(&mut self, type_index: u32) -> SigRef {
        let (builder, env) = (&mut self.builder, self.source.env);
        *self
            .tail_signatures
            .entry(type_index)
            .or_insert_with(|| builder.import_signature(signature(&env.types[type_index as usize])))
    }
}

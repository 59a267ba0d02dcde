//! Guest calls, returns, and runtime calls.

use super::operand_stack::clif_type;
use super::runtime::{Region, element_offset, load, load_constant};
use super::translator::{TranslateError, Translator, signature};
use crate::context::{BuiltinIndex, FuncRef, FunctionState, InstanceContext};
use crate::trap::TrapCode;
use crate::types::ValType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, BlockCall, ExceptionTableData, Inst, InstBuilder, MemFlagsData, SigRef,
    Signature, Value, types,
};
use cranelift_codegen::isa::CallConv;
use midair_osr::SiteKind;
use smallvec::SmallVec;
use wasmparser::Operator;

/// What a guest call needs to know of its callee.
pub(super) struct Callee {
    pub(super) type_index: u32,
    /// Address to call.
    pub(super) code: Value,
    /// Context to pass.
    pub(super) context: Value,
}

impl Translator<'_, '_> {
    /// Translates the operator if it is a guest call; returns whether it is.
    pub(super) fn translate_call(
        &mut self,
        operator: &Operator<'_>,
        point: u32,
    ) -> Result<bool, TranslateError> {
        let callee = match *operator {
            Operator::Call { function_index } => self.direct_callee(function_index),
            Operator::CallIndirect { type_index, table_index } => {
                self.indirect_callee(type_index, table_index)
            }
            Operator::CallRef { type_index } => self.referenced_callee(type_index),
            _ => return Ok(false),
        };
        self.call_guest(callee, point)?;
        Ok(true)
    }

    pub(super) fn direct_callee(&mut self, function: u32) -> Callee {
        let env = self.source.env;
        let type_index = env.functions[function as usize];
        let builder = &mut self.builder;
        if let Some(defined) = function.checked_sub(env.imported_functions) {
            let functions = self.runtime.context_field(builder, InstanceContext::FUNCTIONS);
            let entry = element_offset(defined, FunctionState::SIZE) + FunctionState::ENTRY;
            return Callee {
                type_index,
                code: load(builder, types::I64, Region::Entries, functions, entry),
                context: self.runtime.context,
            };
        }
        // References to imports are initialised with the instance and never change.
        let references = self.runtime.context_field(builder, InstanceContext::FUNC_REFS);
        let reference = element_offset(function, FuncRef::SIZE);
        let word = load_constant(builder, types::I64, references, reference + FuncRef::ENTRY);
        let context = load_constant(builder, types::I64, references, reference + FuncRef::CONTEXT);
        Callee { type_index, code: load(builder, types::I64, Region::Entries, word, 0), context }
    }

    pub(super) fn indirect_callee(&mut self, type_index: u32, table: u32) -> Callee {
        let index = self.pop();
        let element = self.table_element_address(table, index);
        let builder = &mut self.builder;
        let reference = load(builder, types::I64, Region::Tables, element, 0);
        // The first load through a null reference faults: nothing lies at such small addresses.
        let flags = MemFlagsData::new()
            .with_aligned()
            .with_readonly()
            .with_trap_code(Some(Self::trap_code(TrapCode::IndirectCallToNull)));
        let found = builder.ins().load(types::I32, flags, reference, FuncRef::SIGNATURE);
        let signatures = self.runtime.context_field(builder, InstanceContext::SIGNATURES);
        let offset = element_offset(type_index, 4);
        let expected = load_constant(builder, types::I32, signatures, offset);
        let differs = builder.ins().icmp(IntCC::NotEqual, found, expected);
        if self.source.env.can_have_subtypes(type_index) {
            self.check_subtype(differs, found, expected);
        } else {
            builder.ins().trapnz(differs, Self::trap_code(TrapCode::BadSignature));
        }
        let builder = &mut self.builder;
        // Not movable: before the check above they may not be there.
        let flags = MemFlagsData::trusted().with_readonly();
        let word = builder.ins().load(types::I64, flags, reference, FuncRef::ENTRY);
        let context = builder.ins().load(types::I64, flags, reference, FuncRef::CONTEXT);
        Callee { type_index, code: load(builder, types::I64, Region::Entries, word, 0), context }
    }

    /// Traps if the signatures of functions differ and the one that was found is not a subtype either.
    fn check_subtype(&mut self, differs: Value, found: Value, expected: Value) {
        let (slow, next) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(slow);
        self.builder.ins().brif(differs, slow, &[], next, &[]);
        self.builder.seal_block(slow);
        self.builder.switch_to_block(slow);
        let call = self.call_builtin(BuiltinIndex::IsSubtype, &[found, expected], Some(types::I32));
        let is_subtype = self.builtin_result(call);
        self.builder.ins().trapz(is_subtype, Self::trap_code(TrapCode::BadSignature));
        self.builder.ins().jump(next, &[]);
        self.builder.seal_block(next);
        self.builder.switch_to_block(next);
    }

    pub(super) fn referenced_callee(&mut self, type_index: u32) -> Callee {
        let reference = self.pop();
        let builder = &mut self.builder;
        // The first load through a null reference faults, as above.
        let flags = MemFlagsData::new()
            .with_aligned()
            .with_readonly()
            .with_trap_code(Some(Self::trap_code(TrapCode::NullReference)));
        let word = builder.ins().load(types::I64, flags, reference, FuncRef::ENTRY);
        let flags = MemFlagsData::trusted().with_readonly();
        let context = builder.ins().load(types::I64, flags, reference, FuncRef::CONTEXT);
        Callee { type_index, code: load(builder, types::I64, Region::Entries, word, 0), context }
    }

    fn guest_signature(&mut self, type_index: u32) -> SigRef {
        let (builder, env) = (&mut self.builder, self.source.env);
        *self
            .signatures
            .entry(type_index)
            .or_insert_with(|| builder.import_signature(signature(&env.types[type_index as usize])))
    }

    /// Pops the arguments, calls, pushes the results.
    fn call_guest(&mut self, callee: Callee, point: u32) -> Result<(), TranslateError> {
        let ty = &self.source.env.types[callee.type_index as usize];
        self.count_values_in_memory(crate::abi::values_in_memory(ty))?;
        let signature = self.guest_signature(callee.type_index);
        let mut arguments: SmallVec<[Value; 8]> = SmallVec::new();
        arguments.push(callee.context);
        arguments.extend(self.pop_many(ty.params.len()));
        let state = self.frame_state(point);

        let in_registers = crate::abi::results_in_registers(ty);
        let next = self.builder.create_block();
        let mut results: SmallVec<[BlockArg; 4]> = SmallVec::new();
        if in_registers {
            for (index, &ty) in (0..).zip(&ty.results) {
                self.builder.append_block_param(next, clif_type(ty));
                results.push(BlockArg::TryCallRet(index));
            }
        }
        let dfg = &mut self.builder.func.dfg;
        let normal_return = BlockCall::new(next, results, &mut dfg.value_lists);
        // The items are filled in when the frame states are resolved.
        let table = ExceptionTableData::new(signature, normal_return, []);
        let table = dfg.exception_tables.push(table);
        let call = self.builder.ins().try_call_indirect(callee.code, &arguments, table);
        self.states.push(SiteKind::Call, point, call, state)?;

        self.builder.seal_block(next);
        self.builder.switch_to_block(next);
        if in_registers {
            for (index, &ty) in ty.results.iter().enumerate() {
                let value = self.builder.block_params(next)[index];
                self.push(value, ty);
            }
        } else {
            // At once: the next call may overwrite them.
            let buffer = self.runtime.results_buffer(&mut self.builder);
            let mut slot = 0;
            for &ty in &ty.results {
                let value = self.load_slot(buffer, slot, ty);
                slot += ty.kind().slots();
                self.push(value, ty);
            }
        }
        Ok(())
    }

    /// Counts what a call passes in memory.
    pub(super) fn count_values_in_memory(&mut self, count: usize) -> Result<(), TranslateError> {
        self.values_in_memory += count;
        if self.values_in_memory > self.source.max_values_in_memory {
            return Err(TranslateError::TooLarge("arguments and results of all calls"));
        }
        Ok(())
    }

    /// Returns from the function.
    pub(super) fn return_values(&mut self, values: &[Value]) {
        if crate::abi::results_in_registers(self.ty) {
            if self.has_tail_calls() {
                let returned = self.returned(values);
                self.builder.ins().return_(&returned);
            } else {
                self.builder.ins().return_(values);
            }
            return;
        }
        self.store_results(values, &self.ty.results);
        self.builder.ins().return_(&[]);
    }

    /// What fills a value's whole slot in canonical form.
    pub(super) fn slot_bits(&mut self, value: Value, ty: ValType) -> Value {
        let value = match ty {
            ValType::F32 => self.builder.ins().bitcast(types::I32, MemFlagsData::new(), value),
            ValType::I32 => value,
            _ => return value,
        };
        self.builder.ins().uextend(types::I64, value)
    }

    /// Calls a runtime function with the context and these arguments.
    pub(super) fn call_builtin(
        &mut self,
        builtin: BuiltinIndex,
        arguments: &[Value],
        result: Option<cranelift_codegen::ir::Type>,
    ) -> Inst {
        let mut all: SmallVec<[Value; 8]> = SmallVec::new();
        all.push(self.runtime.context);
        all.extend_from_slice(arguments);
        let builder = &mut self.builder;
        let signature = *self.builtin_signatures.entry(builtin as u8).or_insert_with(|| {
            let mut signature = Signature::new(CallConv::SystemV);
            let dfg = &builder.func.dfg;
            let params = all.iter().map(|&value| AbiParam::new(dfg.value_type(value)));
            signature.params.extend(params);
            signature.returns.extend(result.map(AbiParam::new));
            builder.import_signature(signature)
        });
        let builtins = self.runtime.context_field(builder, InstanceContext::BUILTINS);
        let offset = element_offset(builtin as u32, 8);
        let code = load_constant(builder, types::I64, builtins, offset);
        builder.ins().call_indirect(signature, code, &all)
    }

    /// Calls a runtime function that can fail in one way, or be interrupted.
    pub(super) fn call_fallible_builtin(
        &mut self,
        builtin: BuiltinIndex,
        arguments: &[Value],
        failure: TrapCode,
    ) {
        let call = self.call_builtin(builtin, arguments, Some(types::I32));
        let status = self.builder.inst_results(call)[0];
        let code = i64::from(TrapCode::Interrupt as u32);
        let interrupted = self.builder.ins().icmp_imm_u(IntCC::Equal, status, code);
        self.builder.ins().trapnz(interrupted, Self::trap_code(TrapCode::Interrupt));
        self.builder.ins().trapnz(status, Self::trap_code(failure));
    }

    /// The value that a runtime call returned.
    pub(super) fn builtin_result(&self, call: Inst) -> Value {
        self.builder.inst_results(call)[0]
    }
}

//! Exceptions: throwing, and code that is entered at a handler.
//!
//! Code that is entered at its function's start has no handlers: a frame that handles an exception leaves its code and
//! goes on where the handler begins, in the interpreter or in code that is entered there, as at a loop. So a `try`
//! means nothing here but which locals are kept at the calls inside it, which liveness knows.

use super::control::FrameKind;
use super::runtime::{Region, element_offset, load_constant, store};
use super::translator::{TranslateError, Translator};
use crate::compile::EntryPoint;
use crate::context::{BuiltinIndex, InstanceContext, THROWS_REFERENCE};
use crate::trap::TrapCode;
use crate::types::ValType;
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, BlockCall, ExceptionTableData, InstBuilder, Signature, Value, types,
};
use cranelift_codegen::isa::CallConv;
use midair_osr::SiteKind;
use smallvec::SmallVec;
use wasmparser::{Catch, Operator, TryTable};

impl Translator<'_, '_> {
    /// Translates the operator if it is about exceptions; returns whether it is.
    pub(super) fn translate_exceptions(
        &mut self,
        operator: &Operator<'_>,
        point: u32,
    ) -> Result<bool, TranslateError> {
        match *operator {
            Operator::TryTable { ref try_table } => self.translate_try_table(try_table, point)?,
            Operator::Try { blockty } => {
                self.push_block(blockty)?;
                let caught = self.source.caught.of_try(point);
                self.set_caught(caught);
            }
            Operator::Catch { tag_index } => self.translate_catch(Some(tag_index), point)?,
            Operator::CatchAll => self.translate_catch(None, point)?,
            Operator::Delegate { .. } => self.translate_end(),
            Operator::Throw { tag_index } => {
                let env = self.source.env;
                let types = env.tag_params(tag_index);
                let values = self.pop_many(types.len());
                self.store_results(&values, types);
                let tag = self.builder.ins().iconst(types::I32, i64::from(tag_index));
                let none = self.builder.ins().iconst(types::I64, 0);
                self.throw(tag, none, types.len(), point)?;
            }
            Operator::ThrowRef => {
                let exception = self.pop();
                self.throw_ref(exception, point)?;
            }
            Operator::Rethrow { relative_depth } => {
                let local = self.caught_local(relative_depth);
                let exception = self.local(local);
                self.throw_ref(exception, point)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn throw_ref(&mut self, exception: Value, point: u32) -> Result<(), TranslateError> {
        self.builder.ins().trapz(exception, Self::trap_code(TrapCode::NullReference));
        let tag = self.builder.ins().iconst(types::I32, i64::from(THROWS_REFERENCE));
        self.throw(tag, exception, 0, point)
    }

    /// Leaves for the runtime with an exception, which carries so many values.
    fn throw(
        &mut self,
        tag: Value,
        exception: Value,
        values: usize,
        point: u32,
    ) -> Result<(), TranslateError> {
        self.count_values_in_memory(values)?;
        let builder = &mut self.builder;
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend([types::I64, types::I32, types::I64].map(AbiParam::new));
        let signature =
            *self.throw_signature.get_or_insert_with(|| builder.import_signature(signature));
        let builtins = self.runtime.context_field(builder, InstanceContext::BUILTINS);
        let offset = element_offset(BuiltinIndex::RequestEntry as u32, 8);
        let code = load_constant(builder, types::I64, builtins, offset);
        let state = self.frame_state(point);
        let next = self.builder.create_block();
        self.builder.set_cold_block(next);
        let dfg = &mut self.builder.func.dfg;
        let returned: [BlockArg; 0] = [];
        let normal_return = BlockCall::new(next, returned, &mut dfg.value_lists);
        // The items are filled in when the frame states are resolved.
        let table =
            dfg.exception_tables.push(ExceptionTableData::new(signature, normal_return, []));
        let arguments = [self.runtime.context, tag, exception];
        let call = self.builder.ins().try_call_indirect(code, &arguments, table);
        self.states.push(SiteKind::Call, point, call, state)?;
        self.builder.seal_block(next);
        self.builder.switch_to_block(next);
        // It does not return.
        self.builder.ins().trap(Self::trap_code(TrapCode::Unreachable));
        self.reachable = false;
        Ok(())
    }

    /// Puts values into the buffer for results.
    pub(super) fn store_results(&mut self, values: &[Value], types: &[ValType]) {
        let buffer = self.runtime.results_buffer(&mut self.builder);
        let mut slot = 0;
        for (&value, &ty) in values.iter().zip(types) {
            let bits = self.slot_bits(value, ty);
            let offset = element_offset(slot, 8);
            store(&mut self.builder, Region::Buffers, bits, buffer, offset);
            slot += ty.kind().slots() as u32;
        }
    }

    fn translate_try_table(&mut self, table: &TryTable, point: u32) -> Result<(), TranslateError> {
        if let EntryPoint::Loop(entry) = self.source.entry
            && let Some(osr_block) = self.osr_block
        {
            let body = self.builder.create_block();
            self.builder.ins().jump(body, &[]);
            self.builder.seal_block(body);
            let clause = entry.checked_sub(point + 1);
            if let Some(catch) = clause.and_then(|clause| table.catches.get(clause as usize)) {
                self.osr_block = None;
                let (tag, by_ref, depth) = parts(catch);
                let below = self.label_height(depth);
                let values =
                    self.enter_handler_from_buffer(osr_block, entry, below, tag, by_ref)?;
                self.jump_to_handler(depth, &values);
            } else {
                // What is entered may lie where a handler goes on: that is translated as if something led there.
                for catch in &table.catches {
                    let (tag, by_ref, depth) = parts(catch);
                    let values = self.values_from_nowhere(tag, by_ref);
                    self.jump_to_handler(depth, &values);
                }
            }
            self.builder.switch_to_block(body);
        }
        self.push_block(table.ty)
    }

    fn jump_to_handler(&mut self, depth: u32, values: &[(Value, ValType)]) {
        let arguments: SmallVec<[BlockArg; 4]> =
            values.iter().map(|&(value, _)| value.into()).collect();
        let label = self.branched_label(depth);
        self.builder.ins().jump(label, &arguments);
    }

    /// Goes on in a block that nothing leads to; returns what a handler is given there.
    fn values_from_nowhere(&mut self, tag: Option<u32>, by_ref: bool) -> Vec<(Value, ValType)> {
        let block = self.builder.create_block();
        self.builder.seal_block(block);
        self.builder.switch_to_block(block);
        let types = self.handler_types(tag, by_ref);
        types.into_iter().map(|ty| (self.zero(ty), ty)).collect()
    }

    /// Goes on in the block that loads the frame of an entered handler: locals, operands below the handler's, and its
    /// own operands, which are the answer.
    fn enter_handler_from_buffer(
        &mut self,
        osr_block: Block,
        point: u32,
        below: usize,
        tag: Option<u32>,
        by_ref: bool,
    ) -> Result<Vec<(Value, ValType)>, TranslateError> {
        let (buffer, mut slot) = self.load_frame_from_buffer(osr_block, point, below)?;
        let own = self.handler_types(tag, by_ref).into_iter().map(|ty| {
            let value = self.load_slot(buffer, slot, ty);
            slot += ty.kind().slots();
            (value, ty)
        });
        Ok(own.collect())
    }

    fn handler_types(&self, tag: Option<u32>, by_ref: bool) -> Vec<ValType> {
        let env = self.source.env;
        let values = tag.map_or(&[][..], |tag| env.tag_params(tag));
        values.iter().copied().chain(by_ref.then_some(ValType::EXNREF)).collect()
    }

    /// `catch` and `catch_all`.
    pub(super) fn translate_catch(
        &mut self,
        tag: Option<u32>,
        point: u32,
    ) -> Result<(), TranslateError> {
        if self.reachable {
            self.jump_to_label(0);
            self.reachable = false;
        }
        let below = self.innermost_height();
        self.stack.truncate(below);
        let caught = self.innermost_caught();
        let mut values = if self.source.entry == EntryPoint::Loop(point)
            && let Some(osr_block) = self.osr_block.take()
        {
            self.enter_handler_from_buffer(osr_block, point, below, tag, caught.is_some())?
        } else if self.osr_block.is_some() {
            // The entered loop may lie in the handler: it is translated as if something led here.
            self.values_from_nowhere(tag, caught.is_some())
        } else {
            return Ok(());
        };
        self.reachable = true;
        if let Some(local) = caught
            && let Some((exception, _)) = values.pop()
        {
            self.set_local(local, exception);
        }
        for (value, ty) in values {
            self.push(value, ty);
        }
        Ok(())
    }

    /// Opens a block.
    pub(super) fn push_block(&mut self, ty: wasmparser::BlockType) -> Result<(), TranslateError> {
        let (params, results) = super::control::block_type(self.source.env, ty)?;
        let label = self.create_block_with(results);
        self.push_frame(FrameKind::Block, label, params, results);
        Ok(())
    }
}

/// The tag of a clause, whether its handler is given the exception, and the label that it goes on at.
fn parts(catch: &Catch) -> (Option<u32>, bool, u32) {
    match *catch {
        Catch::One { tag, label } => (Some(tag), false, label),
        Catch::OneRef { tag, label } => (Some(tag), true, label),
        Catch::All { label } => (None, false, label),
        Catch::AllRef { label } => (None, true, label),
    }
}

//! Where control enters a function: its ordinary entry, polls, and OSR entries.

use super::frame_state::StateValue;
use super::operand_stack::clif_type;
use super::runtime::{self, Region};
use super::translator::{TranslateError, Translator};
use crate::body::FunctionBody;
use crate::compile::EntryPoint;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};
use midair_osr::{SiteKind, ValueKind};
use smallvec::SmallVec;

/// A function without calls of any kind and loops, and with a body of at most so many bytes, does not check the
/// stack: its frame is small, because a value of it takes at least two bytes of the body.
const MAX_UNCHECKED_BODY: usize = 512;

impl Translator<'_, '_> {
    /// Translates what comes before the first operator.
    pub(super) fn translate_entry(&mut self) -> Result<(), TranslateError> {
        match self.source.entry {
            EntryPoint::Function => {
                self.define_parameters();
                self.define_declared_locals();
                if self.needs_stack_check() {
                    self.check_stack()?;
                }
                // Behind the poll: a frame that leaves there has not been called in this tier.
                if self.source.count_calls {
                    self.runtime.count_call(&mut self.builder);
                }
            }
            EntryPoint::Loop(_) => {
                // The machine function's entry leads to the block that loads the frame; that block
                // is completed when the loop has been found. The code before the loop is translated
                // all the same, for an outer loop may lead to it; what is not reachable falls away.
                let osr_block = self.builder.create_block();
                self.builder.ins().jump(osr_block, &[]);
                self.builder.seal_block(osr_block);
                self.osr_block = Some(osr_block);
                let ordinary_entry = self.builder.create_block();
                self.builder.switch_to_block(ordinary_entry);
                self.builder.seal_block(ordinary_entry);
                for local in 0..self.ty.params.len() {
                    let value = self.zero(self.ty.params[local]);
                    self.set_local(local as u32, value);
                }
                self.define_declared_locals();
            }
        }
        Ok(())
    }

    fn define_parameters(&mut self) {
        let Some(entry) = self.builder.current_block() else {
            return;
        };
        // Parameter 0 is the context.
        let registers = &self.builder.block_params(entry)[1..];
        if self.has_tail_calls() {
            let registers: SmallVec<[Value; 8]> = registers.into();
            self.define_register_parameters(&registers);
            return;
        }
        for local in 0..self.ty.params.len() {
            let value = self.builder.block_params(entry)[local + 1];
            self.set_local(local as u32, value);
        }
    }

    /// Sets the declared locals that may be read before they are written to zero.
    fn define_declared_locals(&mut self) {
        let Some(live) = self.source.liveness.at(FunctionBody::ENTRY) else {
            return;
        };
        let mut zeros: SmallVec<[(crate::types::ValType, Value); 4]> = SmallVec::new();
        for local in live.iter().skip_while(|&l| (l as usize) < self.ty.params.len()) {
            let ty = self.source.locals[local as usize];
            let zero = match zeros.iter().find(|zero| zero.0 == ty) {
                Some(&(_, zero)) => zero,
                None => {
                    let zero = self.zero(ty);
                    zeros.push((ty, zero));
                    zero
                }
            };
            self.set_local(local, zero);
        }
    }

    /// Whether the function polls at its entry. New bodies of running programs always do: a thread must not run
    /// one before it has been served what belongs to it.
    fn needs_stack_check(&self) -> bool {
        let liveness = self.source.liveness;
        self.source.body.version > 0
            || liveness.calls() > 0
            || liveness.loops() > 0
            || liveness.runtime_calls()
            || liveness.tail_calls()
            || self.source.body.bytes().len() > MAX_UNCHECKED_BODY
    }

    /// Compares the stack pointer with the limit, which other threads raise to bring the function to
    /// its poll.
    fn check_stack(&mut self) -> Result<(), TranslateError> {
        // In this order the limit's load becomes an operand of the comparison.
        let stack_pointer = self.builder.ins().get_stack_pointer(types::I64);
        let limit = self.runtime.stack_limit(&mut self.builder);
        let below = self.builder.ins().icmp(IntCC::UnsignedLessThan, stack_pointer, limit);
        self.poll_if(below, FunctionBody::ENTRY, |this| {
            // They are loaded behind the poll: before, they would only take registers.
            if this.has_tail_calls() {
                this.load_stack_parameters();
            }
            this.entry_state()
        })?;
        if self.has_tail_calls() {
            self.load_stack_parameters();
        }
        Ok(())
    }

    /// The canonical frame before the first operator.
    fn entry_state(&mut self) -> Vec<(ValueKind, StateValue)> {
        let parameters = self.ty.params.len();
        let mut values = self.frame_state(FunctionBody::ENTRY);
        for (_, value) in &mut values[parameters..] {
            if !matches!(value, StateValue::Dead) {
                *value = StateValue::Zero;
            }
        }
        values
    }

    /// Polls at a loop's header.
    pub(super) fn poll_loop(&mut self, point: u32) -> Result<(), TranslateError> {
        let flag = self.runtime.poll_flag(&mut self.builder);
        let values = self.frame_state(point);
        self.poll_if(flag, point, |_| values)
    }

    /// Branches to a cold block that polls if `condition` is not zero, and goes on behind it with all
    /// values as they are. `values` makes the frame state there.
    fn poll_if(
        &mut self,
        condition: Value,
        point: u32,
        values: impl FnOnce(&mut Self) -> Vec<(ValueKind, StateValue)>,
    ) -> Result<(), TranslateError> {
        let cold = self.builder.create_block();
        let next = self.builder.create_block();
        self.builder.set_cold_block(cold);
        self.builder.ins().brif(condition, cold, &[], next, &[]);
        self.builder.seal_block(cold);
        self.builder.switch_to_block(cold);
        let values = values(self);
        // The call is put before this jump when the frame states are resolved.
        let jump = self.builder.ins().jump(next, &[]);
        self.states.push(SiteKind::Poll, point, jump, values)?;
        self.builder.seal_block(next);
        self.builder.switch_to_block(next);
        Ok(())
    }

    /// Makes the entered loop's header a successor of the block that loads the frame. The current
    /// block has ended with the jump to the header; its operands are on the stack.
    pub(super) fn enter_loop_from_buffer(
        &mut self,
        osr_block: Block,
        header: Block,
        point: u32,
        parameters: usize,
    ) -> Result<(), TranslateError> {
        let below = self.stack.len() - parameters;
        let (buffer, mut slot) = self.load_frame_from_buffer(osr_block, point, below)?;
        let mut arguments: SmallVec<[BlockArg; 4]> = SmallVec::new();
        for depth in below..self.stack.len() {
            let ty = self.stack.type_at(depth);
            arguments.push(self.load_slot(buffer, slot, ty).into());
            slot += ty.kind().slots();
        }
        self.builder.ins().jump(header, &arguments);
        Ok(())
    }

    /// Goes on in the block that loads an OSR entry's frame, and loads the locals and the lowest `below` operands.
    /// Answers with the buffer, and the first slot behind these.
    pub(super) fn load_frame_from_buffer(
        &mut self,
        osr_block: Block,
        point: u32,
        below: usize,
    ) -> Result<(Value, usize), TranslateError> {
        if below > self.stack.shared() {
            return Err(TranslateError::ShareOperands(below));
        }
        self.builder.switch_to_block(osr_block);
        let buffer = self.runtime.resume_buffer(&mut self.builder);
        let mut slot = 0;
        let live = self.source.liveness.at(point);
        for (local, &ty) in (0..).zip(self.source.locals) {
            if live.is_some_and(|live| live.contains(local)) {
                let value = self.load_slot(buffer, slot, ty);
                self.set_local(local, value);
            }
            slot += ty.kind().slots();
        }
        for depth in 0..below {
            let ty = self.stack.type_at(depth);
            let value = self.load_slot(buffer, slot, ty);
            slot += ty.kind().slots();
            self.stack.redefine(&mut self.builder, depth, value);
        }
        Ok((buffer, slot))
    }

    /// Loads a value from a buffer of 64-bit slots.
    pub(super) fn load_slot(
        &mut self,
        buffer: Value,
        slot: usize,
        ty: crate::types::ValType,
    ) -> Value {
        let offset = runtime::element_offset(slot as u32, 8);
        runtime::load(&mut self.builder, clif_type(ty), Region::Buffers, buffer, offset)
    }
}

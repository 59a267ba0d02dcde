//! Structured control: blocks, loops, branches.

use super::operand_stack::{Operand, clif_type};
use super::osr_prefix::skipped_prefix;
use super::translator::{TranslateError, Translator};
use crate::compile::EntryPoint;
use crate::module_env::ModuleEnv;
use crate::trap::TrapCode;
use crate::types::ValType;
use cranelift_codegen::ir::{Block, BlockArg, BlockCall, InstBuilder, JumpTableData};
use smallvec::SmallVec;
use wasmparser::{BlockType, Operator};

/// A control instruction that is open, and could be reached.
pub(super) struct ControlFrame<'a> {
    kind: FrameKind,
    /// Where a branch to it goes: the header of a loop, else what follows the `end`.
    label: Block,
    /// Whether there is a branch to `label`.
    branched: bool,
    params: &'a [ValType],
    results: &'a [ValType],
    /// Operands below its parameters.
    height: usize,
    /// The hidden local of a legacy `try`.
    caught: Option<u32>,
}

pub(super) enum FrameKind {
    /// `block`, `try`, `try_table`, the function itself, or an `if` whose `else` has begun.
    Block,
    Loop,
    /// An `if` without `else` as yet.
    If {
        false_arm: Block,
        params: SmallVec<[Operand; 4]>,
    },
}

type BlockArgs = SmallVec<[BlockArg; 4]>;

impl ControlFrame<'_> {
    /// Types of the operands that a branch to it carries.
    fn label_types(&self) -> &[ValType] {
        match self.kind {
            FrameKind::Loop => self.params,
            _ => self.results,
        }
    }
}

/// Parameter and result types of a block.
pub(super) fn block_type(
    env: &ModuleEnv,
    ty: BlockType,
) -> Result<(&[ValType], &[ValType]), TranslateError> {
    Ok(match ty {
        BlockType::Empty => (&[], &[]),
        BlockType::Type(ty) => (
            &[],
            match env.val_type(ty) {
                Some(ValType::I32) => &[ValType::I32],
                Some(ValType::I64) => &[ValType::I64],
                Some(ValType::F32) => &[ValType::F32],
                Some(ValType::F64) => &[ValType::F64],
                Some(ValType::V128) => &[ValType::V128],
                // All references look alike here.
                Some(ValType::Ref(_)) => &[ValType::FUNCREF],
                None => return Err(TranslateError::Unsupported(format!("type {ty}"))),
            },
        ),
        BlockType::FuncType(index) => {
            let ty = &env.types[index as usize];
            (&ty.params, &ty.results)
        }
    })
}

impl<'a> Translator<'a, '_> {
    pub(super) fn push_function_frame(&mut self) {
        let label = self.create_block_with(&self.ty.results);
        self.control.push(ControlFrame {
            kind: FrameKind::Block,
            label,
            branched: false,
            params: &[],
            results: &self.ty.results,
            height: 0,
            caught: None,
        });
    }

    /// In an OSR entry, opens the blocks that are open where translation starts. Returns that point.
    pub(super) fn skip_prefix(&mut self) -> Result<u32, TranslateError> {
        let (env, body) = (self.source.env, self.source.body);
        let EntryPoint::Loop(point) = self.source.entry else { return Ok(0) };
        let operators = body.reader().get_operators_reader()?;
        let Some(prefix) = skipped_prefix(env, operators, point)? else { return Ok(0) };
        for (ty, point) in prefix.open {
            let (_, results) = block_type(env, ty)?;
            let label = self.create_block_with(results);
            // Also for an `if`: its other arm cannot be reached.
            self.push_frame(FrameKind::Block, label, &[], results);
            self.set_caught(self.source.caught.of_try(point));
        }
        Ok(prefix.end)
    }

    pub(super) fn create_block_with(&mut self, params: &[ValType]) -> Block {
        let block = self.builder.create_block();
        for &ty in params {
            self.builder.append_block_param(block, clif_type(ty));
        }
        block
    }

    /// Goes on in a block all of whose predecessors are known.
    fn continue_in(&mut self, block: Block) {
        self.builder.seal_block(block);
        self.builder.switch_to_block(block);
        self.reachable = true;
    }

    fn push_block_params(&mut self, block: Block, types: &[ValType]) {
        for (index, &ty) in types.iter().enumerate() {
            let value = self.builder.block_params(block)[index];
            self.push(value, ty);
        }
    }

    /// Keeps track of nesting in unreachable code.
    pub(super) fn skip_operator(
        &mut self,
        operator: &Operator<'_>,
        point: u32,
    ) -> Result<(), TranslateError> {
        match *operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => self.unreachable_depth += 1,
            Operator::Catch { tag_index } if self.unreachable_depth == 0 => {
                self.translate_catch(Some(tag_index), point)?;
            }
            Operator::CatchAll if self.unreachable_depth == 0 => {
                self.translate_catch(None, point)?;
            }
            Operator::Else if self.unreachable_depth == 0 => self.translate_else(),
            Operator::End | Operator::Delegate { .. } if self.unreachable_depth == 0 => {
                self.translate_end();
            }
            Operator::End | Operator::Delegate { .. } => self.unreachable_depth -= 1,
            _ => {}
        }
        Ok(())
    }

    /// Translates the operator if it is one of control; returns whether it is.
    pub(super) fn translate_control(
        &mut self,
        operator: &Operator<'_>,
        point: u32,
    ) -> Result<bool, TranslateError> {
        match *operator {
            Operator::Unreachable => {
                let code = Self::trap_code(TrapCode::Unreachable);
                self.builder.ins().trap(code);
                self.reachable = false;
            }
            Operator::Block { blockty } => self.push_block(blockty)?,
            Operator::Loop { blockty } => self.translate_loop(blockty, point)?,
            Operator::If { blockty } => {
                let (params, results) = block_type(self.source.env, blockty)?;
                let condition = self.pop();
                let label = self.create_block_with(results);
                let true_arm = self.builder.create_block();
                let false_arm = self.builder.create_block();
                self.builder.ins().brif(condition, true_arm, &[], false_arm, &[]);
                let height = self.stack.len();
                let operands = (height - params.len()..height)
                    .map(|depth| self.stack.get(&mut self.builder, depth))
                    .collect();
                let kind = FrameKind::If { false_arm, params: operands };
                self.push_frame(kind, label, params, results);
                self.builder.seal_block(false_arm);
                self.continue_in(true_arm);
            }
            Operator::Else => self.translate_else(),
            Operator::End => self.translate_end(),
            Operator::Br { relative_depth } => {
                self.jump_to_label(relative_depth);
                self.reachable = false;
            }
            Operator::BrIf { relative_depth } => {
                let condition = self.pop();
                let (label, arguments) = self.label_arguments(relative_depth);
                let next = self.builder.create_block();
                self.builder.ins().brif(condition, label, &arguments, next, &[]);
                self.continue_in(next);
            }
            Operator::BrOnNull { relative_depth } => {
                let reference = self.stack.pop(&mut self.builder);
                let (label, arguments) = self.label_arguments(relative_depth);
                let next = self.builder.create_block();
                self.builder.ins().brif(reference.value, next, &[], label, &arguments);
                self.continue_in(next);
                self.stack.push(&mut self.builder, reference);
            }
            Operator::BrOnNonNull { relative_depth } => {
                let (label, arguments) = self.label_arguments(relative_depth);
                let reference = self.stack.pop(&mut self.builder);
                let next = self.builder.create_block();
                self.builder.ins().brif(reference.value, label, &arguments, next, &[]);
                self.continue_in(next);
            }
            Operator::BrTable { ref targets } => {
                let index = self.pop();
                let mut calls = Vec::with_capacity(targets.len() as usize);
                for target in targets.targets() {
                    calls.push(self.block_call(target?));
                }
                let default = self.block_call(targets.default());
                let table = JumpTableData::new(default, &calls);
                let table = self.builder.create_jump_table(table);
                self.builder.ins().br_table(index, table);
                self.reachable = false;
            }
            Operator::Return => {
                let results = self.peek_many(self.ty.results.len());
                self.return_values(&results);
                self.reachable = false;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn push_frame(
        &mut self,
        kind: FrameKind,
        label: Block,
        params: &'a [ValType],
        results: &'a [ValType],
    ) {
        self.control.push(ControlFrame {
            kind,
            label,
            branched: false,
            params,
            results,
            height: self.stack.len() - params.len(),
            caught: None,
        });
    }

    /// The innermost frame is a legacy `try`, to which this one of the hidden locals belongs.
    pub(super) fn set_caught(&mut self, caught: Option<usize>) {
        let first = self.source.locals.len() - self.source.caught.count();
        if let Some(frame) = self.control.last_mut() {
            frame.caught = caught.map(|n| (first + n) as u32);
        }
    }

    pub(super) fn innermost_caught(&self) -> Option<u32> {
        self.control.last().and_then(|frame| frame.caught)
    }

    /// Operands below those of the innermost frame.
    pub(super) fn innermost_height(&self) -> usize {
        self.control.last().map_or(0, |frame| frame.height)
    }

    /// The hidden local of the `try` that a `rethrow` names.
    pub(super) fn caught_local(&self, depth: u32) -> u32 {
        let index = self.control.len() - 1 - depth as usize;
        self.control[index].caught.expect("a `try` that is named by a `rethrow` has a hidden local")
    }

    /// Operands below those that a branch carries.
    pub(super) fn label_height(&self, depth: u32) -> usize {
        self.control[self.control.len() - 1 - depth as usize].height
    }

    /// The block that a branch goes to which somebody makes.
    pub(super) fn branched_label(&mut self, depth: u32) -> Block {
        let index = self.control.len() - 1 - depth as usize;
        let frame = &mut self.control[index];
        frame.branched = true;
        frame.label
    }

    fn translate_loop(&mut self, ty: BlockType, point: u32) -> Result<(), TranslateError> {
        let (params, results) = block_type(self.source.env, ty)?;
        let header = self.create_block_with(params);
        let arguments = self.top_arguments(params.len());
        self.builder.ins().jump(header, &arguments);
        if self.source.entry == EntryPoint::Loop(point)
            && let Some(osr_block) = self.osr_block.take()
        {
            self.enter_loop_from_buffer(osr_block, header, point, params.len())?;
        }
        // Not sealed before its `end`: branches back to it are still to come.
        self.builder.switch_to_block(header);
        self.stack.truncate(self.stack.len() - params.len());
        self.push_block_params(header, params);
        self.push_frame(FrameKind::Loop, header, params, results);
        self.poll_loop(point)
    }

    fn translate_else(&mut self) {
        let Some(frame) = self.control.last_mut() else {
            return;
        };
        let kind = std::mem::replace(&mut frame.kind, FrameKind::Block);
        let height = frame.height;
        if self.reachable {
            self.jump_to_label(0);
            self.reachable = false;
        }
        if let FrameKind::If { false_arm, params } = kind {
            self.builder.switch_to_block(false_arm);
            self.reachable = true;
            self.stack.truncate(height);
            for operand in params {
                self.stack.push(&mut self.builder, operand);
            }
        }
    }

    pub(super) fn translate_end(&mut self) {
        // An `if` without `else` has an empty one: its parameters are its results.
        if let Some(frame) = self.control.last()
            && matches!(frame.kind, FrameKind::If { .. })
        {
            self.translate_else();
        }
        let Some(frame) = self.control.last() else {
            return;
        };
        if matches!(frame.kind, FrameKind::Loop) {
            let header = frame.label;
            self.builder.seal_block(header);
        } else if frame.branched {
            let (label, height, results) = (frame.label, frame.height, frame.results);
            if self.reachable {
                self.jump_to_label(0);
            }
            self.continue_in(label);
            self.stack.truncate(height);
            self.push_block_params(label, results);
        }
        let height = frame_end_height(self.control.pop(), self.stack.len());
        if !self.reachable {
            self.stack.truncate(height);
        } else if self.control.is_empty() {
            let results = self.peek_many(self.ty.results.len());
            self.return_values(&results);
            self.reachable = false;
        }
    }

    /// Jumps to the label with its operands, which stay on the stack.
    pub(super) fn jump_to_label(&mut self, depth: u32) {
        let (label, arguments) = self.label_arguments(depth);
        self.builder.ins().jump(label, &arguments);
    }

    fn block_call(&mut self, depth: u32) -> BlockCall {
        let (label, arguments) = self.label_arguments(depth);
        let pool = &mut self.builder.func.dfg.value_lists;
        BlockCall::new(label, arguments, pool)
    }

    /// The block that a branch goes to, and what it carries there.
    fn label_arguments(&mut self, depth: u32) -> (Block, BlockArgs) {
        let index = self.control.len() - 1 - depth as usize;
        let frame = &mut self.control[index];
        frame.branched = true;
        let (label, count) = (frame.label, frame.label_types().len());
        (label, self.top_arguments(count))
    }

    fn top_arguments(&mut self, count: usize) -> BlockArgs {
        self.peek_many(count).into_iter().map(BlockArg::Value).collect()
    }
}

/// Operands that are left when an unreachable frame ends.
fn frame_end_height(frame: Option<ControlFrame<'_>>, height: usize) -> usize {
    frame.map_or(0, |frame| frame.height).min(height)
}

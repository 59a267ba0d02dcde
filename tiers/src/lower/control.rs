//! Blocks, branches, calls and returns.

use super::Lowerer;
use super::arithmetic::Condition;
use super::code_buffer::Label;
use super::exceptions::Exceptions;
use super::operands::Operand;
use crate::interp::op::Op;
use crate::types::{FuncType, ValType, slot_count};
use midair_osr::SiteKind;
use std::collections::{HashMap, HashSet};
use wasmparser::{BlockType, BrTable};

/// More operands than that are moved by one instruction.
const MAX_SINGLE_MOVES: usize = 16;
/// A table takes its operands to more labels than that by one instruction for each, for an entry is a byte of the body.
const MAX_DETOURS_WITH_MOVES: usize = 16;

/// An open block. Operands are counted in slots.
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    ty: BlockType,
    /// Operands below the block's parameters.
    pub(super) height: usize,
    params: usize,
    pub(super) results: usize,
    /// Where branches to the block lead.
    pub(super) label: Label,
    /// Where an `if` goes whose condition is false.
    otherwise: Label,
    pub(super) exceptions: Exceptions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FrameKind {
    /// The body: branches to it return.
    Function,
    Block,
    Loop,
    /// An `if` whose `else` has not come.
    If,
    Else,
    TryTable,
    /// A legacy `try` of which no `catch` has come.
    Try,
    /// One that has.
    Catch,
}

impl Frame {
    /// The body, of a function with so many results.
    pub(super) fn of_function(results: usize) -> Frame {
        Frame {
            kind: FrameKind::Function,
            // Nothing is behind it.
            ty: BlockType::Empty,
            height: 0,
            params: 0,
            results,
            label: Label::NEW,
            otherwise: Label::NEW,
            exceptions: Exceptions::default(),
        }
    }

    /// Operands that a branch to the block takes along.
    fn arity(&self) -> usize {
        match self.kind {
            FrameKind::Loop => self.params,
            _ => self.results,
        }
    }
}

impl Lowerer<'_> {
    /// Slots of a block's parameters and of its results.
    pub(super) fn block_arity(&self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(ty) => (0, if ty == wasmparser::ValType::V128 { 2 } else { 1 }),
            BlockType::FuncType(index) => {
                let ty = &self.env.types[index as usize];
                (slot_count(&ty.params), slot_count(&ty.results))
            }
        }
    }

    pub(super) fn push_frame(&mut self, kind: FrameKind, ty: BlockType) {
        let (params, results) = self.block_arity(ty);
        let height = self.stack.height() - params;
        let (label, otherwise) = (Label::NEW, Label::NEW);
        let exceptions = Exceptions::inside(self.frames.last());
        self.frames.push(Frame { kind, ty, height, params, results, label, otherwise, exceptions });
    }

    pub(super) fn block(&mut self, ty: BlockType) {
        // The operands below have to be in the same place on every way out of the block. Its
        // parameters need not.
        let (params, _) = self.block_arity(ty);
        self.settle(self.stack.height() - params);
        self.push_frame(FrameKind::Block, ty);
    }

    pub(super) fn loop_(&mut self, ty: BlockType, point: u32) {
        self.settle(self.stack.height());
        self.push_frame(FrameKind::Loop, ty);
        let mut label = Label::NEW;
        self.code.bind(&mut label);
        if let Some(frame) = self.frames.last_mut() {
            frame.label = label;
        }
        let height = self.stack.height() as u32;
        let header = if self.is_exit(point) { Op::loop_exit } else { Op::loop_header };
        self.code.op(header).uint(self.state).uint(point).uint(height);
        self.note_site(SiteKind::Poll, point, 0);
    }

    pub(super) fn if_(&mut self, ty: BlockType) {
        let condition = self.pop_condition();
        self.settle(self.stack.height());
        self.push_frame(FrameKind::If, ty);
        if let Some(frame) = self.frames.last_mut() {
            condition.emit(&mut self.code, false, &mut frame.otherwise);
        }
    }

    pub(super) fn else_(&mut self) {
        if self.unreachable.is_some_and(|depth| depth > 0) {
            return;
        }
        let reachable = self.unreachable.take().is_none();
        let Some(frame) = self.frames.last() else {
            return;
        };
        let (height, results, ty) = (frame.height, frame.results, frame.ty);
        if reachable {
            self.move_operands(height, results);
        }
        if let Some(frame) = self.frames.last_mut() {
            if reachable {
                self.code.op(Op::br).branch(&mut frame.label);
            }
            self.code.bind(&mut frame.otherwise);
            frame.kind = FrameKind::Else;
        }
        self.stack.truncate(height);
        self.push_params(ty);
    }

    pub(super) fn end(&mut self, point: u32) {
        if let Some(depth) = &mut self.unreachable
            && *depth > 0
        {
            *depth -= 1;
            return;
        }
        match self.frames.last().map(|frame| frame.kind) {
            Some(FrameKind::TryTable) => self.end_try_table(point),
            Some(FrameKind::Try) => self.close_region(point),
            _ => {}
        }
        let reachable = self.unreachable.is_none();
        let Some(mut frame) = self.frames.pop() else {
            return;
        };
        if frame.kind == FrameKind::Function {
            if reachable {
                self.emit_return();
            }
            return;
        }
        let merges = match frame.kind {
            FrameKind::Loop | FrameKind::Function => false,
            FrameKind::If => true,
            FrameKind::Block
            | FrameKind::Else
            | FrameKind::TryTable
            | FrameKind::Try
            | FrameKind::Catch => frame.label.is_used(),
        };
        if !merges {
            // One way leads out at most, and the operands are as it left them.
            return;
        }
        if reachable {
            self.move_operands(frame.height, frame.results);
        }
        if frame.kind == FrameKind::If {
            // The parameters, which are the results, are in their temporaries.
            self.code.bind(&mut frame.otherwise);
        }
        self.code.bind(&mut frame.label);
        self.unreachable = None;
        self.stack.truncate(frame.height);
        self.push_results(frame.ty);
    }

    /// A block's parameters, in their temporaries.
    fn push_params(&mut self, ty: BlockType) {
        if let BlockType::FuncType(index) = ty {
            let env = self.env;
            self.push_temps(&env.types[index as usize].params);
        }
    }

    /// A block's results, in their temporaries.
    fn push_results(&mut self, ty: BlockType) {
        match ty {
            BlockType::Empty => {}
            BlockType::Type(wasmparser::ValType::V128) => drop(self.push_vector_temp()),
            BlockType::Type(_) => drop(self.push_temp()),
            BlockType::FuncType(index) => {
                let env = self.env;
                self.push_temps(&env.types[index as usize].results);
            }
        }
    }

    /// Copies the topmost `count` operands to the temporaries from `to` on, which are their own or
    /// lower ones. The operand stack stays as it is, but for many operands, which get settled.
    pub(super) fn move_operands(&mut self, to: usize, count: usize) {
        self.move_operands_singly(to, count, MAX_SINGLE_MOVES);
    }

    /// The same, with more than `most` moved by one instruction.
    fn move_operands_singly(&mut self, to: usize, count: usize, most: usize) {
        let first = self.stack.height() - count;
        if count > most {
            self.settle(first + count);
            if first != to {
                let (to, from) = (self.temp_slot(to), self.temp_slot(first));
                self.code.op(Op::copy_span).far_slot(to).far_slot(from).uint(count as u32);
            }
            return;
        }
        let mut i = 0;
        // Upwards: no source is overwritten before it has been read, because every destination is
        // at or below its own source.
        while i < count {
            let (operand, slot) = (self.stack.get(first + i), self.temp_slot(to + i));
            if i + 1 < count
                && let Some(a) = self.moved_slot(first + i, to + i)
                && let Some(b) = self.moved_slot(first + i + 1, to + i + 1)
                && ![slot, a, b].iter().any(|&slot| self.code.is_far(slot))
            {
                self.code.op(Op::copy2).slot(slot).slot(a).slot(b);
                i += 2;
                continue;
            }
            self.emit_copy(slot, operand, first + i);
            i += 1;
        }
    }

    /// Before a branch that may not be taken: settles the operands that it takes along if they are many, so
    /// that the code that moves them is short. Otherwise each of many such branches would have to copy all that
    /// a few bytes have pushed.
    fn prepare_moves(&mut self, count: usize) {
        if count > MAX_SINGLE_MOVES {
            self.settle(self.stack.height());
        }
    }

    /// The slot that operand `index` has to be copied from to be in temporary `to`, if it has to be
    /// and is in one.
    fn moved_slot(&self, index: usize, to: usize) -> Option<i32> {
        match self.stack.get(index) {
            Operand::Local(local) => Some(self.local_slot(local)),
            Operand::Temp if index != to => Some(self.temp_slot(index)),
            _ => None,
        }
    }

    /// Whether a branch to the frame at this index of `frames` is nothing but a jump.
    fn is_plain_branch(&self, index: usize) -> bool {
        let frame = &self.frames[index];
        let (count, height) = (frame.arity(), self.stack.height());
        frame.kind != FrameKind::Function
            && (count == 0
                || (height - count == frame.height
                    && (self.stack.first_unsettled() >= height
                        || (height - count..height).all(|i| self.stack.get(i) == Operand::Temp))))
    }

    /// Emits what leads to the frame at this index of `frames`, with its operands on top of the
    /// stack, which stays as it is.
    pub(super) fn emit_branch(&mut self, index: usize) {
        self.emit_branch_with(index, MAX_SINGLE_MOVES);
    }

    /// The same, with more operands than `most` moved by one instruction.
    fn emit_branch_with(&mut self, index: usize, most: usize) {
        let frame = &self.frames[index];
        if frame.kind == FrameKind::Function {
            self.emit_return();
            return;
        }
        let (height, arity) = (frame.height, frame.arity());
        self.move_operands_singly(height, arity, most);
        self.code.op(Op::br).branch(&mut self.frames[index].label);
    }

    pub(super) fn frame_at(&self, depth: u32) -> usize {
        self.frames.len() - 1 - depth as usize
    }

    pub(super) fn br(&mut self, depth: u32) {
        let index = self.frame_at(depth);
        self.emit_branch(index);
        self.unreachable = Some(0);
    }

    pub(super) fn br_if(&mut self, depth: u32) {
        let index = self.frame_at(depth);
        let condition = self.pop_condition();
        self.prepare_moves(self.frames[index].arity());
        if self.is_plain_branch(index) {
            let label = &mut self.frames[index].label;
            condition.emit(&mut self.code, true, label);
        } else {
            let mut skip = Label::NEW;
            condition.emit(&mut self.code, false, &mut skip);
            self.emit_branch(index);
            self.code.bind(&mut skip);
        }
    }

    /// Branches without the reference on top if that is null, and goes on with it otherwise.
    pub(super) fn br_on_null(&mut self, depth: u32) {
        let index = self.frame_at(depth);
        let (operand, temp) = self.pop();
        self.prepare_moves(self.frames[index].arity());
        let slot = self.slot_of(operand, temp);
        if self.is_plain_branch(index) {
            let code = self.code.op(Op::br_if_i64_eq_si).slot(slot).imm(0);
            code.branch(&mut self.frames[index].label);
        } else {
            let mut skip = Label::NEW;
            self.code.op(Op::br_if_i64_ne_si).slot(slot).imm(0).branch(&mut skip);
            self.emit_branch(index);
            self.code.bind(&mut skip);
        }
        self.stack.push(operand);
    }

    /// Branches with the reference on top unless that is null, and goes on without it otherwise.
    pub(super) fn br_on_non_null(&mut self, depth: u32) {
        let index = self.frame_at(depth);
        self.prepare_moves(self.frames[index].arity());
        let (operand, temp) = self.pop();
        let slot = self.slot_of(operand, temp);
        self.stack.push(operand);
        if self.is_plain_branch(index) {
            let code = self.code.op(Op::br_if_i64_ne_si).slot(slot).imm(0);
            code.branch(&mut self.frames[index].label);
        } else {
            let mut skip = Label::NEW;
            self.code.op(Op::br_if_i64_eq_si).slot(slot).imm(0).branch(&mut skip);
            self.emit_branch(index);
            self.code.bind(&mut skip);
        }
        self.pop();
    }

    pub(super) fn br_table(&mut self, targets: &BrTable<'_>) {
        let index = self.pop_slot();
        // All targets have the same arity.
        let arity = self.frames[self.frame_at(targets.default())].arity();
        self.prepare_moves(arity);
        let depths = || targets.targets().filter_map(Result::ok).chain([targets.default()]);
        let moved = depths().filter(|&depth| !self.is_plain_branch(self.frame_at(depth)));
        let are_many = moved.collect::<HashSet<_>>().len() > MAX_DETOURS_WITH_MOVES;
        let most = if are_many { 1 } else { MAX_SINGLE_MOVES };
        if arity > most {
            self.settle(self.stack.height());
        }
        self.code.op(Op::br_table).slot(index).uint(targets.len() + 1);
        let mut detours: HashMap<u32, Label> = HashMap::new();
        let mut order = Vec::new();
        for depth in depths() {
            let frame = self.frame_at(depth);
            if self.is_plain_branch(frame) {
                self.code.branch_entry(&mut self.frames[frame].label);
            } else {
                let label = detours.entry(depth).or_insert_with(|| {
                    order.push(depth);
                    Label::NEW
                });
                self.code.branch_entry(label);
            }
        }
        for depth in order {
            if let Some(label) = detours.get_mut(&depth) {
                self.code.bind(label);
            }
            self.emit_branch_with(self.frame_at(depth), most);
        }
        self.unreachable = Some(0);
    }

    pub(super) fn return_(&mut self) {
        self.emit_return();
        self.unreachable = Some(0);
    }

    /// Emits a return of the operands on top of the stack, which stays as it is.
    fn emit_return(&mut self) {
        // The first slot of the frame.
        let to = -(self.locals as i32);
        let first = self.stack.height() - self.results;
        if self.results == 0 {
            self.code.op(Op::return0);
            return;
        }
        if self.results == 1 && !self.code.is_far(to) {
            let from = match self.stack.get(first) {
                Operand::Const(bits) => {
                    self.code.op(Op::return1_imm).slot(to).quad(bits);
                    return;
                }
                Operand::Local(local) => self.local_slot(local),
                Operand::Temp => self.temp_slot(first),
            };
            if !self.code.is_far(from) {
                self.code.op(Op::return1).slot(to).slot(from);
                return;
            }
        }
        self.move_operands(first, self.results);
        let from = self.temp_slot(first);
        let count = self.results as u32;
        self.code.op(Op::return_span).far_slot(to).far_slot(from).uint(count);
    }

    pub(super) fn call(&mut self, function: u32, point: u32) {
        let env = self.env;
        let ty = env.func_type(function);
        let args = self.place_arguments(&ty.params);
        let is_far = self.code.is_far(args);
        if function < self.env.imported_functions {
            let op = if is_far { Op::call_import_far } else { Op::call_import };
            self.code.op(op).uint(function);
        } else {
            let op = if is_far { Op::call_far } else { Op::call };
            let state = self.state_offset(function);
            self.code.op(op).uint(state);
        }
        self.first_argument(args);
        self.finish_call(&ty.params, &ty.results, point);
    }

    pub(super) fn call_indirect(&mut self, type_index: u32, table: u32, point: u32) {
        let env = self.env;
        let ty = &env.types[type_index as usize];
        let (operand, temp) = self.pop();
        let index = self.slot_of(operand, temp);
        let args = self.place_arguments(&ty.params);
        let is_far = self.code.is_far(args);
        let op = if is_far { Op::call_indirect_far } else { Op::call_indirect };
        let code = self.code.op(op).slot(index);
        code.uint(table).uint(type_index).uint(self.env.imported_functions);
        self.first_argument(args);
        self.finish_call(&ty.params, &ty.results, point);
    }

    pub(super) fn call_ref(&mut self, type_index: u32, point: u32) {
        let env = self.env;
        let ty = &env.types[type_index as usize];
        let (operand, temp) = self.pop();
        let reference = self.slot_of(operand, temp);
        let args = self.place_arguments(&ty.params);
        let op = if self.code.is_far(args) { Op::call_ref_far } else { Op::call_ref };
        let code = self.code.op(op).slot(reference);
        code.uint(type_index).uint(self.env.imported_functions);
        self.first_argument(args);
        self.finish_call(&ty.params, &ty.results, point);
    }

    pub(super) fn return_call(&mut self, function: u32) {
        let args = self.place_tail_arguments(self.env.func_type(function));
        let is_far = self.code.is_far(args);
        if function < self.env.imported_functions {
            let op = if is_far { Op::return_call_import_far } else { Op::return_call_import };
            self.code.op(op).uint(function);
        } else {
            let op = if is_far { Op::return_call_far } else { Op::return_call };
            let state = self.state_offset(function);
            self.code.op(op).uint(state);
        }
        self.first_argument(args);
        self.unreachable = Some(0);
    }

    pub(super) fn return_call_indirect(&mut self, type_index: u32, table: u32) {
        let (operand, temp) = self.pop();
        let index = self.slot_of(operand, temp);
        let args = self.place_tail_arguments(&self.env.types[type_index as usize]);
        let is_far = self.code.is_far(args);
        let op = if is_far { Op::return_call_indirect_far } else { Op::return_call_indirect };
        let code = self.code.op(op).slot(index);
        code.uint(table).uint(type_index).uint(self.env.imported_functions);
        self.first_argument(args);
        self.unreachable = Some(0);
    }

    pub(super) fn return_call_ref(&mut self, type_index: u32) {
        let (operand, temp) = self.pop();
        let reference = self.slot_of(operand, temp);
        let args = self.place_tail_arguments(&self.env.types[type_index as usize]);
        let is_far = self.code.is_far(args);
        let op = if is_far { Op::return_call_ref_far } else { Op::return_call_ref };
        let code = self.code.op(op).slot(reference);
        code.uint(type_index).uint(self.env.imported_functions);
        self.first_argument(args);
        self.unreachable = Some(0);
    }

    /// Puts the arguments into their temporaries and answers the slot of the first. Nobody reads the operands below them
    /// any more.
    fn place_tail_arguments(&mut self, ty: &FuncType) -> i32 {
        self.has_tail_calls = true;
        let count = slot_count(&ty.params);
        let first = self.stack.height() - count;
        self.move_operands(first, count);
        self.temp_slot(first)
    }

    /// The last operand of a call: where its arguments begin.
    pub(super) fn first_argument(&mut self, slot: i32) {
        if self.code.is_far(slot) {
            self.code.far_slot(slot);
        } else {
            self.code.slot(slot);
        }
    }

    /// Puts a call's arguments into their temporaries and answers the slot of the first.
    pub(super) fn place_arguments(&mut self, params: &[ValType]) -> i32 {
        let count = slot_count(params);
        let first = self.stack.height() - count;
        if first.saturating_sub(self.stack.first_unsettled()) > self.unsettled_at_call {
            self.settle(first);
        }
        self.move_operands(first, count);
        self.temp_slot(first)
    }

    pub(super) fn finish_call(&mut self, params: &[ValType], results: &[ValType], point: u32) {
        self.stack.truncate(self.stack.height() - slot_count(params));
        self.note_site(SiteKind::Call, point, slot_count(results));
        if self.is_exit(point) {
            self.code.op(Op::call_exit);
        }
        self.push_temps(results);
    }

    fn pop_condition(&mut self) -> Condition {
        let (operand, temp) = self.pop();
        if operand == Operand::Temp
            && let Some(op) = self.code.last_result(self.temp_slot(temp))
            && Condition::can_fuse(op)
            && let Some(taken) = self.code.take_back()
        {
            return Condition::Fused(taken);
        }
        Condition::Slot(self.slot_of(operand, temp))
    }
}

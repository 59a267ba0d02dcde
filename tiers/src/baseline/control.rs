//! Branches, calls, returns and loops.

use super::assembler::{Alu, Cond, Label, Load, Mem, Reg, Width};
use super::instruction::Instruction;
use super::registers::{CX, FLOAT_SCRATCH, FP, IP, SCRATCH, ST};
use super::translator::Translator;
use crate::context::{FuncRef, FunctionState, InstanceContext, StoreContext, TableDef};
use crate::lowered::frame::{CALLER_FP, CODE, RETURN_IP};
use crate::trap::TrapCode;
use std::mem::offset_of;

/// More slots than that are zeroed by a loop.
const MAX_SINGLE_ZEROES: u32 = 16;

impl Translator<'_> {
    /// The entry for callers that have baseline code: `rax` is the address of the arguments, `rdi` that of the word that
    /// the call returns to. Does what a call in the interpreter does, and if there is anything unusual leaves it to that.
    /// Answers its offset.
    pub(super) fn entry_for_baseline_code(&mut self) -> u32 {
        let lowered = self.lowered;
        let entry = self.asm.len() as u32;
        let unusual = self.asm.label();
        let state = self.own_state();
        let header = lowered.locals as i32 * 8;
        let Ok(frame_bytes) = i32::try_from(lowered.frame_bytes) else {
            // No frame of it can be made.
            self.call_by_handler();
            return entry;
        };
        self.asm.lea(Width::W64, Reg::R10, Mem::at(SCRATCH, frame_bytes));
        let limit = Mem::at(ST, StoreContext::VALUE_LIMIT);
        self.asm.alu_mem(Alu::Cmp, Width::W64, Reg::R10, limit);
        self.asm.jcc(Cond::Above, unusual);
        self.count_and_poll(state, unusual);
        self.asm.store(8, Mem::at(SCRATCH, header + RETURN_IP as i32 * 8), IP);
        self.asm.store(8, Mem::at(SCRATCH, header + CALLER_FP as i32 * 8), FP);
        self.asm.lea(Width::W64, FP, Mem::at(SCRATCH, header));
        self.asm.mov_imm64(IP, std::ptr::from_ref(lowered) as u64);
        self.asm.store(8, Mem::at(FP, CODE as i32 * 8), IP);
        self.zero_locals();
        let body = self.asm.label();
        self.asm.jmp(body);
        self.asm.bind(unusual);
        self.call_by_handler();
        self.asm.bind(body);
        entry
    }

    fn zero_locals(&mut self) {
        let (locals, params) = (self.lowered.locals, self.lowered.params);
        let count = locals - params;
        if count == 0 {
            return;
        }
        self.asm.zero_xmm(FLOAT_SCRATCH);
        let first = -(count as i32) * 8;
        if count <= MAX_SINGLE_ZEROES {
            for pair in 0..count / 2 {
                self.asm.store_xmm128(Mem::at(FP, first + pair as i32 * 16), FLOAT_SCRATCH);
            }
            if count % 2 == 1 {
                self.asm.store_xmm(Mem::at(FP, -8), FLOAT_SCRATCH);
            }
            return;
        }
        // From the last pair down; of an odd number the first is zeroed twice.
        let (again, odd) = (self.asm.label(), count % 2 == 1);
        if odd {
            self.asm.store_xmm(Mem::at(FP, first), FLOAT_SCRATCH);
        }
        self.asm.mov_imm(SCRATCH, u64::from(count / 2 * 16).wrapping_neg());
        self.asm.bind(again);
        self.asm.store_xmm128(Mem::indexed(FP, SCRATCH, 0, 0), FLOAT_SCRATCH);
        self.asm.alu_imm(Alu::Add, Width::W64, SCRATCH, 16);
        self.asm.jcc(Cond::NotEqual, again);
    }

    /// Offset of this function's state in the instance's `functions`.
    fn own_state(&self) -> i32 {
        let index = self.lowered.body().function - self.env.imported_functions;
        (index as usize * FunctionState::SIZE) as i32
    }

    /// Counts a call or an iteration, and looks whether someone wants attention.
    fn count_and_poll(&mut self, state: i32, unusual: Label) {
        self.asm.load(Load::U64, Reg::R10, Mem::at(CX, InstanceContext::FUNCTIONS));
        let countdown = Mem::at(Reg::R10, state + FunctionState::COUNTDOWN);
        self.asm.alu_imm_mem(Alu::Sub, Width::W32, countdown, 1);
        self.asm.jcc(Cond::Sign, unusual);
        self.asm.alu_imm_mem(Alu::Cmp, Width::W64, Mem::at(ST, StoreContext::POLL_FLAG), 0);
        self.asm.jcc(Cond::NotEqual, unusual);
    }

    /// Leaves a call to the handler of the instruction that ends at the word in `rdi`.
    fn call_by_handler(&mut self) {
        self.asm.load(Load::U32, SCRATCH, Mem::at(IP, 12));
        self.asm.alu(Alu::Sub, Width::W64, IP, SCRATCH);
        self.asm.jmp_mem(Mem::at(IP, 0));
    }

    /// `loop_header`. Everything is written.
    pub(super) fn loop_header(&mut self, i: Instruction<'_>) {
        // What lies in `r10` would be overwritten: the check is in scratch registers.
        let back = self.asm.label();
        let state = self.registers.state();
        let unwritten = self.registers.write_all_elsewhere();
        let unusual = self.handler_aside(i, unwritten, state, back);
        self.asm.load(Load::U64, SCRATCH, Mem::at(CX, InstanceContext::FUNCTIONS));
        let countdown = Mem::at(SCRATCH, i.int(8) + FunctionState::COUNTDOWN);
        self.asm.alu_imm_mem(Alu::Sub, Width::W32, countdown, 1);
        self.asm.jcc(Cond::Sign, unusual);
        self.asm.alu_imm_mem(Alu::Cmp, Width::W64, Mem::at(ST, StoreContext::POLL_FLAG), 0);
        self.asm.jcc(Cond::NotEqual, unusual);
        self.asm.bind(back);
    }

    /// A jump to the instruction at `at`.
    pub(super) fn branch(&mut self, at: u32) {
        self.registers.write_all(&mut self.asm);
        let label = self.edge(at);
        self.asm.jmp(label);
    }

    /// A jump to the instruction at `at` where the flags say so. Everything must have been written.
    pub(super) fn branch_if(&mut self, cond: Cond, at: u32) {
        let label = self.edge(at);
        self.asm.jcc(cond, label);
    }

    pub(super) fn br_table(&mut self, i: Instruction<'_>) {
        let index = self.registers.read(&mut self.asm, i.slot(8));
        self.registers.was_read(i.slot(8));
        self.registers.write_all(&mut self.asm);
        // The last entry is the default.
        let last = i.uint(10) - 1;
        let mut edges: Vec<(u32, Label)> = Vec::new();
        let targets: Vec<u32> = i.targets().collect();
        let mut entries = Vec::with_capacity(targets.len());
        let mut sorted = targets.clone();
        sorted.sort_unstable();
        sorted.dedup();
        for target in sorted {
            edges.push((target, self.edge_of_table(target)));
        }
        for target in targets {
            let found = edges.binary_search_by_key(&target, |edge| edge.0);
            entries.push(edges[found.expect("each target has an edge")].1);
        }
        if last == 0 {
            self.asm.jmp(entries[0]);
            return;
        }
        let default = entries[last as usize];
        let table = self.jump_table(entries);
        self.asm.alu_imm(Alu::Cmp, Width::W32, index, last as i32);
        self.asm.jcc(Cond::AboveOrEqual, default);
        self.asm.mov(Width::W32, SCRATCH, index);
        self.asm.lea_label(IP, table);
        self.asm.load(Load::S32, SCRATCH, Mem::indexed(IP, SCRATCH, 2, 0));
        self.asm.alu(Alu::Add, Width::W64, SCRATCH, IP);
        self.asm.jmp_reg(SCRATCH);
    }

    /// `call`: the arguments begin at slot `arguments`.
    pub(super) fn call(&mut self, i: Instruction<'_>, arguments: i32) {
        self.registers.write_all(&mut self.asm);
        self.registers.forget_all();
        let behind = self.asm.label();
        let (_, word) = self.word(i, behind);
        self.asm.lea(Width::W64, SCRATCH, Mem::at(FP, arguments * 8));
        self.continuation_address(IP, word);
        self.asm.load(Load::U64, Reg::R10, Mem::at(CX, InstanceContext::FUNCTIONS));
        self.asm.jmp_mem(Mem::at(Reg::R10, i.int(8) + FunctionState::BASELINE));
        self.asm.bind(behind);
    }

    /// `call_indirect`.
    pub(super) fn call_indirect(&mut self, i: Instruction<'_>, arguments: i32) {
        let index = self.registers.read(&mut self.asm, i.slot(8));
        // The handler wants it where it belongs.
        self.registers.write_all(&mut self.asm);
        self.registers.forget_all();
        let behind = self.asm.label();
        let (copy, word) = self.word(i, behind);
        let unusual = self.asm.label();
        self.asm.load(Load::U64, SCRATCH, Mem::at(CX, InstanceContext::TABLES));
        self.asm.load(Load::U64, SCRATCH, Mem::at(SCRATCH, i.int(10) * 8));
        let len = Mem::at(SCRATCH, offset_of!(TableDef, len) as i32);
        self.asm.alu_mem(Alu::Cmp, Width::W64, index, len);
        self.asm.jcc(Cond::AboveOrEqual, unusual);
        let base = Mem::at(SCRATCH, offset_of!(TableDef, base) as i32);
        self.asm.load(Load::U64, SCRATCH, base);
        self.asm.load(Load::U64, SCRATCH, Mem::indexed(SCRATCH, index, 3, 0));
        self.asm.test(Width::W64, SCRATCH, SCRATCH);
        self.asm.jcc(Cond::Equal, unusual);
        self.asm.load(Load::U64, IP, Mem::at(CX, InstanceContext::SIGNATURES));
        self.asm.load(Load::U32, IP, Mem::at(IP, i.int(14) * 4));
        self.asm.alu_mem(Alu::Cmp, Width::W32, IP, Mem::at(SCRATCH, FuncRef::SIGNATURE));
        self.asm.jcc(Cond::NotEqual, unusual);
        self.call_reference(i.int(18), arguments, word, unusual);
        self.asm.bind(unusual);
        self.continuation_address(IP, copy);
        self.asm.jmp_mem(Mem::at(IP, 0));
        self.asm.bind(behind);
    }

    /// `call_ref`.
    pub(super) fn call_ref(&mut self, i: Instruction<'_>, arguments: i32) {
        let reference = self.registers.read(&mut self.asm, i.slot(8));
        self.registers.write_all(&mut self.asm);
        self.registers.forget_all();
        let behind = self.asm.label();
        let (copy, word) = self.word(i, behind);
        let unusual = self.asm.label();
        self.asm.mov(Width::W64, SCRATCH, reference);
        self.asm.test(Width::W64, SCRATCH, SCRATCH);
        self.asm.jcc(Cond::Equal, unusual);
        self.call_reference(i.int(14), arguments, word, unusual);
        self.asm.bind(unusual);
        self.continuation_address(IP, copy);
        self.asm.jmp_mem(Mem::at(IP, 0));
        self.asm.bind(behind);
    }

    /// Calls the function that the reference in the scratch register is one to, if it is this instance's.
    fn call_reference(&mut self, imported: i32, arguments: i32, word: u32, unusual: Label) {
        self.asm.alu_mem(Alu::Cmp, Width::W64, CX, Mem::at(SCRATCH, FuncRef::CONTEXT));
        self.asm.jcc(Cond::NotEqual, unusual);
        self.asm.load(Load::U32, Reg::R10, Mem::at(SCRATCH, FuncRef::INDEX));
        // A reference to an import has another context.
        self.asm.alu_imm(Alu::Sub, Width::W32, Reg::R10, imported);
        self.asm.imul_imm(Width::W64, Reg::R10, Reg::R10, FunctionState::SIZE as i32);
        let functions = Mem::at(CX, InstanceContext::FUNCTIONS);
        self.asm.alu_mem(Alu::Add, Width::W64, Reg::R10, functions);
        self.asm.lea(Width::W64, SCRATCH, Mem::at(FP, arguments * 8));
        self.continuation_address(IP, word);
        self.asm.jmp_mem(Mem::at(Reg::R10, FunctionState::BASELINE));
    }

    pub(super) fn return0(&mut self) {
        self.asm.load(Load::U64, IP, Mem::at(FP, RETURN_IP as i32 * 8));
        self.asm.load(Load::U64, FP, Mem::at(FP, CALLER_FP as i32 * 8));
        self.asm.jmp_mem(Mem::at(IP, 0));
    }

    /// Returns this register's value; `to` is the slot of the result.
    pub(super) fn return1(&mut self, to: i32, value: Reg) {
        // The header goes first: in a function without locals the result overwrites it.
        self.asm.load(Load::U64, IP, Mem::at(FP, RETURN_IP as i32 * 8));
        self.asm.load(Load::U64, SCRATCH, Mem::at(FP, CALLER_FP as i32 * 8));
        self.asm.store(8, Mem::at(FP, to * 8), value);
        self.asm.mov(Width::W64, FP, SCRATCH);
        self.asm.jmp_mem(Mem::at(IP, 0));
    }

    pub(super) fn fuel(&mut self, i: Instruction<'_>) {
        let fuel = Mem::at(ST, StoreContext::FUEL);
        self.asm.load(Load::U64, SCRATCH, fuel);
        match i32::try_from(i.quad(8)) {
            Ok(cost) => self.asm.alu_imm(Alu::Sub, Width::W64, SCRATCH, cost),
            Err(_) => {
                self.asm.mov_imm(IP, i.quad(8));
                self.asm.alu(Alu::Sub, Width::W64, SCRATCH, IP);
            }
        }
        self.trap_if(Cond::Sign, i, TrapCode::OutOfFuel);
        self.asm.store(8, fuel, SCRATCH);
    }

    pub(super) fn count_call(&mut self) {
        let calls = StoreContext::CALLS + StoreContext::BASELINE_CALLS as i32 * 8;
        self.asm.alu_imm_mem(Alu::Add, Width::W64, Mem::at(ST, calls), 1);
    }
}

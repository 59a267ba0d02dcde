//! The pass over the lowered code: labels, what is left to handlers, traps.

use super::assembler::{Alu, Assembler, Cond, Label, Load, Mem, Reg, Width};
use super::instruction::Instruction;
use super::registers::{FP, IP, Registers, SCRATCH, State, Unwritten};
use crate::interp::machine::trap_handler;
use crate::lowered::code::LoweredCode;
use crate::lowered::continuations::ContinuationsBuilder;
use crate::lowered::frame::{CODE, HEADER};
use crate::module_env::ModuleEnv;
use crate::trap::TrapCode;

/// What the pass makes.
pub(super) struct Translated {
    pub(super) code: Vec<u8>,
    /// Offset of the entry for callers that have baseline code.
    pub(super) entry: u32,
    pub(super) continuations: ContinuationsBuilder,
    /// Offset in the code of where each word leads.
    pub(super) words: Vec<u32>,
    /// Where the code holds addresses in the continuations, as offsets from their base.
    pub(super) addresses: Vec<u32>,
}

/// Where lowered branches lead.
pub(super) struct Target {
    at: u32,
    label: Label,
    /// What all that lead here have in registers. Once the label is bound, those that come later must have it.
    state: Option<State>,
    is_bound: bool,
    /// By which tables of jumps get here that cannot come here directly.
    edge_of_tables: Option<Label>,
}

/// Code that stands behind the rest.
enum Aside {
    Trap {
        label: Label,
        at: u32,
        code: TrapCode,
    },
    /// The instruction is left to its handler, with what it finds in registers written first.
    Handler {
        label: Label,
        unwritten: Unwritten,
        copy: u32,
        again: Label,
        then: State,
        back: Label,
    },
    /// Goes on in the interpreter.
    Interpreted {
        label: Label,
        at: u32,
    },
    /// On the way to a label more has to be in registers.
    Edge {
        label: Label,
        from: State,
        to: usize,
    },
}

pub(super) struct Translator<'a> {
    pub(super) env: &'a ModuleEnv,
    pub(super) lowered: &'a LoweredCode,
    pub(super) asm: Assembler,
    pub(super) registers: Registers,
    pub(super) features: Features,
    /// Ascending.
    targets: Vec<Target>,
    aside: Vec<Aside>,
    continuations: ContinuationsBuilder,
    words: Vec<Label>,
    addresses: Vec<u32>,
    /// The tables of `br_table`s.
    tables: Vec<(Label, Vec<Label>)>,
    reachable: bool,
}

/// What the processor has beyond SSE2.
#[derive(Clone, Copy)]
pub(super) struct Features {
    pub(super) lzcnt: bool,
    pub(super) bmi1: bool,
    pub(super) popcnt: bool,
    pub(super) sse41: bool,
}

impl Features {
    pub(super) fn detect() -> Features {
        Features {
            lzcnt: is_x86_feature_detected!("lzcnt"),
            bmi1: is_x86_feature_detected!("bmi1"),
            popcnt: is_x86_feature_detected!("popcnt"),
            sse41: is_x86_feature_detected!("sse4.1"),
        }
    }
}

impl<'a> Translator<'a> {
    pub(super) fn new(
        env: &'a ModuleEnv,
        lowered: &'a LoweredCode,
        features: Features,
    ) -> Translator<'a> {
        let size = lowered.bytes().len();
        Translator {
            env,
            lowered,
            asm: Assembler::with_capacity(size),
            registers: Registers::new(HEADER as i32),
            features,
            targets: Vec::new(),
            aside: Vec::new(),
            continuations: ContinuationsBuilder::default(),
            words: Vec::new(),
            addresses: Vec::new(),
            tables: Vec::new(),
            reachable: true,
        }
    }

    pub(super) fn translate(mut self) -> Translated {
        self.find_targets();
        let entry = self.prologue();
        let code = self.lowered.bytes();
        let (mut at, mut next_target) = (0, 0);
        while at < code.len() {
            if self.targets.get(next_target).is_some_and(|target| target.at as usize == at) {
                self.bind_target(next_target);
                next_target += 1;
            }
            let instruction = Instruction::read(code, at);
            at = instruction.end();
            if self.reachable {
                self.instruction(instruction);
                self.registers.end_instruction();
                self.reachable = !instruction.is_last();
            }
        }
        self.write_aside();
        self.write_tables();
        let words = self.words.iter().map(|&word| self.asm.offset(word)).collect();
        let code = self.asm.finish();
        Translated {
            code,
            entry,
            continuations: self.continuations,
            words,
            addresses: self.addresses,
        }
    }

    fn find_targets(&mut self) {
        let code = self.lowered.bytes();
        let mut found = Vec::new();
        let mut at = 0;
        while at < code.len() {
            let instruction = Instruction::read(code, at);
            found.extend(instruction.targets());
            at = instruction.end();
        }
        found.sort_unstable();
        found.dedup();
        let asm = &mut self.asm;
        let target = |at| Target {
            at,
            label: asm.label(),
            state: None,
            is_bound: false,
            edge_of_tables: None,
        };
        self.targets = found.into_iter().map(target).collect();
    }

    fn bind_target(&mut self, index: usize) {
        if self.reachable {
            self.registers.write_all(&mut self.asm);
            self.arrive(index, self.registers.state());
        }
        let target = &mut self.targets[index];
        target.is_bound = true;
        // Nothing leads to it, or something that comes later and has nothing in registers for it.
        let state = *target.state.get_or_insert(State::EMPTY);
        self.reachable = true;
        self.registers.set_state(&state);
        let label = target.label;
        self.asm.bind(label);
    }

    /// Something with this in registers leads to a label that is not bound.
    fn arrive(&mut self, index: usize, state: State) {
        match &mut self.targets[index].state {
            Some(common) => common.intersect(&state),
            none => *none = Some(state),
        }
    }

    fn target_index(&self, at: u32) -> usize {
        let found = self.targets.binary_search_by_key(&at, |target| target.at);
        found.expect("the targets of all branches have been found")
    }

    /// The label by which code with the present registers, all written, gets to the lowered instruction at `at`.
    pub(super) fn edge(&mut self, at: u32) -> Label {
        let (index, state) = (self.target_index(at), self.registers.state());
        self.direct_edge(index, state).unwrap_or_else(|| self.edge_aside(index, state))
    }

    /// The same for an entry of a table. Each is a byte of the body or two, so that all tables share what leads to a label,
    /// which loads everything, whatever is in the registers.
    pub(super) fn edge_of_table(&mut self, at: u32) -> Label {
        let (index, state) = (self.target_index(at), self.registers.state());
        if let Some(label) = self.direct_edge(index, state) {
            return label;
        }
        if let Some(label) = self.targets[index].edge_of_tables {
            return label;
        }
        let label = self.edge_aside(index, State::EMPTY);
        self.targets[index].edge_of_tables = Some(label);
        label
    }

    /// The target's own label, if code with this in registers can go there.
    fn direct_edge(&mut self, index: usize, state: State) -> Option<Label> {
        let target = &self.targets[index];
        let label = target.label;
        if !target.is_bound {
            self.arrive(index, state);
            return Some(label);
        }
        target.state.is_some_and(|wanted| wanted.is_within(&state)).then_some(label)
    }

    /// A label that loads what a bound target has in registers and `from` has not.
    fn edge_aside(&mut self, index: usize, from: State) -> Label {
        let label = self.asm.label();
        self.aside.push(Aside::Edge { label, from, to: index });
        label
    }

    // Leaving instructions to their handlers.

    /// Sets a register to the address of this byte of the continuations.
    pub(super) fn continuation_address(&mut self, reg: Reg, offset: u32) {
        let at = self.asm.mov_imm64(reg, u64::from(offset));
        self.addresses.push(at);
    }

    /// Makes the copy of an instruction and the word behind it. Answers where they are.
    pub(super) fn word(&mut self, instruction: Instruction<'_>, leads_to: Label) -> (u32, u32) {
        let bytes = instruction.bytes();
        let word = self.continuations.add(bytes, instruction.end() as u32);
        self.words.push(leads_to);
        (word - bytes.len() as u32, word)
    }

    /// The word of the entry.
    fn entry_word(&mut self, leads_to: Label) {
        self.continuations.add(&[], 0);
        self.words.push(leads_to);
    }

    /// Leaves an instruction to its handler.
    pub(super) fn leave_to_handler(&mut self, instruction: Instruction<'_>) {
        for slot in instruction.sources() {
            if !self.registers.holds(slot) {
                self.registers.assert_written(slot);
            }
        }
        self.registers.write_all(&mut self.asm);
        if instruction.writes_ranges() {
            self.registers.forget_all();
        } else {
            self.registers.forget_all_but_unwritten(instruction.destinations());
        }
        let behind = self.asm.label();
        let (copy, _) = self.word(instruction, behind);
        self.jump_to_handler(copy);
        if instruction.is_last() {
            // What stands behind it need not have been translated, but may be where an exception is handled.
            let at = instruction.end() as u32;
            self.aside.push(Aside::Interpreted { label: behind, at });
        } else {
            self.asm.bind(behind);
        }
    }

    fn jump_to_handler(&mut self, copy: u32) {
        self.continuation_address(IP, copy);
        self.asm.jmp_mem(Mem::at(IP, 0));
    }

    /// A label that leaves an instruction to its handler, which sees what `unwritten` says, and goes on at `back` with
    /// `then` in registers.
    pub(super) fn handler_aside(
        &mut self,
        instruction: Instruction<'_>,
        unwritten: Unwritten,
        then: State,
        back: Label,
    ) -> Label {
        let (label, again) = (self.asm.label(), self.asm.label());
        let (copy, _) = self.word(instruction, again);
        self.aside.push(Aside::Handler { label, unwritten, copy, again, then, back });
        label
    }

    /// A label that raises a trap at the instruction.
    pub(super) fn trap(&mut self, instruction: Instruction<'_>, code: TrapCode) -> Label {
        let label = self.asm.label();
        self.aside.push(Aside::Trap { label, at: instruction.at as u32, code });
        label
    }

    /// Traps if a condition holds.
    pub(super) fn trap_if(&mut self, cond: Cond, instruction: Instruction<'_>, code: TrapCode) {
        let label = self.trap(instruction, code);
        self.asm.jcc(cond, label);
    }

    fn write_aside(&mut self) {
        let mut traps: Vec<(TrapCode, Label)> = Vec::new();
        for aside in std::mem::take(&mut self.aside) {
            match aside {
                Aside::Trap { label, at, code } => {
                    self.asm.bind(label);
                    self.asm.mov_imm(IP, at.into());
                    let known = traps.iter().find(|(other, _)| *other == code);
                    let common = known.map(|(_, label)| *label).unwrap_or_else(|| {
                        let common = self.asm.label();
                        traps.push((code, common));
                        common
                    });
                    self.asm.jmp(common);
                }
                Aside::Handler { label, unwritten, copy, again, then, back } => {
                    self.asm.bind(label);
                    unwritten.write(&mut self.asm);
                    self.jump_to_handler(copy);
                    self.asm.bind(again);
                    then.load_from(&State::EMPTY, &mut self.asm);
                    self.asm.jmp(back);
                }
                Aside::Interpreted { label, at } => {
                    self.asm.bind(label);
                    self.asm.mov_imm(IP, at.into());
                    self.lowered_address();
                    self.asm.jmp_mem(Mem::at(IP, 0));
                }
                Aside::Edge { label, from, to } => {
                    self.asm.bind(label);
                    let target = &self.targets[to];
                    let state = target.state.expect("the label is bound");
                    state.load_from(&from, &mut self.asm);
                    self.asm.jmp(target.label);
                }
            }
        }
        for (code, label) in traps {
            self.asm.bind(label);
            self.lowered_address();
            self.asm.mov_imm64(SCRATCH, trap_handler(code) as usize as u64);
            self.asm.jmp_reg(SCRATCH);
        }
    }

    /// From the offset of a lowered instruction to its address.
    fn lowered_address(&mut self) {
        self.asm.load(Load::U64, SCRATCH, Mem::at(FP, CODE as i32 * 8));
        let first = Mem::at(SCRATCH, LoweredCode::FIRST);
        self.asm.alu_mem(Alu::Add, Width::W64, IP, first);
    }

    /// A label of a table of jumps to these.
    pub(super) fn jump_table(&mut self, entries: Vec<Label>) -> Label {
        let label = self.asm.label();
        self.tables.push((label, entries));
        label
    }

    fn write_tables(&mut self) {
        for (label, entries) in std::mem::take(&mut self.tables) {
            self.asm.bind(label);
            for entry in entries {
                self.asm.distance(label, entry);
            }
        }
    }

    fn prologue(&mut self) -> u32 {
        let body = self.asm.label();
        self.entry_word(body);
        let entry = self.entry_for_baseline_code();
        self.asm.bind(body);
        entry
    }
}

//! From functions to instructions, and the oracle: an interpreter of these.

use super::gate;
use super::source::{Expr, PARAMS, Source, Stmt, Ty};
use wasm_encoder::{BlockType, Function, Instruction, ValType};

/// The instructions that functions are made of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Op {
    Const(Ty, i64),
    Get(u32),
    Set(u32),
    Add(Ty),
    MulI64,
    Positive,
    ToI64(Ty),
    Call(u32),
    /// With the type of the value that it carries from round to round.
    Loop(Option<Ty>),
    /// At the beginning of a loop: goes back to its header as long as the host holds the function there.
    Gate,
    Block,
    If,
    Else,
    End,
    BrIf0,
}

/// A function as instructions, with the offset of each in the body's bytes.
pub(super) struct Code {
    pub(super) ops: Vec<Op>,
    pub(super) offsets: Vec<u32>,
    /// For calls and loops: blocks around them, and types of the operands, without a call's argument.
    pub(super) places: Vec<Option<(usize, Vec<Ty>)>>,
    /// For `Loop`, `Block`, `If` and `Else`: index of the end; for `If` first of its `Else`.
    pub(super) targets: Vec<usize>,
    pub(super) locals: Vec<Ty>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Compiler {
    pub(super) ops: Vec<Op>,
    pub(super) places: Vec<Option<(usize, Vec<Ty>)>>,
    pub(super) locals: Vec<Ty>,
    pub(super) stack: Vec<Ty>,
    pub(super) depth: usize,
}

impl Compiler {
    pub(super) fn op(&mut self, op: Op) {
        self.places.push(match op {
            Op::Call(_) => Some((self.depth, self.stack[..self.stack.len() - 1].to_vec())),
            Op::Loop(_) => Some((self.depth, self.stack.clone())),
            _ => None,
        });
        self.ops.push(op);
        match op {
            Op::Const(ty, _) => self.stack.push(ty),
            Op::Get(local) => self.stack.push(self.locals[local as usize]),
            Op::Set(_) | Op::Add(_) | Op::MulI64 | Op::If | Op::BrIf0 => drop(self.stack.pop()),
            Op::ToI64(_) => *self.stack.last_mut().unwrap() = Ty::I64,
            _ => {}
        }
        match op {
            Op::Loop(_) | Op::Block | Op::If => self.depth += 1,
            Op::End => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    pub(super) fn local(&self, index: u8, ty: Ty, count: usize) -> Option<u32> {
        let of: Vec<usize> = (0..count).filter(|&i| self.locals[i] == ty).collect();
        Some(*of.get(usize::from(index).checked_rem(of.len())?)? as u32)
    }

    pub(super) fn expr(&mut self, expr: &Expr, ty: Ty, count: usize) {
        match expr {
            Expr::Const(value) => self.op(Op::Const(ty, i64::from(*value))),
            Expr::Local(index) => match self.local(*index, ty, count) {
                Some(local) => self.op(Op::Get(local)),
                None => self.op(Op::Const(ty, i64::from(*index))),
            },
            Expr::Add(a, b) => {
                self.expr(a, ty, count);
                self.expr(b, ty, count);
                self.op(Op::Add(ty));
            }
        }
    }

    pub(super) fn list(&mut self, list: &[Stmt], count: usize) {
        for stmt in list {
            self.stmt(stmt, count);
        }
    }

    /// A loop with a counter of its own.
    fn loop_(&mut self, times: u8, carried: Option<Ty>, body: &[Stmt], count: usize) {
        let counter = self.locals.len() as u32;
        self.locals.push(Ty::I32);
        self.op(Op::Const(Ty::I32, i64::from(times)));
        self.op(Op::Set(counter));
        self.op(Op::Loop(carried));
        self.op(Op::Gate);
        if let Some(ty) = carried {
            self.op(Op::Const(ty, 3));
            self.op(Op::Add(ty));
        }
        self.list(body, count);
        for op in [
            Op::Get(counter),
            Op::Const(Ty::I32, -1),
            Op::Add(Ty::I32),
            Op::Set(counter),
            Op::Get(counter),
            Op::Positive,
            Op::BrIf0,
            Op::End,
        ] {
            self.op(op);
        }
    }

    /// `count` is the number of locals without loop counters.
    pub(super) fn stmt(&mut self, stmt: &Stmt, count: usize) {
        match stmt {
            Stmt::Set(local, value) => {
                let local = usize::from(*local) % count;
                self.expr(value, self.locals[local], count);
                self.op(Op::Set(local as u32));
            }
            Stmt::Call { import, argument, result } => {
                self.expr(argument, Ty::I32, count);
                self.op(Op::Call(u32::from(*import)));
                match self.local(*result, Ty::I32, count) {
                    Some(local) => self.op(Op::Set(local)),
                    None => {
                        // It has to go somewhere.
                        self.op(Op::If);
                        self.op(Op::End);
                    }
                }
            }
            Stmt::Loop(times, body) => self.loop_(*times, None, body, count),
            Stmt::Carry(times, local, value, body) => {
                let local = usize::from(*local) % count;
                let ty = self.locals[local];
                self.expr(value, ty, count);
                self.loop_(*times, Some(ty), body, count);
                self.op(Op::Set(local as u32));
            }
            Stmt::Block(body) => {
                self.op(Op::Block);
                self.list(body, count);
                self.op(Op::End);
            }
            Stmt::If(condition, yes, no) => {
                self.expr(condition, Ty::I32, count);
                self.op(Op::If);
                self.list(yes, count);
                self.op(Op::Else);
                self.list(no, count);
                self.op(Op::End);
            }
            Stmt::Hold(local, value, body) => {
                let local = usize::from(*local) % count;
                self.expr(value, self.locals[local], count);
                self.list(body, count);
                self.op(Op::Set(local as u32));
            }
        }
    }
}

pub(super) fn compile(source: &Source) -> Code {
    let (ops, places) = (Vec::new(), Vec::new());
    let (locals, stack) = (source.locals.clone(), Vec::new());
    let mut compiler = Compiler { ops, places, locals, stack, depth: 0 };
    compiler.list(&source.body, source.locals.len());
    // The result depends on every second local, so that others are dead at some points.
    compiler.op(Op::Const(Ty::I64, 7));
    for local in (0..source.locals.len()).step_by(2) {
        compiler.op(Op::Const(Ty::I64, 31));
        compiler.op(Op::MulI64);
        compiler.op(Op::Get(local as u32));
        compiler.op(Op::ToI64(source.locals[local]));
        compiler.op(Op::Add(Ty::I64));
    }
    compiler.op(Op::End);
    let Compiler { ops, places, locals, .. } = compiler;

    let mut function =
        Function::new(locals[PARAMS..].iter().map(|&ty| (1, val_type(ty))).collect::<Vec<_>>());
    let (mut offsets, mut targets, mut open) = (Vec::new(), vec![0; ops.len()], Vec::new());
    for (i, op) in ops.iter().enumerate() {
        offsets.push(function.byte_len() as u32);
        for instruction in instructions(*op) {
            function.instruction(&instruction);
        }
        match op {
            Op::Loop(_) | Op::Block | Op::If => open.push(i),
            Op::Else => {
                targets[open.pop().unwrap()] = i;
                open.push(i);
            }
            Op::End => {
                if let Some(start) = open.pop() {
                    targets[start] = i;
                    targets[i] = start;
                }
            }
            _ => {}
        }
    }
    Code { ops, offsets, places, targets, locals, body: function.into_raw_body() }
}

pub(super) fn val_type(ty: Ty) -> ValType {
    match ty {
        Ty::I32 => ValType::I32,
        Ty::I64 => ValType::I64,
        Ty::F32 => ValType::F32,
        Ty::F64 => ValType::F64,
    }
}

/// Index of the type of a loop that carries a value.
pub(super) fn carrying(ty: Ty) -> u32 {
    2 + TYPES.iter().position(|&other| other == ty).expect("all types are listed") as u32
}

pub(super) const TYPES: [Ty; 4] = [Ty::I32, Ty::I64, Ty::F32, Ty::F64];

/// Calls are the last of their instructions.
pub(super) fn instructions(op: Op) -> Vec<Instruction<'static>> {
    vec![match op {
        Op::Const(Ty::I32, value) => Instruction::I32Const(value as i32),
        Op::Const(Ty::I64, value) => Instruction::I64Const(value),
        Op::Const(Ty::F32, value) => Instruction::F32Const((value as f32).into()),
        Op::Const(Ty::F64, value) => Instruction::F64Const((value as f64).into()),
        Op::Get(local) => Instruction::LocalGet(local),
        Op::Set(local) => Instruction::LocalSet(local),
        Op::Add(Ty::I32) => Instruction::I32Add,
        Op::Add(Ty::I64) => Instruction::I64Add,
        Op::Add(Ty::F32) => Instruction::F32Add,
        Op::Add(Ty::F64) => Instruction::F64Add,
        Op::MulI64 => Instruction::I64Mul,
        Op::Positive => return vec![Instruction::I32Const(0), Instruction::I32GtS],
        Op::ToI64(Ty::I32) => Instruction::I64ExtendI32S,
        Op::ToI64(Ty::I64) => Instruction::Nop,
        Op::ToI64(Ty::F32) => Instruction::I64TruncSatF32S,
        Op::ToI64(Ty::F64) => Instruction::I64TruncSatF64S,
        Op::Call(import) => Instruction::Call(import),
        Op::Loop(None) => Instruction::Loop(BlockType::Empty),
        Op::Loop(Some(ty)) => Instruction::Loop(BlockType::FunctionType(carrying(ty))),
        Op::Gate => return gate::instructions(),
        Op::Block => Instruction::Block(BlockType::Empty),
        Op::If => Instruction::If(BlockType::Empty),
        Op::Else => Instruction::Else,
        Op::End => Instruction::End,
        Op::BrIf0 => Instruction::BrIf(0),
    }]
}

/// What the imports return: something else at each call.
pub(super) fn answer(import: u32, argument: i32, number: usize) -> i32 {
    argument.wrapping_mul(3).wrapping_add((10 * number) as i32 + import as i32)
}

/// Where a function is suspended: counted from 1, as it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// At a call.
    Call(usize),
    /// At the header of a loop, each round of which counts.
    Header(usize),
}

/// What has been gone through.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counts {
    pub(super) calls: usize,
    pub(super) headers: usize,
}

/// A frame of the oracle: bits of 64 for each value.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    /// Index of the operation that is next, or of the call or loop that it is suspended at.
    pub(super) at: usize,
    pub(super) locals: Vec<u64>,
    pub(super) stack: Vec<u64>,
}

pub(super) const MOST_STEPS: usize = 20_000;

impl Oracle {
    pub(super) fn new(code: &Code, arguments: &[u64]) -> Oracle {
        let mut locals = arguments.to_vec();
        locals.resize(code.locals.len(), 0);
        Oracle { at: 0, locals, stack: Vec::new() }
    }

    /// Runs to where it is to stop, or to the end. Answers whether it has stopped; `None`: too long.
    pub(super) fn run(
        &mut self,
        code: &Code,
        counts: &mut Counts,
        stop: Option<Stop>,
    ) -> Option<bool> {
        for _ in 0..MOST_STEPS {
            if self.at == code.ops.len() {
                return Some(false);
            }
            if self.step(code, counts, stop) {
                return Some(true);
            }
        }
        None
    }

    /// One operation. Answers whether it is suspended at it.
    pub(super) fn step(&mut self, code: &Code, counts: &mut Counts, stop: Option<Stop>) -> bool {
        let op = code.ops[self.at];
        let mut pop = || self.stack.pop().expect("an operand");
        let next = self.at + 1;
        let mut jump = next;
        match op {
            Op::Const(Ty::I32, value) => self.stack.push(u64::from(value as u32)),
            Op::Const(Ty::I64, value) => self.stack.push(value as u64),
            Op::Const(Ty::F32, value) => self.stack.push(u64::from((value as f32).to_bits())),
            Op::Const(Ty::F64, value) => self.stack.push((value as f64).to_bits()),
            Op::Get(local) => self.stack.push(self.locals[local as usize]),
            Op::Set(local) => self.locals[local as usize] = pop(),
            Op::Add(ty) => {
                let (b, a) = (pop(), pop());
                self.stack.push(match ty {
                    Ty::I32 => u64::from((a as u32).wrapping_add(b as u32)),
                    Ty::I64 => a.wrapping_add(b),
                    Ty::F32 => {
                        let sum = f32::from_bits(a as u32) + f32::from_bits(b as u32);
                        u64::from(sum.to_bits())
                    }
                    Ty::F64 => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
                });
            }
            Op::MulI64 => {
                let (b, a) = (pop(), pop());
                self.stack.push(a.wrapping_mul(b));
            }
            Op::Positive => {
                let value = pop() as i32;
                self.stack.push(u64::from(value > 0));
            }
            Op::ToI64(ty) => {
                let value = pop();
                self.stack.push(match ty {
                    Ty::I32 => i64::from(value as i32) as u64,
                    Ty::I64 => value,
                    Ty::F32 => f32::from_bits(value as u32) as i64 as u64,
                    Ty::F64 => f64::from_bits(value) as i64 as u64,
                });
            }
            Op::Call(import) => {
                counts.calls += 1;
                let argument = pop() as i32;
                if stop == Some(Stop::Call(counts.calls)) {
                    // The frame is described without argument and result.
                    return true;
                }
                self.stack.push(u64::from(answer(import, argument, counts.calls) as u32));
            }
            Op::Loop(_) => {
                counts.headers += 1;
                if stop == Some(Stop::Header(counts.headers)) {
                    return true;
                }
            }
            Op::Gate | Op::Block => {}
            Op::If => {
                if pop() == 0 {
                    let target = code.targets[self.at];
                    jump = if code.ops[target] == Op::Else { target + 1 } else { target };
                }
            }
            Op::Else => jump = code.targets[self.at],
            Op::End => {}
            Op::BrIf0 => {
                // Ends of loops follow their branches.
                if pop() != 0 {
                    jump = code.targets[next];
                }
            }
        }
        self.at = jump;
        false
    }
}

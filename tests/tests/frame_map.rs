//! The default frame map: a random function, a random edit, a random suspension point.
//!
//! The oracle is an interpreter of a few dozen lines, which shares nothing with Midair: it runs the old body
//! up to the suspended call, takes the frame over to where the plan says that it goes on, and runs the new
//! body from there. Every tier has to show the same frame, and to end with the same result.

use anyhow::{Result, ensure};
use midair::{Caller, Config, Engine, Linker, Module, Plan, PlannedOutcome, Store, Tier, Val};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use std::sync::atomic::{AtomicUsize, Ordering};
use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, Instruction, TypeSection, ValType,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ty {
    I32,
    I64,
    F64,
}

/// A value of the type that is wanted where it stands.
#[derive(Clone, Debug)]
enum Expr {
    Const(i8),
    /// One of the locals of the type.
    Local(u8),
    Add(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Debug)]
enum Stmt {
    Set(u8, Expr),
    /// Calls one of the two imports, and keeps the result.
    Call {
        import: bool,
        argument: Expr,
        result: u8,
    },
    Loop(u8, Vec<Stmt>),
    Block(Vec<Stmt>),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    /// A value waits on the operand stack.
    Hold(u8, Expr, Vec<Stmt>),
}

/// A function: its parameters are the first `PARAMS` locals.
#[derive(Clone, Debug)]
struct Source {
    locals: Vec<Ty>,
    body: Vec<Stmt>,
}

const PARAMS: usize = 2;

/// What an editor does to a function. Positions count statements from the first on.
#[derive(Clone, Debug)]
enum Edit {
    Insert(u8, Stmt),
    Delete(u8),
    Wrap(u8),
    Hold(u8, u8),
    Constant(u8, i8),
    AddLocal(Ty),
    DropLocal,
    Retype(u8, Ty),
}

fn ty() -> impl Strategy<Value = Ty> {
    prop_oneof![Just(Ty::I32), Just(Ty::I64), Just(Ty::F64)]
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![any::<i8>().prop_map(Expr::Const), any::<u8>().prop_map(Expr::Local)];
    leaf.prop_recursive(2, 4, 2, |inner| {
        (inner.clone(), inner).prop_map(|(a, b)| Expr::Add(Box::new(a), Box::new(b)))
    })
}

fn call() -> impl Strategy<Value = Stmt> {
    (any::<bool>(), expr(), any::<u8>()).prop_map(|(import, argument, result)| Stmt::Call {
        import,
        argument,
        result,
    })
}

fn stmt() -> impl Strategy<Value = Stmt> {
    let set = (any::<u8>(), expr()).prop_map(|(local, value)| Stmt::Set(local, value));
    prop_oneof![1 => set, 2 => call()].prop_recursive(3, 16, 4, |inner| {
        let list = || proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            (1u8..4, list()).prop_map(|(count, body)| Stmt::Loop(count, body)),
            list().prop_map(Stmt::Block),
            (expr(), list(), list()).prop_map(|(c, a, b)| Stmt::If(c, a, b)),
            (any::<u8>(), expr(), list()).prop_map(|(l, value, body)| Stmt::Hold(l, value, body)),
        ]
    })
}

fn source() -> impl Strategy<Value = Source> {
    (proptest::collection::vec(ty(), PARAMS..7), proptest::collection::vec(stmt(), 1..6), call())
        .prop_map(|(locals, mut body, call)| {
            body.push(call);
            Source { locals, body }
        })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (any::<u8>(), stmt()).prop_map(|(at, stmt)| Edit::Insert(at, stmt)),
        2 => any::<u8>().prop_map(Edit::Delete),
        1 => any::<u8>().prop_map(Edit::Wrap),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(at, local)| Edit::Hold(at, local)),
        3 => (any::<u8>(), any::<i8>()).prop_map(|(at, value)| Edit::Constant(at, value)),
        2 => ty().prop_map(Edit::AddLocal),
        1 => Just(Edit::DropLocal),
        1 => (any::<u8>(), ty()).prop_map(|(local, ty)| Edit::Retype(local, ty)),
    ]
}

/// How many statements there are, those within others included.
fn count(list: &[Stmt]) -> usize {
    let inner = |stmt: &Stmt| match stmt {
        Stmt::Loop(_, a) | Stmt::Block(a) | Stmt::Hold(_, _, a) => count(a),
        Stmt::If(_, a, b) => count(a) + count(b),
        Stmt::Set(..) | Stmt::Call { .. } => 0,
    };
    list.iter().map(|stmt| 1 + inner(stmt)).sum()
}

/// Runs `f` on the list that statement `at` is in, and its index there.
fn at_statement(
    list: &mut Vec<Stmt>,
    at: &mut usize,
    f: &mut dyn FnMut(&mut Vec<Stmt>, usize),
) -> bool {
    for i in 0..list.len() {
        if *at == 0 {
            f(list, i);
            return true;
        }
        *at -= 1;
        let found = match &mut list[i] {
            Stmt::Loop(_, a) | Stmt::Block(a) | Stmt::Hold(_, _, a) => at_statement(a, at, f),
            Stmt::If(_, a, b) => at_statement(a, at, f) || at_statement(b, at, f),
            Stmt::Set(..) | Stmt::Call { .. } => false,
        };
        if found {
            return true;
        }
    }
    false
}

impl Source {
    fn edit(&self, edit: &Edit) -> Source {
        let mut new = self.clone();
        let statements = count(&new.body).max(1);
        let mut change = |at: u8, f: &mut dyn FnMut(&mut Vec<Stmt>, usize)| {
            at_statement(&mut new.body, &mut (usize::from(at) % statements), f);
        };
        match edit {
            Edit::Insert(at, stmt) => change(*at, &mut |list, i| list.insert(i, stmt.clone())),
            Edit::Delete(at) => change(*at, &mut |list, i| drop(list.remove(i))),
            Edit::Wrap(at) => change(*at, &mut |list, i| {
                let stmt = list.remove(i);
                list.insert(i, Stmt::Block(vec![stmt]));
            }),
            Edit::Hold(at, local) => change(*at, &mut |list, i| {
                let stmt = list.remove(i);
                list.insert(i, Stmt::Hold(*local, Expr::Local(*local), vec![stmt]));
            }),
            Edit::Constant(at, value) => change(*at, &mut |list, i| match &mut list[i] {
                Stmt::Set(_, expr)
                | Stmt::Call { argument: expr, .. }
                | Stmt::If(expr, ..)
                | Stmt::Hold(_, expr, _) => *expr = Expr::Const(*value),
                Stmt::Loop(count, _) => *count = 1 + value.unsigned_abs() % 4,
                Stmt::Block(_) => {}
            }),
            Edit::AddLocal(ty) => new.locals.push(*ty),
            Edit::DropLocal => new.locals.truncate(PARAMS.max(new.locals.len() - 1)),
            Edit::Retype(local, ty) => {
                let declared = new.locals.len() - PARAMS;
                if declared > 0 {
                    new.locals[PARAMS + usize::from(*local) % declared] = *ty;
                }
            }
        }
        new
    }
}

/// The instructions that functions are made of.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Op {
    Const(Ty, i64),
    Get(u32),
    Set(u32),
    Add(Ty),
    MulI64,
    Positive,
    ToI64(Ty),
    Call(u32),
    Loop,
    Block,
    If,
    Else,
    End,
    BrIf0,
}

/// A function as instructions, with the offset of each in the body's bytes.
struct Code {
    ops: Vec<Op>,
    offsets: Vec<u32>,
    /// For calls: blocks around them, and types of the operands below their argument.
    places: Vec<Option<(usize, Vec<Ty>)>>,
    /// For `Loop`, `Block`, `If` and `Else`: index of the end; for `If` first of its `Else`.
    targets: Vec<usize>,
    locals: Vec<Ty>,
    body: Vec<u8>,
}

struct Compiler {
    ops: Vec<Op>,
    places: Vec<Option<(usize, Vec<Ty>)>>,
    locals: Vec<Ty>,
    stack: Vec<Ty>,
    depth: usize,
}

impl Compiler {
    fn op(&mut self, op: Op) {
        self.places.push(match op {
            Op::Call(_) => Some((self.depth, self.stack[..self.stack.len() - 1].to_vec())),
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
            Op::Loop | Op::Block | Op::If => self.depth += 1,
            Op::End => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn local(&self, index: u8, ty: Ty, count: usize) -> Option<u32> {
        let of: Vec<usize> = (0..count).filter(|&i| self.locals[i] == ty).collect();
        Some(*of.get(usize::from(index).checked_rem(of.len())?)? as u32)
    }

    fn expr(&mut self, expr: &Expr, ty: Ty, count: usize) {
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

    fn list(&mut self, list: &[Stmt], count: usize) {
        for stmt in list {
            self.stmt(stmt, count);
        }
    }

    /// `count` is the number of locals without loop counters.
    fn stmt(&mut self, stmt: &Stmt, count: usize) {
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
            Stmt::Loop(times, body) => {
                let counter = self.locals.len() as u32;
                self.locals.push(Ty::I32);
                self.op(Op::Const(Ty::I32, i64::from(*times)));
                self.op(Op::Set(counter));
                self.op(Op::Loop);
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

fn compile(source: &Source) -> Code {
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
            Op::Loop | Op::Block | Op::If => open.push(i),
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

fn val_type(ty: Ty) -> ValType {
    match ty {
        Ty::I32 => ValType::I32,
        Ty::I64 => ValType::I64,
        Ty::F64 => ValType::F64,
    }
}

/// Calls are the last of their instructions.
fn instructions(op: Op) -> Vec<Instruction<'static>> {
    vec![match op {
        Op::Const(Ty::I32, value) => Instruction::I32Const(value as i32),
        Op::Const(Ty::I64, value) => Instruction::I64Const(value),
        Op::Const(Ty::F64, value) => Instruction::F64Const((value as f64).into()),
        Op::Get(local) => Instruction::LocalGet(local),
        Op::Set(local) => Instruction::LocalSet(local),
        Op::Add(Ty::I32) => Instruction::I32Add,
        Op::Add(Ty::I64) => Instruction::I64Add,
        Op::Add(Ty::F64) => Instruction::F64Add,
        Op::MulI64 => Instruction::I64Mul,
        Op::Positive => return vec![Instruction::I32Const(0), Instruction::I32GtS],
        Op::ToI64(Ty::I32) => Instruction::I64ExtendI32S,
        Op::ToI64(Ty::I64) => Instruction::Nop,
        Op::ToI64(Ty::F64) => Instruction::I64TruncSatF64S,
        Op::Call(import) => Instruction::Call(import),
        Op::Loop => Instruction::Loop(BlockType::Empty),
        Op::Block => Instruction::Block(BlockType::Empty),
        Op::If => Instruction::If(BlockType::Empty),
        Op::Else => Instruction::Else,
        Op::End => Instruction::End,
        Op::BrIf0 => Instruction::BrIf(0),
    }]
}

/// What the imports return: something else at each call.
fn answer(import: u32, argument: i32, number: usize) -> i32 {
    argument.wrapping_mul(3).wrapping_add((10 * number) as i32 + import as i32)
}

/// A frame of the oracle: bits of 64 for each value.
#[derive(Clone, Debug)]
struct Oracle {
    /// Index of the operation that is next, or of the call that it is suspended at.
    at: usize,
    locals: Vec<u64>,
    stack: Vec<u64>,
}

const MOST_STEPS: usize = 20_000;

impl Oracle {
    fn new(code: &Code, arguments: &[u64]) -> Oracle {
        let mut locals = arguments.to_vec();
        locals.resize(code.locals.len(), 0);
        Oracle { at: 0, locals, stack: Vec::new() }
    }

    /// Runs until `stop` calls have been begun, or to the end; `calls` counts them. Answers whether it has
    /// stopped at a call; `None`: too long.
    fn run(&mut self, code: &Code, calls: &mut usize, stop: usize) -> Option<bool> {
        for _ in 0..MOST_STEPS {
            if self.at == code.ops.len() {
                return Some(false);
            }
            if self.step(code, calls, stop) {
                return Some(true);
            }
        }
        None
    }

    /// One operation. Answers whether it is suspended at it: the call number `stop`.
    fn step(&mut self, code: &Code, calls: &mut usize, stop: usize) -> bool {
        let op = code.ops[self.at];
        let mut pop = || self.stack.pop().expect("an operand");
        let next = self.at + 1;
        let mut jump = next;
        match op {
            Op::Const(Ty::I32, value) => self.stack.push(u64::from(value as u32)),
            Op::Const(Ty::I64, value) => self.stack.push(value as u64),
            Op::Const(Ty::F64, value) => self.stack.push((value as f64).to_bits()),
            Op::Get(local) => self.stack.push(self.locals[local as usize]),
            Op::Set(local) => self.locals[local as usize] = pop(),
            Op::Add(ty) => {
                let (b, a) = (pop(), pop());
                self.stack.push(match ty {
                    Ty::I32 => u64::from((a as u32).wrapping_add(b as u32)),
                    Ty::I64 => a.wrapping_add(b),
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
                    Ty::F64 => f64::from_bits(value) as i64 as u64,
                });
            }
            Op::Call(import) => {
                *calls += 1;
                let argument = pop() as i32;
                if *calls == stop {
                    // The frame is described without argument and result.
                    return true;
                }
                self.stack.push(u64::from(answer(import, argument, *calls) as u32));
            }
            Op::Loop | Op::Block => {}
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

/// A function, the edits that it goes through while it is suspended, the call at which it is, and arguments.
#[derive(Clone, Debug)]
struct Case {
    old: Source,
    /// The edits of each update.
    updates: Vec<Vec<Edit>>,
    call: usize,
    arguments: [i8; PARAMS],
}

fn case() -> impl Strategy<Value = Case> {
    let edits = proptest::collection::vec(edit(), 0..3);
    (source(), proptest::collection::vec(edits, 1..4), 1usize..6, any::<[i8; PARAMS]>())
        .prop_map(|(old, updates, call, arguments)| Case { old, updates, call, arguments })
}

fn module(code: &Code) -> Vec<u8> {
    let params: Vec<ValType> = code.locals[..PARAMS].iter().map(|&ty| val_type(ty)).collect();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function(params, [ValType::I64]);
    let mut imports = ImportSection::new();
    imports.import("host", "a", EntityType::Function(0));
    imports.import("host", "b", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(1);
    let mut exports = ExportSection::new();
    exports.export("f", ExportKind::Func, 2);
    let mut bodies = CodeSection::new();
    bodies.raw(&code.body);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports);
    module.section(&bodies);
    module.finish()
}

/// What the host does and has seen.
struct Host {
    module: Option<Module>,
    bodies: Vec<Vec<u8>>,
    stop: usize,
    calls: usize,
    /// The frame when it is suspended: offset, locals, operands.
    seen: Option<(usize, Vec<Option<u64>>, Vec<u64>)>,
    plans: Vec<Plan>,
}

fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(value) => u64::from(*value as u32),
        Val::I64(value) => *value as u64,
        Val::F64(bits) => *bits,
        other => panic!("no such values: {other:?}"),
    }
}

fn host(import: u32) -> impl Fn(Caller<'_, Host>, i32) -> Result<i32> {
    move |mut caller, argument| {
        let frame = caller.frames().first().map(|frame| {
            let locals = frame.locals().iter().map(|local| local.as_ref().map(bits)).collect();
            (frame.func_offset(), locals, frame.operands().iter().map(bits).collect())
        });
        let host = caller.data_mut();
        host.calls += 1;
        if host.calls == host.stop {
            host.seen = frame;
            let module = host.module.clone().expect("set before the call");
            for body in &host.bodies {
                let update = module.update().body(2, body.clone());
                host.plans.push(update.plan()?);
                update.apply()?;
            }
        }
        Ok(answer(import, argument, host.calls))
    }
}

/// Runs the case in one tier: the result, and what the host has seen.
fn run(tier: Tier, case: &Case, codes: &[Code], arguments: &[u64]) -> Result<(i64, Host)> {
    let engine = Engine::new(Config::new().tier(tier).background_compilation(false))?;
    let module = Module::new(&engine, module(&codes[0]))?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "a", host(0))?;
    linker.func_wrap("host", "b", host(1))?;
    let mut store = Store::new(
        &engine,
        Host {
            module: Some(module.clone()),
            bodies: codes[1..].iter().map(|code| code.body.clone()).collect(),
            stop: case.call,
            calls: 0,
            seen: None,
            plans: Vec::new(),
        },
    );
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_func(&mut store, "f").expect("an export");
    let typed: Vec<Val> = arguments
        .iter()
        .zip(&codes[0].locals)
        .map(|(&bits, ty)| match ty {
            Ty::I32 => Val::I32(bits as i32),
            Ty::I64 => Val::I64(bits as i64),
            Ty::F64 => Val::F64(bits),
        })
        .collect();
    let mut results = [Val::I64(0)];
    f.call(&mut store, &typed, &mut results)?;
    let Val::I64(result) = results[0] else { anyhow::bail!("an i64") };
    ensure!(engine.code_stats().retired == 0, "retired code is freed");
    Ok((result, store.into_data()))
}

/// What happened, to know that cases are worth something.
#[derive(Default)]
struct Tally {
    moved: AtomicUsize,
    stayed: AtomicUsize,
    never_suspended: AtomicUsize,
}

fn add(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn check(case: &Case, tiers: &[Tier], tally: &Tally) -> Result<(), TestCaseError> {
    let mut sources = vec![case.old.clone()];
    for edits in &case.updates {
        let last = sources.last().expect("the old one").clone();
        sources.push(edits.iter().fold(last, |source, edit| source.edit(edit)));
    }
    // Parameters keep their types.
    let codes: Vec<Code> = sources.iter().map(compile).collect();
    let arguments: Vec<u64> = case
        .arguments
        .iter()
        .zip(&case.old.locals)
        .map(|(&value, ty)| match ty {
            Ty::I32 => u64::from(i32::from(value) as u32),
            Ty::I64 => i64::from(value) as u64,
            Ty::F64 => f64::from(value).to_bits(),
        })
        .collect();

    let mut oracle = Oracle::new(&codes[0], &arguments);
    let mut calls = 0;
    let suspended = oracle.run(&codes[0], &mut calls, case.call);
    prop_assume!(suspended.is_some(), "too long");
    let suspended = suspended == Some(true);
    if !suspended {
        add(&tally.never_suspended);
    }
    for (index, &tier) in tiers.iter().enumerate() {
        // Too many iterations with what counters are after the edits: the oracle knows before Midair runs.
        let (result, host) = match run_bounded(tier, case, &codes, &arguments, &oracle, suspended)?
        {
            Some(outcome) => outcome,
            None => return Err(TestCaseError::reject("too long")),
        };
        prop_assert_eq!(result, host.1, "{:?}", tier);
        if suspended && index == 0 {
            add(if host.0 { &tally.moved } else { &tally.stayed });
        }
    }
    Ok(())
}

/// Runs a case, and the oracle beside it. Returns Midair's result, and whether the frame moved with the
/// result that the oracle has.
#[allow(clippy::type_complexity)]
fn run_bounded(
    tier: Tier,
    case: &Case,
    codes: &[Code],
    arguments: &[u64],
    suspended_frame: &Oracle,
    suspended: bool,
) -> Result<Option<(i64, (bool, i64))>, TestCaseError> {
    let fail = |error: anyhow::Error| TestCaseError::fail(format!("{tier:?}: {error:#}"));
    if !suspended {
        let (result, _) = run(tier, case, codes, arguments).map_err(fail)?;
        let expected = *suspended_frame.stack.last().expect("a result") as i64;
        return Ok(Some((result, (false, expected))));
    }
    // Where the frame goes on is what the plans say of the bodies; they do not depend on the tier.
    let (mut frame, mut version, mut moved) = (suspended_frame.clone(), 0, false);
    let offset = codes[0].offsets[frame.at];
    let plans = plans(codes).map_err(fail)?;
    let mut outcomes = Vec::new();
    for (new, plan) in plans.iter().enumerate() {
        let new = new + 1;
        let code = &codes[version];
        let from = code.offsets[frame.at];
        // Frames of a version go on in later ones only as long as each leads to the next; an equal body
        // is the same function again.
        let target = if codes[new].body == code.body {
            Some(from)
        } else if version + 1 == new {
            let mapped = &plan.functions[0].mapped;
            mapped.iter().find(|(old, _)| *old == from).map(|(_, to)| *to)
        } else {
            None
        };
        let Some(target) = target else {
            outcomes.push(None);
            continue;
        };
        outcomes.push(Some(target));
        moved = true;
        let at = codes[new].offsets.iter().position(|&offset| offset == target);
        let at = at.ok_or_else(|| TestCaseError::fail("a point between two instructions"))?;
        prop_assert_eq!(codes[new].ops[at], code.ops[frame.at], "the same call");
        prop_assert_eq!(&codes[new].places[at], &code.places[frame.at], "nested alike");
        frame.at = at;
        frame.locals.resize(codes[new].locals.len(), 0);
        for (a, b) in code.locals.iter().zip(&codes[new].locals) {
            prop_assert_eq!(a, b, "locals keep their types");
        }
        version = new;
    }
    let code = &codes[version];
    let Op::Call(import) = code.ops[frame.at] else { unreachable!("suspended at a call") };
    // The argument has gone to the host; it is computed anew from the old frame.
    let argument = argument_of(case, &codes[0], arguments);
    frame.stack.push(u64::from(answer(import, argument, case.call) as u32));
    frame.at += 1;
    let mut calls = case.call;
    if frame.run(code, &mut calls, usize::MAX).is_none() {
        return Ok(None);
    }
    let expected = *frame.stack.last().expect("a result") as i64;

    let (result, host) = run(tier, case, codes, arguments).map_err(fail)?;
    let (seen_at, locals, operands) = host.seen.expect("the call was reached");
    prop_assert_eq!(seen_at as u32, offset, "{:?}: where it is suspended", tier);
    prop_assert_eq!(&operands, &suspended_frame.stack, "{:?}: operands", tier);
    for (local, (seen, expected)) in locals.iter().zip(&suspended_frame.locals).enumerate() {
        prop_assert!(seen.is_none_or(|seen| seen == *expected), "{:?}: local {}", tier, local);
    }
    for (plan, outcome) in host.plans.iter().zip(outcomes) {
        let [frames] = &plan.frames[..] else {
            return Err(TestCaseError::fail(format!("{tier:?}: one frame: {plan}")));
        };
        let planned = match frames.outcome {
            PlannedOutcome::Migrate { point } => Some(point),
            _ => None,
        };
        prop_assert_eq!(planned, outcome, "{:?}: {}", tier, plan);
    }
    Ok(Some((result, (moved, expected))))
}

/// The plans of updates from each body to the next, made where nothing runs.
fn plans(codes: &[Code]) -> Result<Vec<Plan>> {
    let engine = Engine::new(Config::new().tier(Tier::Interp))?;
    let module = Module::new(&engine, module(&codes[0]))?;
    codes[1..]
        .iter()
        .map(|code| {
            let update = module.update().body(2, code.body.clone());
            let plan = update.plan()?;
            update.apply()?;
            Ok(plan)
        })
        .collect()
}

/// The argument of the call that the frame is suspended at.
fn argument_of(case: &Case, code: &Code, arguments: &[u64]) -> i32 {
    let mut oracle = Oracle::new(code, arguments);
    let mut calls = 0;
    // The argument is the operand that the last step takes away: run again, and look before it.
    let mut last = 0;
    while calls < case.call {
        if let Op::Call(_) = code.ops[oracle.at] {
            last = *oracle.stack.last().expect("an argument") as i32;
        }
        oracle.step(code, &mut calls, case.call);
    }
    last
}

#[test]
fn frames_go_on_where_the_plan_says_with_the_same_result_in_every_tier() {
    let tiers = [Tier::Interp, Tier::Baseline, Tier::Optimized];
    let tally = Tally::default();
    let config =
        ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    if let Err(error) = runner.run(&case(), |case| check(&case, &tiers, &tally)) {
        panic!("{error}");
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (moved, stayed) = (count(&tally.moved), count(&tally.stayed));
    println!("{moved} moved, {stayed} stayed, {} not suspended", count(&tally.never_suspended));
    assert!(moved > 100 && stayed > 10, "{moved} moved, {stayed} stayed");
}

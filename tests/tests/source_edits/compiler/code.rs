//! The last step: locals, and instructions.

use super::{liveness, reads};
use crate::interpreter::{ARRAY, ELEMENTS, element};
use crate::language::{Expr, Id, Operator, PARAMETERS, Program, Stmt, Ty, Var, What};
use midair_tests::mutation::Random;
use std::collections::{BTreeMap, BTreeSet};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, ImportSection, IndirectNameMap, Instruction, MemArg, MemArgTarget,
    MemorySection, MemoryType, NameMap, NameSection, TypeSection, ValType,
};

/// A compiled program.
pub(crate) struct Code {
    pub(crate) body: Vec<u8>,
    /// Offsets of the calls of `tick` in the body, with which tick each is.
    pub(crate) ticks: BTreeMap<u32, Id>,
    /// What the source calls the locals, if each has one variable.
    names: Vec<(u32, String)>,
}

fn val_type(ty: Ty) -> ValType {
    match ty {
        Ty::I32 => ValType::I32,
        Ty::I64 => ValType::I64,
        Ty::F64 => ValType::F64,
    }
}

/// Locals of the variables, and the types of all locals.
struct Locals {
    of: Vec<Option<u32>>,
    types: Vec<Ty>,
}

/// A local for each variable, in the order in which they are declared.
fn by_declaration(program: &Program) -> Locals {
    let mut locals = Locals { of: vec![None; program.variables.len()], types: PARAMETERS.to_vec() };
    let mut declare = |var: Var| {
        if var < PARAMETERS.len() {
            locals.of[var] = Some(var as u32);
        } else if locals.of[var].is_none() {
            locals.of[var] = Some(locals.types.len() as u32);
            locals.types.push(program.variables[var].ty);
        }
    };
    (0..PARAMETERS.len()).for_each(&mut declare);
    crate::language::each_stmt(&program.body, &mut |stmt| {
        if let Some(var) = stmt.sets() {
            declare(var);
        }
    });
    locals
}

/// Variables that do not live at the same time share locals; which ones do, and in which order the locals come, is
/// the seed's choice.
fn coloured(program: &Program, seed: u64) -> Locals {
    let mut apart: BTreeSet<(Var, Var)> = BTreeSet::new();
    let mut all: BTreeSet<Var> = (0..PARAMETERS.len()).collect();
    let mut live: liveness::Live = reads(&program.result).into_iter().collect();
    liveness::backwards(&program.body, &mut live, &mut |stmt, live| {
        let Some(var) = stmt.sets() else { return };
        all.insert(var);
        for &other in live.iter().filter(|&&other| other != var) {
            apart.insert((var, other));
            apart.insert((other, var));
        }
    });
    // All parameters are there from the beginning.
    for &var in &live {
        for parameter in 0..PARAMETERS.len() {
            apart.insert((parameter, var));
            apart.insert((var, parameter));
        }
    }
    let mut random = Random::new(seed);
    let mut order: Vec<Var> = all.into_iter().filter(|&var| var >= PARAMETERS.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, random.below(i + 1));
    }
    let mut locals = Locals { of: vec![None; program.variables.len()], types: PARAMETERS.to_vec() };
    let mut members: Vec<Vec<Var>> = (0..PARAMETERS.len()).map(|var| vec![var]).collect();
    for (var, members) in members.iter().enumerate() {
        locals.of[members[0]] = Some(var as u32);
    }
    for var in order {
        let ty = program.variables[var].ty;
        let fits = |local: &usize| {
            let free = members[*local].iter().all(|&other| !apart.contains(&(var, other)));
            locals.types[*local] == ty && free
        };
        let local = (0..members.len()).find(fits).unwrap_or_else(|| {
            members.push(Vec::new());
            locals.types.push(ty);
            members.len() - 1
        });
        members[local].push(var);
        locals.of[var] = Some(local as u32);
    }
    locals
}

struct Writer<'a> {
    program: &'a Program,
    locals: Locals,
    function: Function,
    ticks: BTreeMap<u32, Id>,
}

/// The code of a program. `colours`: a seed to share and number locals by.
pub(super) fn generate(program: &Program, colours: Option<u64>) -> Code {
    let locals = match colours {
        Some(seed) => coloured(program, seed),
        None => by_declaration(program),
    };
    let named =
        |(var, &local): (Var, &Option<u32>)| Some((local?, program.variables[var].name.clone()));
    let mut names: Vec<_> = match colours {
        Some(_) => Vec::new(),
        None => locals.of.iter().enumerate().filter_map(named).collect(),
    };
    names.sort_unstable();
    let declared = locals.types[PARAMETERS.len()..].iter().map(|&ty| val_type(ty));
    // In as few groups as there can be, as updates encode them: offsets stay what they are.
    let function = Function::new_with_locals_types(declared);
    let mut writer = Writer { program, locals, function, ticks: BTreeMap::new() };
    writer.list(&program.body);
    writer.expr(&program.result);
    writer.op(Instruction::End);
    Code { body: writer.function.into_raw_body(), ticks: writer.ticks, names }
}

impl Writer<'_> {
    fn op(&mut self, instruction: Instruction<'_>) {
        self.function.instruction(&instruction);
    }

    fn local(&self, var: Var) -> u32 {
        self.locals.of[var].expect("what is read has been set")
    }

    fn list(&mut self, list: &[Stmt]) {
        list.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.what {
            What::Let(var, value) | What::Set(var, value) => {
                self.expr(value);
                let local = self.local(*var);
                self.op(Instruction::LocalSet(local));
            }
            What::Store(address, value) => {
                self.expr(address);
                self.expr(value);
                self.op(Instruction::I32Store(whole()));
            }
            What::Tick(value, result) => {
                self.expr(value);
                self.convert(self.program.ty(value), Ty::I64);
                self.op(Instruction::I32Const(stmt.id as i32));
                self.ticks.insert(self.function.byte_len() as u32, stmt.id);
                self.op(Instruction::Call(0));
                match result {
                    Some(var) => {
                        let local = self.local(*var);
                        self.op(Instruction::LocalSet(local));
                    }
                    None => self.op(Instruction::Drop),
                }
            }
            What::If(test, yes, no) => {
                self.expr(test);
                self.op(Instruction::If(BlockType::Empty));
                self.list(yes);
                if !no.is_empty() {
                    self.op(Instruction::Else);
                    self.list(no);
                }
                self.op(Instruction::End);
            }
            What::While(test, body) => {
                self.op(Instruction::Block(BlockType::Empty));
                self.op(Instruction::Loop(BlockType::Empty));
                self.expr(test);
                self.op(Instruction::I32Eqz);
                self.op(Instruction::BrIf(1));
                self.list(body);
                self.op(Instruction::Br(0));
                self.op(Instruction::End);
                self.op(Instruction::End);
            }
            What::DoWhile(body, test) => {
                self.op(Instruction::Loop(BlockType::Empty));
                self.list(body);
                self.expr(test);
                self.op(Instruction::BrIf(0));
                self.op(Instruction::End);
            }
            What::Unrolled(first, test, second) => {
                self.op(Instruction::Block(BlockType::Empty));
                self.op(Instruction::Loop(BlockType::Empty));
                self.list(first);
                self.expr(test);
                self.op(Instruction::I32Eqz);
                self.op(Instruction::BrIf(1));
                self.list(second);
                self.expr(test);
                self.op(Instruction::BrIf(0));
                self.op(Instruction::End);
                self.op(Instruction::End);
            }
            What::For(..) => unreachable!("only what is plain is compiled"),
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Const(Ty::I32, bits) => self.op(Instruction::I32Const(*bits as i32)),
            Expr::Const(Ty::I64, bits) => self.op(Instruction::I64Const(*bits as i64)),
            Expr::Const(Ty::F64, bits) => {
                self.op(Instruction::F64Const(f64::from_bits(*bits).into()));
            }
            Expr::Var(var) => {
                let local = self.local(*var);
                self.op(Instruction::LocalGet(local));
            }
            Expr::Binary(operator, ty, a, b) => {
                self.expr(a);
                self.expr(b);
                self.op(instruction(*operator, *ty));
            }
            Expr::Convert(from, to, a) => {
                self.expr(a);
                self.convert(*from, *to);
            }
            Expr::Load(address) => {
                self.expr(address);
                self.op(Instruction::I32Load(whole()));
            }
            Expr::Element(_) => unreachable!("elements have been lowered"),
        }
    }

    fn convert(&mut self, from: Ty, to: Ty) {
        match (from, to) {
            (Ty::I32, Ty::I64) => self.op(Instruction::I64ExtendI32S),
            (Ty::I64, Ty::I32) => self.op(Instruction::I32WrapI64),
            (Ty::I32, Ty::F64) => self.op(Instruction::F64ConvertI32S),
            (Ty::I64, Ty::F64) => self.op(Instruction::F64ConvertI64S),
            (Ty::F64, Ty::I32) => self.op(Instruction::I32TruncSatF64S),
            (Ty::F64, Ty::I64) => self.op(Instruction::I64TruncSatF64S),
            (Ty::I32, Ty::I32) | (Ty::I64, Ty::I64) | (Ty::F64, Ty::F64) => {}
        }
    }
}

fn whole() -> MemArg {
    MemArg { offset: 0, align: 2, target: MemArgTarget::Memory(0), ordering: None }
}

fn instruction(operator: Operator, ty: Ty) -> Instruction<'static> {
    match (operator, ty) {
        (Operator::Add, Ty::I32) => Instruction::I32Add,
        (Operator::Sub, Ty::I32) => Instruction::I32Sub,
        (Operator::Mul, Ty::I32) => Instruction::I32Mul,
        (Operator::And, Ty::I32) => Instruction::I32And,
        (Operator::Xor, Ty::I32) => Instruction::I32Xor,
        (Operator::Less, Ty::I32) => Instruction::I32LtS,
        (Operator::Equal, Ty::I32) => Instruction::I32Eq,
        (Operator::Add, Ty::I64) => Instruction::I64Add,
        (Operator::Sub, Ty::I64) => Instruction::I64Sub,
        (Operator::Mul, Ty::I64) => Instruction::I64Mul,
        (Operator::And, Ty::I64) => Instruction::I64And,
        (Operator::Xor, Ty::I64) => Instruction::I64Xor,
        (Operator::Less, Ty::I64) => Instruction::I64LtS,
        (Operator::Equal, Ty::I64) => Instruction::I64Eq,
        (Operator::Add, Ty::F64) => Instruction::F64Add,
        (Operator::Sub, Ty::F64) => Instruction::F64Sub,
        (Operator::Mul, Ty::F64) => Instruction::F64Mul,
        (Operator::Less, Ty::F64) => Instruction::F64Lt,
        (Operator::Equal, Ty::F64) => Instruction::F64Eq,
        (Operator::And | Operator::Xor, Ty::F64) => unreachable!("not of floats"),
    }
}

/// The function's index.
pub(crate) const F: u32 = 1;

/// A module with a program's code as its function `f`. `named`: it tells what the source calls the locals.
pub(crate) fn module(code: &Code, named: bool) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I64, ValType::I32], [ValType::I32]);
    types.ty().function(PARAMETERS.map(val_type), [ValType::I64]);
    let mut imports = ImportSection::new();
    imports.import("host", "tick", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(1);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: Some(1),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("f", ExportKind::Func, F);
    let mut bodies = CodeSection::new();
    bodies.raw(&code.body);
    let mut data = DataSection::new();
    let elements: Vec<u8> = (0..ELEMENTS).flat_map(|i| element(i).to_le_bytes()).collect();
    data.active(0, &ConstExpr::i32_const(ARRAY), elements);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&memories);
    module.section(&exports).section(&bodies).section(&data);
    if named {
        let (mut locals, mut functions) = (NameMap::new(), IndirectNameMap::new());
        code.names.iter().for_each(|(local, name)| locals.append(*local, name));
        functions.append(F, &locals);
        let mut names = NameSection::new();
        names.locals(&functions);
        module.section(&names);
    }
    module.finish()
}

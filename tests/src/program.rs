//! Random programs that mostly do not trap: nested loops, calls of all kinds, recursion, values that
//! wait on the operand stack while loops and calls run above them.
//!
//! `wasm-smith` knows more instructions, but what it makes traps after a few of them. These programs
//! go on for as long as a budget lasts, which every call and loop iteration takes from.

use arbitrary::Unstructured;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    Instruction, MemArg, MemArgTarget, MemorySection, MemoryType, Module, RefType, TableSection,
    TableType, TypeSection, ValType,
};

/// Calls and loop iterations of each call from outside.
const BUDGET: i32 = 300;

/// Global that holds the rest of the budget.
const BUDGET_GLOBAL: u32 = 0;

/// The value types that programs compute with.
const TYPES: [ValType; 4] = [ValType::I32, ValType::I64, ValType::F64, ValType::F32];

/// Elements of the table; a power of two. Behind the functions it is null.
const TABLE: u32 = 16;

/// How deep expressions and statements are nested.
const MAX_DEPTH: u32 = 5;

/// Operators of one function.
const MAX_OPERATORS: usize = 1_500;

#[derive(Clone, PartialEq, Eq)]
struct Signature {
    params: Vec<ValType>,
    results: Vec<ValType>,
}

/// A program made from random bytes. Fewer bytes make a smaller one.
pub fn program(bytes: &[u8]) -> Vec<u8> {
    let mut choices = Choices(Unstructured::new(bytes));
    let mut types = Vec::new();
    let imports: Vec<Signature> = (0..choices.below(3)).map(|_| choices.signature(6)).collect();
    let functions: Vec<Signature> = (0..1 + choices.below(6))
        .map(|_| {
            // A few functions pass arguments and results in memory.
            let most = if choices.one_in(4) { 14 } else { 5 };
            choices.signature(most)
        })
        .collect();
    let callees: Vec<Signature> = imports.iter().chain(&functions).cloned().collect();

    let mut code = CodeSection::new();
    for signature in &functions {
        let body = Body::new(&mut choices, &mut types, &callees, imports.len(), signature);
        code.function(&body.finish());
    }
    for (index, signature) in functions.iter().enumerate() {
        code.function(&wrapper(signature, (imports.len() + index) as u32));
    }
    assemble(&types_of(&mut types, &callees), types, &imports, &functions, code)
}

/// Type indices of functions.
fn types_of(types: &mut Vec<Signature>, functions: &[Signature]) -> Vec<u32> {
    functions.iter().map(|signature| type_index(types, signature)).collect()
}

fn type_index(types: &mut Vec<Signature>, signature: &Signature) -> u32 {
    let index = types.iter().position(|ty| ty == signature).unwrap_or_else(|| {
        types.push(signature.clone());
        types.len() - 1
    });
    index as u32
}

/// An exported function that sets the budget and calls `callee`.
fn wrapper(signature: &Signature, callee: u32) -> Function {
    let mut function = Function::new([]);
    function.instruction(&Instruction::I32Const(BUDGET));
    function.instruction(&Instruction::GlobalSet(BUDGET_GLOBAL));
    for local in 0..signature.params.len() {
        function.instruction(&Instruction::LocalGet(local as u32));
    }
    function.instruction(&Instruction::Call(callee));
    function.instruction(&Instruction::End);
    function
}

fn assemble(
    type_indices: &[u32],
    types: Vec<Signature>,
    imports: &[Signature],
    functions: &[Signature],
    code: CodeSection,
) -> Vec<u8> {
    let mut type_section = TypeSection::new();
    for ty in types {
        type_section.ty().function(ty.params, ty.results);
    }
    let mut import_section = ImportSection::new();
    for (index, &ty) in type_indices[..imports.len()].iter().enumerate() {
        import_section.import("host", &format!("f{index}"), EntityType::Function(ty));
    }
    let defined = &type_indices[imports.len()..];
    let mut function_section = FunctionSection::new();
    for &ty in defined.iter().chain(defined) {
        function_section.function(ty);
    }

    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: u64::from(TABLE),
        maximum: None,
        shared: false,
    });
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: Some(3),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    for ty in [ValType::I32].iter().chain(&TYPES) {
        let init = match ty {
            ValType::I64 => ConstExpr::i64_const(7),
            ValType::F32 => ConstExpr::f32_const(0.5.into()),
            ValType::F64 => ConstExpr::f64_const(2.5.into()),
            _ => ConstExpr::i32_const(3),
        };
        globals.global(GlobalType { val_type: *ty, mutable: true, shared: false }, &init);
    }

    let mut exports = ExportSection::new();
    let first_wrapper = imports.len() + functions.len();
    for index in 0..functions.len() {
        let wrapper = (first_wrapper + index) as u32;
        exports.export(&format!("run{index}"), ExportKind::Func, wrapper);
    }
    exports.export("memory", ExportKind::Memory, 0);
    for index in 0..=TYPES.len() as u32 {
        exports.export(&format!("global{index}"), ExportKind::Global, index);
    }
    let all: Vec<u32> = (0..type_indices.len() as u32).collect();
    let mut elements = ElementSection::new();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(all.into()));
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(64), (0..=255).collect::<Vec<u8>>());

    let mut module = Module::new();
    module
        .section(&type_section)
        .section(&import_section)
        .section(&function_section)
        .section(&tables)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&elements)
        .section(&code)
        .section(&data);
    module.finish()
}

/// Random choices; when the bytes are used up, always the first and simplest.
struct Choices<'a>(Unstructured<'a>);

impl Choices<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        self.0.int_in_range(0..=bound - 1).unwrap_or(0)
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == n - 1
    }

    fn number(&mut self) -> i64 {
        match self.below(4) {
            0 => i64::from(self.below(10)),
            1 => i64::from(self.0.arbitrary::<i8>().unwrap_or(0)),
            2 => self.0.arbitrary().unwrap_or(0),
            _ => i64::MIN >> self.below(64),
        }
    }

    fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u32) as usize].clone()
    }

    fn signature(&mut self, most: u32) -> Signature {
        let mut list = |most| {
            let count = self.below(most);
            (0..count).map(|_| self.of(&TYPES)).collect()
        };
        Signature { params: list(most + 1), results: list(most) }
    }
}

/// The body of a function in the making.
struct Body<'c, 'b> {
    choices: &'c mut Choices<'b>,
    types: &'c mut Vec<Signature>,
    callees: &'c [Signature],
    imports: usize,
    signature: &'c Signature,
    /// Types of all locals, parameters first. Loop counters are not in it.
    locals: Vec<ValType>,
    /// Locals that count iterations.
    counters: Vec<u32>,
    /// Types of all declared locals.
    declared: Vec<ValType>,
    /// For every enclosing block and loop, innermost last: what a branch to it takes, or `None` if
    /// nothing branches there (loops, whose iterations are bounded otherwise).
    labels: Vec<Option<Vec<ValType>>>,
    depth: u32,
    code: Vec<Instruction<'static>>,
}

impl<'c, 'b> Body<'c, 'b> {
    fn new(
        choices: &'c mut Choices<'b>,
        types: &'c mut Vec<Signature>,
        callees: &'c [Signature],
        imports: usize,
        signature: &'c Signature,
    ) -> Body<'c, 'b> {
        let mut declared = TYPES.to_vec();
        let more = choices.below(8);
        declared.extend((0..more).map(|_| choices.of(&TYPES)));
        let locals = signature.params.iter().chain(&declared).copied().collect();
        Body {
            choices,
            types,
            callees,
            imports,
            signature,
            locals,
            counters: Vec::new(),
            declared,
            labels: Vec::new(),
            depth: 0,
            code: Vec::new(),
        }
    }

    fn finish(mut self) -> Function {
        let results = self.signature.results.clone();
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::I32Eqz);
        self.emit(Instruction::If(BlockType::Empty));
        for &ty in &results {
            self.zero(ty);
        }
        self.emit(Instruction::Return);
        self.emit(Instruction::End);
        self.spend();
        self.labels.push(Some(results.clone()));
        for _ in 0..1 + self.choices.below(8) {
            self.statement();
        }
        for ty in results {
            self.expression(ty);
        }
        self.emit(Instruction::End);
        let mut function = Function::new(self.declared.iter().map(|&ty| (1, ty)));
        for instruction in &self.code {
            function.instruction(instruction);
        }
        function
    }

    fn emit(&mut self, instruction: Instruction<'static>) {
        self.code.push(instruction);
    }

    /// Takes one from the budget.
    fn spend(&mut self) {
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::I32Const(1));
        self.emit(Instruction::I32Sub);
        self.emit(Instruction::GlobalSet(BUDGET_GLOBAL));
    }

    fn zero(&mut self, ty: ValType) {
        self.emit(match ty {
            ValType::I64 => Instruction::I64Const(0),
            ValType::F32 => Instruction::F32Const(0.0.into()),
            ValType::F64 => Instruction::F64Const(0.0.into()),
            _ => Instruction::I32Const(0),
        });
    }

    fn constant(&mut self, ty: ValType) {
        let number = self.choices.number();
        self.emit(match ty {
            ValType::I64 => Instruction::I64Const(number),
            ValType::F32 => Instruction::F32Const((number as f32 / 8.0).into()),
            ValType::F64 => Instruction::F64Const((number as f64 / 8.0).into()),
            _ => Instruction::I32Const(number as i32),
        });
    }

    /// A local of this type: there always is one.
    fn local(&mut self, ty: ValType) -> u32 {
        let locals: Vec<u32> = (0..self.locals.len() as u32)
            .filter(|&index| self.locals[index as usize] == ty)
            .collect();
        self.choices.of(&locals)
    }

    fn global(ty: ValType) -> u32 {
        1 + TYPES.iter().position(|&t| t == ty).expect("a known type") as u32
    }

    /// A counter that no enclosing loop uses.
    fn new_counter(&mut self) -> u32 {
        let counter = (self.signature.params.len() + self.declared.len()) as u32;
        self.declared.push(ValType::I32);
        self.locals.push(ValType::FUNCREF); // Never chosen.
        self.counters.push(counter);
        counter
    }

    fn is_full(&self) -> bool {
        self.depth >= MAX_DEPTH || self.code.len() > MAX_OPERATORS
    }

    /// Pushes one value.
    fn expression(&mut self, ty: ValType) {
        if self.is_full() {
            let local = self.local(ty);
            return self.emit(Instruction::LocalGet(local));
        }
        self.depth += 1;
        match self.choices.below(20) {
            0 => self.constant(ty),
            1 | 2 => {
                let local = self.local(ty);
                self.emit(Instruction::LocalGet(local));
            }
            3 => {
                self.expression(ty);
                let local = self.local(ty);
                self.emit(Instruction::LocalTee(local));
            }
            4 => self.emit(Instruction::GlobalGet(Self::global(ty))),
            5..=8 => self.binary(ty),
            9 => self.unary(ty),
            10 => self.conversion(ty),
            11 => self.load(ty),
            12 => {
                self.expression(ty);
                self.expression(ty);
                self.expression(ValType::I32);
                self.emit(Instruction::Select);
            }
            13 => {
                self.expression(ValType::I32);
                self.emit(Instruction::If(BlockType::Result(ty)));
                self.labels.push(Some(vec![ty]));
                self.expression(ty);
                self.emit(Instruction::Else);
                self.expression(ty);
                self.end();
            }
            14 => {
                self.emit(Instruction::Block(BlockType::Result(ty)));
                self.labels.push(Some(vec![ty]));
                self.statement();
                self.expression(ty);
                self.maybe_branch(&[ty]);
                self.end();
            }
            15 | 16 => self.loop_with_values(&[ty]),
            17 => {
                // A loop that carries several values, all but one of which are then dropped.
                let mut types: Vec<ValType> = vec![ty];
                for _ in 0..self.choices.below(4) {
                    types.push(self.choices.of(&TYPES));
                }
                self.loop_with_values(&types);
                for &ty in types[1..].iter().rev() {
                    let local = self.local(ty);
                    self.emit(Instruction::LocalSet(local));
                }
            }
            _ => self.call_for(ty),
        }
        self.depth -= 1;
    }

    fn end(&mut self) {
        self.emit(Instruction::End);
        self.labels.pop();
    }

    /// A loop with these types as parameters and results, entered with values of theirs.
    fn loop_with_values(&mut self, types: &[ValType]) {
        for &ty in types {
            self.expression(ty);
        }
        let signature = Signature { params: types.to_vec(), results: types.to_vec() };
        let ty = BlockType::FunctionType(type_index(self.types, &signature));
        let counter = self.start_counter();
        self.emit(Instruction::Loop(ty));
        self.labels.push(None);
        // The topmost value changes in each iteration; the others wait below.
        let last = types[types.len() - 1];
        let local = self.local(last);
        self.emit(Instruction::LocalSet(local));
        self.statement();
        self.expression(last);
        self.iterate(counter);
        self.end();
    }

    fn start_counter(&mut self) -> u32 {
        let counter = self.new_counter();
        let iterations = 1 + self.choices.below(12) as i32;
        self.emit(Instruction::I32Const(iterations));
        self.emit(Instruction::LocalSet(counter));
        counter
    }

    /// Goes back to the innermost loop while its counter and the budget last.
    fn iterate(&mut self, counter: u32) {
        self.emit(Instruction::LocalGet(counter));
        self.emit(Instruction::I32Const(1));
        self.emit(Instruction::I32Sub);
        self.emit(Instruction::LocalTee(counter));
        self.emit(Instruction::I32Const(0));
        self.emit(Instruction::I32GtS);
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::I32Const(0));
        self.emit(Instruction::I32GtS);
        self.emit(Instruction::I32And);
        self.spend_if_positive();
        self.emit(Instruction::BrIf(0));
    }

    /// Takes one from the budget unless it is used up.
    fn spend_if_positive(&mut self) {
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::I32Const(0));
        self.emit(Instruction::I32GtS);
        self.emit(Instruction::I32Sub);
        self.emit(Instruction::GlobalSet(BUDGET_GLOBAL));
    }

    /// Perhaps branches to an enclosing block that takes the types on top of the stack.
    fn maybe_branch(&mut self, types: &[ValType]) {
        let targets: Vec<u32> = (0..self.labels.len() as u32)
            .filter(|&depth| {
                let label = &self.labels[self.labels.len() - 1 - depth as usize];
                label.as_deref() == Some(types)
            })
            .collect();
        if targets.is_empty() || self.choices.one_in(3) {
            return;
        }
        self.expression(ValType::I32);
        if self.choices.one_in(3) {
            let list: Vec<u32> =
                (0..self.choices.below(4)).map(|_| self.choices.of(&targets)).collect();
            let default = self.choices.of(&targets);
            self.emit(Instruction::If(BlockType::Empty));
            // In a dead end, so that what follows need not be unreachable.
            self.labels.push(None);
            for &ty in types {
                let local = self.local(ty);
                self.emit(Instruction::LocalGet(local));
            }
            self.expression(ValType::I32);
            self.emit(Instruction::BrTable(
                list.iter().map(|depth| depth + 1).collect(),
                default + 1,
            ));
            self.end();
        } else {
            let target = self.choices.of(&targets);
            self.emit(Instruction::BrIf(target));
        }
    }

    fn statement(&mut self) {
        if self.is_full() {
            return;
        }
        self.depth += 1;
        let ty = self.choices.of(&TYPES);
        match self.choices.below(14) {
            0..=2 => {
                self.expression(ty);
                let local = self.local(ty);
                self.emit(Instruction::LocalSet(local));
            }
            3 => {
                self.expression(ty);
                self.emit(Instruction::GlobalSet(Self::global(ty)));
            }
            4 | 5 => self.store(ty),
            6 => {
                self.expression(ValType::I32);
                self.emit(Instruction::If(BlockType::Empty));
                self.labels.push(Some(Vec::new()));
                self.statement();
                if self.choices.one_in(2) {
                    self.emit(Instruction::Else);
                    self.statement();
                }
                self.end();
            }
            7 => {
                self.emit(Instruction::Block(BlockType::Empty));
                self.labels.push(Some(Vec::new()));
                self.statement();
                self.maybe_branch(&[]);
                self.statement();
                self.end();
            }
            8..=10 => {
                let counter = self.start_counter();
                self.emit(Instruction::Block(BlockType::Empty));
                self.labels.push(Some(Vec::new()));
                self.emit(Instruction::Loop(BlockType::Empty));
                self.labels.push(None);
                self.statement();
                self.maybe_branch(&[]);
                self.statement();
                self.iterate(counter);
                self.end();
                self.end();
            }
            11 => self.bulk(),
            12 => {
                self.expression(ValType::I32);
                self.emit(Instruction::I32Const(1));
                self.emit(Instruction::I32And);
                self.emit(Instruction::MemoryGrow(0));
                self.emit(Instruction::GlobalSet(Self::global(ValType::I32)));
            }
            _ => {
                let callee = self.choices.below(self.callees.len() as u32) as usize;
                let results = self.callees[callee].results.clone();
                self.call(callee);
                for ty in results.into_iter().rev() {
                    let local = self.local(ty);
                    self.emit(Instruction::LocalSet(local));
                }
            }
        }
        self.depth -= 1;
    }

    /// Calls something that has a result of this type, if there is such a function.
    fn call_for(&mut self, ty: ValType) {
        let callees: Vec<usize> = (0..self.callees.len())
            .filter(|&index| self.callees[index].results.contains(&ty))
            .collect();
        if callees.is_empty() {
            return self.binary(ty);
        }
        let callee = self.choices.of(&callees);
        let results = self.callees[callee].results.clone();
        self.call(callee);
        // Keep the last result of the type; what lies above goes into locals, what lies below it is
        // dropped after it has waited there.
        let kept = results.iter().rposition(|&t| t == ty).expect("such a result");
        for &ty in results[kept + 1..].iter().rev() {
            let local = self.local(ty);
            self.emit(Instruction::LocalSet(local));
        }
        if kept > 0 {
            let local = self.local(ty);
            self.emit(Instruction::LocalSet(local));
            for _ in 0..kept {
                self.emit(Instruction::Drop);
            }
            self.emit(Instruction::LocalGet(local));
        }
    }

    fn call(&mut self, callee: usize) {
        let signature = self.callees[callee].clone();
        for &ty in &signature.params {
            self.expression(ty);
        }
        if callee < self.imports || self.choices.one_in(2) {
            return self.emit(Instruction::Call(callee as u32));
        }
        let ty = type_index(self.types, &signature);
        if self.choices.one_in(20) {
            // Often another type, or null.
            self.expression(ValType::I32);
            self.emit(Instruction::I32Const(TABLE as i32 - 1));
            self.emit(Instruction::I32And);
        } else {
            self.emit(Instruction::I32Const(callee as i32));
        }
        self.emit(Instruction::CallIndirect { type_index: ty, table_index: 0 });
    }

    fn binary(&mut self, ty: ValType) {
        use Instruction::*;
        // Comparisons give i32, whatever they compare.
        if ty == ValType::I32 && self.choices.one_in(4) {
            let of = self.choices.of(&TYPES);
            self.expression(of);
            self.expression(of);
            let operator = match of {
                ValType::I32 => self.choices.of(&[I32Eq, I32LtS, I32LtU, I32GeS, I32GtU, I32Ne]),
                ValType::I64 => self.choices.of(&[I64Eq, I64LtS, I64LtU, I64GeS, I64GtU, I64Ne]),
                ValType::F32 => self.choices.of(&[F32Eq, F32Lt, F32Ge, F32Ne, F32Gt, F32Le]),
                _ => self.choices.of(&[F64Eq, F64Lt, F64Ge, F64Ne, F64Gt, F64Le]),
            };
            return self.emit(operator);
        }
        self.expression(ty);
        self.expression(ty);
        match ty {
            ValType::I32 => {
                let operator = self.choices.of(&[
                    I32Add, I32Sub, I32Mul, I32And, I32Or, I32Xor, I32Shl, I32ShrS, I32ShrU,
                    I32Rotl, I32Rotr, I32DivU, I32RemS, I32DivS, I32RemU,
                ]);
                if matches!(operator, I32DivU | I32RemS | I32DivS | I32RemU)
                    && !self.choices.one_in(30)
                {
                    self.emit(I32Const(0x7f));
                    self.emit(I32And);
                    self.emit(I32Const(1));
                    self.emit(I32Or);
                }
                self.emit(operator);
            }
            ValType::I64 => {
                let operator = self.choices.of(&[
                    I64Add, I64Sub, I64Mul, I64And, I64Or, I64Xor, I64Shl, I64ShrS, I64ShrU,
                    I64Rotl, I64Rotr, I64DivU, I64RemS, I64DivS, I64RemU,
                ]);
                if matches!(operator, I64DivU | I64RemS | I64DivS | I64RemU)
                    && !self.choices.one_in(30)
                {
                    self.emit(I64Const(0x7f));
                    self.emit(I64And);
                    self.emit(I64Const(1));
                    self.emit(I64Or);
                }
                self.emit(operator);
            }
            ValType::F32 => {
                let operator =
                    self.choices.of(&[F32Add, F32Sub, F32Mul, F32Div, F32Min, F32Max, F32Copysign]);
                self.emit(operator);
                self.canonicalize(ty);
            }
            _ => {
                let operator =
                    self.choices.of(&[F64Add, F64Sub, F64Mul, F64Div, F64Min, F64Max, F64Copysign]);
                self.emit(operator);
                self.canonicalize(ty);
            }
        }
    }

    fn unary(&mut self, ty: ValType) {
        use Instruction::*;
        if ty == ValType::I32 && self.choices.one_in(5) {
            return self.emit(MemorySize(0));
        }
        self.expression(ty);
        let operator = match ty {
            ValType::I32 => {
                self.choices.of(&[I32Clz, I32Ctz, I32Popcnt, I32Eqz, I32Extend8S, I32Extend16S])
            }
            ValType::I64 => self.choices.of(&[
                I64Clz,
                I64Ctz,
                I64Popcnt,
                I64Extend8S,
                I64Extend16S,
                I64Extend32S,
            ]),
            ValType::F32 => {
                self.choices.of(&[F32Abs, F32Neg, F32Sqrt, F32Ceil, F32Floor, F32Trunc, F32Nearest])
            }
            _ => {
                self.choices.of(&[F64Abs, F64Neg, F64Sqrt, F64Ceil, F64Floor, F64Trunc, F64Nearest])
            }
        };
        self.emit(operator);
        self.canonicalize(ty);
    }

    fn conversion(&mut self, ty: ValType) {
        use Instruction::*;
        let (from, operator) = match ty {
            ValType::I32 => self.choices.of(&[
                (ValType::I64, I32WrapI64),
                (ValType::I64, I64Eqz),
                (ValType::F32, I32TruncSatF32S),
                (ValType::F64, I32TruncSatF64U),
                (ValType::F32, I32ReinterpretF32),
            ]),
            ValType::I64 => self.choices.of(&[
                (ValType::I32, I64ExtendI32S),
                (ValType::I32, I64ExtendI32U),
                (ValType::F64, I64TruncSatF64S),
                (ValType::F32, I64TruncSatF32U),
                (ValType::F64, I64ReinterpretF64),
            ]),
            ValType::F32 => self.choices.of(&[
                (ValType::I32, F32ConvertI32S),
                (ValType::I64, F32ConvertI64U),
                (ValType::F64, F32DemoteF64),
                (ValType::I32, F32ReinterpretI32),
            ]),
            _ => self.choices.of(&[
                (ValType::I32, F64ConvertI32U),
                (ValType::I64, F64ConvertI64S),
                (ValType::F32, F64PromoteF32),
                (ValType::I64, F64ReinterpretI64),
            ]),
        };
        self.expression(from);
        self.emit(operator);
        self.canonicalize(ty);
    }

    /// Makes any NaN on top of the stack the canonical one: which one an operator gives is not
    /// specified.
    fn canonicalize(&mut self, ty: ValType) {
        use Instruction::*;
        let (ne, nan) = match ty {
            ValType::F32 => (F32Ne, F32Const(f32::from_bits(0x7fc0_0000).into())),
            ValType::F64 => (F64Ne, F64Const(f64::from_bits(0x7ff8_0000_0000_0000).into())),
            _ => return,
        };
        let local = self.local(ty);
        self.emit(LocalSet(local));
        self.emit(nan);
        for instruction in [LocalGet(local), LocalGet(local), LocalGet(local), ne, Select] {
            self.emit(instruction);
        }
    }

    /// Pushes an address that is mostly within memory.
    fn address(&mut self) {
        self.expression(ValType::I32);
        if !self.choices.one_in(40) {
            self.emit(Instruction::I32Const(0x3ff));
            self.emit(Instruction::I32And);
        }
    }

    fn mem_arg(&mut self) -> MemArg {
        MemArg {
            offset: u64::from(self.choices.below(300)),
            align: 0,
            target: MemArgTarget::Memory(0),
            ordering: None,
        }
    }

    fn load(&mut self, ty: ValType) {
        use Instruction::*;
        self.address();
        let at = self.mem_arg();
        let operator = match ty {
            ValType::I32 => self.choices.of(&[I32Load(at), I32Load8S(at), I32Load16U(at)]),
            ValType::I64 => self.choices.of(&[I64Load(at), I64Load8U(at), I64Load32S(at)]),
            ValType::F32 => F32Load(at),
            _ => F64Load(at),
        };
        self.emit(operator);
        self.canonicalize(ty);
    }

    fn store(&mut self, ty: ValType) {
        use Instruction::*;
        self.address();
        self.expression(ty);
        let at = self.mem_arg();
        let operator = match ty {
            ValType::I32 => self.choices.of(&[I32Store(at), I32Store8(at), I32Store16(at)]),
            ValType::I64 => self.choices.of(&[I64Store(at), I64Store32(at), I64Store8(at)]),
            ValType::F32 => F32Store(at),
            _ => F64Store(at),
        };
        self.emit(operator);
    }

    fn bulk(&mut self) {
        self.address();
        let copy = self.choices.one_in(2);
        if copy {
            self.address();
        } else {
            self.expression(ValType::I32);
        }
        self.expression(ValType::I32);
        self.emit(Instruction::I32Const(0xff));
        self.emit(Instruction::I32And);
        self.emit(if copy {
            Instruction::MemoryCopy { src_mem: 0, dst_mem: 0 }
        } else {
            Instruction::MemoryFill(0)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Random;

    #[test]
    fn programs_are_valid() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..random.below(3_000)).map(|_| random.next() as u8).collect();
            let wasm = program(&bytes);
            if let Err(error) = wasmparser::validate(&wasm) {
                panic!("seed {seed}: {error}\n{}", wasmprinter::print_bytes(&wasm).unwrap());
            }
        }
    }

    #[test]
    fn programs_mostly_run_to_the_end() {
        let (mut ended, mut trapped) = (0, 0);
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..3_000).map(|_| random.next() as u8).collect();
            for observation in crate::differential::observe_wasmi(&program(&bytes)).unwrap() {
                for outcome in observation.outcomes {
                    match outcome {
                        Ok(_) => ended += 1,
                        Err(_) => trapped += 1,
                    }
                }
            }
        }
        assert!(ended > 5 * trapped, "{ended} ended, {trapped} trapped");
    }
}

//! Random programs that mostly do not trap: nested loops, calls of all kinds, recursion, values that
//! wait on the operand stack while loops and calls run above them.
//!
//! `wasm-smith` knows more instructions, but what it makes traps after a few of them. These programs
//! go on for as long as a budget lasts, which every call and loop iteration takes from.

mod atomics;
mod body;
mod choices;
pub mod crew;
mod exceptions;
mod operators;
mod vectors;

use arbitrary::Unstructured;
use body::Body;
use choices::Choices;
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    Instruction, MemorySection, MemoryType, Module, RefType, TableSection, TableType, TagKind,
    TagSection, TagType, TypeSection, ValType,
};
use wasmparser::{Validator, WasmFeatures};

/// Calls and loop iterations of each call from outside.
const BUDGET: i32 = 60;

/// Most iterations of a loop.
const ITERATIONS: u32 = 12;

/// Global that holds the rest of the budget.
const BUDGET_GLOBAL: u32 = 0;

/// The value types that programs compute with.
const TYPES: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F64, ValType::F32, ValType::V128];

/// Elements of each table; a power of two. Behind the functions they are null. The second has indices of 64 bits.
const TABLE: u32 = 16;

/// How deep expressions and statements are nested.
const MAX_DEPTH: u32 = 5;

/// Operators of one function.
const MAX_OPERATORS: usize = 600;

/// Memories: whether they have addresses of 64 bits, and the logarithm of the size of their pages if it is not the usual
/// one.
const MEMORIES: [(bool, Option<u32>); 3] = [(false, None), (true, None), (false, Some(0))];

#[derive(Clone, PartialEq, Eq)]
struct Signature {
    params: Vec<ValType>,
    results: Vec<ValType>,
}

/// A program made from random bytes. Fewer bytes make a smaller one.
pub fn program(bytes: &[u8]) -> Vec<u8> {
    program_with_limits(bytes, &Limits::SHORT)
}

/// A program that throws and catches exceptions, made from random bytes.
pub fn program_with_exceptions(bytes: &[u8]) -> Vec<u8> {
    program_with_limits(bytes, &Limits { exceptions: true, ..Limits::SHORT })
}

/// A program with the operators of threads, made from random bytes.
pub fn program_with_atomics(bytes: &[u8]) -> Vec<u8> {
    program_with_limits(bytes, &Limits { atomics: true, ..Limits::SHORT })
}

/// Whether a program is valid, as it should be.
pub fn validate(wasm: &[u8]) -> wasmparser::Result<()> {
    Validator::new_with_features(WasmFeatures::all()).validate_all(wasm).map(drop)
}

/// How long a program runs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls and loop iterations of each call from outside.
    pub budget: i32,
    /// Most iterations of a loop each time that it is reached.
    pub iterations: u32,
    /// Whether it calls functions by references of their types, which not every engine knows.
    pub references: bool,
    /// Whether exceptions are thrown and caught.
    pub exceptions: bool,
    /// Whether functions call others in their last step.
    pub tail_calls: bool,
    /// Whether it has atomic operators, and memories that are shared.
    pub atomics: bool,
    /// Whether it imports a [memory](crew) that other programs add to at the same time.
    pub crew: bool,
}

impl Limits {
    /// A program that runs for a moment, of what other engines know as well, but for references.
    pub const SHORT: Limits = Limits {
        budget: BUDGET,
        iterations: ITERATIONS,
        references: true,
        exceptions: false,
        tail_calls: true,
        atomics: false,
        crew: false,
    };
}

/// A program made from random bytes that runs longer, or less long, than others.
pub fn program_with_limits(bytes: &[u8], limits: &Limits) -> Vec<u8> {
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

    let address = Signature { params: vec![ValType::I64], results: vec![ValType::I32] };
    let indices = (imports.len(), (imports.len() + 2 * functions.len()) as u32);
    let mut code = CodeSection::new();
    for signature in &functions {
        let body = Body::new(&mut choices, &mut types, &callees, indices, signature, limits);
        code.function(&body.finish());
    }
    for (index, signature) in functions.iter().enumerate() {
        code.function(&wrapper(signature, (imports.len() + index) as u32, limits));
    }
    code.function(&address_function());
    let mut last = vec![type_index(&mut types, &address)];
    if limits.crew {
        code.function(&crew::add_by_exchange());
        last.push(type_index(&mut types, &crew::signature()));
    }
    let tags: Vec<u32> = if limits.exceptions {
        let tags = 0..exceptions::TAGS.len() as u32;
        tags.map(|tag| type_index(&mut types, &exceptions::signature_of_tag(tag))).collect()
    } else {
        Vec::new()
    };
    let type_indices = types_of(&mut types, &callees);
    let own = (&imports[..], &functions[..]);
    let program = assemble(&type_indices, &last, types, &tags, own, memories(limits.atomics), code);
    if limits.crew { crew::with_crew(&program) } else { program }
}

/// A function that narrows a number to an address within memory; the upper half of its register is anything.
fn address_function() -> Function {
    let mut function = Function::new([]);
    for instruction in [
        Instruction::LocalGet(0),
        Instruction::I64Const(0xffff_ffff_0000_03ff_u64 as i64),
        Instruction::I64And,
        Instruction::I32WrapI64,
        Instruction::End,
    ] {
        function.instruction(&instruction);
    }
    function
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
fn wrapper(signature: &Signature, callee: u32, limits: &Limits) -> Function {
    let mut function = Function::new([]);
    if limits.crew {
        let wait = crew::wait(callee % crew::PLACES, 100);
        for instruction in &wait {
            function.instruction(instruction);
        }
    }
    function.instruction(&Instruction::I32Const(limits.budget));
    function.instruction(&Instruction::GlobalSet(BUDGET_GLOBAL));
    for local in 0..signature.params.len() {
        function.instruction(&Instruction::LocalGet(local as u32));
    }
    function.instruction(&Instruction::Call(callee));
    function.instruction(&Instruction::End);
    function
}

/// The memories; all but one are shared, if any are.
fn memories(shared: bool) -> MemorySection {
    let mut memories = MemorySection::new();
    for (memory64, page_size_log2) in MEMORIES {
        let pages = if page_size_log2.is_some() { 1500 } else { 1 };
        memories.memory(MemoryType {
            minimum: pages,
            maximum: Some(3 * pages),
            memory64,
            shared: shared && page_size_log2.is_none(),
            page_size_log2,
        });
    }
    memories
}

fn assemble(
    type_indices: &[u32],
    last: &[u32],
    types: Vec<Signature>,
    tags: &[u32],
    (imports, functions): (&[Signature], &[Signature]),
    memories: MemorySection,
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
    for &ty in defined.iter().chain(defined).chain(last) {
        function_section.function(ty);
    }

    let mut tables = TableSection::new();
    for table64 in [false, true] {
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64,
            minimum: u64::from(TABLE),
            maximum: None,
            shared: false,
        });
    }
    let mut globals = GlobalSection::new();
    for ty in [ValType::I32].iter().chain(&TYPES) {
        let init = match ty {
            ValType::I64 => ConstExpr::i64_const(7),
            ValType::F32 => ConstExpr::f32_const(0.5.into()),
            ValType::F64 => ConstExpr::f64_const(2.5.into()),
            ValType::V128 => ConstExpr::v128_const(1 << 100 | 9),
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
    for memory in 0..MEMORIES.len() as u32 {
        exports.export(&format!("memory{memory}"), ExportKind::Memory, memory);
    }
    for index in 0..=TYPES.len() as u32 {
        exports.export(&format!("global{index}"), ExportKind::Global, index);
    }
    let all: Vec<u32> = (0..type_indices.len() as u32).collect();
    let mut elements = ElementSection::new();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions((&all).into()));
    elements.active(Some(1), &ConstExpr::i64_const(0), Elements::Functions(all.into()));
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(64), (0..=255).collect::<Vec<u8>>());

    let mut module = Module::new();
    module
        .section(&type_section)
        .section(&import_section)
        .section(&function_section)
        .section(&tables)
        .section(&memories);
    if !tags.is_empty() {
        let mut section = TagSection::new();
        for &ty in tags {
            section.tag(TagType { kind: TagKind::Exception, func_type_idx: ty });
        }
        module.section(&section);
    }
    module.section(&globals).section(&exports).section(&elements).section(&code).section(&data);
    module.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Random;

    #[test]
    fn programs_are_valid() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..random.below(3_000)).map(|_| random.word() as u8).collect();
            let all = Limits { exceptions: true, atomics: true, crew: true, ..Limits::SHORT };
            for wasm in [program(&bytes), program_with_limits(&bytes, &all)] {
                if let Err(error) = validate(&wasm) {
                    let text = wasmprinter::print_bytes(&wasm).unwrap();
                    panic!("seed {seed}: {error}\n{text}");
                }
            }
        }
    }

    #[test]
    fn programs_mostly_run_to_the_end() {
        let (mut ended, mut trapped) = (0, 0);
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..3_000).map(|_| random.word() as u8).collect();
            let limits = Limits { references: false, tail_calls: false, ..Limits::SHORT };
            let wasm = program_with_limits(&bytes, &limits);
            for observation in crate::differential::observe_wasmi(&wasm).unwrap() {
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

//! Validation of bodies in a module that has grown.
//!
//! The validator knows modules only as a whole. So the grown module is written down once more: its index
//! spaces, without contents. The first body is reached when the validator has taken in all of them, and what
//! it has then is what every body is validated with.

use super::{Import, Item, ModuleState};
use midair_tiers::{ModuleEnv, ValType};
use std::borrow::Cow;
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, FunctionSection, GlobalSection, GlobalType, HeapType, ImportSection,
    MemorySection, MemoryType, RefType, TableSection, TableType, TypeSection,
};
use wasmparser::{
    Error as ParseError, Parser, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

/// What bodies of a grown module are validated with; `None` if it has no functions.
///
/// `env` is that of `module`, with additions; `added_globals` are the initial values of the globals that the
/// module has not had when it was loaded. Fails if an addition is not valid.
///
/// Every function counts as declared, so that `ref.func` can refer to it. Declarations tell an engine which
/// references it has to prepare, and here they are made on demand.
pub(crate) fn resources(
    module: &ModuleState,
    env: &ModuleEnv,
    added_globals: &[&[u8]],
    features: WasmFeatures,
) -> Result<Option<ValidatorResources>, ParseError> {
    let bytes = encode(module, env, added_globals);
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    for payload in parser.parse_all(&bytes) {
        if let ValidPayload::Func(function, _) = validator.payload(&payload?)? {
            return Ok(Some(function.resources));
        }
    }
    Ok(None)
}

fn encode(module: &ModuleState, env: &ModuleEnv, added_globals: &[&[u8]]) -> Vec<u8> {
    let mut types = TypeSection::new();
    for ty in &*env.types {
        let list = |types: &[ValType]| types.iter().copied().map(val_type).collect::<Vec<_>>();
        types.ty().function(list(&ty.params), list(&ty.results));
    }
    let mut imports = ImportSection::new();
    for Import { module, name, item } in &module.imports {
        let ty = match *item {
            Item::Func(index) => EntityType::Function(env.functions[index as usize]),
            Item::Table(index) => table_type(&env.tables[index as usize]).into(),
            Item::Memory(index) => memory_type(&env.memories[index as usize]).into(),
            Item::Global(index) => global_type(&env.globals[index as usize]).into(),
        };
        imports.import(module, name, ty);
    }
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for ty in &env.functions[env.imported_functions as usize..] {
        functions.function(*ty);
        // No locals, and the end: the validator is not asked about it.
        code.raw(&[0, 0x0b]);
    }
    let mut tables = TableSection::new();
    for ty in &env.tables[module.imported_tables..] {
        tables.table(table_type(ty));
    }
    let mut memories = MemorySection::new();
    for ty in &env.memories[module.imported_memories..] {
        memories.memory(memory_type(ty));
    }
    let mut globals = GlobalSection::new();
    let defined = &env.globals[env.imported_globals as usize..];
    let (loaded, added) = defined.split_at(defined.len() - added_globals.len());
    for ty in loaded {
        globals.global(global_type(ty), &zero(ty.content));
    }
    for (ty, init) in added.iter().zip(added_globals) {
        // The end is encoded again.
        let init = init.strip_suffix(&[0x0b]).unwrap_or(init);
        globals.global(global_type(ty), &ConstExpr::raw(init.iter().copied()));
    }
    let (mut elements, mut exports) = (ElementSection::new(), ExportSection::new());
    let all: Vec<u32> = (0..env.functions.len() as u32).collect();
    let mut declared = false;
    for segment in &module.elements {
        elements.passive(match segment.ty {
            ValType::ExternRef => Elements::Expressions(RefType::EXTERNREF, Cow::default()),
            _ if !declared => {
                declared = true;
                Elements::Functions(Cow::Borrowed(&all))
            }
            _ => Elements::Functions(Cow::default()),
        });
    }
    if !declared {
        // A segment would have an index.
        for function in all {
            exports.export(&function.to_string(), ExportKind::Func, function);
        }
    }

    let mut grown = wasm_encoder::Module::new();
    grown.section(&types).section(&imports).section(&functions).section(&tables);
    grown.section(&memories).section(&globals).section(&exports).section(&elements);
    grown.section(&DataCountSection { count: module.data.len() as u32 }).section(&code);
    grown.finish()
}

fn val_type(ty: ValType) -> wasm_encoder::ValType {
    match ty {
        ValType::I32 => wasm_encoder::ValType::I32,
        ValType::I64 => wasm_encoder::ValType::I64,
        ValType::F32 => wasm_encoder::ValType::F32,
        ValType::F64 => wasm_encoder::ValType::F64,
        ValType::V128 => wasm_encoder::ValType::V128,
        ValType::FuncRef => RefType::FUNCREF.into(),
        ValType::ExternRef => RefType::EXTERNREF.into(),
        _ => unreachable!("modules with other types are refused at load"),
    }
}

fn table_type(ty: &midair_tiers::module_env::TableType) -> TableType {
    TableType {
        element_type: match ty.element {
            ValType::ExternRef => RefType::EXTERNREF,
            _ => RefType::FUNCREF,
        },
        minimum: ty.minimum.into(),
        maximum: ty.maximum.map(u64::from),
        table64: false,
        shared: false,
    }
}

fn memory_type(ty: &midair_tiers::module_env::MemoryType) -> MemoryType {
    MemoryType {
        minimum: ty.minimum,
        maximum: ty.maximum,
        memory64: false,
        shared: false,
        page_size_log2: None,
    }
}

fn global_type(ty: &midair_tiers::module_env::GlobalType) -> GlobalType {
    GlobalType { val_type: val_type(ty.content), mutable: ty.mutable, shared: false }
}

/// Some value of this type.
fn zero(ty: ValType) -> ConstExpr {
    match ty {
        ValType::I32 => ConstExpr::i32_const(0),
        ValType::I64 => ConstExpr::i64_const(0),
        ValType::F32 => ConstExpr::f32_const(0.0.into()),
        ValType::F64 => ConstExpr::f64_const(0.0.into()),
        ValType::V128 => ConstExpr::v128_const(0),
        ValType::FuncRef => ConstExpr::ref_null(HeapType::FUNC),
        ValType::ExternRef => ConstExpr::ref_null(HeapType::EXTERN),
        _ => unreachable!("modules with other types are refused at load"),
    }
}

//! A module as the compiler sees it, without a runtime.

use midair_tiers::module_env::{GlobalType, MemoryType, TableType};
use midair_tiers::{FuncType, FunctionBody, ModuleEnv, ValType};
use std::sync::Arc;
use wasmparser::{Operator, Parser, Payload, RefType, TypeRef, Validator, WasmFeatures};

/// What the compiler is given of a module.
pub struct TestModule {
    pub env: ModuleEnv,
    pub bodies: Vec<FunctionBody>,
}

/// WebAssembly 2.0, and what else the tiers accept.
pub fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::THREADS
}

impl TestModule {
    /// From the text format.
    pub fn from_wat(text: &str) -> TestModule {
        let bytes = wat::parse_str(text).expect("well-formed text");
        Self::new(bytes).expect("valid module")
    }

    /// From the binary format; fails if the module is not valid.
    pub fn new(bytes: Vec<u8>) -> wasmparser::Result<TestModule> {
        Validator::new_with_features(features()).validate_all(&bytes)?;
        Self::new_unchecked(bytes)
    }

    /// From the binary format of a module that is known to be valid.
    pub fn new_unchecked(bytes: Vec<u8>) -> wasmparser::Result<TestModule> {
        let source = Arc::new(bytes);
        let (mut env, mut bodies) = (ModuleEnv::default(), Vec::new());
        for payload in Parser::new(0).parse_all(&source) {
            match payload? {
                Payload::TypeSection(types) => {
                    for ty in types.into_iter_err_on_gc_types() {
                        let ty = ty?;
                        let convert = |types: &[wasmparser::ValType]| -> Vec<ValType> {
                            types.iter().map(|&ty| value_type(ty)).collect()
                        };
                        env.types.push(FuncType::new(convert(ty.params()), convert(ty.results())));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(ty) => {
                                env.functions.push(ty);
                                env.imported_functions += 1;
                            }
                            TypeRef::Table(ty) => env.tables.push(table_type(&ty)),
                            TypeRef::Memory(ty) => env.memories.push(memory_type(&ty)),
                            TypeRef::Global(ty) => {
                                env.globals.push(global_type(&ty));
                                env.imported_globals += 1;
                            }
                            other => panic!("import {other:?}"),
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    for ty in functions {
                        env.functions.push(ty?);
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        env.tables.push(table_type(&table?.ty));
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        env.memories.push(memory_type(&memory?));
                    }
                }
                Payload::GlobalSection(globals) => {
                    for global in globals {
                        env.globals.push(global_type(&global?.ty));
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let range = body.range();
                    let function = env.imported_functions + bodies.len() as u32;
                    let (start, len) = (range.start as usize, (range.end - range.start) as usize);
                    let source = source.clone();
                    bodies.push(FunctionBody::new(source, start, len, function, 0));
                }
                _ => {}
            }
        }
        env.shapes = env.types.iter().map(midair_tiers::abi::call_shape).collect();
        Ok(TestModule { env, bodies })
    }
}

/// The points of a body's loops.
pub fn loops(body: &FunctionBody) -> Vec<u32> {
    let mut operators = body.reader().get_operators_reader().expect("a valid body");
    let mut points = Vec::new();
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().expect("a valid body");
        if matches!(operator, Operator::Loop { .. }) {
            points.push(offset as u32);
        }
    }
    points
}

fn value_type(ty: wasmparser::ValType) -> ValType {
    ValType::from_wasm(ty, |_| None).expect("a type of WebAssembly 2.0")
}

fn table_type(ty: &wasmparser::TableType) -> TableType {
    let element =
        if ty.element_type == RefType::FUNCREF { ValType::FUNCREF } else { ValType::EXTERNREF };
    TableType::new(element, ty.initial as u32, ty.maximum.map(|maximum| maximum as u32))
}

fn memory_type(ty: &wasmparser::MemoryType) -> MemoryType {
    if ty.shared {
        return MemoryType::shared(ty.initial, ty.maximum.expect("shared memories have one"));
    }
    MemoryType::new(ty.initial, ty.maximum)
}

fn global_type(ty: &wasmparser::GlobalType) -> GlobalType {
    GlobalType::new(value_type(ty.content_type), ty.mutable)
}

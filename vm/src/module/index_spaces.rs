//! Validation of bodies in a module that has grown.
//!
//! The validator knows modules only as a whole. So the grown module is written down once more: its index
//! spaces, without contents. The first body is reached when the validator has taken in all of them, and what
//! it has then is what every body is validated with.

use super::ModuleState;
use crate::config::proposals;
use crate::types::signatures::Signature;
use midair_tiers::{FuncType, ModuleEnv, TypeId, ValType};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use wasm_encoder::{
    AbstractHeapType, CodeSection, CompositeInnerType, CompositeType, ConstExpr, DataCountSection,
    ElementSection, Elements, ExportKind, ExportSection, FunctionSection, GlobalSection,
    GlobalType, HeapType, ImportSection, MemoryType, RefType, SubType, TableType, TagKind, TagType,
    TypeSection,
};
use wasmparser::{
    Error as ParseError, Parser, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

/// What bodies of a grown module are validated with; `None` if it has no functions.
///
/// `env` is that of `module`, with additions, and `signatures` are those of its types; `added_globals` are the initial
/// values of the globals that the module has not had when it was loaded. Fails if an addition is not valid.
///
/// Every function counts as declared, so that `ref.func` can refer to it. Declarations tell an engine which
/// references it has to prepare, and here they are made on demand.
pub(crate) fn resources(
    module: &ModuleState,
    env: &ModuleEnv,
    signatures: &[Arc<Signature>],
    added_globals: &[&[u8]],
    features: WasmFeatures,
) -> Result<Option<ValidatorResources>, ParseError> {
    let features = proposals::of_modules(features);
    let bytes = encode(module, env, signatures, added_globals);
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

/// What is defined and has been validated before is imported here: nobody asks for its contents then.
fn encode(
    module: &ModuleState,
    env: &ModuleEnv,
    signatures: &[Arc<Signature>],
    added_globals: &[&[u8]],
) -> Vec<u8> {
    let encoder = Encoder::new(env);
    let mut types = TypeSection::new();
    let mut rest = signatures;
    while let Some(first) = rest.first() {
        // Whole groups follow each other.
        let (group, others) = rest.split_at(first.group.len());
        match group {
            [single] => types.ty().subtype(&encoder.sub_type(single)),
            _ => types.ty().rec(group.iter().map(|signature| encoder.sub_type(signature))),
        }
        rest = others;
    }
    let mut imports = ImportSection::new();
    let (imported, defined) = env.functions.split_at(env.imported_functions as usize);
    for ty in imported {
        imports.import("", "", wasm_encoder::EntityType::Function(*ty));
    }
    for ty in &env.tables {
        imports.import("", "", encoder.table_type(ty));
    }
    for ty in &env.memories {
        imports.import("", "", memory_type(ty));
    }
    let (loaded, added) = env.globals.split_at(env.globals.len() - added_globals.len());
    for ty in loaded {
        imports.import("", "", encoder.global_type(ty));
    }
    for ty in &env.tags {
        imports.import("", "", TagType { kind: TagKind::Exception, func_type_idx: *ty });
    }
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for ty in defined {
        functions.function(*ty);
        // No locals, and the end: the validator is not asked about it.
        code.raw(&[0, 0x0b]);
    }
    let mut globals = GlobalSection::new();
    for (ty, init) in added.iter().zip(added_globals) {
        // The end is encoded again.
        let init = init.strip_suffix(&[0x0b]).unwrap_or(init);
        globals.global(encoder.global_type(ty), &ConstExpr::raw(init.iter().copied()));
    }
    let (mut elements, mut exports) = (ElementSection::new(), ExportSection::new());
    let all: Vec<u32> = (0..env.functions.len() as u32).collect();
    let mut declared = false;
    let any_function = ValType::Ref(midair_tiers::RefType::FUNCREF.as_non_null());
    for segment in &module.elements {
        elements.passive(match segment.ty {
            ty if ty != any_function => Elements::Expressions(encoder.ref_type(ty), Cow::default()),
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
    grown.section(&types).section(&imports).section(&functions);
    grown.section(&globals).section(&exports).section(&elements);
    grown.section(&DataCountSection { count: module.data.len() as u32 }).section(&code);
    grown.finish()
}

/// Writes types down.
struct Encoder {
    /// An index of each defined type.
    indices: HashMap<TypeId, u32>,
}

impl Encoder {
    fn new(env: &ModuleEnv) -> Encoder {
        Encoder { indices: env.type_ids.iter().copied().zip(0..).collect() }
    }

    fn index(&self, id: TypeId) -> u32 {
        self.indices.get(&id).copied().expect("a module has the types that its types refer to")
    }

    fn sub_type(&self, signature: &Signature) -> SubType {
        let FuncType { params, results, .. } = &signature.ty;
        let list =
            |types: &[ValType]| types.iter().map(|ty| self.val_type(*ty)).collect::<Vec<_>>();
        SubType {
            is_final: !signature.is_open,
            supertype_idxs: signature.supertype().map(|id| self.index(id)).into_iter().collect(),
            composite_type: CompositeType {
                inner: CompositeInnerType::Func(wasm_encoder::FuncType::new(
                    list(params),
                    list(results),
                )),
                shared: false,
                descriptor: None,
                describes: None,
            },
        }
    }

    fn val_type(&self, ty: ValType) -> wasm_encoder::ValType {
        match ty {
            ValType::I32 => wasm_encoder::ValType::I32,
            ValType::I64 => wasm_encoder::ValType::I64,
            ValType::F32 => wasm_encoder::ValType::F32,
            ValType::F64 => wasm_encoder::ValType::F64,
            ValType::V128 => wasm_encoder::ValType::V128,
            ValType::Ref(_) => self.ref_type(ty).into(),
            _ => unreachable!("modules with other types are refused at load"),
        }
    }

    /// A type of references.
    fn ref_type(&self, ty: ValType) -> RefType {
        use midair_tiers::HeapType as Heap;
        let ty = ty.as_ref().expect("tables and element segments have references");
        let heap = |ty| HeapType::Abstract { shared: false, ty };
        let heap_type = match ty.heap_type() {
            Heap::Func => heap(AbstractHeapType::Func),
            Heap::NoFunc => heap(AbstractHeapType::NoFunc),
            Heap::Extern => heap(AbstractHeapType::Extern),
            Heap::NoExtern => heap(AbstractHeapType::NoExtern),
            Heap::Exn => heap(AbstractHeapType::Exn),
            Heap::NoExn => heap(AbstractHeapType::NoExn),
            Heap::Concrete(id) => HeapType::Concrete(self.index(id)),
            _ => unreachable!("modules with other types are refused at load"),
        };
        RefType { nullable: ty.is_nullable(), heap_type }
    }

    fn table_type(&self, ty: &midair_tiers::module_env::TableType) -> TableType {
        TableType {
            element_type: self.ref_type(ty.element),
            minimum: ty.minimum,
            maximum: ty.maximum,
            table64: ty.is_64,
            shared: false,
        }
    }

    fn global_type(&self, ty: &midair_tiers::module_env::GlobalType) -> GlobalType {
        GlobalType { val_type: self.val_type(ty.content), mutable: ty.mutable, shared: false }
    }
}

fn memory_type(ty: &midair_tiers::module_env::MemoryType) -> MemoryType {
    MemoryType {
        minimum: ty.minimum,
        maximum: ty.maximum,
        memory64: ty.is_64,
        shared: ty.shared,
        page_size_log2: (ty.page_size() == 1).then_some(0),
    }
}

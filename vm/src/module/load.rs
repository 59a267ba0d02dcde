//! Loading: from bytes to a module, without touching the functions' bodies more than validation asks for.

use super::added::Added;
use super::const_expr::ConstExpr;
use super::exports::{Export, Exports};
use super::{Import, Item, ModuleState};
use crate::code::bodies::Bodies;
use crate::code::module_code::ModuleCode;
use crate::config::proposals;
use crate::engine::Engine;
use crate::types::error::{ErrorKind, Failure};
use crate::types::signatures::{Definition, Signature, Signatures, relative};
use anyhow::{Context as _, Result};
use midair_tiers::ModuleEnv;
use midair_tiers::body::ByteSource;
use midair_tiers::module_env::{GlobalType, MemoryType, TableType};
use midair_tiers::types::{FuncType, HeapType, RefType, TypeId, ValType};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use wasmparser::{
    BinaryReader, CompositeInnerType, DataKind, ElementKind, Error as ParseError, ExternalKind,
    FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, Parser, Payload, RecGroup,
    TableInit, TypeRef, UnpackedIndex, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

/// A data segment.
pub(crate) struct DataSegment {
    /// Memory and offset of an active segment.
    pub(crate) active: Option<(u32, ConstExpr)>,
    /// Where its bytes lie in the module.
    pub(crate) bytes: Range<u32>,
}

/// An element segment.
pub(crate) struct ElementSegment {
    pub(crate) mode: ElementMode,
    /// Type of the elements.
    pub(crate) ty: ValType,
    pub(crate) items: ElementItems,
    pub(crate) count: u32,
}

/// When the elements of a segment go into a table.
#[derive(Clone, Copy)]
pub(crate) enum ElementMode {
    /// When `table.init` says so.
    Passive,
    /// At instantiation.
    Active { table: u32, offset: ConstExpr },
    /// Never: they only declare which functions are referred to.
    Declared,
}

/// Where the elements of a segment lie in the module: their number, then each of them.
#[derive(Clone)]
pub(crate) enum ElementItems {
    /// Function indices.
    Functions(Range<u32>),
    /// Constant expressions.
    Expressions(Range<u32>),
}

/// What parsing collects.
struct Builder<'a> {
    /// Knows what types are in the whole engine.
    signatures: &'a Mutex<Signatures>,
    /// Those of the module's types.
    interned: Vec<Arc<Signature>>,
    env: ModuleEnv,
    imports: Vec<Import>,
    exports: Vec<Export>,
    imported_tables: usize,
    imported_memories: usize,
    imported_tags: usize,
    tables: Vec<Option<ConstExpr>>,
    globals: Vec<ConstExpr>,
    elements: Vec<ElementSegment>,
    data: Vec<DataSegment>,
    start: Option<u32>,
    name_section: Option<Range<usize>>,
    bodies: Bodies,
}

/// Loads a module.
pub(super) fn load(engine: &Engine, source: Arc<dyn ByteSource>) -> Result<ModuleState> {
    let features = proposals::accepted(engine.config());
    let bytes = source.bytes();
    check_size(bytes)?;
    let mut builder = Builder::new(engine.signatures());
    let parsed = builder.parse(bytes, features);
    let checked = parsed.and_then(|()| {
        if engine.config().lazy_validation {
            return Ok(());
        }
        Ok(builder.bodies.validate(bytes, features, &builder.env)?)
    });
    match checked {
        Ok(()) => builder.finish(engine, source, features),
        Err(refused) => Err(explain(refused, bytes, features)),
    }
}

/// Checks that a module could be loaded.
pub(super) fn validate(engine: &Engine, bytes: &[u8]) -> Result<()> {
    check_size(bytes)?;
    let features = proposals::accepted(engine.config());
    check(bytes, features).map_err(|refused| explain(refused, bytes, features))
}

/// Why a module is not loaded.
enum Refused {
    /// It is not valid with the features that are accepted.
    Invalid(ParseError),
    /// It is valid with features of which not all is built: see [`proposals::of_modules`], and [`explain`], which asks what
    /// a module would need.
    NotBuilt,
}

impl From<ParseError> for Refused {
    fn from(error: ParseError) -> Refused {
        Refused::Invalid(error)
    }
}

fn explain(refused: Refused, bytes: &[u8], features: WasmFeatures) -> anyhow::Error {
    if Parser::is_component(bytes) {
        // What the validator says of it is about its own settings.
        return proposals::unsupported("the component model");
    }
    let plain = |features| Validator::new_with_features(features).validate_all(bytes).map(drop);
    let error = match refused {
        Refused::Invalid(error) => error,
        Refused::NotBuilt => match plain(features) {
            Err(error) => error,
            Ok(()) => return proposals::unsupported("garbage collection"),
        },
    };
    proposals::explain(error, bytes.len(), features, |features| {
        if features.contains(WasmFeatures::GC) {
            return plain(features);
        }
        match check(bytes, features) {
            Ok(()) => Ok(()),
            Err(Refused::Invalid(error)) => Err(error),
            Err(Refused::NotBuilt) => plain(features),
        }
    })
}

/// Offsets in a module are kept as 32 bits.
fn check_size(bytes: &[u8]) -> Result<()> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(Failure::new(ErrorKind::Limit, "a module of 4 GiB or more is too large").into());
    }
    Ok(())
}

/// Validates a whole module.
fn check(bytes: &[u8], features: WasmFeatures) -> Result<(), Refused> {
    let types = Mutex::default();
    let mut builder = Builder::new(&types);
    builder.parse(bytes, features)?;
    Ok(builder.bodies.validate(bytes, features, &builder.env)?)
}

fn memory_type(ty: &wasmparser::MemoryType) -> MemoryType {
    let new = if ty.memory64 { MemoryType::new64 } else { MemoryType::new };
    let mut memory = new(ty.initial, ty.maximum);
    memory.shared = ty.shared;
    if ty.page_size_log2 == Some(0) { memory.with_single_bytes() } else { memory }
}

fn range32(range: Range<u64>) -> Range<u32> {
    // Modules of 4 GiB and more are refused before.
    range.start as u32..range.end as u32
}

impl<'a> Builder<'a> {
    fn new(signatures: &'a Mutex<Signatures>) -> Builder<'a> {
        Builder {
            signatures,
            interned: Vec::new(),
            env: ModuleEnv::default(),
            imports: Vec::new(),
            exports: Vec::new(),
            imported_tables: 0,
            imported_memories: 0,
            imported_tags: 0,
            tables: Vec::new(),
            globals: Vec::new(),
            elements: Vec::new(),
            data: Vec::new(),
            start: None,
            name_section: None,
            bodies: Bodies::default(),
        }
    }

    /// Parses and validates everything but the functions' bodies.
    fn parse(&mut self, bytes: &[u8], features: WasmFeatures) -> Result<(), Refused> {
        let features = proposals::of_modules(features);
        let mut validator = Validator::new_with_features(features);
        let mut parser = Parser::new(0);
        parser.set_features(features);
        for payload in parser.parse_all(bytes) {
            let payload = payload?;
            if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
                let range = range32(body.range());
                self.bodies.total += u64::from(range.end - range.start);
                self.bodies.ranges.push((range.start, range.end - range.start));
                self.bodies.resources.get_or_insert(function.resources);
                continue;
            }
            self.section(payload, bytes)?;
        }
        Ok(())
    }

    /// Takes in a section that has been validated.
    fn section(&mut self, payload: Payload<'_>, bytes: &[u8]) -> Result<(), Refused> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    self.types(&group?)?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.import(import?)?;
                }
            }
            Payload::FunctionSection(section) => {
                self.env.functions.reserve(section.count() as usize);
                for ty in section {
                    self.env.functions.push(ty?);
                }
                self.bodies.ranges.reserve(self.env.functions.len() - self.imported_functions());
            }
            Payload::TableSection(section) => {
                for table in section {
                    let table = table?;
                    let ty = self.table_type(&table.ty)?;
                    self.env.tables.push(ty);
                    self.tables.push(match table.init {
                        TableInit::RefNull => None,
                        TableInit::Expr(init) => Some(self.const_expr(&init, ty.element)?),
                    });
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.env.memories.push(memory_type(&memory?));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global?;
                    let ty = self.global_type(&global.ty)?;
                    self.env.globals.push(ty);
                    self.globals.push(self.const_expr(&global.init_expr, ty.content)?);
                }
            }
            Payload::TagSection(section) => {
                for tag in section {
                    self.env.tags.push(tag?.func_type_idx);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    let item = match export.kind {
                        ExternalKind::Func => Item::Func(export.index),
                        ExternalKind::Table => Item::Table(export.index),
                        ExternalKind::Memory => Item::Memory(export.index),
                        ExternalKind::Global => Item::Global(export.index),
                        ExternalKind::Tag => Item::Tag(export.index),
                        _ => return Err(Refused::NotBuilt),
                    };
                    self.exports.push(Export::new(export.name, item));
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => {
                for element in section {
                    let element = self.element_segment(element?)?;
                    self.elements.push(element);
                }
            }
            Payload::DataSection(section) => {
                for data in section {
                    let data = data?;
                    let start = data.data.as_ptr() as usize - bytes.as_ptr() as usize;
                    self.data.push(DataSegment {
                        active: match data.kind {
                            DataKind::Passive => None,
                            DataKind::Active { memory_index, offset_expr } => {
                                Some((memory_index, ConstExpr::new(&offset_expr)))
                            }
                        },
                        bytes: start as u32..(start + data.data.len()) as u32,
                    });
                }
            }
            Payload::CustomSection(section) if section.name() == "name" => {
                let start = section.data_offset() as usize;
                self.name_section = Some(start..start + section.data().len());
            }
            _ => {}
        }
        Ok(())
    }

    fn imported_functions(&self) -> usize {
        self.env.imported_functions as usize
    }

    /// What a type index is in the whole engine.
    fn type_id(&self, index: UnpackedIndex) -> Option<TypeId> {
        let id = self.env.type_id(index)?;
        // It may go about on its own now.
        self.lock().named(id).map(|signature| signature.id())
    }

    fn lock(&self) -> MutexGuard<'a, Signatures> {
        // A panic cannot leave a number that means two types: it is listed last.
        self.signatures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn val_type(&self, ty: wasmparser::ValType) -> Result<ValType, Refused> {
        ValType::from_wasm(ty, |index| self.type_id(index)).ok_or(Refused::NotBuilt)
    }

    /// Takes in a group of types.
    fn types(&mut self, group: &RecGroup) -> Result<(), Refused> {
        let first = self.env.types.len() as u32;
        let resolve = |index: UnpackedIndex| match index {
            UnpackedIndex::Module(index) if index >= first => Some(relative(index - first)),
            _ => self.env.type_id(index),
        };
        let list = |types: &[wasmparser::ValType]| -> Option<Vec<ValType>> {
            types.iter().map(|ty| ValType::from_wasm(*ty, resolve)).collect()
        };
        let definition = |ty: &wasmparser::SubType| -> Option<Definition> {
            let CompositeInnerType::Func(func) = &ty.composite_type.inner else { return None };
            let supertype = match ty.supertype_idxs.first() {
                Some(supertype) => Some(resolve(supertype.unpack())?),
                None => None,
            };
            let func = FuncType::new(list(func.params())?, list(func.results())?);
            Some(Definition { ty: func, is_open: !ty.is_final, supertype })
        };
        let definitions: Option<Vec<Definition>> = group.types().map(definition).collect();
        let definitions = definitions.ok_or(Refused::NotBuilt)?;
        let signatures = self.lock().intern_group(&definitions);
        for signature in signatures.expect("validated: types are defined before they are used") {
            self.env.shapes.push(signature.shape.clone());
            self.env.types.push(signature.ty.clone());
            self.env.type_ids.push(signature.id());
            self.env.open_types.push(signature.is_open);
            self.interned.push(signature);
        }
        Ok(())
    }

    fn table_type(&self, ty: &wasmparser::TableType) -> Result<TableType, Refused> {
        let element = self.val_type(ty.element_type.into())?;
        let mut table = TableType::new64(element, ty.initial, ty.maximum);
        table.is_64 = ty.table64;
        Ok(table)
    }

    fn global_type(&self, ty: &wasmparser::GlobalType) -> Result<GlobalType, Refused> {
        Ok(GlobalType::new(self.val_type(ty.content_type)?, ty.mutable))
    }

    /// A constant expression of a value of type `ty`.
    fn const_expr(
        &self,
        expr: &wasmparser::ConstExpr<'_>,
        ty: ValType,
    ) -> Result<ConstExpr, Refused> {
        // A value that is garbage-collected has a type that says so, unless it is wrapped in a reference to a value
        // of the host.
        if ty.as_ref().is_some_and(|ty| ty.heap_type().top() == HeapType::Extern) {
            let mut operators = expr.get_operators_reader();
            while !operators.eof() {
                if matches!(operators.read()?, Operator::ExternConvertAny) {
                    return Err(Refused::NotBuilt);
                }
            }
        }
        Ok(ConstExpr::new(expr))
    }

    fn import(&mut self, import: wasmparser::Import<'_>) -> Result<(), Refused> {
        let item = match import.ty {
            TypeRef::Func(ty) => {
                self.env.functions.push(ty);
                self.env.imported_functions += 1;
                Item::Func(self.env.functions.len() as u32 - 1)
            }
            TypeRef::Table(ty) => {
                let ty = self.table_type(&ty)?;
                self.env.tables.push(ty);
                self.imported_tables += 1;
                Item::Table(self.env.tables.len() as u32 - 1)
            }
            TypeRef::Memory(ty) => {
                self.env.memories.push(memory_type(&ty));
                self.imported_memories += 1;
                Item::Memory(self.env.memories.len() as u32 - 1)
            }
            TypeRef::Global(ty) => {
                let ty = self.global_type(&ty)?;
                self.env.globals.push(ty);
                self.env.imported_globals += 1;
                Item::Global(self.env.globals.len() as u32 - 1)
            }
            TypeRef::Tag(ty) => {
                self.env.tags.push(ty.func_type_idx);
                self.imported_tags += 1;
                Item::Tag(self.env.tags.len() as u32 - 1)
            }
            _ => return Err(Refused::NotBuilt),
        };
        self.imports.push(Import { module: import.module.into(), name: import.name.into(), item });
        Ok(())
    }

    fn element_segment(&self, element: wasmparser::Element<'_>) -> Result<ElementSegment, Refused> {
        let (ty, items, count) = match element.items {
            wasmparser::ElementItems::Functions(items) => {
                // None of them is null.
                let ty = RefType::FUNCREF.as_non_null().into();
                (ty, ElementItems::Functions(range32(items.range())), items.count())
            }
            wasmparser::ElementItems::Expressions(ty, items) => {
                let ty = self.val_type(ty.into())?;
                for item in items.clone() {
                    self.const_expr(&item?, ty)?;
                }
                (ty, ElementItems::Expressions(range32(items.range())), items.count())
            }
        };
        let mode = match element.kind {
            ElementKind::Passive => ElementMode::Passive,
            ElementKind::Declared => ElementMode::Declared,
            ElementKind::Active { table_index, offset_expr } => ElementMode::Active {
                table: table_index.unwrap_or(0),
                offset: ConstExpr::new(&offset_expr),
            },
        };
        Ok(ElementSegment { mode, ty, items, count })
    }

    fn finish(
        mut self,
        engine: &Engine,
        source: Arc<dyn ByteSource>,
        features: WasmFeatures,
    ) -> Result<ModuleState> {
        self.env.consume_fuel = engine.config().consume_fuel;
        self.env.count_calls = engine.config().sample_tiers;
        self.env.slot_reach = engine.config().stress.far;
        let spare = engine.config().spare_functions;
        self.env.reserve(spare);
        let env = Arc::new(self.env);
        let added = Added::new(env.functions.len() as u32, spare);
        let (system, config) = (engine.code().clone(), engine.config().clone());
        let code =
            ModuleCode::new(system, config, source.clone(), env.clone(), self.bodies, features)
                .context("cannot prepare the module's functions")?;
        Ok(ModuleState {
            engine: engine.clone(),
            source,
            env,
            interned: Mutex::new(self.interned),
            imports: self.imports,
            exports: Exports::new(self.exports, spare),
            imported_tables: self.imported_tables,
            imported_memories: self.imported_memories,
            imported_tags: self.imported_tags,
            tables: self.tables,
            globals: self.globals,
            elements: self.elements,
            data: self.data,
            start: self.start,
            code,
            added,
            name_section: self.name_section,
            names: OnceLock::new(),
            source_layout: OnceLock::new(),
        })
    }
}

/// Below this many bytes of bodies a second thread costs more than it saves.
const PARALLEL_VALIDATION: u64 = 1 << 20;

impl Bodies {
    /// Validates all bodies, on several threads if there is much to do. Fails with the first error in
    /// the order of the module.
    fn validate(
        &self,
        bytes: &[u8],
        features: WasmFeatures,
        env: &ModuleEnv,
    ) -> Result<(), ParseError> {
        let Some(resources) = &self.resources else { return Ok(()) };
        let run = |functions: Range<usize>| -> Result<(), ParseError> {
            let mut allocations = FuncValidatorAllocations::default();
            for defined in functions {
                let index = env.imported_functions + defined as u32;
                let ty = env.functions[index as usize];
                let (start, len) = self.ranges[defined];
                let body = &bytes[start as usize..(start + len) as usize];
                validate_body(
                    body,
                    u64::from(start),
                    resources,
                    (index, ty),
                    features,
                    &mut allocations,
                )?;
            }
            Ok(())
        };
        let count = self.ranges.len();
        // Asking for the number of processors reads files, which takes longer than validating a small module.
        if self.total < PARALLEL_VALIDATION {
            return run(0..count);
        }
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
        if threads == 1 {
            return run(0..count);
        }
        // More pieces than threads, for functions differ in size; taken in order, so that the
        // first error is known when all pieces before it are done.
        let piece = count.div_ceil(threads * 16).max(1);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || -> Result<(), ParseError> {
            loop {
                let start = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) * piece;
                if start >= count {
                    return Ok(());
                }
                run(start..count.min(start + piece))?;
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut errors: Vec<ParseError> = work().err().into_iter().collect();
            for worker in workers {
                match worker.join() {
                    Ok(result) => errors.extend(result.err()),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            match errors.into_iter().min_by_key(ParseError::offset) {
                Some(error) => Err(error),
                None => Ok(()),
            }
        })
    }
}

/// Validates one function's body; `function` is its index and its type's.
fn validate_body(
    body: &[u8],
    offset: u64,
    resources: &ValidatorResources,
    function: (u32, u32),
    features: WasmFeatures,
    allocations: &mut FuncValidatorAllocations,
) -> Result<(), ParseError> {
    let (index, ty) = function;
    let function = FuncToValidate { resources: resources.clone(), index, ty, features };
    let mut validator = function.into_validator(std::mem::take(allocations));
    let body = FunctionBody::new(BinaryReader::new_features(body, offset, features));
    let result = validator.validate(&body);
    *allocations = validator.into_allocations();
    result
}

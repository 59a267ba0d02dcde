//! Modules: programs that have been loaded.
//!
//! ```text
//!   load          from bytes to a module
//!   source        where the bytes come from
//!   names         the name section
//!   debug_info    source lines and variables
//!   exports       what the module exports, by name
//!   const_expr    constant expressions, and who evaluates them
//!   index_spaces  the index spaces as the validator sees them
//!   added         what updates have added to a module that runs
//!   provenance    what source a running module was last brought up to
//!   patches       bytes that are written into a memory
//! ```

pub(crate) mod added;
pub(crate) mod const_expr;
pub(crate) mod debug_info;
pub(crate) mod exports;
pub(crate) mod index_spaces;
pub(crate) mod load;
pub(crate) mod names;
pub(crate) mod patches;
pub(crate) mod provenance;
pub(crate) mod source;

use crate::code::module_code::ModuleCode;
use crate::code::module_names::ModuleNames;
use crate::code::recompile::{RecompileOptions, Recompiled};
use crate::code::standing::check_none_stands;
use crate::engine::Engine;
use crate::types::error::{ErrorKind, Failure, OfKind as _};
use crate::types::signatures::Signature;
use crate::types::{ExportType, ExternType, ImportType, TagType};
use added::{Added, Moves};
use anyhow::{Context as _, Result};
use const_expr::ConstExpr;
use debug_info::DebugInfo;
use debug_info::layout::SourceLayout;
use exports::{Export, Exports};
use load::{DataSegment, ElementSegment};
use midair_tiers::body::ByteSource;
use midair_tiers::{HeapType, ModuleEnv, RefType, ValType};
use names::Names;
use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// An import, as the module states it.
pub(crate) struct Import {
    pub(crate) module: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) item: Item,
}

/// Something with an index in one of the module's index spaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    Func(u32),
    Table(u32),
    Memory(u32),
    Global(u32),
    Tag(u32),
}

/// What all handles to a module share.
pub(crate) struct ModuleState {
    pub(crate) engine: Engine,
    pub(crate) source: Arc<dyn ByteSource>,
    pub(crate) env: Arc<ModuleEnv>,
    /// What keeps the numbers in `env.type_ids` meaning what they do, by type index.
    pub(crate) interned: Mutex<Vec<Arc<Signature>>>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Exports,
    /// Number of imported tables, memories and tags; those of functions and globals are in `env`.
    pub(crate) imported_tables: usize,
    pub(crate) imported_memories: usize,
    pub(crate) imported_tags: usize,
    /// What the elements of the defined tables begin with, if not with null.
    pub(crate) tables: Vec<Option<ConstExpr>>,
    /// Initial values of the defined globals.
    pub(crate) globals: Vec<ConstExpr>,
    pub(crate) elements: Vec<ElementSegment>,
    pub(crate) data: Vec<DataSegment>,
    pub(crate) start: Option<u32>,
    pub(crate) code: Arc<ModuleCode>,
    pub(crate) added: Added,
    /// Range of the name section.
    name_section: Option<std::ops::Range<usize>>,
    names: OnceLock<Names>,
    source_layout: OnceLock<Option<SourceLayout>>,
}

impl ModuleState {
    /// The module's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.source.bytes()
    }

    /// Signatures of its types, by type index.
    pub(crate) fn held_signatures(&self) -> MutexGuard<'_, Vec<Arc<Signature>>> {
        // They are added as a whole.
        self.interned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many functions can be added. What is kept of each lies in several vectors, which may have more room
    /// than was asked for.
    pub(crate) fn room_for_functions(&self) -> usize {
        let (env, states) = (&self.env, self.code.room_for_functions());
        env.functions.room().min(states).min(self.added.room_for_names())
    }

    /// How many types can be added.
    pub(crate) fn room_for_types(&self) -> usize {
        let env = &self.env;
        let identities = env.type_ids.room().min(env.open_types.room());
        env.types.room().min(env.shapes.room()).min(identities)
    }

    /// How many globals can be added.
    pub(crate) fn room_for_globals(&self) -> usize {
        self.env.globals.room().min(self.added.room_for_globals())
    }

    /// Whether a place of this type can hold a reference to a function.
    pub(crate) fn fits(&self, function: u32, place: ValType) -> bool {
        let id = self.env.type_ids[self.env.functions[function as usize] as usize];
        self.engine.is_subtype(RefType::new(false, HeapType::Concrete(id)).into(), place)
    }

    /// What a reference to a function in an initial value has become, in a place of this type.
    pub(crate) fn moved(&self, function: u32, place: ValType) -> u32 {
        self.moved_by(&self.added.moved(), function, place)
    }

    /// The same by these moves.
    pub(crate) fn moved_by(&self, moves: &Moves, function: u32, place: ValType) -> u32 {
        moves.iter().fold(function, |function, step| {
            let moved = step.functions.get(&function).copied();
            moved.filter(|to| self.fits(*to, place)).unwrap_or(function)
        })
    }

    /// The type of an item.
    pub(crate) fn item_type(&self, item: Item) -> ExternType {
        match item {
            Item::Func(index) => ExternType::Func(self.env.func_type(index).clone()),
            Item::Table(index) => ExternType::Table(self.env.tables[index as usize]),
            Item::Memory(index) => ExternType::Memory(self.env.memories[index as usize]),
            Item::Global(index) => ExternType::Global(self.env.globals[index as usize]),
            Item::Tag(index) => ExternType::Tag(self.tag_type(index)),
        }
    }

    /// The type of a tag.
    pub(crate) fn tag_type(&self, tag: u32) -> TagType {
        TagType::new(self.env.tag_params(tag).iter().copied())
    }

    /// The export of this name.
    pub(crate) fn export(&self, name: &str) -> Option<&Export> {
        self.exports.get(name)
    }

    /// Names from the name section, which is parsed when they are first asked for.
    fn names(&self) -> &Names {
        self.names.get_or_init(|| match &self.name_section {
            Some(range) => Names::parse(&self.bytes()[range.clone()]),
            None => Names::default(),
        })
    }

    /// What its debug information says of memory, which is read when it is first asked for.
    pub(crate) fn source_layout(&self) -> Option<&SourceLayout> {
        let read = || DebugInfo::read(self.bytes())?.layout();
        self.source_layout.get_or_init(read).as_ref()
    }

    /// The module of some code, while it exists.
    pub(crate) fn of_code(code: &ModuleCode) -> Option<Arc<ModuleState>> {
        let module: Arc<dyn Any + Send + Sync> = code.module()?;
        module.downcast().ok()
    }

    /// The name of a function, from the name section or the update that added it.
    pub(crate) fn function_name(&self, function: u32) -> Option<&str> {
        self.names().function(function).or_else(|| self.added.name(function))
    }

    /// The name of a local, from the name section.
    pub(crate) fn local_name(&self, function: u32, local: u32) -> Option<&str> {
        self.names().local(function, local)
    }

    /// The name of a table, from the name section.
    pub(crate) fn table_name(&self, table: u32) -> Option<&str> {
        self.names().table(table)
    }

    /// The name of a memory, from the name section.
    pub(crate) fn memory_name(&self, memory: u32) -> Option<&str> {
        self.names().memory(memory)
    }

    /// The name of a global, from the name section.
    pub(crate) fn global_name(&self, global: u32) -> Option<&str> {
        self.names().global(global)
    }

    /// The name of a tag, from the name section.
    pub(crate) fn tag_name(&self, tag: u32) -> Option<&str> {
        self.names().tag(tag)
    }

    /// The name of a data segment, from the name section.
    pub(crate) fn data_name(&self, segment: u32) -> Option<&str> {
        self.names().data(segment)
    }

    /// The module's own name, from the name section.
    pub(crate) fn name(&self) -> Option<&str> {
        self.names().module()
    }
}

impl ModuleNames for ModuleState {
    fn name(&self) -> Option<&str> {
        ModuleState::name(self)
    }

    fn function_name(&self, function: u32) -> Option<&str> {
        ModuleState::function_name(self, function)
    }
}

/// A program that has been loaded: parsed, and validated unless the engine does that
/// [lazily](crate::Config::lazy_validation).
///
/// A module is cheap to clone, and can be instantiated in many stores of its engine, on many threads.
///
/// ```
/// use midair::{Engine, Module};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, "(module $m (import \"a\" \"b\" (memory 1 2)))")?;
/// assert_eq!(module.name(), Some("m"));
/// let import = module.imports().next().unwrap();
/// assert_eq!((import.module(), import.name()), ("a", "b"));
/// assert_eq!(import.ty().to_string(), "memory 1 2");
///
/// let error = Module::new(&engine, "(module (type (struct)))").unwrap_err();
/// assert!(error.to_string().contains("garbage collection is not supported yet"));
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone)]
pub struct Module {
    pub(crate) state: Arc<ModuleState>,
}

impl Module {
    /// Loads a module from its binary or text format.
    pub fn new(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Module> {
        let bytes = bytes.as_ref();
        if source::is_binary(bytes) {
            return Module::from_binary(engine, bytes);
        }
        let binary = wat::parse_bytes(bytes)?.into_owned();
        Module::from_source(engine, Arc::new(binary))
    }

    /// Loads a module from its binary format.
    pub fn from_binary(engine: &Engine, binary: &[u8]) -> Result<Module> {
        Module::from_source(engine, Arc::new(binary.to_vec()))
    }

    /// Loads a module from a file, in binary or text format.
    ///
    /// A binary file is mapped into memory, not copied: it must not be changed while the module exists.
    pub fn from_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        let failed = || format!("failed to load `{}`", path.display());
        let source =
            source::open(path).with_context(|| Failure::new(ErrorKind::System, failed()))?;
        Module::from_source(engine, source).with_context(failed)
    }

    /// Loads a module from bytes that can be shared with other owners.
    fn from_source(engine: &Engine, source: Arc<dyn ByteSource>) -> Result<Module> {
        engine.check_process()?;
        let state = Arc::new(load::load(engine, source).of_kind(ErrorKind::Invalid)?);
        let as_module: Weak<ModuleState> = Arc::downgrade(&state);
        state.code.set_module(as_module);
        Ok(Module { state })
    }

    /// Checks that a module in binary or text format can be loaded.
    pub fn validate(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<()> {
        let bytes = bytes.as_ref();
        let binary = if source::is_binary(bytes) { bytes.into() } else { wat::parse_bytes(bytes)? };
        load::validate(engine, &binary).of_kind(ErrorKind::Invalid)
    }

    /// What it imports, in order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        self.state.imports.iter().map(|import| {
            ImportType::new(&import.module, &import.name, self.state.item_type(import.item))
        })
    }

    /// What it exports, in order.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = ExportType<'_>> {
        let state = &self.state;
        state
            .exports
            .list()
            .iter()
            .map(|export| ExportType::new(&export.name, state.item_type(export.item())))
    }

    /// Type of the export of this name.
    pub fn get_export(&self, name: &str) -> Option<ExternType> {
        self.state.export(name).map(|export| self.state.item_type(export.item()))
    }

    /// Its name, if it has a name section that says so.
    pub fn name(&self) -> Option<&str> {
        self.state.name()
    }

    /// Its number in its engine: events and the ledger of code name modules by it. No two modules of an engine
    /// have the same one, also not one after the other.
    pub fn number(&self) -> u64 {
        self.state.code.id
    }

    /// The index of the function that is exported under this name.
    pub fn function_index(&self, export: &str) -> Option<u32> {
        match self.state.export(export)?.item() {
            Item::Func(index) => Some(index),
            _ => None,
        }
    }

    /// The current body of the function that is exported under this name, in binary format: local
    /// declarations, then operators. `None` if there is no such export, or if the function is imported.
    pub fn function_body(&self, export: &str) -> Option<Vec<u8>> {
        let function = self.function_index(export)?;
        let defined = function >= self.state.env.imported_functions;
        defined.then(|| self.state.code.current(function).body.bytes().to_vec())
    }

    /// Compiles a function anew with other options, and puts the new machine code in place of what there is,
    /// while the program runs: from any thread.
    ///
    /// Suspended frames of the old code are redirected and running ones leave it at their next safepoint;
    /// loops go on in the new code, through OSR entries compiled with the same options. The old code is
    /// poisoned and freed without waiting for a frame to be returned to. What is compiled for the function from
    /// now on, until it gets a new body, is compiled with these options.
    ///
    /// Fails, leaving everything as it was, if `function` is not defined by the module, has no version of the
    /// number asked for, or cannot be compiled with these options.
    ///
    /// ```
    /// use midair::{Config, Engine, Instance, Module, OptLevel, RecompileOptions, Store, Tier};
    ///
    /// let engine = Engine::new(Config::new().tier(Tier::Optimized))?;
    /// let module = Module::new(&engine, r#"(module
    ///     (func (export "f") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 8))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let f = instance.get_typed_func::<i32, i32>(&mut store, "f")?;
    /// assert_eq!(f.call(&mut store, 5)?, 40);
    ///
    /// let options = RecompileOptions::optimized().opt_level(OptLevel::SpeedAndSize);
    /// let report = module.recompile(module.function_index("f").unwrap(), &options)?;
    /// assert_eq!(report.freed_bytes, report.bytes_before);
    /// assert_eq!(f.call(&mut store, 5)?, 40);
    /// # Ok::<(), midair::Error>(())
    /// ```
    pub fn recompile(&self, function: u32, options: &RecompileOptions) -> Result<Recompiled> {
        self.engine().check_process()?;
        check_none_stands()?;
        self.state.code.recompile_with(function, options).of_kind(ErrorKind::UpdateRefused)
    }

    /// The engine that it was loaded for.
    pub fn engine(&self) -> &Engine {
        &self.state.engine
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("name", &self.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

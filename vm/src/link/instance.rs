//! Instances: modules that have been linked.

use crate::call::host::definition_of;
use crate::call::invoke::invoke;
use crate::call::typed_func::{TypedFunc, WasmParams, WasmResults};
use crate::call::{builtins, callout};
use crate::engine::Engine;
use crate::live::entries;
use crate::module::const_expr::for_each_element;
use crate::module::load::ElementMode;
use crate::module::{Item, Module, ModuleState};
use crate::store::AsContextMut;
use crate::store::contents::LockedContents;
use crate::store::external::Extern;
use crate::store::func::Func;
use crate::store::global::Global;
use crate::store::host_function::HostDefinition;
use crate::store::instance::{InstanceEntity, Scope};
use crate::store::instance_context::ContextAllocation;
use crate::store::memory::Memory;
use crate::store::opaque::{StoreId, StoreOpaque};
use crate::store::shared_memory::SharedMemory;
use crate::store::table::Table;
use crate::store::tag::Tag;
use crate::types::ExternType;
use crate::types::error::{ErrorKind, OfKind as _};
use crate::types::printable::PrintableName;
use crate::types::trap::Trap;
use anyhow::{Context as _, Result};
use midair_osr::ContextHeader;
use midair_tiers::module_env::{MemoryType, TableType};
use midair_tiers::{GlobalCell, ValType, shared_bytes};
use std::ptr::NonNull;
use std::sync::Arc;

/// What an import is satisfied with.
#[derive(Clone)]
pub(crate) enum ImportValue {
    /// Something of the store.
    Extern(Extern),
    /// A host function that is not bound to a store yet.
    Host(Arc<HostDefinition>),
}

/// A handle to an instance: a module whose imports have been satisfied.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    store: StoreId,
    entity: NonNull<InstanceEntity>,
}

// SAFETY: the pointer is only followed after the handle has been checked against a store that is
// borrowed, which is what makes the access sound on any thread.
unsafe impl Send for Instance {}
// SAFETY: as for `Send`.
unsafe impl Sync for Instance {}

/// An export of an instance.
#[derive(Clone, Debug)]
pub struct Export<'instance> {
    name: &'instance str,
    item: Extern,
}

impl<'instance> Export<'instance> {
    /// Name of the export.
    pub fn name(&self) -> &'instance str {
        self.name
    }

    /// The handle.
    pub fn into_extern(self) -> Extern {
        self.item
    }
}

impl Instance {
    /// Links a module with `imports`, in the order of [`Module::imports`], and runs its start function.
    ///
    /// [`Linker::instantiate`](crate::Linker::instantiate) finds the imports by name.
    pub fn new(
        mut store: impl AsContextMut,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Instance> {
        let mut store = store.as_context_mut();
        let imports: Vec<_> = imports.iter().cloned().map(ImportValue::Extern).collect();
        // SAFETY: the store is borrowed mutably.
        unsafe { instantiate(store.opaque_ptr(), module, &imports) }
    }

    fn entity<'a>(&self, store: &'a StoreOpaque) -> &'a InstanceEntity {
        self.store.check(store);
        // SAFETY: the instance belongs to this store, which is borrowed for `'a`.
        unsafe { self.entity.as_ref() }
    }

    /// The export of this name.
    pub fn get_export(&self, mut store: impl AsContextMut, name: &str) -> Option<Extern> {
        let store = store.as_context_mut();
        let store = store.opaque();
        let entity = self.entity(store);
        Some(entity.item(store, entity.module.export(name)?.item()))
    }

    /// The exported function of this name.
    pub fn get_func(&self, store: impl AsContextMut, name: &str) -> Option<Func> {
        self.get_export(store, name)?.into_func()
    }

    /// The exported function of this name, whose type is known to Rust. Fails if there is none of this
    /// name and type.
    pub fn get_typed_func<Params: WasmParams, Results: WasmResults>(
        &self,
        mut store: impl AsContextMut,
        name: &str,
    ) -> Result<TypedFunc<Params, Results>> {
        let mut store = store.as_context_mut();
        let func = self
            .get_export(&mut store, name)
            .and_then(Extern::into_func)
            .with_context(|| format!("no exported function `{}`", PrintableName(name)))
            .of_kind(ErrorKind::Misuse)?;
        func.typed(&store)
            .with_context(|| format!("cannot call exported function `{}`", PrintableName(name)))
    }

    /// The function of this index in its module, exported or not; `None` if there is no such function. For
    /// embedders that [define functions](crate::Update::add_function) one by one.
    ///
    /// What a handle calls is the function of that index, whatever body it has; it keeps calling that one when
    /// another function takes its place.
    pub fn get_func_by_index(&self, mut store: impl AsContextMut, function: u32) -> Option<Func> {
        let store = store.as_context_mut();
        let store = store.opaque();
        let entity = self.entity(store);
        let exists = (function as usize) < entity.module.env.functions.len();
        exists.then(|| Func::from_raw(store, entity.func_ref(function)))
    }

    /// The exported memory of this name, if it is one that is not shared.
    pub fn get_memory(&self, store: impl AsContextMut, name: &str) -> Option<Memory> {
        self.get_export(store, name)?.into_memory()
    }

    /// The exported shared memory of this name.
    pub fn get_shared_memory(&self, store: impl AsContextMut, name: &str) -> Option<SharedMemory> {
        self.get_export(store, name)?.into_shared_memory()
    }

    /// The exported table of this name.
    pub fn get_table(&self, store: impl AsContextMut, name: &str) -> Option<Table> {
        self.get_export(store, name)?.into_table()
    }

    /// The exported tag of this name.
    pub fn get_tag(&self, store: impl AsContextMut, name: &str) -> Option<Tag> {
        self.get_export(store, name)?.into_tag()
    }

    /// The exported global of this name.
    pub fn get_global(&self, store: impl AsContextMut, name: &str) -> Option<Global> {
        self.get_export(store, name)?.into_global()
    }

    /// All exports, in order.
    pub fn exports<'a, T: 'static>(
        &self,
        store: impl Into<crate::store::StoreContextMut<'a, T>>,
    ) -> impl ExactSizeIterator<Item = Export<'a>> + 'a {
        let store: &'a StoreOpaque = store.into().into_opaque();
        let entity = self.entity(store);
        entity.module.exports.list().iter().map(move |export| Export {
            name: &export.name,
            item: entity.item(store, export.item()),
        })
    }

    /// The module that it was made of.
    pub fn module<'a, T: 'static>(
        &self,
        store: impl Into<crate::store::StoreContextRef<'a, T>>,
    ) -> Module {
        Module { state: self.entity(store.into().opaque()).module.clone() }
    }
}

/// Links a module and runs its start function.
///
/// # Safety
/// The store must be alive, and nothing else may use it during the call.
pub(crate) unsafe fn instantiate(
    store: NonNull<StoreOpaque>,
    module: &Module,
    imports: &[ImportValue],
) -> Result<Instance> {
    let instance = {
        // SAFETY: as the caller vouches; the borrow ends before guest code runs.
        let store = unsafe { &mut *store.as_ptr() };
        store.process.check()?;
        check_imports(store, &module.state, imports).of_kind(ErrorKind::Link)?;
        // The module does not grow before the instance has all that it has now.
        let _instantiating = module.state.code.instantiating();
        let entity = build(store, &module.state, imports)?;
        let mut contents = store.contents.lock();
        contents.instances.push(entity);
        // SAFETY: the instance has just been made, and nothing else uses it while the contents are locked.
        unsafe { initialize(&mut *entity.as_ptr(), &mut contents).of_kind(ErrorKind::Limit)? };
        Instance { store: store.id(), entity }
    };
    if let Some(start) = module.state.start {
        // SAFETY: the instance lives as long as its store.
        let func_ref = unsafe { instance.entity.as_ref() }.func_ref(start);
        // SAFETY: as above.
        let signature = unsafe { store.as_ref().engine().signature(func_ref.as_ref().signature) };
        // SAFETY: as the caller vouches; a start function has no parameters and no results.
        unsafe { invoke(store, func_ref, &signature, &mut [])? };
    }
    Ok(instance)
}

/// Checks that the imports are what the module asks for.
fn check_imports(store: &StoreOpaque, module: &ModuleState, imports: &[ImportValue]) -> Result<()> {
    anyhow::ensure!(
        Engine::same(store.engine(), &module.engine),
        "the module was loaded for another engine than the store's"
    );
    anyhow::ensure!(
        module.imports.len() == imports.len(),
        "expected {} imports, got {}",
        module.imports.len(),
        imports.len()
    );
    let engine = &module.engine;
    for (import, value) in module.imports.iter().zip(imports) {
        let expected = module.item_type(import.item);
        // What a function is of those types that look alike.
        let mut func = None;
        let found = match value {
            ImportValue::Host(definition) => {
                func = Some(engine.intern(&definition.ty)?.id());
                ExternType::Func(definition.ty.clone())
            }
            ImportValue::Extern(item) => {
                anyhow::ensure!(
                    item.belongs_to(store),
                    "import `{}` `{}` belongs to another store, or to another engine",
                    PrintableName(&import.module),
                    PrintableName(&import.name)
                );
                if let Extern::Func(item) = item {
                    func = Some(item.type_id(store));
                }
                item.ty_in(store)
            }
        };
        let matches = match (func, import.item) {
            (None, Item::Tag(index)) => match value {
                ImportValue::Extern(Extern::Tag(found)) => {
                    let ty = module.env.tags[index as usize];
                    found.type_id(store) == module.env.type_ids[ty as usize]
                }
                _ => false,
            },
            (Some(found), Item::Func(index)) => {
                let ty = module.env.functions[index as usize];
                engine.is_func_subtype(found, module.env.type_ids[ty as usize])
            }
            _ => is_subtype(engine, &found, &expected),
        };
        anyhow::ensure!(
            matches,
            "incompatible import type for `{}` `{}`: expected {expected}, found {found}",
            PrintableName(&import.module),
            PrintableName(&import.name)
        );
    }
    Ok(())
}

/// Whether something of type `found`, which is no function and no tag, may be imported as `expected`.
fn is_subtype(engine: &Engine, found: &ExternType, expected: &ExternType) -> bool {
    fn within<N: PartialOrd>(found: (N, Option<N>), expected: (N, Option<N>)) -> bool {
        found.0 >= expected.0
            && match (found.1, expected.1) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(found), Some(expected)) => found <= expected,
            }
    }
    let memory = |ty: &MemoryType| (ty.minimum, ty.maximum);
    let table = |ty: &TableType| (ty.minimum, ty.maximum);
    match (found, expected) {
        (ExternType::Global(found), ExternType::Global(expected)) => {
            // What is set may be anything of the expected type.
            let (from, to) = (found.content, expected.content);
            found.mutable == expected.mutable
                && engine.is_subtype(from, to)
                && (!found.mutable || from == to)
        }
        (ExternType::Memory(found), ExternType::Memory(expected)) => {
            found.is_64 == expected.is_64
                && found.page_size_log2 == expected.page_size_log2
                && found.shared == expected.shared
                && within(memory(found), memory(expected))
        }
        (ExternType::Table(found), ExternType::Table(expected)) => {
            found.is_64 == expected.is_64
                && found.element == expected.element
                && within(table(found), table(expected))
        }
        _ => false,
    }
}

/// Makes an instance whose imports are connected; its globals, tables and memories have no contents yet.
fn build(
    store: &mut StoreOpaque,
    module: &Arc<ModuleState>,
    imports: &[ImportValue],
) -> Result<NonNull<InstanceEntity>> {
    let env = &*module.env;
    let mut functions = Vec::new();
    let (mut memories, mut tables, mut globals) = (Vec::new(), Vec::new(), Vec::new());
    let mut tags = Vec::new();
    for import in imports {
        match import {
            ImportValue::Host(definition) => functions.push(ImportValue::Host(definition.clone())),
            ImportValue::Extern(item) => match item {
                Extern::Func(_) => functions.push(import.clone()),
                Extern::Memory(memory) => memories.push(memory.raw(store)),
                Extern::SharedMemory(memory) => memories.push(store.hold_shared_memory(memory)),
                Extern::Table(table) => tables.push(table.raw(store)),
                Extern::Global(global) => globals.push(global.raw(store)),
                Extern::Tag(tag) => tags.push(tag.raw(store)),
            },
        }
    }
    for ty in &env.memories[module.imported_memories..] {
        memories.push(store.new_memory(*ty)?);
    }
    for ty in &env.tables[module.imported_tables..] {
        tables.push(store.new_table(*ty, 0)?);
    }
    for tag in module.imported_tags..env.tags.len() {
        let (ty, tag) = (module.tag_type(tag as u32), tag as u32);
        let signature =
            module.engine.signature(module.env.type_ids[env.tags[tag as usize] as usize].number());
        tags.push(store.new_tag(ty, signature, Some((Arc::downgrade(module), tag))));
    }
    let context = ContextAllocation::new(
        env.functions.capacity(),
        memories,
        tables,
        tags,
        globals,
        env.globals.capacity(),
    );
    let raw = context.as_ptr();
    let stack = store.runtime().cast();
    let entity = store.instances.alloc(InstanceEntity {
        module: module.clone(),
        context,
        elements: Vec::new(),
        dropped_data: vec![false; module.data.len()],
    });
    // SAFETY: the context was allocated just now, and belongs to the instance.
    unsafe {
        (&raw mut (*raw).header).write(ContextHeader::new(callout::on_callout, stack));
        (&raw mut (*raw).functions).write(module.code.functions().as_ptr());
        (&raw mut (*raw).signatures).write(module.env.type_ids.as_ptr().cast());
        (&raw mut (*raw).builtins).write(builtins::table());
        (&raw mut (*raw).env).write(env);
        (&raw mut (*raw).owner).write(entity.as_ptr().cast());
        (&raw mut (*raw).code).write(Arc::as_ptr(&module.code).cast_mut().cast());
        (&raw mut (*raw).epoch).write(module.code.epoch());
    }
    module.code.add_store(&store.mutator);
    for (index, function) in functions.into_iter().enumerate() {
        let func_ref = match function {
            ImportValue::Host(definition) => store.new_host_function(definition, Some(entity))?,
            ImportValue::Extern(item) => {
                let func =
                    item.clone().into_func().expect("only functions were collected").raw(store);
                // SAFETY: the function belongs to this store.
                match unsafe { definition_of(func) } {
                    // A copy that knows its importer.
                    Some(definition) => store.new_host_function(definition, Some(entity))?,
                    None => func,
                }
            }
        };
        // SAFETY: imports come first in the array, which has room for all functions.
        unsafe {
            let slot = (*entity.as_ptr()).context.func_ref(index as u32);
            slot.write(*func_ref.as_ptr());
        }
    }
    Ok(entity)
}

/// Gives globals, tables and memories of an instance their initial contents. A segment that does not
/// fit traps; what was written before stays, as the specification says.
///
/// # Safety
/// The instance must belong to the store of these contents, and nothing else may use its tables meanwhile.
unsafe fn initialize(instance: &mut InstanceEntity, contents: &mut LockedContents) -> Result<()> {
    let module = instance.module.clone();
    let source = &*module.source;
    let imported = module.env.imported_globals as usize;
    for (i, expr) in module.globals.iter().enumerate() {
        let ty = module.env.globals[imported + i].content;
        let value = expr.slots(source, &mut Scope::new(instance, ty));
        instance.context.add_global((imported + i) as u32, GlobalCell(value));
    }
    instance.add_globals(0);
    for (i, init) in module.tables.iter().enumerate() {
        let Some(init) = init else { continue };
        let table = module.imported_tables + i;
        let ty = module.env.tables[table].element;
        let value = init.evaluate(source, &mut Scope::new(instance, ty));
        // SAFETY: the table belongs to the store, which nothing else uses now.
        unsafe { (*instance.table(table as u32).as_ptr()).fill(value) };
    }
    // All passive segments exist before any active one is copied, for a trap ends the latter only.
    instance.elements = module
        .elements
        .iter()
        .map(|segment| match segment.mode {
            ElementMode::Passive => instance.evaluate_elements(segment),
            ElementMode::Active { .. } | ElementMode::Declared => Box::default(),
        })
        .collect();
    for segment in &module.elements {
        let ElementMode::Active { table, offset } = segment.mode else { continue };
        let offset = offset.evaluate(source, &mut Scope::new(instance, ValType::I64)) as usize;
        // SAFETY: the table belongs to the store, which nothing else uses now.
        let (base, len) = unsafe {
            let def = &instance.table(table).as_ref().def;
            (def.base, def.len)
        };
        if offset.checked_add(segment.count as usize).is_none_or(|end| end > len) {
            return Err(Trap::TableOutOfBounds.into());
        }
        let mut at = offset;
        let scope = &mut Scope::new(instance, segment.ty);
        for_each_element(module.bytes(), &segment.items, scope, |slot| {
            // SAFETY: the segment fits into the table, as was checked.
            unsafe { *base.add(at) = slot };
            at += 1;
        });
    }
    // SAFETY: as the caller vouches.
    unsafe { entries::set_earlier(contents, instance)? };
    for (&memory, added) in &*module.added.memories() {
        let memory = instance.memory(memory);
        // SAFETY: the memory belongs to the store, whose thread this is.
        unsafe {
            let missing = added.pages.saturating_sub(memory.as_ref().size());
            anyhow::ensure!(
                contents.grow_memory(memory, missing).is_some(),
                "a memory cannot grow to the {} pages of an update",
                added.pages
            );
        }
    }
    for (i, segment) in module.data.iter().enumerate() {
        let Some((memory, offset)) = segment.active else { continue };
        let offset = offset.evaluate(source, &mut Scope::new(instance, ValType::I64)) as usize;
        let bytes = &module.bytes()[segment.bytes.start as usize..segment.bytes.end as usize];
        // SAFETY: the memory belongs to the store, which nothing else uses now.
        let (base, len, is_shared) = unsafe {
            let memory = instance.memory(memory);
            let def = &memory.as_ref().def;
            (def.base, def.len(), memory.as_ref().is_shared())
        };
        if offset.checked_add(bytes.len()).is_none_or(|end| end > len) {
            return Err(Trap::MemoryOutOfBounds.into());
        }
        // SAFETY: the segment fits into the memory, as was checked; the module's bytes lie elsewhere.
        unsafe {
            if is_shared {
                shared_bytes::copy(bytes.as_ptr(), base.add(offset), bytes.len());
            } else {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(offset), bytes.len());
            }
        }
        instance.dropped_data[i] = true;
    }
    let patches = module.added.memories();
    for memory in 0..module.env.memories.len() as u32 {
        let entity = instance.memory(memory);
        // SAFETY: memories live as long as their store.
        let (is_shared, is_new) =
            unsafe { (entity.as_ref().is_shared(), entity.as_ref().is_new_to(&module)) };
        // What updates have written into a shared memory is there already: they did so when an instance had it.
        let Some(added) = patches.get(&memory).filter(|_| !is_shared || is_new) else { continue };
        // SAFETY: the memory belongs to the store, which nothing else uses now, or is shared.
        unsafe { crate::store::contents::write(entity, &added.data) };
    }
    Ok(())
}

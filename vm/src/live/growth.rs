//! A running module gets more types, functions, globals, table entries, memory and exports.
//!
//! Its index spaces only grow, in place: an index keeps its meaning, and nothing that code or instances
//! point to moves. So nobody has to stop for it, and what is added is invisible until something refers to
//! it. That is the order in which things happen:
//!
//! ```text
//!   prepare     everything that can fail: room, validation, lowering, room in tables and memories
//!   commit      the index spaces grow, and all instances get their globals; nothing refers to them yet
//!               (now new bodies are published, which do)
//!   in_stores   performed on each store together with the retirement of old code: its table entries, and
//!               memories
//!   finish      exports; instances can be made again
//! ```

use super::changes::{AtLeast, ChangedElements, Changes};
use super::entries::{Entries, ReservedEntries};
use super::in_each_store::InEachStore;
use super::larger_memories::ReservedMemories;
use super::references;
use crate::code::version::FunctionVersion;
use crate::module::{Item, ModuleState, index_spaces};
use crate::store::memory::most_pages;
use crate::store::table::MAX_ELEMENTS;
use crate::types::printable::{PrintableName, function_name};
use crate::types::signatures::Signature;
use anyhow::{Context as _, Result, bail, ensure};
use midair_osr::{Operation, StackContext};
use midair_tiers::lower::lower;
use midair_tiers::{AppendVec, FunctionBody, HeapType, ModuleEnv, RefType, ValType};
use std::sync::{Arc, RwLockWriteGuard};
use wasmparser::{FuncToValidate, ValidatorResources};

/// What an update adds to a module, prepared. Dropping it leaves everything as it was.
///
/// If it adds anything, no instances of the module can be made while it exists: it is not to be held across code of embedders.
pub(crate) struct Growth<'m> {
    module: &'m Arc<ModuleState>,
    /// The index spaces as they will be.
    env: Arc<ModuleEnv>,
    /// Set if the index spaces grow.
    resources: Option<ValidatorResources>,
    /// The added types.
    signatures: Vec<Arc<Signature>>,
    functions: Vec<Added>,
    globals: Vec<Box<[u8]>>,
    entries: ReservedEntries,
    memories: ReservedMemories,
    exports: Vec<(Box<str>, Item)>,
    moved: Vec<(u32, u32)>,
    /// Held if anything is added.
    instantiation: Option<RwLockWriteGuard<'m, ()>>,
}

/// A function that is added: lowered, not called yet.
struct Added {
    version: Arc<FunctionVersion>,
    name: Option<Box<str>>,
}

impl<'m> Growth<'m> {
    /// Prepares what `changes` adds. Bodies of functions that exist are not looked at: they are valid if
    /// [`Growth::validation`] says so, and are to be lowered and compiled with [`Growth::env`].
    ///
    /// Waits for all stores if tables have to grow: not to be called from guest code.
    pub(crate) fn prepare(module: &'m Arc<ModuleState>, changes: &Changes) -> Result<Growth<'m>> {
        let adds = !changes.only_bodies();
        let instantiation = adds.then(|| module.code.bar_instantiation());
        check_room(module, changes)?;
        module.code.update_step("room")?;
        let mut growth = Growth {
            module,
            env: module.env.clone(),
            resources: None,
            signatures: Vec::new(),
            functions: Vec::new(),
            globals: changes.globals.iter().map(|global| (*global.init).into()).collect(),
            entries: ReservedEntries::default(),
            memories: ReservedMemories::default(),
            exports: changes.exports.clone(),
            moved: changes.moved.clone(),
            instantiation,
        };
        // The resources that a module is loaded with know only the references that it declared.
        if grows(changes) || changes.bodies.iter().any(|changed| refers_to_functions(&changed.body))
        {
            growth.grow_index_spaces(changes)?;
        }
        for added in &changes.functions {
            let function = growth.first_added() + growth.functions.len() as u32;
            let body = Arc::new(added.body.clone());
            let body = FunctionBody::new(body, 0, added.body.len(), function, 0);
            let version = Arc::new(FunctionVersion::new(body));
            let lowered = lower(&growth.env, &version.body, Some(growth.validation(function)))
                .with_context(|| match &added.name {
                    Some(name) => {
                        format!("the added function `{}` is not valid", function_name(name))
                    }
                    None => format!("the added function {function} is not valid"),
                })?;
            version.set_lowered(lowered);
            module.code.update_step("an added function")?;
            let name = added.name.as_deref().map(Box::from);
            growth.functions.push(Added { version, name });
        }
        growth.check_exports()?;
        growth.check_elements(&changes.elements)?;
        growth.check_sizes(changes)?;
        module.code.update_step("exports and entries")?;
        growth.entries = Entries::reserve(module, &changes.elements, &changes.table_sizes)?;
        growth.memories = ReservedMemories::new(module, &changes.memory_sizes)?;
        Ok(growth)
    }

    /// Index of the first function that is added.
    fn first_added(&self) -> u32 {
        self.module.env.functions.len() as u32
    }

    /// The module's index spaces as they will be.
    pub(crate) fn env(&self) -> &ModuleEnv {
        &self.env
    }

    /// What validates a body as one of this function in the module as it will be.
    pub(crate) fn validation(&self, function: u32) -> FuncToValidate<ValidatorResources> {
        let code = &self.module.code;
        FuncToValidate {
            resources: self.resources.clone().unwrap_or_else(|| code.resources()),
            index: function,
            ty: self.env.functions[function as usize],
            features: code.features(),
        }
    }

    /// Writes down the index spaces as they will be, and validates the additions.
    fn grow_index_spaces(&mut self, changes: &Changes) -> Result<()> {
        let module = self.module;
        let mut env = ModuleEnv::clone(&module.env);
        for signature in &changes.types {
            self.signatures.push(signature.clone());
            env.shapes.push(signature.shape.clone());
            env.types.push(signature.ty.clone());
            env.type_ids.push(signature.id());
            env.open_types.push(signature.is_open);
        }
        for function in &changes.functions {
            ensure!(
                (function.ty as usize) < env.types.len(),
                "an added function is of type {}, which does not exist",
                function.ty
            );
            env.functions.push(function.ty);
        }
        for global in &changes.globals {
            env.globals.push(global.ty);
        }
        let earlier = module.added.globals().iter().map(|init| &**init);
        let added: Vec<&[u8]> =
            earlier.chain(changes.globals.iter().map(|global| &*global.init)).collect();
        let features = module.code.features();
        let types: Vec<Arc<Signature>> =
            module.held_signatures().iter().chain(&self.signatures).cloned().collect();
        self.resources = index_spaces::resources(module, &env, &types, &added, features)
            .context("the additions to the module are not valid")?;
        module.code.update_step("index spaces")?;
        self.env = Arc::new(env);
        Ok(())
    }

    fn check_exports(&self) -> Result<()> {
        let env = &self.env;
        for (name, item) in &self.exports {
            let (index, count) = match *item {
                Item::Func(index) => (index, env.functions.len()),
                Item::Table(index) => (index, env.tables.len()),
                Item::Memory(index) => (index, env.memories.len()),
                Item::Global(index) => (index, env.globals.len()),
                Item::Tag(index) => (index, env.tags.len()),
            };
            ensure!(
                (index as usize) < count,
                "export `{}` is of something that does not exist",
                PrintableName(name)
            );
        }
        Ok(())
    }

    fn check_elements(&self, elements: &[ChangedElements]) -> Result<()> {
        for ChangedElements { table, offset, functions } in elements {
            let Some(ty) = self.env.tables.get(*table as usize) else {
                bail!("table {table} does not exist");
            };
            ensure!(ty.element.is_func_ref(), "table {table} does not hold functions");
            let end = u64::from(*offset) + functions.len() as u64;
            ensure!(end <= MAX_ELEMENTS, "table {table} cannot have {end} elements");
            ensure!(
                ty.element.has_default() || end <= ty.minimum,
                "table {table} cannot grow, for null is not of its type"
            );
            for function in functions.iter().flatten() {
                ensure!(
                    (*function as usize) < self.env.functions.len(),
                    "an entry of table {table} is function {function}, which does not exist"
                );
                let of_type = self.env.type_ids[self.env.functions[*function as usize] as usize];
                let reference = RefType::new(false, HeapType::Concrete(of_type)).into();
                ensure!(
                    self.module.engine.is_subtype(reference, ty.element),
                    "an entry of table {table} is function {function}, which is not of type {}",
                    ty.element
                );
            }
            ensure!(
                ty.element.has_default() || functions.iter().all(Option::is_some),
                "an entry of table {table} is null"
            );
        }
        Ok(())
    }

    fn check_sizes(&self, changes: &Changes) -> Result<()> {
        for &AtLeast { index, size } in &changes.table_sizes {
            let Some(ty) = self.env.tables.get(index as usize) else {
                bail!("table {index} does not exist");
            };
            ensure!(
                ty.element.has_default() || u64::from(size) <= ty.minimum,
                "table {index} cannot grow, for null is not of its type"
            );
            ensure!(u64::from(size) <= MAX_ELEMENTS, "table {index} cannot have {size} elements");
        }
        for &AtLeast { index, size } in &changes.memory_sizes {
            let Some(ty) = self.env.memories.get(index as usize) else {
                bail!("memory {index} does not exist");
            };
            ensure!(size <= most_pages(ty), "memory {index} cannot have {size} pages");
        }
        Ok(())
    }

    /// Makes what is added a part of the module and of all its instances. Nothing refers to it yet.
    ///
    /// Waits for all stores if there are new globals: not to be called from guest code.
    pub(crate) fn commit(self) -> Committed<'m> {
        let Growth {
            module,
            env,
            resources,
            signatures,
            functions,
            globals,
            entries,
            memories,
            exports,
            moved,
            instantiation,
        } = self;
        let live = &module.env;
        module.held_signatures().extend(signatures);
        extend(&live.type_ids, &env.type_ids[live.type_ids.len()..]);
        extend(&live.open_types, &env.open_types[live.open_types.len()..]);
        extend(&live.shapes, &env.shapes[live.shapes.len()..]);
        extend(&live.types, &env.types[live.types.len()..]);
        for Added { version, name } in functions {
            module.code.add_function(&version);
            module.added.add_name(name);
        }
        extend(&live.functions, &env.functions[live.functions.len()..]);
        if resources.is_some() {
            module.code.set_resources(resources);
        }
        let first_global = live.globals.len();
        extend(&live.globals, &env.globals[first_global..]);
        if !globals.is_empty() {
            for init in globals {
                module.added.add_global(init);
            }
            let add = InEachStore::new(module, move |_, _, instance| {
                instance.add_globals(first_global);
            });
            add.perform_and_wait();
        }
        Committed { module, entries, memories, exports, moved, instantiation }
    }
}

/// A growth whose functions and globals are there, and whose table entries and exports are to come.
pub(crate) struct Committed<'m> {
    module: &'m Arc<ModuleState>,
    entries: ReservedEntries,
    memories: ReservedMemories,
    exports: Vec<(Box<str>, Item)>,
    moved: Vec<(u32, u32)>,
    instantiation: Option<RwLockWriteGuard<'m, ()>>,
}

impl Committed<'_> {
    /// No instances of the module are made from now on, until this is dropped: all stores that have instances
    /// are known.
    pub(crate) fn bar_instantiation(&mut self) {
        let module = self.module;
        self.instantiation.get_or_insert_with(|| module.code.bar_instantiation());
    }

    /// What changes of a store, if anything does: to be performed on all stores that have instances of the
    /// module, when the code that expects the old state is gone.
    pub(crate) fn in_stores(&self) -> impl Iterator<Item = Arc<dyn Operation<StackContext>>> {
        let entries = self.entries.setting(self.module);
        entries.into_iter().chain(self.memories.extending(self.module))
    }

    /// What moves references in a store, if any are to be: to be performed like and before
    /// [`Committed::in_stores`].
    pub(crate) fn moving(&self) -> Option<Arc<dyn Operation<StackContext>>> {
        references::moving(self.module, &self.moved)
    }

    /// Shows the world what has been added. All stores have been changed.
    pub(crate) fn finish(self) {
        let module = self.module;
        let reference = |function: u32| {
            let id = module.env.type_ids[module.env.functions[function as usize] as usize];
            ValType::Ref(RefType::new(false, HeapType::Concrete(id)))
        };
        let anywhere = self.moved.iter().all(|(from, to)| module.fits(*to, reference(*from)));
        module.added.move_references(&self.moved, anywhere, |table, function| {
            module.fits(function, module.env.tables[table as usize].element)
        });
        self.entries.add_to(&mut self.module.added.tables());
        self.memories.add_to(self.module);
        for (name, item) in &self.exports {
            self.module.exports.set(name, *item);
        }
    }
}

/// Whether the index spaces grow.
fn grows(changes: &Changes) -> bool {
    !(changes.types.is_empty() && changes.functions.is_empty() && changes.globals.is_empty())
}

/// Whether a body makes references to functions.
fn refers_to_functions(body: &[u8]) -> bool {
    let reader = wasmparser::FunctionBody::new(wasmparser::BinaryReader::new(body, 0));
    let Ok(operators) = reader.get_operators_reader() else { return false };
    operators
        .into_iter()
        .any(|operator| matches!(operator, Ok(wasmparser::Operator::RefFunc { .. })))
}

/// Refuses what there is no room for.
fn check_room(module: &ModuleState, changes: &Changes) -> Result<()> {
    let new_exports = changes.exports.iter().filter(|(name, _)| module.export(name).is_none());
    let additions = [
        ("functions", changes.functions.len(), module.room_for_functions()),
        ("types", changes.types.len(), module.room_for_types()),
        ("globals", changes.globals.len(), module.room_for_globals()),
        ("exports", new_exports.count(), module.exports.room()),
    ];
    for (what, count, room) in additions {
        ensure!(
            count <= room,
            "the update adds {count} {what}, and the module has room for {room}: \
             see `Config::spare_functions`"
        );
    }
    let functions = module.env.functions.len() + changes.functions.len();
    if let Some(last) = functions.checked_sub(1) {
        module.code.system.heap.entry_thunk(last as u32)?;
    }
    Ok(())
}

/// Appends elements that there is room for.
fn extend<T: Clone>(list: &AppendVec<T>, more: &[T]) {
    for element in more {
        let appended = list.append(element.clone()).is_ok();
        assert!(appended, "room was checked, and nobody else adds to the module");
    }
}

#[cfg(test)]
mod tests;

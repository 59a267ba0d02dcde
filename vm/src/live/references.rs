//! Who refers to a function: bodies, exports, segments, globals, and what stores hold.
//!
//! Before a function is retyped or freed, everything that refers to it is looked for, and named if something is
//! left. References that tables and globals hold can be moved to another function instead: that happens in
//! each store at the moment at which it gets the new bodies.

use super::changes::{ChangedElements, Changes};
use super::definitions::Quoted;
use super::module_diff::summary::FunctionLabel;
use crate::module::const_expr::{ConstExpr, ConstScope, evaluate, for_each_element};
use crate::module::load::ElementMode;
use crate::module::{Item, ModuleState};
use crate::store::contents::LockedContents;
use crate::store::instance::InstanceEntity;
use crate::store::opaque::StoreOpaque;
use crate::types::printable::PrintableName;
use anyhow::Result;
use midair_osr::{Handshake, Operation, StackContext};
use midair_tiers::{
    FuncRef, FunctionBody, GlobalCell, HeapType, InstanceContext, RefType, StoreContext, TypeId,
    ValType,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wasmparser::{BinaryReader, Operator};

/// Something that refers to a function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reference {
    /// A body calls it.
    Call {
        /// The caller.
        by: FunctionLabel,
        /// Offset in the caller's body.
        offset: u32,
    },
    /// A body takes a reference to it, by `ref.func`.
    Taken {
        /// Whose body it is.
        by: FunctionLabel,
        /// Offset in the body.
        offset: u32,
    },
    /// It is exported.
    Export {
        /// Name of the export.
        name: String,
    },
    /// It is the start function, which new instances call.
    Start,
    /// A table entry is set to it in new instances.
    Entry {
        /// Index of the table.
        table: u32,
        /// Index of the entry.
        index: u32,
    },
    /// An element segment has it: a passive one, or one whose place in a table depends on an imported global.
    Segment {
        /// Index of the segment.
        segment: u32,
        /// Index of the element in the segment.
        index: u32,
    },
    /// A global begins with a reference to it.
    Global {
        /// Index of the global.
        global: u32,
    },
    /// A table entry of an instance refers to it now.
    EntryNow {
        /// Number of the store in this process, by the time at which they were made.
        store: u64,
        /// Index of the table in the instance.
        table: u32,
        /// Index of the entry.
        index: u32,
    },
    /// A global of an instance refers to it now.
    GlobalNow {
        /// Number of the store.
        store: u64,
        /// Index of the global in the instance.
        global: u32,
    },
    /// An instance of another module imports it.
    Import {
        /// Number of the store.
        store: u64,
        /// Module and name of the import.
        import: (String, String),
    },
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Call { by, offset } => {
                write!(f, "{} calls it at offset {offset:#x}", Quoted(by))
            }
            Reference::Taken { by, offset } => {
                write!(f, "{} takes a reference to it at offset {offset:#x}", Quoted(by))
            }
            Reference::Export { name } => {
                write!(f, "export `{}` is this function", PrintableName(name))
            }
            Reference::Start => f.write_str("it is the start function"),
            Reference::Entry { table, index } => {
                write!(f, "entry {index} of table {table} is this function in new instances")
            }
            Reference::Segment { segment, index } => {
                write!(f, "element {index} of element segment {segment} is this function")
            }
            Reference::Global { global } => {
                write!(f, "global {global} begins with a reference to it")
            }
            Reference::EntryNow { store, table, index } => {
                write!(f, "entry {index} of table {table} is this function now, in store {store}")
            }
            Reference::GlobalNow { store, global } => {
                write!(f, "global {global} holds a reference to it now, in store {store}")
            }
            Reference::Import { store, import: (module, name) } => {
                let (module, name) = (PrintableName(module), PrintableName(name));
                write!(f, "an instance in store {store} imports it as `{module}` `{name}`")
            }
        }
    }
}

/// Why an update is refused that changes the types of functions or frees some: something still refers to them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StillReferred {
    /// The functions, each with what refers to it: of what stores hold, the first finds in each store.
    pub functions: Vec<(FunctionLabel, Vec<Reference>)>,
}

/// How many references to one function are spelt out.
const SPELT_OUT: usize = 8;
/// How many references are listed of what each store holds.
const MOST_IN_STORE: usize = 64;

impl fmt::Display for StillReferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (function, references)) in self.functions.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{} is still referred to: ", Quoted(function))?;
            for (i, reference) in references.iter().take(SPELT_OUT).enumerate() {
                write!(f, "{}{reference}", if i > 0 { ", " } else { "" })?;
            }
            if let Some(more @ 1..) = references.len().checked_sub(SPELT_OUT) {
                write!(f, ", and {more} more")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for StillReferred {}

/// How people know a function of a module.
pub(super) fn label(module: &ModuleState, function: u32) -> FunctionLabel {
    let exported = || {
        let mut exports = module.exports.list().iter();
        exports.find(|export| export.item() == Item::Func(function)).map(|export| &*export.name)
    };
    let name = module.function_name(function).or_else(exported);
    FunctionLabel { index: function, name: name.map(str::to_owned) }
}

/// References that become references to other functions. One stays where the other function is not of the type that
/// its place has.
struct Moved {
    module: Arc<ModuleState>,
    /// The other functions, and what references to them are.
    functions: HashMap<u32, (u32, ValType)>,
}

impl Moved {
    /// `added`: types of the functions that are about to be added.
    fn new(module: &Arc<ModuleState>, moved: &[(u32, u32)], added: &[TypeId]) -> Moved {
        let env = &module.env;
        let reference = |function: u32| {
            let known = env.functions.get(function as usize).map(|ty| env.type_ids[*ty as usize]);
            let id = known.or_else(|| added.get(function as usize - env.functions.len()).copied());
            id.map(|id| ValType::Ref(RefType::new(false, HeapType::Concrete(id))))
        };
        let functions = moved.iter().filter_map(|(from, to)| Some((*from, (*to, reference(*to)?))));
        Moved { module: module.clone(), functions: functions.collect() }
    }

    /// What a reference to a function becomes in a place of these types.
    fn to(&self, function: u32, place: &[ValType]) -> Option<u32> {
        let (to, ty) = self.functions.get(&function)?;
        place.iter().all(|place| self.module.engine.is_subtype(*ty, *place)).then_some(*to)
    }
}

/// What refers to the functions that an update abandons.
struct Search<'a> {
    module: &'a Arc<ModuleState>,
    changes: &'a Changes,
    moved: Arc<Moved>,
    found: BTreeMap<u32, Vec<Reference>>,
}

/// Fails if something will still refer to a function that the update abandons.
///
/// Waits for all stores: not to be called from guest code.
pub(super) fn check(module: &Arc<ModuleState>, changes: &Changes) -> Result<()> {
    if changes.abandoned.is_empty() {
        return Ok(());
    }
    let env = &module.env;
    let type_id = |index: u32| match (index as usize).checked_sub(env.types.len()) {
        None => env.type_ids[index as usize],
        Some(added) => changes.types[added].id(),
    };
    let added: Vec<TypeId> = changes.functions.iter().map(|added| type_id(added.ty)).collect();
    let moved = Arc::new(Moved::new(module, &changes.moved, &added));
    let mut search = Search { module, changes, moved, found: BTreeMap::new() };
    search.bodies();
    search.exports();
    search.initial_values();
    search.stores();
    if search.found.is_empty() {
        module.code.update_step("references")?;
        return Ok(());
    }
    let functions =
        search.found.into_iter().map(|(function, found)| (label(module, function), found));
    Err(StillReferred { functions: functions.collect() }.into())
}

impl Search<'_> {
    fn add(&mut self, function: u32, reference: Reference) {
        self.found.entry(function).or_default().push(reference);
    }

    /// Whether what a place of this type holds of the function would be left.
    fn is_left(&self, function: u32, place: ValType) -> bool {
        self.changes.abandoned.contains(&function) && self.moved.to(function, &[place]).is_none()
    }

    /// The bodies that there will be. Those of functions that others have taken the place of do not count.
    fn bodies(&mut self) {
        let (module, changes) = (self.module, self.changes);
        let changed: HashMap<u32, &[u8]> =
            changes.bodies.iter().map(|changed| (changed.function, &*changed.body)).collect();
        let superseded = module.added.superseded().clone();
        let first_added = module.env.functions.len() as u32;
        for function in module.env.imported_functions..first_added {
            match changed.get(&function) {
                _ if changes.abandoned.contains(&function) => {}
                Some(body) => self.body(label(module, function), body),
                None if superseded.contains(&function) => {}
                None => {
                    let body: FunctionBody = module.code.current_body(function);
                    self.body_of(|| label(module, function), body.bytes());
                }
            }
        }
        for (function, added) in (first_added..).zip(&changes.functions) {
            let by = FunctionLabel { index: function, name: added.name.clone() };
            self.body(by, &added.body);
        }
    }

    fn body(&mut self, by: FunctionLabel, body: &[u8]) {
        self.body_of(|| by.clone(), body);
    }

    fn body_of(&mut self, by: impl Fn() -> FunctionLabel, body: &[u8]) {
        let reader = wasmparser::FunctionBody::new(BinaryReader::new(body, 0));
        let Ok(mut operators) = reader.get_operators_reader() else { return };
        // What cannot be read cannot be run.
        while let Ok((operator, offset)) = operators.read_with_offset() {
            let offset = offset as u32;
            let (function, reference): (u32, fn(FunctionLabel, u32) -> Reference) = match operator {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    (function_index, |by, offset| Reference::Call { by, offset })
                }
                Operator::RefFunc { function_index } => {
                    (function_index, |by, offset| Reference::Taken { by, offset })
                }
                _ => continue,
            };
            if self.changes.abandoned.contains(&function) {
                self.add(function, reference(by(), offset));
            }
        }
    }

    fn exports(&mut self) {
        let changed = &self.changes.exports;
        let kept = self.module.exports.list().iter().filter_map(|export| {
            let changes = changed.iter().any(|(name, _)| *name == export.name);
            (!changes).then(|| (export.name.clone(), export.item()))
        });
        let exports: Vec<(Box<str>, Item)> = kept.chain(changed.iter().cloned()).collect();
        for (name, item) in exports {
            if let Item::Func(function) = item
                && self.changes.abandoned.contains(&function)
            {
                self.add(function, Reference::Export { name: name.into() });
            }
        }
        if let Some(start) = self.module.start
            && self.changes.abandoned.contains(&start)
        {
            self.add(start, Reference::Start);
        }
    }

    /// What new instances would begin with.
    fn initial_values(&mut self) {
        let module = self.module;
        let mut entries = initial_entries(module);
        let mut set = BTreeSet::new();
        for ChangedElements { table, offset, functions } in &self.changes.elements {
            for (index, function) in (*offset..).zip(functions) {
                entries.insert((*table, index), *function);
                set.insert((*table, index));
            }
        }
        for (&(table, index), function) in &entries {
            let Some(function) = *function else { continue };
            // What is set by this update is not moved.
            let left = set.contains(&(table, index)) && self.changes.abandoned.contains(&function);
            let element = module.env.tables[table as usize].element;
            if left || self.is_left(function, element) {
                self.add(function, Reference::Entry { table, index });
            }
        }
        for (segment, items) in (0..).zip(&module.elements) {
            let known = match items.mode {
                ElementMode::Declared => true,
                ElementMode::Passive => false,
                ElementMode::Active { offset, .. } => known_offset(module, offset).is_some(),
            };
            if known {
                continue;
            }
            for (index, function) in (0..).zip(elements(module, items)) {
                let left = function.map(|function| module.moved(function, items.ty));
                let left = left.filter(|function| self.is_left(*function, items.ty));
                if let Some(function) = left {
                    self.add(function, Reference::Segment { segment, index });
                }
            }
        }
        let loaded = module.globals.iter().map(|init| init.bytes(&*module.source).to_vec());
        let added = module.added.globals().iter().map(|init| init.to_vec());
        for (global, init) in (module.env.imported_globals..).zip(loaded.chain(added)) {
            let [value, _] = evaluate(BinaryReader::new(&init, 0), &mut Functions::default());
            let ty = module.env.globals[global as usize].content;
            let function = ty.is_func_ref().then(|| Functions::function(value)).flatten();
            let function = function.map(|function| module.moved(function, ty));
            if let Some(function) = function.filter(|function| self.is_left(*function, ty)) {
                self.add(function, Reference::Global { global });
            }
        }
    }

    /// What stores hold now.
    fn stores(&mut self) {
        let changes = self.changes;
        let elements = changes.elements.iter();
        let set = elements.flat_map(|ChangedElements { table, offset, functions }| {
            (*offset..).zip(functions).map(|(index, _)| (*table, index))
        });
        let held = Arc::new(Held {
            module: self.module.clone(),
            functions: changes.abandoned.clone(),
            moved: self.moved.clone(),
            set: set.collect(),
            found: Mutex::default(),
        });
        Handshake::begin(self.module.code.stores(), held.clone()).wait();
        let found = std::mem::take(&mut *held.found.lock().unwrap_or_else(PoisonError::into_inner));
        for (function, reference) in found {
            self.add(function, reference);
        }
    }
}

/// Encodes which function a value refers to in its place, and takes everything else for null.
#[derive(Default)]
struct Functions {
    /// The value depends on a global.
    depends: bool,
}

impl Functions {
    fn function(value: u64) -> Option<u32> {
        value.checked_sub(1).map(|function| function as u32)
    }
}

impl ConstScope for Functions {
    fn global(&mut self, _: u32) -> [u64; 2] {
        self.depends = true;
        [0; 2]
    }

    fn ref_func(&mut self, index: u32) -> u64 {
        u64::from(index) + 1
    }
}

/// The offset of an active segment, unless it depends on a global.
fn known_offset(module: &ModuleState, offset: ConstExpr) -> Option<u32> {
    let mut scope = Functions::default();
    let value = offset.evaluate(&*module.source, &mut scope);
    (!scope.depends).then_some(value as u32)
}

/// The functions that a segment's elements refer to, as the module was loaded.
fn elements(
    module: &ModuleState,
    segment: &crate::module::load::ElementSegment,
) -> Vec<Option<u32>> {
    let mut list = Vec::new();
    if segment.ty.is_func_ref() {
        for_each_element(module.bytes(), &segment.items, &mut Functions::default(), |value| {
            list.push(Functions::function(value));
        });
    }
    list
}

/// Table entries that new instances begin with, by table and index: those of active segments whose place does
/// not depend on a global, and what updates have set.
pub(super) fn initial_entries(module: &ModuleState) -> BTreeMap<(u32, u32), Option<u32>> {
    let mut entries = BTreeMap::new();
    for segment in &module.elements {
        let ElementMode::Active { table, offset } = segment.mode else { continue };
        let Some(offset) = known_offset(module, offset) else { continue };
        for (index, function) in (offset..).zip(elements(module, segment)) {
            let function = function.map(|function| module.moved(function, segment.ty));
            entries.insert((table, index), function);
        }
    }
    entries
        .extend(module.added.tables().values.iter().map(|(place, function)| (*place, *function)));
    entries
}

/// Looks for references to functions of a module in what stores hold.
struct Held {
    module: Arc<ModuleState>,
    functions: BTreeSet<u32>,
    moved: Arc<Moved>,
    /// Table entries of the module's instances that are about to be set.
    set: HashSet<(u32, u32)>,
    found: Mutex<Vec<(u32, Reference)>>,
}

impl Operation<StackContext> for Held {
    unsafe fn perform(&self, stack: *mut StackContext) {
        // SAFETY: as the caller vouches.
        let (store, contents) = unsafe { locked(stack) };
        let contents = &*contents.lock();
        let place = Places::new(contents, &self.module);
        let about_to_be_set: HashSet<(usize, u32)> = place
            .instances
            .values()
            .flat_map(|instance| {
                self.set.iter().map(move |(table, index)| (instance, table, index))
            })
            .filter_map(|(instance, &table, &index)| {
                // SAFETY: instances live as long as their store.
                let instance = unsafe { instance.as_ref() };
                let tables = instance.module.env.tables.len();
                ((table as usize) < tables)
                    .then(|| (instance.table(table).as_ptr() as usize, index))
            })
            .collect();
        let mut found = Vec::new();
        let mut add = |function, reference| {
            if found.len() < MOST_IN_STORE {
                found.push((function, reference));
            }
        };
        // SAFETY: the store's guest stands still, and its contents are locked.
        unsafe {
            place.for_each(|slot, types, place| {
                let Some((_, function)) = slot else { return };
                if !self.functions.contains(&function) || self.moved.to(function, types).is_some() {
                    return;
                }
                match place {
                    Place::Entry { entity, table, index, .. } => {
                        if !about_to_be_set.contains(&(entity, index)) {
                            add(function, Reference::EntryNow { store, table, index });
                        }
                    }
                    Place::Global { global, .. } => {
                        add(function, Reference::GlobalNow { store, global });
                    }
                    // The module's own, which it has been looked for in.
                    Place::Element(_) => {}
                }
            });
            place.for_each_import(|function, import| {
                if self.functions.contains(&function) {
                    add(function, Reference::Import { store, import });
                }
            });
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
    }
}

/// Moves references in what stores hold.
struct Moving(Moved);

impl Operation<StackContext> for Moving {
    unsafe fn perform(&self, stack: *mut StackContext) {
        // SAFETY: as the caller vouches.
        let (_, contents) = unsafe { locked(stack) };
        let contents = &*contents.lock();
        let places = Places::new(contents, &self.0.module);
        // SAFETY: the store's guest stands still, and its contents are locked; the new references are of
        // functions of the same instance.
        unsafe {
            places.for_each(|slot, types, place| {
                let Some((instance, function)) = slot else { return };
                let Some(to) = self.0.to(function, types) else { return };
                let to = instance.as_ref().func_ref(to).as_ptr() as u64;
                match place {
                    Place::Entry { slot, .. } | Place::Global { slot, .. } => slot.write(to),
                    Place::Element(element) => element.store(to, Ordering::Relaxed),
                }
            });
        }
    }
}

/// Moves references in all stores, to functions that exist: to be performed on each of them.
pub(super) fn moving(
    module: &Arc<ModuleState>,
    moved: &[(u32, u32)],
) -> Option<Arc<dyn Operation<StackContext>>> {
    let moving = || Moving(Moved::new(module, moved, &[]));
    (!moved.is_empty()).then(|| Arc::new(moving()) as _)
}

/// The number of a store and its contents, to be locked.
///
/// # Safety
/// `stack` must be the stack of a store that stands still.
unsafe fn locked(stack: *mut StackContext) -> (u64, Arc<crate::store::contents::Contents>) {
    // SAFETY: guest stacks are the first fields of the contexts of stores, which are alive while their stacks
    // are attached. Only the number is read, and the pointer to the contents, neither of which changes.
    unsafe {
        let store = StoreOpaque::from_runtime(stack.cast::<StoreContext>()).as_ptr();
        ((*store).id().number(), (*store).contents.clone())
    }
}

/// Where a store holds references to functions.
struct Places<'a> {
    contents: &'a LockedContents,
    /// Instances of the module, by the addresses of their contexts.
    instances: HashMap<*mut InstanceContext, NonNull<InstanceEntity>>,
}

/// A place that holds a reference.
enum Place<'a> {
    Entry { slot: *mut u64, entity: usize, table: u32, index: u32 },
    Global { slot: *mut u64, global: u32 },
    Element(&'a AtomicU64),
}

impl<'a> Places<'a> {
    fn new(contents: &'a LockedContents, module: &Arc<ModuleState>) -> Places<'a> {
        let of_module = |entity: &&NonNull<InstanceEntity>| {
            // SAFETY: instances live as long as their store.
            Arc::ptr_eq(unsafe { &entity.as_ref().module }, module)
        };
        let instances = contents.instances.iter().filter(of_module);
        // SAFETY: as above.
        let instances = instances.map(|entity| (unsafe { entity.as_ref() }.context(), *entity));
        Places { contents, instances: instances.collect() }
    }

    /// The instance of the module and the function that a reference is of, if it is of one.
    ///
    /// # Safety
    /// The reference must be null or of a function that is alive.
    unsafe fn target(&self, slot: u64) -> Option<(NonNull<InstanceEntity>, u32)> {
        let func_ref = NonNull::new(slot as *mut FuncRef)?;
        // SAFETY: as the caller vouches; references that exist are initialised.
        let (context, index) = unsafe {
            let context = AtomicPtr::from_ptr(&raw mut (*func_ref.as_ptr()).context);
            (context.load(Ordering::Acquire), (*func_ref.as_ptr()).index)
        };
        self.instances.get(&context.cast()).map(|instance| (*instance, index))
    }

    /// Calls `visit` with every place that holds a reference, the types that it has, and the function of the module
    /// that this is of. Tables and globals are visited once, passive segments only of the module's own instances.
    ///
    /// # Safety
    /// The store's guest must stand still, and its contents be locked.
    unsafe fn for_each(
        &self,
        mut visit: impl FnMut(Option<(NonNull<InstanceEntity>, u32)>, &[ValType], Place<'_>),
    ) {
        let mut seen = HashSet::new();
        // Instances may take a global that cannot be set for one of a more general type.
        let mut globals: BTreeMap<usize, (u32, Vec<ValType>)> = BTreeMap::new();
        for instance in &self.contents.instances {
            // SAFETY: instances live as long as their store. As the caller vouches, nobody changes tables and
            // globals meanwhile, and what they hold is alive.
            unsafe {
                let instance = instance.as_ref();
                let env = &instance.module.env;
                for table in 0..env.tables.len() as u32 {
                    let entity = instance.table(table).as_ptr();
                    if !(*entity).holds_functions() || !seen.insert(entity as usize) {
                        continue;
                    }
                    let (base, len) = ((*entity).def.base, (*entity).def.len);
                    let ty = (*entity).element();
                    for index in 0..len {
                        let slot = base.add(index);
                        let (entity, index) = (entity as usize, index as u32);
                        visit(
                            self.target(*slot),
                            &[ty],
                            Place::Entry { slot, entity, table, index },
                        );
                    }
                }
                for (global, ty) in (0..).zip(env.globals.iter()) {
                    let Some(cell) = instance.global_if_there(global) else { continue };
                    let cell = cell.as_ptr();
                    if ty.content.is_func_ref() {
                        let seen = globals.entry(cell as usize).or_insert((global, Vec::new()));
                        seen.1.push(ty.content);
                    }
                }
                if self.instances.contains_key(&instance.context()) {
                    let segments = instance.elements.iter().zip(&instance.module.elements);
                    for (elements, segment) in segments.filter(|(_, s)| s.ty.is_func_ref()) {
                        for element in elements.iter() {
                            let target = self.target(element.load(Ordering::Relaxed));
                            visit(target, &[segment.ty], Place::Element(element));
                        }
                    }
                }
            }
        }
        for (cell, (global, mut types)) in globals {
            types.extend(self.contents.narrow_globals.get(&cell));
            let slot = (cell as *mut GlobalCell).cast::<u64>();
            // SAFETY: as above; the value's lower half, which a reference is, comes first in a cell.
            unsafe { visit(self.target(*slot), &types, Place::Global { slot, global }) };
        }
    }

    /// Calls `visit` with the functions of the module that instances import, and the import.
    ///
    /// # Safety
    /// As for [`Places::for_each`].
    unsafe fn for_each_import(&self, mut visit: impl FnMut(u32, (String, String))) {
        for instance in &self.contents.instances {
            // SAFETY: as in `for_each`.
            let instance = unsafe { instance.as_ref() };
            for import in &instance.module.imports {
                let Item::Func(function) = import.item else { continue };
                let slot = instance.imported_func_ref(function).as_ptr() as u64;
                // SAFETY: the references of imported functions are written when an instance is made.
                if let Some((_, function)) = unsafe { self.target(slot) } {
                    visit(function, (import.module.to_string(), import.name.to_string()));
                }
            }
        }
    }
}

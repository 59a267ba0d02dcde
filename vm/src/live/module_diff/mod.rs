//! Whole-module updates: what has to change in a running module so that it does what a new one says.
//!
//! Toolchains number everything anew at each edit. So the new module's items are matched with those of the
//! running one, its code is written anew in the running one's index spaces, and what then differs is the
//! update. It is always computed against the running module as it is, with all that earlier updates have
//! added.
//!
//! ```text
//!   live_module   the running module as it is now, and which source it was last brought up to
//!   renumber      code in other index spaces
//!   skeleton      code without indices
//!   sides         what is known of the items of either module
//!   matching      which functions and globals are the same
//!   colours       telling bodies apart by what they do and whom they call
//!   initial_data  data segments, and the policies for those that differ
//!   table_slots   element segments
//!   refusal       why an update is not possible
//!   summary       what it changes, for people
//! ```

mod colours;
mod initial_data;
mod live_module;
mod matching;
mod refusal;
mod renumber;
mod sides;
mod skeleton;
mod summary;
mod table_slots;
#[cfg(test)]
mod tests;

pub use initial_data::DataPolicy;
pub(crate) use live_module::{LiveModule, Provenance};
pub use refusal::{ModuleRefusal, ModuleRefused};
pub use summary::{FunctionLabel, ModuleSummary};

use super::{AddedFunction, AddedGlobal, ChangedBody, ChangedElements, Changes, NewSource, Policy};
use crate::module::{ConstExpr, ConstScope, Import, Item, ModuleState};
use crate::types::{ExternType, FuncType};
use initial_data::{Base, Segment};
use matching::{FunctionFacts, GlobalFacts, Matching, Side, match_modules};
use renumber::{IndexMaps, UNMAPPED, renumber_body, renumber_expression};
use skeleton::{Skeleton, Spaces};
use std::collections::HashMap;
use std::sync::Arc;
use wasm_encoder::reencode::Error as ReencodeError;

/// Globals by which LLVM's linker tells where things are in memory.
const LAYOUT_GLOBALS: [&str; 6] =
    ["__stack_pointer", "__heap_base", "__heap_end", "__data_end", "__global_base", "__stack_low"];

/// What brings `live` up to `new`, which has to be valid.
pub(crate) fn diff(
    live: &LiveModule,
    new: &Arc<ModuleState>,
    data: DataPolicy,
) -> Result<Changes, ModuleRefused> {
    let mut diff = Diff::new(live, new);
    diff.types();
    diff.memories();
    diff.tables();
    diff.imports();
    // Without the items that code refers to, there is nothing to compare code with.
    if diff.refusals.is_empty() {
        diff.run(data);
    }
    let Diff { maps, mut changes, older_names, summary, refusals, .. } = diff;
    if !refusals.is_empty() {
        return Err(ModuleRefused { reasons: refusals });
    }
    let provenance = Provenance {
        source: new.clone(),
        maps: Arc::new(maps),
        older_names: Arc::new(older_names),
    };
    changes.source = Some(NewSource { provenance, summary });
    Ok(changes)
}

/// The value of a constant expression of a valid module, if it is the same in all instances.
fn known_value(module: &ModuleState, expression: ConstExpr) -> Option<u64> {
    struct Scope<'a> {
        module: &'a ModuleState,
        known: bool,
    }
    impl ConstScope for Scope<'_> {
        fn global(&mut self, index: u32) -> u64 {
            // Expressions refer only to globals before their own, so this ends.
            let defined = index.checked_sub(self.module.env.imported_globals);
            let init = defined.and_then(|i| self.module.globals.get(i as usize));
            init.and_then(|init| known_value(self.module, *init)).unwrap_or_else(|| {
                self.known = false;
                0
            })
        }

        fn ref_func(&mut self, _: u32) -> u64 {
            self.known = false;
            0
        }
    }
    let mut scope = Scope { module, known: true };
    let value = expression.evaluate(&*module.source, &mut scope);
    scope.known.then_some(value)
}

/// A comparison that is going on.
struct Diff<'a> {
    live: &'a LiveModule,
    /// What the running module was last brought up to.
    old: &'a ModuleState,
    old_maps: &'a IndexMaps,
    new: &'a ModuleState,
    /// From the new module to the running one.
    maps: IndexMaps,
    /// From the running module to itself; equal types have one index.
    live_maps: IndexMaps,
    changes: Changes,
    /// Names of functions that the new module does not have.
    older_names: HashMap<u32, Box<str>>,
    summary: ModuleSummary,
    refusals: Vec<ModuleRefusal>,
}

fn identity(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
}

/// Modules and names of imported items of one kind, by index.
type ImportNames<'a> = HashMap<u32, (&'a str, &'a str)>;

fn imports_by_index(imports: &[Import], index: impl Fn(Item) -> Option<u32>) -> ImportNames<'_> {
    let named = |import: &'_ Import| index(import.item);
    imports
        .iter()
        .filter_map(|import| Some((named(import)?, (&*import.module, &*import.name))))
        .collect()
}

fn function_index(item: Item) -> Option<u32> {
    if let Item::Func(index) = item { Some(index) } else { None }
}

fn global_index(item: Item) -> Option<u32> {
    if let Item::Global(index) = item { Some(index) } else { None }
}

fn table_index(item: Item) -> Option<u32> {
    if let Item::Table(index) = item { Some(index) } else { None }
}

fn memory_index(item: Item) -> Option<u32> {
    if let Item::Memory(index) = item { Some(index) } else { None }
}

/// Pairs memories or tables: imports by name, then what is exported under one name, then the others in
/// their order. [`UNMAPPED`] for what is left over.
fn pair_in_order(
    counts: (usize, usize),
    imports: (ImportNames<'_>, ImportNames<'_>),
    exports: impl Iterator<Item = (u32, u32)>,
) -> Vec<u32> {
    let (new_count, live_count) = counts;
    let (new_imports, live_imports) = imports;
    let mut map = vec![UNMAPPED; new_count];
    let mut free = vec![true; live_count];
    for new in 0..new_count as u32 {
        let Some(name) = new_imports.get(&new) else { continue };
        let same = |live: &u32| free[*live as usize] && live_imports.get(live) == Some(name);
        if let Some(live) = (0..live_count as u32).find(same) {
            map[new as usize] = live;
            free[live as usize] = false;
        }
    }
    let defined =
        |new: u32, live: u32| !new_imports.contains_key(&new) && !live_imports.contains_key(&live);
    for (new, live) in exports {
        if map[new as usize] == UNMAPPED && free[live as usize] && defined(new, live) {
            map[new as usize] = live;
            free[live as usize] = false;
        }
    }
    for new in 0..new_count as u32 {
        let fits = |live: &u32| free[*live as usize] && defined(new, *live);
        if map[new as usize] == UNMAPPED
            && let Some(live) = (0..live_count as u32).find(fits)
        {
            map[new as usize] = live;
            free[live as usize] = false;
        }
    }
    map
}

impl<'a> Diff<'a> {
    fn new(live: &'a LiveModule, new: &'a ModuleState) -> Diff<'a> {
        let mut first: HashMap<&FuncType, u32> = HashMap::new();
        let types = (0..).zip(&live.types).map(|(i, ty)| *first.entry(ty).or_insert(i)).collect();
        let live_maps = IndexMaps {
            types,
            functions: identity(live.functions.len()),
            tables: identity(live.tables.len()),
            memories: identity(live.memories.len()),
            globals: identity(live.globals.len()),
            data: identity(live.loaded.data.len()),
            elements: identity(live.loaded.elements.len()),
        };
        Diff {
            live,
            old: &live.provenance.source,
            old_maps: &live.provenance.maps,
            new,
            maps: IndexMaps::default(),
            live_maps,
            changes: Changes::default(),
            older_names: HashMap::new(),
            summary: ModuleSummary::default(),
            refusals: Vec::new(),
        }
    }

    fn refuse(&mut self, reason: ModuleRefusal) {
        self.refusals.push(reason);
    }

    /// Types are the same if they look the same.
    fn types(&mut self) {
        let mut known: HashMap<FuncType, u32> = HashMap::new();
        for (i, ty) in (0..).zip(&self.live.types) {
            known.entry(ty.clone()).or_insert(i);
        }
        for ty in self.new.env.types.iter() {
            let next = (self.live.types.len() + self.changes.types.len()) as u32;
            let index = *known.entry(ty.clone()).or_insert(next);
            if index == next {
                self.changes.types.push(ty.clone());
            }
            self.maps.types.push(index);
        }
        self.summary.types = self.changes.types.len();
    }

    /// Items of one kind that both modules export under one name, as indices in the new module and the
    /// running one.
    fn common_exports(&self, index: fn(Item) -> Option<u32>) -> Vec<(u32, u32)> {
        let live: HashMap<&str, Item> =
            self.live.exports.iter().map(|(name, item)| (&**name, *item)).collect();
        let common =
            self.new.exports.list().iter().filter_map(|export| {
                Some((index(export.item())?, index(*live.get(&*export.name)?)?))
            });
        common.collect()
    }

    fn imports_of(&self, index: fn(Item) -> Option<u32>) -> (ImportNames<'a>, ImportNames<'a>) {
        let (new, live) = (self.new, self.live);
        (imports_by_index(&new.imports, index), imports_by_index(&live.loaded.imports, index))
    }

    fn memories(&mut self) {
        let (new, live) = (&self.new.env.memories, &self.live.memories);
        self.maps.memories = pair_in_order(
            (new.len(), live.len()),
            self.imports_of(memory_index),
            self.common_exports(memory_index).into_iter(),
        );
        for (i, ty) in new.iter().enumerate() {
            let item = format!("memory {i}");
            let Some(before) = live.get(self.maps.memories[i] as usize) else {
                if i >= self.new.imported_memories {
                    self.refuse(ModuleRefusal::ItemAdded { item });
                }
                continue;
            };
            if ty.minimum > before.minimum {
                let (old, new) = (before.minimum, ty.minimum);
                self.refuse(ModuleRefusal::ItemGrew {
                    item: format!("{item} (in pages)"),
                    old,
                    new,
                });
            } else if ty.maximum != before.maximum {
                let limit = |maximum: Option<u64>| match maximum {
                    Some(pages) => format!("{pages} pages"),
                    None => "no limit".to_owned(),
                };
                self.summary.notes.push(format!(
                    "{item} keeps its limit: {} instead of {}",
                    limit(before.maximum),
                    limit(ty.maximum)
                ));
            }
        }
    }

    fn tables(&mut self) {
        let (new, live) = (&self.new.env.tables, &self.live.tables);
        self.maps.tables = pair_in_order(
            (new.len(), live.len()),
            self.imports_of(table_index),
            self.common_exports(table_index).into_iter(),
        );
        for (i, ty) in new.iter().enumerate() {
            let table = self.maps.tables[i];
            let item = format!("table {i}");
            let Some(before) = live.get(table as usize) else {
                if i >= self.new.imported_tables {
                    self.refuse(ModuleRefusal::ItemAdded { item });
                }
                continue;
            };
            if ty.element != before.element {
                let (old, new) = (before.element.to_string(), ty.element.to_string());
                self.refuse(ModuleRefusal::TableType { table: i as u32, old, new });
            } else if ty.minimum > before.minimum && i < self.new.imported_tables {
                let (old, new) = (u64::from(before.minimum), u64::from(ty.minimum));
                self.refuse(ModuleRefusal::ItemGrew { item, old, new });
            }
        }
    }

    /// Everything that the new module imports has to be there.
    fn imports(&mut self) {
        let mut available: Vec<(&Import, ExternType)> = self
            .live
            .loaded
            .imports
            .iter()
            .map(|import| (import, self.live.loaded.item_type(import.item)))
            .collect();
        for import in &self.new.imports {
            let ty = self.new.item_type(import.item);
            let same_name =
                |other: &Import| (&other.module, &other.name) == (&import.module, &import.name);
            // Limits of tables and memories are compared elsewhere.
            let same_type = |other: &ExternType| match (other, &ty) {
                (ExternType::Memory(_), ExternType::Memory(_))
                | (ExternType::Table(_), ExternType::Table(_)) => true,
                (other, ty) => other == ty,
            };
            let at = available.iter().position(|(o, other)| same_name(o) && same_type(other));
            if let Some(at) = at {
                available.remove(at);
                continue;
            }
            let before = available.iter().find(|(other, _)| same_name(other));
            let before = before.map(|(_, ty)| ty.to_string());
            self.refuse(ModuleRefusal::ImportAdded {
                module: import.module.to_string(),
                name: import.name.to_string(),
                ty: ty.to_string(),
                before,
            });
        }
    }

    /// Compares everything, now that all imports are known to have a counterpart.
    fn run(&mut self, data: DataPolicy) {
        self.data_segments();
        let spaces = Spaces {
            functions: self.live.functions.len(),
            globals: self.live.globals.len(),
            data: self.live.loaded.data.len(),
            elements: self.live.loaded.elements.len(),
        };
        let live_side = self.live_side(spaces);
        let env = &self.new.env;
        let spaces = Spaces {
            functions: env.functions.len(),
            globals: env.globals.len(),
            data: self.new.data.len(),
            elements: self.new.elements.len(),
        };
        let new_side = self.new_side(spaces);
        let matching = match_modules(&new_side, &live_side);
        self.map_functions(&matching, &new_side, &live_side);
        self.map_globals(&matching, &new_side, &live_side);
        let elements =
            table_slots::map_segments(&self.live.loaded, &self.live_maps, self.new, &self.maps);
        self.maps.elements = elements;
        self.compare_data(data);
        self.compare_globals(&matching, &new_side, &live_side, data);
        self.compare_bodies(&matching, &new_side, &live_side);
        self.compare_tables();
        self.compare_exports();
        self.compare_start();
        self.vanished(&matching, &live_side);
    }

    /// Passive segments stand for each other if they have the same bytes. Active ones are empty as soon as
    /// the module has been instantiated, so any may stand for any.
    fn data_segments(&mut self) {
        let loaded = &self.live.loaded;
        let mut passive: Vec<usize> =
            (0..loaded.data.len()).filter(|i| loaded.data[*i].active.is_none()).collect();
        let dropped = loaded.data.iter().position(|segment| segment.active.is_some());
        for (i, segment) in self.new.data.iter().enumerate() {
            let live = if segment.active.is_some() {
                dropped
            } else {
                let bytes = initial_data::segment_bytes(self.new, i);
                let same = |live: &usize| initial_data::segment_bytes(loaded, *live) == bytes;
                passive.iter().position(same).map(|at| passive.remove(at))
            };
            self.maps.data.push(live.map_or(UNMAPPED, |live| live as u32));
        }
    }

    fn label(&self, index: u32, new: u32) -> FunctionLabel {
        let export = || {
            let exported = self.new.exports.list().iter().find(|e| e.item() == Item::Func(new));
            exported.map(|export| &*export.name)
        };
        let name = self.new.function_name(new).or_else(export);
        FunctionLabel { index, name: name.map(Into::into) }
    }

    /// Functions without a counterpart get the next indices.
    fn map_functions(&mut self, matching: &Matching<'_>, new: &Side<'_>, live: &Side<'_>) {
        let mut next = live.functions.len() as u32;
        for (i, pair) in (0..).zip(&matching.functions.live_of) {
            self.maps.functions.push(pair.unwrap_or(next));
            if let Some(pair) = *pair {
                // Of a type that the function of this name has had before.
                if !live.functions[pair as usize].present
                    && let Some(before) = self.same_name(i, matching, new, live)
                {
                    self.changes.retyped.push((before, pair));
                    let label = self.label(pair, i);
                    self.summary.retyped.push(label);
                }
                continue;
            }
            debug_assert!(new.functions[i as usize].import.is_none(), "imports are all there");
            let label = self.label(next, i);
            let before = self.same_name(i, matching, new, live);
            match before {
                Some(before) => {
                    self.changes.retyped.push((before, next));
                    self.summary.retyped.push(label);
                }
                None => self.summary.added.push(label),
            }
            next += 1;
        }
    }

    /// The function of the running program that has the name of a new one, but another type.
    fn same_name(
        &self,
        function: u32,
        matching: &Matching<'_>,
        new: &Side<'_>,
        live: &Side<'_>,
    ) -> Option<u32> {
        let left = |i: &u32| {
            live.functions[*i as usize].present && matching.functions.new_of[*i as usize].is_none()
        };
        let name = new.functions[function as usize].name;
        let by_name = name.and_then(|name| {
            let named = |i: &u32| live.functions[*i as usize].name == Some(name);
            (0..live.functions.len() as u32).find(|i| named(i) && left(i))
        });
        by_name.or_else(|| {
            let mut exports =
                self.new.exports.list().iter().filter(|e| e.item() == Item::Func(function));
            exports.find_map(|export| match live.exports.get(&*export.name) {
                Some(Item::Func(i)) if left(i) => Some(*i),
                _ => None,
            })
        })
    }

    fn map_globals(&mut self, matching: &Matching<'_>, new: &Side<'_>, live: &Side<'_>) {
        let mut next = live.globals.len() as u32;
        for (i, pair) in (0..).zip(&matching.globals.live_of) {
            self.maps.globals.push(pair.unwrap_or(next));
            if pair.is_some() {
                continue;
            }
            next += 1;
            let name = new.globals[i as usize].name;
            let same = |(live, facts): &(usize, &GlobalFacts<'_>)| {
                let named = name.is_some() && facts.name == name;
                named && facts.present && matching.globals.new_of[*live].is_none()
            };
            if let Some((_, before)) = live.globals.iter().enumerate().find(same) {
                let (old, new) = (before.ty, new.globals[i as usize].ty);
                self.refuse(ModuleRefusal::GlobalType {
                    global: self.global_label(i),
                    old: ExternType::Global(old).to_string(),
                    new: ExternType::Global(new).to_string(),
                });
            }
        }
    }

    fn global_label(&self, new: u32) -> String {
        match self.global_name(new) {
            Some(name) => format!("global `{name}`"),
            None => format!("global {new}"),
        }
    }

    fn global_name(&self, new: u32) -> Option<&'a str> {
        let export = || self.new.exports.list().iter().find(|e| e.item() == Item::Global(new));
        self.new.global_name(new).or_else(|| export().map(|export| &*export.name))
    }

    /// Active data segments.
    fn compare_data(&mut self, policy: DataPolicy) {
        let old = segments(self.old, self.old_maps);
        let new = segments(self.new, &self.maps);
        let found = initial_data::compare(&old, &new);
        if found.refusals.is_empty() {
            return;
        }
        match policy {
            DataPolicy::Apply if found.can_apply => {
                self.summary.data_bytes = found.patches.iter().map(|p| p.bytes.len()).sum();
                self.changes.data = found.patches;
            }
            DataPolicy::Keep => {
                self.summary.notes.extend(
                    found.refusals.iter().map(|reason| format!("memory stays as it is: {reason}")),
                );
            }
            _ => self.refusals.extend(found.refusals),
        }
    }

    /// Globals keep their values. Those that are added begin with theirs.
    fn compare_globals(
        &mut self,
        matching: &Matching<'_>,
        new: &Side<'_>,
        live: &Side<'_>,
        policy: DataPolicy,
    ) {
        for (i, pair) in (0..).zip(&matching.globals.live_of) {
            let Some(init) = initial_value(self.new, i) else { continue };
            let Some(pair) = *pair else {
                match renumber_expression(&self.maps, init) {
                    Ok(init) => {
                        let ty = new.globals[i as usize].ty;
                        self.changes.globals.push(AddedGlobal { ty, init });
                    }
                    Err(error) => self.not_available(self.global_label(i), &error),
                }
                continue;
            };
            let (Some(before), Some(after)) =
                (&live.globals[pair as usize].init, &new.globals[i as usize].init)
            else {
                continue;
            };
            if before.is(after, &self.maps) {
                continue;
            }
            let name = self.global_name(i);
            let values = self.first_values(i, pair);
            match (name.filter(|name| LAYOUT_GLOBALS.contains(name)), values) {
                (Some(global), Some((old, new))) if policy == DataPolicy::Refuse => {
                    self.refuse(ModuleRefusal::LayoutMoved { global: global.into(), old, new });
                }
                _ => {
                    let label = self.global_label(i);
                    self.summary
                        .notes
                        .push(format!("{label} keeps its value; only its first value changed"));
                }
            }
        }
        self.summary.globals = self.changes.globals.len();
    }

    /// First values of a global in the source of the running module and in the new one.
    fn first_values(&self, new: u32, live: u32) -> Option<(u64, u64)> {
        let old = self.old_maps.globals.iter().position(|global| *global == live)?;
        let value = |module: &ModuleState, global: u32| {
            let defined = global.checked_sub(module.env.imported_globals)?;
            known_value(module, *module.globals.get(defined as usize)?)
        };
        Some((value(self.old, old as u32)?, value(self.new, new)?))
    }

    /// Bodies in the index spaces of the running module: those that differ, and those that are added.
    fn compare_bodies(&mut self, matching: &Matching<'_>, new: &Side<'_>, live: &Side<'_>) {
        for (i, pair) in (0..).zip(&matching.functions.live_of) {
            if i < self.new.env.imported_functions {
                continue;
            }
            let facts = &new.functions[i as usize];
            if let Some(pair) = pair
                && let (Some(before), Some(after)) =
                    (&live.functions[*pair as usize].skeleton, &facts.skeleton)
                && before.is(after, &self.maps)
            {
                self.summary.unchanged += 1;
                continue;
            }
            let label = self.label(self.maps.functions[i as usize], i);
            let body = self.new.code.current_body(i);
            let body = match renumber_body(&self.maps, body.bytes()) {
                Ok(body) => body,
                Err(error) => {
                    self.not_available(label.to_string(), &error);
                    continue;
                }
            };
            match *pair {
                Some(function) => {
                    self.summary.changed.push(label);
                    let policy = Policy::default();
                    self.changes.bodies.push(ChangedBody { function, body, policy, map: None });
                }
                None => self.changes.functions.push(AddedFunction {
                    ty: facts.ty,
                    body,
                    name: label.name,
                }),
            }
        }
    }

    fn not_available(&mut self, function: String, error: &ReencodeError<renumber::Unmapped>) {
        let item = match error {
            ReencodeError::UserError(unmapped) => unmapped.to_string(),
            other => format!("something malformed ({other})"),
        };
        self.refuse(ModuleRefusal::NotAvailable { function, item });
    }

    fn compare_tables(&mut self) {
        match table_slots::compare((self.old, self.old_maps), (self.new, &self.maps)) {
            Ok(elements) => self.changes.elements = elements,
            Err(reason) => return self.refuse(reason),
        }
        self.summary.table_entries =
            self.changes.elements.iter().map(|run| run.functions.len()).sum();
        // Tables that begin larger grow, even if nothing is put there.
        for (i, ty) in self.new.env.tables.iter().enumerate() {
            let table = self.maps.tables[i];
            let was = self.old_maps.tables.iter().position(|t| *t == table);
            let minimum = was.map_or(0, |was| self.old.env.tables[was].minimum);
            let Some(last) = ty.minimum.checked_sub(1).filter(|_| ty.minimum > minimum) else {
                continue;
            };
            let set = self.changes.elements.iter().any(|run| {
                run.table == table
                    && u64::from(run.offset) + run.functions.len() as u64 > u64::from(last)
            });
            if !set {
                self.changes.elements.push(ChangedElements {
                    table,
                    offset: last,
                    functions: vec![None],
                });
            }
        }
    }

    fn compare_exports(&mut self) {
        let live: HashMap<&str, Item> =
            self.live.exports.iter().map(|(name, item)| (&**name, *item)).collect();
        for export in self.new.exports.list() {
            let item = match export.item() {
                Item::Func(i) => Item::Func(self.maps.functions[i as usize]),
                Item::Table(i) => Item::Table(self.maps.tables[i as usize]),
                Item::Memory(i) => Item::Memory(self.maps.memories[i as usize]),
                Item::Global(i) => Item::Global(self.maps.globals[i as usize]),
            };
            if live.get(&*export.name) != Some(&item) {
                self.changes.exports.push((export.name.clone(), item));
            }
        }
        self.summary.exports = self.changes.exports.len();
        for export in self.old.exports.list() {
            if self.new.export(&export.name).is_none() {
                self.summary.notes.push(format!("export `{}` is kept", export.name));
            }
        }
    }

    fn compare_start(&mut self) {
        let Some(start) = self.new.start.map(|i| self.maps.functions[i as usize]) else { return };
        let before = self.old.start.map(|i| self.old_maps.functions[i as usize]);
        let changed = self.changes.bodies.iter().any(|body| body.function == start);
        if before != Some(start) || changed {
            self.summary.notes.push("the start function is not run again".to_owned());
        }
    }

    fn vanished(&mut self, matching: &Matching<'_>, live: &Side<'_>) {
        for (i, facts) in (0..).zip(&live.functions) {
            if let Some(name) = facts.name
                && matching.functions.new_of[i as usize].is_none()
            {
                self.older_names.insert(i, name.into());
            }
        }
        for &i in &live.function_order {
            let retyped = self.changes.retyped.iter().any(|(old, _)| *old == i);
            if matching.functions.new_of[i as usize].is_none() && !retyped {
                let name = live.functions[i as usize].name.map(Into::into);
                self.summary.vanished.push(FunctionLabel { index: i, name });
            }
        }
    }
}

/// First value of a global that is not imported.
fn initial_value(module: &ModuleState, global: u32) -> Option<&[u8]> {
    let defined = global.checked_sub(module.env.imported_globals)?;
    Some(module.globals.get(defined as usize)?.bytes(&*module.source))
}

/// The active data segments of a module that `maps` leads from.
fn segments<'a>(module: &'a ModuleState, maps: &IndexMaps) -> Vec<Segment<'a>> {
    let active = (0..).zip(&module.data).filter_map(|(i, segment)| Some((i, segment.active?)));
    active
        .map(|(index, (memory, offset))| {
            let (base, at) = match known_value(module, offset) {
                // Memories have 32-bit addresses; the value's upper half is zero.
                Some(offset) => (Base::Absolute, offset),
                None => {
                    let expression = offset.bytes(&*module.source);
                    let expression = renumber_expression(maps, expression);
                    (Base::Expression(expression.unwrap_or_default()), 0)
                }
            };
            Segment {
                index,
                name: module.data_name(index),
                memory: maps.memories[memory as usize],
                base,
                offset: at,
                bytes: initial_data::segment_bytes(module, index as usize),
            }
        })
        .collect()
}

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
//!   functions     where functions go, and which bodies differ
//!   globals       where globals go, and what they begin with
//!   tables_and_memories  which are the same, and how large they are
//!   tags                 they have to be the same
//!   known_values  of constant expressions
//!   filled_at_start      passive segments that are in memory from the start
//!   initial_data  data segments, and the policies for those that differ
//!   addresses     whether all code agrees on where static data lies
//!   source_layout the same, as debug information says it by the names of the source
//!   structs       whether it agrees on how that is laid out which pointers lead to
//!   table_slots   element segments
//!   refusal       why an update is not possible
//!   summary       what it changes, for people
//! ```

mod addresses;
mod colours;
mod filled_at_start;
mod functions;
mod globals;
pub(crate) mod initial_data;
mod known_values;
pub(crate) mod live_module;
mod matching;
pub(crate) mod refusal;
pub(crate) mod renumber;
mod sides;
mod skeleton;
mod source_layout;
mod structs;
pub(crate) mod summary;
mod table_slots;
mod tables_and_memories;
mod tags;
#[cfg(test)]
mod tests;

use self::filled_at_start::filled_at_start;
use super::changes::{Changes, NewSource};
use super::memory_frame;
use crate::module::load::ElementMode;
use crate::module::provenance::{IndexMaps, OlderItems, Provenance, UNMAPPED};
use crate::module::{Import, Item, ModuleState};
use crate::types::ExternType;
use crate::types::printable::PrintableName;
use initial_data::{Base, DataPolicy, Segment};
use known_values::KnownValues;
use live_module::LiveModule;
use matching::{Matching, match_modules};
use midair_tiers::types::TypeId;
use refusal::{ModuleRefusal, ModuleRefused};
use renumber::renumber_expression;
use skeleton::Spaces;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use summary::ModuleSummary;
use tables_and_memories::{ImportNames, imports_by_index};

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
    diff.tags();
    diff.imports();
    diff.segments_fit();
    // Without the items that code refers to, there is nothing to compare code with.
    if diff.refusals.is_empty() {
        diff.run(data, None);
    }
    diff.finish(new.clone())
}

/// What brings `live` back to where it was before: each item to just the one that it was then.
pub(crate) fn diff_back(
    live: &LiveModule,
    before: &Provenance,
    data: DataPolicy,
) -> Result<Changes, ModuleRefused> {
    let mut diff = Diff::new(live, &before.source);
    let maps = &*before.maps;
    diff.maps = IndexMaps { functions: Vec::new(), globals: Vec::new(), ..maps.clone() };
    diff.run(data, Some(maps));
    diff.older.prefer(&before.older);
    diff.finish(before.source.clone()).map(|mut changes| {
        if let Some(source) = &mut changes.source {
            source.provenance.maps = before.maps.clone();
        }
        changes
    })
}

/// A comparison that is going on.
struct Diff<'a> {
    live: &'a LiveModule,
    /// What the running module was last brought up to.
    old: &'a ModuleState,
    old_maps: &'a IndexMaps,
    old_values: KnownValues<'a>,
    new: &'a Arc<ModuleState>,
    new_values: KnownValues<'a>,
    /// The new module's global that points to the stack in its memory, if it has one.
    stack_pointer: Option<u32>,
    /// Names of exports of the new module, by what they are of: the first one of each.
    exported_functions: HashMap<u32, &'a str>,
    exported_globals: HashMap<u32, &'a str>,
    /// From the new module to the running one.
    maps: IndexMaps,
    /// From the running module to itself; equal types have one index.
    live_maps: IndexMaps,
    changes: Changes,
    /// Globals that are added because a constant has another value.
    constants_added: usize,
    older: OlderItems,
    summary: ModuleSummary,
    refusals: Vec<ModuleRefusal>,
}

fn identity(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
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

/// For each item of one kind that a module exports, the first name.
fn first_names(module: &ModuleState, index: fn(Item) -> Option<u32>) -> HashMap<u32, &str> {
    let exports = module.exports.list().iter().rev();
    exports.filter_map(|export| Some((index(export.item())?, &*export.name))).collect()
}

impl<'a> Diff<'a> {
    fn new(live: &'a LiveModule, new: &'a Arc<ModuleState>) -> Diff<'a> {
        let mut first: HashMap<TypeId, u32> = HashMap::new();
        let types = (0..).zip(&live.type_ids);
        let types = types.map(|(i, id)| *first.entry(*id).or_insert(i)).collect();
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
            old_values: KnownValues::new(&live.provenance.source),
            new,
            new_values: KnownValues::new(new),
            stack_pointer: memory_frame::stack_pointer(new),
            exported_functions: first_names(new, function_index),
            exported_globals: first_names(new, global_index),
            maps: IndexMaps::default(),
            live_maps,
            changes: Changes::default(),
            constants_added: 0,
            older: OlderItems::default(),
            summary: ModuleSummary::default(),
            refusals: Vec::new(),
        }
    }

    fn finish(self, source: Arc<ModuleState>) -> Result<Changes, ModuleRefused> {
        let Diff { maps, mut changes, older, summary, refusals, .. } = self;
        if !refusals.is_empty() {
            return Err(ModuleRefused { reasons: refusals });
        }
        let provenance = Provenance { source, maps: Arc::new(maps), older: Arc::new(older) };
        changes.source = Some(NewSource { provenance, summary });
        Ok(changes)
    }

    fn refuse(&mut self, reason: ModuleRefusal) {
        self.refusals.push(reason);
    }

    /// Types are the same if they are in the whole engine. So whole groups of them are, or none of a group is.
    fn types(&mut self) {
        let mut known: HashMap<TypeId, u32> = HashMap::new();
        for (i, id) in (0..).zip(&self.live.type_ids) {
            known.entry(*id).or_insert(i);
        }
        for signature in self.new.held_signatures().iter() {
            let next = (self.live.types.len() + self.changes.types.len()) as u32;
            let index = *known.entry(signature.id()).or_insert(next);
            if index == next {
                self.changes.types.push(signature.clone());
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

    /// Everything that the new module imports has to be there.
    fn imports(&mut self) {
        let live: &'a ModuleState = &self.live.loaded;
        let mut available: HashMap<(&str, &str), VecDeque<ExternType>> = HashMap::new();
        for Import { module, name, item } in &live.imports {
            available.entry((module, name)).or_default().push_back(live.item_type(*item));
        }
        for import in &self.new.imports {
            let ty = self.new.item_type(import.item);
            // Limits of tables and memories are compared elsewhere.
            let same_type = |other: &ExternType| match (other, &ty) {
                (ExternType::Memory(_), ExternType::Memory(_))
                | (ExternType::Table(_), ExternType::Table(_)) => true,
                (other, ty) => other == ty,
            };
            let same_name = available.get_mut(&(&*import.module, &*import.name));
            let before = match same_name {
                Some(types) => {
                    if let Some(at) = types.iter().position(same_type) {
                        types.remove(at);
                        continue;
                    }
                    types.front().map(ToString::to_string)
                }
                None => None,
            };
            self.refuse(ModuleRefusal::ImportAdded {
                module: import.module.to_string(),
                name: import.name.to_string(),
                ty: ty.to_string(),
                before,
            });
        }
    }

    /// A module that cannot be instantiated cannot be the program either. How large what is imported is, only an
    /// instance knows.
    fn segments_fit(&mut self) {
        let new = self.new;
        let mut outside = Vec::new();
        for (i, segment) in new.elements.iter().enumerate() {
            if let ElementMode::Active { table, offset } = segment.mode
                && table as usize >= new.imported_tables
                && let Some(offset) = self.new_values.of(offset)
            {
                let size = new.env.tables[table as usize].minimum;
                let end = offset.saturating_add(u64::from(segment.count));
                outside.push((format!("element segment {i}"), end, format!("table {table}"), size));
            }
        }
        for (i, segment) in new.data.iter().enumerate() {
            if let Some((memory, offset)) = segment.active
                && memory as usize >= new.imported_memories
                && let Some(offset) = self.new_values.of(offset)
            {
                let ty = &new.env.memories[memory as usize];
                let size = ty.minimum.saturating_mul(ty.page_size());
                let end = offset.saturating_add(segment.bytes.len() as u64);
                outside.push((format!("data segment {i}"), end, format!("memory {memory}"), size));
            }
        }
        outside.retain(|(_, end, _, size)| end > size);
        for (segment, end, item, size) in outside {
            self.refuse(ModuleRefusal::SegmentOutside { segment, end, item, size });
        }
    }

    /// Compares everything, now that all imports are known to have a counterpart. `before`: where the new
    /// module's items are, if it ran before.
    fn run(&mut self, data: DataPolicy, before: Option<&IndexMaps>) {
        if before.is_none() {
            self.data_segments();
        }
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
        let mut matching = match before {
            Some(maps) => Matching::known(&new_side, &live_side, maps),
            None => match_modules(&new_side, &live_side),
        };
        self.map_functions(&matching, &new_side, &live_side);
        self.map_globals(&mut matching, &new_side, &live_side);
        if before.is_none() {
            let elements =
                table_slots::map_segments(&self.live.loaded, &self.live_maps, self.new, &self.maps);
            self.maps.elements = elements;
        }
        self.compare_data(data);
        self.compare_globals(&matching, &new_side, &live_side, data);
        self.compare_bodies(&matching, &new_side, &live_side);
        if before.is_none() {
            self.compare_source_layout(data);
            self.compare_addresses(&matching, &live_side, data);
        }
        self.compare_tables(before.is_none() && data == DataPolicy::Refuse);
        self.compare_exports();
        self.compare_start();
        self.vanished(&matching, &live_side);
        self.older = OlderItems::after(self.live, &matching, &live_side);
    }

    /// Passive segments stand for each other if they have the same bytes. Active ones are empty as soon as
    /// the module has been instantiated, so any may stand for any; so may those that a start function has copied, for it
    /// does not run again.
    fn data_segments(&mut self) {
        let loaded = &self.live.loaded;
        let mut passive: HashMap<&[u8], VecDeque<u32>> = HashMap::new();
        for i in (0..loaded.data.len()).filter(|i| loaded.data[*i].active.is_none()) {
            let bytes = initial_data::segment_bytes(loaded, i);
            passive.entry(bytes).or_default().push_back(i as u32);
        }
        let dropped = loaded.data.iter().position(|segment| segment.active.is_some());
        let dropped = dropped.map(|segment| segment as u32);
        let filled = |module| filled_at_start(module).into_iter().map(|filled| filled.segment);
        let mut copied: VecDeque<u32> = filled(loaded).collect();
        let new_copied: Vec<u32> = filled(self.new).collect();
        for (i, segment) in self.new.data.iter().enumerate() {
            let live = if segment.active.is_some() {
                dropped
            } else {
                let bytes = initial_data::segment_bytes(self.new, i);
                let same = passive.get_mut(bytes).and_then(VecDeque::pop_front);
                copied.retain(|segment| Some(*segment) != same);
                let is_copied = new_copied.contains(&(i as u32));
                same.or_else(|| if is_copied { copied.pop_front() } else { None })
            };
            self.maps.data.push(live.unwrap_or(UNMAPPED));
        }
    }

    /// Active data segments.
    fn compare_data(&mut self, policy: DataPolicy) {
        let old = segments(self.old, self.old_maps, &self.old_values);
        let new = segments(self.new, &self.maps, &self.new_values);
        let addresses = self.static_addresses(&old, &new);
        let found = initial_data::compare(&old, &new, &addresses);
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

    /// `refuse`: functions that change places.
    fn compare_tables(&mut self, refuse: bool) {
        let old = (self.old, self.old_maps, &self.old_values);
        match table_slots::compare(old, (self.new, &self.maps, &self.new_values)) {
            Ok((_, Some(moved))) if refuse => {
                let table_slots::MovedEntry { table, entry, old, new } = moved;
                let name = |function: u32| {
                    let new = (0..).zip(&self.maps.functions).find(|(_, live)| **live == function);
                    match new {
                        Some((new, _)) => self.label(function, new).to_string(),
                        None => format!("function {function}"),
                    }
                };
                let (old, new) = (name(old), name(new));
                return self.refuse(ModuleRefusal::FunctionPointersMoved {
                    table,
                    entry,
                    old,
                    new,
                });
            }
            Ok((elements, _)) => self.changes.elements = elements,
            Err(reason) => return self.refuse(reason),
        }
        self.summary.table_entries =
            self.changes.elements.iter().map(|run| run.functions.len()).sum();
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
                // They are the same in both.
                Item::Tag(i) => Item::Tag(i),
            };
            if live.get(&*export.name) != Some(&item) {
                self.changes.exports.push((export.name.clone(), item));
            }
        }
        self.summary.exports = self.changes.exports.len();
        for export in self.old.exports.list() {
            if self.new.export(&export.name).is_none() {
                self.summary
                    .notes
                    .push(format!("export `{}` is kept", PrintableName(&export.name)));
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
}

/// First value of a global that is not imported.
fn initial_value(module: &ModuleState, global: u32) -> Option<&[u8]> {
    let defined = global.checked_sub(module.env.imported_globals)?;
    Some(module.globals.get(defined as usize)?.bytes(&*module.source))
}

/// The data segments of a module that are in memory from the start, and that `maps` leads from.
fn segments<'a>(
    module: &'a ModuleState,
    maps: &IndexMaps,
    values: &KnownValues<'_>,
) -> Vec<Segment<'a>> {
    let filled = filled_at_start(module).into_iter().map(|filled| Segment {
        index: filled.segment,
        name: module.data_name(filled.segment),
        memory: maps.memories[filled.memory as usize],
        base: Base::Absolute,
        offset: filled.address,
        bytes: &initial_data::segment_bytes(module, filled.segment as usize)[..filled.len],
    });
    let active = (0..).zip(&module.data).filter_map(|(i, segment)| Some((i, segment.active?)));
    active
        .map(|(index, (memory, offset))| {
            let (base, at) = match values.of(offset) {
                // The upper half of an address of 32 bits is zero.
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
        .chain(filled)
        .collect()
}

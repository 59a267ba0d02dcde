//! The running module as it is now, and where the source that it was last brought up to has gone in it.

use super::initial_value;
use super::matching::{Matching, Side};
use super::renumber::renumber_expression;
use crate::module::provenance::{OlderGlobal, OlderItems, Provenance};
use crate::module::{Item, ModuleState};
use midair_tiers::FunctionBody;
use midair_tiers::module_env::{GlobalType, MemoryType, TableType};
use midair_tiers::types::{FuncType, TypeId};
use std::sync::Arc;

impl OlderItems {
    /// What is not of the new source, when the running module has been brought up to that.
    pub(super) fn after(live: &LiveModule, matching: &Matching<'_>, side: &Side<'_>) -> OlderItems {
        let Provenance { source, maps, older } = &live.provenance;
        let mut older = OlderItems::clone(older);
        for (function, facts) in (0..).zip(&side.functions) {
            if let Some(name) = facts.name {
                older.functions.insert(function, name.into());
            }
        }
        for (i, &global) in (0..).zip(&maps.globals) {
            let init = initial_value(source, i).map(|init| renumber_expression(maps, init));
            if let Some(Ok(init)) = init {
                let name = source.global_name(i).map(Into::into);
                older.globals.insert(global, OlderGlobal { name, init: init.into() });
            }
        }
        older.functions.retain(|i, _| matching.functions.new_of[*i as usize].is_none());
        older.globals.retain(|i, _| matching.globals.new_of[*i as usize].is_none());
        older
    }

    /// Takes what `before` knows instead, where it knows something.
    pub(super) fn prefer(&mut self, before: &OlderItems) {
        let OlderItems { functions, globals } = before.clone();
        self.functions.extend(functions);
        self.globals.extend(globals);
    }
}

/// The index spaces of the running module.
pub(crate) struct LiveModule {
    pub(crate) types: Vec<FuncType>,
    pub(crate) type_ids: Vec<TypeId>,
    /// Type index of each function.
    pub(crate) functions: Vec<u32>,
    pub(crate) imported_functions: u32,
    /// Current bodies of the defined functions.
    pub(crate) bodies: Vec<FunctionBody>,
    pub(crate) function_names: Vec<Option<Box<str>>>,
    pub(crate) globals: Vec<GlobalType>,
    pub(crate) imported_globals: u32,
    /// With the sizes that updates have made them have at least.
    pub(crate) tables: Vec<TableType>,
    /// As the tables.
    pub(crate) memories: Vec<MemoryType>,
    pub(crate) exports: Vec<(Box<str>, Item)>,
    /// The module as it was loaded: its imports and segments are those of the running one.
    pub(crate) loaded: Arc<ModuleState>,
    pub(crate) provenance: Provenance,
}

impl LiveModule {
    /// The running module, which was last brought up to `provenance`. Nobody else may be replacing functions of it.
    pub(crate) fn new(module: &Arc<ModuleState>, provenance: Provenance) -> LiveModule {
        let env = &module.env;
        let functions = env.functions.to_vec();
        let imported = env.imported_functions;
        let count = functions.len() as u32;
        let (mut tables, mut memories) = (env.tables.clone(), env.memories.clone());
        for (table, size) in module.added.tables().sizes() {
            let minimum = &mut tables[table as usize].minimum;
            *minimum = u64::from(size).max(*minimum);
        }
        for (&memory, added) in &*module.added.memories() {
            let minimum = &mut memories[memory as usize].minimum;
            *minimum = added.pages.max(*minimum);
        }
        LiveModule {
            types: env.types.to_vec(),
            type_ids: env.type_ids.to_vec(),
            bodies: (imported..count).map(|i| module.code.current_body(i)).collect(),
            function_names: (0..count).map(|i| module.function_name(i).map(Into::into)).collect(),
            functions,
            imported_functions: imported,
            globals: env.globals.to_vec(),
            imported_globals: env.imported_globals,
            tables,
            memories,
            exports: module.exports.list().iter().map(|e| (e.name.clone(), e.item())).collect(),
            loaded: module.clone(),
            provenance,
        }
    }

    /// The current body of a function; `None` for an imported one.
    pub(crate) fn body(&self, function: u32) -> Option<&[u8]> {
        let defined = function.checked_sub(self.imported_functions)?;
        Some(self.bodies.get(defined as usize)?.bytes())
    }
}

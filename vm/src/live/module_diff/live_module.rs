//! The running module as it is now, and where the source that it was last brought up to has gone in it.

use super::renumber::IndexMaps;
use crate::module::{Item, ModuleState};
use crate::types::{FuncType, GlobalType, MemoryType, TableType};
use midair_tiers::FunctionBody;
use std::collections::HashMap;
use std::sync::Arc;

/// The module that the running one was last brought up to, and where its items are in the running one's
/// index spaces.
///
/// The running module keeps what later sources no longer have, because frames and references of the old
/// program may still need it. Only this says what belongs to the present program.
#[derive(Clone)]
pub(crate) struct Provenance {
    pub(crate) source: Arc<ModuleState>,
    pub(crate) maps: Arc<IndexMaps>,
    /// Names that functions had in the last source that had them, for those that the present one has not.
    pub(crate) older_names: Arc<HashMap<u32, Box<str>>>,
}

impl std::fmt::Debug for Provenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provenance").field("source", &self.source.name()).finish_non_exhaustive()
    }
}

impl Provenance {
    /// Of a module that no other one has been applied to.
    pub(crate) fn of_loaded(module: &Arc<ModuleState>) -> Provenance {
        fn identity(count: usize) -> Vec<u32> {
            (0..count as u32).collect()
        }
        let env = &module.env;
        let functions = env.imported_functions as usize + module.code.loaded_functions();
        let maps = IndexMaps {
            types: identity(env.types.len()),
            functions: identity(functions),
            tables: identity(env.tables.len()),
            memories: identity(env.memories.len()),
            globals: identity(env.imported_globals as usize + module.globals.len()),
            data: identity(module.data.len()),
            elements: identity(module.elements.len()),
        };
        Provenance { source: module.clone(), maps: Arc::new(maps), older_names: Arc::default() }
    }
}

/// The index spaces of the running module.
pub(crate) struct LiveModule {
    pub(crate) types: Vec<FuncType>,
    /// Type index of each function.
    pub(crate) functions: Vec<u32>,
    pub(crate) imported_functions: u32,
    /// Current bodies of the defined functions.
    pub(crate) bodies: Vec<FunctionBody>,
    pub(crate) function_names: Vec<Option<Box<str>>>,
    pub(crate) globals: Vec<GlobalType>,
    pub(crate) imported_globals: u32,
    pub(crate) tables: Vec<TableType>,
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
        LiveModule {
            types: env.types.to_vec(),
            bodies: (imported..count).map(|i| module.code.current_body(i)).collect(),
            function_names: (0..count).map(|i| module.function_name(i).map(Into::into)).collect(),
            functions,
            imported_functions: imported,
            globals: env.globals.to_vec(),
            imported_globals: env.imported_globals,
            tables: env.tables.clone(),
            memories: env.memories.clone(),
            exports: module.exports.list().iter().map(|e| (e.name.clone(), e.item())).collect(),
            loaded: module.clone(),
            provenance,
        }
    }

    /// The current body of a function; `None` for an imported one.
    pub(crate) fn body(&self, function: u32) -> Option<&[u8]> {
        let defined = function.checked_sub(self.imported_functions)?;
        Some(self.bodies[defined as usize].bytes())
    }
}

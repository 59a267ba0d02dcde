//! What source a running module was last brought up to.

use super::ModuleState;
use std::collections::HashMap;
use std::sync::Arc;

/// Marks an index that has no counterpart.
pub(crate) const UNMAPPED: u32 = u32::MAX;

/// From the index spaces of one module to those of another, by index; [`UNMAPPED`] for what has no
/// counterpart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexMaps {
    pub(crate) types: Vec<u32>,
    pub(crate) functions: Vec<u32>,
    pub(crate) tables: Vec<u32>,
    pub(crate) memories: Vec<u32>,
    pub(crate) globals: Vec<u32>,
    pub(crate) data: Vec<u32>,
    pub(crate) elements: Vec<u32>,
}

/// The module that the running one was last brought up to, and where its items are in the running one's
/// index spaces.
///
/// The running module keeps what later sources no longer have, because frames and references of the old
/// program may still need it. Only this says what belongs to the present program.
#[derive(Clone)]
pub(crate) struct Provenance {
    pub(crate) source: Arc<ModuleState>,
    pub(crate) maps: Arc<IndexMaps>,
    /// Functions and globals that the present source has not, by which they are found when they come back.
    pub(crate) older: Arc<OlderItems>,
}

/// What is known of items by the last source that had them, by index in the running module.
#[derive(Clone, Debug, Default)]
pub(crate) struct OlderItems {
    /// Names of functions.
    pub(crate) functions: HashMap<u32, Box<str>>,
    pub(crate) globals: HashMap<u32, OlderGlobal>,
}

/// A global that the present source has not.
#[derive(Clone, Debug)]
pub(crate) struct OlderGlobal {
    pub(crate) name: Option<Box<str>>,
    /// Its first value, in the running module's index spaces.
    pub(crate) init: Box<[u8]>,
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
        Provenance { source: module.clone(), maps: Arc::new(maps), older: Arc::default() }
    }
}

//! Edits of modules, and modules that are only numbered anew.
//!
//! A [`Running`] module takes in changes as a real one does, but runs nothing.

mod addresses;
mod edits;
mod large;
mod permutations;

use super::diff;
use super::initial_data::DataPolicy;
use super::live_module::LiveModule;
use super::refusal::ModuleRefused;
use crate::config::Config;
use crate::engine::Engine;
use crate::live::changes::{AtLeast, Changes};
use crate::module::provenance::Provenance;
use crate::module::{Module, ModuleState};
use midair_tiers::FunctionBody;
use std::sync::Arc;

/// The index spaces of a module that edits are applied to.
pub(super) struct Running {
    engine: Engine,
    loaded: Arc<ModuleState>,
    live: LiveModule,
}

impl Running {
    fn new(source: impl AsRef<[u8]>) -> Running {
        let engine = Engine::new(Config::new().background_compilation(false)).unwrap();
        let loaded = Module::new(&engine, source).unwrap().state;
        let live = LiveModule::new(&loaded, Provenance::of_loaded(&loaded));
        Running { engine, loaded, live }
    }

    /// What brings it up to `source`.
    fn diff(&self, source: impl AsRef<[u8]>) -> Result<Changes, ModuleRefused> {
        self.diff_with(source, DataPolicy::Refuse)
    }

    fn diff_with(
        &self,
        source: impl AsRef<[u8]>,
        data: DataPolicy,
    ) -> Result<Changes, ModuleRefused> {
        diff(&self.live, &self.load(source), data)
    }

    fn load(&self, source: impl AsRef<[u8]>) -> Arc<ModuleState> {
        Module::new(&self.engine, source).unwrap().state
    }

    /// What brings it up to a module that has been loaded.
    fn diff_to(&self, new: &Arc<ModuleState>) -> Result<Changes, ModuleRefused> {
        diff(&self.live, new, DataPolicy::Refuse)
    }

    /// Brings it up to `source`; the summary's one line.
    fn edit(&mut self, source: impl AsRef<[u8]>) -> String {
        let diff = self.diff(source).unwrap();
        self.apply(diff)
    }

    fn apply(&mut self, changes: Changes) -> String {
        let live = &mut self.live;
        for signature in changes.types {
            live.types.push(signature.ty.clone());
            live.type_ids.push(signature.id());
        }
        for added in changes.functions {
            let index = live.functions.len() as u32;
            live.functions.push(added.ty);
            live.function_names.push(added.name.map(Into::into));
            live.bodies.push(body(added.body, index));
        }
        live.globals.extend(changes.globals.into_iter().map(|added| added.ty));
        for AtLeast { index, size } in changes.table_sizes {
            live.tables[index as usize].minimum = size.into();
        }
        for AtLeast { index, size } in changes.memory_sizes {
            live.memories[index as usize].minimum = size;
        }
        for changed in changes.bodies {
            let defined = changed.function - live.imported_functions;
            live.bodies[defined as usize] = body(changed.body, changed.function);
        }
        for (name, item) in changes.exports {
            live.exports.retain(|(other, _)| *other != name);
            live.exports.push((name, item));
        }
        let source = changes.source.unwrap();
        live.provenance = source.provenance;
        source.summary.to_string()
    }

    /// Why it cannot be brought up to `source`.
    fn refusals(&self, source: &str) -> Vec<String> {
        let refused = self.diff(source).map(drop).unwrap_err();
        refused.reasons.iter().map(ToString::to_string).collect()
    }

    /// What it would have to do is nothing at all.
    fn assert_unchanged(&self, source: impl AsRef<[u8]>) {
        let changes = self.diff(source).unwrap();
        let summary = changes.summary();
        assert_eq!(summary.to_string(), "nothing changed");
        assert!(changes.only_bodies() && changes.bodies.is_empty(), "{changes:?}");
        assert_eq!(summary.unchanged, self.loaded.code.loaded_functions());
    }
}

fn body(bytes: Vec<u8>, function: u32) -> FunctionBody {
    let len = bytes.len();
    FunctionBody::new(Arc::new(bytes), 0, len, function, 1)
}

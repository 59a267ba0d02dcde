//! Edits of modules, and modules that are only numbered anew.
//!
//! A [`Running`] module takes in changes as a real one does, but runs nothing.

mod edits;
mod permutations;

use super::{DataPolicy, LiveModule, ModuleDiff, ModuleRefused, Provenance, diff};
use crate::module::{Module, ModuleState};
use crate::{Config, Engine};
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
    fn diff(&self, source: impl AsRef<[u8]>) -> Result<ModuleDiff, ModuleRefused> {
        self.diff_with(source, DataPolicy::Refuse)
    }

    fn diff_with(
        &self,
        source: impl AsRef<[u8]>,
        data: DataPolicy,
    ) -> Result<ModuleDiff, ModuleRefused> {
        let new = Module::new(&self.engine, source).unwrap().state;
        diff(&self.live, &new, data)
    }

    /// Brings it up to `source`; the summary's one line.
    fn edit(&mut self, source: impl AsRef<[u8]>) -> String {
        let diff = self.diff(source).unwrap();
        self.apply(diff)
    }

    fn apply(&mut self, diff: ModuleDiff) -> String {
        let live = &mut self.live;
        let changes = diff.changes;
        live.types.extend(changes.types);
        for added in changes.functions {
            let index = live.functions.len() as u32;
            live.functions.push(added.ty);
            live.function_names.push(added.name.map(Into::into));
            live.bodies.push(body(added.body, index));
        }
        live.globals.extend(changes.globals.into_iter().map(|added| added.ty));
        for changed in changes.bodies {
            let defined = changed.function - live.imported_functions;
            live.bodies[defined as usize] = body(changed.body, changed.function);
        }
        for (name, item) in changes.exports {
            live.exports.retain(|(other, _)| *other != name);
            live.exports.push((name, item));
        }
        live.provenance = diff.provenance;
        diff.summary.to_string()
    }

    /// Why it cannot be brought up to `source`.
    fn refusals(&self, source: &str) -> Vec<String> {
        let refused = self.diff(source).map(|diff| diff.summary).unwrap_err();
        refused.reasons.iter().map(ToString::to_string).collect()
    }

    /// What it would have to do is nothing at all.
    fn assert_unchanged(&self, source: impl AsRef<[u8]>) {
        let diff = self.diff(source).unwrap();
        assert_eq!(diff.summary.to_string(), "nothing changed");
        assert!(diff.changes.only_bodies() && diff.changes.bodies.is_empty(), "{:?}", diff.changes);
        assert_eq!(diff.summary.unchanged, self.loaded.code.loaded_functions());
    }
}

fn body(bytes: Vec<u8>, function: u32) -> FunctionBody {
    let len = bytes.len();
    FunctionBody::new(Arc::new(bytes), 0, len, function, 1)
}

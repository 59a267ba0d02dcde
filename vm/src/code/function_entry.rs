//! What a module's code knows of one function: its versions.

use super::version::FunctionVersion;
use midair_tiers::compile::EntryPoint;
use std::sync::Arc;

/// A function that has been called, compiled or replaced.
pub(super) struct FunctionEntry {
    pub(super) current: Arc<FunctionVersion>,
    /// Replaced versions that may still have frames.
    pub(super) older: Vec<Arc<FunctionVersion>>,
}

impl FunctionEntry {
    /// Whether any version has machine code.
    pub(super) fn has_objects(&self) -> bool {
        self.older.iter().chain([&self.current]).any(|version| version.code().has_objects())
    }

    /// Whether anything leads to machine code of a version with this entry.
    pub(super) fn leads_to(&self, version: &Arc<FunctionVersion>, entry: EntryPoint) -> bool {
        Arc::ptr_eq(&self.current, version)
            || self.older.iter().any(|older| Arc::ptr_eq(older, version))
                && version.finishes_from(entry)
    }
}

//! All that one update changes, in the index spaces of the running module.
//!
//! These index spaces only grow: what is added gets the next indices in the order given here, and every
//! index that exists keeps its meaning and type for ever.

use super::definitions::{Definition, Definitions};
use super::frame_map::FrameMap;
use super::module_diff::summary::ModuleSummary;
use super::policy::Policy;
use super::source_names::Origin;
use crate::module::Item;
use crate::module::provenance::Provenance;
use crate::types::signatures::Signature;
use midair_tiers::module_env::GlobalType;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What an update adds to the running module and changes in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Types, appended: whole groups of them.
    pub(crate) types: Vec<Arc<Signature>>,
    /// Functions, appended.
    pub(crate) functions: Vec<AddedFunction>,
    /// Globals, appended.
    pub(crate) globals: Vec<AddedGlobal>,
    /// Table entries that are set.
    pub(crate) elements: Vec<ChangedElements>,
    /// Tables that have at least so many elements from now on.
    pub(crate) table_sizes: Vec<AtLeast<u32>>,
    /// Memories that have at least so many pages from now on.
    pub(crate) memory_sizes: Vec<AtLeast<u64>>,
    /// New bodies of functions.
    pub(crate) bodies: Vec<ChangedBody>,
    /// Exports that are added or point elsewhere.
    pub(crate) exports: Vec<(Box<str>, Item)>,
    /// Bytes that are written into memories.
    pub(crate) data: Vec<ChangedData>,
    /// Pairs of functions, of which the second one, added or not, takes the place of the first one, whose
    /// type is another one. Calls of both are the same where the results are.
    pub(crate) retyped: Vec<(u32, u32)>,
    /// Pairs of functions: references to the first one that tables, globals and element segments hold become
    /// references to the second one.
    pub(crate) moved: Vec<(u32, u32)>,
    /// Functions that nothing may refer to once the update has happened.
    pub(crate) abandoned: BTreeSet<u32>,
    /// What is defined function by function, if there is no new module.
    pub(crate) definitions: Vec<Definition>,
    /// What undoes the definitions.
    pub(crate) inverse: Definitions,
    /// The module that the running one is brought up to, if these are all changes that lead there.
    pub(crate) source: Option<NewSource>,
}

/// Bytes that are written into a memory. What is beyond its end is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangedData {
    /// Memory index.
    pub(crate) memory: u32,
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A module that the running one is brought up to.
#[derive(Clone, Debug)]
pub(crate) struct NewSource {
    pub(crate) provenance: Provenance,
    pub(crate) summary: ModuleSummary,
}

/// A function that the running module has not had.
#[derive(Clone, Debug)]
pub(crate) struct AddedFunction {
    /// Type index.
    pub(crate) ty: u32,
    /// In binary format: local declarations, operators, end.
    pub(crate) body: Vec<u8>,
    /// Its name in the name section.
    pub(crate) name: Option<String>,
}

/// A global that the running module has not had.
#[derive(Clone, Debug)]
pub(crate) struct AddedGlobal {
    pub(crate) ty: GlobalType,
    /// Its first value: a constant expression in binary format, with its end.
    pub(crate) init: Vec<u8>,
}

/// Entries of a table that are set; the table grows as needed.
#[derive(Clone, Debug)]
pub(crate) struct ChangedElements {
    /// Table index.
    pub(crate) table: u32,
    /// Index of the first entry.
    pub(crate) offset: u32,
    /// Function indices, or null.
    pub(crate) functions: Vec<Option<u32>>,
}

/// A table or memory that has at least this size from now on. What it holds stays as it is, and if it is larger
/// already, so does its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtLeast<N> {
    /// Table or memory index.
    pub(crate) index: u32,
    /// Elements or pages.
    pub(crate) size: N,
}

/// A new body of a function.
#[derive(Clone, Debug)]
pub(crate) struct ChangedBody {
    /// Function index.
    pub(crate) function: u32,
    /// In binary format: local declarations, operators, end.
    pub(crate) body: Vec<u8>,
    /// What suspended frames of the old body do.
    pub(crate) policy: Policy,
    /// Where they go on, if not where the default map says.
    pub(crate) map: Option<FrameMap>,
    /// What it was made of.
    pub(crate) origin: Option<Origin>,
}

impl Changes {
    /// What changes, for people.
    ///
    /// # Panics
    /// If these are not the changes that lead to a new module.
    #[cfg(test)]
    pub(crate) fn summary(&self) -> &ModuleSummary {
        &self.source.as_ref().expect("they lead to a new module").summary
    }

    /// Drops new bodies of all functions but these.
    pub(crate) fn keep_bodies(&mut self, functions: &HashSet<u32>) {
        self.bodies.retain(|changed| functions.contains(&changed.function));
        if let Some(NewSource { summary, .. }) = &mut self.source {
            summary.changed.retain(|label| functions.contains(&label.index));
        }
    }

    /// Whether nothing is added to the module and only bodies and data change.
    pub(crate) fn only_bodies(&self) -> bool {
        let Changes {
            types,
            functions,
            globals,
            elements,
            table_sizes,
            memory_sizes,
            bodies: _,
            exports,
            moved,
            data: _,
            retyped: _,
            abandoned: _,
            definitions: _,
            inverse: _,
            source: _,
        } = self;
        types.is_empty()
            && functions.is_empty()
            && globals.is_empty()
            && elements.is_empty()
            && table_sizes.is_empty()
            && memory_sizes.is_empty()
            && exports.is_empty()
            && moved.is_empty()
    }
}

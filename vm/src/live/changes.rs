//! All that one update changes, in the index spaces of the running module.
//!
//! These index spaces only grow: what is added gets the next indices in the order given here, and every
//! index that exists keeps its meaning and type for ever.

use super::{FrameMap, Policy};
use crate::module::Item;
use crate::types::{FuncType, GlobalType};

/// What an update adds to the running module and changes in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Types, appended.
    pub(crate) types: Vec<FuncType>,
    /// Functions, appended.
    pub(crate) functions: Vec<AddedFunction>,
    /// Globals, appended.
    pub(crate) globals: Vec<AddedGlobal>,
    /// Table entries that are set.
    pub(crate) elements: Vec<ChangedElements>,
    /// New bodies of functions.
    pub(crate) bodies: Vec<ChangedBody>,
    /// Exports that are added or point elsewhere.
    pub(crate) exports: Vec<(Box<str>, Item)>,
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
}

impl Changes {
    /// Whether nothing is added to the module and only bodies change.
    pub(crate) fn only_bodies(&self) -> bool {
        let Changes { types, functions, globals, elements, bodies: _, exports } = self;
        types.is_empty()
            && functions.is_empty()
            && globals.is_empty()
            && elements.is_empty()
            && exports.is_empty()
    }
}

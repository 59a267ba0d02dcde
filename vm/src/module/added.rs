//! What updates have added to a module besides its index spaces. Instances that are made later get it from
//! the start.

use crate::live::{ChangedData, Provenance};
use midair_tiers::AppendVec;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module's documentation.
pub(crate) struct Added {
    /// Number of functions when the module was loaded.
    loaded_functions: u32,
    /// Names of the functions that were added.
    names: AppendVec<Option<Box<str>>>,
    /// Initial values of the globals that were added: constant expressions, with their ends.
    globals: AppendVec<Box<[u8]>>,
    /// Functions, or null, that table entries have been set to, by table and index.
    elements: Mutex<BTreeMap<(u32, u32), Option<u32>>>,
    /// Bytes that memories begin with, over what the data segments say.
    data: Mutex<Vec<ChangedData>>,
    /// The module that this one was last brought up to; `None`: itself.
    provenance: Mutex<Option<Provenance>>,
}

impl Added {
    /// Nothing yet, and room for `spare` functions and globals.
    pub(super) fn new(loaded_functions: u32, spare: usize) -> Added {
        let mut this = Added {
            loaded_functions,
            names: AppendVec::new(),
            globals: AppendVec::new(),
            elements: Mutex::default(),
            data: Mutex::default(),
            provenance: Mutex::default(),
        };
        this.names.reserve(spare);
        this.globals.reserve(spare);
        this
    }

    /// How many more functions there is room for here.
    pub(super) fn room_for_names(&self) -> usize {
        self.names.room()
    }

    /// How many more globals there is room for here.
    pub(super) fn room_for_globals(&self) -> usize {
        self.globals.room()
    }

    /// The name of a function that was added.
    pub(super) fn name(&self, function: u32) -> Option<&str> {
        let at = function.checked_sub(self.loaded_functions)?;
        self.names.get(at as usize)?.as_deref()
    }

    /// The next function is added, with this name.
    pub(crate) fn add_name(&self, name: Option<Box<str>>) {
        let added = self.names.append(name);
        assert!(added.is_ok(), "room for the name was looked for with that for the function");
    }

    /// Initial values of the globals that were added.
    pub(crate) fn globals(&self) -> &[Box<[u8]>] {
        &self.globals
    }

    /// The next global is added, with this initial value.
    pub(crate) fn add_global(&self, init: Box<[u8]>) {
        let added = self.globals.append(init);
        assert!(added.is_ok(), "room for the value was looked for with that for the global");
    }

    /// Bytes that memories begin with, over what the data segments say, in this order.
    pub(crate) fn data(&self) -> MutexGuard<'_, Vec<ChangedData>> {
        // Each change of the list stands for itself.
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The module that this one was last brought up to; `None`: itself.
    pub(crate) fn provenance(&self) -> MutexGuard<'_, Option<Provenance>> {
        // It is only ever set as a whole.
        self.provenance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Functions, or null, that table entries have been set to, by table and index.
    pub(crate) fn elements(&self) -> MutexGuard<'_, BTreeMap<(u32, u32), Option<u32>>> {
        // Each change of the map stands for itself.
        self.elements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

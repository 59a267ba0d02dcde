//! What updates have added to a module besides its index spaces. Instances that are made later get it from
//! the start.

use super::patches::Patches;
use super::provenance::Provenance;
use midair_tiers::AppendVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What tables begin with.
#[derive(Clone, Default)]
pub(crate) struct AddedEntries {
    /// Functions, or null, that entries have been set to, by table and index.
    pub(crate) values: BTreeMap<(u32, u32), Option<u32>>,
    /// How many elements tables have at least, by table.
    pub(crate) sizes: BTreeMap<u32, u32>,
}

impl AddedEntries {
    /// How many elements each table needs.
    pub(crate) fn sizes(&self) -> BTreeMap<u32, u32> {
        let mut sizes = self.sizes.clone();
        for &(table, index) in self.values.keys() {
            let size = sizes.entry(table).or_default();
            *size = (*size).max(index + 1);
        }
        sizes
    }
}

/// What a memory begins with.
#[derive(Clone, Default)]
pub(crate) struct AddedMemory {
    /// How many pages it has at least.
    pub(crate) pages: u64,
    /// Bytes over what the data segments say.
    pub(crate) data: Patches,
}

/// Functions whose references have become references to others, one step after the other. Where a function does not fit,
/// a place keeps what it has, and the next step goes on from that.
pub(crate) type Moves = Vec<Moved>;

/// One step, or several that can be taken together.
#[derive(Clone)]
pub(crate) struct Moved {
    pub(crate) functions: HashMap<u32, u32>,
    /// Whether each function fits wherever the one before did.
    anywhere: bool,
}

/// See the module's documentation.
pub(crate) struct Added {
    /// Number of functions when the module was loaded.
    loaded_functions: u32,
    /// Names of the functions that were added.
    names: AppendVec<Option<Box<str>>>,
    /// Initial values of the globals that were added: constant expressions, with their ends.
    globals: AppendVec<Box<[u8]>>,
    tables: Mutex<AddedEntries>,
    /// Functions whose references have become references to others, by hand: see [`Moves`].
    moved: Mutex<Arc<Moves>>,
    /// Functions that others have taken the place of, or that have been freed.
    superseded: Mutex<BTreeSet<u32>>,
    /// How many updates that are not undone have set table entries or moved references one by one.
    set_one_by_one: AtomicUsize,
    memories: Mutex<BTreeMap<u32, AddedMemory>>,
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
            tables: Mutex::default(),
            moved: Mutex::default(),
            superseded: Mutex::default(),
            set_one_by_one: AtomicUsize::new(0),
            memories: Mutex::default(),
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

    /// What memories begin with, by index.
    pub(crate) fn memories(&self) -> MutexGuard<'_, BTreeMap<u32, AddedMemory>> {
        // Each change of the map stands for itself.
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The module that this one was last brought up to; `None`: itself.
    pub(crate) fn provenance(&self) -> MutexGuard<'_, Option<Provenance>> {
        // It is only ever set as a whole.
        self.provenance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tables begin with.
    pub(crate) fn tables(&self) -> MutexGuard<'_, AddedEntries> {
        // Each change of the maps stands for itself.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What references to functions in initial values and element segments have become references to.
    pub(crate) fn moved(&self) -> Arc<Moves> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// References to the first function of each pair become references to the second one, but in places that it does not
    /// fit: `fits` says whether it fits a table, and `anywhere` whether each fits wherever the first one did. Nobody makes
    /// instances meanwhile.
    pub(crate) fn move_references(
        &self,
        pairs: &[(u32, u32)],
        anywhere: bool,
        fits: impl Fn(u32, u32) -> bool,
    ) {
        let step: HashMap<u32, u32> = pairs.iter().copied().collect();
        let then = |function: u32| step.get(&function).copied().unwrap_or(function);
        let mut slot = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let mut steps = Vec::clone(&slot);
        match steps.last_mut() {
            Some(last) if last.anywhere && anywhere => {
                for to in last.functions.values_mut() {
                    *to = then(*to);
                }
                for (from, to) in &step {
                    last.functions.entry(*from).or_insert(*to);
                }
                last.functions.retain(|from, to| from != to);
            }
            _ => steps.push(Moved { functions: step.clone(), anywhere }),
        }
        *slot = Arc::new(steps);
        drop(slot);
        for ((table, _), function) in &mut self.tables().values {
            if let Some(function) = function
                && fits(*table, then(*function))
            {
                *function = then(*function);
            }
        }
    }

    /// Functions that others have taken the place of, or that have been freed.
    pub(crate) fn superseded(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        // Each change of the set stands for itself.
        self.superseded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An update has set table entries or moved references one by one; or that has been `undone`.
    pub(crate) fn count_set_one_by_one(&self, undone: bool) {
        let step = |count: usize| Some(if undone { count.saturating_sub(1) } else { count + 1 });
        // The closure always has an answer.
        let _ = self.set_one_by_one.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Whether table entries or references are not what a module says, but were set one by one.
    pub(crate) fn is_set_one_by_one(&self) -> bool {
        self.set_one_by_one.load(Ordering::Relaxed) > 0
    }
}

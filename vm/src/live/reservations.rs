//! Room in stores that an update counts as used beforehand, so that it happens everywhere or nowhere.

use crate::store::contents::{Contents, LockedContents};
use anyhow::Result;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is counted in stores for one update and has not been used yet.
#[derive(Default)]
pub(super) struct Reservations {
    /// By the address of a store's contents.
    counted: Mutex<HashMap<usize, Counted>>,
    /// Why there is no room.
    refusal: Mutex<Option<String>>,
}

struct Counted {
    contents: Arc<Contents>,
    count: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change stands for itself.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reservations {
    /// A store has counted so much more.
    pub(super) fn add(&self, store: &Arc<Contents>, count: u64) {
        let mut counted = lock(&self.counted);
        let counted = counted
            .entry(Arc::as_ptr(store) as usize)
            .or_insert_with(|| Counted { contents: store.clone(), count: 0 });
        counted.count += count;
    }

    /// A store has no room.
    pub(super) fn refuse(&self, why: String) {
        *lock(&self.refusal) = Some(why);
    }

    /// Fails if a store has no room.
    pub(super) fn check(&self) -> Result<()> {
        match lock(&self.refusal).take() {
            Some(refusal) => anyhow::bail!(refusal),
            None => Ok(()),
        }
    }

    /// What the store has counted, which its caller uses or takes back.
    pub(super) fn take(&self, store: &Arc<Contents>) -> u64 {
        let address = Arc::as_ptr(store) as usize;
        lock(&self.counted).remove(&address).map_or(0, |counted| counted.count)
    }

    /// Has all that is left taken back: by `uncount`, from what a store has counted.
    pub(super) fn give_back(&self, uncount: impl Fn(&mut LockedContents, u64)) {
        let counted = std::mem::take(&mut *lock(&self.counted));
        for Counted { contents, count } in counted.into_values() {
            uncount(&mut contents.lock(), count);
        }
    }
}

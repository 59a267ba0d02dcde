//! What a module exports. While the module runs, exports are added and made to point elsewhere.

use super::Item;
use midair_osr::Process;
use midair_tiers::AppendVec;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// An export.
pub(crate) struct Export {
    pub(crate) name: Box<str>,
    loaded_item: Item,
    /// See [`encode`].
    item: AtomicU64,
}

impl Export {
    pub(super) fn new(name: &str, item: Item) -> Export {
        Export { name: name.into(), loaded_item: item, item: AtomicU64::new(encode(item)) }
    }

    /// What it was at first.
    pub(crate) fn loaded_item(&self) -> Item {
        self.loaded_item
    }

    /// What it is.
    pub(crate) fn item(&self) -> Item {
        decode(self.item.load(Ordering::Acquire))
    }
}

/// An item in one word: its kind, and its index.
fn encode(item: Item) -> u64 {
    let (kind, index) = match item {
        Item::Func(index) => (0, index),
        Item::Table(index) => (1, index),
        Item::Memory(index) => (2, index),
        Item::Global(index) => (3, index),
        Item::Tag(index) => (4, index),
    };
    kind << 32 | u64::from(index)
}

fn decode(item: u64) -> Item {
    let index = item as u32;
    match item >> 32 {
        0 => Item::Func(index),
        1 => Item::Table(index),
        2 => Item::Memory(index),
        3 => Item::Global(index),
        _ => Item::Tag(index),
    }
}

/// All exports of a module. Names do not move, for embedders hold them.
pub(crate) struct Exports {
    list: AppendVec<Export>,
    /// Indices into `list`, sorted by name.
    by_name: RwLock<Vec<u32>>,
    process: Process,
}

impl Exports {
    /// Exports that have been validated; `spare` more can be added.
    pub(super) fn new(mut list: Vec<Export>, spare: usize) -> Exports {
        list.reserve_exact(spare);
        let mut by_name: Vec<u32> = (0..list.len() as u32).collect();
        by_name.sort_unstable_by_key(|i| &list[*i as usize].name);
        let (list, by_name) = (AppendVec::from(list), RwLock::new(by_name));
        Exports { list, by_name, process: Process::current() }
    }

    /// All of them, in the order of the module.
    pub(crate) fn list(&self) -> &[Export] {
        &self.list
    }

    /// How many can be added.
    pub(crate) fn room(&self) -> usize {
        self.list.room()
    }

    /// The export of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Export> {
        if !self.process.is_current() {
            // In a child, in which nobody may ever give the lock back.
            return self.list.iter().find(|export| *export.name == *name);
        }
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let at = self.find(&by_name, name).ok()?;
        Some(&self.list[by_name[at] as usize])
    }

    /// Makes `name` an export of `item`: a new one, or one that pointed elsewhere. If there is no room for a
    /// new one, nothing happens.
    pub(crate) fn set(&self, name: &str, item: Item) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        match self.find(&by_name, name) {
            Ok(at) => {
                let export = &self.list[by_name[at] as usize];
                export.item.store(encode(item), Ordering::Release);
            }
            Err(at) => {
                if self.list.append(Export::new(name, item)).is_ok() {
                    by_name.insert(at, self.list.len() as u32 - 1);
                }
            }
        }
    }

    fn find(&self, by_name: &[u32], name: &str) -> Result<usize, usize> {
        by_name.binary_search_by(|i| (*self.list[*i as usize].name).cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_added_and_point_elsewhere() {
        let names = ["b", "a"];
        let list = names.map(|name| Export::new(name, Item::Func(0)));
        let exports = Exports::new(list.into(), 1);
        exports.set("a", Item::Func(1));
        exports.set("aa", Item::Func(2));
        let item = |name| exports.get(name).map(Export::item);
        assert_eq!(item("a"), Some(Item::Func(1)));
        assert_eq!(item("aa"), Some(Item::Func(2)));
        assert_eq!(item("b"), Some(Item::Func(0)));
        assert_eq!(item("c"), None);
        let order: Vec<&str> = exports.list().iter().map(|export| &*export.name).collect();
        assert_eq!(order, ["b", "a", "aa"]);
    }
}

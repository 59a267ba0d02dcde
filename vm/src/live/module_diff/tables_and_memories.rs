//! Which tables and memories of a new module are those of the running one, and whether they are large enough.
//!
//! None can be added to a running program: instances have just those that they were made with. So what is left
//! over on both sides in the end is taken for the same, whatever it is called.

use super::refusal::ModuleRefusal;
use super::{Diff, memory_index, table_index};
use crate::live::changes::AtLeast;
use crate::module::provenance::UNMAPPED;
use crate::module::{Import, Item, ModuleState};
use crate::store::memory::most_pages;
use crate::store::table::MAX_ELEMENTS;
use crate::types::ExternType;
use midair_tiers::ValType;
use midair_tiers::module_env::{MemoryType, TableType};
use std::collections::HashMap;

/// What a table or memory is known by.
struct Known<'a> {
    /// Module and name.
    import: Option<(&'a str, &'a str)>,
    /// In the name section.
    name: Option<&'a str>,
    /// Type of a table's elements.
    element: Option<ValType>,
}

/// Modules and names of imported items of one kind, by index.
pub(super) type ImportNames<'a> = HashMap<u32, (&'a str, &'a str)>;

pub(super) fn imports_by_index(
    imports: &[Import],
    index: impl Fn(Item) -> Option<u32>,
) -> ImportNames<'_> {
    let named = |import: &'_ Import| index(import.item);
    imports
        .iter()
        .filter_map(|import| Some((named(import)?, (&*import.module, &*import.name))))
        .collect()
}

/// Pairs tables or memories: imports by name; then what is exported under one name, or has one name; then the
/// others in the order of their sources, `order` being that of the running ones.
fn pair(new: &[Known<'_>], live: &[Known<'_>], exports: &[(u32, u32)], order: &[u32]) -> Vec<u32> {
    let mut map = vec![UNMAPPED; new.len()];
    let mut free = vec![true; live.len()];
    let mut pair = |new: usize, live: u32, map: &mut Vec<u32>| {
        let both_free = map[new] == UNMAPPED && free[live as usize];
        if both_free {
            map[new] = live;
            free[live as usize] = false;
        }
        both_free
    };
    let defined = |i: usize, l: u32| new[i].import.is_none() && live[l as usize].import.is_none();
    for (i, known) in new.iter().enumerate().filter(|(_, known)| known.import.is_some()) {
        let same = order.iter().filter(|l| live[**l as usize].import == known.import);
        let _ = { same }.any(|l| pair(i, *l, &mut map));
    }
    for &(i, l) in exports.iter().filter(|(i, l)| defined(*i as usize, *l)) {
        pair(i as usize, l, &mut map);
    }
    let strictness: [fn(&Known<'_>, &Known<'_>) -> bool; 4] = [
        |a, b| a.name.is_some() && a.name == b.name && a.element == b.element,
        |a, b| (a.name.is_none() || b.name.is_none()) && a.element == b.element,
        |a, b| a.element == b.element,
        |_, _| true,
    ];
    for similar in strictness {
        for (i, known) in new.iter().enumerate() {
            let candidate = |l: &&u32| defined(i, **l) && similar(known, &live[**l as usize]);
            let _ = order.iter().filter(candidate).any(|l| pair(i, *l, &mut map));
        }
    }
    map
}

/// Indices of the running module: those that the last source had, in its order, and then the others.
fn source_order(map: &[u32], count: usize) -> Vec<u32> {
    let mut seen = vec![false; count];
    let present = map.iter().copied().filter(|i| *i != UNMAPPED);
    let mut order: Vec<u32> = present.inspect(|i| seen[*i as usize] = true).collect();
    order.extend((0..count as u32).filter(|i| !seen[*i as usize]));
    order
}

impl<'a> Diff<'a> {
    /// What is known of the running module's tables or memories, by the names of the last source that had them
    /// as far as that is known.
    fn known_live(
        &self,
        imports: &ImportNames<'a>,
        elements: impl Iterator<Item = Option<ValType>>,
        map: &[u32],
        name: impl Fn(&'a ModuleState, u32) -> Option<&'a str>,
    ) -> Vec<Known<'a>> {
        let mut known: Vec<Known<'a>> = (0..)
            .zip(elements)
            .map(|(i, element)| Known {
                import: imports.get(&i).copied(),
                name: name(&self.live.loaded, i),
                element,
            })
            .collect();
        for (i, &live) in (0..).zip(map).filter(|(_, live)| **live != UNMAPPED) {
            known[live as usize].name = name(self.old, i);
        }
        known
    }

    pub(super) fn memories(&mut self) {
        let (new, live) = (&self.new.env.memories, &self.live.memories);
        let (new_imports, live_imports) = self.imports_of(memory_index);
        let known: Vec<Known<'_>> = (0..new.len() as u32)
            .map(|i| Known {
                import: new_imports.get(&i).copied(),
                name: self.new.memory_name(i),
                element: None,
            })
            .collect();
        let old_map = &self.old_maps.memories;
        let elements = live.iter().map(|_| None);
        let known_live =
            self.known_live(&live_imports, elements, old_map, ModuleState::memory_name);
        let exports = self.common_exports(memory_index);
        let order = source_order(old_map, live.len());
        self.maps.memories = pair(&known, &known_live, &exports, &order);
        for (i, ty) in new.iter().enumerate() {
            let item = format!("memory {i}");
            let index = self.maps.memories[i];
            let Some(before) = live.get(index as usize) else {
                if i >= self.new.imported_memories {
                    self.refuse(ModuleRefusal::ItemAdded { item });
                }
                continue;
            };
            let most = before.maximum.unwrap_or_else(|| most_pages(before));
            let kind = |ty: &MemoryType| (ty.is_64, ty.page_size_log2, ty.shared);
            if kind(ty) != kind(before) {
                let (old, new) = (ExternType::Memory(*before), ExternType::Memory(*ty));
                let (old, new) = (old.to_string(), new.to_string());
                self.refuse(ModuleRefusal::MemoryType { memory: i as u32, old, new });
            } else if ty.minimum > most {
                let item = format!("{item} (in pages)");
                self.refuse(ModuleRefusal::ItemGrew { item, limit: most, new: ty.minimum });
            } else if ty.minimum > before.minimum {
                self.changes.memory_sizes.push(AtLeast { index, size: ty.minimum });
            }
            let was = old_map.iter().position(|live| *live == index);
            let was = was.and_then(|was| self.old.env.memories[was].maximum);
            if ty.maximum != before.maximum && ty.maximum != was {
                self.limit_kept(&item, "pages", before.maximum, ty.maximum);
            }
        }
        self.summary.memories_grown = self.changes.memory_sizes.len();
    }

    pub(super) fn tables(&mut self) {
        let (new, live) = (&self.new.env.tables, &self.live.tables);
        let (new_imports, live_imports) = self.imports_of(table_index);
        let known: Vec<Known<'_>> = (0..)
            .zip(new)
            .map(|(i, ty)| Known {
                import: new_imports.get(&i).copied(),
                name: self.new.table_name(i),
                element: Some(ty.element),
            })
            .collect();
        let old_map = &self.old_maps.tables;
        let elements = live.iter().map(|ty| Some(ty.element));
        let known_live = self.known_live(&live_imports, elements, old_map, ModuleState::table_name);
        let exports = self.common_exports(table_index);
        let order = source_order(old_map, live.len());
        self.maps.tables = pair(&known, &known_live, &exports, &order);
        for (i, ty) in new.iter().enumerate() {
            let item = format!("table {i}");
            let index = self.maps.tables[i];
            let Some(before) = live.get(index as usize) else {
                if i >= self.new.imported_tables {
                    self.refuse(ModuleRefusal::ItemAdded { item });
                }
                continue;
            };
            let most = before.maximum.unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS);
            if (ty.element, ty.is_64) != (before.element, before.is_64) {
                let of = |ty: &TableType| {
                    format!("{}{}", ty.element, if ty.is_64 { " by 64 bits" } else { "" })
                };
                let (old, new) = (of(before), of(ty));
                self.refuse(ModuleRefusal::TableType { table: i as u32, old, new });
            } else if ty.minimum > most {
                self.refuse(ModuleRefusal::ItemGrew { item, limit: most, new: ty.minimum });
            } else {
                if ty.minimum > before.minimum {
                    // No table is larger.
                    self.changes.table_sizes.push(AtLeast { index, size: ty.minimum as u32 });
                }
                let was = old_map.iter().position(|live| *live == index);
                let was = was.and_then(|was| self.old.env.tables[was].maximum);
                if ty.maximum != before.maximum && ty.maximum != was {
                    self.limit_kept(&item, "elements", before.maximum, ty.maximum);
                }
            }
        }
        self.summary.tables_grown = self.changes.table_sizes.len();
    }

    /// A limit is part of what a table or memory was made with. To keep it is sound: growing may fail at any
    /// time, and a size is only promised from below.
    fn limit_kept(&mut self, item: &str, unit: &str, before: Option<u64>, new: Option<u64>) {
        let limit = |maximum: Option<u64>| match maximum {
            Some(size) => format!("{size} {unit}"),
            None => "none".to_owned(),
        };
        self.summary.notes.push(format!(
            "{item} keeps the limit that it was made with: {}, not {}",
            limit(before),
            limit(new)
        ));
    }
}

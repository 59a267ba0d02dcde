//! What modules put into tables when they are instantiated, compared entry by entry.

use super::initial_data::Base;
use super::known_values::KnownValues;
use super::refusal::ModuleRefusal;
use super::renumber::renumber_expression;
use crate::live::changes::ChangedElements;
use crate::module::ModuleState;
use crate::module::const_expr::{ConstScope, for_each_element};
use crate::module::load::{ElementMode, ElementSegment};
use crate::module::provenance::{IndexMaps, UNMAPPED};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// An element of a segment, in the running module's index spaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Element {
    Null,
    Function(u32),
    /// The value of this global.
    Global(u32),
}

/// Marks the index of a global among references.
const GLOBAL: u64 = 1 << 63;

/// Encodes what an element refers to in the place of its value.
struct Names<'a>(&'a IndexMaps);

fn mapped(map: &[u32], index: u32) -> u64 {
    u64::from(map.get(index as usize).copied().unwrap_or(UNMAPPED))
}

impl ConstScope for Names<'_> {
    fn global(&mut self, index: u32) -> [u64; 2] {
        [GLOBAL | mapped(&self.0.globals, index), 0]
    }

    fn ref_func(&mut self, index: u32) -> u64 {
        mapped(&self.0.functions, index) + 1
    }
}

/// The elements of a segment of `module`, which `maps` leads from.
pub(super) fn elements(
    module: &ModuleState,
    maps: &IndexMaps,
    segment: &ElementSegment,
) -> Vec<Element> {
    let mut elements = Vec::new();
    for_each_element(module.bytes(), &segment.items, &mut Names(maps), |slot| {
        elements.push(Element::named(slot));
    });
    elements
}

impl Element {
    /// What [`Names`] has encoded.
    fn named(slot: u64) -> Element {
        match slot {
            0 => Element::Null,
            // Indices have 32 bits.
            global if global & GLOBAL != 0 => Element::Global(global as u32),
            function => Element::Function((function - 1) as u32),
        }
    }
}

/// What the elements of a table begin as where no segment sets them; null if the module does not define it.
fn initial_element(module: &ModuleState, maps: &IndexMaps, table: usize) -> Element {
    let defined = table.checked_sub(module.imported_tables);
    match defined.and_then(|defined| module.tables.get(defined).copied().flatten()) {
        Some(init) => Element::named(init.evaluate(&*module.source, &mut Names(maps))),
        None => Element::Null,
    }
}

/// Entries that active segments set, by table and base, then by index.
type Image = HashMap<(u32, Base), BTreeMap<u64, Element>>;

fn image(module: &ModuleState, maps: &IndexMaps, values: &KnownValues<'_>) -> Image {
    let mut image = Image::new();
    for segment in &module.elements {
        let ElementMode::Active { table, offset } = segment.mode else { continue };
        let table = maps.tables[table as usize];
        let (base, offset) = match values.of(offset) {
            Some(offset) => (Base::Absolute, offset),
            None => {
                let expression = offset.bytes(&*module.source);
                // It refers to imported globals, all of which are mapped.
                let expression = renumber_expression(maps, expression);
                (Base::Expression(expression.unwrap_or_default()), 0)
            }
        };
        let entries = image.entry((table, base)).or_default();
        entries.extend((offset..).zip(elements(module, maps, segment)));
    }
    image
}

/// A module, where its items are in the running one, and what is known of its values.
type Source<'a> = (&'a ModuleState, &'a IndexMaps, &'a KnownValues<'a>);

/// An entry whose function has changed, and one of the two functions is, or was, in another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MovedEntry {
    pub(super) table: u32,
    pub(super) entry: u64,
    pub(super) old: u32,
    pub(super) new: u32,
}

/// The functions that are in an entry of `one` which the `other` has something else in.
fn elsewhere(one: &BTreeMap<u64, Element>, other: &BTreeMap<u64, Element>) -> HashSet<u32> {
    let differ = one.iter().filter(|(index, element)| other.get(index) != Some(element));
    let functions = differ.filter_map(|(_, element)| match element {
        Element::Function(function) => Some(*function),
        Element::Null | Element::Global(_) => None,
    });
    functions.collect()
}

/// Compares the table entries that two modules begin with. What the new one sets otherwise is to be set. The first of the
/// entries whose functions have only changed places is told.
pub(super) fn compare(
    old: Source<'_>,
    new: Source<'_>,
) -> Result<(Vec<ChangedElements>, Option<MovedEntry>), ModuleRefusal> {
    for (i, table) in new.1.tables.iter().enumerate() {
        let was = old.1.tables.iter().position(|was| was == table);
        let before = was.map_or(Element::Null, |was| initial_element(old.0, old.1, was));
        if initial_element(new.0, new.1, i) != before {
            return Err(ModuleRefusal::TableInit { table: i as u32 });
        }
    }
    let (mut moved, nothing) = (None, BTreeMap::new());
    let (old, new) = (image(old.0, old.1, old.2), image(new.0, new.1, new.2));
    let mut changed: Vec<ChangedElements> = Vec::new();
    let mut keys: Vec<_> = new.keys().collect();
    keys.sort_unstable_by_key(|(table, _)| *table);
    for key in keys {
        let (table, base) = key;
        let mut last = None;
        let before = old.get(key).unwrap_or(&nothing);
        let (gained, lost) = (elsewhere(&new[key], before), elsewhere(before, &new[key]));
        for (&index, &element) in &new[key] {
            if before.get(&index) == Some(&element) {
                continue;
            }
            if let Element::Function(after) = element
                && let Some(&Element::Function(before)) = before.get(&index)
                && (gained.contains(&before) || lost.contains(&after))
            {
                moved.get_or_insert(MovedEntry {
                    table: *table,
                    entry: index,
                    old: before,
                    new: after,
                });
            }
            let function = match (element, base) {
                (Element::Null, Base::Absolute) => None,
                (Element::Function(function), Base::Absolute) => Some(function),
                _ => return Err(ModuleRefusal::ImportedElements { table: *table }),
            };
            match changed.last_mut() {
                Some(run) if run.table == *table && last == index.checked_sub(1) => {
                    run.functions.push(function);
                }
                _ => changed.push(ChangedElements {
                    table: *table,
                    // No table is larger; a module whose segment does not fit cannot have run.
                    offset: index as u32,
                    functions: vec![function],
                }),
            }
            last = Some(index);
        }
    }
    Ok((changed, moved))
}

/// Functions of `module` in table entries, by their own indices, each with a hash of the entry. `maps` leads
/// to the running module's tables.
pub(super) fn slots(
    module: &ModuleState,
    maps: &IndexMaps,
    values: &KnownValues<'_>,
) -> Vec<(u32, u64)> {
    let own = IndexMaps {
        functions: (0..module.env.functions.len() as u32).collect(),
        globals: (0..module.env.globals.len() as u32).collect(),
        tables: maps.tables.clone(),
        ..IndexMaps::default()
    };
    let mut slots = Vec::new();
    for ((table, base), entries) in image(module, &own, values) {
        let absolute = base == Base::Absolute;
        for (index, element) in entries {
            if let Element::Function(function) = element {
                let mut hasher = DefaultHasher::new();
                (table, absolute, index).hash(&mut hasher);
                slots.push((function, hasher.finish()));
            }
        }
    }
    slots
}

/// For each element segment of the new module the one of the running module that stands for it in code:
/// a passive one with the same elements, or for an active or declared one, which is empty as soon as the
/// module has been instantiated, any such one.
pub(super) fn map_segments(
    loaded: &ModuleState,
    loaded_maps: &IndexMaps,
    new: &ModuleState,
    maps: &IndexMaps,
) -> Vec<u32> {
    let is_passive = |segment: &ElementSegment| matches!(segment.mode, ElementMode::Passive);
    let mut passive: HashMap<Vec<Element>, VecDeque<u32>> = HashMap::new();
    for (i, segment) in (0..).zip(&loaded.elements).filter(|(_, segment)| is_passive(segment)) {
        passive.entry(elements(loaded, loaded_maps, segment)).or_default().push_back(i);
    }
    let dropped = (0..).zip(&loaded.elements).find(|(_, segment)| !is_passive(segment));
    let dropped = dropped.map_or(UNMAPPED, |(i, _)| i);
    let map = |segment: &ElementSegment| {
        if !is_passive(segment) {
            return dropped;
        }
        let same = passive.get_mut(&elements(new, maps, segment));
        same.and_then(VecDeque::pop_front).unwrap_or(UNMAPPED)
    };
    new.elements.iter().map(map).collect()
}

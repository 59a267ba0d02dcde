//! Where a module's static variables lie and how its types are laid out, by the names that the source gives them.

use super::effort::{Reading, Result, Unreadable};
use super::types::{self, TypeLayout, WHOLE, is_aggregate};
use super::{Bytes, DebugInfo, name};
use gimli::{AttributeValue, DebuggingInformationEntry as Entry, Operation, constants as dw};
use std::collections::{HashMap, HashSet};

/// Layouts that types of one name may have, in different units.
const MOST_OF_A_NAME: usize = 64;

/// What a module's debug information says of memory.
#[derive(Default, Debug)]
pub(crate) struct SourceLayout {
    /// By their names, with those of what they are in. Several may have one name.
    pub(crate) statics: HashMap<String, Vec<Static>>,
    pub(crate) types: HashMap<String, Vec<TypeLayout>>,
    /// The first addresses of the functions that something is said of.
    functions: HashSet<u64>,
    /// Offset of the code section's contents in the module.
    code: u64,
}

/// A static variable.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Static {
    pub(crate) address: u64,
    /// What it holds, as far as that says how it is laid out.
    pub(crate) ty: String,
}

impl DebugInfo {
    /// What the module says of memory, as far as it can be read; `None` if that is out of proportion.
    pub(crate) fn layout(&self) -> Option<SourceLayout> {
        let mut found = SourceLayout { code: self.code, ..SourceLayout::default() };
        let dwarf = &*self.dwarf;
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            if let Ok(unit) = dwarf.unit(header) {
                let reading = Reading { unit: unit.unit_ref(dwarf), effort: &self.effort };
                let mut functions = Vec::new();
                match found.read(&reading, &mut functions) {
                    Ok(()) => found.functions.extend(functions),
                    // What is missing there may be of any function of the unit.
                    Err(Unreadable::Malformed) => {}
                    Err(Unreadable::TooMuch) => return None,
                }
            }
        }
        Some(found)
    }
}

impl SourceLayout {
    /// Reads a unit; `functions`: the first addresses of those in it.
    fn read(&mut self, unit: &Reading<'_>, functions: &mut Vec<u64>) -> Result<()> {
        let mut entries = unit.entries();
        // Names of what an entry is in, by depth.
        let mut around: Vec<(isize, String)> = Vec::new();
        while let Some(entry) = entries.next_dfs()? {
            unit.effort.take(1)?;
            let depth = entry.depth();
            while around.last().is_some_and(|(outer, _)| *outer >= depth) {
                around.pop();
            }
            let own = || -> Result<Option<String>> {
                let outer = around.last().map_or("", |(_, name)| name);
                unit.effort.take(outer.len())?;
                let full = |own: String| match outer {
                    "" => own,
                    _ => format!("{outer}::{own}"),
                };
                Ok(name(unit, entry)?.map(full))
            };
            match entry.tag() {
                dw::DW_TAG_namespace | dw::DW_TAG_module | dw::DW_TAG_subprogram => {
                    if let Some(AttributeValue::Addr(first)) = entry.attr_value(dw::DW_AT_low_pc) {
                        functions.push(first);
                    }
                    if let Some(own) = own()? {
                        around.push((depth, own));
                    }
                }
                dw::DW_TAG_variable => {
                    if let (Some(address), Some(own)) = (address(unit, entry)?, own()?) {
                        let ty = types::of_entry(unit, entry, WHOLE)?;
                        self.statics.entry(own).or_default().push(Static { address, ty });
                    }
                }
                dw::DW_TAG_typedef => {
                    // `typedef struct { … } name` is all the name that it has.
                    if let Some(AttributeValue::UnitRef(at)) = entry.attr_value(dw::DW_AT_type)
                        && let Some(own) = own()?
                        && let target = unit.entry(at)?
                        && is_aggregate(target.tag())
                        && name(unit, &target)?.is_none()
                    {
                        let layout = types::layout(unit, at, WHOLE)?;
                        self.add_type(own, layout)?;
                    }
                }
                tag if is_aggregate(tag) => {
                    let Some(own) = own()? else { continue };
                    if entry.attr_value(dw::DW_AT_declaration).is_none() {
                        let layout = types::layout(unit, entry.offset(), WHOLE)?;
                        self.add_type(own.clone(), layout)?;
                    }
                    around.push((depth, own));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add_type(&mut self, name: String, layout: TypeLayout) -> Result<()> {
        let of_name = self.types.entry(name).or_default();
        // Most are in several units, and the same there.
        if !of_name.contains(&layout) {
            of_name.push(layout);
        }
        if of_name.len() > MOST_OF_A_NAME { Err(Unreadable::TooMuch) } else { Ok(()) }
    }

    /// Whether something is said of the function whose body begins at this offset in the module.
    pub(crate) fn describes(&self, body: u64) -> bool {
        body.checked_sub(self.code).is_some_and(|address| self.functions.contains(&address))
    }

    /// Types that are laid out otherwise in a new module, by name, with how.
    pub(crate) fn changed_types(&self, new: &SourceLayout) -> Vec<(String, String)> {
        let changed = self.types.iter().filter_map(|(name, old)| {
            let new = new.types.get(name)?;
            // Of several of one name, each has to be there.
            let lost =
                old.iter().find(|old| new.iter().all(|new| old.difference(new).is_some()))?;
            Some((name.clone(), lost.difference(&new[0])?))
        });
        sorted(changed.collect())
    }

    /// Static variables that lie elsewhere, or hold something else, in a new module, with how.
    pub(crate) fn changed_statics(&self, new: &SourceLayout) -> Vec<(String, String)> {
        let changed = self.statics.iter().filter_map(|(name, old)| {
            let new = new.statics.get(name)?;
            let [before, after] = [old, new].map(|of| of.iter().collect::<HashSet<&Static>>());
            let lost = old.iter().find(|old| !after.contains(old))?;
            let other = new.iter().find(|new| !before.contains(new)).unwrap_or(&new[0]);
            let how = match lost.address == other.address {
                true => format!("is {}, was {}", other.ty, lost.ty),
                false => format!("is at {:#x}, was at {:#x}", other.address, lost.address),
            };
            Some((name.clone(), how))
        });
        sorted(changed.collect())
    }
}

fn sorted(mut found: Vec<(String, String)>) -> Vec<(String, String)> {
    found.sort_unstable();
    found
}

/// The address of a static variable that is there.
fn address(unit: &Reading<'_>, entry: &Entry<Bytes>) -> Result<Option<u64>> {
    let Some(AttributeValue::Exprloc(expression)) = entry.attr_value(dw::DW_AT_location) else {
        return Ok(None);
    };
    let mut operations = expression.operations(unit.encoding());
    let Some(Operation::Address { address }) = operations.next()? else { return Ok(None) };
    // Linkers give addresses like these to what they have left out.
    let is_there = address != 0 && address < 0xffff_fff0;
    Ok((is_there && operations.next()?.is_none()).then_some(address))
}

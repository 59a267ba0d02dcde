//! What a module says of its source, in the DWARF of its custom sections: lines and variables of its code, where static
//! variables lie, how types are laid out.
//!
//! ```text
//!   mod      lines, and variables of functions
//!   layout   static variables, and types by name
//!   types    how types are laid out
//!   effort   how much is read at most
//! ```
//!
//! Addresses are offsets from the beginning of the code section's contents, as compilers count them. What is malformed
//! is left out, as if the module said nothing of it: then less is known, and more edits are refused.

mod effort;
pub(crate) mod layout;
#[cfg(test)]
pub(crate) mod tests;
mod types;

use crate::types::printable::PrintableName;
use addr2line::Context;
use effort::{Effort, Reading, Result};
use gimli::{
    self, AttributeValue, DebuggingInformationEntry, Dwarf, EndianReader, LittleEndian, Operation,
    Reader as _, UnitOffset, constants as dw,
};
use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use wasmparser::{Parser, Payload};

/// A place in a program's source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceLine {
    /// The file, as the compiler has written it into the module's debug information.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
}

/// The file's name without its folder, and the line: `demo.c:12`.
impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.file.rsplit(['/', '\\']).next().unwrap_or_default();
        write!(f, "{}:{}", PrintableName(name), self.line)
    }
}

/// Where a function keeps a variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Storage {
    /// In this local.
    Local(u32),
    /// From this byte on of its frame in linear memory.
    FrameByte(u64),
}

/// Bytes of code in which a line is looked for.
const GAP: u64 = 64;

type Bytes = EndianReader<LittleEndian, Arc<[u8]>>;

/// What a module says of its source.
pub(crate) struct DebugInfo {
    dwarf: Arc<Dwarf<Bytes>>,
    context: Context<Bytes>,
    /// Offset of the code section's contents in the module.
    code: u64,
    /// What may still be read.
    effort: Effort,
    /// Where the functions are in their units, by their first addresses.
    functions: OnceCell<HashMap<u64, UnitOffset>>,
}

/// Variables that are looked at to say which ones are at the points of one function.
const MOST_LOOKED_AT: usize = 16 << 20;

/// The variables of a function.
pub(crate) struct Variables {
    /// In the order of the source.
    all: Vec<Variable>,
    /// Those that are in one place, by their indices.
    by_place: HashMap<Storage, Vec<usize>>,
    /// How many may still be looked at.
    left: Cell<usize>,
}

/// A variable that lies in its function's frame in linear memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InMemory {
    pub(crate) name: String,
    /// Where in the frame it begins.
    pub(crate) byte: u64,
    /// What it holds, as far as that says how it is laid out.
    pub(crate) ty: String,
}

struct Variable {
    name: String,
    at: Storage,
    /// The addresses for which this is so.
    range: gimli::Range,
    /// What it holds, if it is in memory: as far as that says how it is laid out.
    ty: String,
}

impl Variables {
    fn new(all: Vec<Variable>) -> Variables {
        let mut by_place: HashMap<Storage, Vec<usize>> = HashMap::new();
        for (i, variable) in all.iter().enumerate() {
            by_place.entry(variable.at).or_default().push(i);
        }
        Variables { all, by_place, left: Cell::new(MOST_LOOKED_AT) }
    }

    /// Those that lie in memory, each once.
    pub(crate) fn in_memory(&self) -> Vec<InMemory> {
        let mut found: Vec<InMemory> = Vec::new();
        for variable in &self.all {
            if let Storage::FrameByte(byte) = variable.at {
                let (name, ty) = (variable.name.clone(), variable.ty.clone());
                found.push(InMemory { name, byte, ty });
            }
        }
        found.dedup();
        found
    }

    /// The variable that is kept there at an address, if it is one only. Debug information has gaps: where it says
    /// nothing, the variable is that which is kept there elsewhere, if no other one is.
    pub(crate) fn at(&self, address: u64, at: Storage) -> Option<&str> {
        let there = &self.by_place.get(&at)?[..];
        self.left.set(self.left.get().checked_sub(2 * there.len())?);
        let there = || there.iter().map(|&i| &self.all[i]);
        let here = there().filter(|variable| contains(&variable.range, address));
        only_name(here).or_else(|| only_name(there()))
    }
}

fn only_name<'a>(mut variables: impl Iterator<Item = &'a Variable>) -> Option<&'a str> {
    let first = &*variables.next()?.name;
    variables.all(|other| other.name == first).then_some(first)
}

impl DebugInfo {
    /// Reads what a module says; `None` if it says nothing.
    pub(crate) fn read(module: &[u8]) -> Option<DebugInfo> {
        let (mut code, mut sections) = (None, HashMap::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::CodeSectionStart { unchecked_range, .. } => {
                    code = Some(unchecked_range.start);
                }
                Payload::CustomSection(section) => {
                    sections.insert(section.name(), section.data());
                }
                _ => {}
            }
        }
        if !sections.contains_key(".debug_line") {
            return None;
        }
        let load = |id: gimli::SectionId| {
            let bytes = sections.get(id.name()).copied().unwrap_or_default();
            Ok::<_, gimli::Error>(Bytes::new(Arc::from(bytes), LittleEndian))
        };
        let debug = sections.iter().filter(|(name, _)| name.starts_with(".debug_"));
        let effort = Effort::new(debug.map(|(_, data)| data.len()).sum());
        let dwarf = Arc::new(Dwarf::load(load).ok()?);
        in_proportion(&dwarf, &effort).ok()?;
        let context = Context::from_arc_dwarf(dwarf.clone()).ok()?;
        Some(DebugInfo { dwarf, context, code: code?, effort, functions: OnceCell::new() })
    }

    /// The address of what lies at this offset in the module.
    pub(crate) fn address(&self, offset: u64) -> Option<u64> {
        offset.checked_sub(self.code)
    }

    /// The line that the code at an address is of, or the next code that is of one.
    pub(crate) fn line(&self, address: u64) -> Option<SourceLine> {
        let mut locations = self.context.find_location_range(address, address + GAP).ok()?;
        // Compilers give line 0 to code that is of no line in particular.
        let (.., location) =
            locations.find(|(.., location)| location.line.is_some_and(|n| n != 0))?;
        Some(SourceLine { file: location.file?.to_owned(), line: location.line? })
    }

    /// The variables of the function that begins at an address; `None` if nothing is said of it.
    pub(crate) fn variables(&self, first: u64) -> Option<Variables> {
        let functions = self.functions.get_or_init(|| self.read_functions().unwrap_or_default());
        let function = *functions.get(&first)?;
        let unit = self.context.find_dwarf_and_unit(first).skip_all_loads()?;
        let mut variables = Vec::new();
        collect(&Reading { unit, effort: &self.effort }, function, &mut variables).ok()?;
        Some(Variables::new(variables))
    }

    /// Where the functions are in their units. What cannot be read is left out.
    fn read_functions(&self) -> Result<HashMap<u64, UnitOffset>> {
        let mut functions = HashMap::new();
        let mut units = self.dwarf.units();
        while let Some(header) = units.next()? {
            let Ok(unit) = self.dwarf.unit(header) else { continue };
            let unit = unit.unit_ref(&self.dwarf);
            let mut entries = unit.entries();
            while let Ok(Some(entry)) = entries.next_dfs() {
                self.effort.take(1)?;
                if entry.tag() == dw::DW_TAG_subprogram
                    && let Some(first) = entry.attr_value(dw::DW_AT_low_pc)
                    && let Ok(Some(first)) = unit.attr_address(first)
                {
                    functions.entry(first).or_insert(entry.offset());
                }
            }
        }
        Ok(functions)
    }
}

/// Fails if what is made of tables that units share is out of proportion: the paths of their files, and the ranges of
/// their code.
fn in_proportion(dwarf: &Dwarf<Bytes>, effort: &Effort) -> Result<()> {
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        effort.take(1)?;
        let Ok(unit) = dwarf.unit(header) else { continue };
        if let Ok(mut ranges) = dwarf.unit_ranges(&unit) {
            while let Ok(Some(_)) = ranges.next() {
                effort.take(1)?;
            }
        }
        let Some(program) = &unit.line_program else { continue };
        let header = program.header();
        let length = |value| dwarf.attr_string(&unit, value).map_or(0, |text| text.len());
        let around = unit.comp_dir.as_ref().map_or(0, |folder| folder.len());
        for file in header.file_names() {
            let folder = file.directory(header).map_or(0, length);
            effort.take(around + folder + length(file.path_name()))?;
        }
    }
    Ok(())
}

/// Collects the variables of a function.
fn collect(unit: &Reading<'_>, function: UnitOffset, into: &mut Vec<Variable>) -> Result<()> {
    let mut entries = unit.entries_at_offset(function)?;
    let function = entries.next_dfs()?.map_or(0, DebuggingInformationEntry::depth);
    // Ranges of the blocks around an entry, by their depths.
    let mut blocks: Vec<(isize, Vec<gimli::Range>)> = Vec::new();
    while let Some(entry) = entries.next_dfs()?.filter(|entry| entry.depth() > function) {
        unit.effort.take(1)?;
        let depth = entry.depth();
        match entry.tag() {
            dw::DW_TAG_lexical_block | dw::DW_TAG_inlined_subroutine => {
                while blocks.last().is_some_and(|(at, _)| *at >= depth) {
                    blocks.pop();
                }
                blocks.push((depth, ranges(unit, entry)?));
            }
            dw::DW_TAG_variable | dw::DW_TAG_formal_parameter => {
                while blocks.last().is_some_and(|(at, _)| *at >= depth) {
                    blocks.pop();
                }
                let everywhere = [gimli::Range { begin: 0, end: u64::MAX }];
                let scope = blocks.last().map_or(&everywhere[..], |(_, ranges)| ranges);
                if let (Some(name), Some(value)) =
                    (name(unit, entry)?, entry.attr_value(dw::DW_AT_location))
                {
                    let ty = types::of_entry(unit, entry, types::WHOLE)?;
                    for (at, range) in locations(unit, value)? {
                        unit.effort.take(scope.len())?;
                        let both = scope.iter().map(|scope| gimli::Range {
                            begin: scope.begin.max(range.begin),
                            end: scope.end.min(range.end),
                        });
                        for range in both.filter(|range| range.begin < range.end) {
                            unit.effort.take(name.len() + ty.len())?;
                            into.push(Variable { name: name.clone(), at, range, ty: ty.clone() });
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn contains(range: &gimli::Range, address: u64) -> bool {
    (range.begin..range.end).contains(&address)
}

fn ranges(
    unit: &Reading<'_>,
    entry: &DebuggingInformationEntry<Bytes>,
) -> Result<Vec<gimli::Range>> {
    let mut ranges = unit.die_ranges(entry)?;
    let mut all = Vec::new();
    while let Some(range) = ranges.next()? {
        unit.effort.take(1)?;
        all.push(range);
    }
    Ok(all)
}

/// The name of an entry, or of the one that it is an instance of.
fn name(unit: &Reading<'_>, entry: &DebuggingInformationEntry<Bytes>) -> Result<Option<String>> {
    if let Some(value) = entry.attr_value(dw::DW_AT_name) {
        return unit.text(value).map(Some);
    }
    match entry.attr_value(dw::DW_AT_abstract_origin) {
        Some(AttributeValue::UnitRef(origin)) => {
            let name = unit.entry(origin)?.attr_value(dw::DW_AT_name);
            name.map(|name| unit.text(name)).transpose()
        }
        _ => Ok(None),
    }
}

/// Where a variable is kept, and for which addresses.
fn locations(
    unit: &Reading<'_>,
    value: AttributeValue<Bytes>,
) -> Result<Vec<(Storage, gimli::Range)>> {
    let mut found = Vec::new();
    if let AttributeValue::Exprloc(expression) = value {
        let everywhere = gimli::Range { begin: 0, end: u64::MAX };
        found.extend(storage(unit, expression)?.map(|at| (at, everywhere)));
    } else if let Some(mut list) = unit.attr_locations(value)? {
        while let Some(entry) = list.next()? {
            unit.effort.take(1)?;
            found.extend(storage(unit, entry.data)?.map(|at| (at, entry.range)));
        }
    }
    Ok(found)
}

/// Where an expression says that a variable is, if that is one of the two ways that are known here.
fn storage(unit: &Reading<'_>, expression: gimli::Expression<Bytes>) -> Result<Option<Storage>> {
    let mut operations = expression.operations(unit.encoding());
    let at = match operations.next()? {
        Some(Operation::WasmLocal { index }) => Storage::Local(index),
        Some(Operation::FrameOffset { offset }) => match u64::try_from(offset) {
            Ok(offset) => Storage::FrameByte(offset),
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    // Anything else is made of what is there.
    let is_all = matches!(operations.next()?, None | Some(Operation::StackValue));
    Ok(is_all.then_some(at))
}

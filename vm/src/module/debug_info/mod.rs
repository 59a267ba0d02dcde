//! What a module says of its source, in the DWARF of its custom sections: lines and variables of its code, where static
//! variables lie, how types are laid out.
//!
//! ```text
//!   mod      lines, and variables of functions
//!   layout   static variables, and types by name
//!   types    how types are laid out
//! ```
//!
//! Addresses are offsets from the beginning of the code section's contents, as compilers count them. What is malformed
//! is left out: debug information only makes messages better.

pub(crate) mod layout;
mod types;

use crate::types::printable::PrintableName;
use addr2line::Context;
use gimli::{
    self, AttributeValue, DebuggingInformationEntry, Dwarf, EndianReader, LittleEndian, Operation,
    Reader as _, UnitRef, constants as dw,
};
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
}

/// The variables of a function, in the order of the source.
#[derive(Default)]
pub(crate) struct Variables(Vec<Variable>);

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
    /// Those that lie in memory, each once.
    pub(crate) fn in_memory(&self) -> Vec<InMemory> {
        let mut found: Vec<InMemory> = Vec::new();
        for variable in &self.0 {
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
        let there = || self.0.iter().filter(move |variable| variable.at == at);
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
        let dwarf = Arc::new(Dwarf::load(load).ok()?);
        let context = Context::from_arc_dwarf(dwarf.clone()).ok()?;
        Some(DebugInfo { dwarf, context, code: code? })
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

    /// The variables of the function at an address; `None` if nothing is said of it.
    pub(crate) fn variables(&self, address: u64) -> Option<Variables> {
        let unit = self.context.find_dwarf_and_unit(address).skip_all_loads()?;
        let mut variables = Variables::default();
        collect(&unit, address, &mut variables.0).ok()?.then_some(variables)
    }
}

/// Collects the variables of the function at an address. Whether there is one.
fn collect(
    unit: &UnitRef<'_, Bytes>,
    address: u64,
    into: &mut Vec<Variable>,
) -> gimli::Result<bool> {
    let mut entries = unit.entries();
    // Depth of the function, once it has been found; and ranges of the blocks around an entry, by their depths.
    let mut function = None;
    let mut blocks: Vec<(isize, Vec<gimli::Range>)> = Vec::new();
    while let Some(entry) = entries.next_dfs()? {
        let depth = entry.depth();
        if function.is_some_and(|function| depth <= function) {
            return Ok(true);
        }
        match entry.tag() {
            tag if function.is_none() => {
                let is_it = tag == dw::DW_TAG_subprogram
                    && ranges(unit, entry)?.iter().any(|range| contains(range, address));
                function = is_it.then_some(depth);
            }
            dw::DW_TAG_lexical_block | dw::DW_TAG_inlined_subroutine => {
                blocks.retain(|(at, _)| *at < depth);
                blocks.push((depth, ranges(unit, entry)?));
            }
            dw::DW_TAG_variable | dw::DW_TAG_formal_parameter => {
                blocks.retain(|(at, _)| *at < depth);
                let everywhere = gimli::Range { begin: 0, end: u64::MAX };
                let scope = blocks.last().map_or(vec![everywhere], |(_, ranges)| ranges.clone());
                if let (Some(name), Some(value)) =
                    (name(unit, entry)?, entry.attr_value(dw::DW_AT_location))
                {
                    let ty = types::of_entry(unit, entry, types::WHOLE)?;
                    for (at, range) in locations(unit, value)? {
                        let both = scope.iter().map(|scope| gimli::Range {
                            begin: scope.begin.max(range.begin),
                            end: scope.end.min(range.end),
                        });
                        let both = both.filter(|range| range.begin < range.end);
                        let variable =
                            |range| Variable { name: name.clone(), at, range, ty: ty.clone() };
                        into.extend(both.map(variable));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(function.is_some())
}

fn contains(range: &gimli::Range, address: u64) -> bool {
    (range.begin..range.end).contains(&address)
}

fn ranges(
    unit: &UnitRef<'_, Bytes>,
    entry: &DebuggingInformationEntry<Bytes>,
) -> gimli::Result<Vec<gimli::Range>> {
    let mut ranges = unit.die_ranges(entry)?;
    let mut all = Vec::new();
    while let Some(range) = ranges.next()? {
        all.push(range);
    }
    Ok(all)
}

/// The name of an entry, or of the one that it is an instance of.
fn name(
    unit: &UnitRef<'_, Bytes>,
    entry: &DebuggingInformationEntry<Bytes>,
) -> gimli::Result<Option<String>> {
    let text = |value| -> gimli::Result<String> {
        Ok(unit.attr_string(value)?.to_string_lossy()?.into_owned())
    };
    if let Some(value) = entry.attr_value(dw::DW_AT_name) {
        return text(value).map(Some);
    }
    match entry.attr_value(dw::DW_AT_abstract_origin) {
        Some(AttributeValue::UnitRef(origin)) => {
            unit.entry(origin)?.attr_value(dw::DW_AT_name).map(text).transpose()
        }
        _ => Ok(None),
    }
}

/// Where a variable is kept, and for which addresses.
fn locations(
    unit: &UnitRef<'_, Bytes>,
    value: AttributeValue<Bytes>,
) -> gimli::Result<Vec<(Storage, gimli::Range)>> {
    let mut found = Vec::new();
    if let AttributeValue::Exprloc(expression) = value {
        let everywhere = gimli::Range { begin: 0, end: u64::MAX };
        found.extend(storage(unit, expression)?.map(|at| (at, everywhere)));
    } else if let Some(mut list) = unit.attr_locations(value)? {
        while let Some(entry) = list.next()? {
            found.extend(storage(unit, entry.data)?.map(|at| (at, entry.range)));
        }
    }
    Ok(found)
}

/// Where an expression says that a variable is, if that is one of the two ways that are known here.
fn storage(
    unit: &UnitRef<'_, Bytes>,
    expression: gimli::Expression<Bytes>,
) -> gimli::Result<Option<Storage>> {
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

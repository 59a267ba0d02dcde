//! How types are laid out in memory.

use super::effort::{Reading, Result};
use super::{Bytes, name};
use gimli::{AttributeValue, DebuggingInformationEntry as Entry, UnitOffset, constants as dw};
use std::collections::{HashMap, HashSet};

/// Types within types that are looked at.
const DEPTH: u32 = 16;

/// How a struct, a union or an enum is laid out, so that two of them can be compared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TypeLayout {
    /// Bytes.
    pub(crate) size: Option<u64>,
    /// Its fields, or its enumerators, in the order of the source.
    pub(crate) parts: Vec<Part>,
}

/// A field or an enumerator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) at: At,
    /// What it holds, as far as that says how it is laid out: what a pointer leads to does not.
    pub(crate) ty: String,
}

/// Where a field is, or what an enumerator is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// Bytes from the beginning.
    Byte(u64),
    /// Bits from the beginning, and how many.
    Bits(u64, u64),
    Value(i128),
}

impl TypeLayout {
    /// What is different in another layout, if anything is that matters to what has this one.
    pub(crate) fn difference(&self, new: &TypeLayout) -> Option<String> {
        // Of several of one name, the first.
        let mut by_name: HashMap<&str, &Part> = HashMap::new();
        for part in &new.parts {
            by_name.entry(&part.name).or_insert(part);
        }
        for part in &self.parts {
            let Some(other) = by_name.get(&*part.name) else {
                // Nobody misses an enumerator.
                if matches!(part.at, At::Value(_)) {
                    continue;
                }
                return Some(format!("it has no `{}` any more", part.name));
            };
            match (part.at, other.at) {
                (At::Byte(old), At::Byte(new)) if old != new => {
                    return Some(format!("`{}` is at byte {new}, was at {old}", part.name));
                }
                (At::Value(old), At::Value(new)) if old != new => {
                    return Some(format!("`{}` is {new}, was {old}", part.name));
                }
                (old, new) if old != new => return Some(format!("`{}` has moved", part.name)),
                _ if part.ty != other.ty => {
                    return Some(format!("`{}` is {}, was {}", part.name, other.ty, part.ty));
                }
                _ => {}
            }
        }
        if self.size != new.size
            && let (Some(old), Some(new)) = (self.size, new.size)
        {
            return Some(format!("it is of {new} bytes, was of {old}"));
        }
        let known: HashSet<&str> = self.parts.iter().map(|part| &*part.name).collect();
        let is_new =
            |part: &&Part| !matches!(part.at, At::Value(_)) && !known.contains(&*part.name);
        new.parts.iter().find(is_new).map(|part| format!("`{}` is new in it", part.name))
    }
}

/// Whether an entry is a type that is looked at by itself, under its name.
pub(super) fn is_aggregate(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        dw::DW_TAG_structure_type
            | dw::DW_TAG_class_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
    )
}

pub(super) fn number(entry: &Entry<Bytes>, attribute: gimli::DwAt) -> Option<u64> {
    entry.attr_value(attribute)?.udata_value()
}

/// The layout of a struct, a union or an enum.
pub(super) fn layout(reading: &Reading<'_>, at: UnitOffset, depth: u32) -> Result<TypeLayout> {
    let mut entries = reading.entries_at_offset(at)?;
    let mut layout = TypeLayout::default();
    // The entries around the present one whose parts are the type's, by their depths, and what their parts' names
    // begin with.
    let mut around: Vec<(isize, String)> = Vec::new();
    while let Some(entry) = entries.next_dfs()? {
        reading.effort.take(1)?;
        let at = entry.depth();
        if around.is_empty() {
            layout.size = number(entry, dw::DW_AT_byte_size);
            around.push((at, String::new()));
            continue;
        }
        while around.last().is_some_and(|(outer, _)| *outer >= at) {
            around.pop();
        }
        // Another type begins.
        let Some((outer, prefix)) = around.last() else { break };
        // What is in something else is no part.
        if outer + 1 != at {
            continue;
        }
        match entry.tag() {
            dw::DW_TAG_member | dw::DW_TAG_inheritance | dw::DW_TAG_enumerator => {
                let number = layout.parts.len();
                let part = part(reading, entry, (prefix, number), depth)?;
                layout.parts.extend(part);
            }
            // Rust's enums: which variant it is, and what each holds.
            dw::DW_TAG_variant_part => {
                reading.effort.take(prefix.len())?;
                let prefix = prefix.clone();
                around.push((at, prefix));
            }
            dw::DW_TAG_variant => {
                reading.effort.take(prefix.len())?;
                let value = number(entry, dw::DW_AT_discr_value);
                let value = value.map_or("else".to_owned(), |value| value.to_string());
                let prefix = format!("{prefix}{value}:");
                around.push((at, prefix));
            }
            _ => {}
        }
    }
    Ok(layout)
}

/// A field or an enumerator, if it is a part of the object. `within`: what its name begins with, and its number.
fn part(
    reading: &Reading<'_>,
    entry: &Entry<Bytes>,
    within: (&str, usize),
    depth: u32,
) -> Result<Option<Part>> {
    let own = name(reading, entry)?.unwrap_or_else(|| format!("({})", within.1));
    let at = if entry.tag() == dw::DW_TAG_enumerator {
        let value = entry.attr_value(dw::DW_AT_const_value);
        let value = value.and_then(|value| match value.sdata_value() {
            Some(value) => Some(i128::from(value)),
            None => value.udata_value().map(i128::from),
        });
        At::Value(value.unwrap_or_default())
    } else if let Some(bits) = number(entry, dw::DW_AT_bit_size) {
        let first = number(entry, dw::DW_AT_data_bit_offset).or_else(|| {
            let byte = number(entry, dw::DW_AT_data_member_location)?;
            byte.checked_mul(8)?.checked_add(number(entry, dw::DW_AT_bit_offset)?)
        });
        At::Bits(first.unwrap_or_default(), bits)
    } else if entry.attr_value(dw::DW_AT_data_member_location).is_some()
        || entry.attr_value(dw::DW_AT_declaration).is_none()
    {
        At::Byte(number(entry, dw::DW_AT_data_member_location).unwrap_or_default())
    } else {
        // A static member is no part of the object.
        return Ok(None);
    };
    let ty = match at {
        At::Value(_) => String::new(),
        _ => of_entry(reading, entry, depth)?,
    };
    reading.effort.take(within.0.len())?;
    Ok(Some(Part { name: format!("{}{own}", within.0), at, ty }))
}

/// What an entry's type is, as far as that says how it is laid out.
pub(super) fn of_entry(reading: &Reading<'_>, entry: &Entry<Bytes>, depth: u32) -> Result<String> {
    match entry.attr_value(dw::DW_AT_type) {
        Some(AttributeValue::UnitRef(at)) => description(reading, at, depth),
        None => Ok("nothing".to_owned()),
        // In another unit.
        Some(_) => Ok("something".to_owned()),
    }
}

fn description(reading: &Reading<'_>, at: UnitOffset, depth: u32) -> Result<String> {
    if depth == 0 {
        return Ok("something".to_owned());
    }
    reading.effort.take(1)?;
    let entry = reading.entry(at)?;
    let own = name(reading, &entry)?;
    Ok(match entry.tag() {
        dw::DW_TAG_typedef
        | dw::DW_TAG_const_type
        | dw::DW_TAG_volatile_type
        | dw::DW_TAG_restrict_type
        | dw::DW_TAG_atomic_type => of_entry(reading, &entry, depth - 1)?,
        dw::DW_TAG_pointer_type
        | dw::DW_TAG_reference_type
        | dw::DW_TAG_rvalue_reference_type
        | dw::DW_TAG_ptr_to_member_type => "a pointer".to_owned(),
        dw::DW_TAG_array_type => {
            let mut entries = reading.entries_at_offset(at)?;
            let array = entries.next_dfs()?.map_or(0, Entry::depth);
            let mut lengths = String::new();
            while let Some(child) = entries.next_dfs()?.filter(|child| child.depth() > array) {
                reading.effort.take(1)?;
                let count = number(child, dw::DW_AT_count)
                    .or_else(|| Some(number(child, dw::DW_AT_upper_bound)?.wrapping_add(1)));
                let count = count.map_or("?".to_owned(), |count| count.to_string());
                lengths += &format!("[{count}]");
            }
            let of = of_entry(reading, &entry, depth - 1)?;
            reading.effort.take(lengths.len() + of.len())?;
            format!("{of}{lengths}")
        }
        tag if is_aggregate(tag) => match own {
            Some(own) => own,
            // It has no name under which it could be compared.
            None => {
                let layout = layout(reading, at, depth - 1)?;
                let part = |part: &Part| format!("{} {:?} {}", part.name, part.at, part.ty);
                let parts: Vec<String> = layout.parts.iter().map(part).collect();
                let all = parts.join(", ");
                reading.effort.take(all.len())?;
                format!("{{{all}}}")
            }
        },
        dw::DW_TAG_base_type => {
            let size = number(&entry, dw::DW_AT_byte_size).unwrap_or_default();
            format!("{} of {size} bytes", own.unwrap_or_default())
        }
        _ => own.unwrap_or_else(|| "something".to_owned()),
    })
}

/// How deep a type is described.
pub(super) const WHOLE: u32 = DEPTH;

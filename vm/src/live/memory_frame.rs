//! Frames that compilers keep in linear memory, of variables whose address is taken; all of them, in code that is
//! not optimised.
//!
//! LLVM's languages have a stack there, which a global points to. A suspended frame has its part of it, laid out as
//! the old body wants it. Nothing moves what lies there, for anything may point to it: so frames go on in a new
//! body only if that has the same layout.

use super::agreement::{AccessAgreement, Agreement};
use super::memory_pairs::MemoryPairs;
use super::memory_references::{MemoryReference, MemoryReferences, ReferringOperator};
use super::source_names::SourceNames;
use crate::module::debug_info::InMemory;
use crate::module::{Item, ModuleState};
use crate::types::printable::PrintableName;
use midair_tiers::{FunctionBody, ValType};
use std::collections::{BTreeSet, HashMap, VecDeque};
use wasmparser::Operator;

/// What LLVM's linker calls the global that points to the stack.
const STACK_POINTER: &str = "__stack_pointer";
/// How many functions, and how many globals, are looked at to find a stack pointer that has no name.
const LOOKED_AT: (usize, usize) = (4096, 4);

/// The global that points to the stack in linear memory: known by its name, as an export, or because functions take
/// their frames from it.
pub(crate) fn stack_pointer(module: &ModuleState) -> Option<u32> {
    let env = &module.env;
    let long = has_long_addresses(module);
    let address = if long { ValType::I64 } else { ValType::I32 };
    let is_candidate = |global: u32| {
        let ty = env.globals.get(global as usize);
        ty.is_some_and(|ty| ty.mutable && ty.content == address)
    };
    let candidates: Vec<u32> =
        (0..env.globals.len() as u32).filter(|global| is_candidate(*global)).collect();
    let named = |global: &u32| module.global_name(*global) == Some(STACK_POINTER);
    if let Some(named) = candidates.iter().copied().find(named) {
        return Some(named);
    }
    if let Some(Item::Global(global)) = module.export(STACK_POINTER).map(|export| export.item())
        && is_candidate(global)
    {
        return Some(global);
    }
    let functions = env.imported_functions..env.functions.len() as u32;
    let bodies = || functions.clone().take(LOOKED_AT.0).map(|i| module.code.current_body(i));
    candidates.into_iter().take(LOOKED_AT.1).find(|&global| {
        bodies().any(|body| {
            sets(&body, global)
                && MemoryReferences::of(body.bytes(), 0, Some(global), long).frame.is_some()
        })
    })
}

/// Whether addresses in the memory that compilers use have 64 bits.
pub(crate) fn has_long_addresses(module: &ModuleState) -> bool {
    module.env.memories.first().is_some_and(|memory| memory.is_64)
}

/// Whether a body sets a global.
fn sets(body: &FunctionBody, global: u32) -> bool {
    let Ok(mut operators) = body.reader().get_operators_reader() else { return false };
    std::iter::from_fn(|| operators.read().ok()).any(
        |operator| matches!(operator, Operator::GlobalSet { global_index } if global_index == global),
    )
}

/// How the frame that `new` keeps in memory differs from that of `old`, if frames of the one cannot be frames of the
/// other. `long`: whether addresses have 64 bits.
pub(crate) fn difference(
    old: &[u8],
    new: &[u8],
    parameters: u32,
    (stack_pointer, long): (u32, bool),
    names: [&SourceNames; 2],
) -> Option<String> {
    let byte = |names: &SourceNames, byte: i64| {
        let name = u64::try_from(byte).ok().and_then(|byte| names.at_byte(byte));
        let name = name.map(|name| format!(" (variable `{}`)", PrintableName(&name)));
        format!("byte {byte}{}", name.unwrap_or_default())
    };
    let read = |body| MemoryReferences::of(body, parameters, Some(stack_pointer), long);
    let (old, new) = (read(old), read(new));
    match (old.frame, new.frame) {
        (None, None) => return None,
        (None, Some(size)) => return Some(format!("it had none, and has one of {size} bytes")),
        (Some(_), None) => return Some("it has none any more".to_owned()),
        (Some(old), Some(new)) if old != new => {
            return Some(format!("it is of {new} bytes instead of {old}"));
        }
        _ => {}
    }
    // What lies where the source says. Optimisers lose track of variables in memory too: of the others only the code is
    // left.
    let mut known = BTreeSet::new();
    let mut was_known = BTreeSet::new();
    if let [Some(old), Some(new)] = names.map(SourceNames::in_memory) {
        if let Some(moved) = moved_variable(&old, &new) {
            return Some(moved);
        }
        known.extend(new.iter().filter_map(|variable| i64::try_from(variable.byte).ok()));
        was_known.extend(old.iter().filter_map(|variable| i64::try_from(variable.byte).ok()));
    }
    let slot = |operator: &ReferringOperator| match operator.reference {
        Some(MemoryReference::Frame(slot)) => Some(slot),
        _ => None,
    };
    let pairs = MemoryPairs::new(&old, &new);
    let (mut slots, mut accesses) = (Agreement::new(false), AccessAgreement::new());
    for &(i, j) in &pairs.pairs {
        let (old, new) = (&old.operators[i], &new.operators[j]);
        slots.note(slot(old), slot(new));
        if let (Some(at), Some((before, _)), Some((after, _))) = (slot(old), old.access, new.access)
            && slot(new) == Some(at)
        {
            accesses.note(at, before, after);
        }
    }
    pairs.lost.iter().for_each(|&i| slots.note(slot(&old.operators[i]), None));
    pairs.appeared.iter().for_each(|&j| slots.note(None, slot(&new.operators[j])));
    // Byte 0 is also what the stack pointer is set to.
    let used = |body: &MemoryReferences| -> BTreeSet<i64> {
        let used = body.operators.iter().filter(|operator| operator.access.is_some());
        let led_to = body.operators.iter().filter(|operator| slot(operator) != Some(0));
        used.chain(led_to).filter_map(slot).collect()
    };
    let (was_used, is_used) = (used(&old), used(&new));
    if let Some(&gone) = was_used.difference(&is_used).find(|at| !was_known.contains(at)) {
        return Some(format!(
            "what was at its {} is gone, and nothing says whether the others are where they were (debug information \
             would)",
            byte(names[0], gone)
        ));
    }
    if let Some(&new) = is_used.difference(&was_used).find(|at| !known.contains(at)) {
        return Some(format!(
            "what is at its {} is new, and nothing has given it a value",
            byte(names[1], new)
        ));
    }
    if let Some(&(old, new)) = slots.doubts(&|at| known.contains(&at)).first() {
        if old == new {
            return Some(format!(
                "its {} is used at another place, and nothing says which variable that is (debug information would)",
                byte(names[0], old)
            ));
        }
        let (old, new) = (byte(names[0], old), byte(names[1], new));
        return Some(format!("what was at its {old} may be at its {new} now"));
    }
    let ((at, old, new), _) = accesses.doubts(&|at, _| known.contains(&at)).first().copied()?;
    let at = byte(names[1], at);
    Some(format!("at its {at} it has {} instead of {}", new.name(), old.name()))
}

/// Which variable of a frame in memory the frames of an old body do not have where the new one looks for it. Of several
/// of one name, which are of different blocks, each is the same one as that which comes as late.
fn moved_variable(old: &[InMemory], new: &[InMemory]) -> Option<String> {
    let mut by_name: HashMap<&str, VecDeque<&InMemory>> = HashMap::new();
    for variable in old {
        by_name.entry(&variable.name).or_default().push_back(variable);
    }
    for InMemory { name, byte, ty } in new {
        let why = match by_name.get_mut(&**name).and_then(VecDeque::pop_front) {
            None => "is new, and nothing has given it a value".to_owned(),
            Some(same) if same.byte != *byte => {
                format!("is at its byte {byte}, was at {}", same.byte)
            }
            Some(same) if same.ty != *ty => format!("is {ty}, was {}", same.ty),
            Some(_) => continue,
        };
        return Some(format!("variable `{}` {why}", PrintableName(name)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(all: &[(&str, u64, &str)]) -> Vec<InMemory> {
        let variable = |&(name, byte, ty): &(&str, u64, &str)| InMemory {
            name: name.to_owned(),
            byte,
            ty: ty.to_owned(),
        };
        all.iter().map(variable).collect()
    }

    #[test]
    fn variables_of_one_name_are_told_apart_by_their_order() {
        let old = variables(&[("i", 12, "int"), ("n", 8, "int"), ("i", 4, "int")]);
        let told = |new: &[(&str, u64, &str)]| moved_variable(&old, &variables(new));
        assert_eq!(told(&[("i", 12, "int"), ("i", 4, "int"), ("n", 8, "int")]), None);
        assert_eq!(told(&[("i", 12, "int")]), None);
        let exchanged = told(&[("i", 4, "int"), ("i", 12, "int")]);
        assert_eq!(exchanged.as_deref(), Some("variable `i` is at its byte 4, was at 12"));
        let third = told(&[("i", 12, "int"), ("i", 4, "int"), ("i", 0, "int")]);
        let why = "variable `i` is new, and nothing has given it a value";
        assert_eq!(third.as_deref(), Some(why));
        let wider = told(&[("i", 12, "int"), ("i", 4, "long")]);
        assert_eq!(wider.as_deref(), Some("variable `i` is long, was int"));
    }
}

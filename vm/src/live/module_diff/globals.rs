//! Globals: where those of the new module go. They keep their values; those that are added begin with theirs.
//!
//! A global that cannot be set is no state, but part of the program. If its value changes it becomes another
//! global, and code that reads it gets new bodies; what runs on in an old body goes on with the old value.

use super::initial_data::DataPolicy;
use super::matching::{Matching, Side};
use super::refusal::ModuleRefusal;
use super::renumber::renumber_expression;
use super::{Diff, initial_value};
use crate::live::changes::AddedGlobal;
use crate::types::ExternType;
use crate::types::printable::PrintableName;
use midair_tiers::types::ValType;
use std::collections::HashMap;

/// Globals by which LLVM's linker tells where things are in memory.
const LAYOUT_GLOBALS: [&str; 6] =
    ["__stack_pointer", "__heap_base", "__heap_end", "__data_end", "__global_base", "__stack_low"];

/// Constants of the running module that no global of the new one is, by type and first value.
type Constants = HashMap<(ValType, u128), Vec<u32>>;

fn constants(matching: &Matching<'_>, live: &Side<'_>) -> Constants {
    let mut constants = Constants::new();
    for (i, facts) in (0..).zip(&live.globals) {
        if let Some(init) = facts.init.as_ref().filter(|_| !facts.ty.mutable)
            && matching.globals.new_of[i as usize].is_none()
        {
            constants.entry((facts.ty.content, init.hash)).or_default().push(i);
        }
    }
    constants
}

impl<'a> Diff<'a> {
    /// Globals without a counterpart get the next indices.
    pub(super) fn map_globals(
        &mut self,
        matching: &mut Matching<'_>,
        new: &Side<'_>,
        live: &Side<'_>,
    ) {
        let mut constants = constants(matching, live);
        let mut by_name: HashMap<&str, u32> = HashMap::new();
        for (i, facts) in (0..).zip(&live.globals) {
            if let Some(name) = facts.name.filter(|_| facts.present && facts.ty.mutable)
                && matching.globals.new_of[i as usize].is_none()
            {
                by_name.entry(name).or_insert(i);
            }
        }
        let mut next = live.globals.len() as u32;
        for (i, facts) in (0..).zip(&new.globals) {
            let replaced = self.is_another_constant(i, matching, new, live);
            if replaced {
                matching.globals.unset(i);
                self.summary.constants += 1;
            }
            if let Some(init) = facts.init.as_ref().filter(|_| !facts.ty.mutable)
                && matching.globals.live_of[i as usize].is_none()
            {
                let is = |live_index: &u32| {
                    let before = live.globals[*live_index as usize].init.as_ref();
                    before.is_some_and(|before| before.is(init, &self.maps))
                };
                let same = constants.get_mut(&(facts.ty.content, init.hash));
                let same = same.and_then(|same| {
                    let at = same.iter().position(is)?;
                    Some(same.swap_remove(at))
                });
                match same {
                    Some(same) => matching.globals.set(i, same),
                    None => self.constants_added += usize::from(replaced),
                }
            }
            let pair = matching.globals.live_of[i as usize];
            self.maps.globals.push(pair.unwrap_or(next));
            if pair.is_some() {
                continue;
            }
            next += 1;
            if let Some(&before) = facts.name.and_then(|name| by_name.get(name)) {
                let (old, new) = (live.globals[before as usize].ty, facts.ty);
                self.refuse(ModuleRefusal::GlobalType {
                    global: self.global_label(i),
                    old: ExternType::Global(old).to_string(),
                    new: ExternType::Global(new).to_string(),
                });
            }
        }
    }

    /// Whether a global of the new module is a constant whose counterpart has another value. The globals before
    /// it have been mapped.
    fn is_another_constant(
        &self,
        global: u32,
        matching: &Matching<'_>,
        new: &Side<'_>,
        live: &Side<'_>,
    ) -> bool {
        let facts = &new.globals[global as usize];
        let Some(pair) = matching.globals.live_of[global as usize] else { return false };
        let (Some(before), Some(after)) = (&live.globals[pair as usize].init, &facts.init) else {
            return false;
        };
        let is_layout = || self.layout_global(global).is_some();
        !facts.ty.mutable && !before.is(after, &self.maps) && !is_layout()
    }

    pub(super) fn global_label(&self, new: u32) -> String {
        match self.global_name(new) {
            Some(name) => format!("global `{}`", PrintableName(name)),
            None => format!("global {new}"),
        }
    }

    /// The name of a global by which the linker tells where things are.
    fn layout_global(&self, new: u32) -> Option<&'a str> {
        let name = self.global_name(new).filter(|name| LAYOUT_GLOBALS.contains(name));
        name.or_else(|| (self.stack_pointer == Some(new)).then_some(LAYOUT_GLOBALS[0]))
    }

    fn global_name(&self, new: u32) -> Option<&'a str> {
        self.new.global_name(new).or_else(|| self.exported_globals.get(&new).copied())
    }

    /// First values. What is added is written down.
    pub(super) fn compare_globals(
        &mut self,
        matching: &Matching<'_>,
        new: &Side<'_>,
        live: &Side<'_>,
        policy: DataPolicy,
    ) {
        let old: HashMap<u32, u32> =
            (0..).zip(&self.old_maps.globals).map(|(i, g)| (*g, i)).collect();
        for (i, pair) in (0..).zip(&matching.globals.live_of) {
            let Some(init) = initial_value(self.new, i) else { continue };
            let Some(pair) = *pair else {
                match renumber_expression(&self.maps, init) {
                    Ok(init) => {
                        let ty = new.globals[i as usize].ty;
                        self.changes.globals.push(AddedGlobal { ty, init });
                    }
                    Err(error) => self.not_available(self.global_label(i), &error),
                }
                continue;
            };
            let facts = &live.globals[pair as usize];
            if !facts.present && facts.ty.mutable {
                let label = self.global_label(i);
                self.summary.notes.push(format!("{label} is back, with the value that it had"));
                continue;
            }
            let (Some(before), Some(after)) = (&facts.init, &new.globals[i as usize].init) else {
                continue;
            };
            if before.is(after, &self.maps) {
                continue;
            }
            let old_value = old.get(&pair).and_then(|old| self.old_values.global(*old));
            let values = old_value.zip(self.new_values.global(i));
            match (self.layout_global(i), values) {
                (Some(global), Some((old, new))) if policy != DataPolicy::Keep => {
                    self.refuse(ModuleRefusal::LayoutMoved { global: global.into(), old, new });
                }
                _ => {
                    let label = self.global_label(i);
                    self.summary
                        .notes
                        .push(format!("{label} keeps its value; only its first value changed"));
                }
            }
        }
        self.summary.globals = self.changes.globals.len() - self.constants_added;
    }
}

//! Functions: where those of the new module go, and which bodies that changes.

use super::Diff;
use super::matching::{Matching, Side};
use super::refusal::ModuleRefusal;
use super::renumber::{Unmapped, renumber_body};
use super::summary::FunctionLabel;
use crate::live::changes::{AddedFunction, ChangedBody};
use crate::live::policy::Policy;
use crate::live::source_names::Origin;
use crate::module::{Item, ModuleState};
use std::collections::{HashMap, HashSet};
use wasm_encoder::reencode::Error as ReencodeError;

/// Functions of the running program that no function of the new module is: what one of another type may take
/// the place of.
struct Left<'a> {
    functions: HashSet<u32>,
    by_name: HashMap<&'a str, u32>,
}

impl<'a> Left<'a> {
    fn new(matching: &Matching<'_>, live: &Side<'a>) -> Left<'a> {
        let present = (0..).zip(&live.functions).filter(|(_, facts)| facts.present);
        let left = present.filter(|(i, _)| matching.functions.new_of[*i as usize].is_none());
        let (mut functions, mut by_name) = (HashSet::new(), HashMap::new());
        for (i, facts) in left {
            functions.insert(i);
            if let Some(name) = facts.name {
                by_name.entry(name).or_insert(i);
            }
        }
        Left { functions, by_name }
    }
}

/// For each function that a module exports, the names, in the order of the module.
fn exports_of(module: &ModuleState) -> HashMap<u32, Vec<&str>> {
    let mut exports: HashMap<u32, Vec<&str>> = HashMap::new();
    for export in module.exports.list() {
        if let Item::Func(function) = export.item() {
            exports.entry(function).or_default().push(&export.name);
        }
    }
    exports
}

impl<'a> Diff<'a> {
    pub(super) fn label(&self, index: u32, new: u32) -> FunctionLabel {
        let export = || self.exported_functions.get(&new).copied();
        let name = self.new.function_name(new).or_else(export);
        FunctionLabel { index, name: name.map(Into::into) }
    }

    /// Functions without a counterpart get the next indices.
    pub(super) fn map_functions(
        &mut self,
        matching: &Matching<'_>,
        new: &Side<'_>,
        live: &Side<'_>,
    ) {
        let (left, exports) = (Left::new(matching, live), exports_of(self.new));
        // The function of the running program that has the name of a new one, but another type.
        let same_name = |function: u32| {
            let name = new.functions[function as usize].name;
            let by_name = name.and_then(|name| left.by_name.get(name).copied());
            by_name.or_else(|| {
                exports.get(&function)?.iter().find_map(|export| match live.exports.get(export) {
                    Some(Item::Func(i)) if left.functions.contains(i) => Some(*i),
                    _ => None,
                })
            })
        };
        let mut next = live.functions.len() as u32;
        for (i, pair) in (0..).zip(&matching.functions.live_of) {
            self.maps.functions.push(pair.unwrap_or(next));
            if let Some(pair) = *pair {
                // Of a type that the function of this name has had before.
                if !live.functions[pair as usize].present
                    && let Some(before) = same_name(i)
                {
                    self.changes.retyped.push((before, pair));
                    let label = self.label(pair, i);
                    self.summary.retyped.push(label);
                }
                continue;
            }
            debug_assert!(new.functions[i as usize].import.is_none(), "imports are all there");
            let label = self.label(next, i);
            match same_name(i) {
                Some(before) => {
                    self.changes.retyped.push((before, next));
                    self.summary.retyped.push(label);
                }
                None => self.summary.added.push(label),
            }
            next += 1;
        }
    }

    /// Bodies in the index spaces of the running module: those that differ, and those that are added.
    pub(super) fn compare_bodies(
        &mut self,
        matching: &Matching<'_>,
        new: &Side<'_>,
        live: &Side<'_>,
    ) {
        for (i, pair) in (0..).zip(&matching.functions.live_of) {
            if i < self.new.env.imported_functions {
                continue;
            }
            let facts = &new.functions[i as usize];
            if let Some(pair) = pair
                && let (Some(before), Some(after)) =
                    (&live.functions[*pair as usize].skeleton, &facts.skeleton)
                && before.is(after, &self.maps)
            {
                self.summary.unchanged += 1;
                continue;
            }
            let label = self.label(self.maps.functions[i as usize], i);
            let body = self.new.code.current_body(i);
            let body = match renumber_body(&self.maps, body.bytes()) {
                Ok(body) => body,
                Err(error) => {
                    self.not_available(label.to_string(), &error);
                    continue;
                }
            };
            match *pair {
                Some(function) => {
                    self.summary.changed.push(label);
                    let (policy, map) = (Policy::default(), None);
                    let origin = Some(Origin { module: self.new.clone(), function: i });
                    self.changes.bodies.push(ChangedBody { function, body, policy, map, origin });
                }
                None => self.changes.functions.push(AddedFunction {
                    ty: facts.ty,
                    body,
                    name: label.name,
                }),
            }
        }
    }

    pub(super) fn not_available(&mut self, function: String, error: &ReencodeError<Unmapped>) {
        let item = match error {
            ReencodeError::UserError(unmapped) => unmapped.to_string(),
            other => format!("something malformed ({other})"),
        };
        self.refuse(ModuleRefusal::NotAvailable { function, item });
    }

    /// Tells of functions that the new module does not have.
    pub(super) fn vanished(&mut self, matching: &Matching<'_>, live: &Side<'_>) {
        let retyped: HashSet<u32> = self.changes.retyped.iter().map(|(old, _)| *old).collect();
        for &i in &live.function_order {
            if matching.functions.new_of[i as usize].is_none() && !retyped.contains(&i) {
                let name = live.functions[i as usize].name.map(Into::into);
                self.summary.vanished.push(FunctionLabel { index: i, name });
            }
        }
    }
}

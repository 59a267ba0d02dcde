//! How what code reaches through pointers is laid out.
//!
//! Fields have no addresses, and a distance from one pointer says nothing of another. That an operator refers to
//! another field may be an edit. But where a struct has another layout, more than one operator shows it: somebody
//! wrote what somebody reads, and the sizes of things that hold it are others.

use super::refusal::ModuleRefusal;
use crate::live::agreement::{AccessAgreement, Agreement};
use crate::live::memory_references::{Access, MemoryReference, ReferringOperator};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes up to this are taken for what has been allocated, and so many elements for an array of structs.
const LARGEST: u32 = 1 << 16;
const MOST_ELEMENTS: u32 = 256;
/// A struct does not become so many times as large.
const LARGER: u32 = 16;
/// At most so many sizes and fields are compared with each other.
const COMPARED: usize = 256;

pub(super) struct Structs {
    fields: Agreement<u64>,
    accesses: AccessAgreement<u64>,
    /// Who refers to another field, and who takes one for something else: the first one.
    users: BTreeMap<(u64, u64), u32>,
    takers: BTreeMap<u64, u32>,
    /// Fields that operators without a counterpart refer to.
    unpaired: BTreeSet<u64>,
    /// All fields that the old bodies refer to, and the new ones, where they end, and who does.
    before: BTreeSet<u64>,
    after: BTreeSet<(u64, u64, u32)>,
    /// Numbers that have become larger ones.
    larger: BTreeSet<(u32, u32)>,
    /// Functions whose frame in memory has another size.
    frames: BTreeMap<u32, (i64, i64)>,
    /// Elements whose distance is another one.
    distances: BTreeMap<(i64, i64), u32>,
}

impl Structs {
    /// `named`: whether debug information says how types are laid out.
    pub(super) fn new(named: bool) -> Structs {
        Structs {
            fields: Agreement::new(named),
            accesses: AccessAgreement::new(),
            users: BTreeMap::new(),
            takers: BTreeMap::new(),
            unpaired: BTreeSet::new(),
            before: BTreeSet::new(),
            after: BTreeSet::new(),
            larger: BTreeSet::new(),
            frames: BTreeMap::new(),
            distances: BTreeMap::new(),
        }
    }

    /// Sizes of a function's frames in memory.
    pub(super) fn frames(&mut self, function: u32, old: Option<i64>, new: Option<i64>) {
        if let (Some(old), Some(new)) = (old, new)
            && old < new
        {
            self.frames.insert(function, (old, new));
        }
    }

    /// Two operators correspond, and refer to these fields.
    pub(super) fn pair(
        &mut self,
        function: u32,
        (old, field): (&ReferringOperator, Option<u64>),
        (new, field_now): (&ReferringOperator, Option<u64>),
    ) {
        self.note_after(function, new, field_now);
        self.before.extend(field);
        match (field, field_now) {
            (Some(a), Some(b)) => {
                self.fields.note(field, field_now);
                self.users.entry((a, b)).or_insert(function);
                if let (Some((old, _)), Some((new, _))) = (old.access, new.access)
                    && a == b
                {
                    self.accesses.note(a, old, new);
                    self.takers.entry(a).or_insert(function);
                }
            }
            (a, b) => self.unpaired.extend(a.into_iter().chain(b)),
        }
        let mut distances = |old: i64, new: i64| {
            if old != new {
                self.distances.entry((old, new)).or_insert(function);
            }
        };
        if let (Some(old), Some(new)) = (old.distance, new.distance) {
            distances(i64::from(old), i64::from(new));
        }
        match (old.reference, new.reference) {
            // Single bytes are stepped over in other ways, and an index that is added to a base looks the same.
            (Some(MemoryReference::Step(old)), Some(MemoryReference::Step(new)))
                if old.abs_diff(0) != 1 =>
            {
                distances(i64::from(old), i64::from(new));
            }
            (Some(MemoryReference::Constant(old)), Some(MemoryReference::Constant(new)))
                if 0 < old && old < new && new <= LARGEST && new / LARGER <= old =>
            {
                self.larger.insert((old, new));
            }
            _ => {}
        }
    }

    /// An operator is in the old bodies only.
    pub(super) fn lost(&mut self, field: Option<u64>) {
        self.before.extend(field);
        self.unpaired.extend(field);
    }

    /// An operator is in the new bodies only.
    pub(super) fn appeared(
        &mut self,
        function: u32,
        operator: &ReferringOperator,
        field: Option<u64>,
    ) {
        self.note_after(function, operator, field);
        self.unpaired.extend(field);
    }

    fn note_after(&mut self, function: u32, operator: &ReferringOperator, field: Option<u64>) {
        if let (Some(field), Some((access, _))) = (field, operator.access) {
            self.after.insert((field, field.saturating_add(u64::from(access.bytes)), function));
        }
    }

    /// What is in doubt.
    pub(super) fn reasons(&self, label: &dyn Fn(u32) -> String) -> Vec<ModuleRefusal> {
        let mut reasons = Vec::new();
        let fields = self.fields.doubts(&|_| false);
        let accesses = self.accesses.doubts(&|_, _| false);
        let operators = fields.iter().map(|differ| self.fields.differ[differ]).sum::<usize>()
            + accesses.iter().map(|(_, count)| count).sum::<usize>();
        // One operator may well refer to another field than before, if that is all there is.
        let is_edit = operators == 1
            && fields
                .iter()
                .all(|(old, new)| !self.unpaired.contains(old) && !self.unpaired.contains(new))
            && accesses.iter().all(|((field, ..), _)| !self.unpaired.contains(field));
        if !is_edit {
            reasons.extend(fields.into_iter().map(|(old, new)| ModuleRefusal::FieldMoved {
                function: self.users.get(&(old, new)).map(|user| label(*user)),
                old,
                new,
            }));
            reasons.extend(
                accesses
                    .into_iter()
                    .map(|((field, old, new), _)| self.access_changed(label, field, (old, new))),
            );
        }
        reasons.extend(self.distances.iter().map(|(&(old, new), &function)| {
            ModuleRefusal::ElementsMoved { function: label(function), old, new }
        }));
        reasons.extend(self.grown(label));
        reasons
    }

    fn access_changed(
        &self,
        label: &dyn Fn(u32) -> String,
        field: u64,
        (old, new): (Access, Access),
    ) -> ModuleRefusal {
        ModuleRefusal::AccessChanged {
            function: self.takers.get(&field).map_or_else(String::new, |user| label(*user)),
            at: format!("{field} bytes behind a pointer"),
            old: old.name(),
            new: new.name(),
        }
    }

    /// A field that is new, for which something has become larger that holds it.
    fn grown(&self, label: &dyn Fn(u32) -> String) -> Option<ModuleRefusal> {
        let new = self.after.iter().filter(|(field, ..)| !self.before.contains(field));
        new.take(COMPARED).find_map(|&(field, end, user)| {
            let holds = |(old, new): (u32, u32)| {
                let divides =
                    |count: &u32| old.is_multiple_of(*count) && new.is_multiple_of(*count);
                (1..=MOST_ELEMENTS.min(new - old)).filter(divides).any(|count| {
                    let (old, new) = (u64::from(old / count), u64::from(new / count));
                    // A struct ends where the next one could begin.
                    old <= field && end <= new && new.is_multiple_of(end - field)
                })
            };
            let larger = self.larger.iter().take(COMPARED).copied().find(|larger| holds(*larger));
            let frames = || self.frames.iter().find(|(function, _)| **function != user);
            let evidence = match (larger, frames()) {
                (Some((old, new)), _) => format!("what was {old}, as a size may be, is {new}"),
                (None, Some((function, (old, new)))) => {
                    let function = label(*function);
                    format!("the frame of {function} in memory is of {new} bytes instead of {old}")
                }
                (None, None) => return None,
            };
            Some(ModuleRefusal::StructGrew { function: label(user), field, evidence })
        })
    }
}

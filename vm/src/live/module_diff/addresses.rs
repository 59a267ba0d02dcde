//! Where code expects static data to lie.
//!
//! Linkers place static data anew at each build. What a program has made of its data lies where the old code put
//! it, so code that looks for it elsewhere must not come to run. Data segments do not show it: they tell nothing
//! of data that begins as zeros. So the bodies that differ are compared operator by operator, and all have to agree
//! on where things lie.

use super::Diff;
use super::initial_data::{Base, DataPolicy, Segment};
use super::known_values::KnownValues;
use super::matching::{Matching, Side};
use super::refusal::ModuleRefusal;
use super::structs::Structs;
use crate::live::agreement::{AccessAgreement, Agreement};
use crate::live::memory_frame;
use crate::live::memory_pairs::MemoryPairs;
use crate::live::memory_references::{
    Access, MemoryReference, MemoryReferences, ReferringOperator,
};
use crate::module::ModuleState;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Where LLVM's linker puts the first static data, if nothing else lies before it.
const LOWEST: u64 = 1024;
/// How large it makes the stack.
const STACK_SIZE: u64 = 65536;
/// At most so many places are named.
const EXPLAINED: usize = 3;

/// Where static data of a module lies.
struct StaticData {
    /// Constants in here may be addresses of it; empty if nothing is known.
    range: Range<u64>,
    /// What nothing writes to, by its name.
    read_only: Vec<Range<u64>>,
    /// In the running module's index space.
    stack_pointer: Option<u32>,
    /// Whether addresses have 64 bits.
    long: bool,
}

/// What an operator refers to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Of static data.
    Address(u64),
    /// At this distance from a pointer.
    Field(u64),
}

impl StaticData {
    /// `stack_pointer`: in the module's own index space.
    fn new(
        module: &ModuleState,
        segments: &[Segment<'_>],
        values: &KnownValues<'_>,
        stack_pointer: Option<u32>,
    ) -> StaticData {
        let of_segment = |segment: &Segment<'_>| {
            segment.offset..segment.offset.saturating_add(segment.bytes.len() as u64)
        };
        let placed: Vec<&Segment<'_>> = segments
            .iter()
            .filter(|segment| segment.base == Base::Absolute && segment.memory == 0)
            .collect();
        let read_only =
            placed.iter().filter(|s| s.is_read_only()).map(|segment| of_segment(segment)).collect();
        let data_end = placed.iter().map(|segment| of_segment(segment).end).max();
        let lowest = placed.iter().map(|segment| segment.offset).min();
        let size = module.env.memories.first();
        let size = size.map_or(0, |memory| memory.minimum.saturating_mul(memory.page_size()));
        let stack = stack_pointer.and_then(|global| values.global(global));
        let range = match stack {
            // The stack lies before the data, or behind it.
            Some(stack) if lowest.is_some_and(|lowest| stack <= lowest) => stack..size,
            Some(stack) => {
                let lowest = lowest.unwrap_or(LOWEST);
                let end = stack.saturating_sub(STACK_SIZE);
                let end = if end >= data_end.unwrap_or(lowest) { end } else { stack };
                lowest..end.max(lowest)
            }
            None if placed.is_empty() => 0..0,
            None => lowest.unwrap_or(0).max(LOWEST)..data_end.unwrap_or(0),
        };
        let long = memory_frame::has_long_addresses(module);
        StaticData { range, read_only, stack_pointer: None, long }
    }

    /// What a body refers to.
    fn references(&self, body: &[u8], parameters: u32) -> MemoryReferences {
        MemoryReferences::of(body, parameters, self.stack_pointer, self.long)
    }

    /// Of something that is constant.
    fn constant(&self, operator: &ReferringOperator) -> Option<u64> {
        let at = match operator.reference? {
            MemoryReference::At(address) | MemoryReference::Offset(address) => address,
            MemoryReference::Constant(constant) => u64::from(constant),
            MemoryReference::Frame(_) | MemoryReference::Step(_) => return None,
        };
        (!self.is_written(at)).then_some(at)
    }

    fn is_written(&self, address: u64) -> bool {
        !self.read_only.iter().any(|range| range.contains(&address))
    }

    fn place(&self, reference: MemoryReference) -> Option<Place> {
        let at = |address| self.is_written(address).then_some(Place::Address(address));
        match reference {
            MemoryReference::At(address) => at(address),
            MemoryReference::Constant(constant) => {
                let constant = u64::from(constant);
                // The end of the last one is an address too.
                let known = constant >= self.range.start && constant <= self.range.end;
                if known && !self.range.is_empty() { at(constant) } else { None }
            }
            MemoryReference::Offset(offset) if offset >= self.range.start.max(LOWEST) => at(offset),
            MemoryReference::Offset(offset) => Some(Place::Field(offset)),
            MemoryReference::Frame(_) | MemoryReference::Step(_) => None,
        }
    }

    fn address(&self, operator: &ReferringOperator) -> Option<u64> {
        match self.place(operator.reference?)? {
            Place::Address(address) => Some(address),
            Place::Field(_) => None,
        }
    }

    fn field(&self, operator: &ReferringOperator) -> Option<u64> {
        match self.place(operator.reference?)? {
            Place::Address(_) => None,
            Place::Field(field) => Some(field),
        }
    }
}

/// What is known of two modules' static data from operators that correspond.
struct Comparison<'d, 'a> {
    diff: &'d Diff<'a>,
    old: StaticData,
    new: StaticData,
    addresses: Agreement<u64>,
    accesses: AccessAgreement<u64>,
    /// Who refers to an address that differs, and who takes one for something else: the first one.
    users: BTreeMap<(u64, u64), u32>,
    takers: BTreeMap<u64, u32>,
    /// Who refers to a constant elsewhere: the first one.
    constants: Option<(u32, u64, u64)>,
    structs: Structs,
}

impl<'a> Diff<'a> {
    /// Words in here may be addresses of static data of either module.
    pub(super) fn static_addresses(&self, old: &[Segment<'_>], new: &[Segment<'_>]) -> Range<u64> {
        let pointer = memory_frame::stack_pointer(self.old);
        let old = StaticData::new(self.old, old, &self.old_values, pointer).range;
        let new = StaticData::new(self.new, new, &self.new_values, self.stack_pointer).range;
        old.start.min(new.start).max(LOWEST)..old.end.max(new.end)
    }

    /// Code of the new module must not look for data elsewhere than that of the running one left it.
    pub(super) fn compare_addresses(
        &mut self,
        matching: &Matching<'_>,
        live: &Side<'_>,
        policy: DataPolicy,
    ) {
        let (reasons, constants) = self.moved_addresses(matching, live);
        // Bytes are written over what the running program may hold addresses of.
        if self.summary.data_bytes > 0 {
            self.summary.notes.extend(constants.as_ref().map(ToString::to_string));
        }
        // Where nothing has changed another constant is only another one.
        let differ = self.refusals.iter().any(ModuleRefusal::is_about_data);
        let reasons = reasons.into_iter().chain(constants.filter(|_| differ));
        let reasons: Vec<ModuleRefusal> = explained(reasons.collect(), EXPLAINED);
        if policy == DataPolicy::Keep {
            self.summary.notes.extend(reasons.iter().map(ToString::to_string));
        } else {
            self.refusals.extend(reasons);
        }
    }

    /// Why the code of the new module may look for data elsewhere.
    /// Apart from these, where constants lie that were elsewhere.
    fn moved_addresses(
        &self,
        matching: &Matching<'_>,
        live: &Side<'_>,
    ) -> (Vec<ModuleRefusal>, Option<ModuleRefusal>) {
        if self.live.memories.is_empty() || self.changes.bodies.is_empty() {
            return (Vec::new(), None);
        }
        let (old_pointer, new_pointer) =
            (memory_frame::stack_pointer(self.old), self.stack_pointer);
        let old_segments = super::segments(self.old, self.old_maps, &self.old_values);
        let new_segments = super::segments(self.new, &self.maps, &self.new_values);
        let mut old = StaticData::new(self.old, &old_segments, &self.old_values, old_pointer);
        let mut new = StaticData::new(self.new, &new_segments, &self.new_values, new_pointer);
        old.stack_pointer = old_pointer.map(|i| self.old_maps.globals[i as usize]);
        new.stack_pointer = new_pointer.map(|i| self.maps.globals[i as usize]);

        let named = self.is_named();
        let mut comparison = Comparison {
            diff: self,
            old,
            new,
            addresses: Agreement::new(named),
            accesses: AccessAgreement::new(),
            users: BTreeMap::new(),
            takers: BTreeMap::new(),
            constants: None,
            structs: Structs::new(named),
        };
        for changed in &self.changes.bodies {
            if let Some(before) = self.live.body(changed.function) {
                comparison.bodies(changed.function, before, changed.function, &changed.body);
            }
        }
        let functions = self.live.functions.len() as u32;
        let retyped: BTreeMap<u32, u32> =
            self.changes.retyped.iter().map(|(old, new)| (*new, *old)).collect();
        for (function, added) in (functions..).zip(&self.changes.functions) {
            match retyped.get(&function).and_then(|old| Some((*old, self.live.body(*old)?))) {
                Some((old, before)) => comparison.bodies(old, before, function, &added.body),
                None => comparison.added(function, &added.body),
            }
        }
        let is_gone = |i: &u32| {
            matching.functions.new_of[*i as usize].is_none()
                && !self.changes.retyped.iter().any(|(old, _)| old == i)
        };
        for function in live.function_order.iter().copied().filter(is_gone) {
            if let Some(body) = self.live.body(function) {
                comparison.removed(function, body);
            }
        }
        let constants = comparison.constants.map(|(function, old, new)| {
            let function = self.address_user(matching, function);
            ModuleRefusal::ConstantsMoved { function, old, new }
        });
        (comparison.reasons(matching), constants)
    }

    /// How many parameters a function has, added or not.
    fn parameters(&self, function: u32) -> u32 {
        let known = self.live.functions.len();
        let ty = match (function as usize).checked_sub(known) {
            None => self.live.functions[function as usize],
            Some(added) => self.changes.functions[added].ty,
        };
        let ty = match (ty as usize).checked_sub(self.live.types.len()) {
            None => &self.live.types[ty as usize],
            Some(added) => &self.changes.types[added].ty,
        };
        ty.params.len() as u32
    }

    fn address_user(&self, matching: &Matching<'_>, function: u32) -> String {
        let new = matching.functions.new_of.get(function as usize).copied().flatten();
        let mut names = self.changes.functions.iter().zip(self.live.functions.len() as u32..);
        match new {
            Some(new) => self.label(function, new).to_string(),
            None => match names.find(|(_, index)| *index == function) {
                Some((added, _)) if added.name.is_some() => added.name.clone().unwrap_or_default(),
                _ => format!("function {function}"),
            },
        }
    }
}

/// The first `most` reasons, and how many more there are.
pub(super) fn explained(mut reasons: Vec<ModuleRefusal>, most: usize) -> Vec<ModuleRefusal> {
    let more = reasons.len().saturating_sub(most);
    reasons.truncate(most);
    reasons.extend((more > 0).then_some(ModuleRefusal::MoreMoved { count: more }));
    reasons
}

impl Comparison<'_, '_> {
    /// A function has another body; one that has another type, another index too.
    fn bodies(&mut self, function: u32, before: &[u8], now: u32, after: &[u8]) {
        let (parameters, new_parameters) =
            (self.diff.parameters(function), self.diff.parameters(now));
        let before = self.old.references(before, parameters);
        let after = self.new.references(after, new_parameters);
        let pairs = MemoryPairs::new(&before, &after);
        self.structs.frames(now, before.frame, after.frame);
        for &(i, j) in &pairs.pairs {
            let (a, b) = (&before.operators[i], &after.operators[j]);
            let (at, at_now) = (self.old.address(a), self.new.address(b));
            self.addresses.note(at, at_now);
            if let (Some(at), Some(at_now)) = (at, at_now) {
                self.users.entry((at, at_now)).or_insert(now);
                if let (Some((a, _)), Some((b, _))) = (a.access, b.access)
                    && at == at_now
                {
                    self.accesses.note(at, a, b);
                    self.takers.entry(at).or_insert(now);
                }
            }
            let constants = self.old.constant(a).zip(self.new.constant(b));
            if let Some((at, at_now)) = constants.filter(|(at, at_now)| at != at_now) {
                self.constants.get_or_insert((now, at, at_now));
            }
            let (field, field_now) = (self.old.field(a), self.new.field(b));
            self.structs.pair(now, (a, field), (b, field_now));
        }
        for operator in pairs.lost.iter().map(|&i| &before.operators[i]) {
            self.addresses.note(self.old.address(operator), None);
            self.structs.lost(self.old.field(operator));
        }
        for operator in pairs.appeared.iter().map(|&j| &after.operators[j]) {
            self.addresses.note(None, self.new.address(operator));
            self.structs.appeared(now, operator, self.new.field(operator));
        }
    }

    fn added(&mut self, function: u32, body: &[u8]) {
        let parameters = self.diff.parameters(function);
        for operator in &self.new.references(body, parameters).operators {
            self.addresses.note(None, self.new.address(operator));
            self.structs.appeared(function, operator, self.new.field(operator));
        }
    }

    fn removed(&mut self, function: u32, body: &[u8]) {
        let parameters = self.diff.parameters(function);
        for operator in &self.old.references(body, parameters).operators {
            self.addresses.note(self.old.address(operator), None);
            self.structs.lost(self.old.field(operator));
        }
    }

    /// What is in doubt.
    fn reasons(&self, matching: &Matching<'_>) -> Vec<ModuleRefusal> {
        let mut reasons = Vec::new();
        let label = |function: u32| self.diff.address_user(matching, function);
        if !self.addresses.is_clear() || !self.accesses.is_clear() {
            let (places, accesses) = self.fixed(matching);
            let moved = self.addresses.doubts(&|at| places.contains(&at));
            reasons.extend(moved.into_iter().map(|(old, new)| ModuleRefusal::AddressMoved {
                function: self.users.get(&(old, new)).copied().map(label),
                old,
                new,
            }));
            let changed = self.accesses.doubts(&|at, access| accesses.contains(&(at, access)));
            reasons.extend(changed.into_iter().map(|((at, old, new), _)| {
                ModuleRefusal::AccessChanged {
                    function: self.takers.get(&at).map_or_else(String::new, |user| label(*user)),
                    at: format!("at {at:#x}"),
                    old: old.name(),
                    new: new.name(),
                }
            }));
        }
        reasons.extend(self.structs.reasons(&label));
        reasons
    }

    /// Addresses that functions refer to which have not changed, and what they take them for.
    fn fixed(&self, matching: &Matching<'_>) -> (BTreeSet<u64>, BTreeSet<(u64, Access)>) {
        let Diff { changes, live, .. } = self.diff;
        let changed: BTreeSet<u32> = changes.bodies.iter().map(|body| body.function).collect();
        let same = matching.functions.live_of.iter().flatten().filter(|i| !changed.contains(i));
        let (mut places, mut accesses) = (BTreeSet::new(), BTreeSet::new());
        for &function in same {
            let Some(body) = live.body(function) else { continue };
            let parameters = self.diff.parameters(function);
            let references = self.old.references(body, parameters);
            for operator in &references.operators {
                let Some(at) = self.old.address(operator) else { continue };
                places.insert(at);
                accesses.extend(operator.access.map(|(access, _)| (at, access)));
            }
        }
        (places, accesses)
    }
}

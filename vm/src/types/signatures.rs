//! Identities of defined types: equal types have equal numbers in the whole engine.
//!
//! Types are defined in groups, and those of one group may refer to each other. Groups are equal if they are written
//! down alike once references to types of the group itself are *relative*, and those to others are numbers; and types
//! are equal if they are at the same place of equal groups. So a type refers to itself or to its group by number
//! only here, where a group has one set of numbers in the whole engine.
//!
//! A number means its type for as long as somebody holds the [`Signature`] that it came with: modules hold those
//! of their types, host functions, tables and globals of the host their own. Numbers that nobody holds are given out
//! again, so that an engine which sees ever new types, one module after the other, does not grow; but not those that
//! types of references have named, for these go about on their own.

use midair_osr::CallShape;
use midair_tiers::{FuncType, HeapType, RefType, TypeId, ValType};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A function type as the engine knows it.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) ty: FuncType,
    pub(crate) shape: CallShape,
    /// 64-bit slots that a call needs: parameters or results, whichever is more.
    pub(crate) slots: usize,
    /// Its identity.
    pub(crate) number: u32,
    /// Whether it can have subtypes.
    pub(crate) is_open: bool,
    /// Its supertype, the supertype of that, and so on.
    supertypes: Box<[u32]>,
    /// Numbers of all types of its group, in order.
    pub(crate) group: Arc<[u32]>,
    /// What keeps the types of other groups that it refers to.
    _refers_to: Box<[Arc<Signature>]>,
}

impl Signature {
    pub(crate) fn id(&self) -> TypeId {
        TypeId::from_number(self.number)
    }

    /// Its supertype.
    pub(crate) fn supertype(&self) -> Option<TypeId> {
        self.supertypes.first().map(|number| TypeId::from_number(*number))
    }
}

/// A type as its group defines it. References to types of the same group are [relative](relative).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Definition {
    pub(crate) ty: FuncType,
    /// Whether it can have subtypes.
    pub(crate) is_open: bool,
    pub(crate) supertype: Option<TypeId>,
}

impl From<FuncType> for Definition {
    fn from(ty: FuncType) -> Definition {
        Definition { ty, is_open: false, supertype: None }
    }
}

/// Set in references that are relative.
const RELATIVE: u32 = 1 << 31;

/// A reference to the type at this place of the group that refers to it.
pub(crate) fn relative(place: u32) -> TypeId {
    TypeId::from_number(RELATIVE | place)
}

/// The place in the own group that a relative reference names.
fn place_in_group(id: TypeId) -> Option<u32> {
    (id.number() & RELATIVE != 0).then_some(id.number() & !RELATIVE)
}

/// The type, with every defined type that it refers to replaced.
fn replace(ty: &FuncType, with: impl Fn(TypeId) -> TypeId) -> FuncType {
    let replace = |ty: &ValType| match ty {
        ValType::Ref(reference) => match reference.heap_type() {
            HeapType::Concrete(id) => {
                RefType::new(reference.is_nullable(), HeapType::Concrete(with(id))).into()
            }
            _ => *ty,
        },
        _ => *ty,
    };
    FuncType::new(ty.params.iter().map(replace), ty.results.iter().map(replace))
}

/// The defined types that a type refers to.
pub(crate) fn referred(ty: &FuncType) -> impl Iterator<Item = TypeId> + '_ {
    ty.params.iter().chain(&*ty.results).filter_map(|ty| defined(*ty))
}

/// The defined type that values of this type are references to, if they are.
pub(crate) fn defined(ty: ValType) -> Option<TypeId> {
    match ty.as_ref()?.heap_type() {
        HeapType::Concrete(id) => Some(id),
        _ => None,
    }
}

/// A type of references names a type that the engine does not know, or does not know any more.
#[derive(Debug)]
pub(crate) struct UnknownType;

/// Below this many signatures nobody looks for unused ones.
const FIRST_SWEEP: usize = 1024;

/// The signatures of an engine.
#[derive(Default)]
pub(crate) struct Signatures {
    /// The types of each group, by what it was defined as. Never empty.
    groups: HashMap<Box<[Definition]>, Box<[Arc<Signature>]>>,
    signatures: Vec<Slot>,
    free: Vec<u32>,
    /// How many signatures there are.
    count: usize,
    /// Number of signatures at which unused ones are looked for.
    sweep_at: usize,
}

/// What a number means.
#[derive(Default)]
struct Slot {
    signature: Option<Arc<Signature>>,
    /// Whether types of references have named it.
    named: bool,
}

impl Signatures {
    /// The signature of a function type that is a group of its own and has no subtypes.
    pub(crate) fn intern(&mut self, ty: &FuncType) -> Result<Arc<Signature>, UnknownType> {
        let mut group = self.intern_group(&[Definition::from(ty.clone())])?;
        Ok(group.pop().expect("a group of one type"))
    }

    /// The signatures of a group of types.
    pub(crate) fn intern_group(
        &mut self,
        group: &[Definition],
    ) -> Result<Vec<Arc<Signature>>, UnknownType> {
        if let Some(known) = self.groups.get(group) {
            return Ok(known.to_vec());
        }
        let count = group.len() as u32;
        let mut kept = Vec::with_capacity(group.len());
        for definition in group {
            let mut others = Vec::new();
            for id in referred(&definition.ty).chain(definition.supertype) {
                match place_in_group(id) {
                    Some(place) if place < count => {}
                    Some(_) => return Err(UnknownType),
                    None => others.push(self.named(id).ok_or(UnknownType)?),
                }
            }
            kept.push(others.into_boxed_slice());
        }
        if self.count + group.len() > self.sweep_at.max(FIRST_SWEEP) {
            self.sweep();
        }
        let numbers: Arc<[u32]> = group.iter().map(|_| self.new_number()).collect();
        let of = |id: TypeId| match place_in_group(id) {
            Some(place) => TypeId::from_number(numbers[place as usize]),
            None => id,
        };
        let slots = |types: &[ValType]| -> usize { types.iter().map(|ty| ty.kind().slots()).sum() };
        let mut signatures: Vec<Arc<Signature>> = Vec::with_capacity(group.len());
        for ((number, definition), refers_to) in numbers.iter().zip(group).zip(kept) {
            let mut supertypes = Vec::new();
            if let Some(supertype) = definition.supertype {
                supertypes.push(of(supertype).number());
                // Supertypes come first, in the group too.
                let earlier = match place_in_group(supertype) {
                    Some(place) => signatures.get(place as usize),
                    None => self.signatures[supertype.number() as usize].signature.as_ref(),
                };
                supertypes.extend(earlier.ok_or(UnknownType)?.supertypes.iter());
            }
            let ty = replace(&definition.ty, of);
            signatures.push(Arc::new(Signature {
                shape: midair_tiers::abi::call_shape(&ty),
                slots: slots(&ty.params).max(slots(&ty.results)),
                ty,
                number: *number,
                is_open: definition.is_open,
                supertypes: supertypes.into(),
                group: numbers.clone(),
                _refers_to: refers_to,
            }));
        }
        let names_itself =
            group.iter().any(|d| referred(&d.ty).any(|id| place_in_group(id).is_some()));
        for signature in &signatures {
            let named = names_itself;
            let slot = &mut self.signatures[signature.number as usize];
            *slot = Slot { signature: Some(signature.clone()), named };
        }
        self.count += group.len();
        self.groups.insert(group.into(), signatures.as_slice().into());
        Ok(signatures)
    }

    /// A number that means nothing yet.
    fn new_number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.signatures.push(Slot::default());
            let number = u32::try_from(self.signatures.len() - 1).ok();
            number.filter(|number| *number < RELATIVE).expect("fewer than 2^31 signatures")
        })
    }

    /// The signature of this number, which somebody must hold.
    pub(crate) fn get(&self, number: u32) -> Arc<Signature> {
        self.signatures[number as usize].signature.clone().expect("a number that is in use")
    }

    /// The signature of a type that a type of references names, if it exists. From now on its number is not given
    /// out again.
    pub(crate) fn named(&mut self, id: TypeId) -> Option<Arc<Signature>> {
        let slot = self.signatures.get_mut(id.number() as usize)?;
        slot.named |= slot.signature.is_some();
        slot.signature.clone()
    }

    /// What a module has to define, in this order, to have the type of a signature: its group, and the groups that it
    /// refers to, but for those that are `known`.
    pub(crate) fn needed(
        &self,
        signature: &Signature,
        known: impl Fn(TypeId) -> bool,
    ) -> Vec<Arc<Signature>> {
        let mut needed: Vec<Arc<Signature>> = Vec::new();
        let mut defined: HashSet<u32> = HashSet::new();
        let mut pending = vec![signature.group.clone()];
        while let Some(group) = pending.pop() {
            let first = TypeId::from_number(group[0]);
            if known(first) || defined.contains(&group[0]) {
                continue;
            }
            let types: Vec<Arc<Signature>> = group.iter().map(|number| self.get(*number)).collect();
            let others: Vec<Arc<[u32]>> = types
                .iter()
                .flat_map(|signature| referred(&signature.ty).chain(signature.supertype()))
                .filter(|id| !group.contains(&id.number()) && !known(*id))
                .filter(|id| !defined.contains(&id.number()))
                .map(|id| self.get(id.number()).group.clone())
                .collect();
            if others.is_empty() {
                defined.extend(&*group);
                needed.extend(types);
            } else {
                // Once more, when they are there.
                pending.push(group);
                pending.extend(others);
            }
        }
        needed
    }

    /// Whether one type is another one, or a subtype of it.
    pub(crate) fn is_subtype(&self, a: TypeId, b: TypeId) -> bool {
        let supertypes = || {
            let slot = self.signatures.get(a.number() as usize)?;
            Some(&slot.signature.as_ref()?.supertypes)
        };
        a == b || supertypes().is_some_and(|supertypes| supertypes.contains(&b.number()))
    }

    /// Forgets all groups that nobody holds a signature of. The next sweep waits until there are twice as many
    /// signatures as are left, so that a sweep costs each new signature a constant amount of work.
    fn sweep(&mut self) {
        // Only this table hands counts out, and it is borrowed: a count of its own two stays two. A group that is
        // forgotten may have been the last to hold others.
        loop {
            let before = self.count;
            let (slots, free) = (&mut self.signatures, &mut self.free);
            let mut forgotten = Vec::new();
            self.groups.retain(|_, group| {
                let held = group.iter().any(|signature| Arc::strong_count(signature) > 2);
                if !held {
                    forgotten.extend(group.iter().map(|signature| signature.number));
                }
                held
            });
            for number in &forgotten {
                let slot = &mut slots[*number as usize];
                slot.signature = None;
                if !slot.named {
                    free.push(*number);
                }
            }
            self.count -= forgotten.len();
            if self.count == before {
                break;
            }
        }
        self.sweep_at = 2 * self.count;
    }
}

#[cfg(test)]
mod tests;

//! Which values of two bodies are the same variable.
//!
//! First, values are *equal* if they are computed in the same way from equal values. Variables of loops are equal if
//! that can be assumed without contradiction: what they are on entry is equal, and so is what each time round makes of
//! them. This is the coarsest partition that is stable under what values are made of (partition refinement, as in
//! Alpern, Wegman and Zadeck, *Detecting equality of variables in programs*, POPL 1988). A new frame's value
//! that is equal to one of the old frame has the bits that it would have if the edit had been there from the beginning
//! and control had gone the same way, whatever locals the two are in.
//!
//! What the edit is about is not equal: `sum + i` has become `sum + 2 * i`. A variable of a loop is still the same one
//! if its step is equal, or start and step are computed alike, somebody uses both in the same way, and there is no
//! other that all this could be said of. A variable that is new begins as on entry to the
//! loop, if that is known. Anything else is unknown, and nothing is guessed.

use super::alignment::Unaligned;
use super::values::{FrameValues, Id, Kind, Value, Values};
use crate::code::layout::Slot;
use midair_tiers::ValType;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Values that are looked at altogether while the partition is refined. If that is not enough nothing is equal.
const MOST_VISITS: usize = 16 << 20;
/// How deep two values are compared that are not equal, and how many pairs are looked at for that: values that are made
/// of shared ones have as many ways down as there are subsets of them.
const DEPTH: u32 = 32;
const MOST_PAIRS: u32 = 1000;

/// What is known of the values of two bodies.
pub(crate) struct Correspondence<'a> {
    old: &'a Values,
    new: &'a Values,
    /// Classes of equal values: those of the old body, and then those of the new one.
    classes: Vec<u32>,
    /// Index of the counterpart of each old safepoint.
    counterparts: HashMap<u32, u32>,
}

/// A value of the new frame, by where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A local.
    Local(u32),
    /// An operand, counted from the bottom of the stack.
    Operand(u32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Local(local) => write!(f, "local {local}"),
            Place::Operand(operand) => write!(f, "operand {operand}"),
        }
    }
}

/// A value whose origin is not known.
pub(crate) struct Unknown {
    pub(crate) place: Place,
    pub(crate) ty: ValType,
    pub(crate) why: &'static str,
}

/// Everything of a new frame that its body may read.
pub(crate) struct Sources {
    /// For each live local.
    pub(crate) locals: Vec<(u32, Slot)>,
    pub(crate) operands: Vec<Slot>,
}

const LOST: &str = "the old body does not keep the variable that it is";
const AMBIGUOUS: &str = "it may be one of several variables of the old body";
const CHANGED: &str = "nothing of the old frame is sure to be the same variable";
/// Not a refusal: there is one more of it than in the old body.
const NEW: &str = "it is new";
const NOT_BEGUN: &str = "it is new, and what it would begin with is not known there";

impl<'a> Correspondence<'a> {
    /// Compares the values of two bodies whose safepoints correspond so.
    pub(crate) fn new(
        old: &'a Values,
        new: &'a Values,
        counterparts: &[Result<usize, Unaligned>],
    ) -> Correspondence<'a> {
        let aligned = (0..).zip(counterparts).filter_map(|(i, to)| Some((i, to.ok()? as u32)));
        let counterparts: HashMap<u32, u32> = aligned.collect();
        let classes = refine(old, new, &counterparts);
        Correspondence { old, new, classes, counterparts }
    }

    fn class_of_old(&self, id: Id) -> u32 {
        self.classes[id as usize]
    }

    fn class_of_new(&self, id: Id) -> u32 {
        self.classes[self.old.values.len() + id as usize]
    }

    /// Where the values of a frame at the new safepoint come from, if it was suspended at the old one. `slot` tells
    /// the first slots of the old frame's locals and operands.
    pub(crate) fn sources(
        &self,
        old: usize,
        new: usize,
        slot: &dyn Fn(Place) -> u32,
    ) -> Result<Sources, Unknown> {
        let frame = Frame::new(self, &self.old.frames[old], &self.new.frames[new], slot);
        let locals = &self.new.frames[new].locals;
        let locals = locals.iter().map(|&(local, value)| {
            let source = frame.source(value, true);
            Ok((local, source.map_err(|why| self.unknown(Place::Local(local), value, why))?))
        });
        let locals = locals.collect::<Result<Vec<_>, Unknown>>()?;
        let operands = (0..).zip(&self.new.frames[new].operands).map(|(i, &value)| {
            frame.source(value, false).map_err(|why| self.unknown(Place::Operand(i), value, why))
        });
        Ok(Sources { locals, operands: operands.collect::<Result<Vec<_>, Unknown>>()? })
    }

    fn unknown(&self, place: Place, value: Id, why: &'static str) -> Unknown {
        let ty = self.new.values[value as usize].ty.expect("what is in a frame has a type");
        Unknown { place, ty, why }
    }

    /// Whether an old and a new value are the same operator, or control flow meets for both.
    fn alike(&self, a: Id, b: Id) -> bool {
        let (a, b) = (&self.old.values[a as usize], &self.new.values[b as usize]);
        a.ty == b.ty
            && match (a.kind, b.kind) {
                (Kind::Phi { header: a }, Kind::Phi { header: b })
                | (Kind::Call { safepoint: a, .. }, Kind::Call { safepoint: b, .. }) => {
                    self.counterparts.get(&a) == Some(&b)
                }
                (a, b) => a == b,
            }
    }

    /// Whether two values are equal if `assumed` are.
    fn equal_under(&self, a: Id, b: Id, assumed: (Id, Id)) -> bool {
        self.equal_to_depth((a, b), assumed, DEPTH, &Cell::new(MOST_PAIRS))
    }

    /// The same, as far as there are pairs left to look at.
    fn equal_to_depth(
        &self,
        (a, b): (Id, Id),
        assumed: (Id, Id),
        depth: u32,
        left: &Cell<u32>,
    ) -> bool {
        let Some(fewer) = left.get().checked_sub(1) else { return false };
        left.set(fewer);
        if (a, b) == assumed || self.class_of_old(a) == self.class_of_new(b) {
            return true;
        }
        let (x, y) = (&self.old.values[a as usize], &self.new.values[b as usize]);
        let made_alike = |kind: &Kind| matches!(kind, Kind::Op { .. } | Kind::Join);
        depth > 0
            && made_alike(&x.kind)
            && self.alike(a, b)
            && x.inputs.len() == y.inputs.len()
            && x.inputs
                .iter()
                .zip(&y.inputs)
                .all(|(&a, &b)| self.equal_to_depth((a, b), assumed, depth - 1, left))
    }

    /// Whether two variables of a loop, which are not equal, are the same one before and after an edit.
    fn same_variable(&self, a: Id, b: Id) -> bool {
        let (x, y) = (&self.old.values[a as usize].inputs, &self.new.values[b as usize].inputs);
        if !self.alike(a, b) || x.len() != y.len() || x.len() < 2 {
            return false;
        }
        // What both begin with may have been edited too, if it is computed alike.
        let is_computed = !matches!(self.old.values[x[0] as usize].kind, Kind::Const(_));
        let starts_alike = self.class_of_old(x[0]) == self.class_of_new(y[0])
            || is_computed && self.alike(x[0], y[0]);
        let steps = || x[1..].iter().copied().zip(y[1..].iter().copied());
        let steps_equal = || steps().all(|(x, y)| self.equal_under(x, y, (a, b)));
        let steps_alike = || steps().all(|(x, y)| self.alike(x, y));
        (steps_equal() || starts_alike && steps_alike()) && self.used_alike(a, b)
    }

    /// Whether somebody uses both in the same way, besides the operators that lead to their next values.
    fn used_alike(&self, a: Id, b: Id) -> bool {
        let uses = |values: &Values, id: Id, label: &dyn Fn(&Value) -> Option<Kind>| {
            let value = &values.values[id as usize];
            let next: HashSet<Id> = match value.kind {
                Kind::Phi { .. } => value.inputs[1..].iter().copied().collect(),
                _ => HashSet::new(),
            };
            let users = values.users[id as usize].iter();
            let others = users.filter(|(user, _)| *user != id && !next.contains(user));
            let others = others.filter_map(|&(user, place)| {
                let user = &values.values[user as usize];
                let place = match user.kind {
                    // Ways into a place where control flow meets are told apart by nothing else.
                    Kind::Phi { .. } | Kind::Join | Kind::Op { commutes: true, .. } => 0,
                    _ => place,
                };
                Some((label(user)?, place))
            });
            others.collect::<HashSet<_>>()
        };
        let label_of_old = |user: &Value| match user.kind {
            Kind::Phi { header } => Some(Kind::Phi { header: *self.counterparts.get(&header)? }),
            Kind::Call { safepoint, result } => {
                Some(Kind::Call { safepoint: *self.counterparts.get(&safepoint)?, result })
            }
            kind => Some(kind),
        };
        let of_old = uses(self.old, a, &label_of_old);
        let of_new = uses(self.new, b, &|user| Some(user.kind));
        of_old.is_empty() && of_new.is_empty() || !of_old.is_disjoint(&of_new)
    }
}

/// Frames at a pair of safepoints.
struct Frame<'a> {
    all: &'a Correspondence<'a>,
    /// Values of the new frame that are equal to some that the old one keeps, and which one each is.
    equal: HashMap<Id, Result<Slot, &'static str>>,
    /// Variables of loops in the new frame that are equal to nothing that the old one keeps, and which of its variables
    /// each may be.
    candidates: HashMap<Id, Vec<(Id, Slot)>>,
    /// Variables that the old frame keeps, and that nothing of the new one is known to be.
    lost: Vec<Id>,
    /// Everything that the old frame keeps.
    kept: HashMap<Id, Slot>,
}

impl<'a> Frame<'a> {
    fn new(
        all: &'a Correspondence<'a>,
        old: &FrameValues,
        new: &FrameValues,
        slot: &dyn Fn(Place) -> u32,
    ) -> Frame<'a> {
        let mut kept = HashMap::new();
        // What is kept, each value once, and in the order of the frame.
        let mut members: HashMap<u32, Vec<(Id, Slot)>> = HashMap::new();
        let mut variables: Vec<(Id, Slot)> = Vec::new();
        let locals = old.locals.iter().map(|&(local, value)| (value, Place::Local(local)));
        let operands = (0..).zip(&old.operands).map(|(i, &value)| (value, Place::Operand(i)));
        for (value, place) in locals.chain(operands) {
            if kept.contains_key(&value) {
                continue;
            }
            let from = Slot::Old(slot(place));
            kept.insert(value, from);
            members.entry(all.class_of_old(value)).or_default().push((value, from));
            // An operand that is a constant is nobody's variable.
            match (all.old.values[value as usize].kind, place) {
                (Kind::Phi { .. }, _) | (Kind::Const(_), Place::Local(_)) => {
                    variables.push((value, from));
                }
                _ => {}
            }
        }
        let mut wanted: HashMap<u32, Vec<Id>> = HashMap::new();
        let values = new.locals.iter().map(|&(_, value)| value).chain(new.operands.iter().copied());
        for value in values {
            let of_class = wanted.entry(all.class_of_new(value)).or_default();
            if !of_class.contains(&value) {
                of_class.push(value);
            }
        }
        let (mut equal, mut claimed) = (HashMap::new(), HashSet::new());
        let mut left: Vec<Id> = Vec::new();
        for (class, values) in &wanted {
            match members.get(class) {
                Some(members) => all.divide(members, values, &mut equal, &mut claimed),
                None => left.extend(values),
            }
        }
        variables.retain(|(value, _)| !claimed.contains(value));
        let mut candidates = HashMap::new();
        let is_variable =
            |value: &Id| matches!(all.new.values[*value as usize].kind, Kind::Phi { .. });
        for value in left.into_iter().filter(is_variable) {
            let same = variables.iter().filter(|&&(old, _)| all.same_variable(old, value));
            candidates.insert(value, same.copied().collect::<Vec<_>>());
        }
        let may_be = |old: Id| candidates.values().flatten().any(|&(one, _)| one == old);
        let lost = variables.iter().map(|&(old, _)| old).filter(|&old| !may_be(old)).collect();
        Frame { all, equal, candidates, lost, kept }
    }

    /// Where a value of the new frame comes from.
    fn source(&self, value: Id, is_local: bool) -> Result<Slot, &'static str> {
        let all = self.all;
        let Value { kind, ty, .. } = &all.new.values[value as usize];
        if let (Kind::Const(bits), Some(ty)) = (*kind, *ty) {
            // A variable that is not stepped any more looks like this, or one that begins otherwise: then it
            // has a value, and is not to begin anew.
            let is_new = !is_local || self.equal.contains_key(&value) || self.lost.is_empty();
            let constant = Slot::Const(ty.kind().canonical(bits));
            return if is_new { Ok(constant) } else { Err(AMBIGUOUS) };
        }
        if let Some(&source) = self.equal.get(&value) {
            match source {
                Err(NEW) => {}
                source => return source,
            }
        }
        let Kind::Phi { header } = *kind else {
            let class = all.class_of_new(value);
            let exists = all.classes[..all.old.values.len()].contains(&class);
            return Err(if exists { LOST } else { CHANGED });
        };
        match self.candidates.get(&value).map(Vec::as_slice) {
            Some(&[(old, slot)]) => {
                let claims = |same: &&Vec<(Id, Slot)>| same.iter().any(|&(one, _)| one == old);
                let alone = self.candidates.values().filter(claims).count() == 1;
                if alone { Ok(slot) } else { Err(AMBIGUOUS) }
            }
            None | Some([]) => self.begins(value, header),
            Some(_) => Err(AMBIGUOUS),
        }
    }

    /// What a variable of a loop begins with, if there is nothing that it could have been in the old body.
    fn begins(&self, value: Id, header: u32) -> Result<Slot, &'static str> {
        let all = self.all;
        let start = all.new.values[value as usize].inputs[0];
        let start_class = all.class_of_new(start);
        // A constant that it begins with is what it has always been.
        if self.lost.iter().any(|&old| all.class_of_old(old) != start_class) {
            return Err(CHANGED);
        }
        let Some((&of, _)) = all.counterparts.iter().find(|(_, to)| **to == header) else {
            return Err(NOT_BEGUN);
        };
        // A variable that the old body does not carry from one round to the next, and this one does.
        let dead = (0..).zip(&all.old.values).filter(|(id, old)| {
            old.kind == Kind::Phi { header: of } && !self.kept.contains_key(id)
        });
        for (old, _) in dead {
            if all.could_be(old, value) {
                return Err(LOST);
            }
        }
        let begin = &all.new.values[start as usize];
        match (begin.kind, begin.ty) {
            (Kind::Const(bits), Some(ty)) => Ok(Slot::Const(ty.kind().canonical(bits))),
            (Kind::Phi { .. }, _) => Err(NOT_BEGUN),
            _ => {
                let mut kept = self.kept.iter();
                let same = kept.find(|(old, _)| all.class_of_old(**old) == start_class);
                same.map(|(_, &slot)| slot).ok_or(NOT_BEGUN)
            }
        }
    }
}

impl Correspondence<'_> {
    /// Says of equal values which one is which. Those that are too many in the new frame are new; those that are too
    /// many in the old one are claimed by none.
    fn divide(
        &self,
        members: &[(Id, Slot)],
        values: &[Id],
        equal: &mut HashMap<Id, Result<Slot, &'static str>>,
        claimed: &mut HashSet<Id>,
    ) {
        if values.len() > members.len() {
            // More of them than before: only by how they are used is it known which one was there.
            for &value in values {
                let mut same = members.iter().filter(|&&(old, _)| self.used_alike(old, value));
                let others =
                    |old: Id| values.iter().filter(move |&&v| self.used_alike(old, v)).count();
                let unique = members.iter().all(|&(old, _)| others(old) == 1);
                let source = match same.next() {
                    _ if !unique => Err(AMBIGUOUS),
                    Some(&(_, slot)) => Ok(slot),
                    None => Err(NEW),
                };
                equal.insert(value, source);
            }
            claimed.extend(members.iter().map(|&(old, _)| old));
            return;
        }
        if let ([(old, slot)], [value]) = (members, values) {
            claimed.insert(*old);
            equal.insert(*value, Ok(*slot));
            return;
        }
        for &value in values {
            let free = || members.iter().filter(|(old, _)| !claimed.contains(old));
            let found = free().find(|&&(old, _)| self.used_alike(old, value)).or(free().next());
            let &(old, slot) = found.expect("there are enough");
            claimed.insert(old);
            equal.insert(value, Ok(slot));
        }
    }

    /// Whether an old variable that is not carried from one round of its loop to the next may be the same as a new one
    /// that is.
    fn could_be(&self, a: Id, b: Id) -> bool {
        let (x, y) = (&self.old.values[a as usize], &self.new.values[b as usize]);
        x.inputs.len() == y.inputs.len()
            && x.ty == y.ty
            && x.inputs[1..].iter().zip(&y.inputs[1..]).any(|(&x, &y)| self.related(x, y, (a, b)))
    }

    /// Whether two values have something to do with each other: they are equal, or one is made of the other, or both
    /// by the same operator of something equal.
    fn related(&self, x: Id, y: Id, assumed: (Id, Id)) -> bool {
        let (old, new) = (&self.old.values[x as usize], &self.new.values[y as usize]);
        let equal = |x: Id, y: Id| self.equal_under(x, y, assumed);
        let is_constant =
            |value: &Value| matches!(value.kind, Kind::Const(_) | Kind::Effect { .. });
        let shares = || {
            let inputs = old.inputs.iter().zip(&new.inputs);
            let mut inputs = inputs
                .filter(|&(&x, _)| !is_constant(&self.old.values[x as usize]) && x != assumed.0);
            self.alike(x, y) && inputs.any(|(&x, &y)| equal(x, y))
        };
        equal(x, y)
            || shares()
            || new.inputs.iter().any(|&y| {
                y != assumed.1 && !is_constant(&self.new.values[y as usize]) && equal(x, y)
            })
            || old.inputs.iter().any(|&x| {
                x != assumed.0 && !is_constant(&self.old.values[x as usize]) && equal(x, y)
            })
    }
}

/// The coarsest partition of all values of two bodies that is stable. Values of equal classes are equal.
fn refine(old: &Values, new: &Values, counterparts: &HashMap<u32, u32>) -> Vec<u32> {
    let count = old.values.len() + new.values.len();
    // Safepoints of the old body by their counterparts, those without any by numbers that the new one has not.
    let of_old = |safepoint: u32| match counterparts.get(&safepoint) {
        Some(&to) => to,
        None => new.frames.len() as u32 + safepoint,
    };
    let label = |value: &Value, is_old: bool| {
        let at = |safepoint: u32| if is_old { of_old(safepoint) } else { safepoint };
        let kind = match value.kind {
            Kind::Effect { safepoint, writes } => Kind::Effect { safepoint: at(safepoint), writes },
            Kind::Call { safepoint, result } => Kind::Call { safepoint: at(safepoint), result },
            Kind::Phi { header } => Kind::Phi { header: at(header) },
            kind => kind,
        };
        let inputs = if matches!(kind, Kind::Call { .. }) { 0 } else { value.inputs.len() };
        (kind, value.ty, inputs)
    };
    let mut numbers = HashMap::new();
    let mut classes: Vec<u32> = Vec::with_capacity(count);
    let labelled = old.values.iter().map(|value| label(value, true));
    for label in labelled.chain(new.values.iter().map(|value| label(value, false))) {
        let next = numbers.len() as u32;
        classes.push(*numbers.entry(label).or_insert(next));
    }
    let mut known = numbers.len();
    let inputs: usize = old.values.iter().chain(&new.values).map(|value| value.inputs.len()).sum();
    let mut visits = 0;
    loop {
        visits += count + inputs;
        if visits > MOST_VISITS {
            // Nothing that was assumed is sure.
            return (0..count as u32).collect();
        }
        let mut numbers: HashMap<(u32, Vec<u32>), u32> = HashMap::new();
        let mut next_classes = Vec::with_capacity(count);
        let sides = [(&old.values, 0), (&new.values, old.values.len())];
        for (values, base) in sides {
            for (i, value) in values.iter().enumerate() {
                let mut made_of: Vec<u32> = match value.kind {
                    // The same call, whatever is passed to it.
                    Kind::Call { .. } => Vec::new(),
                    _ => value.inputs.iter().map(|&input| classes[base + input as usize]).collect(),
                };
                if let Kind::Op { commutes: true, .. } = value.kind {
                    made_of[..2].sort_unstable();
                }
                let next = numbers.len() as u32;
                next_classes.push(*numbers.entry((classes[base + i], made_of)).or_insert(next));
            }
        }
        classes = next_classes;
        if numbers.len() == known {
            return classes;
        }
        known = numbers.len();
    }
}

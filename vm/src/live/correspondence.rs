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
//! other that all this could be said of; or if the two have the same name, where locals have names. A variable that is
//! new begins as on entry to the loop, if that is known. Anything else is unknown, and nothing is guessed.

use super::alignment::Unaligned;
use super::partition::partition;
use super::values::{FrameValues, Id, Kind, Value, Values};
use midair_tiers::ValType;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

/// Values, pairs of values and uses that are looked at altogether to find out where the values of all frames come from.
/// If that is not enough nothing is said of any.
const MOST_STEPS: usize = 16 << 20;
/// How deep two values are compared that are not equal, and how many pairs are looked at for that: values that are made
/// of shared ones have as many ways down as there are subsets of them.
const DEPTH: u32 = 32;
const MOST_PAIRS: u32 = 1000;

/// What is known of the values of two bodies.
///
/// Hash tables by numbers that this crate has given out itself need no hash that nobody can foresee.
pub(crate) struct Correspondence<'a> {
    old: &'a Values,
    new: &'a Values,
    /// Classes of equal values: those of the old body, and then those of the new one.
    classes: Vec<u32>,
    /// Those that old values are in.
    old_classes: FxHashSet<u32>,
    /// Those that variables of the new body's loops are in.
    variable_classes: FxHashSet<u32>,
    /// Index of the counterpart of each old safepoint.
    counterparts: FxHashMap<u32, u32>,
    /// The new safepoints that are counterparts.
    headers: FxHashSet<u32>,
    /// The variables of the old body's loops, by the counterpart of the loop, and those of the new one's.
    variables: FxHashMap<u32, Vec<Id>>,
    new_variables: FxHashMap<u32, Vec<Id>>,
    found: RefCell<Found>,
    names: LocalNames,
    /// Steps that may still be taken.
    left: Cell<usize>,
}

/// What has been found out of values, and is asked for at many safepoints.
#[derive(Default)]
struct Found {
    /// How values of the old body and of the new one are used.
    uses: [FxHashMap<Id, Uses>; 2],
    /// Variables of the old body that a new one may be the same as.
    same: FxHashMap<Id, Rc<[Id]>>,
    /// Variables of the old body that might be a new one if a frame kept them.
    could_be: FxHashMap<Id, Rc<[Id]>>,
}

/// What the names of locals tell.
#[derive(Default)]
pub(crate) struct LocalNames {
    /// Locals of the new body that have the name and the type of one of the old body, and those.
    pub(crate) same: HashMap<u32, u32>,
    /// Locals of the new body that have a name which none of the old body has, although these have names.
    pub(crate) new: HashSet<u32>,
    /// The new body has come with a module that a compiler has made: it has variables that no source has.
    pub(crate) is_compiled: bool,
}

/// As what and as which input somebody uses a value.
type Uses = Rc<HashSet<(Kind, u32)>>;

/// A value of the new frame, by where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
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

/// Why it is not known where the values of a frame come from.
pub(crate) enum Unknown {
    /// The origin of this one is not known.
    Value { place: Place, ty: ValType, why: &'static str },
    /// It would take too long to find out.
    TooLarge,
}

/// Where a value of a new frame comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// The old frame, with its first slot here.
    Old(u32),
    /// A constant, by its slots; the second is 0 unless it is a vector.
    Const([u64; 2]),
}

impl Origin {
    fn constant([low, high]: [u64; 2], ty: ValType) -> Origin {
        Origin::Const([ty.kind().canonical(low), high])
    }
}

/// Everything of a new frame that its body may read.
pub(crate) struct Sources {
    /// For each live local.
    pub(crate) locals: Vec<(u32, Origin)>,
    pub(crate) operands: Vec<Origin>,
}

const LOST: &str = "the old body does not keep the variable that it is";
const AMBIGUOUS: &str = "it may be one of several variables of the old body";
const CHANGED: &str = "nothing of the old frame is sure to be the same variable";
/// Not a refusal: there is one more of it than in the old body.
const NEW: &str = "it is new";
/// Compilers make counters of what the source computes from others.
const COUNTER: &str =
    "it counts rounds, and nothing says whether it is new or comes from another variable";
const COMPUTED: &str =
    "each round computes it anew, and what the last one has computed is not known";
const NOT_BEGUN: &str = "it is new, and what it would begin with is not known there";

impl<'a> Correspondence<'a> {
    /// Compares the values of two bodies whose safepoints correspond so; `None` if that takes too long.
    pub(crate) fn new(
        old: &'a Values,
        new: &'a Values,
        counterparts: &[Result<usize, Unaligned>],
        names: LocalNames,
    ) -> Option<Correspondence<'a>> {
        let aligned = (0..).zip(counterparts).filter_map(|(i, to)| Some((i, to.ok()? as u32)));
        let counterparts: FxHashMap<u32, u32> = aligned.collect();
        let classes = partition(old, new, &counterparts)?;
        let mut variables: FxHashMap<u32, Vec<Id>> = FxHashMap::default();
        for (id, value) in (0..).zip(&old.values) {
            if let Kind::Phi { header } = value.kind
                && let Some(&to) = counterparts.get(&header)
            {
                variables.entry(to).or_default().push(id);
            }
        }
        let headers = counterparts.values().copied().collect();
        let old_classes = classes[..old.values.len()].iter().copied().collect();
        let mut new_variables: FxHashMap<u32, Vec<Id>> = FxHashMap::default();
        let mut variable_classes = FxHashSet::default();
        for (id, value) in (0..).zip(&new.values) {
            if let Kind::Phi { header } = value.kind {
                new_variables.entry(header).or_default().push(id);
                variable_classes.insert(classes[old.values.len() + id as usize]);
            }
        }
        let (found, left) = (RefCell::default(), Cell::new(MOST_STEPS));
        Some(Correspondence {
            old,
            new,
            classes,
            old_classes,
            variable_classes,
            counterparts,
            headers,
            variables,
            new_variables,
            names,
            found,
            left,
        })
    }

    /// Takes so many steps; whether there were so many left. If not, whatever is answered then is not used.
    fn steps(&self, count: usize) -> bool {
        let left = self.left.get().checked_sub(count);
        self.left.set(left.unwrap_or(0));
        left.is_some()
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
        let (from, to) = (&self.old.frames[old], &self.new.frames[new]);
        let values = [from, to].map(|frame| frame.locals.len() + frame.operands.len());
        if !self.steps(values[0] + values[1] + 1) {
            return Err(Unknown::TooLarge);
        }
        let frame = Frame::new(self, from, to, slot);
        let locals = to.locals.iter().map(|&(local, value)| {
            let source = frame.source(value, true);
            Ok((local, source.map_err(|why| self.unknown(Place::Local(local), value, why))?))
        });
        let locals = locals.collect::<Result<Vec<_>, Unknown>>();
        let operands = (0..).zip(&to.operands).map(|(i, &value)| {
            frame.source(value, false).map_err(|why| self.unknown(Place::Operand(i), value, why))
        });
        let operands = operands.collect::<Result<Vec<_>, Unknown>>();
        if self.left.get() == 0 {
            return Err(Unknown::TooLarge);
        }
        Ok(Sources { locals: locals?, operands: operands? })
    }

    fn unknown(&self, place: Place, value: Id, why: &'static str) -> Unknown {
        let ty = self.new.values[value as usize].ty.expect("what is in a frame has a type");
        Unknown::Value { place, ty, why }
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
        let Some(fewer) = left.get().checked_sub(1).filter(|_| self.steps(1)) else {
            return false;
        };
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
        // What a counter of the old body is nobody knows either.
        if self.names.is_compiled && self.old.is_counter(a) {
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
        let (of_old, of_new) = (self.uses_of_old(a), self.uses_of_new(b));
        self.steps(1 + of_old.len().min(of_new.len()))
            && (of_old.is_empty() && of_new.is_empty() || !of_old.is_disjoint(&of_new))
    }

    fn uses_of_old(&self, id: Id) -> Uses {
        if let Some(known) = self.found.borrow().uses[0].get(&id) {
            return known.clone();
        }
        let counterpart = |safepoint: &u32| self.counterparts.get(safepoint).copied();
        let uses = self.uses(self.old, id, &|user| match user.kind {
            Kind::Phi { header } => Some(Kind::Phi { header: counterpart(&header)? }),
            Kind::Call { safepoint, result } => {
                Some(Kind::Call { safepoint: counterpart(&safepoint)?, result })
            }
            kind => Some(kind),
        });
        self.found.borrow_mut().uses[0].insert(id, uses.clone());
        uses
    }

    fn uses_of_new(&self, id: Id) -> Uses {
        if let Some(known) = self.found.borrow().uses[1].get(&id) {
            return known.clone();
        }
        let uses = self.uses(self.new, id, &|user| Some(user.kind));
        self.found.borrow_mut().uses[1].insert(id, uses.clone());
        uses
    }

    fn uses(&self, values: &Values, id: Id, label: &dyn Fn(&Value) -> Option<Kind>) -> Uses {
        let value = &values.values[id as usize];
        let users = values.users(id);
        if !self.steps(users.len() + value.inputs.len()) {
            return Uses::default();
        }
        let next: FxHashSet<Id> = match value.kind {
            Kind::Phi { .. } => value.inputs[1..].iter().copied().collect(),
            _ => FxHashSet::default(),
        };
        let others = users.iter().filter(|(user, _)| *user != id && !next.contains(user));
        let others = others.filter_map(|&(user, place)| {
            let user = &values.values[user as usize];
            let place = match user.kind {
                // Ways into a place where control flow meets are told apart by nothing else.
                Kind::Phi { .. } | Kind::Join | Kind::Op { commutes: true, .. } => 0,
                _ => place,
            };
            Some((label(user)?, place))
        });
        Rc::new(others.collect())
    }

    /// Whether a new variable is a counter that a compiler may have made: how it is computed and used tells nothing of
    /// what it is.
    fn is_counter(&self, value: Id) -> bool {
        self.names.is_compiled && self.new.is_counter(value)
    }

    /// The variables of the old body that a new one may be the same as, equal ones aside.
    fn same_variables(&self, value: Id) -> Rc<[Id]> {
        if let Some(known) = self.found.borrow().same.get(&value) {
            return known.clone();
        }
        let same = self.variables_of_counterpart(value);
        let same = same.iter().copied().filter(|&old| self.same_variable(old, value));
        let same: Rc<[Id]> = same.collect();
        self.found.borrow_mut().same.insert(value, same.clone());
        same
    }

    /// The variables of the old body that might be a new one if a frame kept them.
    fn could_be(&self, value: Id) -> Rc<[Id]> {
        if let Some(known) = self.found.borrow().could_be.get(&value) {
            return known.clone();
        }
        let could = self.variables_of_counterpart(value);
        let could = could.iter().copied().filter(|&old| self.could_be_same(old, value));
        let could: Rc<[Id]> = could.collect();
        self.found.borrow_mut().could_be.insert(value, could.clone());
        could
    }

    /// The variables of the loop of which a new variable's is the counterpart.
    fn variables_of_counterpart(&self, value: Id) -> &[Id] {
        let Kind::Phi { header } = self.new.values[value as usize].kind else { return &[] };
        let variables = self.variables.get(&header).map_or(&[][..], Vec::as_slice);
        if self.steps(variables.len()) { variables } else { &[] }
    }
}

/// Frames at a pair of safepoints.
struct Frame<'a> {
    all: &'a Correspondence<'a>,
    /// Values of the new frame that are equal to some that the old one keeps, and which one each is.
    equal: FxHashMap<Id, Result<Origin, &'static str>>,
    /// Values of the new frame whose local has the name of one of the old frame, and its slot.
    named: FxHashMap<Id, Origin>,
    /// Values of the new frame whose local has a name that none of the old body has.
    new_by_name: FxHashSet<Id>,
    /// Variables of loops in the new frame that are equal to nothing that the old one keeps, and which of its variables
    /// each may be.
    candidates: FxHashMap<Id, Vec<Id>>,
    /// Of how many variables in the new frame each old one is a candidate.
    claims: FxHashMap<Id, usize>,
    /// Variables that the old frame keeps, and that nothing of the new one is known to be.
    lost: Lost,
    /// Everything that the old frame keeps.
    kept: FxHashMap<Id, Origin>,
    /// By classes of equal values, in the order of the frame.
    members: FxHashMap<u32, Vec<(Id, Origin)>>,
}

/// Variables of an old frame, by the classes of equal values that they are in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    None,
    /// Of this one.
    Of(u32),
    /// Of several.
    Several,
}

impl<'a> Frame<'a> {
    fn new(
        all: &'a Correspondence<'a>,
        old: &FrameValues,
        new: &FrameValues,
        slot: &dyn Fn(Place) -> u32,
    ) -> Frame<'a> {
        let mut kept = FxHashMap::default();
        // What is kept, each value once, and in the order of the frame.
        let mut members: FxHashMap<u32, Vec<(Id, Origin)>> = FxHashMap::default();
        let mut variables: Vec<Id> = Vec::new();
        let locals = old.locals.iter().map(|&(local, value)| (value, Place::Local(local)));
        let operands = (0..).zip(&old.operands).map(|(i, &value)| (value, Place::Operand(i)));
        for (value, place) in locals.chain(operands) {
            if kept.contains_key(&value) {
                continue;
            }
            let from = Origin::Old(slot(place));
            kept.insert(value, from);
            members.entry(all.class_of_old(value)).or_default().push((value, from));
            // An operand that is no variable of a loop is nobody's variable. What a parameter has been from the
            // beginning nothing in a loop has made.
            match (all.old.values[value as usize].kind, place) {
                (Kind::Param(_), _) => {}
                (Kind::Phi { .. }, _) | (_, Place::Local(_)) => variables.push(value),
                _ => {}
            }
        }
        // In the order of the frame too.
        let mut wanted: Vec<Vec<Id>> = Vec::new();
        let mut place: FxHashMap<u32, usize> = FxHashMap::default();
        let mut seen: FxHashSet<Id> = FxHashSet::default();
        let values = new.locals.iter().map(|&(_, value)| value).chain(new.operands.iter().copied());
        for value in values.filter(|value| seen.insert(*value)) {
            let place = *place.entry(all.class_of_new(value)).or_insert(wanted.len());
            match wanted.get_mut(place) {
                Some(of_class) => of_class.push(value),
                None => wanted.push(vec![value]),
            }
        }
        let (mut equal, mut claimed) = (FxHashMap::default(), FxHashSet::default());
        let mut left: Vec<Id> = Vec::new();
        for values in &wanted {
            match members.get(&all.class_of_new(values[0])) {
                Some(members) => all.divide(members, values, &mut equal, &mut claimed),
                None => left.extend(values),
            }
        }
        let named = all.by_name(old, new, &kept, &equal, &mut claimed);
        left.retain(|value| !named.contains_key(value));
        variables.retain(|value| !claimed.contains(value));
        let mut candidates = FxHashMap::default();
        let mut claims: FxHashMap<Id, usize> = FxHashMap::default();
        let is_variable =
            |value: &Id| matches!(all.new.values[*value as usize].kind, Kind::Phi { .. });
        for value in left.into_iter().filter(is_variable) {
            if all.is_counter(value) {
                candidates.insert(value, Vec::new());
                continue;
            }
            let same = all.same_variables(value);
            let there = same.iter().copied();
            let there = there.filter(|old| kept.contains_key(old) && !claimed.contains(old));
            let there: Vec<Id> = there.collect();
            there.iter().for_each(|&old| *claims.entry(old).or_default() += 1);
            all.steps(same.len());
            candidates.insert(value, there);
        }
        let lost = variables.iter().filter(|old| !claims.contains_key(old));
        let lost = lost.fold(Lost::None, |lost, &old| match (lost, all.class_of_old(old)) {
            (Lost::None, class) => Lost::Of(class),
            (Lost::Of(one), class) if one == class => lost,
            _ => Lost::Several,
        });
        let is_new = |(local, _): &&(u32, Id)| all.names.new.contains(local);
        let new_by_name = new.locals.iter().filter(is_new).map(|&(_, value)| value).collect();
        Frame { all, equal, named, new_by_name, candidates, claims, lost, kept, members }
    }

    /// Where a value of the new frame comes from.
    fn source(&self, value: Id, is_local: bool) -> Result<Origin, &'static str> {
        let all = self.all;
        let Value { kind, ty, .. } = &all.new.values[value as usize];
        // A constant on the operand stack is no variable.
        if let Some(&slot) = self.named.get(&value)
            && (is_local || !matches!(kind, Kind::Const(_)))
        {
            return Ok(slot);
        }
        if let (Kind::Const(bits), Some(ty)) = (*kind, *ty) {
            // A variable that is not stepped any more looks like this, or one that begins otherwise: then it
            // has a value, and is not to begin anew.
            let is_new = !is_local || self.equal.contains_key(&value) || self.lost == Lost::None;
            let constant = Origin::constant(bits, ty);
            return if is_new { Ok(constant) } else { Err(AMBIGUOUS) };
        }
        if let Some(&source) = self.equal.get(&value) {
            match source {
                Err(NEW) => {}
                source => return source,
            }
        }
        let Kind::Phi { .. } = *kind else {
            let class = all.class_of_new(value);
            let exists = all.old_classes.contains(&class);
            return Err(if exists { LOST } else { CHANGED });
        };
        match self.candidates.get(&value).map(Vec::as_slice) {
            Some([old]) if self.claims[old] == 1 => Ok(self.kept[old]),
            None | Some([]) => self.begins(value),
            Some(_) => Err(AMBIGUOUS),
        }
    }

    /// What a variable of a loop begins with, if there is nothing that it could have been in the old body.
    fn begins(&self, value: Id) -> Result<Origin, &'static str> {
        let all = self.all;
        let Value { kind, inputs, .. } = &all.new.values[value as usize];
        let start = inputs[0];
        let start_class = all.class_of_new(start);
        // A constant that it begins with is what it has always been.
        if self.lost != Lost::None && self.lost != Lost::Of(start_class) {
            return Err(CHANGED);
        }
        if !matches!(kind, Kind::Phi { header } if all.has_counterpart(*header)) {
            return Err(NOT_BEGUN);
        }
        if all.is_counter(value) && !self.new_by_name.contains(&value) {
            return Err(COUNTER);
        }
        if !inputs[1..].iter().all(|&next| all.is_made_of(next, value)) {
            return Err(COMPUTED);
        }
        if all.is_displaced(value) {
            return Err(AMBIGUOUS);
        }
        // A variable that the old body does not need any more there, or does not carry from one round to the next, and
        // this one does.
        let could_be = all.could_be(value);
        all.steps(could_be.len());
        if could_be.iter().any(|old| !self.kept.contains_key(old)) {
            return Err(LOST);
        }
        let begin = &all.new.values[start as usize];
        match (begin.kind, begin.ty) {
            (Kind::Const(bits), Some(ty)) => Ok(Origin::constant(bits, ty)),
            (Kind::Phi { .. }, _) => Err(NOT_BEGUN),
            _ => {
                let same = self.members.get(&start_class);
                same.map(|same| same[0].1).ok_or(NOT_BEGUN)
            }
        }
    }
}

impl Correspondence<'_> {
    /// Whether a loop of the new body is the counterpart of one of the old body.
    fn has_counterpart(&self, header: u32) -> bool {
        self.headers.contains(&header)
    }

    /// Says of equal values which one is which. Those that are too many in the new frame are new; those that are too
    /// many in the old one are claimed by none.
    fn divide(
        &self,
        members: &[(Id, Origin)],
        values: &[Id],
        equal: &mut FxHashMap<Id, Result<Origin, &'static str>>,
        claimed: &mut FxHashSet<Id>,
    ) {
        if let ([(old, slot)], [value]) = (members, values) {
            claimed.insert(*old);
            equal.insert(*value, Ok(*slot));
            return;
        }
        if !self.steps(members.len() * values.len()) {
            return;
        }
        if values.len() > members.len() {
            // More of them than before: only by how they are used is it known which one was there.
            let others = |old: Id| values.iter().filter(move |&&v| self.used_alike(old, v)).count();
            let unique = members.iter().all(|&(old, _)| others(old) == 1);
            for &value in values {
                let mut same = members.iter().filter(|&&(old, _)| self.used_alike(old, value));
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
        for &value in values {
            let free = || members.iter().filter(|(old, _)| !claimed.contains(old));
            let found = free().find(|&&(old, _)| self.used_alike(old, value)).or(free().next());
            let &(old, slot) = found.expect("there are enough");
            claimed.insert(old);
            equal.insert(value, Ok(slot));
        }
    }

    /// Says which values are the same variable because their locals have the same name, if nothing better is known.
    fn by_name(
        &self,
        old: &FrameValues,
        new: &FrameValues,
        kept: &FxHashMap<Id, Origin>,
        equal: &FxHashMap<Id, Result<Origin, &'static str>>,
        claimed: &mut FxHashSet<Id>,
    ) -> FxHashMap<Id, Origin> {
        let mut named = FxHashMap::default();
        if self.names.same.is_empty() {
            return named;
        }
        let by_local: FxHashMap<u32, Id> = old.locals.iter().copied().collect();
        for (local, value) in &new.locals {
            if !matches!(equal.get(value), None | Some(Err(_))) {
                continue;
            }
            let same = self.names.same.get(local).and_then(|local| by_local.get(local));
            if let Some(same) = same
                && claimed.insert(*same)
            {
                named.insert(*value, kept[same]);
            }
        }
        named
    }

    /// Whether an old variable of a loop, which the frame does not keep, may be the same as a new one: their steps have
    /// something to do with each other, or somebody reads it, and no variable of the new loop is it.
    fn could_be_same(&self, a: Id, b: Id) -> bool {
        let (x, y) = (&self.old.values[a as usize], &self.new.values[b as usize]);
        let [of_old, of_new] = [&x.inputs, &y.inputs];
        let is_read = || self.old.users(a).iter().any(|&(user, _)| user != a);
        let is_nobody = || !self.variable_classes.contains(&self.class_of_old(a));
        x.ty == y.ty
            && (of_old[1..].iter().any(|&x| {
                self.steps(of_new.len()) && of_new[1..].iter().any(|&y| self.related(x, y, (a, b)))
            }) || is_read() && is_nobody())
    }

    /// Whether a new value is made of another one by operators and by what control flow chooses.
    fn is_made_of(&self, value: Id, of: Id) -> bool {
        let (mut open, mut seen) = (vec![value], FxHashSet::default());
        while let Some(value) = open.pop() {
            if value == of {
                return true;
            }
            let Value { kind, inputs, .. } = &self.new.values[value as usize];
            let is_made = matches!(kind, Kind::Op { .. } | Kind::Join | Kind::Phi { .. });
            // What is older is not made of it.
            if value < of || !is_made || !seen.insert(value) {
                continue;
            }
            if seen.len() > MOST_PAIRS as usize || !self.steps(inputs.len()) {
                return false;
            }
            open.extend(inputs);
        }
        false
    }

    /// Whether there is an old variable that new ones of the same loop equal, though none of them is used as that one is:
    /// then this one may be it, edited, and those are new.
    fn is_displaced(&self, value: Id) -> bool {
        let Kind::Phi { header } = self.new.values[value as usize].kind else { return false };
        let others = self.new_variables.get(&header).map_or(&[][..], Vec::as_slice);
        let ty = self.new.values[value as usize].ty;
        self.variables_of_counterpart(value).iter().any(|&old| {
            if self.old.values[old as usize].ty != ty || !self.steps(others.len()) {
                return false;
            }
            let class = self.class_of_old(old);
            let mut equal =
                others.iter().filter(|&&new| self.class_of_new(new) == class).peekable();
            equal.peek().is_some() && !equal.any(|&new| self.used_alike(old, new))
        })
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
        // The constants of operators say nothing, those that control flow chooses from do.
        let tells = |value: &Value, kind: Kind| match kind {
            Kind::Effect { .. } => false,
            Kind::Const(_) => value.kind == Kind::Join,
            _ => true,
        };
        let made_of = |value: &Value, all: &Values, input: Id, phi: Id| {
            input != phi && tells(value, all.values[input as usize].kind)
        };
        equal(x, y)
            || shares()
            || new.inputs.iter().any(|&y| made_of(new, self.new, y, assumed.1) && equal(x, y))
            || old.inputs.iter().any(|&x| made_of(old, self.old, x, assumed.0) && equal(x, y))
    }
}

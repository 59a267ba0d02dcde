//! Whether two bodies agree on where things lie, from what operators that correspond refer to.
//!
//! That one of them refers elsewhere can be an edit (another variable is used) or a new layout (the variable lies
//! elsewhere). It is an edit if the place that it referred to and the one that it refers to now are both known to
//! be what they were: because as many operators as differ still refer to either, in both bodies. A place that was
//! referred to and is not any more, and another one that is new, may be one thing that has moved.
//!
//! Where nothing says by name what lies where, that is not enough: two variables that have changed places look just like
//! two that are used in another order. Then it is an edit only if it is known from elsewhere that the places are what they
//! were.

use super::memory_references::Access;
use std::collections::{BTreeMap, BTreeSet};

/// Places that corresponding operators refer to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement<P> {
    /// How many operators refer to a place in both.
    same: BTreeMap<P, usize>,
    /// How many refer to the first in the old body, and to the second in the new one.
    pub(crate) differ: BTreeMap<(P, P), usize>,
    lost: BTreeSet<P>,
    appeared: BTreeSet<P>,
    /// Whether names say what lies where.
    named: bool,
}

impl<P: Ord + Copy> Agreement<P> {
    /// `named`: whether names say what lies where.
    pub(crate) fn new(named: bool) -> Agreement<P> {
        Agreement {
            same: BTreeMap::new(),
            differ: BTreeMap::new(),
            lost: BTreeSet::new(),
            appeared: BTreeSet::new(),
            named,
        }
    }

    /// Two operators correspond, and refer to these places; or one without the other.
    pub(crate) fn note(&mut self, old: Option<P>, new: Option<P>) {
        match (old, new) {
            (Some(old), Some(new)) if old == new => *self.same.entry(old).or_default() += 1,
            (Some(old), Some(new)) => *self.differ.entry((old, new)).or_default() += 1,
            (old, new) => {
                self.lost.extend(old);
                self.appeared.extend(new);
            }
        }
    }

    /// Whether nothing is in doubt, so that nobody needs to be asked what else refers to a place.
    pub(crate) fn is_clear(&self) -> bool {
        self.doubts(&|_| false).is_empty()
    }

    /// Places that may have moved, and where to. `fixed`: whether it is known from elsewhere that a place is what
    /// it was.
    pub(crate) fn doubts(&self, fixed: &dyn Fn(P) -> bool) -> Vec<(P, P)> {
        let (mut from, mut to) = (BTreeMap::<P, usize>::new(), BTreeMap::<P, usize>::new());
        for (&(old, new), &count) in &self.differ {
            *from.entry(old).or_default() += count;
            *to.entry(new).or_default() += count;
        }
        let is_kept = |place: P, differ: &BTreeMap<P, usize>| {
            let same = self.same.get(&place).copied().unwrap_or(0);
            let by_count = same > 0 && same >= differ.get(&place).copied().unwrap_or(0);
            self.named && by_count || fixed(place)
        };
        let differ = self.differ.keys().copied();
        let mut doubts: Vec<_> =
            differ.filter(|&(old, new)| !(is_kept(old, &from) && is_kept(new, &to))).collect();
        let unknown = |places: &BTreeSet<P>| {
            places.iter().copied().find(|place| !self.same.contains_key(place) && !fixed(*place))
        };
        if let (Some(lost), Some(appeared)) = (unknown(&self.lost), unknown(&self.appeared)) {
            doubts.push((lost, appeared));
        }
        let moved = self.lost.intersection(&self.appeared).copied().filter(|place| !fixed(*place));
        if !self.named {
            doubts.extend(moved.map(|place| (place, place)));
        }
        doubts
    }
}

/// What corresponding operators take a place for that they agree on.
///
/// What somebody takes for a number of another kind or size has become another variable, or one of another type, which
/// does not hold what it is now taken for. Compilers also load and store variables that lie side by side at once: so it
/// is as it was if others, in both bodies, take the place for the same as the new operator does.
#[derive(Clone, Debug)]
pub(crate) struct AccessAgreement<P> {
    same: BTreeMap<(P, Access), usize>,
    /// How many operators take a place for the first in the old body and for the second in the new one.
    differ: BTreeMap<(P, Access, Access), usize>,
}

impl<P: Ord + Copy> AccessAgreement<P> {
    pub(crate) fn new() -> AccessAgreement<P> {
        AccessAgreement { same: BTreeMap::new(), differ: BTreeMap::new() }
    }

    /// Two operators that correspond refer to a place, and take it for this.
    pub(crate) fn note(&mut self, place: P, old: Access, new: Access) {
        if old == new {
            *self.same.entry((place, old)).or_default() += 1;
        } else {
            *self.differ.entry((place, old, new)).or_default() += 1;
        }
    }

    /// Whether nothing is in doubt, so that nobody needs to be asked what else refers to a place.
    pub(crate) fn is_clear(&self) -> bool {
        self.doubts(&|_, _| false).is_empty()
    }

    /// Places that may hold something else than they are taken for now, and by how many operators. `fixed`: whether
    /// it is known from elsewhere what a place holds.
    pub(crate) fn doubts(
        &self,
        fixed: &dyn Fn(P, Access) -> bool,
    ) -> Vec<((P, Access, Access), usize)> {
        let differ = self.differ.iter().map(|(differ, count)| (*differ, *count));
        let doubts = differ.filter(|&((place, _, new), count)| {
            let same = self.same.get(&(place, new)).copied().unwrap_or(0);
            same < count && !fixed(place, new)
        });
        doubts.collect()
    }
}

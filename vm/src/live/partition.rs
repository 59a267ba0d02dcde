//! The coarsest partition of the values of two bodies that is stable under what they are made of: values of one class
//! are equal.
//!
//! In each round values get numbers in the order in which they are made, by what they are and by the numbers of what they
//! are made of: a hash table knows which have been given out. Only a variable of a loop is made of something that comes
//! after it: there it takes the classes of the round before, and in the first round all variables of a loop are one.
//! When a round tells no more apart than the one before, that is the partition. (The hashing in reverse postorder of
//! Simpson's *Value-driven redundancy elimination*, 1996: the rounds depend on how variables of loops hang on each
//! other, and not on how long the chains of operators are between them.)

use super::values::{Kind, Value, Values};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Values and inputs that are looked at altogether.
const MOST_VISITS: usize = 32 << 20;

/// What a value is told by: what it is, and the classes of what it is made of.
type Key = SmallVec<[u32; 8]>;

/// A hash that stands for a key. Its keys are the process's secret, so that no body can be made to collide.
fn fingerprint(key: &Key) -> u128 {
    static KEYS: LazyLock<[RandomState; 2]> =
        LazyLock::new(|| [RandomState::new(), RandomState::new()]);
    let half = |state: &RandomState| u128::from(state.hash_one(key.as_slice()));
    half(&KEYS[0]) << 64 | half(&KEYS[1])
}

/// Classes of the values of the old body, and then of those of the new one. `counterparts`: of the old body's
/// safepoints. `None` if that takes too long.
pub(super) fn partition(
    old: &Values,
    new: &Values,
    counterparts: &FxHashMap<u32, u32>,
) -> Option<Vec<u32>> {
    let sides = [(&old.values, 0), (&new.values, old.values.len())];
    let count = old.values.len() + new.values.len();
    let labels = labels(old, new, counterparts);
    let mut known = labels.iter().max().map_or(0, |&last| last as usize + 1);
    let mut classes = labels.clone();
    let inputs = sides.iter().flat_map(|(values, _)| *values).map(|value| value.inputs.len());
    let round = count + inputs.sum::<usize>();
    let mut visits = 0;
    loop {
        visits += round;
        if visits > MOST_VISITS {
            return None;
        }
        let mut numbers: FxHashMap<u128, u32> = FxHashMap::default();
        numbers.reserve(known);
        let mut next: Vec<u32> = Vec::with_capacity(count);
        for (values, base) in sides {
            for (i, Value { kind, inputs, .. }) in values.iter().enumerate() {
                let mut key = Key::new();
                key.push(labels[base + i]);
                match kind {
                    Kind::Phi { .. } => {
                        key.extend([classes[base + i], next[base + inputs[0] as usize]]);
                        key.extend(inputs[1..].iter().map(|&input| classes[base + input as usize]));
                    }
                    _ => key.extend(inputs.iter().map(|&input| next[base + input as usize])),
                }
                if let Kind::Op { commutes: true, .. } = kind {
                    key[1..3].sort_unstable();
                }
                let number = numbers.len() as u32;
                next.push(*numbers.entry(fingerprint(&key)).or_insert(number));
            }
        }
        let found = numbers.len();
        classes = next;
        if found == known {
            return Some(classes);
        }
        known = found;
    }
}

/// Numbers for what values are, whatever they are made of.
fn labels(old: &Values, new: &Values, counterparts: &FxHashMap<u32, u32>) -> Vec<u32> {
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
        (kind, value.ty, value.inputs.len())
    };
    let mut numbers = HashMap::new();
    let mut labels = Vec::with_capacity(old.values.len() + new.values.len());
    let labelled = old.values.iter().map(|value| label(value, true));
    for label in labelled.chain(new.values.iter().map(|value| label(value, false))) {
        let next = numbers.len() as u32;
        labels.push(*numbers.entry(label).or_insert(next));
    }
    labels
}

//! What two bodies of one function refer to in memory, operator by operator.

use super::memory_references::{MemoryReference, MemoryReferences, ReferringOperator, hash};
use std::collections::HashMap;

/// Most pairs of operators that are looked at one by one, altogether. Where that is not enough, operators that are next
/// to the same others are paired, and what is left over is in one body only.
const MOST_PAIRS: usize = 1 << 20;
/// How often what lies between pairs is divided at operators that are known by their neighbours.
const DIVISIONS: u32 = 8;
/// How many operators in a row are something that is known again.
const NEIGHBOURS: usize = 6;
/// What it weighs that two operators are alike, compared with that they are the same.
const ALIKE: u32 = 4;

/// Operators of two bodies, by their indices.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryPairs {
    /// Those that correspond.
    pub(crate) pairs: Vec<(usize, usize)>,
    /// Those of the old body that the new one has not.
    pub(crate) lost: Vec<usize>,
    /// Those of the new body that the old one had not.
    pub(crate) appeared: Vec<usize>,
}

/// A part of both bodies, between operators that are paired.
#[derive(Clone, Copy, Debug)]
struct Part {
    old: (usize, usize),
    new: (usize, usize),
}

struct Pairing<'a> {
    old: &'a [ReferringOperator],
    new: &'a [ReferringOperator],
    /// How many pairs may still be looked at.
    left: usize,
    found: MemoryPairs,
}

impl MemoryPairs {
    pub(crate) fn new(old: &MemoryReferences, new: &MemoryReferences) -> MemoryPairs {
        let (old, new) = (&old.operators[..], &new.operators[..]);
        let mut pairing = Pairing { old, new, left: MOST_PAIRS, found: MemoryPairs::default() };
        if old.len() == new.len() && (0..old.len()).all(|i| pairing.alike(i, i)) {
            pairing.found.pairs.extend((0..old.len()).map(|i| (i, i)));
        } else {
            pairing.part(Part { old: (0, old.len()), new: (0, new.len()) }, DIVISIONS);
        }
        pairing.found
    }
}

impl Pairing<'_> {
    fn alike(&self, i: usize, j: usize) -> bool {
        self.old[i].shape == self.new[j].shape
    }

    fn same(&self, i: usize, j: usize) -> bool {
        identity(&self.old[i]) == identity(&self.new[j])
    }

    fn part(&mut self, mut part: Part, divisions: u32) {
        let Part { old, new } = &mut part;
        while old.0 < old.1 && new.0 < new.1 && self.same(old.0, new.0) {
            self.found.pairs.push((old.0, new.0));
            (old.0, new.0) = (old.0 + 1, new.0 + 1);
        }
        while old.0 < old.1 && new.0 < new.1 && self.same(old.1 - 1, new.1 - 1) {
            (old.1, new.1) = (old.1 - 1, new.1 - 1);
            self.found.pairs.push((old.1, new.1));
        }
        let size = (old.1 - old.0).saturating_mul(new.1 - new.0);
        if size <= self.left {
            self.left -= size;
            return self.heaviest(part);
        }
        let Some(fewer) = divisions.checked_sub(1) else { return self.apart(part) };
        let mut anchors = anchors(self.old, self.new, part, &identity);
        if anchors.is_empty() {
            anchors =
                self::anchors(self.old, self.new, part, &|operator| (operator.shape, 0, None));
        }
        if anchors.is_empty() {
            return self.apart(part);
        }
        let Part { old: (mut i, last), new: (mut j, last_new) } = part;
        for (old, new) in anchors {
            self.part(Part { old: (i, old), new: (j, new) }, fewer);
            self.found.pairs.push((old, new));
            (i, j) = (old + 1, new + 1);
        }
        self.part(Part { old: (i, last), new: (j, last_new) }, fewer);
    }

    /// Nothing corresponds.
    fn apart(&mut self, part: Part) {
        self.found.lost.extend(part.old.0..part.old.1);
        self.found.appeared.extend(part.new.0..part.new.1);
    }

    /// The pairs that are alike most often, and of these the ones that are the same most often.
    fn heaviest(&mut self, part: Part) {
        let (old, new) = (&self.old[part.old.0..part.old.1], &self.new[part.new.0..part.new.1]);
        let width = new.len() + 1;
        // best[i][j]: weight for the rests from row i and column j on.
        let mut best = vec![0u32; (old.len() + 1) * width];
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                let apart = best[(i + 1) * width + j].max(best[i * width + j + 1]);
                let paired = weight(&old[i], &new[j]);
                let paired = paired.map_or(0, |w| w + best[(i + 1) * width + j + 1]);
                best[i * width + j] = apart.max(paired);
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < old.len() || j < new.len() {
            let here = best[i * width + j];
            let both = i < old.len() && j < new.len();
            let paired = both.then(|| weight(&old[i], &new[j])).flatten();
            let (at, at_new) = (part.old.0 + i, part.new.0 + j);
            if paired.is_some_and(|w| w + best[(i + 1) * width + j + 1] == here) {
                self.found.pairs.push((at, at_new));
                (i, j) = (i + 1, j + 1);
            } else if i < old.len() && best[(i + 1) * width + j] == here {
                self.found.lost.push(at);
                i += 1;
            } else {
                self.found.appeared.push(at_new);
                j += 1;
            }
        }
    }
}

/// Operators that refer to memory count for more than those that only carry values about.
fn weight(old: &ReferringOperator, new: &ReferringOperator) -> Option<u32> {
    let refer = old.reference.is_some() && new.reference.is_some();
    let likeness =
        || u32::from(old.reference == new.reference) * 2 + u32::from(old.detail == new.detail);
    (old.shape == new.shape).then(|| ALIKE * (1 + u32::from(refer)) + likeness())
}

type Identity = (u64, u64, Option<MemoryReference>);

fn identity(operator: &ReferringOperator) -> Identity {
    (operator.shape, operator.detail, operator.reference)
}

/// Pairs of operators in ascending order that begin a row which is in both bodies, and only once in either.
fn anchors(
    old: &[ReferringOperator],
    new: &[ReferringOperator],
    part: Part,
    known_by: &dyn Fn(&ReferringOperator) -> Identity,
) -> Vec<(usize, usize)> {
    let rows = |operators: &[ReferringOperator], (from, to): (usize, usize)| {
        let mut at: HashMap<u64, Option<usize>> = HashMap::new();
        for (i, row) in operators[from..to].windows(NEIGHBOURS).enumerate() {
            let row: [Identity; NEIGHBOURS] = std::array::from_fn(|i| known_by(&row[i]));
            at.entry(hash(&row)).and_modify(|at| *at = None).or_insert(Some(from + i));
        }
        at
    };
    let (old, new) = (rows(old, part.old), rows(new, part.new));
    let mut both: Vec<(usize, usize)> =
        old.iter().filter_map(|(row, at)| Some(((*at)?, (*new.get(row)?)?))).collect();
    both.sort_unstable();
    longest_ascending(&both)
}

/// The longest subsequence whose second numbers ascend as well.
fn longest_ascending(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length the pair that a subsequence of it ends in, the lowest one; and who comes before each.
    let (mut ends, mut before) = (Vec::<usize>::new(), vec![None; pairs.len()]);
    for (i, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|&end| pairs[end].1 < pair.1);
        before[i] = length.checked_sub(1).map(|shorter| ends[shorter]);
        match ends.get_mut(length) {
            Some(end) => *end = i,
            None => ends.push(i),
        }
    }
    let last = ends.last().copied();
    let mut found: Vec<_> = std::iter::successors(last, |&i| before[i]).map(|i| pairs[i]).collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(text: &[u64]) -> MemoryReferences {
        let operator = |&shape: &u64| ReferringOperator {
            shape,
            detail: 0,
            reference: None,
            access: None,
            distance: None,
        };
        MemoryReferences { operators: text.iter().map(operator).collect(), frame: None }
    }

    #[test]
    fn long_bodies_are_paired_in_bounded_time_where_they_are_the_same() {
        // Edits at both ends, and one in the middle: all of it differs, taken together.
        let body: Vec<u64> = (0..60_000).map(|i| i * i % 9973 + i % 7).collect();
        let mut edited = body.clone();
        edited[1] = u64::MAX;
        edited.remove(30_000);
        let last = edited.len() - 2;
        edited[last] = u64::MAX;
        let found = MemoryPairs::new(&operators(&body), &operators(&edited));
        let right = |&&(old, new): &&(usize, usize)| old - usize::from(old > 30_000) == new;
        assert_eq!(found.pairs.iter().filter(right).count(), found.pairs.len());
        assert_eq!((found.lost, found.appeared), (vec![1, 30_000, 59_998], vec![1, 59_997]));
        // Nothing in common, and nothing to know anything by.
        let (a, b) = (vec![1; 30_000], vec![2; 30_000]);
        let found = MemoryPairs::new(&operators(&a), &operators(&b));
        assert_eq!((found.pairs.len(), found.lost.len()), (0, 30_000));
    }

    #[test]
    fn the_longest_ascending_subsequence_is_found() {
        let pairs: Vec<(usize, usize)> = [5, 1, 6, 2, 3, 9, 4].into_iter().enumerate().collect();
        let found: Vec<usize> = longest_ascending(&pairs).into_iter().map(|pair| pair.1).collect();
        assert_eq!(found, [1, 2, 3, 4]);
    }
}

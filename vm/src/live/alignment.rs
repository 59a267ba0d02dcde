//! Which safepoints of two bodies correspond.
//!
//! The safepoints of both are aligned in order, such that as many as possible of those correspond that
//! match (same kind and callee, same nesting, same operand types), and of several ways to do so, such that
//! the operators around them are the same. Where another safepoint would do just as well, or better if it did not
//! stand somewhere else, none is taken: nothing is guessed.

use super::safepoints::{CONTEXT, Safepoint};

/// Most pairs of safepoints that are looked at one by one. Of two bodies that differ in more, only what
/// they have in common at their beginnings and ends is aligned.
const MOST_PAIRS: usize = 4 << 20;
/// What a match weighs, compared with an operator next to it that is the same.
const MATCH: u32 = 16;

/// What became of the safepoints of the old body.
pub(crate) struct Alignment {
    /// For each the index of its counterpart in the new body.
    pub(crate) counterparts: Vec<Result<usize, Unaligned>>,
}

/// Why a safepoint has no counterpart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unaligned {
    /// None matches.
    None,
    /// Several match equally well.
    Ambiguous,
}

impl Alignment {
    pub(crate) fn new(old: &[Safepoint], new: &[Safepoint]) -> Alignment {
        let (rows, columns) = (old.len(), new.len());
        align(
            (rows, columns),
            &|i, j| (old[i].kind == new[j].kind).then(|| old[i].matches(&new[j])),
            &|i, j| old[i].similarity(&new[j]),
            [CONTEXT as u32; 2],
        )
    }
}

/// Aligns two sequences. `related` says of two elements that are of one kind whether they match. `halves` says how much
/// such elements are alike in what comes before them, and in what comes behind them: `same` if nothing tells them apart.
fn align(
    (old, new): (usize, usize),
    related: &dyn Fn(usize, usize) -> Option<bool>,
    halves: &dyn Fn(usize, usize) -> [u32; 2],
    same: [u32; 2],
) -> Alignment {
    let matches = |i, j| related(i, j) == Some(true);
    let alike = |i, j| halves(i, j).iter().sum::<u32>();
    let equal = |i, j| matches(i, j) && halves(i, j) == same;
    // Common ends are cut off; what is left of two versions of one function is short.
    let shorter = old.min(new);
    let mut prefix = (0..shorter).take_while(|&i| equal(i, i)).count();
    let mut suffix = (0..shorter - prefix).take_while(|&i| equal(old - 1 - i, new - 1 - i)).count();
    if (old - prefix - suffix).saturating_mul(new - prefix - suffix) > MOST_PAIRS {
        prefix = (0..shorter).take_while(|&i| matches(i, i)).count();
        suffix = (0..shorter - prefix).take_while(|&i| matches(old - 1 - i, new - 1 - i)).count();
    }
    let (rows, columns) = (old - prefix - suffix, new - prefix - suffix);
    let mut pairs: Vec<(usize, usize)> = (0..prefix).map(|i| (i, i)).collect();
    // How much each element of what is left is like the one that is most like it, before it and behind it, wherever
    // that stands: the order of two may have been edited, or one may be inside of another block now.
    let mut likest = (vec![[0; 2]; old], vec![[0; 2]; new]);
    if rows.saturating_mul(columns) <= MOST_PAIRS {
        for i in prefix..old - suffix {
            for j in (prefix..new - suffix).filter(|&j| related(i, j).is_some()) {
                for (half, likeness) in halves(i, j).into_iter().enumerate() {
                    let (of_old, of_new) = (&mut likest.0[i][half], &mut likest.1[j][half]);
                    (*of_old, *of_new) = (likeness.max(*of_old), likeness.max(*of_new));
                }
            }
        }
        let middle = heaviest(rows, columns, |i, j| {
            let (i, j) = (prefix + i, prefix + j);
            matches(i, j).then(|| MATCH + alike(i, j))
        });
        pairs.extend(middle.into_iter().map(|(i, j)| (prefix + i, prefix + j)));
    }
    pairs.extend((0..suffix).rev().map(|i| (old - 1 - i, new - 1 - i)));

    let mut counterparts = vec![Err(Unaligned::None); old];
    for (k, &(i, j)) in pairs.iter().enumerate() {
        // Elements without counterpart between the pairs on either side compete for this one.
        let before = k.checked_sub(1).map_or((0, 0), |k| (pairs[k].0 + 1, pairs[k].1 + 1));
        let behind = pairs.get(k + 1).copied().unwrap_or((old, new));
        let likeness = alike(i, j);
        let rival = |i, j| matches(i, j) && alike(i, j) >= likeness;
        let ambiguous = (before.0..behind.0).any(|other| other != i && rival(other, j))
            || (before.1..behind.1).any(|other| other != j && rival(i, other))
            || (0..2).any(|half| halves(i, j)[half] < likest.0[i][half].max(likest.1[j][half]));
        counterparts[i] = if ambiguous { Err(Unaligned::Ambiguous) } else { Ok(j) };
    }
    Alignment { counterparts }
}

/// The common subsequence of two sequences that weighs most, as pairs of indices in ascending order.
/// `weight` is `None` for elements that do not match.
fn heaviest(
    rows: usize,
    columns: usize,
    weight: impl Fn(usize, usize) -> Option<u32>,
) -> Vec<(usize, usize)> {
    // best[i][j]: weight for the rests from row i and column j on.
    let width = columns + 1;
    let mut best = vec![0u32; (rows + 1) * width];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            let apart = best[(i + 1) * width + j].max(best[i * width + j + 1]);
            let paired = weight(i, j).map_or(0, |weight| weight + best[(i + 1) * width + j + 1]);
            best[i * width + j] = apart.max(paired);
        }
    }
    let mut pairs = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < rows && j < columns {
        let here = best[i * width + j];
        if weight(i, j).is_some_and(|weight| weight + best[(i + 1) * width + j + 1] == here) {
            pairs.push((i, j));
            i += 1;
            j += 1;
        } else if best[(i + 1) * width + j] == here {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters match; digits behind them say in what surroundings they stand.
    fn counterparts(old: &str, new: &str) -> Vec<Option<usize>> {
        let elements = |text: &str| -> Vec<(char, u32)> {
            let digit = |text: &str| text.chars().next().and_then(|c| c.to_digit(10));
            text.char_indices()
                .filter(|(_, c)| c.is_alphabetic())
                .map(|(at, c)| (c, digit(&text[at + 1..]).unwrap_or(0)))
                .collect()
        };
        let (old, new) = (elements(old), elements(new));
        let alignment = align(
            (old.len(), new.len()),
            &|i, j| (old[i].0 == new[j].0).then_some(true),
            &|i, j| [u32::from(old[i].1 == new[j].1), 0],
            [1, 0],
        );
        alignment.counterparts.into_iter().map(Result::ok).collect()
    }

    #[test]
    fn equal_sequences_align_throughout() {
        assert_eq!(counterparts("abc", "abc"), [Some(0), Some(1), Some(2)]);
        assert_eq!(counterparts("aaa", "aaa"), [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn insertions_and_deletions_in_the_middle_are_skipped() {
        assert_eq!(counterparts("abcd", "axcd"), [Some(0), None, Some(2), Some(3)]);
        assert_eq!(counterparts("abcd", "acd"), [Some(0), None, Some(1), Some(2)]);
        assert_eq!(counterparts("acd", "abcd"), [Some(0), Some(2), Some(3)]);
        assert_eq!(counterparts("", "abcd"), []);
    }

    #[test]
    fn what_stands_in_the_same_surroundings_is_preferred() {
        assert_eq!(counterparts("a1a2b", "a2b"), [None, Some(0), Some(1)]);
        assert_eq!(counterparts("a1a2b", "a1b"), [Some(0), None, Some(1)]);
        assert_eq!(counterparts("a2b", "a1a2b"), [Some(1), Some(2)]);
    }

    #[test]
    fn of_equals_none_is_taken() {
        assert_eq!(counterparts("aab", "ab"), [None, None, Some(1)]);
        assert_eq!(counterparts("ab", "aab"), [None, Some(2)]);
        assert_eq!(counterparts("bab", "bcaacb"), [Some(0), None, Some(5)]);
    }

    #[test]
    fn what_has_changed_places_has_no_counterpart_where_the_other_one_was() {
        assert_eq!(counterparts("xa1a2y", "xa2a1y"), [Some(0), None, None, Some(3)]);
        assert_eq!(counterparts("xa1b2y", "xb2a1y"), [Some(0), None, Some(1), Some(3)]);
    }

    #[test]
    fn of_two_long_sequences_only_common_ends_are_aligned() {
        let long = |letter: &str| format!("x{}y", letter.repeat(2500));
        let aligned = counterparts(&long("a"), &long("b"));
        assert_eq!(aligned.iter().flatten().collect::<Vec<_>>(), [&0, &2501]);
    }
}

//! The default map: which points of two bodies correspond.
//!
//! It aligns the safepoints of the two bodies in order (a longest common subsequence of safepoints that
//! match: same kind and callee, same nesting, same operand types). Locals match by index and must have the
//! same type; new ones start at zero. What has no counterpart is refused, and its frames finish in the old
//! body.

use super::continuation::{Migration, Target};
use super::layout::{Layout, Slot};
use super::refusal::Refusal;
use super::safepoints::Safepoints;
use crate::code::FunctionVersion;
use midair_osr::ValueKind;
use midair_tiers::ValType;
use std::collections::HashMap;
use std::sync::Arc;

/// The points of the old body that have a counterpart, and how a frame is laid out anew.
#[derive(Clone, Debug)]
pub(crate) struct FrameMapping {
    points: HashMap<u32, u32>,
    /// Locals of the new body that read one of the old: all up to this many.
    kept_locals: u32,
    /// Slots of those locals.
    kept_slots: usize,
    /// Slots of all old locals.
    old_slots: usize,
    /// Slots of the new body's further locals.
    fresh_slots: usize,
}

/// Slots of values of these types.
pub(crate) fn slots(types: &[ValType]) -> usize {
    types.iter().map(|ty| ValueKind::slots(ty.kind())).sum()
}

impl FrameMapping {
    /// Aligns two bodies. Fails if a local's type differs.
    pub(crate) fn align(old: &Safepoints, new: &Safepoints) -> Result<FrameMapping, Refusal> {
        for (i, (a, b)) in old.locals.iter().zip(&new.locals).enumerate() {
            if a != b {
                return Err(Refusal::LocalType { local: i as u32, old: *a, new: *b });
            }
        }
        let kept = old.locals.len().min(new.locals.len());
        let (kept_types, fresh_types) = new.locals.split_at(kept);
        let pairs = align_sequences(old.points.len(), new.points.len(), |i, j| {
            old.points[i].matches(&new.points[j])
        });
        Ok(FrameMapping {
            points: pairs
                .into_iter()
                .map(|(i, j)| (old.points[i].point, new.points[j].point))
                .collect(),
            kept_locals: kept as u32,
            kept_slots: slots(kept_types),
            old_slots: slots(&old.locals),
            fresh_slots: slots(fresh_types),
        })
    }

    /// The counterpart of a point.
    pub(crate) fn point(&self, old: u32) -> Option<u32> {
        self.points.get(&old).copied()
    }

    /// Takes a point out.
    pub(crate) fn refuse(&mut self, old: u32) {
        self.points.remove(&old);
    }

    /// How many locals, from the first on, keep their values.
    pub(crate) fn kept_locals(&self) -> u32 {
        self.kept_locals
    }

    /// Number of points that have a counterpart.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    /// Where the frames of the old body go on in `to`.
    pub(crate) fn into_migration(self, to: &Arc<FunctionVersion>) -> Migration {
        let kept = (0..self.kept_slots as u32).map(Slot::Old);
        let fresh = std::iter::repeat_n(Slot::Const(0), self.fresh_slots);
        let layout = Arc::new(Layout::new(self.old_slots, kept.chain(fresh)));
        let target = |point| Target { version: to.clone(), point, layout: layout.clone() };
        let points = self.points.into_iter().map(|(old, new)| (old, target(new)));
        Migration::Points(Arc::new(points.collect()))
    }
}

/// Longest common subsequence of two sequences, as pairs of indices in ascending order. Common ends are
/// cut off first; what is left of two versions of one function is short.
fn align_sequences(
    old: usize,
    new: usize,
    matches: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let shorter = old.min(new);
    let prefix = (0..shorter).take_while(|&i| matches(i, i)).count();
    let suffix = (0..shorter - prefix).take_while(|&i| matches(old - 1 - i, new - 1 - i)).count();
    let (rows, columns) = (old - prefix - suffix, new - prefix - suffix);
    // longest[i][j]: length for the rests from row i and column j on.
    let width = columns + 1;
    let mut longest = vec![0u32; (rows + 1) * width];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            longest[i * width + j] = if matches(prefix + i, prefix + j) {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let mut pairs: Vec<(usize, usize)> = (0..prefix).map(|i| (i, i)).collect();
    let (mut i, mut j) = (0, 0);
    while i < rows && j < columns {
        if matches(prefix + i, prefix + j) {
            pairs.push((prefix + i, prefix + j));
            i += 1;
            j += 1;
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs.extend((0..suffix).rev().map(|i| (old - 1 - i, new - 1 - i)));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(old: &str, new: &str) -> Vec<(usize, usize)> {
        let (old, new) = (old.as_bytes(), new.as_bytes());
        align_sequences(old.len(), new.len(), |i, j| old[i] == new[j])
    }

    #[test]
    fn equal_sequences_align_throughout() {
        assert_eq!(pairs("abc", "abc"), [(0, 0), (1, 1), (2, 2)]);
    }

    #[test]
    fn insertions_and_deletions_in_the_middle_are_skipped() {
        assert_eq!(pairs("abcd", "axcd"), [(0, 0), (2, 2), (3, 3)]);
        assert_eq!(pairs("abcd", "acd"), [(0, 0), (2, 1), (3, 2)]);
        assert_eq!(pairs("acd", "abcd"), [(0, 0), (1, 2), (2, 3)]);
        assert_eq!(pairs("", "abcd"), []);
    }

    #[test]
    fn a_local_of_another_type_is_refused() {
        let old = Safepoints { locals: vec![ValType::I32], points: vec![] };
        let new = Safepoints { locals: vec![ValType::F32], points: vec![] };
        let refusal = FrameMapping::align(&old, &new).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "local 0 is of type i32 in the old body and f32 in the new one"
        );
    }
}

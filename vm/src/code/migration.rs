//! Migration: where frames of a replaced body go on in the new one.
//!
//! The default map aligns the safepoints of the two bodies in order (a longest common subsequence of
//! safepoints that match: same kind and callee, same nesting, same operand types). Locals match by index
//! and must have the same type; new ones start at zero. What has no counterpart is refused, and its frames
//! finish in the old body.

use super::safepoints::Safepoints;
use super::version::FunctionVersion;
use midair_osr::ValueKind;
use midair_tiers::ValType;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// From a version's frames to its successor's.
pub(crate) struct Migration {
    pub(crate) to: Arc<FunctionVersion>,
    map: FrameMapping,
}

/// Why a frame cannot go on in the new body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A local has another type in the new body, so that nothing of the old frames is sure to mean the
    /// same.
    LocalType {
        /// Index of the local.
        local: u32,
        /// Its type in the old body.
        old: ValType,
        /// Its type in the new body.
        new: ValType,
    },
    /// The new body has no safepoint that matches the one where the frame is suspended.
    NoCounterpart {
        /// Offset of the safepoint in the old body.
        point: u32,
    },
    /// The new body reads a local that the machine code of the old one has not kept.
    LocalNotKept {
        /// Offset of the safepoint in the old body.
        point: u32,
        /// Index of the local.
        local: u32,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::LocalType { local, old, new } => {
                write!(f, "local {local} is of type {old} in the old body and {new} in the new one")
            }
            Refusal::NoCounterpart { point } => {
                write!(f, "the safepoint at offset {point:#x} has no counterpart in the new body")
            }
            Refusal::LocalNotKept { point, local } => write!(
                f,
                "the new body reads local {local}, which is dead in the old one at offset {point:#x}"
            ),
        }
    }
}

impl Migration {
    pub(crate) fn new(to: Arc<FunctionVersion>, map: FrameMapping) -> Migration {
        Migration { to, map }
    }

    pub(crate) fn map(&self) -> &FrameMapping {
        &self.map
    }
}

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

fn slots(types: &[ValType]) -> usize {
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

    /// The canonical slots of a frame, laid out for the new body.
    pub(crate) fn values(&self, old: &[u64]) -> Vec<u64> {
        let (locals, operands) = old.split_at(self.old_slots);
        let mut values = Vec::with_capacity(old.len() + self.fresh_slots);
        values.extend_from_slice(&locals[..self.kept_slots]);
        values.resize(self.kept_slots + self.fresh_slots, 0);
        values.extend_from_slice(operands);
        values
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
    fn new_locals_start_at_zero_behind_the_old_ones() {
        let old = Safepoints { locals: vec![ValType::I32], points: vec![] };
        let new = Safepoints { locals: vec![ValType::I32, ValType::F64], points: vec![] };
        let map = FrameMapping::align(&old, &new).unwrap();
        assert_eq!(map.values(&[7, 8]), [7, 0, 8]);
        let back = FrameMapping::align(&new, &old).unwrap();
        assert_eq!(back.values(&[7, 1, 8]), [7, 8]);
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

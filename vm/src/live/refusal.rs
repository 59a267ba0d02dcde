//! Why a frame cannot go on in the new body.

use midair_tiers::ValType;
use std::fmt;

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
